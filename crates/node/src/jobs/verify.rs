//! Proof that a child holds what its parent holds: all digests of its cohorts, compared.

use std::collections::{BTreeMap, BTreeSet};

use protocol::digest::ShortDigest;
use protocol::{Digest, FeedId, RecordRef};
use serde::Serialize;
use store::{DigestScope, Outside};

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
    /// Records here that the parent lists in none of the feeds that this site may read, and that
    /// do not wait to be sent. By itself that is no difference.
    pub outside: Vec<Beyond>,
}

/// One record that is here and in none of the parent's feeds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Beyond {
    /// Which record.
    pub record: RecordRef,
    /// Why it is here.
    pub why: Outside,
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
    let feeds: Vec<FeedId> = view.feeds.iter().map(|feed| feed.id).collect();
    for which in [Outside::OnlyHere, Outside::Kept, Outside::Taken] {
        let scope = DigestScope::Outside { feeds: feeds.clone(), which };
        comparison.add_outside(listed(site, &scope).await?, which);
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
    listed(site, &DigestScope::Held { feed: feed.id, name: feed.name.clone() }).await
}

async fn listed(site: &Site, scope: &DigestScope) -> Result<Digests, LinkError> {
    let mut all = Digests::new();
    loop {
        let (after, scope) = (all.keys().next_back().cloned(), scope.clone());
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
    /// Whether both hold the same: what the parent lists is here, and nothing is here alone.
    pub fn is_equal(&self) -> bool {
        self.differences.is_empty() && self.count(Outside::OnlyHere) == 0
    }

    /// How many records are outside of the feeds for this reason.
    pub fn count(&self, why: Outside) -> usize {
        self.outside.iter().filter(|beyond| beyond.why == why).count()
    }

    fn add_outside(&mut self, records: Digests, why: Outside) {
        // What the parent does list was compared.
        let listed: BTreeSet<&RecordRef> =
            self.differences.iter().map(|difference| &difference.record).collect();
        let beyond = records.into_keys().filter(|record| !listed.contains(record));
        self.outside.extend(beyond.map(|record| Beyond { record, why }));
    }

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
