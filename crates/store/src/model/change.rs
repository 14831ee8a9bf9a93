//! Changes: made here, or come in from another site.

use protocol::delivery::Outcome;
use protocol::feed::Action;
use protocol::resource::Record;
use protocol::stream::{Differing, InLine, Lane, RefusedLine};
use protocol::{Author, Epoch, FeedId, RecordRef, SiteId, Timestamp, Urgency};
use schemars::JsonSchema;
use serde::Serialize;

use super::{SearchQuery, SourcePlace};

/// One change that is to be recorded here.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// Who makes it.
    pub author: Author,
    /// In dependency order; a record at most once.
    pub writes: Vec<Write>,
    /// Searches whose result the writes were worked out from; if one gives something else now,
    /// the change is `Raced`.
    pub expect: Vec<(SearchQuery, Vec<RecordRef>)>,
    /// Make versions even where nothing differs: offers the records again to the parent.
    pub again: bool,
    /// How soon it goes up, unless its records are urgent by themselves.
    pub lane: Urgency,
}

/// One record's part of a draft.
#[derive(Debug, Clone, PartialEq)]
pub struct Write {
    /// The state to write (`Record::deleted` for a deletion).
    pub record: Record,
    /// What must be there now.
    pub expect: Expect,
}

/// What must be there for a write to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Anything.
    Any,
    /// Nothing, or a deleted record.
    Absent,
    /// This version, not deleted.
    Version(u64),
}

/// What became of a draft.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The change's sequence; `None` where nothing changed.
    pub sequence: Option<u64>,
    /// One a write, in their order.
    pub writes: Vec<Written>,
}

/// What became of one write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Which record.
    pub reference: RecordRef,
    /// Its current version now.
    pub sequence: u64,
    /// When that was recorded.
    pub recorded: Timestamp,
    /// What was done; `None`: it was so already.
    pub action: Option<Action>,
}

/// Where lines come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// A feed of the parent: markers move with the lines.
    Parent {
        /// The parent's site id.
        site: SiteId,
        /// The feed.
        feed: FeedId,
        /// Its name.
        name: String,
        /// Its epoch.
        epoch: Epoch,
        /// The lane.
        lane: Lane,
        /// The stream header's sequence.
        sequence: u64,
        /// What to do about leaves.
        leave: LeavePolicy,
    },
    /// A child's push.
    Child {
        /// The child.
        site: SiteId,
        /// The epoch it said it is in.
        epoch: Epoch,
        /// Where it is read and does not push: the place in its feed.
        reading: Option<Reading>,
    },
}

/// A source's own marker moves with the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The feed that is read.
    pub feed: FeedId,
    /// Where the marker is, as far as who reads knows. Where it is somewhere else, somebody else
    /// reads the same source, and nothing is applied.
    pub after: u64,
}

/// What a child does with a patient who left all of its cohorts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeavePolicy {
    /// Nothing: the records stay and can be written.
    #[default]
    Keep,
    /// The records stay and cannot be written.
    Freeze,
    /// The records go, once all that was written here is delivered.
    Purge,
}

/// One line that came in.
#[derive(Debug, Clone, PartialEq)]
pub enum Incoming {
    /// It can be applied.
    Line {
        /// The line.
        line: Box<InLine>,
        /// Its text, to be kept where it has to be parked.
        raw: Vec<u8>,
    },
    /// It cannot: it is parked (of a feed that is read) or answered as refused (from a child).
    Refused {
        /// What could be read of it.
        line: Box<RefusedLine>,
        /// Its text.
        raw: Vec<u8>,
    },
    /// The end line of a pull: the marker moves there.
    End(u64),
    /// Where the reader of a source without positions is, and what it has seen there: kept with the
    /// lines before it.
    Place(Box<SourcePlace>),
    /// A join whose patient's record was asked for by name. Its position says since when the
    /// patient is in the feed; no marker has passed it and none moves by it.
    Ahead(Box<Incoming>),
}

/// What became of one incoming line.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// The outcome.
    pub outcome: Outcome,
    /// The site's sequence after it.
    pub sequence: u64,
    /// Why it was refused or parked; which elements are in conflict.
    pub reason: Option<String>,
    /// Whether the line was parked here (of a feed that is read).
    pub parked: bool,
    /// Records that were written.
    pub written: u32,
    /// Records whose state here differs from the one that came.
    pub differs: Vec<Differing>,
}

/// A parked line, for people.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[allow(missing_docs)]
pub struct ParkedLine {
    pub key: u64,
    pub feed: String,
    pub position: u64,
    #[schemars(with = "Vec<String>")]
    pub patients: Vec<RecordRef>,
    pub reason: String,
    pub attempts: u32,
    #[schemars(with = "String")]
    pub next_at: Timestamp,
    #[schemars(with = "String")]
    pub parked: Timestamp,
    /// A person has set it aside: it is not tried again by itself.
    pub held: bool,
}

/// A row for the audit: ids only.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct AuditRow {
    pub actor: String,
    pub action: &'static str,
    pub subject: String,
    pub detail: String,
}
