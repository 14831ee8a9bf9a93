//! Sites below that this site reads itself, and this site as one that is read.

use protocol::digest::ShortDigest;
use protocol::stream::OutLine;
use protocol::{Epoch, FeedId, RecordRef, SiteId, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;

/// Up to where a source has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceMark {
    /// Its feed.
    pub feed: FeedId,
    /// The epoch that the position belongs to.
    pub epoch: Epoch,
    /// The position.
    pub position: u64,
}

/// How a source stands.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct SourceInfo {
    /// Its name: a site's id.
    #[schemars(with = "String")]
    pub name: SiteId,
    /// Up to where it has been read; `None` where it never was, or where this site's own store
    /// began a new life since: what was read in the life before may be lost.
    #[serde(skip)]
    pub mark: Option<SourceMark>,
    /// The position of `mark`, for people.
    pub position: u64,
    /// The newest position there, when it was last asked.
    pub head: u64,
    /// When the oldest change that waits there was recorded, where it said so.
    #[schemars(with = "Option<String>")]
    pub oldest: Option<Timestamp>,
    /// Its records are to be compared with those here, from after this one; all where it is empty.
    pub compare: Option<String>,
    /// Where a reader of a feed without positions is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Failures in a row.
    pub failures: u32,
    /// The last one, in plain words.
    pub last_error: Option<String>,
    /// Since when it has been asked.
    #[schemars(with = "Option<String>")]
    pub since: Option<Timestamp>,
    /// When it was last asked.
    #[schemars(with = "Option<String>")]
    pub last_attempt: Option<Timestamp>,
    /// When it last answered as it should.
    #[schemars(with = "Option<String>")]
    pub last_contact: Option<Timestamp>,
    /// When it will be asked next.
    #[schemars(with = "Option<String>")]
    pub next_at: Option<Timestamp>,
    /// Lines that were read from it.
    pub lines: u64,
    /// Lines of it that are parked here.
    pub parked: u64,
}

/// Where the reader of a source without positions is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourcePlace {
    /// As the reader keeps it (JSON).
    pub text: String,
    /// The states in which it has seen records.
    pub seen: Vec<(RecordRef, ShortDigest)>,
}

/// What happened with a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceEvent {
    /// Its feed is read from the beginning of this epoch, and then all records are compared: the
    /// first contact, a marker that does not fit, or a new life of this site's own store.
    Begin {
        /// Its feed.
        feed: FeedId,
        /// Its epoch.
        epoch: Epoch,
    },
    /// Its records were compared up to this one; all of them where there is none.
    Compared(Option<RecordRef>),
    /// A person wants all of it to be read once more.
    Again,
    /// It answered as it should.
    Contact {
        /// Its newest position.
        head: u64,
        /// When the oldest change that waits there was recorded.
        oldest: Option<Timestamp>,
        /// When it will be asked next.
        next: Timestamp,
    },
    /// It could not be reached, or did not answer as it should.
    Failure {
        /// Why, in plain words.
        error: String,
        /// When it will be asked next.
        next: Timestamp,
    },
}

/// What to read of this site's outgoing changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutgoingQuery {
    /// The reader's marker.
    pub after: u64,
    /// The epoch in which it has it; `None` at the first contact.
    pub epoch: Option<Epoch>,
    /// About how many bytes of bodies the slice may have; at least one line is given.
    pub bytes: usize,
}

/// Who reads this site's outgoing changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReaderSeen {
    /// The site.
    pub site: SiteId,
    /// In which life of its store.
    pub epoch: Epoch,
    /// Its marker.
    pub position: u64,
}

/// Lines for the reader of this site's outgoing changes.
#[derive(Debug, Clone, PartialEq)]
pub struct OutgoingSlice {
    /// The feed.
    pub feed: protocol::feed::FeedInfo,
    /// The site's sequence in this snapshot.
    pub sequence: u64,
    /// When the oldest change that was not read yet was recorded.
    pub oldest: Option<Timestamp>,
    /// Lines, in parts where one is too long.
    pub lines: Vec<OutLine>,
    /// Everything up to here has been said.
    pub end: u64,
    /// Whether entries remain after `end`.
    pub more: bool,
}

/// Who reads this site's changes, as it was last seen.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
pub struct ReaderStatus {
    /// The site.
    #[schemars(with = "Option<String>")]
    pub reader: Option<SiteId>,
    /// When it was last here.
    #[schemars(with = "Option<String>")]
    pub reader_at: Option<Timestamp>,
    /// Up to where it had read then.
    pub position: u64,
}
