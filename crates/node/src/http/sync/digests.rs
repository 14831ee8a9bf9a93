//! Digests of a feed's records, page by page, and records by name: how a reader that cannot go on
//! from its marker finds what differs, and how two sites prove that they hold the same.

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use protocol::feed::{EntryKind, FeedInfo};
use protocol::stream::{self, Header, OutLine, OutRecord};
use protocol::{Digest, RecordRef};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use store::{DigestScope, Scope, StoredVersion};

use crate::http::api::shapes;
use crate::http::body;
use crate::http::error::{self, Failure, Problem};
use crate::http::sync::{SMALL_BODY, child_of, header as header_text};
use crate::site::Site;
use crate::wire::{self, AVAILABLE_DICTIONARY, Coding};

/// Digests in one answer.
pub const PAGE: usize = 10_000;
/// Records that may be asked for in one request.
pub const FETCH: usize = 500;

/// From where a page of digests starts.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DigestQuery {
    /// After this record, in the order of references.
    #[schemars(with = "Option<shapes::Reference>")]
    after: Option<RecordRef>,
}

/// The first line of a page of digests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DigestHeader {
    /// The version of this form.
    pub digests: u32,
    /// The feed.
    pub feed: protocol::FeedId,
    /// The publishing site's epoch.
    pub epoch: protocol::Epoch,
    /// Its sequence when the page was read.
    pub sequence: u64,
    /// The feed's newest position, read before the digests.
    pub head: u64,
}

/// The last line of a page of digests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DigestEnd {
    /// How many digests the page has.
    pub end: usize,
    /// Whether there are more after the last one.
    pub more: bool,
}

/// `GET /sync/feeds/{feed}/digests?after=REF`: a header line, `["Type/id","short digest"]` lines
/// in the order of references, an end line.
pub async fn list(
    State(site): State<Site>,
    Path(feed): Path<String>,
    asked: Result<Query<DigestQuery>, QueryRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let (_, scope) = child_of(&parts, &site).await?;
    let query = error::query(asked)?;
    page_of(&site, &parts, &feed, &scope, query).await
}

/// A page of digests of a feed.
pub(super) async fn page_of(
    site: &Site,
    parts: &Parts,
    feed: &str,
    scope: &Scope,
    query: DigestQuery,
) -> Result<Response, Problem> {
    let (info, sequence) = feed_info(site, feed, scope).await?;
    let asked = DigestScope::Published { feed: feed.to_owned(), scope: scope.clone() };
    let digests =
        site.read(move |store| store.record_digests(&asked, query.after.as_ref(), PAGE)).await?;
    let head =
        DigestHeader { digests: 1, feed: info.id, epoch: info.epoch, sequence, head: info.head };
    let mut text = line_of(&head)?;
    for (record, digest) in &digests {
        text.push_str(&line_of(&(record, digest.short().to_string()))?);
    }
    text.push_str(&line_of(&DigestEnd { end: digests.len(), more: digests.len() == PAGE })?);
    Ok(compressed(&parts.headers, &text)?)
}

/// All digests of a feed in one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// How many records it has that are not deleted.
    pub records: u64,
    /// The SHA-256 of their lines, as the pages of digests have them, in hexadecimal digits.
    pub digest: String,
}

/// `GET /sync/feeds/{feed}/summary`: by which a reader sees that it holds just that.
pub async fn summary(
    State(site): State<Site>,
    Path(feed): Path<String>,
    request: Request,
) -> Result<Json<Summary>, Problem> {
    let (parts, _) = request.into_parts();
    let (_, scope) = child_of(&parts, &site).await?;
    feed_info(&site, &feed, &scope).await?;
    Ok(Json(summary_of(&site, &DigestScope::Published { feed, scope }).await?))
}

