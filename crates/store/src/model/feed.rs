//! Feeds, markers and cohorts.

use protocol::cohort::Definition;
use protocol::stream::{Lane, OutLine};
use protocol::{CohortName, Epoch, FeedId, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;

/// What to read of a feed's stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedQuery {
    /// The feed's name.
    pub feed: String,
    /// Which lane.
    pub lane: Lane,
    /// The reader's marker: what coalescing is relative to.
    pub marker: u64,
    /// From after this position (the marker, or where the slice before ended).
    pub after: u64,
    /// The epoch in which the reader has its marker; `None` at its first contact.
    pub epoch: Option<Epoch>,
    /// Up to this position, where a first slice has fixed the head.
    pub to: Option<u64>,
    /// About how many bytes of bodies the slice may have; at least one line is given.
    pub bytes: usize,
}

/// Lines of a feed's stream.
#[derive(Debug, Clone, PartialEq)]
pub struct FeedSlice {
    /// The feed.
    pub feed: protocol::feed::FeedInfo,
    /// The site's sequence in this snapshot.
    pub sequence: u64,
    /// The newest position of the lane in this snapshot.
    pub head: u64,
    /// Entries of the lane after `after`, at the most.
    pub behind: u64,
    /// When the oldest of them was recorded.
    pub oldest: Option<Timestamp>,
    /// Lines, in parts where one is too long.
    pub lines: Vec<OutLine>,
    /// Everything up to here has been said.
    pub end: u64,
    /// Whether entries remain after `end` (up to `query.to` or `head`).
    pub more: bool,
}

/// Up to where a feed of the parent has been applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Marker {
    /// The feed.
    #[serde(serialize_with = "display")]
    #[schemars(with = "String")]
    pub feed: FeedId,
    /// Its name when it was last read.
    pub name: String,
    /// The epoch that the positions belong to.
    #[serde(serialize_with = "display")]
    #[schemars(with = "String")]
    pub epoch: Epoch,
    /// The lane.
    #[serde(serialize_with = "lane")]
    #[schemars(with = "String")]
    pub lane: Lane,
    /// The position.
    pub position: u64,
}

fn display<T: std::fmt::Display, S: serde::Serializer>(value: &T, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(value)
}

fn lane<S: serde::Serializer>(lane: &Lane, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(lane.as_str())
}

/// A cohort that is to be made or changed.
#[derive(Debug, Clone, PartialEq)]
pub struct CohortDraft {
    /// Its name.
    pub name: CohortName,
    /// The id of its feed, where the feed is new.
    pub feed: FeedId,
    /// For people; `None` keeps the title there is (or takes the name).
    pub title: Option<String>,
    /// Which patients.
    pub definition: Definition,
    /// Entries a page, where the feed is new.
    pub page_entries: u32,
}

/// What came of a cohort's definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct CohortChange {
    pub created: bool,
    pub joined: u64,
    pub left: u64,
    pub patients: u64,
}

/// A cohort.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct CohortInfo {
    pub name: CohortName,
    pub title: String,
    pub definition: Definition,
    pub patients: u64,
    /// Position of the newest entry of its feed.
    pub head: u64,
}
