//! Finding one's place in a feed without a marker that fits: at the first contact, and after the
//! parent's store was restored or rebuilt. Never starts silently from zero, never skips.

use axum::http::StatusCode;
use bytes::Bytes;
use protocol::RecordRef;
use protocol::digest::ShortDigest;
use protocol::stream::Lane;
use store::{DigestRange, Marker};

use crate::http::sync::digests::{DigestEnd, DigestHeader, FETCH, FetchBody};
use crate::http::sync::status::{FeedHead, ParentView};
use crate::jobs::link::{Link, ours, refused};
use crate::jobs::pull::{self, Target};
use crate::jobs::unlisted;
use crate::ports::LinkError;
use crate::site::Site;
use crate::wire::Coding;

/// Makes sure that there are markers for all feeds in the parent's epoch. After the parent was
/// restored, what it has lost of what we sent is queued again before anything is compared, and
/// what we hold of feeds that it has lost is offered.
pub async fn meet_all(site: &Site, link: &Link, view: &ParentView) -> Result<(), LinkError> {
    let markers = site.read(|store| store.marker_list()).await.map_err(|error| ours(&error))?;
    let old = markers.into_iter().filter(|marker| marker.epoch != view.epoch).collect::<Vec<_>>();
    if !old.is_empty() {
        unlisted::send_again(site, link).await?;
    }
    for marker in &old {
        if marker.lane == Lane::Live && !view.feeds.iter().any(|feed| feed.id == marker.feed) {
            tracing::warn!(feed = marker.name, "the parent has lost a feed");
            unlisted::feed_lost(site, link, marker).await?;
        }
    }
    for feed in &view.feeds {
        meet(site, link, view, feed).await?;
    }
    Ok(())
}

/// Makes sure that there are markers for `feed` in the parent's epoch.
async fn meet(
    site: &Site,
    link: &Link,
    view: &ParentView,
    feed: &FeedHead,
) -> Result<(), LinkError> {
    let markers = site.read(|store| store.marker_list()).await.map_err(|error| ours(&error))?;
    let known = |marker: &&Marker| marker.feed == feed.id || marker.name == feed.name;
    if markers.iter().any(|marker| marker.feed == feed.id && marker.epoch == view.epoch) {
        return Ok(());
    }
    if markers.iter().any(|marker| known(&marker)) {
        tracing::warn!(feed = feed.name, "the parent's epoch has changed: comparing all records");
        return self::feed(site, link, view, feed).await;
    }
    // The first contact. Every patient of a cohort has a join in its feed, so the bulk lane brings
    // all there is, and the live lane starts with today. The reference feed has no joins.
    let live = if feed.name == "reference" { 0 } else { feed.head };
    set(site, view, feed, live, 0).await
}

/// Compares all digests of a feed, fetches what differs, and sets the markers to where the feed
/// was when the comparison began.
pub async fn feed(
    site: &Site,
    link: &Link,
    view: &ParentView,
    feed: &FeedHead,
) -> Result<(), LinkError> {
    match pages(site, link, view, feed, false).await? {
        Some(head) => set(site, view, feed, head, head).await,
        None => Ok(()),
    }
}

/// Compares all digests of a feed and fetches what differs; gives where the feed was when that
/// began, or `None` where it is not ours to read. `stands`: whether our markers of it do.
pub async fn pages(
    site: &Site,
    link: &Link,
    view: &ParentView,
    feed: &FeedHead,
    stands: bool,
) -> Result<Option<u64>, LinkError> {
    let mut after: Option<RecordRef> = None;
    let mut head = None;
    loop {
        let page = page(site, link, &feed.name, after.as_ref()).await?;
        let Some(page) = page else { return Ok(None) };
        head.get_or_insert(page.head.head);
        let last = page.digests.last().map(|(record, _)| record.clone());
        let to = if page.more { last } else { None };
        let range = DigestRange { after, to: to.clone(), name: feed.name.clone(), stands };
        let (id, sequence, now) = (feed.id, page.head.sequence, site.now());
        let differing = site
            .write(move |store| store.marker_compare(&id, &page.digests, &range, sequence, now))
            .await
            .map_err(|error| ours(&error))?;
        for records in differing.chunks(FETCH) {
            fetch(site, link, view, feed, records).await?;
        }
        match to {
            Some(to) => after = Some(to),
            None => break,
        }
    }
    Ok(head)
}

