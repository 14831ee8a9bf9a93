//! What a server says of a record that it refuses, in a form that people may be shown anywhere.
//!
//! A server's own words can repeat what the record says, or what it holds of somebody else. What is
//! taken of them is: codes, paths of elements, names of FHIR, the ids that were sent, and plain
//! words that do not stand in the record. Everything else is left out: `…` stands for it.

use std::collections::BTreeSet;

use protocol::{RecordRef, ResourceType};
use serde::Deserialize;
use serde_json::Value;

/// Characters of what is kept of a server's words.
const CHARS: usize = 300;
/// Issues of one outcome that are told.
const ISSUES: usize = 3;
/// What stands for what is left out.
const MASK: char = '…';
/// Words in capitals that are nobody's name.
const PLAIN: &[&str] = &[
    "HAPI", "FHIR", "HTTP", "ID", "IDs", "URL", "URI", "UUID", "JSON", "XML", "PUT", "POST", "GET",
    "DELETE", "R4", "I", "FHIRPath", "ETag", "SQL",
];

/// What was sent, of which nothing is repeated.
#[derive(Debug, Clone, Copy, Default)]
pub struct Private<'a> {
    /// Bodies of records.
    pub bodies: &'a [&'a str],
    /// Records without a body.
    pub names: &'a [&'a RecordRef],
}

/// What stands in that.
#[derive(Debug, Default)]
struct Known {
    /// Words of its values, in small letters.
    words: BTreeSet<String>,
    /// Names of its elements.
    names: BTreeSet<String>,
    /// Ids, of the records and of those that they refer to.
    ids: BTreeSet<String>,
}

impl Known {
    fn of(private: &Private<'_>) -> Known {
        let ids = private.names.iter().map(|record| record.id().to_owned()).collect();
        let mut known = Known { ids, ..Known::default() };
        for body in private.bodies {
            if let Ok(value) = serde_json::from_str(body) {
                known.look(&value, "");
            }
        }
        known
    }

    fn look(&mut self, value: &Value, name: &str) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    self.names.insert(name.clone());
                    self.look(value, name);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.look(item, name)),
            Value::String(text) => match name {
                "id" => drop(self.ids.insert(text.clone())),
                "reference" => {
                    self.ids.extend(text.rsplit('/').next().map(str::to_owned));
                }
                // What the narrative says stands in the elements, and the rest of it is anything.
                "resourceType" | "div" => {}
                _ => self.words.extend(words(text)),
            },
            Value::Number(number) => self.words.extend(words(&number.to_string())),
            Value::Bool(_) | Value::Null => {}
        }
    }
}

fn words(text: &str) -> impl Iterator<Item = String> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| word.len() > 1);
    words.map(str::to_lowercase)
}

#[derive(Deserialize)]
struct Outcome {
    #[serde(rename = "resourceType")]
    kind: String,
    #[serde(default)]
    issue: Vec<Issue>,
}

#[derive(Deserialize)]
struct Issue {
    #[serde(default)]
    severity: String,
    #[serde(default)]
    code: String,
    #[serde(default)]
    diagnostics: Option<String>,
    #[serde(default)]
    details: Option<Details>,
    #[serde(default)]
    expression: Vec<String>,
}

#[derive(Deserialize)]
struct Details {
    #[serde(default)]
    text: Option<String>,
}

/// What an OperationOutcome says, for people; `None` where that is none.
pub fn told(body: &[u8], private: &Private<'_>) -> Option<String> {
    let outcome: Outcome = serde_json::from_slice(body).ok()?;
    (outcome.kind == "OperationOutcome").then(|| told_by(&outcome, &Known::of(private)))
}

fn told_by(outcome: &Outcome, known: &Known) -> String {
    let is_error = |issue: &&Issue| !matches!(issue.severity.as_str(), "information" | "warning");
    let issues = outcome.issue.iter().filter(is_error).take(ISSUES);
    let told = issues.map(|issue| {
        let is_code = issue.code.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
        let code = if is_code { issue.code.as_str() } else { "" };
        let path = issue.expression.first().filter(|path| is_path(path));
        let text = issue.details.as_ref().and_then(|details| details.text.as_ref());
        let text = issue.diagnostics.as_ref().or(text).map(|text| masked(text, known));
        let parts = [Some(code.to_owned()), path.cloned(), text];
        parts.into_iter().flatten().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ")
    });
    told.filter(|issue| !issue.is_empty()).collect::<Vec<_>>().join("; ")
}

/// `Bundle.entry[3].resource.status`: no value can stand in that.
fn is_path(path: &str) -> bool {
    path.split('.').all(|part| {
        let (name, rest) = part.split_at(part.find('[').unwrap_or(part.len()));
        let index = rest.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphabetic())
            && (rest.is_empty() || index.is_some_and(|index| index.parse::<u32>().is_ok()))
    })
}

