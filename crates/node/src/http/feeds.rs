//! Atom feeds for any reader. Implements `docs/protocol.md` §1.

mod bundle;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use protocol::feed::atom;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use store::{AuditRow, Disclosure, Scope};

use crate::disclosure;
use crate::http::api::{Api, Doc, Who, shapes};
use crate::http::auth::Caller;
use crate::http::error::{Failure, Problem};

use crate::site::Site;

/// The routes below `/feeds`.
pub(super) fn api() -> Api {
    let says = |summary| Doc::of(Who::Readers, summary);
    let page =
        |summary| says(summary).gives_media(&["application/atom+xml", "application/fhir+json"]);
    let page = |summary| page(summary).with(&[200, 304]);
    Api::default()
        .get("/", list, says("Feeds that the caller may read").gives::<shapes::Feeds>())
        .get("/{feed}/recent", recent, page("The newest page of a feed"))
        .get("/{feed}/{number}", numbered, page("A page of a feed"))
}

/// `GET /feeds`: the feeds that the caller may read.
async fn list(State(site): State<Site>, request: Request) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let caller = Caller::of(&parts, &site).await?;
    let scope = caller.scope();
    let feeds = site.read(move |store| store.feed_list(&scope)).await?;
    let base = &site.config().public_url;
    let feeds: Vec<_> = feeds
        .iter()
        .map(|feed| {
            json!({
                "name": feed.name,
                "title": feed.title,
                "id": feed.id.to_string(),
                "epoch": feed.epoch.to_string(),
                "head": feed.head,
                "recent": format!("{base}/feeds/{}/recent", feed.name),
            })
        })
        .collect();
    let body = json!({"site": site.id(), "feeds": feeds}).to_string();
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

async fn recent(
    State(site): State<Site>,
    Path(feed): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    page(site, feed, None, request).await
}

async fn numbered(
    State(site): State<Site>,
    Path((feed, number)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let number: u64 = number.parse().map_err(|_| absent())?;
    page(site, feed, Some(number), request).await
}

fn absent() -> Failure {
    Failure::not_found("there is no such feed or page")
}

async fn page(
    site: Site,
    feed: String,
    number: Option<u64>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let caller = Caller::of(&parts, &site).await?;
    let scope = caller.scope();
    let asked = (feed.clone(), scope.clone());
    let page = site.read(move |store| store.feed_page(&asked.0, number, &asked.1)).await?;
    let Some(page) = page else {
        note_denied(&site, &caller, &feed).await?;
        return Err(absent().into());
    };
    let wants_fhir = parts
        .headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("json"));
    let archived = number.is_some() && page.feed.is_archived(page.number);
    if wants_fhir {
        let names = page.entries.iter().flat_map(|entry| &entry.records).map(|(name, _)| name);
        let records = disclosure::records(names);
        let detail = format!("{feed} page {}", page.number);
        let read = disclosure::by(&caller, "feed-read", detail);
        disclosure::note(&site, Disclosure { records, ..read }).await?;
        let body = bundle::of_page(&site, &page, &scope).await?;
        // What a page's records say today can change; which entries it has cannot.
        return Ok(answer(&parts.headers, "application/fhir+json", body, false));
    }
    let view = if number.is_some() { atom::View::Numbered } else { atom::View::Recent };
    let body = atom::write(&page, view, &site.config().public_url);
    Ok(answer(&parts.headers, "application/atom+xml", body, archived))
}

/// A feed that exists and that the caller may not read is answered like one that does not; the
/// audit tells the difference.
async fn note_denied(site: &Site, caller: &Caller, feed: &str) -> Result<(), Failure> {
    let Caller::Child { site: child, .. } = caller else { return Ok(()) };
    let (actor, feed, now) = (format!("child:{child}"), feed.to_owned(), site.now());
    site.read(move |store| {
        if !store.feed_list(&Scope::Everything)?.iter().any(|known| known.name == feed) {
            return Ok(());
        }
        let (action, detail) = ("feed-denied", "not one of its cohorts".to_owned());
        store.audit_append(&AuditRow { actor, action, subject: feed, detail }, now)
    })
    .await?;
    Ok(())
}

/// The page with a strong ETag, or 304.
fn answer(asked: &HeaderMap, content_type: &'static str, body: String, archived: bool) -> Response {
    let hash = Sha256::digest(body.as_bytes());
    let etag = format!("\"{:032x}\"", u128::from_be_bytes(first_16(&hash)));
    let known = asked
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|value| value.trim() == etag || value.trim() == "*");
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, content_type)], body).into_response()
    };
    let cache = if archived { "private, max-age=31536000, immutable" } else { "no-cache" };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    headers.insert(header::VARY, HeaderValue::from_static("accept, accept-encoding"));
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(header::ETAG, etag);
    }
    response
}

fn first_16(hash: &[u8]) -> [u8; 16] {
    let mut first = [0; 16];
    first.copy_from_slice(&hash[..16]);
    first
}
