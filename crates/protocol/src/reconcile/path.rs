//! The names of elements in conflicts: `birthDate`, `name[official].given`,
//! `identifier[http://example.org/mrn].period`. They are shown and stored beside the record, so
//! they carry no value of it: labels of items are code systems, uses, extension urls or the
//! item's index in the result (from 0), never an identifier, a name or a number.

use std::borrow::Cow;

use crate::json::Json;

/// Longest url in a label, and longest key, in bytes.
const LABEL_BYTES: usize = 200;

/// The codes that are labels: HumanName.use, Address.use, ContactPoint.use and .system.
const CODES: &[&str] = &[
    "usual",
    "official",
    "temp",
    "nickname",
    "anonymous",
    "old",
    "maiden",
    "secondary",
    "home",
    "work",
    "billing",
    "mobile",
    "phone",
    "fax",
    "email",
    "pager",
    "url",
    "sms",
    "other",
];

/// What is appended to `path` for the member `key`: a primitive's extensions go by its name.
pub(super) fn step(path: &str, key: &str) -> String {
    let plain = key.trim_start_matches('_');
    let is_name = plain.len() <= LABEL_BYTES
        && plain.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '[' | ']'));
    let name = if is_name { plain } else { "(unknown element)" };
    if path.is_empty() { name.to_owned() } else { format!(".{name}") }
}

/// The names of the elements along a path, without the labels of items and with choices by their
/// stems: `name[official].given` is `name`, `given`.
pub(super) fn elements(path: &str) -> Vec<Cow<'_, str>> {
    let mut names = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let end = if rest[end..].starts_with("[x]") { end + 3 } else { end };
        if end > 0 {
            names.push(Cow::Borrowed(&rest[..end]));
        }
        rest = &rest[end..];
        if rest.starts_with('[') {
            rest = rest.find(']').map_or("", |close| &rest[close + 1..]);
        }
        rest = rest.strip_prefix('.').unwrap_or(rest);
    }
    names
}

/// The label of an item of the list `list`, where it has one without content.
pub(super) fn label(list: &str, item: &Json<'_>) -> Option<String> {
    let of = |key| item.str_at(key).map(Cow::into_owned);
    match list {
        "name" | "address" => of("use").filter(|code| CODES.contains(&code.as_str())),
        "telecom" => of("system").filter(|code| CODES.contains(&code.as_str())),
        "extension" | "modifierExtension" => of("url").filter(|url| is_url(url)),
        _ => {
            let coding = item.get("coding").and_then(|coding| coding.items().first());
            let code = || item.get("code")?.get("coding")?.items().first();
            let system = |value: &Json<'_>| value.str_at("system").map(|url| url.into_owned());
            of("system")
                .or_else(|| system(coding?))
                .or_else(|| system(code()?))
                .filter(|url| is_url(url))
        }
    }
}

/// Whether a text is the name of a code system or of an extension, and short enough to show.
fn is_url(text: &str) -> bool {
    let has_scheme = ["http://", "https://", "urn:"].iter().any(|scheme| text.starts_with(scheme));
    has_scheme
        && text.len() <= LABEL_BYTES
        && text.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '|' | '?' | '[' | ']'))
}