/// What a site publishes in a feed, or holds of one, in short. (A reader need not have heard of a
/// record that is not there any more.)
pub async fn summary_of(site: &Site, scope: &DigestScope) -> Result<Summary, Failure> {
    let (mut records, mut hash) = (0, Sha256::new());
    let mut after: Option<RecordRef> = None;
    loop {
        let (asked, from) = (scope.clone(), after.take());
        let page =
            site.read(move |store| store.record_digests(&asked, from.as_ref(), PAGE)).await?;
        for (name, digest) in &page {
            if *digest != Digest::of_deletion(name) {
                records += 1;
                hash.update(line_of(&(name, digest.short().to_string()))?);
            }
        }
        if page.len() < PAGE {
            return Ok(Summary { records, digest: Digest(hash.finalize().into()).to_string() });
        }
        after = page.into_iter().next_back().map(|(name, _)| name);
    }
}

fn line_of(value: &impl Serialize) -> Result<String, Failure> {
    let mut line = serde_json::to_string(value).map_err(|error| broken(&error.to_string()))?;
    line.push('\n');
    Ok(line)
}

async fn feed_info(site: &Site, feed: &str, scope: &Scope) -> Result<(FeedInfo, u64), Failure> {
    let scope = scope.clone();
    let (feeds, info) =
        site.read(move |store| Ok((store.feed_list(&scope)?, store.site()?))).await?;
    let found = feeds.into_iter().find(|known| known.name == feed);
    let found = found.ok_or_else(|| Failure::not_found("there is no such feed"))?;
    Ok((found, info.sequence))
}

/// What `POST /sync/feeds/{feed}/fetch` takes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FetchBody {
    /// At most `FETCH` records.
    #[schemars(with = "Vec<shapes::Reference>")]
    pub records: Vec<RecordRef>,
}

/// Gives whole records, each in a line of its own, at position 0: they are no entries of the feed.
pub async fn fetch(
    State(site): State<Site>,
    Path(feed): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, payload) = request.into_parts();
    let (_, scope) = child_of(&parts, &site).await?;
    records_of(&site, &parts, payload, &feed, scope).await
}

/// The records of a feed that the body names.
pub(super) async fn records_of(
    site: &Site,
    parts: &Parts,
    payload: Body,
    feed: &str,
    scope: Scope,
) -> Result<Response, Problem> {
    let bytes = body::read(site, &parts.headers, payload, SMALL_BODY).await?;
    let asked: FetchBody = serde_json::from_slice(&bytes)
        .map_err(|error| Failure::bad_request(format!("the body is not understood: {error}")))?;
    if asked.records.len() > FETCH {
        return Err(Failure::bad_request(format!("at most {FETCH} records at a time")).into());
    }
    let (info, sequence) = feed_info(site, feed, &scope).await?;
    let name = feed.to_owned();
    let found = site.read(move |store| store.feed_fetch(&name, &asked.records, &scope)).await?;
    let head = Header {
        feed: info.id,
        epoch: info.epoch,
        sequence,
        after: info.head,
        head: info.head,
        behind: 0,
        oldest: None,
    };
    let mut text = String::new();
    stream::write_header(&mut text, &head);
    for version in found.unwrap_or_default() {
        stream::write_line(&mut text, &line_for(version));
    }
    // No marker moves by what was fetched: the comparison sets it when it is through.
    stream::write_end(&mut text, 0, false);
    Ok(compressed(&parts.headers, &text)?)
}

fn line_for(version: StoredVersion) -> OutLine {
    let (reference, digest, base) = (version.reference, version.digest, None);
    let record = match version.body {
        Some(body) => OutRecord::Resource { reference, body, digest, base },
        None => OutRecord::Deleted { reference, base },
    };
    OutLine {
        position: Some(0),
        kind: EntryKind::Change,
        id: None,
        covers: Vec::new(),
        part: None,
        author: None,
        at: Some(version.recorded),
        patients: Vec::new(),
        reason: None,
        records: vec![record],
    }
}

pub(super) fn compressed(asked: &HeaderMap, text: &str) -> Result<Response, Failure> {
    let coding = Coding::negotiate(
        header_text(asked, "accept-encoding"),
        header_text(asked, AVAILABLE_DICTIONARY),
    );
    let bytes =
        wire::encode(coding, text.as_bytes()).map_err(|error| broken(&error.to_string()))?;
    let mut response = Body::from(bytes).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    if let Some(name) = coding.name() {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(name));
    }
    Ok(response)
}

fn broken(error: &str) -> Failure {
    let detail = format!("failed to write the answer: {error}");
    Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "exception", detail)
}
