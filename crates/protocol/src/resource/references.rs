//! References between resources: reading, finding and rewriting them.

#[cfg(test)]
mod tests;

use crate::id::RecordRef;
use crate::json::{Json, Object, Text};

/// The record that a reference's text names: `Type/id`, `Type/id/_history/version`, or an
/// absolute URL that ends so. Of an absolute URL only the tail counts, whichever server it names:
/// records keep their ids wherever they go. `None` for everything else, such as `#contained`,
/// `urn:uuid:...` and `Patient?identifier=...`.
pub fn record_named(reference: &str) -> Option<RecordRef> {
    if reference.contains(['?', '#']) {
        return None;
    }
    let (server, path) = match reference.split_once("://") {
        Some((_, rest)) => rest.split_once('/').map(|(host, path)| (Some(host), path))?,
        None => (None, reference),
    };
    let path = match path.rsplit_once("/_history/") {
        Some((_, version)) if version.is_empty() || version.contains('/') => return None,
        Some((before, _)) => before,
        None => path,
    };
    let (before_id, id) = path.rsplit_once('/')?;
    let kind = match before_id.rsplit_once('/') {
        Some((_, kind)) if server.is_some() => kind,
        Some(_) => return None,
        None => before_id,
    };
    RecordRef::new(kind.parse().ok()?, id).ok()
}

/// The record that a `Reference` element names by its `reference`.
pub fn record_at(element: &Json<'_>) -> Option<RecordRef> {
    record_named(&element.str_at("reference")?)
}

/// Every `Reference.reference` of a resource, contained resources included: the path of the
/// element that holds it (`participant[0].individual`) and its text, in the order of the
/// document.
pub fn references<'t, 'a>(resource: &'t Json<'a>) -> Vec<(String, &'t Text<'a>)> {
    let mut found = Vec::new();
    collect(resource, &mut String::new(), &mut found);
    found
}

fn collect<'t, 'a>(
    value: &'t Json<'a>,
    path: &mut String,
    found: &mut Vec<(String, &'t Text<'a>)>,
) {
    let length = path.len();
    match value {
        Json::Object(object) => {
            for (key, member) in object.iter() {
                match member {
                    Json::String(text) if key == "reference" => found.push((path.clone(), text)),
                    Json::Array(_) | Json::Object(_) => {
                        if length > 0 {
                            path.push('.');
                        }
                        path.push_str(key.raw());
                        collect(member, path, found);
                        path.truncate(length);
                    }
                    _ => {}
                }
            }
        }
        Json::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                path.push_str(&format!("[{index}]"));
                collect(item, path, found);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

/// The resource with other targets, as FHIR's transaction rule says: `target` is asked for every
/// `Reference.reference`, and for every other string that is as a whole a `urn:uuid:` or
/// `urn:oid:` (elements of type uri, url and canonical). What it answers takes the string's
/// place; where it answers `None`, the string stays.
///
/// Left alone are the members called `value` and `valueString` (the value of an identifier is a
/// name, not a link) and whole Bundles within, whose references mean their own entries.
pub fn rewrite_references<'a>(
    resource: &Json<'a>,
    target: &mut dyn FnMut(&str) -> Option<String>,
) -> Json<'a> {
    match resource {
        Json::Object(object) if is_bundle(object) => resource.clone(),
        Json::Object(object) => {
            let members = object.iter().map(|(key, value)| {
                let value = match value {
                    Json::String(text) => rewritten(key, text, target),
                    other => rewrite_references(other, target),
                };
                (key.clone(), value)
            });
            Json::Object(Object::from_members(members.collect()))
        }
        Json::Array(items) => Json::Array(
            items
                .iter()
                .map(|item| match item {
                    Json::String(text) => rewritten(&Text::plain(""), text, target),
                    other => rewrite_references(other, target),
                })
                .collect(),
        ),
        plain => plain.clone(),
    }
}

fn is_bundle(object: &Object<'_>) -> bool {
    object.get("resourceType").and_then(Json::as_str).as_deref() == Some("Bundle")
}

fn rewritten<'a>(
    key: &Text<'a>,
    text: &Text<'a>,
    target: &mut dyn FnMut(&str) -> Option<String>,
) -> Json<'a> {
    let plain = text.decode();
    let is_urn = plain.starts_with("urn:uuid:") || plain.starts_with("urn:oid:");
    let is_value = key == "value" || key == "valueString";
    let asked = key == "reference" || (is_urn && !is_value);
    match asked.then(|| target(&plain)).flatten() {
        Some(new) => Json::string(new),
        None => Json::String(text.clone()),
    }
}
