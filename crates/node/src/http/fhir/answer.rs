//! What an interaction gives, before it is known whether it becomes an HTTP response or an entry
//! of a Bundle; and how it becomes the former.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use protocol::json::{self, Json, Object, Text};
use protocol::{RecordRef, Timestamp};
use store::StoredVersion;

use super::conditions::etag;
use crate::http::error::Failure;

/// The media type of everything that `/fhir` answers with.
pub(super) const FHIR_JSON: &str = "application/fhir+json; charset=utf-8";
/// Below this a compressed body is hardly smaller.
const COMPRESS_FROM: usize = 1_024;

/// What an interaction gives.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// FHIR JSON.
    pub(super) body: Option<String>,
    /// The version it is about: its number and when it was recorded.
    pub(super) version: Option<(u64, Timestamp)>,
    /// The record that a write was about.
    pub(super) location: Option<RecordRef>,
}

impl Answer {
    /// A body and nothing else.
    pub(super) fn of(body: String) -> Answer {
        Answer { status: StatusCode::OK, body: Some(body), version: None, location: None }
    }

    /// As an HTTP response. `base` is the public URL of the API.
    pub(super) fn into_response(self, base: &str, method: &Method, asked: &HeaderMap) -> Response {
        let mut headers = HeaderMap::new();
        if let Some((version, recorded)) = self.version {
            put(&mut headers, header::ETAG, &etag(version));
            put(&mut headers, header::LAST_MODIFIED, &http_date(recorded));
            if let Some(record) = &self.location {
                let url = format!("{base}/{record}/_history/{version}");
                put(&mut headers, header::LOCATION, &url);
            }
        }
        put(&mut headers, header::CACHE_CONTROL, "private, no-cache");
        respond(self.status, headers, self.body, method, asked)
    }
}

/// An error as a response.
pub(super) fn failed(failure: &Failure, method: &Method, asked: &HeaderMap) -> Response {
    let (mut parts, _) = failure.outcome().into_parts();
    parts.headers.remove(header::CONTENT_TYPE);
    parts.headers.remove(header::CONTENT_LENGTH);
    let body = failure.outcome_json().to_string();
    respond(parts.status, parts.headers, Some(body), method, asked)
}

fn respond(
    status: StatusCode,
    mut headers: HeaderMap,
    body: Option<String>,
    method: &Method,
    asked: &HeaderMap,
) -> Response {
    let mut bytes = body.unwrap_or_default().into_bytes();
    if !bytes.is_empty() {
        put(&mut headers, header::CONTENT_TYPE, FHIR_JSON);
        put(&mut headers, header::VARY, "accept-encoding");
        if bytes.len() >= COMPRESS_FROM && takes_gzip(asked) {
            bytes = gzip(&bytes);
            put(&mut headers, header::CONTENT_ENCODING, "gzip");
        }
    }
    // A 304 and a 204 have no length; a HEAD has that of its GET.
    if !matches!(status, StatusCode::NOT_MODIFIED | StatusCode::NO_CONTENT) {
        put(&mut headers, header::CONTENT_LENGTH, &bytes.len().to_string());
    }
    if method == Method::HEAD {
        bytes.clear();
    }
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn put(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    // Values are made of numbers, ids and the checked public URL; a bad one is left out.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn takes_gzip(asked: &HeaderMap) -> bool {
    let values = asked.get_all(header::ACCEPT_ENCODING).iter().filter_map(|v| v.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|one| {
        let (name, quality) = one.split_once(';').unwrap_or((one, ""));
        let refused = quality.trim().strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0_f32));
        matches!(name.trim(), "gzip" | "*") && !refused
    })
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writer.write_all(bytes).and_then(|()| writer.finish()).expect("writing to memory does not fail")
}

/// A time as HTTP writes it, in whole seconds.
pub(super) fn http_date(time: Timestamp) -> String {
    let millis = u64::try_from(time.millis()).unwrap_or(0);
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_millis(millis))
}

/// A stored version as `/fhir` shows it: with its `meta.versionId` and `meta.lastUpdated`, and
/// else byte for byte as it is stored. `None` where it is deleted.
pub(super) fn shown(version: &StoredVersion) -> Option<String> {
    version.body.as_deref().map(|body| with_meta(body, version.sequence, version.recorded))
}

/// A body with the version it has here.
pub(super) fn with_meta(body: &str, sequence: u64, recorded: Timestamp) -> String {
    // What was stored was read by the same parser; should it ever not be, it is shown as it is.
    let Ok(Json::Object(resource)) = json::parse(body.as_bytes(), json::DEPTH_MAX) else {
        return body.to_owned();
    };
    let mut meta = Object::default();
    meta.set("versionId", Json::string(sequence.to_string()));
    meta.set("lastUpdated", Json::string(recorded.to_string()));
    if let Some(Json::Object(old)) = resource.get("meta") {
        for (key, value) in old.iter() {
            meta.set(key.decode().into_owned(), value.clone());
        }
    }
    let mut out = String::with_capacity(body.len() + 96);
    Json::Object(placed(resource, meta)).write(&mut out);
    out
}

