//! The record system beside a site, as the store knows it.

use protocol::resource::Record;
use protocol::{Digest, RecordRef, ResourceType, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A record as a record system shows it.
#[derive(Debug, Clone, PartialEq)]
pub enum Shown {
    /// It is there; under our name, with references under our names.
    Body(Box<Record>),
    /// It was deleted there.
    Gone,
    /// It was a patient, and was merged there into this one.
    Replaced(RecordRef),
    /// It was never there.
    Absent,
}

impl Shown {
    /// The record, where it is there.
    pub fn body(&self) -> Option<&Record> {
        if let Shown::Body(record) = self { Some(record) } else { None }
    }
    /// The digest of what is shown, where it is there.
    pub fn digest(&self) -> Option<Digest> {
        self.body().map(|record| record.digest)
    }
}

/// What is known of the name of a record on the other side: there of one of ours, here of one of
/// theirs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EmrId {
    /// It has another name there.
    Other(RecordRef),
    /// It was shown under this very name.
    Same,
    /// It is still to be written there. (Of one of ours only.)
    Due,
    /// Nothing.
    Unknown,
}

/// Which record system is beside the site, by its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmrDraft {
    /// `fhir` or `openmrs`.
    pub kind: String,
    /// Its address.
    pub url: String,
    /// Whether what changes there is recorded here.
    pub captures: bool,
    /// Whether what changes here is written there.
    pub applies: bool,
}

/// What was read of a record that was noticed.
#[derive(Debug, Clone, PartialEq)]
pub enum EmrSeen {
    /// This.
    Shown(Shown),
    /// A list has shown it so, some time ago: it counts where nothing newer can be known of it
    /// (`EmrListed::Unsure` is to be read by itself).
    Listed(Shown),
    /// It could not be read: kept, and to be read again.
    Unread(String),
}

/// What a record that a list has shown is, by what is known of it. A list is older than the record
/// may be by now: what it shows is never taken for an edit of what was shown before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmrListed {
    /// It is as it was shown last: an echo.
    Known,
    /// Nothing was ever shown of it.
    New,
    /// It is to be read by itself: it is not as it was shown last, was deleted there, lost or
    /// purged, or is to be read again anyhow.
    Unsure,
}

/// What was noticed and read in a record system.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EmrCapture {
    /// A group becomes one change, as far as one change holds it.
    pub groups: Vec<Vec<(RecordRef, EmrSeen)>>,
    /// How far that brings the cursor; `None` for hints that were kept.
    pub place: Option<EmrPlace>,
}

/// How far a record system was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmrPlace {
    /// Where the cursor was: else somebody else reads too, and nothing is recorded (`Raced`).
    pub after: Option<String>,
    /// Where it is now.
    pub cursor: String,
    /// Whether more is there already.
    pub more: bool,
    /// Of a full load, how many records are still to be named.
    pub left: Option<u64>,
}

/// What became of a capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Captured {
    /// Changes that were recorded.
    pub changes: u64,
    /// Records that are as they were shown before: echoes of our own writes, above all.
    pub echoes: u64,
    /// Records that are kept to be read again.
    pub kept: u64,
}

/// Records to be written into a record system: those of one patient, or reference records.
#[derive(Debug, Clone, PartialEq)]
pub struct EmrTurn {
    /// Whose; `None`: reference records, which go before everybody's.
    pub patient: Option<RecordRef>,
    /// In dependency order, deletions last.
    pub writes: Vec<EmrDue>,
}

/// One record that is to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct EmrDue {
    /// Its state here (`Record::deleted` for a deletion).
    pub wanted: Record,
    /// What the record system showed last.
    pub image: Option<Shown>,
}

/// What became of one write.
#[derive(Debug, Clone, PartialEq)]
pub struct EmrSettled {
    /// Which record.
    pub record: RecordRef,
    /// The state that was to be written.
    pub given: Digest,
    /// What became of it.
    pub result: EmrResult,
}

/// What a record system made of a write.
#[derive(Debug, Clone, PartialEq)]
pub enum EmrResult {
    /// It took it, and shows it so.
    Written(Shown),
    /// Refused, in plain words: parks.
    Refused(String),
    /// It failed for this record alone: tried again later, parks after `limits.attempts`.
    Failed(String),
    /// It refers to what is not there yet.
    Waits(RecordRef),
    /// Such records cannot be held there.
    Kept(String),
    /// It was changed there meanwhile: it is to be read first.
    Changed,
    /// Likewise, and what is there is to be overwritten (mode `apply-only`).
    Overwrite(Shown),
}

