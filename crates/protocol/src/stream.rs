//! The change stream and the push: lines of NDJSON <-> values. Implements `docs/protocol.md` §2.
//!
//! One line is one transaction. Nothing here reads a socket: `Lines` is fed with bytes in any
//! portions and gives whole lines.

mod lines;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub use lines::Lines;
pub use read::{ENVELOPE_BYTES, read_line, read_outcome};
pub use write::{write_end, write_header, write_line, write_outcome};

use crate::change::{Author, ChangeId};
use crate::delivery::Outcome;
use crate::digest::{Digest, ShortDigest};
use crate::error::Refusal;
use crate::feed::EntryKind;
use crate::id::{Epoch, FeedId, RecordRef};
use crate::resource::Record;
use crate::time::Timestamp;

/// The version of what goes over the wire, sent with every request as `Tributary-Protocol`.
pub const PROTOCOL_VERSION: u32 = 1;

/// Which entries of a feed a stream carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Every entry; joins without bodies.
    Live,
    /// The joins only, each with the patient's whole current records.
    Bulk,
}

impl Lane {
    /// `live` or `bulk`.
    pub fn as_str(self) -> &'static str {
        match self {
            Lane::Live => "live",
            Lane::Bulk => "bulk",
        }
    }
    /// The inverse of `as_str`.
    pub fn named(text: &str) -> Option<Lane> {
        [Lane::Live, Lane::Bulk].into_iter().find(|lane| lane.as_str() == text)
    }
}

/// The first line of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Which feed.
    pub feed: FeedId,
    /// The publishing site's epoch.
    pub epoch: Epoch,
    /// The publishing site's sequence when it began to answer: all bodies are at least as new.
    /// A reader drops a record of which it has heard something newer than this.
    pub sequence: u64,
    /// The position that was asked for.
    pub after: u64,
    /// The newest position of the lane.
    pub head: u64,
    /// How many entries of the lane lie after `after`, at the most.
    pub behind: u64,
    /// When the oldest of them was recorded.
    pub oldest: Option<Timestamp>,
}

/// What a state was made from, as its sender says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Base {
    /// The version that both ends hold.
    pub digest: Option<ShortDigest>,
    /// The version is the word of a site below the sender, which had nothing of the record when
    /// the state came.
    pub relayed: bool,
    /// Push: the sender's sequence since which it holds the record without a break. What it
    /// brought of the record before that, it let go of: it has no part in the state.
    pub since: Option<u64>,
}

impl From<ShortDigest> for Base {
    /// A version that the sender itself agreed on.
    fn from(digest: ShortDigest) -> Base {
        Base { digest: Some(digest), relayed: false, since: None }
    }
}

/// One record in a line that is about to be written.
#[derive(Debug, Clone, PartialEq)]
pub enum OutRecord {
    /// Its latest body (compact JSON) and digest.
    Resource {
        /// The name that stands in the body.
        reference: RecordRef,
        /// Compact JSON.
        body: String,
        /// Counts in the line's sum; not sent.
        digest: Digest,
        /// What it was made from, where the receiver could not know it better.
        base: Option<Base>,
    },
    /// It is deleted.
    Deleted {
        /// Which.
        reference: RecordRef,
        /// As above.
        base: Option<Base>,
    },
    /// The reader itself gave us this version.
    Held(RecordRef),
    /// It is no longer of this cohort, though its patient may be.
    Left(RecordRef),
}

/// One line that is about to be written: a pull line has a position, a push line has none.
#[derive(Debug, Clone, PartialEq)]
pub struct OutLine {
    /// The position in the feed.
    pub position: Option<u64>,
    /// Change, join or leave.
    pub kind: EntryKind,
    /// The change's id, where it has one.
    pub id: Option<ChangeId>,
    /// Push: the numbers of all changes (of `id`'s origin and epoch) that this line covers.
    pub covers: Vec<u64>,
    /// Part `part.0` of `part.1`, from 1, where one line would be too long.
    pub part: Option<(u32, u32)>,
    /// Who made the change.
    pub author: Option<Author>,
    /// When, as the origin says.
    pub at: Option<Timestamp>,
    /// Whose records these are.
    pub patients: Vec<RecordRef>,
    /// Why a patient left.
    pub reason: Option<String>,
    /// The records, in dependency order.
    pub records: Vec<OutRecord>,
}

/// One record of a line that was read.
#[derive(Debug, Clone, PartialEq)]
pub enum InRecord {
    /// A state (a body, or a deletion), with the base that the sender named.
    State {
        /// Parsed and checked.
        record: Record,
        /// What it was made from, as far as the sender says.
        base: Option<Base>,
    },
    /// We gave them this version ourselves.
    Held(RecordRef),
    /// It left the cohort.
    Left(RecordRef),
}

/// One line that was read. Fields as in `OutLine`.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct InLine {
    pub position: Option<u64>,
    pub kind: EntryKind,
    pub id: Option<ChangeId>,
    pub covers: Vec<u64>,
    pub part: Option<(u32, u32)>,
    pub author: Option<Author>,
    pub at: Option<Timestamp>,
    pub patients: Vec<RecordRef>,
    pub reason: Option<String>,
    pub records: Vec<InRecord>,
}

/// A line whose envelope could be read and whose content is refused: it parks for its patients,
/// and the marker moves on.
#[derive(Debug, Clone, PartialEq)]
pub struct RefusedLine {
    /// The position in the feed, where the line has one.
    pub position: Option<u64>,
    /// The change's id, where the line has one.
    pub id: Option<ChangeId>,
    /// Push: what it covers.
    pub covers: Vec<u64>,
    /// As in `OutLine`.
    pub part: Option<(u32, u32)>,
    /// The patients that the envelope names.
    pub patients: Vec<RecordRef>,
    /// What is wrong, and where.
    pub refusal: Refusal,
}

/// Any line of a pull or push stream.
#[derive(Debug, Clone, PartialEq)]
pub enum StreamLine {
    /// The first line of a pull.
    Header(Header),
    /// One transaction.
    Line(Box<InLine>),
    /// One transaction that cannot be applied as it is.
    Refused(Box<RefusedLine>),
    /// The last line of a pull: everything up to `end` has been said; `more` is waiting.
    End {
        /// The marker may move to here.
        end: u64,
        /// Whether the answer was cut by its size limit.
        more: bool,
    },
}

/// The answer to one push line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutcomeLine {
    /// The line's id, as it was sent.
    pub id: ChangeId,
    /// As it was sent.
    pub part: Option<(u32, u32)>,
    /// What became of it.
    pub outcome: Outcome,
    /// Why, for `refused` and `later`; which elements, for `conflict`.
    pub reason: Option<String>,
    /// The receiver's sequence after it.
    pub sequence: u64,
    /// Records whose state at the receiver differs from what was sent.
    pub differs: Vec<Differing>,
}

/// A record whose state at the receiver is another one than was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Differing {
    /// The record.
    pub record: RecordRef,
    /// What the receiver holds.
    pub digest: ShortDigest,
    /// Whether the receiver has had what was sent: it has merged it, or has gone on from it.
    pub had: bool,
}

/// All outcomes, for reading their names.
const OUTCOMES: [Outcome; 6] = [
    Outcome::Applied,
    Outcome::Merged,
    Outcome::Conflict,
    Outcome::Already,
    Outcome::Refused,
    Outcome::Later,
];
