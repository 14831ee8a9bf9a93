//! Records and how they are asked for.

use protocol::feed::Action;
use protocol::resource::search::{Param, SearchValue};
use protocol::{CohortName, Digest, Epoch, FeedId, RecordRef, ResourceType, SiteId, Timestamp};
use serde::Serialize;

/// Who is asking, as far as reading goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// The site's own programs: everything.
    Everything,
    /// A child: the records of these cohorts, and the reference records.
    Cohorts {
        /// The child.
        reader: SiteId,
        /// The epoch that it said it is in.
        epoch: Epoch,
        /// Its cohorts.
        cohorts: Vec<CohortName>,
    },
}

/// One state of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredVersion {
    /// Which record.
    pub reference: RecordRef,
    /// Its change's sequence: the version id of the FHIR API.
    pub sequence: u64,
    /// When this site recorded it.
    pub recorded: Timestamp,
    /// Its digest.
    pub digest: Digest,
    /// Compact JSON; `None` where deleted.
    pub body: Option<String>,
    /// Created, updated, deleted.
    pub action: Action,
}

/// A search over current records.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SearchQuery {
    /// Of this type; `None` only together with `patient` (`$everything`).
    pub kind: Option<ResourceType>,
    /// Any of these ids (`_id`).
    pub ids: Option<Vec<String>>,
    /// In the compartment of any of these patients.
    pub patients: Option<Vec<RecordRef>>,
    /// All of these have to match; within one, any of its values.
    pub filters: Vec<SearchFilter>,
    /// Recorded here at or after (ms), and at or before.
    pub updated: (Option<Timestamp>, Option<Timestamp>),
    /// In which order.
    pub order: SearchOrder,
    /// Most records of the page.
    pub limit: u32,
    /// Where the page before ended (opaque; from `SearchPage::next`).
    pub after: Option<String>,
    /// Whether to count all matches.
    pub total: bool,
}

/// One search parameter with its alternatives (`code=a,b`).
#[derive(Debug, Clone, PartialEq)]
pub struct SearchFilter {
    /// Which.
    pub param: Param,
    /// Any of these.
    pub any: Vec<SearchTest>,
}

/// One test of a search.
#[derive(Debug, Clone, PartialEq)]
pub enum SearchTest {
    /// Token in this system (or in none, `|code`), reference, or a text that begins so.
    Is(SearchValue),
    /// Token in any system.
    Code(String),
    /// Text that is exactly this (`:exact`, compared in lower case).
    Exact(String),
    /// Date compared by a FHIR prefix (`eq`, `ne`, `lt`, `le`, `gt`, `ge`) with a range in ms.
    Date {
        /// The prefix.
        prefix: DatePrefix,
        /// First millisecond.
        low: i64,
        /// Last millisecond.
        high: i64,
    },
}

/// How a date is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum DatePrefix {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

/// The order of a search's results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SearchOrder {
    /// By when they were recorded, oldest first.
    #[default]
    Updated,
    /// Newest first.
    UpdatedDescending,
}

/// One page of a search.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchPage {
    /// The records.
    pub records: Vec<StoredVersion>,
    /// Where the next page goes on; `None` at the end.
    pub next: Option<String>,
    /// All matches, where they were to be counted.
    pub total: Option<u64>,
}

/// Versions of a record, of a type, or of everything.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HistoryQuery {
    /// Of this record only.
    pub record: Option<RecordRef>,
    /// Of this type only.
    pub kind: Option<ResourceType>,
    /// Recorded at or after.
    pub since: Option<Timestamp>,
    /// Most versions of the page.
    pub limit: u32,
    /// Where the page before ended (opaque).
    pub after: Option<String>,
}

/// One page of a history.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryPage {
    /// Versions, newest first.
    pub versions: Vec<StoredVersion>,
    /// Where the next page goes on.
    pub next: Option<String>,
    /// How many there are in all.
    pub total: u64,
}

/// Of which records digests are listed.
#[derive(Debug, Clone, PartialEq)]
pub enum DigestScope {
    /// The records that this site publishes in a feed.
    Published {
        /// The feed's name.
        feed: String,
        /// Who asks.
        scope: Scope,
    },
    /// What this site holds of a feed of its parent's: records of held patients, or, for the feed
    /// named `reference`, the reference records.
    Held {
        /// The feed's id.
        feed: FeedId,
        /// Its name.
        name: String,
    },
    /// What this site holds that is in none of these feeds of its parent's and does not wait to go
    /// up to it. (Without what is deleted.)
    Outside {
        /// The feeds' ids. The reference records are never outside.
        feeds: Vec<FeedId>,
        /// Which of it.
        which: Outside,
    },
}

/// Why a record is at a site and in none of the parent's feeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outside {
    /// It left, or its patients did, and the site's policy keeps it.
    Kept,
    /// The parent took this very state, and lists it in none of them: it is of nobody who is there.
    Taken,
    /// Nothing says that the parent has it as it is here.
    OnlyHere,
}

/// From where to where a page of digests reaches, in the order of references (by type name, then
/// by id): after the first, up to and with the second; `None` is open.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DigestRange {
    /// After this.
    pub after: Option<RecordRef>,
    /// Up to and with this.
    pub to: Option<RecordRef>,
    /// The feed's name at the parent.
    pub name: String,
    /// Whether the markers of the feed stand: it is compared though the parent has lost nothing.
    pub stands: bool,
}

/// A Patient that says to be replaced by another, and how far what refers to it has followed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ReplacedInfo {
    /// Who was replaced.
    pub loser: RecordRef,
    /// By whom.
    pub winner: RecordRef,
    /// `waiting` (it cannot be followed), `moving`, `moved`, or `undoing` (the link is gone, and
    /// records are on their way back).
    pub state: String,
    /// Why it waits.
    pub reason: Option<String>,
    /// The child by whose word alone it is known.
    pub child: Option<String>,
    /// Records that followed and can go back.
    pub moved: u64,
}

/// Patients who have one identifier (system and value) in common and are not merged.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Duplicate {
    /// Who, by their ids.
    pub patients: Vec<RecordRef>,
}
