//! References within a transaction: what its entries call each other becomes the ids that their
//! records get.

use std::borrow::Cow;
use std::collections::BTreeMap;

use protocol::json::{Json, Object, Text};
use protocol::{RecordRef, ResourceType};

use crate::http::error::Failure;

/// What the links of a transaction mean: full URLs and conditional references, with the records
/// that they stand for.
pub(super) type Links = BTreeMap<String, RecordRef>;

/// The resource with every link replaced. Refuses a reference to a `urn:uuid:` or `urn:oid:` that
/// no entry has as its full URL: it would lead nowhere for ever.
pub(super) fn resolved<'a>(resource: &Json<'a>, links: &Links) -> Result<Json<'a>, Failure> {
    // The entries of a stored Bundle call each other by names of their own.
    if resource.str_at("resourceType").as_deref() == Some("Bundle") {
        return Ok(resource.clone());
    }
    value_resolved("", resource, links)
}

fn value_resolved<'a>(key: &str, value: &Json<'a>, links: &Links) -> Result<Json<'a>, Failure> {
    Ok(match value {
        Json::Object(object) => {
            let mut members = Vec::with_capacity(object.len());
            for (key, value) in object.iter() {
                members.push((key.clone(), value_resolved(&key.decode(), value, links)?));
            }
            Json::Object(Object::from_members(members))
        }
        Json::Array(items) => Json::Array(
            items.iter().map(|item| value_resolved(key, item, links)).collect::<Result<_, _>>()?,
        ),
        Json::String(text) => Json::String(text_resolved(key, text, links)?),
        other => other.clone(),
    })
}

fn text_resolved<'a>(key: &str, text: &Text<'a>, links: &Links) -> Result<Text<'a>, Failure> {
    let plain = text.decode();
    if key == "div" {
        return Ok(narrative_resolved(&plain, links).map_or_else(|| text.clone(), Text::plain));
    }
    // An identifier's value may be a urn of its own, and is no link.
    if key != "value" {
        if let Some(record) = links.get(&*plain) {
            return Ok(Text::plain(record.to_string()));
        }
    }
    if key == "reference" && is_urn(&plain) {
        return Err(Failure::bad_request(format!(
            "the reference {} leads to no entry of this Bundle",
            named(&plain)
        )));
    }
    Ok(text.clone())
}

/// Links in a narrative stand in quotes.
fn narrative_resolved(html: &str, links: &Links) -> Option<String> {
    if !html.contains("urn:") {
        return None;
    }
    let mut out = Cow::Borrowed(html);
    for (link, record) in links.iter().filter(|(link, _)| is_urn(link)) {
        for quote in ['"', '\''] {
            let quoted = format!("{quote}{link}{quote}");
            if out.contains(&quoted) {
                out = Cow::Owned(out.replace(&quoted, &format!("{quote}{record}{quote}")));
            }
        }
    }
    match out {
        Cow::Owned(changed) => Some(changed),
        Cow::Borrowed(_) => None,
    }
}

/// Whether a link is a name that only the Bundle itself can explain.
fn is_urn(link: &str) -> bool {
    link.starts_with("urn:uuid:") || link.starts_with("urn:oid:")
}

/// A link in an error text: an id, and no more of it than an id has.
fn named(link: &str) -> String {
    let good = |c: &char| c.is_ascii_alphanumeric() || "-:.".contains(*c);
    link.chars().take(64).filter(good).collect()
}

/// The conditional references (`Patient?identifier=...`) in a resource: the type, and the
/// reference as it stands.
pub(super) fn conditional(resource: &Json<'_>, found: &mut BTreeMap<String, ResourceType>) {
    match resource {
        Json::Object(object) => {
            for (key, value) in object.iter() {
                match value.as_str().filter(|_| key == "reference") {
                    Some(text) => {
                        let kind = text.split_once('?').and_then(|(kind, _)| kind.parse().ok());
                        if let Some(kind) = kind {
                            found.insert(text.into_owned(), kind);
                        }
                    }
                    None => conditional(value, found),
                }
            }
        }
        Json::Array(items) => items.iter().for_each(|item| conditional(item, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use protocol::json;

    use super::*;

    const URN: &str = "urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0a";

    fn resolve(text: &str) -> Result<String, Failure> {
        let links = Links::from([(URN.to_owned(), "Patient/1".parse().unwrap())]);
        let json = json::parse(text.as_bytes(), 64).unwrap();
        resolved(&json, &links).map(|json| json.to_text())
    }

    #[test]
    fn links_become_the_ids_that_the_records_get() {
        for (before, after) in [
            (r#"{"subject":{"reference":"URN"}}"#, r#"{"subject":{"reference":"Patient/1"}}"#),
            (r#"{"e":[{"valueUri":"URN"}]}"#, r#"{"e":[{"valueUri":"Patient/1"}]}"#),
            (
                r#"{"text":{"div":"<a href=\"URN\">"}}"#,
                r#"{"text":{"div":"<a href=\"Patient/1\">"}}"#,
            ),
            (r#"{"identifier":[{"value":"URN"}]}"#, r#"{"identifier":[{"value":"URN"}]}"#),
            (r#"{"note":"see URN","n":1.00}"#, r#"{"note":"see URN","n":1.00}"#),
            (
                r#"{"resourceType":"Bundle","x":{"reference":"urn:uuid:other"}}"#,
                r#"{"resourceType":"Bundle","x":{"reference":"urn:uuid:other"}}"#,
            ),
        ] {
            let resolved = resolve(&before.replace("URN", URN)).unwrap();
            assert_eq!(resolved, after.replace("URN", URN));
        }
    }

    #[test]
    fn a_link_that_leads_nowhere_is_refused_by_its_name() {
        let failure = resolve(r#"{"subject":{"reference":"urn:uuid:nobody"}}"#).unwrap_err();
        assert!(failure.detail.contains("urn:uuid:nobody"), "{}", failure.detail);
        assert!(resolve(r#"{"subject":{"reference":"urn:oid:1.2.3"}}"#).is_err());
    }

    #[test]
    fn conditional_references_are_found_wherever_they_stand() {
        let text = r#"{"a":[{"reference":"Patient?identifier=x|1"}],"reference":{"reference":
            "Group?_id=2"},"b":{"reference":"Patient/1"},"c":{"reference":"what?ever"}}"#;
        let mut found = BTreeMap::new();
        conditional(&json::parse(text.as_bytes(), 64).unwrap(), &mut found);
        let found: Vec<_> = found.keys().map(String::as_str).collect();
        assert_eq!(found, ["Group?_id=2", "Patient?identifier=x|1"]);
    }
}
