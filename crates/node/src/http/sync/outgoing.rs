//! `/sync/feeds/outgoing`: the parent reads what goes up from here, and says what became of it.
//! Implements `docs/protocol.md` §2, "Being read".

pub mod itself;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use protocol::stream::{self, Header};
use protocol::{Epoch, Refusal, SiteId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use store::{LinkName, OutgoingQuery, ReaderSeen, Scope, StoreError, TokenScope};

use crate::config::Up;
use crate::http::auth::{Caller, EPOCH_HEADER, SITE_HEADER};
use crate::http::body;
use crate::http::error::{self, Failure, Problem};
use crate::http::sync::{changes, check_version, digests, header};
use crate::pause;
use crate::site::Site;

/// Words that one request may bring.
pub const WORDS: usize = 1_000;

/// Who reads: the parent, in a life of its store.
struct Reader {
    site: SiteId,
    epoch: Epoch,
}

/// The reader that asks. Anybody else has no business here; and where this site sends its changes
/// itself, nobody has: two ways at a time could bring an older state after a newer one.
async fn reader_of(parts: &Parts, site: &Site) -> Result<Reader, Failure> {
    check_version(&parts.headers)?;
    match Caller::any(parts, site).await? {
        Caller::Program { scope: TokenScope::ReadOutgoing, .. } => {}
        Caller::Program { .. } => {
            let detail = "this is for the parent, with a credential of the scope read-outgoing";
            return Err(Failure::new(StatusCode::FORBIDDEN, "forbidden", detail));
        }
        Caller::Child { .. } => return Err(Failure::not_found("there is no such feed")),
    }
    let parent = site.config().parent.as_ref().filter(|parent| parent.up == Up::Read);
    let Some(parent) = parent else {
        let detail = "this site is not read: it has no parent, or parent.up is not \"read\"";
        return Err(Failure::new(StatusCode::CONFLICT, "not-read", detail));
    };
    pause::refuse(site, LinkName::Parent).await?;
    let said = |name: &str| header(&parts.headers, name);
    if said(SITE_HEADER) != Some(parent.site.as_str()) {
        let detail = format!("only {}, this site's parent, may read here", parent.site);
        return Err(Failure::new(StatusCode::FORBIDDEN, "forbidden", detail));
    }
    let epoch = said(EPOCH_HEADER).and_then(|text| text.parse().ok());
    let odd = || Failure::bad_request("the header Tributary-Epoch is missing or not a UUID");
    Ok(Reader { site: parent.site.clone(), epoch: epoch.ok_or_else(odd)? })
}

/// The query of a reader.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReadQuery {
    /// Its marker.
    after: u64,
    /// The epoch that the marker belongs to; left out at the first contact.
    epoch: Option<String>,
    /// Bytes of text that the answer may have, about.
    limit: Option<usize>,
}

/// What comes after the marker and was not taken yet.
pub async fn read(
    State(site): State<Site>,
    asked: Result<Query<ReadQuery>, QueryRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let reader = reader_of(&parts, &site).await?;
    let asked = error::query(asked)?;
    let epoch = asked.epoch.as_deref().map(str::parse).transpose().map_err(Failure::from)?;
    let most = site.config().limits.stream_bytes;
    let bytes = asked.limit.unwrap_or(most).min(most);
    let query = OutgoingQuery { after: asked.after, epoch, bytes };
    let seen = ReaderSeen { site: reader.site, epoch: reader.epoch, position: asked.after };
    let now = site.now();
    let slice = site.read(move |store| {
        store.outgoing_read(&seen, now)?;
        store.outgoing_changes(&query)
    });
    let slice = match slice.await {
        Err(StoreError::Gone { epoch, head }) => {
            return Ok(changes::gone(query.epoch, query.after, &epoch, head));
        }
        other => other?.ok_or_else(|| Failure::not_found("there is no such feed"))?,
    };
    let mut text = String::new();
    let head = Header {
        feed: slice.feed.id,
        epoch: slice.feed.epoch,
        sequence: slice.sequence,
        after: query.after,
        head: slice.feed.head,
        behind: slice.feed.head.saturating_sub(query.after),
        oldest: slice.oldest.filter(|_| slice.more),
    };
    stream::write_header(&mut text, &head);
    for line in &slice.lines {
        stream::write_line(&mut text, line);
    }
    stream::write_end(&mut text, slice.end, slice.more);
    Ok(digests::compressed(&parts.headers, &text)?)
}

/// Digests of all that is here, for a reader whose marker does not fit any more.
pub async fn list(
    State(site): State<Site>,
    asked: Result<Query<digests::DigestQuery>, QueryRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    reader_of(&parts, &site).await?;
    let query = error::query(asked)?;
    digests::page_of(&site, &parts, "outgoing", &Scope::Everything, query).await
}

/// Whole records by name, for the same.
pub async fn fetch(State(site): State<Site>, request: Request) -> Result<Response, Problem> {
    let (parts, payload) = request.into_parts();
    reader_of(&parts, &site).await?;
    digests::records_of(&site, &parts, payload, "outgoing", Scope::Everything).await
}

#[derive(Debug, Deserialize)]
struct Words {
    receipts: Vec<Box<RawValue>>,
}

/// The answer to receipts.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Settled {
    /// Changes whose state they changed; of those that were said before, none.
    pub settled: u64,
}

/// Takes in what became of changes that were read.
pub async fn settle(State(site): State<Site>, request: Request) -> Result<Json<Settled>, Problem> {
    let (parts, payload) = request.into_parts();
    reader_of(&parts, &site).await?;
    let most = site.config().limits.body_bytes;
    let bytes = body::read(&site, &parts.headers, payload, most).await?;
    let odd = || Failure::bad_request("the body is not a list of receipts");
    let words: Words = serde_json::from_slice(&bytes).map_err(|_| odd())?;
    if words.receipts.len() > WORDS {
        let detail = format!("at most {WORDS} receipts may be brought at once");
        return Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "too-long", detail).into());
    }
    let words = words.receipts.iter().map(|one| protocol::message::Receipt::read(one.get()));
    let words = words.collect::<Result<Vec<_>, Refusal>>()?;
    let (now, jitter) = (site.now(), site.entropy().number());
    let settled = site.write(move |store| store.outgoing_settle(&words, now, jitter)).await?;
    Ok(Json(Settled { settled }))
}
