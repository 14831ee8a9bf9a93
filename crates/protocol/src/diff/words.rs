//! A FHIR value in a few words. A datatype is known by its members; what is none is shown as
//! compact JSON, so that nothing is left out because it is not understood.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::json::{Json, Object};

/// How many characters a value may take.
const CHARACTERS: usize = 200;

/// How many characters stand before the first difference of two long values.
const BEFORE_DIFFERENCE: usize = 40;

/// A value in words, cut to 200 characters: a HumanName as `Amina Juma (official)`, a Quantity as
/// `82.5 kg`, a CodeableConcept as `Body weight (29463-7)`, a Reference as
/// `Dr. Otieno (Practitioner/7)`, an Identifier as `system|value`, a scalar as it is.
pub fn in_words(value: &Json<'_>) -> String {
    cut(&words(value), 0)
}

/// What a record is about, in a line: the name of a person, the code and value of an observation,
/// a date. Its type, where it says nothing of that kind.
pub fn summary(resource: &Json<'_>) -> String {
    cut(&summary_words(resource), 0)
}

/// Two states of one element in words that differ where the states do.
pub(super) fn both(
    before: Option<&Json<'_>>,
    after: Option<&Json<'_>>,
) -> (Option<String>, Option<String>) {
    let [mut from, mut to] = [before, after].map(|state| state.map(words));
    if from == to {
        // They differ in what the words leave out.
        [from, to] = [before, after].map(|state| state.map(|value| plain(&value.to_text())));
    }
    let (Some(from), Some(to)) = (&from, &to) else {
        return (from.map(|text| cut(&text, 0)), to.map(|text| cut(&text, 0)));
    };
    let same = from.chars().zip(to.chars()).take_while(|(one, other)| one == other).count();
    let start = match same + 1 < CHARACTERS {
        true => 0,
        false => same - BEFORE_DIFFERENCE,
    };
    (Some(cut(from, start)), Some(cut(to, start)))
}

