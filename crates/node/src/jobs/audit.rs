//! Passing rows of the audit on to the parent: ours, and those of sites below. Low priority: after
//! everything else of a round, seldom, and it gives way to changes. A parent that cannot take them
//! (one of an older version) costs nothing but the question.

use axum::http::StatusCode;
use bytes::Bytes;
use protocol::SiteId;
use serde::de::DeserializeOwned;
use store::{AuditBatch, AuditPlace};

use crate::http::sync::audit::{Held, Places, write};
use crate::jobs::link::{Link, ours, refused};
use crate::jobs::round;
use crate::ports::LinkError;
use crate::site::Site;
use crate::wire::Coding;

/// Rows that go up at once, whenever it was told last.
pub(crate) const MANY: u64 = 500;
/// Requests of one round at the most.
const REQUESTS: usize = 200;

/// Passes on what waits; gives how many rows the parent took.
pub async fn step(site: &Site, link: &Link) -> Result<u64, LinkError> {
    let mut taken = 0;
    for _ in 0..REQUESTS {
        if round::has_news_for_parent(site, link).await {
            break;
        }
        let seconds = i64::try_from(site.config().limits.audit_seconds).unwrap_or(i64::MAX / 1_000);
        let before = site.now().plus_millis(-seconds.saturating_mul(1_000));
        let pending = site.read(move |store| store.audit_pending(before, MANY)).await;
        let Some(batch) = pending.map_err(|error| ours(&error))? else { break };
        let Some(rows) = pass(site, link, batch).await? else { break };
        taken += rows;
    }
    Ok(taken)
}

/// Sends one batch. `None`: the parent takes none of this.
async fn pass(site: &Site, link: &Link, batch: AuditBatch) -> Result<Option<u64>, LinkError> {
    let Some(answer) = send(site, link, &batch).await? else { return Ok(None) };
    if note(site, &batch.site, answer.held).await? {
        return Ok(Some(if answer.taken { batch.lines.len() as u64 } else { 0 }));
    }
    // One of the two was restored: from the last row in common on, ours is a new life.
    let of = batch.site.clone();
    let places = site.read(move |store| store.audit_places(&of)).await;
    let asked = Places { site: batch.site.clone(), places: places.map_err(|error| ours(&error))? };
    let text = serde_json::to_string(&asked).map_err(|error| LinkError(error.to_string()))?;
    let common: Option<Held> = ask(site, link, "/sync/audit/place", text).await?;
    let Some(Held { held, .. }) = common else { return Ok(None) };
    let of = batch.site.clone();
    let anew = site.read(move |store| store.audit_from(&of, held)).await;
    let anew = anew.map_err(|error| ours(&error))?;
    if anew.lines.is_empty() {
        // The parent has all that is here, and more: what a restore took from us.
        note(site, &anew.site, held).await?;
        return Ok(Some(0));
    }
    let Some(answer) = send(site, link, &anew).await? else { return Ok(None) };
    note(site, &anew.site, answer.held).await?;
    Ok(Some(if answer.taken { anew.lines.len() as u64 } else { 0 }))
}

/// Keeps up to where the parent holds the chain; `false` where that is no place of ours.
async fn note(site: &Site, of: &SiteId, held: AuditPlace) -> Result<bool, LinkError> {
    let (of, now) = (of.clone(), site.now());
    let noted = site.read(move |store| store.audit_passed(&of, &held, now)).await;
    noted.map_err(|error| ours(&error))
}

async fn send(site: &Site, link: &Link, batch: &AuditBatch) -> Result<Option<Held>, LinkError> {
    let text = write(batch).map_err(|error| LinkError(error.to_string()))?;
    ask(site, link, "/sync/audit", text).await
}

async fn ask<T: DeserializeOwned>(
    site: &Site,
    link: &Link,
    path: &str,
    text: String,
) -> Result<Option<T>, LinkError> {
    let response = link.post(site, path, Bytes::from(text), Coding::Zstd).await?;
    let status = response.status;
    let text = link.text(response).await?;
    match status {
        StatusCode::OK => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|_| LinkError("the parent's answer about the audit is not understood".into())),
        // An older parent has no such route; one that refuses it will not take it the next time.
        _ if status.is_client_error() => {
            let error = refused(status, &text);
            tracing::info!(%error, "the parent takes no rows of the audit");
            Ok(None)
        }
        _ => Err(refused(status, &text)),
    }
}
