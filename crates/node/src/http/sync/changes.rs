//! `GET /sync/feeds/{feed}/changes`: a feed made for bad links. One snapshot of the store a
//! portion, compressed as it goes, flushed so that what has arrived can be used.

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use protocol::feed::EntryKind;
use protocol::stream::{self, Header, Lane};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use store::{Disclosure, FeedQuery, FeedSlice, StoreError};

use crate::disclosure;
use crate::http::error::{self, Failure, Problem};
use crate::http::sync::{child_of, header as header_text};
use crate::site::Site;
use crate::wire::{self, AVAILABLE_DICTIONARY, Coding, Encoder};

/// Bytes of bodies that are read from the store at a time.
const SLICE_BYTES: usize = 256 << 10;

/// The query of a stream.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StreamQuery {
    /// `live` (default) or `bulk`.
    lane: Option<String>,
    /// The reader's marker.
    after: u64,
    /// The epoch that the marker belongs to; left out at the first contact.
    epoch: Option<String>,
    /// Bytes of text that the answer may have.
    limit: Option<usize>,
    /// Seconds that an empty answer may be held open.
    wait: Option<u64>,
}

/// Streams what comes after the marker.
pub async fn stream(
    State(site): State<Site>,
    Path(feed): Path<String>,
    asked: Result<Query<StreamQuery>, QueryRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    child_of(&parts, &site).await?;
    let query = error::query(asked)?;
    let lane = match query.lane.as_deref() {
        None => Lane::Live,
        Some(name) => Lane::named(name)
            .ok_or_else(|| Failure::bad_request("lane must be `live` or `bulk`"))?,
    };
    let epoch = query.epoch.as_deref().map(str::parse).transpose().map_err(Failure::from)?;
    let limits = &site.config().limits;
    let left = query.limit.unwrap_or(limits.stream_bytes).min(limits.stream_bytes);
    let wanted = FeedQuery {
        feed,
        lane,
        marker: query.after,
        after: query.after,
        epoch,
        to: None,
        bytes: SLICE_BYTES.min(left),
    };
    let wait = query.wait.unwrap_or(0).min(limits.poll_seconds);
    let first = match first_slice(&site, &wanted, &parts, wait).await? {
        Err(StoreError::Gone { epoch, head }) => {
            return Ok(gone(wanted.epoch, wanted.marker, &epoch, head));
        }
        other => other?,
    };
    let Some(first) = first else {
        return Err(Failure::not_found("there is no such feed").into());
    };
    note_sent(&site, &parts, &first).await?;
    Ok(answer(site.clone(), wanted, parts, first, left)?)
}

/// Notes whose records go to a child for the first time: those who join. What comes of them later
/// goes to who has them already.
pub(super) async fn note_sent(
    site: &Site,
    parts: &Parts,
    slice: &FeedSlice,
) -> Result<(), Failure> {
    let joins = slice.lines.iter().filter(|line| line.kind == EntryKind::Join);
    let patients = disclosure::records(joins.flat_map(|line| &line.patients));
    if patients.is_empty() {
        return Ok(());
    }
    let (caller, _) = child_of(parts, site).await?;
    let sent = disclosure::by(&caller, "sent", format!("by {}", slice.feed.name));
    Ok(disclosure::note(site, Disclosure { patients, ..sent }).await?)
}

/// Waits for the first news where there is none yet. Asks each time who the reader is: its access
/// may have ended meanwhile.
async fn first_slice(
    site: &Site,
    query: &FeedQuery,
    parts: &Parts,
    wait: u64,
) -> Result<Result<Option<FeedSlice>, StoreError>, Failure> {
    let mut news = site.news();
    let end = site.now().plus_millis((wait * 1_000).cast_signed());
    loop {
        news.borrow_and_update();
        let (_, scope) = child_of(parts, site).await?;
        let asked = query.clone();
        let slice = match site.read(move |store| store.feed_changes(&asked, &scope)).await {
            Ok(slice) => slice,
            Err(error) => return Ok(Err(error)),
        };
        let left = end.since(site.now());
        if left <= 0
            || site.is_closing()
            || slice.as_ref().is_none_or(|slice| slice.head > query.after)
        {
            return Ok(Ok(slice));
        }
        // Signals wake; polling guarantees (another process may have written).
        let pause = site.clock().sleep(left.min(2_000).cast_unsigned());
        tokio::select! {
            biased;
            _ = news.changed() => {},
            () = pause => {},
            () = site.closed() => {},
        }
    }
}

/// A marker does not fit.
pub(super) fn gone(
    asked: Option<protocol::Epoch>,
    marker: u64,
    epoch: &protocol::Epoch,
    head: u64,
) -> Response {
    let body = json!({
        "type": "about:blank",
        "title": "Conflict",
        "status": 409,
        "code": "conflict",
        "detail": "the marker is not one of this feed's present epoch: compare digests, fetch \
                   what differs, then set the marker to the head",
        "asked": {"epoch": asked.map(|epoch| epoch.to_string()), "after": marker},
        "epoch": epoch.to_string(),
        "head": head,
    });
    let kind = [(header::CONTENT_TYPE, "application/problem+json")];
    (StatusCode::CONFLICT, kind, body.to_string()).into_response()
}

