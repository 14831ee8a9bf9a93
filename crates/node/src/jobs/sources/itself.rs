//! What a Tributary site that is read says of itself: how it is, and rows of its audit. One that
//! calls its parent brings both by itself; here they are fetched, seldom, after the changes.

use axum::http::{StatusCode, header};
use protocol::Epoch;
use store::AuditTaken;

use super::peer::{self, Peer, refused};
use crate::config::SourceConfig;
use crate::http::sync::outgoing::itself::{AuditWord, Chain};
use crate::http::sync::{audit, status};
use crate::jobs::link::ours;
use crate::ports::{LinkError, Response};
use crate::site::Site;

/// Batches of rows in one turn, at the most.
const BATCHES: usize = 50;

/// Hears both. A site of an older version tells neither, and is left alone.
pub(super) async fn hear(
    site: &Site,
    source: &SourceConfig,
    peer: &Peer,
    epoch: Epoch,
) -> Result<(), LinkError> {
    if hear_report(site, source, peer, epoch).await? {
        hear_audit(site, source, peer).await?;
    }
    Ok(())
}

/// Keeps the site's report, as of a child that has called; whether it gives one.
async fn hear_report(
    site: &Site,
    source: &SourceConfig,
    peer: &Peer,
    epoch: Epoch,
) -> Result<bool, LinkError> {
    let Some(response) = peer.get_if_there(site, "/report").await? else { return Ok(false) };
    if response.status != StatusCode::OK {
        return Err(refused(response).await);
    }
    let text = peer::text(response).await?;
    let (report, _) = status::kept(&text).map_err(|failure| LinkError(failure.detail))?;
    let (name, now) = (source.name.clone(), site.now());
    let noted = site.read(move |store| store.child_seen(&name, &epoch, Some(&report), now));
    noted.await.map_err(|error| ours(&error))?;
    Ok(true)
}

/// Takes rows of the site's audit, and of those of sites below it, as far as they follow from what
/// is held here.
async fn hear_audit(site: &Site, source: &SourceConfig, peer: &Peer) -> Result<(), LinkError> {
    let mut word = AuditWord::default();
    for _ in 0..BATCHES {
        let body = serde_json::to_string(&word).map_err(|error| LinkError(error.to_string()))?;
        let response = peer.post(site, "/audit", body).await?;
        word = match response.status {
            StatusCode::NO_CONTENT => return Ok(()),
            StatusCode::OK => match answered(site, source, response).await? {
                Some(chain) => AuditWord { chain: Some(chain) },
                None => return Ok(()),
            },
            _ => return Err(refused(response).await),
        };
    }
    Ok(())
}

/// What is to be said to an answer; `None` where nothing of it can be taken.
async fn answered(
    site: &Site,
    source: &SourceConfig,
    response: Response,
) -> Result<Option<Chain>, LinkError> {
    let kind = response.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let is_rows = kind.is_some_and(|kind| kind.starts_with("application/x-ndjson"));
    let text = peer::text(response).await?;
    if !is_rows {
        let told: audit::Places = serde_json::from_slice(&text).map_err(|_| {
            LinkError("what it answered about its audit is not understood".to_owned())
        })?;
        let of = told.site.clone();
        let held = site.read(move |store| store.audit_common(&told.site, &told.places)).await;
        let held = held.map_err(|error| ours(&error))?;
        return Ok(Some(Chain { site: of, held, fork: true }));
    }
    let batch = audit::read(&text).map_err(|failure| LinkError(failure.detail))?;
    let (of, name, now) = (batch.site.clone(), source.name.clone(), site.now());
    let taken = site.read(move |store| store.audit_take(&name, &batch, now)).await;
    match taken.map_err(|error| ours(&error))? {
        AuditTaken::Held(held) | AuditTaken::Elsewhere(held) => {
            Ok(Some(Chain { site: of, held, fork: false }))
        }
        AuditTaken::NotYours => {
            tracing::warn!(source = %source.name, %of, "its audit does not come by this source");
            Ok(None)
        }
        AuditTaken::Broken => {
            tracing::warn!(source = %source.name, %of, "rows of its audit do not follow");
            Ok(None)
        }
    }
}