/// A server's words without what may be somebody's.
fn masked(text: &str, known: &Known) -> String {
    let mut out = String::new();
    let mut rest = text;
    let mut first = true;
    while let Some(c) = rest.chars().next() {
        if !is_part(c) {
            out.push(if c.is_control() { ' ' } else { c });
            rest = &rest[c.len_utf8()..];
            continue;
        }
        let (token, after) = rest.split_at(rest.find(|c| !is_part(c)).unwrap_or(rest.len()));
        let (token, stop) = match token.strip_suffix('.') {
            Some(before) => (before, "."),
            None => (token, ""),
        };
        out.push_str(&of_token(token, known, first));
        out.push_str(stop);
        first &= is_error_code(token);
        rest = after;
    }
    shortened(&out)
}

fn is_part(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '-' | '.' | '_')
}

/// One token: whole where it is an id or a code, word by word where it is not.
fn of_token(token: &str, known: &Known, first: bool) -> String {
    if known.ids.contains(token) || is_error_code(token) {
        return token.to_owned();
    }
    let mut out = String::new();
    for (at, word) in token.split_inclusive(['-', '.', '_']).enumerate() {
        let name = word.trim_end_matches(['-', '.', '_']);
        match name.is_empty() || is_plain(name, known, first && at == 0) {
            true => out.push_str(word),
            false => {
                out.push(MASK);
                out.push_str(&word[name.len()..]);
            }
        }
    }
    out
}

/// `HAPI-0960`.
fn is_error_code(token: &str) -> bool {
    token.split_once('-').is_some_and(|(name, number)| {
        (2..=10).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_uppercase())
            && (1..=6).contains(&number.len())
            && number.bytes().all(|byte| byte.is_ascii_digit())
            && PLAIN.contains(&name)
    })
}

/// Whether a word is nobody's: of FHIR, or a common one that does not stand in the record.
fn is_plain(word: &str, known: &Known, first: bool) -> bool {
    if word.parse::<ResourceType>().is_ok()
        || known.names.contains(word)
        || PLAIN.contains(&word)
        || word == "Bundle"
    {
        return true;
    }
    let letters = word.chars().all(|c| c.is_alphabetic());
    let is_small = word.chars().all(|c| !c.is_uppercase());
    letters && (is_small || first) && !known.words.contains(&word.to_lowercase())
}

/// At most so many characters, and no run of what was left out.
fn shortened(text: &str) -> String {
    let mut out = String::new();
    let words = text.split_whitespace();
    for word in words {
        let is_nothing = word.chars().all(|c| !c.is_alphanumeric());
        if is_nothing && word.contains(MASK) && out.ends_with(MASK) {
            continue;
        }
        if out.chars().count() + word.chars().count() > CHARS {
            out.push_str(" ...");
            break;
        }
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENT: &str = r#"{"resourceType":"Patient","id":"123","name":[{"family":"Achieng",
        "given":["Mary Wanjiku"]}],"birthDate":"1984-02-31","telecom":[{"value":"+254 700 123456"}],
        "managingOrganization":{"reference":"Organization/o-7"}}"#;

    #[test]
    fn defect_30_a_servers_words_are_told_without_what_the_record_says() {
        let known = Known::of(&Private { bodies: &[PATIENT], names: &[] });
        for (said, told) in [
            (
                "HAPI-0960: Can not process entity with ID[123], this is not a valid FHIR ID",
                "HAPI-0960: Can not process entity with ID[123], this is not a valid FHIR ID",
            ),
            (
                "HAPI-1094: Resource Organization/o-7 not found, specified in path: \
                 Patient.managingOrganization",
                "HAPI-1094: Resource Organization/o-7 not found, specified in path: \
                 Patient.managingOrganization",
            ),
            ("Invalid date '1984-02-31'.", "Invalid date '…-…-…'."),
            ("family Achieng is known already", "family … is known already"),
            ("family ACHIENG, mary wanjiku", "family …, …"),
            ("the same as Otieno, Peter (+254711)", "the same as …, …"),
            ("duplicate of patient-0815", "duplicate of patient-…"),
            ("Achieng", "…"),
        ] {
            assert_eq!(masked(said, &known), told);
        }
    }

    #[test]
    fn of_an_outcome_the_errors_are_told_with_their_codes_and_elements() {
        let private = Private { bodies: &[PATIENT], names: &[] };
        let issue = |severity: &str, code: &str, words: &str, path: &str| {
            serde_json::json!({"severity": severity, "code": code, "diagnostics": words,
                "expression": [path]})
        };
        for (issues, expected) in [
            (
                vec![issue("error", "invalid", "it is wrong", "Patient.name[0].family")],
                "invalid: Patient.name[0].family: it is wrong",
            ),
            (vec![issue("error", "invalid", "", "Patient.where(name='Achieng')")], "invalid"),
            (vec![issue("warning", "invariant", "no narrative", "Patient")], ""),
            (vec![issue("fatal", "Mary", "Mary", "Patient")], "Patient: …"),
            (vec![], ""),
        ] {
            let body = serde_json::json!({"resourceType": "OperationOutcome", "issue": issues});
            assert_eq!(told(body.to_string().as_bytes(), &private).as_deref(), Some(expected));
        }
        for body in ["", "<html>", "{}", r#"{"resourceType":"Patient"}"#, "[1]"] {
            assert_eq!(told(body.as_bytes(), &private), None);
        }
        let long = format!("no {}", "word ".repeat(5_000));
        assert!(masked(&long, &Known::of(&private)).chars().count() < CHARS + 10);
    }
}
