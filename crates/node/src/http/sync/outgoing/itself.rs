//! What a site that is read tells of itself: how it is, and rows of its audit. A child that calls
//! its parent brings both; of one that is read they are fetched, in the same forms.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use protocol::SiteId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::AuditPlace;

use super::reader_of;
use crate::http::body;
use crate::http::error::{Failure, Problem};
use crate::http::sync::audit::{self, Places};
use crate::http::sync::status::ChildReport;
use crate::http::sync::{LINES, SMALL_BODY};
use crate::jobs::audit::MANY;
use crate::jobs::round;
use crate::site::Site;

/// What the reader says of the rows that it was given last, with which it asks for more.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct AuditWord {
    /// Up to where it holds a chain; left out where it has nothing to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<Chain>,
}

/// A chain of rows, up to a place of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Chain {
    /// Whose.
    #[schemars(with = "String")]
    pub site: SiteId,
    /// The place.
    pub held: AuditPlace,
    /// It is the last one in common, by the places that it was told: what follows is a new life.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fork: bool,
}

/// `GET /sync/feeds/outgoing/report`: how this site is.
pub async fn report(
    State(site): State<Site>,
    request: Request,
) -> Result<Json<ChildReport>, Problem> {
    let (parts, _) = request.into_parts();
    reader_of(&parts, &site).await?;
    let report = round::report(&site).await;
    Ok(Json(report.map_err(|error| {
        tracing::warn!(%error, "failed to say how this site is");
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "exception", "this site cannot tell now")
    })?))
}

/// `POST /sync/feeds/outgoing/audit`: takes the reader's word, and gives the rows that are next:
/// 204 where none are due. Where that word is of no place of ours, one of the two was restored:
/// then it gives places, for the reader to find the last one in common.
pub async fn audit(State(site): State<Site>, request: Request) -> Result<Response, Problem> {
    let (parts, payload) = request.into_parts();
    reader_of(&parts, &site).await?;
    let bytes = body::read(&site, &parts.headers, payload, SMALL_BODY).await?;
    let odd = || Failure::bad_request("the body is not a place of an audit");
    let word: AuditWord = serde_json::from_slice(&bytes).map_err(|_| odd())?;
    if let Some(Chain { site: of, held, fork }) = word.chain {
        if fork {
            let asked = of.clone();
            let anew = site.read(move |store| store.audit_from(&asked, held)).await?;
            if !anew.lines.is_empty() {
                return rows(&anew);
            }
        }
        let (asked, now) = (of.clone(), site.now());
        if !site.read(move |store| store.audit_passed(&asked, &held, now)).await? {
            let asked = of.clone();
            let places = site.read(move |store| store.audit_places(&asked)).await?;
            return Ok(Json(Places { site: of, places }).into_response());
        }
    }
    let seconds = i64::try_from(site.config().limits.audit_seconds).unwrap_or(i64::MAX / 1_000);
    let before = site.now().plus_millis(-seconds.saturating_mul(1_000));
    match site.read(move |store| store.audit_pending(before, MANY)).await? {
        Some(batch) => rows(&batch),
        None => Ok(StatusCode::NO_CONTENT.into_response()),
    }
}

fn rows(batch: &store::AuditBatch) -> Result<Response, Problem> {
    let text = audit::write(batch).map_err(|error| {
        let detail = format!("failed to write rows of the audit: {error}");
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "exception", detail)
    })?;
    let kind = HeaderValue::from_static(LINES);
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As they were said once: they can be read for ever.
    const WORD: &str = concat!(
        r#"{"chain":{"site":"east","held":{"key":7,"hash":""#,
        "1111111111111111111111111111111111111111111111111111111111111111",
        r#""},"fork":true}}"#
    );

    #[test]
    fn a_readers_word_is_read_as_it_was_written() {
        let word: AuditWord = serde_json::from_str(WORD).unwrap();
        assert!(word.chain.as_ref().is_some_and(|chain| chain.held.key == 7 && chain.fork));
        assert_eq!(serde_json::to_string(&word).unwrap(), WORD);
        assert_eq!(serde_json::from_str::<AuditWord>("{}").unwrap(), AuditWord::default());
        assert_eq!(serde_json::to_string(&AuditWord::default()).unwrap(), "{}");
    }
}
