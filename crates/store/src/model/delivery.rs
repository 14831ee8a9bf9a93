//! What is on its way to the parent.

use protocol::delivery::{DeliveryState, Outcome};
use protocol::stream::OutLine;
use protocol::{Digest, RecordRef, Timestamp};
use serde::Serialize;

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
    /// Recorded before this.
    pub before: Option<Timestamp>,
    /// With these words in its reason.
    pub reason: Option<String>,
    /// Only this one, with its attempts.
    pub sequence: Option<u64>,
    /// Only those after this one.
    pub after: u64,
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
    /// The message that it is or was in, where third parties carry them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
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
