//! Searches and histories, page by page.

use std::collections::BTreeSet;
use std::time::UNIX_EPOCH;

use axum::http::{StatusCode, header};
use protocol::resource::references::record_named;
use protocol::{RecordRef, Timestamp};
use reqwest::Url;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{ANSWER_BYTES, Asked, FHIR_JSON, FhirError, FhirServer, Private};
use crate::ports::LinkError;

/// Pages of one search that are followed.
const PAGES: usize = 10_000;
/// Pages in a row without anything.
const EMPTY_PAGES: usize = 20;
/// Characters of the id of a version (FHIR's own bound).
const VERSION: usize = 64;

/// One entry of a search or a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Which record, where that is said of one that is here.
    pub record: Option<RecordRef>,
    /// Its body, as it came; `None` where it was deleted.
    pub body: Option<String>,
    /// When it was changed there, as it is written.
    pub changed: Option<String>,
    /// Which version of it that is, where that is told.
    pub version: Option<String>,
}

/// One page.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// What stands in it.
    pub found: Vec<Found>,
    /// Where the next page is: a path on the server, to be given to `pages`.
    pub next: Option<String>,
    /// When the server made it, by its own clock.
    pub at: Option<String>,
}

/// A search or a history of a server.
pub struct Pages<'a> {
    server: &'a FhirServer,
    next: Option<Url>,
    visited: BTreeSet<String>,
    empty: usize,
}

#[derive(Deserialize)]
struct Bundle {
    #[serde(rename = "resourceType")]
    kind: String,
    meta: Option<Meta>,
    #[serde(default)]
    link: Vec<Link>,
    #[serde(default)]
    entry: Vec<Entry>,
}

#[derive(Deserialize)]
struct Link {
    relation: String,
    url: String,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "fullUrl")]
    full_url: Option<String>,
    resource: Option<Box<RawValue>>,
    request: Option<Requested>,
    response: Option<Answered>,
    search: Option<Mode>,
}

#[derive(Deserialize)]
struct Requested {
    method: Option<String>,
    url: Option<String>,
}

#[derive(Deserialize)]
struct Answered {
    #[serde(rename = "lastModified")]
    changed: Option<String>,
}

#[derive(Deserialize)]
struct Mode {
    mode: Option<String>,
}

#[derive(Deserialize)]
struct Named {
    #[serde(rename = "resourceType")]
    kind: String,
    id: Option<String>,
    meta: Option<Meta>,
}

#[derive(Deserialize)]
struct Meta {
    #[serde(rename = "lastUpdated")]
    changed: Option<String>,
    #[serde(rename = "versionId")]
    version: Option<String>,
}

impl FhirServer {
    /// The pages of what is asked for below the base: `Patient?_lastUpdated=ge...`, `_history`.
    pub fn pages(&self, path: &str) -> Result<Pages<'_>, LinkError> {
        let next = Some(self.below(path)?);
        Ok(Pages { server: self, next, visited: BTreeSet::new(), empty: 0 })
    }
}

impl Pages<'_> {
    /// The next page; `None` where there is none.
    pub async fn next(&mut self) -> Result<Option<Page>, FhirError> {
        let Some(url) = self.next.take() else { return Ok(None) };
        if !self.visited.insert(url.to_string()) {
            return Err(LinkError("its pages loop: one comes again".to_owned()).into());
        }
        if self.visited.len() > PAGES {
            return Err(LinkError(format!("its pages do not end within {PAGES}")).into());
        }
        let server = self.server;
        let response = server.get(&url, FHIR_JSON).await?;
        if response.status != StatusCode::OK {
            return Err(server.fault(response, &Private::default(), Asked::Read).await);
        }
        let date = response.headers.get(header::DATE).and_then(|date| date.to_str().ok());
        let date = date.and_then(|date| httpdate::parse_http_date(date).ok());
        let date = date.and_then(|date| date.duration_since(UNIX_EPOCH).ok());
        let date = date.and_then(|since| i64::try_from(since.as_millis()).ok());
        let body = server.within(response, ANSWER_BYTES).await?.ok_or_else(|| {
            FhirError::TooMuch(format!("a page is longer than {ANSWER_BYTES} bytes"))
        })?;
        let (found, next, made) = read(&body, server.base())?;
        let at = made.or_else(|| date.map(|at| Timestamp::from_millis(at).to_string()));
        self.empty = if found.is_empty() { self.empty + 1 } else { 0 };
        if self.empty > EMPTY_PAGES {
            return Err(LinkError(format!("{EMPTY_PAGES} of its pages in a row are empty")).into());
        }
        let path = next.as_ref().map(path_of);
        self.next = next;
        Ok(Some(Page { found, next: path, at }))
    }
}

/// What stands in a page, where the next one is, and when this one was made.
type PageRead = (Vec<Found>, Option<Url>, Option<String>);

