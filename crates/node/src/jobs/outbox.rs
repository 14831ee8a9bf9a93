//! The outbox of a child whose messages third parties carry: taking back what was away for too
//! long, and asking the parent what it has.

use axum::http::StatusCode;
use bytes::Bytes;
use protocol::ChangeId;
use protocol::message::{self, Envelope, MessageId, Receipt, Urls};
use serde_json::{Value, json};
use store::{LeaseAsk, Leased, StoreError};

use crate::config::Parent;
use crate::http::auth::credential_hash;
use crate::jobs::link::{Link, ours, refused};
use crate::ports::LinkError;
use crate::site::Site;
use crate::wire::Coding;

/// Milliseconds between two looks.
const EVERY: u64 = 5_000;
/// Messages that the parent is asked about in one request.
const AT_ONCE: usize = 200;

/// The name of a lease that nobody can guess.
pub fn new_lease(site: &Site) -> String {
    site.entropy().uuid_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Where messages are to be posted.
pub fn target(parent: &Parent) -> String {
    format!("{}/fhir/$process-message", parent.url)
}

/// Leases messages; gives each with its text.
pub async fn lease(
    site: &Site,
    parent: &Parent,
    ask: LeaseAsk,
) -> Result<Vec<(Leased, String)>, StoreError> {
    let now = site.now();
    let (leased, info) =
        site.read(move |store| Ok((store.outbox_lease(&ask, now)?, store.site()?))).await?;
    let target = target(parent);
    let hash = site.credential().map(credential_hash);
    let mut messages = Vec::with_capacity(leased.len());
    for one in leased {
        let envelope = Envelope {
            from: info.site.clone(),
            epoch: info.epoch,
            to: parent.site.clone(),
            attempt: one.attempt,
            at: now,
        };
        let urls = Urls { base: &site.config().public_url, target: &target };
        let text = match &hash {
            Some(hash) => message::write_proved(&one.line, &envelope, urls, hash),
            // It has not joined: nobody would take it anyway.
            None => message::write(&one.line, &envelope, urls),
        };
        let text = text.ok_or_else(|| {
            StoreError::Damaged("a message cannot be written; its lease ends by itself".to_owned())
        })?;
        messages.push((one, text));
    }
    Ok(messages)
}

/// Takes back again and again, for ever.
pub async fn run(site: &Site) {
    loop {
        take_back(site).await;
        site.clock().sleep(EVERY).await;
    }
}

/// Takes back what was leased for too long, or handed over without a receipt; gives how many.
pub async fn take_back(site: &Site) -> u64 {
    let now = site.now();
    match site.read(move |store| store.outbox_return(now)).await {
        Ok(0) => 0,
        Ok(returned) => {
            tracing::warn!(returned, "messages came back from a third party without a receipt");
            site.wake();
            returned
        }
        Err(error) => {
            tracing::warn!(%error, "failed to take messages back");
            0
        }
    }
}

/// Whether the parent is to be asked about a message by now.
pub async fn has_due(site: &Site) -> bool {
    let now = site.now();
    site.read(move |store| store.outbox_unconfirmed(now, 1)).await.is_ok_and(|due| !due.is_empty())
}

/// Asks the parent about some messages, if that is due; gives how many it has settled, `None`
/// where there was nothing to ask.
pub async fn ask(site: &Site, link: &Link) -> Result<Option<u64>, LinkError> {
    let now = site.now();
    let due = site
        .read(move |store| store.outbox_unconfirmed(now, AT_ONCE))
        .await
        .map_err(|error| ours(&error))?;
    if due.is_empty() {
        return Ok(None);
    }
    let messages: Vec<Value> =
        due.iter().map(|due| json!({"id": due.id.to_string(), "covers": due.covers})).collect();
    let body = Bytes::from(json!({"messages": messages}).to_string());
    let response = link.post(site, "/sync/receipts", body, Coding::Zstd).await?;
    let status = response.status;
    let text = link.text(response).await?;
    if status != StatusCode::OK {
        return Err(refused(status, &text));
    }
    let receipts = receipts_in(&text)?;
    let asked: Vec<ChangeId> = due.into_iter().map(|due| due.id).collect();
    let names: Vec<MessageId> = asked.iter().map(MessageId::of).collect();
    let (now, jitter) = (site.now(), site.entropy().number());
    let settled = site
        .write(move |store| store.outbox_answers(&receipts, &names, now, jitter))
        .await
        .map_err(|error| ours(&error))?;
    if settled > 0 {
        link.note_progress();
    }
    Ok(Some(settled))
}

fn receipts_in(text: &[u8]) -> Result<Vec<Receipt>, LinkError> {
    let odd = || LinkError("the parent's receipts cannot be read".to_owned());
    let told: Value = serde_json::from_slice(text).map_err(|_| odd())?;
    let list = told.get("receipts").and_then(Value::as_array).ok_or_else(odd)?;
    list.iter().map(|one| Receipt::read(&one.to_string()).map_err(|_| odd())).collect()
}