/// What happened on the way to the record system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EmrEvent {
    /// It answered; what it can do (JSON), where it was asked.
    Contact(Option<String>),
    /// It is away.
    Away {
        /// Why, in plain words.
        error: String,
        /// When the next try is due.
        next: Timestamp,
    },
    /// What came after the cursor cannot be had any more: everything is compared.
    CursorLost(String),
}

/// The record system as it was last seen.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[allow(missing_docs)]
pub struct EmrStatus {
    pub kind: String,
    pub url: String,
    pub captures: bool,
    pub applies: bool,
    /// Whether everything there is being read: the first load, or a comparison.
    pub loading: bool,
    /// Records that it has named so far, and those still to be named, as far as that is known.
    pub loaded: u64,
    pub remaining: Option<u64>,
    pub reload_reason: Option<String>,
    /// Changes that were recorded from it, and states that were written into it.
    pub captured: u64,
    pub applied: u64,
    /// Records by state, without those that are the same on both sides.
    pub due: u64,
    pub retry: u64,
    pub waits: u64,
    pub parked: u64,
    pub kept: u64,
    pub dropped: u64,
    /// Records that were noticed and could not be read yet.
    pub hints: u64,
    /// When the oldest of those that are due was recorded.
    #[schemars(with = "Option<String>")]
    pub oldest_due: Option<Timestamp>,
    pub capabilities: Option<String>,
    pub failures: u32,
    pub last_error: Option<String>,
    #[schemars(with = "Option<String>")]
    pub last_attempt: Option<Timestamp>,
    #[schemars(with = "Option<String>")]
    pub last_contact: Option<Timestamp>,
    /// Since when it is away.
    #[schemars(with = "Option<String>")]
    pub away_since: Option<Timestamp>,
    #[schemars(with = "Option<String>")]
    pub next_attempt: Option<Timestamp>,
}

/// The states of a record that is not the same on both sides, or was noticed and not read yet.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum EmrState {
    /// It is the same on both sides, as far as the record system can hold it. Nobody can ask for
    /// those.
    #[serde(skip_deserializing)]
    Same,
    /// To be written as soon as its turn comes.
    Due,
    /// It failed, and is tried again.
    Retry,
    /// It waits for another record to be there.
    Waits,
    /// Refused; its patient waits.
    Parked,
    /// It cannot be held there, and is kept here.
    Kept,
    /// A person gave it up; it goes when it changes.
    Dropped,
    /// It was noticed there and could not be read yet.
    Unread,
}

impl EmrState {
    /// All of them.
    pub const ALL: [EmrState; 8] = [
        EmrState::Same,
        EmrState::Due,
        EmrState::Retry,
        EmrState::Waits,
        EmrState::Parked,
        EmrState::Kept,
        EmrState::Dropped,
        EmrState::Unread,
    ];

    /// Its name, in tables and for people.
    pub const fn name(self) -> &'static str {
        match self {
            EmrState::Same => "same",
            EmrState::Due => "due",
            EmrState::Retry => "retry",
            EmrState::Waits => "waits",
            EmrState::Parked => "parked",
            EmrState::Kept => "kept",
            EmrState::Dropped => "dropped",
            EmrState::Unread => "unread",
        }
    }
}

/// A record on its way into the record system, or out of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[allow(missing_docs)]
pub struct EmrInfo {
    #[schemars(with = "String")]
    pub record: RecordRef,
    pub state: EmrState,
    #[schemars(with = "Vec<String>")]
    pub patients: Vec<RecordRef>,
    /// Since when it is so.
    #[schemars(with = "Option<String>")]
    pub since: Option<Timestamp>,
    pub attempts: u32,
    #[schemars(with = "Option<String>")]
    pub next_at: Option<Timestamp>,
    pub reason: Option<String>,
    #[schemars(with = "Option<String>")]
    pub waits_for: Option<RecordRef>,
    /// Whether the record system has shown it.
    pub shown: bool,
}

/// Which records on their way into the record system are meant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EmrChoice {
    /// This one.
    pub record: Option<RecordRef>,
    /// Those of this patient.
    pub patient: Option<RecordRef>,
    /// In this state.
    pub state: Option<EmrState>,
}

/// What a person does to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EmrAction {
    /// Try again now.
    Retry,
    /// Hold back, with the patient.
    Park(String),
    /// Do not write this state; the next one goes.
    Drop(String),
}

/// An id there, and the record's type.
pub type LocalId = (ResourceType, String);
