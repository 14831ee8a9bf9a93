//! What goes into a [`crate::Store`] and comes out of it.

use std::collections::BTreeMap;

use protocol::cohort::Definition;
use protocol::delivery::{DeliveryState, Outcome};
use protocol::feed::Action;
use protocol::resource::Record;
use protocol::resource::search::{Param, SearchValue};
use protocol::stream::{InLine, Lane, OutLine, RefusedLine};
use protocol::{
    Author, CohortName, Digest, Epoch, FeedId, Limits, RecordRef, ResourceType, SiteId, Timestamp,
};
use serde::Serialize;

/// Which site a store belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteInfo {
    /// The site's id.
    pub site: SiteId,
    /// This life of its store.
    pub epoch: Epoch,
    /// The newest sequence.
    pub sequence: u64,
    /// Whether it has a parent.
    pub has_parent: bool,
}

/// Counts for people.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct SiteStatus {
    pub site: SiteId,
    pub epoch: String,
    pub sequence: u64,
    /// Records that are not deleted.
    pub records: u64,
    pub patients: u64,
    pub changes: u64,
    pub conflicts_open: u64,
    /// Deliveries to the parent by state (`ready`, `retry`, `parked`, `done`).
    pub deliveries: BTreeMap<String, u64>,
    /// When the oldest change that the parent does not hold yet was recorded.
    pub oldest_undelivered: Option<Timestamp>,
    /// Lines from the parent that could not be applied, and those that wait behind them.
    pub parked_lines: u64,
    /// Patients who left and are frozen, or wait to be purged.
    pub patients_left: u64,
    pub cohorts: u64,
    pub children: Vec<ChildInfo>,
    pub markers: Vec<Marker>,
    pub link: LinkInfo,
    /// Bytes of the database file and its log.
    pub disk_bytes: u64,
    /// Merges, and merges with a conflict, that this site has worked out.
    pub merged: u64,
}

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
}

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
    },
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
    /// It cannot: it is parked (from a parent) or answered as refused (from a child).
    Refused {
        /// What could be read of it.
        line: Box<RefusedLine>,
        /// Its text.
        raw: Vec<u8>,
    },
    /// The end line of a pull: the marker moves there.
    End(u64),
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
    /// Whether the line was parked here (from a parent).
    pub parked: bool,
    /// Records that were written.
    pub written: u32,
    /// Records whose state here differs from the one that came.
    pub differs: Vec<(RecordRef, Digest)>,
}

/// A parked line, for people.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct ParkedLine {
    pub key: u64,
    pub feed: String,
    pub position: u64,
    pub patients: Vec<RecordRef>,
    pub reason: String,
    pub attempts: u32,
    pub next_at: Timestamp,
    pub parked: Timestamp,
}

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
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Marker {
    /// The feed.
    #[serde(serialize_with = "display")]
    pub feed: FeedId,
    /// Its name when it was last read.
    pub name: String,
    /// The epoch that the positions belong to.
    #[serde(serialize_with = "display")]
    pub epoch: Epoch,
    /// The lane.
    #[serde(serialize_with = "lane")]
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

/// One line for the parent, and what it was made of.
#[derive(Debug, Clone, PartialEq)]
pub struct PushLine {
    /// In parts where one line would be too long.
    pub lines: Vec<OutLine>,
    /// The deliveries (sequences of their changes) that it covers.
    pub deliveries: Vec<u64>,
    /// The states it sends.
    pub sent: Vec<(RecordRef, Digest)>,
}

/// What the parent said of a push line.
#[derive(Debug, Clone, PartialEq)]
pub struct Settled {
    /// As in the `PushLine`.
    pub deliveries: Vec<u64>,
    /// As in the `PushLine`; where its word is `already`, without those that it said differ: it
    /// held the changes before, and has not looked at later bodies.
    pub sent: Vec<(RecordRef, Digest)>,
    /// Its word.
    pub outcome: Outcome,
    /// Its reason.
    pub reason: Option<String>,
    /// Its sequence after the commit.
    pub sequence: u64,
}

/// Which deliveries to list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeliveryFilter {
    /// In this state; all that are not done otherwise.
    pub state: Option<DeliveryState>,
    /// Of this patient.
    pub patient: Option<RecordRef>,
    /// Only this one, with its attempts.
    pub sequence: Option<u64>,
    /// At most so many.
    pub limit: usize,
}