/// The resource with this `meta` in the place of its own, or after its id.
fn placed<'a>(mut resource: Object<'a>, meta: Object<'a>) -> Object<'a> {
    if resource.get("meta").is_some() {
        resource.set("meta", Json::Object(meta));
        return resource;
    }
    let mut members = resource.into_members();
    let after = members.iter().position(|(key, _)| key == "id").map_or(0, |index| index + 1);
    members.insert(after, (Text::plain("meta"), Json::Object(meta)));
    Object::from_members(members)
}

/// An OperationOutcome that says that all is well.
pub(super) fn all_well(detail: &str) -> String {
    serde_json::json!({
        "resourceType": "OperationOutcome",
        "issue": [{"severity": "information", "code": "informational", "diagnostics": detail}],
    })
    .to_string()
}

/// Writes a Bundle whose resources are text already.
pub(super) struct BundleText {
    out: String,
    entries: usize,
}

impl BundleText {
    /// Begins a Bundle of a type.
    pub(super) fn new(kind: &str, at: Timestamp, total: Option<u64>) -> BundleText {
        let mut out = format!(
            r#"{{"resourceType":"Bundle","type":"{kind}","timestamp":"{at}"{}"#,
            total.map(|total| format!(r#","total":{total}"#)).unwrap_or_default()
        );
        out.reserve(1 << 12);
        BundleText { out, entries: 0 }
    }
    /// Adds links, before any entry.
    pub(super) fn links(mut self, links: &[(&str, String)]) -> BundleText {
        let list: Vec<_> = links
            .iter()
            .map(|(relation, url)| serde_json::json!({"relation": relation, "url": url}))
            .collect();
        let _ = write!(self.out, r#","link":{}"#, serde_json::Value::Array(list));
        self
    }
    /// Adds an entry: its URL, its resource as text, and its other members.
    pub(super) fn entry(
        &mut self,
        full_url: Option<&str>,
        resource: Option<&str>,
        rest: &[(&str, serde_json::Value)],
    ) {
        self.out.push_str(if self.entries == 0 { r#","entry":[{"# } else { ",{" });
        self.entries += 1;
        let begin = self.out.len();
        if let Some(url) = full_url {
            let _ = write!(self.out, r#""fullUrl":{},"#, serde_json::Value::from(url));
        }
        if let Some(resource) = resource {
            let _ = write!(self.out, r#""resource":{resource},"#);
        }
        for (name, value) in rest {
            let _ = write!(self.out, r#""{name}":{value},"#);
        }
        if self.out.len() > begin {
            self.out.pop();
        }
        self.out.push('}');
    }
    /// The Bundle.
    pub(super) fn finish(mut self) -> String {
        self.out.push_str(if self.entries == 0 { "}" } else { "]}" });
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_shown_with_its_meta_and_else_as_it_is_stored() {
        let at = Timestamp::from_millis(1_795_421_730_123);
        let meta = r#""versionId":"7","lastUpdated":"2026-11-23T08:15:30.123Z""#;
        for (body, expected) in [
            (
                r#"{"resourceType":"Patient","id":"a","x":1.00}"#,
                format!(r#"{{"resourceType":"Patient","id":"a","meta":{{{meta}}},"x":1.00}}"#),
            ),
            (
                r#"{"meta":{"profile":["p\u00e9"]},"id":"a"}"#,
                format!(r#"{{"meta":{{{meta},"profile":["p\u00e9"]}},"id":"a"}}"#),
            ),
        ] {
            assert_eq!(with_meta(body, 7, at), expected);
        }
    }

    #[test]
    fn a_bundle_is_json_whatever_it_holds() {
        let at = Timestamp::from_millis(0);
        let empty = BundleText::new("searchset", at, Some(0)).finish();
        assert!(serde_json::from_str::<serde_json::Value>(&empty).is_ok(), "{empty}");
        let mut bundle = BundleText::new("history", at, None).links(&[("self", "u\"".to_owned())]);
        bundle.entry(Some("a\"b"), Some("{}"), &[("search", serde_json::json!({"mode": "match"}))]);
        bundle.entry(None, None, &[]);
        let value: serde_json::Value = serde_json::from_str(&bundle.finish()).unwrap();
        assert_eq!(value["entry"][0]["fullUrl"], "a\"b");
        assert_eq!(value["link"][0]["url"], "u\"");
        assert_eq!(value["entry"][1], serde_json::json!({}));
    }

    #[test]
    fn gzip_is_used_where_it_is_taken() {
        let headers = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
            headers
        };
        assert!(takes_gzip(&headers("br, gzip;q=0.5")));
        assert!(takes_gzip(&headers("*")));
        assert!(!takes_gzip(&headers("br, gzip;q=0")));
        assert!(!takes_gzip(&HeaderMap::new()));
    }
}
