//! References within a transaction: what its entries call each other becomes the ids that their
//! records get.

use std::collections::BTreeMap;

use protocol::json::Json;
use protocol::resource::references::{references, rewrite_references};
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
    let mut resolved =
        rewrite_references(resource, &mut |link| links.get(link).map(RecordRef::to_string));
    for (path, link) in references(&resolved) {
        let link = link.decode();
        if is_urn(&link) {
            return Err(Failure::bad_request(format!(
                "{path} refers to {}, which is the fullUrl of no entry of this Bundle",
                named(&link)
            )));
        }
    }
    resolve_narrative(&mut resolved, links);
    Ok(resolved)
}

/// Links in the narrative stand in quotes.
fn resolve_narrative(resource: &mut Json<'_>, links: &Links) {
    let Json::Object(resource) = resource else { return };
    let Some(Json::Object(text)) = resource.get("text") else { return };
    let Some(html) = text.get("div").and_then(Json::as_str) else { return };
    if !html.contains("urn:") {
        return;
    }
    let (mut text, mut html) = (text.clone(), html.into_owned());
    for (link, record) in links.iter().filter(|(link, _)| is_urn(link)) {
        for quote in ['"', '\''] {
            let (from, to) = (format!("{quote}{link}{quote}"), format!("{quote}{record}{quote}"));
            if html.contains(&from) {
                html = html.replace(&from, &to);
            }
        }
    }
    text.set("div", Json::string(html));
    resource.set("text", Json::Object(text));
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

/// Notes the conditional references (`Patient?identifier=...`) in a resource, with the type that
/// each names.
pub(super) fn conditional(resource: &Json<'_>, found: &mut BTreeMap<String, ResourceType>) {
    for (_, link) in references(resource) {
        let link = link.decode();
        if let Some(kind) = link.split_once('?').and_then(|(kind, _)| kind.parse().ok()) {
            found.insert(link.into_owned(), kind);
        }
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
