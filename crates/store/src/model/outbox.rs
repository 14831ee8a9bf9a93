//! Messages that third parties carry: out of this site, and into it.

use protocol::message::{MessageId, Receipt};
use protocol::stream::OutLine;
use protocol::{ChangeId, Epoch, RecordRef, SiteId, Timestamp, Urgency};
use schemars::JsonSchema;
use serde::Serialize;

/// A third party asks for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseAsk {
    /// Its name, as that of its credential.
    pub carrier: String,
    /// At most so many.
    pub max: usize,
    /// About so many bytes at the most; one message at least.
    pub bytes: usize,
    /// Only of these lanes, those of the first ahead of the others.
    pub lanes: Vec<Urgency>,
    /// When the lease ends.
    pub until: Timestamp,
    /// The lease: nobody can guess it.
    pub lease: String,
    /// Whether the carrier begins anew and has nothing any more of what it leased before: that is
    /// here again first, though no lease is over.
    pub is_anew: bool,
}

/// A message that was leased.
#[derive(Debug, Clone, PartialEq)]
pub struct Leased {
    /// Its name.
    pub id: MessageId,
    /// Whose it is.
    pub patients: Vec<RecordRef>,
    /// Counts from 1.
    pub attempt: u32,
    /// Its lane.
    pub lane: Urgency,
    /// What it brings, never in parts.
    pub line: OutLine,
}

/// What a third party says of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CarrierWord {
    /// It was handed over.
    Delivered {
        /// Until when a receipt may take; `None` for as long as `receipt_seconds` say.
        receipt_by: Option<Timestamp>,
    },
    /// It was not.
    Failed {
        /// Why, in the third party's words.
        error: String,
        /// Whether to try again.
        retry: bool,
    },
}

/// What became of a third party's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Noted {
    /// It counts: where the message stands now.
    As(MessageState),
    /// The lease is not this third party's, or is over and somebody else has the message.
    NotYours,
    /// Its changes are in another message by now.
    Replaced,
    /// There is no such message.
    Unknown,
}

/// Where a message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MessageState {
    /// A third party has it.
    Leased,
    /// The third party says that it was delivered.
    HandedOver,
    /// It is here again: its changes wait for their turn, a time, or a person.
    Returned,
    /// Its changes are in another message.
    Replaced,
    /// The parent holds it, by its own word.
    Done,
}

/// A message, for people and third parties.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[allow(missing_docs)]
pub struct MessageInfo {
    pub id: String,
    pub change: String,
    pub state: MessageState,
    pub carrier: String,
    pub attempt: u32,
    /// Failed attempts in a row.
    pub failures: u32,
    /// Times that it was said to be delivered and the parent did not have it.
    pub missing: u32,
    /// End of the lease, or of waiting for the receipt.
    #[schemars(with = "String")]
    pub until: Timestamp,
    /// When the last attempt was said to be delivered.
    #[schemars(with = "Option<String>")]
    pub handed: Option<Timestamp>,
    /// Numbers in the queue of the changes that it brings.
    pub deliveries: Vec<u64>,
    /// What happened to it, oldest first.
    pub events: Vec<MessageEvent>,
}

/// One thing that happened to a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[allow(missing_docs)]
pub struct MessageEvent {
    #[schemars(with = "String")]
    pub at: Timestamp,
    pub attempt: u32,
    /// `leased`, `delivered`, `failed`, `lease-over`, `no-receipt`, or the parent's outcome.
    pub what: String,
    pub carrier: String,
    pub detail: Option<String>,
}

/// A message of which the parent is asked what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unconfirmed {
    /// Its change.
    pub id: ChangeId,
    /// All numbers that it covers.
    pub covers: Vec<u64>,
}

/// How the outbox stands with those who carry it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[allow(missing_docs)]
pub struct OutboxStatus {
    /// The third party that was here last.
    pub carrier: Option<String>,
    #[schemars(with = "Option<String>")]
    pub carrier_at: Option<Timestamp>,
    /// Messages that were said to be delivered and that the parent does not have, after
    /// `receipt_seconds`.
    pub missing: u64,
}

/// A message that came to the parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Post {
    /// Who sends it.
    pub child: SiteId,
    /// In which life of its store.
    pub epoch: Epoch,
    /// Its change.
    pub id: ChangeId,
    /// Which attempt it is.
    pub attempt: u32,
    /// Who brought it.
    pub carrier: String,
    /// SHA-256 of the body.
    pub digest: [u8; 32],
    /// The whole message.
    pub body: String,
}

/// What became of a message that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Posted {
    /// It is stored and waits, under this key.
    Stored(u64),
    /// The very same was taken before.
    Known(Receipt),
    /// Too many wait.
    Full,
    /// There is no such child, or it has no access any more.
    Shut,
}

/// A message that waits to be worked off.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Inboxed {
    pub key: u64,
    pub child: SiteId,
    pub epoch: Epoch,
    pub id: ChangeId,
    pub body: String,
}

/// What the parent knows of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReceiptWord {
    /// What became of it.
    Receipt(Receipt),
    /// It is stored and waits.
    Waiting,
    /// It has not come.
    Unknown,
}