/// A delivery, for people.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct DeliveryInfo {
    pub sequence: u64,
    pub state: DeliveryState,
    pub patients: Vec<RecordRef>,
    pub records: Vec<RecordRef>,
    pub recorded: Timestamp,
    pub attempts: u32,
    pub next_at: Option<Timestamp>,
    pub reason: Option<String>,
    /// Times, outcomes and reasons, oldest first; only where one delivery was asked for.
    pub history: Vec<(Timestamp, String, Option<String>)>,
}

/// Which deliveries to act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryChoice {
    /// These changes.
    Sequences(Vec<u64>),
    /// All in this state.
    State(DeliveryState),
    /// All of this patient that are not done.
    Patient(RecordRef),
}

/// What to do with deliveries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryAction {
    /// Ready at once, attempts from zero.
    Retry,
    /// Parked, with a reason.
    Park(String),
}

/// An open conflict.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct ConflictInfo {
    pub key: u64,
    pub record: RecordRef,
    pub elements: Vec<String>,
    pub at: Timestamp,
    /// Versions (sequences) of the record: what both last agreed on, the parent's, the child's,
    /// and the provisional result.
    pub base: Option<u64>,
    pub parent: Option<u64>,
    pub child: Option<u64>,
    pub result: u64,
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

/// A child that is invited.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ChildDraft {
    pub site: SiteId,
    pub cohorts: Vec<CohortName>,
    /// SHA-256 of the one-time code.
    pub code_hash: [u8; 32],
    pub code_expires: Timestamp,
}

/// A child.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct ChildInfo {
    pub site: SiteId,
    /// `invited`, `joined` or `revoked`.
    pub state: String,
    pub cohorts: Vec<CohortName>,
    pub last_seen: Option<Timestamp>,
    /// Its last status, as it sent it.
    pub report: Option<String>,
}

/// What a program may do on `/fhir`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenScope {
    /// Read everything.
    FhirRead,
    /// Read and write everything.
    FhirWrite,
}

/// A credential for a program.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct TokenDraft {
    pub name: String,
    pub scope: TokenScope,
    /// SHA-256 of the credential.
    pub hash: [u8; 32],
    pub expires: Option<Timestamp>,
}

/// A program's credential, without the secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct TokenInfo {
    pub name: String,
    pub scope: TokenScope,
    pub created: Timestamp,
    pub expires: Option<Timestamp>,
    pub revoked: Option<Timestamp>,
}

/// Whose credential it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// A child, with its cohorts.
    Child {
        /// The child.
        site: SiteId,
        /// Its cohorts.
        cohorts: Vec<CohortName>,
    },
    /// A program.
    Program {
        /// Its name.
        name: String,
        /// What it may do.
        scope: TokenScope,
    },
}

/// What happened on the link to the parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkEvent {
    /// The parent answered.
    Contact {
        /// Its status, JSON, where it sent one.
        peer: Option<String>,
    },
    /// It could not be reached, or did not answer as a parent does.
    Failure {
        /// Why, in plain words.
        error: String,
        /// When the next try is due.
        next: Timestamp,
    },
    /// Bytes moved: on the wire and before compression.
    Traffic {
        /// Sent on the wire.
        wire_sent: u64,
        /// Received on the wire.
        wire_received: u64,
        /// Sent, before compression.
        raw_sent: u64,
        /// Received, after inflation.
        raw_received: u64,
    },
}

/// The link to the parent as it was last seen.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[allow(missing_docs)]
pub struct LinkInfo {
    pub failures: u32,
    pub last_error: Option<String>,
    pub last_attempt: Option<Timestamp>,
    pub last_contact: Option<Timestamp>,
    pub next_attempt: Option<Timestamp>,
    pub wire_sent: u64,
    pub wire_received: u64,
    pub raw_sent: u64,
    pub raw_received: u64,
    pub peer: Option<String>,
}

/// How to open a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenOptions {
    /// The bounds that the store keeps to.
    pub limits: Limits,
    /// Bytes of page cache of each connection.
    pub cache_bytes: usize,
    /// Connections for readers.
    pub readers: usize,
}

/// What a new store is told of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSite {
    /// The site's id.
    pub site: SiteId,
    /// Its first epoch.
    pub epoch: Epoch,
    /// The id of its `reference` feed.
    pub reference: FeedId,
}
