//! `POST /sync/audit`: rows of the audit of a child, or of a site below it, come up. Implements
//! `docs/protocol.md` §2.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use bytes::Bytes;
use protocol::SiteId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::{AuditBatch, AuditLine, AuditPlace, AuditTaken};

use crate::http::auth::Caller;
use crate::http::body;
use crate::http::error::{Failure, Problem};
use crate::http::sync::{SMALL_BODY, child_of};
use crate::site::Site;

/// Rows of one request, and bytes of it, at the most.
const ROWS: usize = 2_000;
const BODY_BYTES: usize = 4 << 20;
/// Places of one request at the most.
const PLACES: usize = 100;

/// The first line: whose rows, after which, and up to which.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    site: SiteId,
    after: AuditPlace,
    end: AuditPlace,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    fork: bool,
}

/// The parent's answer: up to where it holds the chain now.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
pub struct Held {
    /// Where.
    pub held: AuditPlace,
    /// Whether it took what was sent.
    pub taken: bool,
}

/// What `POST /sync/audit/place` takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Places {
    /// Whose chain.
    #[schemars(with = "String")]
    pub site: SiteId,
    /// Places of it, the newest first.
    pub places: Vec<AuditPlace>,
}

/// A batch as it is sent: a line with what it is, then a line a row.
pub fn write(batch: &AuditBatch) -> serde_json::Result<String> {
    let AuditBatch { site, after, end, fork, .. } = batch;
    let head = Head { site: site.clone(), after: *after, end: *end, fork: *fork };
    let mut text = serde_json::to_string(&head)?;
    for line in &batch.lines {
        text.push('\n');
        text.push_str(&serde_json::to_string(line)?);
    }
    text.push('\n');
    Ok(text)
}

/// The same, read. An error says nothing of what the rows say.
pub(crate) fn read(text: &[u8]) -> Result<AuditBatch, Failure> {
    let odd = |what: &str| Failure::bad_request(format!("{what} of the audit is not understood"));
    let mut lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let head = lines.next().ok_or_else(|| odd("the first line"))?;
    let Head { site, after, end, fork } =
        serde_json::from_slice(head).map_err(|_| odd("the first line"))?;
    let mut rows: Vec<AuditLine> = Vec::new();
    for line in lines {
        if rows.len() >= ROWS {
            let detail = format!("at most {ROWS} rows of the audit may come at once");
            return Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "too-long", detail));
        }
        rows.push(serde_json::from_slice(line).map_err(|_| odd("a row"))?);
    }
    Ok(AuditBatch { site, after, fork, lines: rows, end, more: false })
}

async fn child(parts: &Parts, site: &Site) -> Result<SiteId, Failure> {
    match child_of(parts, site).await?.0 {
        Caller::Child { site: child, .. } => Ok(child),
        Caller::Program { .. } => Err(Failure::bad_request("this is for children")),
    }
}

/// Keeps rows that follow from what is held.
pub async fn receive(State(site): State<Site>, request: Request) -> Result<Json<Held>, Problem> {
    let (parts, payload) = request.into_parts();
    let child = child(&parts, &site).await?;
    let bytes: Bytes = body::read(&site, &parts.headers, payload, BODY_BYTES).await?;
    let batch = read(&bytes)?;
    let (of, now) = (batch.site.clone(), site.now());
    // No news for anybody: rows of the audit wait for the next round.
    let taken = site.read(move |store| store.audit_take(&child, &batch, now)).await?;
    match taken {
        AuditTaken::Held(held) => Ok(Json(Held { held, taken: true })),
        AuditTaken::Elsewhere(held) => Ok(Json(Held { held, taken: false })),
        AuditTaken::NotYours => {
            let detail = format!("the audit of {of} does not come by this child");
            Err(Failure::new(StatusCode::FORBIDDEN, "forbidden", detail).into())
        }
        AuditTaken::Broken => {
            let detail = "the rows do not follow from one another up to the hash that was said";
            Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail).into())
        }
    }
}

/// `POST /sync/audit/place`: the last place that both ends have.
pub async fn place(State(site): State<Site>, request: Request) -> Result<Json<Held>, Problem> {
    let (parts, payload) = request.into_parts();
    child(&parts, &site).await?;
    let bytes = body::read(&site, &parts.headers, payload, SMALL_BODY).await?;
    let odd = || Failure::bad_request("the body is not a site and places of its audit");
    let asked: Places = serde_json::from_slice(&bytes).map_err(|_| odd())?;
    if asked.places.len() > PLACES {
        return Err(odd().into());
    }
    let held = site.read(move |store| store.audit_common(&asked.site, &asked.places)).await?;
    Ok(Json(Held { held, taken: false }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As it was sent once: it can be read for ever.
    const SAMPLE: &str = concat!(
        r#"{"site":"east","after":{"key":0,"hash":""#,
        "0000000000000000000000000000000000000000000000000000000000000000",
        r#""},"end":{"key":1,"hash":""#,
        "1111111111111111111111111111111111111111111111111111111111111111",
        r#""}}"#,
        "\n",
        r#"{"key":1,"at":"2026-11-23T08:15:30Z","actor":"operator","action":"why","#,
        r#""subject":"Patient/a","detail":"here"}"#,
        "\n"
    );

    #[test]
    fn rows_are_read_as_they_were_written() {
        let batch = read(SAMPLE.as_bytes()).unwrap();
        assert_eq!((batch.lines.len(), batch.after.key, batch.end.key), (1, 0, 1));
        assert!(!batch.fork);
        assert_eq!(read(write(&batch).unwrap().as_bytes()).unwrap(), batch);
        assert_eq!(write(&batch).unwrap(), SAMPLE.replace("30Z", "30.000Z").replace(".000Z", "Z"));
    }

    #[test]
    fn what_is_no_audit_is_refused_without_a_word_of_it() {
        for text in
            ["", "secret", "{}", &SAMPLE.replace("east", "EAST!"), &SAMPLE.replace("1111", "x11")]
        {
            let failure = read(text.as_bytes()).unwrap_err();
            assert_eq!(failure.status.as_u16(), 400, "{text}");
            assert!(!failure.detail.contains("secret") && !failure.detail.contains("EAST"));
        }
        let long = format!("{SAMPLE}{}", "{}\n".repeat(3));
        assert!(read(long.as_bytes()).is_err());
    }
}
