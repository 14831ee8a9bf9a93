//! Shapes for the description of the API of what has no type of its own here.

use schemars::JsonSchema;
use serde::Serialize;

/// A reference to a record: `Patient/77`.
#[derive(Debug, JsonSchema)]
#[schemars(transparent, inline)]
pub(crate) struct Reference(
    #[schemars(regex(pattern = r"^[A-Z][A-Za-z]+/[A-Za-z0-9.-]{1,64}$"))]
    #[allow(dead_code, reason = "it is only described")]
    String,
);

/// A patient, by its id or its reference: `77`, `Patient/77`.
#[derive(Debug, JsonSchema)]
#[schemars(transparent, inline)]
pub(crate) struct PatientName(
    #[schemars(regex(pattern = r"^(Patient/)?[A-Za-z0-9.-]{1,64}$"))]
    #[allow(dead_code, reason = "it is only described")]
    String,
);

/// A state of a change on its way up.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "kebab-case", inline)]
#[allow(dead_code, reason = "it is only described")]
pub(crate) enum State {
    Ready,
    Leased,
    HandedOver,
    Retry,
    Parked,
    Done,
    Dropped,
}

/// A state of a record on its way into the record system or out of it.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "kebab-case", inline)]
#[allow(dead_code, reason = "it is only described")]
pub(crate) enum OpenState {
    Due,
    Retry,
    Waits,
    Parked,
    Kept,
    Dropped,
    Unread,
}

/// What is wrong, as RFC 9457 has it.
#[derive(Debug, Serialize, JsonSchema)]
#[allow(dead_code, reason = "it is only described")]
pub(crate) struct ProblemShape {
    r#type: String,
    title: String,
    status: u16,
    /// A FHIR issue type.
    code: String,
    detail: String,
}

/// The number of a round that was asked for.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RoundAsked {
    pub(crate) number: u64,
}

/// Whether a link is paused now.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Paused {
    pub(crate) paused: bool,
}

/// Whether the site can take what is sent to it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Ready {
    pub(crate) ready: bool,
}

/// How many changes were settled.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Settled {
    pub(crate) settled: u64,
}

/// A page of conflicts.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Conflicts {
    pub(crate) conflicts: Vec<store::ConflictInfo>,
    pub(crate) more: bool,
    /// What to ask for as `after`, where there are more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<String>,
}

/// A page of what waits.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Deliveries {
    pub(crate) deliveries: Vec<store::DeliveryInfo>,
    /// What to ask for as `after`, where there may be more.
    pub(crate) next: Option<u64>,
}

/// A change in the queue, and the message that it is or was in.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Carried {
    pub(crate) delivery: Option<store::DeliveryInfo>,
    pub(crate) message: Option<store::MessageInfo>,
}

/// Where a message stands after a third party's word.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Word {
    pub(crate) id: String,
    pub(crate) state: store::MessageState,
    /// What was made of the evidence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) evidence: Option<&'static str>,
}

/// Messages that were leased.
#[derive(Debug, Serialize, JsonSchema)]
#[allow(dead_code, reason = "it is written by hand, so that no number in a message changes")]
pub(crate) struct Leases {
    messages: Vec<Lease>,
}

/// One of them.
#[derive(Debug, Serialize, JsonSchema)]
#[allow(dead_code, reason = "as above")]
pub(crate) struct Lease {
    id: String,
    lease: String,
    until: String,
    patient: Option<String>,
    patients: Vec<String>,
    attempt: u32,
    lane: String,
    target: String,
    /// A FHIR Bundle, or the text of one.
    message: serde_json::Value,
}

/// Receipts, and the names of messages that wait.
#[derive(Debug, Serialize, JsonSchema)]
#[allow(dead_code, reason = "it is written by hand: receipts are proved by their bytes")]
pub(crate) struct Receipts {
    receipts: Vec<serde_json::Value>,
    waiting: Vec<String>,
}

/// What the reader of this site says became of changes.
#[derive(Debug, JsonSchema)]
#[allow(dead_code, reason = "it is read by hand")]
pub(crate) struct Words {
    receipts: Vec<serde_json::Value>,
}

/// Feeds that the caller may read.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Feeds {
    pub(crate) site: String,
    pub(crate) feeds: Vec<Feed>,
}

/// One of them.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Feed {
    pub(crate) name: String,
    pub(crate) title: Option<String>,
    pub(crate) id: String,
    pub(crate) epoch: String,
    /// The newest position.
    pub(crate) head: u64,
    /// The URL of the newest page.
    pub(crate) recent: String,
}

/// Some of what a FHIR search understands; `/fhir/metadata` has all.
#[derive(Debug, JsonSchema)]
#[allow(dead_code, reason = "it is only described")]
pub(crate) struct Search {
    #[schemars(rename = "_count")]
    count: Option<u32>,
    #[schemars(rename = "_id")]
    id: Option<String>,
    #[schemars(rename = "_lastUpdated")]
    last_updated: Option<String>,
    #[schemars(rename = "_sort")]
    sort: Option<String>,
    #[schemars(rename = "_page")]
    page: Option<String>,
    identifier: Option<String>,
    patient: Option<String>,
    date: Option<String>,
    name: Option<String>,
}

/// How much of a history.
#[derive(Debug, JsonSchema)]
#[allow(dead_code, reason = "it is only described")]
pub(crate) struct History {
    #[schemars(rename = "_count")]
    count: Option<u32>,
    #[schemars(rename = "_since")]
    since: Option<String>,
    #[schemars(rename = "_at")]
    at: Option<String>,
    #[schemars(rename = "_page")]
    page: Option<String>,
}

/// Who is looked for, of whom something is known.
#[derive(Debug, JsonSchema)]
#[allow(dead_code, reason = "the question itself is the protocol's")]
pub(crate) struct Find {
    identifier: Option<Identifier>,
    /// Beginnings of parts of a name, in any order.
    name: Option<String>,
    /// `female`, `male`, `other` or `unknown`.
    sex: Option<String>,
    /// A FHIR date.
    born: Option<String>,
    author: Option<String>,
}

/// An identifier's value, and its system where that is known.
#[derive(Debug, JsonSchema)]
#[allow(dead_code, reason = "as above")]
pub(crate) struct Identifier {
    system: Option<String>,
    value: String,
}

/// Which patient is fetched, and why.
#[derive(Debug, JsonSchema)]
#[allow(dead_code, reason = "as above")]
pub(crate) struct Fetch {
    patient: Reference,
    reason: String,
    days: Option<u32>,
    author: Option<String>,
}