async fn set(
    site: &Site,
    view: &ParentView,
    feed: &FeedHead,
    live: u64,
    bulk: u64,
) -> Result<(), LinkError> {
    let marker = |lane, position| Marker {
        feed: feed.id,
        name: feed.name.clone(),
        epoch: view.epoch,
        lane,
        position,
    };
    let (markers, now) = ([marker(Lane::Live, live), marker(Lane::Bulk, bulk)], site.now());
    site.write(move |store| store.marker_set(&markers, now)).await.map_err(|error| ours(&error))
}

/// One page of the parent's digests.
pub struct DigestPage {
    /// Its first line.
    pub head: DigestHeader,
    /// In the order of references.
    pub digests: Vec<(RecordRef, ShortDigest)>,
    /// Whether there are more.
    pub more: bool,
}

/// Asks for a page of digests; `None` where the feed is not ours to read.
pub async fn page(
    site: &Site,
    link: &Link,
    feed: &str,
    after: Option<&RecordRef>,
) -> Result<Option<DigestPage>, LinkError> {
    let path = match after {
        Some(after) => format!("/sync/feeds/{feed}/digests?after={after}"),
        None => format!("/sync/feeds/{feed}/digests"),
    };
    let response = link.get_lines(site, &path).await?;
    let status = response.status;
    let text = link.text(response).await?;
    match status {
        StatusCode::OK => parse_page(&text).map(Some),
        StatusCode::NOT_FOUND => Ok(None),
        status => Err(refused(status, &text)),
    }
}

/// A page of digests.
pub(super) fn parse_page(text: &[u8]) -> Result<DigestPage, LinkError> {
    let odd = || LinkError("the parent's list of digests cannot be read".to_owned());
    let mut lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let head: DigestHeader =
        lines.next().and_then(|line| serde_json::from_slice(line).ok()).ok_or_else(odd)?;
    let mut digests = Vec::new();
    for line in lines {
        if line.starts_with(b"[") {
            let (record, digest): (RecordRef, String) =
                serde_json::from_slice(line).map_err(|_| odd())?;
            digests.push((record, digest.parse().map_err(|_| odd())?));
        } else {
            let end: DigestEnd = serde_json::from_slice(line).map_err(|_| odd())?;
            let whole = end.end == digests.len();
            return if whole {
                Ok(DigestPage { head, digests, more: end.more })
            } else {
                Err(odd())
            };
        }
    }
    Err(LinkError("the parent's list of digests was cut short".to_owned()))
}

/// Fetches records by name and applies them; gives how many lines were parked.
pub async fn fetch(
    site: &Site,
    link: &Link,
    view: &ParentView,
    feed: &FeedHead,
    records: &[RecordRef],
) -> Result<u64, LinkError> {
    let body = serde_json::to_vec(&FetchBody { records: records.to_vec() })
        .map_err(|error| LinkError(error.to_string()))?;
    let path = format!("/sync/feeds/{}/fetch", feed.name);
    let response = link.post(site, &path, Bytes::from(body), Coding::Identity).await?;
    if response.status != StatusCode::OK {
        let status = response.status;
        let text = link.text(response).await.unwrap_or_default();
        return Err(refused(status, &text));
    }
    let target =
        Target { feed: feed.clone(), epoch: view.epoch, lane: Lane::Live, is_ahead: false };
    pull::apply(site, link, target, response).await.map(|read| read.parked)
}
