//! Proof that a child holds what its parent holds: all digests of its cohorts, compared.

use std::collections::BTreeMap;

use protocol::digest::ShortDigest;
use protocol::{Digest, RecordRef};
use serde::Serialize;
use store::DigestScope;

use crate::http::sync::status::FeedHead;
use crate::jobs::compare;
use crate::jobs::link::{Link, ours};
use crate::jobs::round::report;
use crate::ports::LinkError;
use crate::site::Site;

/// Digests that are read from our own store at a time.
const PAGE: usize = 10_000;

/// What a comparison found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// Records that are the same on both sides.
    pub equal: u64,
    /// Records that differ, and how.
    pub differences: Vec<Difference>,
}

/// One record that is not the same on both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// In which feed.
    pub feed: String,
    /// Which record.
    pub record: RecordRef,
    /// How it differs.
    pub how: How,
}

/// How a record differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// Both hold it, in different states.
    Differs,
    /// Only the parent holds it.
    MissingHere,
    /// Only this site holds it.
    MissingAtParent,
}

/// Compares every feed that we may read. `progress` hears the feed and the records so far.
pub async fn run(
    site: &Site,
    link: &Link,
    mut progress: impl FnMut(&str, u64),
) -> Result<Comparison, LinkError> {
    let view = link.status(site, &report(site).await?).await?;
    let mut comparison = Comparison::default();
    for feed in &view.feeds {
        let theirs = theirs(site, link, feed, &mut progress).await?;
        let ours = held(site, feed).await?;
        comparison.add(&feed.name, theirs, ours);
        progress(&feed.name, comparison.equal);
    }
    Ok(comparison)
}

type Digests = BTreeMap<RecordRef, ShortDigest>;

async fn theirs(
    site: &Site,
    link: &Link,
    feed: &FeedHead,
    progress: &mut impl FnMut(&str, u64),
) -> Result<Digests, LinkError> {
    let mut all = Digests::new();
    loop {
        let after = all.keys().next_back().cloned();
        let Some(page) = compare::page(site, link, &feed.name, after.as_ref()).await? else {
            return Ok(all);
        };
        all.extend(page.digests);
        progress(&feed.name, all.len() as u64);
        if !page.more {
            return Ok(all);
        }
    }
}

async fn held(site: &Site, feed: &FeedHead) -> Result<Digests, LinkError> {
    let mut all = Digests::new();
    loop {
        let after = all.keys().next_back().cloned();
        let scope = DigestScope::Held { feed: feed.id, name: feed.name.clone() };
        let page = site
            .read(move |store| store.record_digests(&scope, after.as_ref(), PAGE))
            .await
            .map_err(|error| ours(&error))?;
        let last = page.len() < PAGE;
        all.extend(page.into_iter().map(|(record, digest)| (record, digest.short())));
        if last {
            return Ok(all);
        }
    }
}

impl Comparison {
    fn add(&mut self, feed: &str, theirs: Digests, mut ours: Digests) {
        let mut found = |record: RecordRef, how: How| {
            self.differences.push(Difference { feed: feed.to_owned(), record, how });
        };
        // A site need not have heard of a record that is not there any more.
        let is_deleted =
            |record: &RecordRef, digest: ShortDigest| digest == Digest::of_deletion(record).short();
        for (record, digest) in theirs {
            match ours.remove(&record) {
                Some(held) if held == digest => self.equal += 1,
                None if is_deleted(&record, digest) => self.equal += 1,
                Some(_) => found(record, How::Differs),
                None => found(record, How::MissingHere),
            }
        }
        for (record, digest) in ours {
            if !is_deleted(&record, digest) {
                found(record, How::MissingAtParent);
            }
        }
    }
}