fn answer(
    site: Site,
    query: FeedQuery,
    parts: Parts,
    first: FeedSlice,
    left: usize,
) -> Result<Response, Failure> {
    let asked = &parts.headers;
    let coding = Coding::negotiate(
        header_text(asked, "accept-encoding"),
        header_text(asked, AVAILABLE_DICTIONARY),
    );
    let mut text = String::new();
    write_head(&mut text, &query, &first);
    let body = if first.more {
        let encoder = Encoder::new(coding, None).map_err(|error| broken(&error))?;
        let query = FeedQuery { to: Some(first.head), ..query };
        let state = Streaming { site, query, parts, encoder, text, next: Some(first), left };
        Body::from_stream(portions(state))
    } else {
        // All of it is here: its length is shorter to say than chunks are.
        for line in &first.lines {
            stream::write_line(&mut text, line);
        }
        stream::write_end(&mut text, first.end, first.more);
        Body::from(wire::encode(coding, text.as_bytes()).map_err(|error| broken(&error))?)
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    if let Some(name) = coding.name() {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(name));
    }
    Ok(response)
}

fn write_head(text: &mut String, query: &FeedQuery, slice: &FeedSlice) {
    let head = Header {
        feed: slice.feed.id,
        epoch: slice.feed.epoch,
        sequence: slice.sequence,
        after: query.after,
        head: slice.head,
        behind: slice.behind,
        // Who gets everything with this answer is not behind after it.
        oldest: slice.oldest.filter(|_| slice.more),
    };
    stream::write_header(text, &head);
}

struct Streaming {
    site: Site,
    query: FeedQuery,
    /// The head of the request, which says who reads.
    parts: Parts,
    encoder: Encoder,
    text: String,
    next: Option<FeedSlice>,
    left: usize,
}

type Portion = Result<Bytes, std::io::Error>;

fn portions(state: Streaming) -> impl futures::Stream<Item = Portion> + Send {
    futures::stream::unfold(Some(state), |state| async move {
        let mut state = state?;
        match state.portion().await {
            Ok((bytes, true)) => Some((Ok(bytes), Some(state))),
            Ok((bytes, false)) => Some((Ok(bytes), None)),
            // The status is sent already: the cut tells the reader, the log tells why.
            Err(error) => {
                tracing::warn!(feed = state.query.feed, %error, "a change stream broke off");
                Some((Err(error), None))
            }
        }
    })
}

impl Streaming {
    /// One slice, compressed; `false` where it was the last.
    async fn portion(&mut self) -> Result<(Bytes, bool), std::io::Error> {
        let Some(slice) = self.next.take() else {
            return Ok((Bytes::new(), false));
        };
        let mut said = 0;
        let bytes = self.text.len() + slice_bytes(&slice);
        let last = !slice.more || self.left <= bytes;
        // The next slice is read while this one is compressed.
        let ahead = (!last).then(|| self.read_from(slice.end, self.left - bytes));
        for line in &slice.lines {
            stream::write_line(&mut self.text, line);
            said += self.text.len();
            self.encoder.write(self.text.as_bytes())?;
            self.text.clear();
        }
        self.left = self.left.saturating_sub(said);
        let Some(ahead) = ahead else {
            stream::write_end(&mut self.text, slice.end, slice.more);
            self.encoder.write(self.text.as_bytes())?;
            let fresh = Encoder::new(Coding::Identity, None)?;
            let encoder = std::mem::replace(&mut self.encoder, fresh);
            return Ok((encoder.finish()?, false));
        };
        self.next = ahead.await.map_err(std::io::Error::other)??;
        Ok((self.encoder.take(), true))
    }

    /// The next slice, for whom the reader is by now: a stream may be long.
    fn read_from(
        &self,
        after: u64,
        left: usize,
    ) -> tokio::task::JoinHandle<Result<Option<FeedSlice>, std::io::Error>> {
        let (site, parts) = (self.site.clone(), self.parts.clone());
        let query = FeedQuery { after, bytes: SLICE_BYTES.min(left), ..self.query.clone() };
        tokio::spawn(async move {
            let (_, scope) = child_of(&parts, &site)
                .await
                .map_err(|failure| std::io::Error::other(failure.detail))?;
            let slice = site.read(move |store| store.feed_changes(&query, &scope)).await;
            let slice = slice.map_err(std::io::Error::other)?;
            if let Some(slice) = &slice {
                let noted = note_sent(&site, &parts, slice).await;
                noted.map_err(|failure| std::io::Error::other(failure.detail))?;
            }
            Ok(slice)
        })
    }
}

fn slice_bytes(slice: &FeedSlice) -> usize {
    let body = |record: &stream::OutRecord| match record {
        stream::OutRecord::Resource { body, .. } => body.len(),
        _ => 100,
    };
    slice.lines.iter().flat_map(|line| &line.records).map(body).sum()
}

fn broken(error: &std::io::Error) -> Failure {
    let detail = format!("failed to compress the answer: {error}");
    Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "exception", detail)
}