/// Reads a page.
fn read(body: &[u8], base: &Url) -> Result<PageRead, LinkError> {
    let odd = || LinkError("what it answers to a search is no Bundle".to_owned());
    let bundle: Bundle = serde_json::from_slice(body).map_err(|_| odd())?;
    if bundle.kind != "Bundle" {
        return Err(odd());
    }
    let next = bundle.link.iter().find(|link| link.relation == "next");
    let next = next.map(|next| here(&next.url, base)).transpose()?;
    let made = bundle.meta.and_then(|meta| meta.changed);
    Ok((bundle.entry.into_iter().filter_map(found).collect(), next, made))
}

/// Path and query of a URL.
fn path_of(url: &Url) -> String {
    match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    }
}

/// A link as it is followed: below the configured base, whatever host the server takes itself to
/// be. What does not lie there is refused, and nobody else is ever asked.
fn here(text: &str, base: &Url) -> Result<Url, LinkError> {
    let odd = || LinkError("its next page has no URL".to_owned());
    let url = base.join(text.trim()).map_err(|_| odd())?;
    // Some servers page by `BASE?_getpages=...`, without the slash.
    let below =
        url.path().starts_with(base.path()) || url.path() == base.path().trim_end_matches('/');
    if !matches!(url.scheme(), "http" | "https") || !below {
        let host = url.host_str().unwrap_or("nowhere");
        return Err(LinkError(format!(
            "its next page is not below `url` (it is at {host}): `url` has to end with the path \
             under which it knows itself"
        )));
    }
    let mut here = base.clone();
    here.set_path(url.path());
    here.set_query(url.query());
    Ok(here)
}

fn found(entry: Entry) -> Option<Found> {
    let mode = entry.search.and_then(|search| search.mode);
    if mode.is_some_and(|mode| mode != "match") {
        return None;
    }
    let request = entry.request.as_ref();
    let deleted = request.is_some_and(|asked| asked.method.as_deref() == Some("DELETE"));
    let body = entry.resource.map(|body| body.get().to_owned()).filter(|_| !deleted);
    let named = body.as_deref().and_then(|body| serde_json::from_str::<Named>(body).ok());
    let by_body = named
        .as_ref()
        .and_then(|named| RecordRef::new(named.kind.parse().ok()?, named.id.as_deref()?).ok());
    let by_url = || {
        let urls = [request.and_then(|asked| asked.url.as_deref()), entry.full_url.as_deref()];
        urls.into_iter().flatten().find_map(|url| record_named(url.trim_start_matches('/')))
    };
    let changed = entry.response.and_then(|answered| answered.changed);
    let meta = named.as_ref().and_then(|named| named.meta.as_ref());
    let changed = changed.or_else(|| meta?.changed.clone());
    let version = meta.and_then(|meta| meta.version.clone());
    let version = version.filter(|version| version.len() <= VERSION);
    Some(Found { record: by_body.or_else(by_url), changed, version, body })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_next_page_is_followed_on_the_configured_base_and_nowhere_else() {
        let base = Url::parse("https://emr.example/fhir/R4/").unwrap();
        for (link, followed) in [
            ("https://emr.example/fhir/R4/Patient?page=2", Ok("Patient?page=2")),
            ("https://emr.example/fhir/R4?_getpages=a&x=1", Ok("?_getpages=a&x=1")),
            ("http://localhost:8080/fhir/R4/Patient?page=2", Ok("Patient?page=2")),
            ("Patient?page=2", Ok("Patient?page=2")),
            ("https://elsewhere.example/Patient?page=2", Err("elsewhere.example")),
            ("https://emr.example/admin", Err("emr.example")),
            ("file:///fhir/R4/Patient", Err("nowhere")),
            ("https://", Err("no URL")),
        ] {
            let url = here(link, &base);
            match (url, followed) {
                (Ok(url), Ok(end)) => {
                    assert_eq!(url.origin(), base.origin());
                    assert!(url.as_str().ends_with(end), "{url}");
                }
                (Err(error), Err(words)) => assert!(error.0.contains(words), "{error}"),
                (url, _) => panic!("{link}: {url:?}"),
            }
        }
    }

    #[test]
    fn entries_name_their_record_by_what_they_have() {
        let entry = |value: serde_json::Value| {
            let found = found(serde_json::from_value(value).unwrap())?;
            Some((
                found.record.map(|record| record.to_string()),
                found.body.is_some(),
                found.changed,
            ))
        };
        let named = |name: &str| Some(name.to_owned());
        let patient = json!({"resourceType": "Patient", "id": "a",
            "meta": {"lastUpdated": "2026-01-01T00:00:00Z"}});
        assert_eq!(
            entry(json!({"resource": patient})),
            Some((named("Patient/a"), true, named("2026-01-01T00:00:00Z")))
        );
        for deleted in [
            json!({"request": {"method": "DELETE", "url": "Patient/a"}}),
            json!({"fullUrl": "http://x/fhir/Patient/a", "request": {"method": "DELETE"}}),
            json!({"request": {"method": "DELETE", "url": "http://x/Patient/a/_history/3"}}),
        ] {
            assert_eq!(entry(deleted), Some((named("Patient/a"), false, None)));
        }
        assert_eq!(entry(json!({"resource": patient, "search": {"mode": "outcome"}})), None);
        let strange = json!({"resource": {"resourceType": "NutritionIntake", "id": "n"}});
        assert_eq!(entry(strange), Some((None, true, None)));
    }
}
