//! `POST /sync/changes`: a child's changes come in. Each line is applied in a transaction of its
//! own and answered after ITS commit; what was cut off is simply sent again.

use axum::body::{Body, BodyDataStream};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::StreamExt as _;
use protocol::delivery::Outcome;
use protocol::stream::{self, Lines, OutcomeLine, StreamLine};
use protocol::{ChangeId, Refusal};
use serde_json::json;
use store::{Applied, Incoming, Source, StoreError};

use crate::http::auth::Caller;
use crate::http::error::{Failure, Problem};
use crate::http::sync::{child_of, header as header_text};
use crate::metrics;
use crate::site::Site;
use crate::wire::{Coding, Decoder};

/// Bytes of lines that are applied in one commit.
const BATCH_BYTES: usize = 256 << 10;

/// Takes a push; the answer streams while the body still comes.
pub async fn receive(State(site): State<Site>, request: Request) -> Result<Response, Problem> {
    let (parts, payload) = request.into_parts();
    let (caller, _) = child_of(&parts, &site).await?;
    let Caller::Child { site: child, epoch: Some(epoch), .. } = caller else {
        return Err(Failure::bad_request("the header Tributary-Epoch is missing").into());
    };
    let limits = &site.config().limits;
    let coding =
        Coding::of_header(header_text(&parts.headers, "content-encoding")).ok_or_else(|| {
            let detail = "Content-Encoding must be dcz, zstd, gzip or identity";
            Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-supported", detail)
        })?;
    let decoder = Decoder::new(coding, limits.body_bytes as u64, "body_bytes")?;
    let lines = Lines::new(limits.line_bytes + stream::ENVELOPE_BYTES);
    let source = Source::Child { site: child, epoch, reading: None };
    let mut receiving = Receiving {
        site,
        source,
        parts,
        body: payload.into_data_stream(),
        decoder: Some(decoder),
        lines,
        ended: false,
    };
    // The first batch decides the status: what is not a push at all is told by a plain 400.
    let first = receiving.batch().await?;
    let answers = futures::stream::unfold(Some((receiving, Some(first))), |state| async move {
        let (mut receiving, first) = state?;
        let batch = match first {
            Some(batch) => Ok(batch),
            None => receiving.batch().await,
        };
        let text = match batch {
            Ok(batch) if batch.is_empty() => return None,
            Ok(batch) => receiving.apply(batch).await,
            Err(failure) => Err(failure),
        };
        match text {
            Ok(text) => Some((Ok(Bytes::from(text)), Some((receiving, None)))),
            Err(failure) => {
                let last = json!({"problem": failure.detail}).to_string() + "\n";
                Some((Ok::<Bytes, std::io::Error>(Bytes::from(last)), None))
            }
        }
    });
    let kind = HeaderValue::from_static("application/x-ndjson");
    Ok(([(header::CONTENT_TYPE, kind)], Body::from_stream(answers)).into_response())
}

struct Receiving {
    site: Site,
    source: Source,
    /// The head of the request, which says who sends.
    parts: Parts,
    body: BodyDataStream,
    decoder: Option<Decoder>,
    lines: Lines,
    ended: bool,
}

impl Receiving {
    /// The whole lines that have come, up to a batch; none at the end of the body.
    async fn batch(&mut self) -> Result<Vec<Vec<u8>>, Failure> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        loop {
            while bytes < BATCH_BYTES {
                let Some(line) = self.lines.next_line()? else { break };
                bytes += line.len();
                batch.push(line);
            }
            if self.ended || bytes >= BATCH_BYTES {
                return Ok(batch);
            }
            let text = self.more_text(batch.is_empty()).await?;
            match text {
                Some(text) => self.lines.push(&text),
                None => return Ok(batch),
            }
        }
    }

    /// More of the body's text. Where lines are waiting already, only what is there at once.
    async fn more_text(&mut self, wait: bool) -> Result<Option<Vec<u8>>, Failure> {
        let idle = self.site.config().limits.request_seconds * 1_000;
        let pause = self.site.clock().sleep(idle);
        let next = tokio::select! {
            biased;
            next = self.body.next() => next,
            () = pause, if wait => {
                return Err(Failure::new(
                    StatusCode::REQUEST_TIMEOUT,
                    "timeout",
                    format!("nothing came for request_seconds = {}", idle / 1_000),
                ));
            }
            () = self.site.clock().sleep(20), if !wait => return Ok(None),
        };
        match next {
            Some(Ok(bytes)) => {
                let decoder = self.decoder.as_mut().ok_or_else(cut)?;
                Ok(Some(decoder.push(&bytes)?))
            }
            Some(Err(_)) => Err(cut()),
            None => {
                self.ended = true;
                let rest = self.decoder.take().ok_or_else(cut)?.finish()?;
                self.lines.push(&rest);
                if self.lines.pending() > 0 && !rest.ends_with(b"\n") {
                    tracing::debug!("a push ended inside a line");
                }
                Ok(Some(Vec::new()))
            }
        }
    }

    /// Applies a batch and gives the outcome lines.
    async fn apply(&mut self, batch: Vec<Vec<u8>>) -> Result<String, Failure> {
        // A push may be long, and the sender's access may have ended meanwhile.
        child_of(&self.parts, &self.site).await?;
        let (source, limits, now) =
            (self.source.clone(), self.site.config().limits.clone(), self.site.now());
        let result = self.site.write(move |store| {
            let mut ids = Vec::new();
            let mut lines = Vec::new();
            for raw in batch {
                let (id, part, line) = incoming(raw, &limits)?;
                ids.push((id, part));
                lines.push(line);
            }
            let applied = store.change_apply(&source, &lines, now)?;
            Ok((ids, applied))
        });
        let (ids, applied) = result.await?;
        self.site.metrics().applied(metrics::From::Child, &applied);
        let mut text = String::new();
        for ((id, part), applied) in ids.into_iter().zip(applied) {
            stream::write_outcome(&mut text, &outcome(id, part, applied));
        }
        Ok(text)
    }
}

type Named = (ChangeId, Option<(u32, u32)>, Incoming);

fn incoming(raw: Vec<u8>, limits: &protocol::Limits) -> Result<Named, StoreError> {
    let unnamed = || Refusal::malformed("a pushed line has no change id");
    match stream::read_line(&raw, limits)? {
        StreamLine::Line(line) => {
            let id = line.id.clone().ok_or_else(unnamed)?;
            Ok((id, line.part, Incoming::Line { line, raw }))
        }
        StreamLine::Refused(line) => {
            let id = line.id.clone().ok_or_else(unnamed)?;
            Ok((id, line.part, Incoming::Refused { line, raw }))
        }
        StreamLine::Header(_) | StreamLine::End { .. } => {
            Err(Refusal::malformed("a push has neither a header nor an end line").into())
        }
    }
}

fn outcome(id: ChangeId, part: Option<(u32, u32)>, applied: Applied) -> OutcomeLine {
    let told = matches!(applied.outcome, Outcome::Refused | Outcome::Later | Outcome::Conflict);
    OutcomeLine {
        id,
        part,
        outcome: applied.outcome,
        reason: applied.reason.filter(|_| told),
        sequence: applied.sequence,
        differs: applied.differs,
    }
}

fn cut() -> Failure {
    Failure::bad_request("the body was cut short")
}
