//! What the stand-in reads of queries and records.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde_json::{Value, json};

pub(super) fn query_of(text: &str) -> BTreeMap<String, String> {
    let url = reqwest::Url::parse(&format!("http://localhost/?{text}")).unwrap();
    url.query_pairs().into_owned().collect()
}

pub(super) fn instant(at: i64) -> String {
    protocol::Timestamp::from_millis(at).to_string()
}

/// What a record refers to on this server.
pub(super) fn references(value: &Value) -> Vec<String> {
    match value {
        Value::Object(members) => members
            .iter()
            .flat_map(|(name, value)| match (name.as_str(), value) {
                ("reference", Value::String(text)) if text.split('/').count() == 2 => {
                    vec![text.clone()]
                }
                _ => references(value),
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

pub(crate) fn outcome(code: &str, words: &str) -> Value {
    json!({"resourceType": "OperationOutcome",
        "issue": [{"severity": "error", "code": code, "diagnostics": words}]})
}

pub(super) fn ok(status: u16, body: &Value) -> axum::response::Response {
    let status = StatusCode::from_u16(status).unwrap();
    let answer = (status, [("content-type", super::FHIR)], body.to_string());
    axum::response::IntoResponse::into_response(answer)
}

pub(super) fn refusal(status: u16, code: &str, words: &str) -> axum::response::Response {
    ok(status, &outcome(code, words))
}

/// What it says to a search that it does not answer.
pub(super) fn refused(
    server: &super::Server,
    query: &BTreeMap<String, String>,
    from: usize,
) -> Option<axum::response::Response> {
    if !server.elements && query.contains_key("_elements") {
        return Some(refusal(400, "not-supported", "`_elements` is not supported"));
    }
    if !server.whole && !query.contains_key("_elements") {
        return Some(refusal(500, "exception", "one of them cannot be shown"));
    }
    let status = server.later.filter(|status| *status >= 400 && from > 0)?;
    Some(refusal(status, "exception", "no such page"))
}

pub(super) fn without_tags(body: String) -> String {
    let mut resource = serde_json::from_str::<Value>(&body).unwrap();
    if let Some(meta) = resource.get_mut("meta").and_then(Value::as_object_mut) {
        meta.remove("tag");
    }
    resource.to_string()
}

/// A record as it is shown, with what the server knows of this version.
pub(super) fn with_meta(body: &str, changed: i64, version: u64) -> Value {
    let mut resource = serde_json::from_str::<Value>(body).unwrap();
    resource["meta"]["lastUpdated"] = json!(instant(changed));
    resource["meta"]["versionId"] = json!(version.to_string());
    resource
}
