//! After the parent's store was restored: sending again what it has lost, and then letting go of
//! what it does not list any more. In this order: what only this site holds is sent before it goes.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::StatusCode;
use bytes::Bytes;
use protocol::message::Receipt;
use protocol::{FeedId, RecordRef};
use serde_json::{Value, json};
use store::Marker;

use crate::http::sync::digests::FETCH;
use crate::http::sync::status::ParentView;
use crate::jobs::compare;
use crate::jobs::link::{Link, ours, refused};
use crate::ports::LinkError;
use crate::site::Site;
use crate::wire::Coding;

/// Changes that the parent is asked about in one request.
const AT_ONCE: usize = 1_000;

/// Asks the parent about every change that it ever took, and queues those again that it does not
/// hold: also of records that none of its feeds would tell us of.
pub async fn send_again(site: &Site, link: &Link) -> Result<(), LinkError> {
    let mut after = 0;
    loop {
        let taken = site.read(move |store| store.delivery_done(after, AT_ONCE)).await;
        let taken = taken.map_err(|error| ours(&error))?;
        let Some((last, _)) = taken.last() else { break };
        after = *last;
        let names = taken.iter().map(|(_, id)| id.to_string()).collect::<Vec<_>>();
        let Some(held) = held(site, link, &names).await? else { return Ok(()) };
        let lost = taken.iter().zip(names).filter(|(_, name)| !held.contains(name));
        let lost = lost.map(|((sequence, _), _)| *sequence).collect::<Vec<_>>();
        if lost.is_empty() {
            continue;
        }
        let now = site.now();
        let reopened = site.write(move |store| store.delivery_reopen(&lost, now)).await;
        let reopened = reopened.map_err(|error| ours(&error))?;
        tracing::warn!(changes = reopened, "the parent has lost changes: sending them again");
    }
    let now = site.now();
    let ended = site.write(move |store| store.delivery_reopen(&[], now)).await;
    ended.map(drop).map_err(|error| ours(&error))
}

/// Whether the parent asks for what it has let go of.
pub async fn is_asked(site: &Site, view: &ParentView) -> Result<bool, LinkError> {
    let known = site.read(|store| store.link_get()).await.map_err(|error| ours(&error))?;
    Ok(view.again != known.again)
}

/// Queues again what the parent asks for, and offers what we keep of it.
pub async fn answer(site: &Site, link: &Link, again: u64) -> Result<(), LinkError> {
    send_again(site, link).await?;
    loop {
        let now = site.now();
        let more = site.write(move |store| store.kept_offer(again, now)).await;
        if !more.map_err(|error| ours(&error))? {
            return Ok(());
        }
    }
}

/// Which of these changes the parent holds, or has waiting; `None` where it cannot be asked.
async fn held(
    site: &Site,
    link: &Link,
    names: &[String],
) -> Result<Option<BTreeSet<String>>, LinkError> {
    let messages = names.iter().map(|name| json!({"id": name})).collect::<Vec<_>>();
    let body = Bytes::from(json!({"messages": messages}).to_string());
    let response = link.post(site, "/sync/receipts", body, Coding::Zstd).await?;
    let status = response.status;
    let text = link.text(response).await?;
    match status {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => return Ok(None),
        status => return Err(refused(status, &text)),
    }
    let odd = || LinkError("the parent's receipts cannot be read".to_owned());
    let told: Value = serde_json::from_slice(&text).map_err(|_| odd())?;
    let list = |key: &str| told.get(key).and_then(Value::as_array).ok_or_else(odd);
    let mut held = BTreeSet::new();
    for receipt in list("receipts")? {
        let receipt = Receipt::read(&receipt.to_string()).map_err(|_| odd())?;
        if receipt.outcome.is_held() {
            held.insert(receipt.id.to_string());
        }
    }
    held.extend(list("waiting")?.iter().filter_map(Value::as_str).map(str::to_owned));
    Ok(Some(held))
}

/// The parent's new life has not got one of our feeds.
pub async fn feed_lost(site: &Site, link: &Link, marker: &Marker) -> Result<(), LinkError> {
    let (feed, name) = (marker.feed, marker.name.clone());
    let (policy, now) = (link.parent().leave, site.now());
    let done = site.write(move |store| store.feed_lost(&feed, &name, policy, now)).await;
    done.map_err(|error| ours(&error))
}

/// Asks once more for what the parent did not list, where nothing of it is to be sent any more;
/// what it does not give has left. Gives how many records that were.
pub async fn settle(site: &Site, link: &Link, view: &ParentView) -> Result<u64, LinkError> {
    let mut left = 0;
    loop {
        let found = site.read(|store| store.unlisted_list(FETCH)).await;
        let found = found.map_err(|error| ours(&error))?;
        if found.is_empty() {
            return Ok(left);
        }
        let mut by_feed: BTreeMap<FeedId, Vec<RecordRef>> = BTreeMap::new();
        for (feed, record) in found {
            by_feed.entry(feed).or_default().push(record);
        }
        for (feed, records) in by_feed {
            if let Some(feed) = view.feeds.iter().find(|known| known.id == feed)
                && compare::fetch(site, link, view, feed, &records).await? > 0
            {
                // It is listed and cannot be taken: it waits, visibly, and is asked for again.
                return Ok(left);
            }
            let (policy, now) = (link.parent().leave, site.now());
            let work =
                move |store: &dyn store::Store| store.unlisted_settle(&feed, &records, policy, now);
            left += site.write(work).await.map_err(|error| ours(&error))?;
        }
    }
}
