//! What is on its way to the parent.

use protocol::delivery::{DeliveryState, Outcome};
use protocol::stream::{Differing, OutLine};
use protocol::{Digest, RecordRef, Timestamp, Urgency};
use schemars::JsonSchema;
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
    /// The lane of its first change.
    pub lane: Urgency,
}

/// What the parent said of a push line.
#[derive(Debug, Clone, PartialEq)]
pub struct Settled {
    /// As in the `PushLine`.
    pub deliveries: Vec<u64>,
    /// As in the `PushLine`.
    pub sent: Vec<(RecordRef, Digest)>,
    /// Records of which it said that its state is another one.
    pub differs: Vec<Differing>,
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
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[allow(missing_docs)]
pub struct DeliveryInfo {
    pub sequence: u64,
    #[schemars(with = "String")]
    pub state: DeliveryState,
    #[schemars(with = "String")]
    pub lane: Urgency,
    #[schemars(with = "Vec<String>")]
    pub patients: Vec<RecordRef>,
    #[schemars(with = "Vec<String>")]
    pub records: Vec<RecordRef>,
    #[schemars(with = "String")]
    pub recorded: Timestamp,
    pub attempts: u32,
    #[schemars(with = "Option<String>")]
    pub next_at: Option<Timestamp>,
    pub reason: Option<String>,
    /// The message that it is or was in, where third parties carry them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Times, outcomes and reasons, oldest first; only where one delivery was asked for.
    #[schemars(with = "Vec<Vec<Option<String>>>")]
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

impl DeliveryChoice {
    /// The same choice in the whole queue.
    pub fn in_queue(&self) -> QueueChoice {
        match self {
            DeliveryChoice::Sequences(list) => {
                QueueChoice::Ids(list.iter().copied().map(QueueId::Change).collect())
            }
            DeliveryChoice::State(state) => {
                QueueChoice::Matching(QueueFilter { state: Some(*state), ..QueueFilter::default() })
            }
            DeliveryChoice::Patient(patient) => QueueChoice::Matching(QueueFilter {
                patient: Some(patient.clone()),
                ..QueueFilter::default()
            }),
        }
    }
}

/// What to do with deliveries, and with lines from the parent that are stuck here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryAction {
    /// Ready at once, attempts from zero; also what was dropped, where it is asked for by number or
    /// by that state. A line is tried at once.
    Retry,
    /// Parked, with a reason. A line is not tried again by itself any more.
    Park(String),
    /// Of those that are parked: back in the queue. A line is tried again by itself as before.
    Unpark,
    /// Given up for good, with a reason.
    Drop(String),
}

/// Something in the queue, as people name it: `12` a change on its way up, `L3` a line from the
/// parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum QueueId {
    /// The sequence of a change.
    Change(u64),
    /// The key of a line.
    Line(u64),
}

impl std::fmt::Display for QueueId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            QueueId::Change(sequence) => write!(f, "{sequence}"),
            QueueId::Line(key) => write!(f, "L{key}"),
        }
    }
}

impl std::str::FromStr for QueueId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| {
            let wrong = "the queue names what is in it by numbers: 12, or L3 for a line";
            text.parse::<u64>().map_err(|_| wrong.to_owned())
        };
        match text.strip_prefix('L') {
            Some(key) => number(key).map(QueueId::Line),
            None => number(text).map(QueueId::Change),
        }
    }
}

/// What is chosen of the queue; all that is set has to fit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QueueFilter {
    /// Deliveries in this state. Lines are `Parked`.
    pub state: Option<DeliveryState>,
    /// Of this patient.
    pub patient: Option<RecordRef>,
    /// Recorded (a line: parked) before this.
    pub before: Option<Timestamp>,
    /// With these words in its reason.
    pub reason: Option<String>,
}

/// Which of the queue to act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueueChoice {
    /// These; what is done or unknown is left alone.
    Ids(Vec<QueueId>),
    /// All that fit.
    Matching(QueueFilter),
}

/// One act on the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueOrder {
    /// On what.
    pub which: QueueChoice,
    /// What.
    pub action: DeliveryAction,
    /// Who, for the audit.
    pub actor: String,
    /// Only count.
    pub dry_run: bool,
    /// Of `Matching`: only changes after this one, where an earlier call did not come to the end.
    pub after: u64,
}

/// What an act on the queue came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
pub struct QueueDone {
    /// Changes on their way up that were acted on.
    pub changes: u64,
    /// Lines from the parent, likewise; of a retry, those that went in.
    pub lines: u64,
    /// Changes that were to be dropped and stay, since a third party has had them: a late copy of
    /// one could come to the parent after newer changes, and be taken for a new edit.
    pub kept: u64,
    /// Changes that were to be sent again and are with a third party: they go again when its lease
    /// ends, unless it delivers them.
    pub leased: u64,
    /// There may be more: act again, after this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// A line from the parent that a person gave up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[allow(missing_docs)]
pub struct DroppedLine {
    pub key: u64,
    pub feed: String,
    pub position: u64,
    #[schemars(with = "Vec<String>")]
    pub patients: Vec<RecordRef>,
    /// Why it could not be applied.
    pub reason: String,
    /// Why it was given up.
    pub dropped_because: String,
    #[schemars(with = "String")]
    pub dropped: Timestamp,
    pub actor: String,
}