/// The items of a list in words.
pub(super) fn list(items: &[Json<'_>]) -> String {
    cut(&list_words(items), 0)
}

/// The text from the character `start` on, no longer than a value may be, with an ellipsis where
/// something is left out.
fn cut(text: &str, start: usize) -> String {
    let mut out = String::new();
    if start > 0 {
        out.push('…');
    }
    let mut rest = text.chars().skip(start);
    out.extend(rest.by_ref().take(CHARACTERS - 1));
    match (rest.next(), rest.next()) {
        (Some(_), Some(_)) => out.push('…'),
        (last, _) => out.extend(last),
    }
    out
}

/// A text in one line, without characters that move a terminal's cursor or turn its text around.
fn plain(text: &str) -> String {
    let turns = |c| match c {
        '\u{200e}' | '\u{200f}' => true,
        c => ('\u{202a}'..='\u{202e}').contains(&c) || ('\u{2066}'..='\u{2069}').contains(&c),
    };
    let shown: String =
        text.chars().map(|c| if c.is_control() || turns(c) { ' ' } else { c }).collect();
    let mut out = String::with_capacity(shown.len());
    for word in shown.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

fn words(value: &Json<'_>) -> String {
    match value {
        Json::Null => "null".to_owned(),
        Json::Bool(value) => value.to_string(),
        Json::Number(literal) => literal.to_string(),
        Json::String(text) => plain(&text.decode()),
        Json::Array(items) => list_words(items),
        Json::Object(object) => {
            object_words(value, object).unwrap_or_else(|| plain(&value.to_text()))
        }
    }
}

fn list_words(items: &[Json<'_>]) -> String {
    let separator = if items.iter().any(|item| item.as_object().is_some()) { "; " } else { ", " };
    items.iter().map(words).collect::<Vec<_>>().join(separator)
}

fn object_words(value: &Json<'_>, object: &Object<'_>) -> Option<String> {
    let text = |key: &str| value.str_at(key).map(|text| plain(&text)).filter(|t| !t.is_empty());
    let has = |keys: &[&str]| keys.iter().any(|key| object.get(key).is_some());
    let with_use = |words: String| in_brackets(words, text("use"));
    if has(&["resourceType"]) {
        return Some(summary_words(value));
    }
    if has(&["div"]) {
        return Some(without_tags(&value.str_at("div")?));
    }
    if object.get("coding").is_some_and(|coding| coding.as_array().is_some()) {
        return concept(value);
    }
    if has(&["family", "given", "prefix", "suffix"]) {
        return human_name(value).map(with_use);
    }
    if has(&["line", "city", "district", "state", "postalCode", "country"]) {
        let parts = ["line", "city", "district", "state", "postalCode", "country"];
        let parts = parts.iter().filter_map(|part| object.get(part)).map(words);
        let joined = parts.collect::<Vec<_>>().join(", ");
        return Some(with_use(text("text").unwrap_or(joined)));
    }
    if has(&["url"]) && !has(&["contentType", "data", "title"]) {
        // An extension: its address stands in the path.
        let (_, said) = object.iter().find(|(key, _)| key.decode().starts_with("value"))?;
        return Some(words(said));
    }
    if has(&["text"]) && object.len() <= 1 + usize::from(has(&["use"])) {
        return text("text").map(with_use);
    }
    if let Some(said) = text("text").filter(|_| has(&["authorString", "authorReference", "time"])) {
        let author = object.get("authorReference").map(words).or_else(|| text("authorString"));
        let by: Vec<String> = author.into_iter().chain(text("time")).collect();
        return Some(in_brackets(said, Some(by.join(", "))));
    }
    measured(value, object).or_else(|| named(value, object))
}

/// A Quantity or Money, a Period, a Range, a Ratio.
fn measured(value: &Json<'_>, object: &Object<'_>) -> Option<String> {
    let text = |key: &str| value.str_at(key).map(|text| plain(&text));
    let part = |key: &str| object.get(key).map(words);
    if let Some(number) = object.get("value").and_then(Json::as_number) {
        let unit = text("unit").or_else(|| text("code")).or_else(|| text("currency"));
        let words = [text("comparator"), Some(number.to_owned()), unit];
        return Some(words.into_iter().flatten().collect::<Vec<_>>().join(" "));
    }
    match (part("start"), part("end")) {
        (Some(start), Some(end)) => return Some(format!("{start} to {end}")),
        (Some(start), None) => return Some(format!("from {start}")),
        (None, Some(end)) => return Some(format!("until {end}")),
        (None, None) => {}
    }
    match (part("low"), part("high")) {
        (Some(low), Some(high)) => return Some(format!("{low} to {high}")),
        (Some(low), None) => return Some(format!("at least {low}")),
        (None, Some(high)) => return Some(format!("at most {high}")),
        (None, None) => {}
    }
    Some(format!("{} / {}", part("numerator")?, part("denominator")?))
}

/// A ContactPoint or Identifier, a Coding, a Reference, an Attachment.
fn named(value: &Json<'_>, object: &Object<'_>) -> Option<String> {
    let text = |key: &str| value.str_at(key).map(|text| plain(&text)).filter(|t| !t.is_empty());
    if let Some(said) = text("value") {
        return Some(match text("system") {
            None => said,
            Some(system) if system.contains(':') => format!("{system}|{said}"),
            Some(system) => {
                let kinds: Vec<String> =
                    [Some(system), text("use")].into_iter().flatten().collect();
                in_brackets(said, Some(kinds.join(", ")))
            }
        });
    }
    if object.get("code").is_some_and(|code| code.as_text().is_some()) {
        return coding(value);
    }
    if object.get("reference").is_some() || object.get("display").is_some() {
        return match text("display") {
            Some(display) => Some(in_brackets(display, text("reference"))),
            None => text("reference"),
        };
    }
    let file = object.get("contentType").is_some() || object.get("data").is_some();
    let title = text("title").or_else(|| text("url")).unwrap_or_else(|| "a file".to_owned());
    file.then(|| in_brackets(title, text("contentType")))
}

fn in_brackets(words: String, more: Option<String>) -> String {
    match more.filter(|more| !more.is_empty()) {
        Some(more) => format!("{words} ({more})"),
        None => words,
    }
}

fn human_name(name: &Json<'_>) -> Option<String> {
    let mut out = String::new();
    for part in ["prefix", "given", "family", "suffix"] {
        for word in name.get(part).map(Json::items).unwrap_or_default() {
            if let Some(word) = word.as_str() {
                let gap = if out.is_empty() { "" } else { " " };
                let _ = write!(out, "{gap}{}", plain(&word));
            }
        }
    }
    if out.is_empty() { name.str_at("text").map(|text| plain(&text)) } else { Some(out) }
}

fn concept(concept: &Json<'_>) -> Option<String> {
    let first = concept.get("coding").and_then(|coding| coding.items().first());
    match concept.str_at("text").map(|text| plain(&text)) {
        None => coding(first?),
        Some(text) => {
            let code = first.and_then(|coding| coding.str_at("code"));
            Some(in_brackets(text, code.map(|code| plain(&code))))
        }
    }
}

fn coding(coding: &Json<'_>) -> Option<String> {
    let text = |key: &str| coding.str_at(key).map(|text| plain(&text));
    match (text("display"), text("code")) {
        (Some(display), code) => Some(in_brackets(display, code)),
        (None, code) => code,
    }
}

/// The text of a narrative: its markup is nobody's to read here.
fn without_tags(div: &str) -> String {
    let mut out = String::with_capacity(div.len());
    let mut inside = false;
    for c in div.chars() {
        match c {
            '<' => inside = true,
            '>' => {
                inside = false;
                out.push(' ');
            }
            c if !inside => out.push(c),
            _ => {}
        }
    }
    plain(&out)
}

/// What says what a record is about; of each row the first member that is there.
const ABOUT: &[&[&str]] = &[
    &["name", "title"],
    &[
        "code",
        "vaccineCode",
        "medicationCodeableConcept",
        "medicationReference",
        "type",
        "class",
        "category",
        "description",
    ],
    &[
        "birthDate",
        "effectiveDateTime",
        "effectivePeriod",
        "occurrenceDateTime",
        "performedDateTime",
        "performedPeriod",
        "onsetDateTime",
        "authoredOn",
        "period",
        "start",
        "created",
        "date",
        "recordedDate",
        "issued",
    ],
];

fn summary_words(resource: &Json<'_>) -> String {
    let Some(object) = resource.as_object() else { return words(resource) };
    let mut said = Vec::new();
    for (row, members) in ABOUT.iter().enumerate() {
        let found = members.iter().find_map(|member| object.get(member));
        said.extend(found.map(|value| words(value.items().first().unwrap_or(value))));
        if row == 1 {
            let value = object.iter().find(|(key, _)| {
                let key = key.decode();
                key.strip_prefix("value").is_some_and(|kind| kind.starts_with(char::is_uppercase))
            });
            said.extend(value.map(|(_, value)| words(value)));
        }
    }
    said.retain(|words| !words.is_empty());
    match said.is_empty() {
        true => resource.str_at("resourceType").map(Cow::into_owned).unwrap_or_default(),
        false => said.join(", "),
    }
}
