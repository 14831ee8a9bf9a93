//! The fourth port: the record system beside a site (its EMR), as the jobs `capture` and `apply`
//! see it. Adapters are in `crate::emr`, one file or folder each.
//!
//! An adapter knows one product's ways; it decides nothing. What an EMR shows is compared with what
//! it showed before (its *image*) by the store, so an adapter may name a record too often and never
//! has to tell its own writes from those of people.

use std::collections::BTreeMap;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use protocol::RecordRef;
use protocol::resource::Record;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::LinkError;

pub use store::Shown;

/// The record system beside a site.
pub trait Emr: Send + Sync + 'static {
    /// What it is and can do; asked at the start, and when it comes back after it was away. The
    /// cheapest request that shows whether it is there and lets us in.
    fn capabilities(&self) -> BoxFuture<'_, Result<Capabilities, EmrError>>;

    /// What changed there after a cursor, oldest first. Without a cursor: everything that is there
    /// (a full load), in portions. `EmrError::CursorLost` where what was after the cursor cannot be
    /// had any more. May wait a few seconds for something to come.
    fn changes_since<'a>(
        &'a self,
        cursor: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Noticed, EmrError>>;

    /// A record as it is there now.
    fn read<'a>(&'a self, record: &'a RecordRef) -> BoxFuture<'a, Result<Shown, EmrError>>;

    /// How many records are best read by one `read_several`.
    fn several(&self) -> usize {
        1
    }

    /// As `read`, of several records, in their order: a failure of one says nothing of the others.
    fn read_several<'a>(
        &'a self,
        records: &'a [RecordRef],
    ) -> BoxFuture<'a, Vec<Result<Shown, EmrError>>> {
        async move {
            let mut shown = Vec::with_capacity(records.len());
            for record in records {
                shown.push(self.read(record).await);
            }
            shown
        }
        .boxed()
    }

    /// Writes records of one patient (or reference records) in this order, and reads each back.
    /// Gives one result a write, in their order: a failure of one says nothing of the others.
    ///
    /// The order is that of dependency: what a record refers to comes before it; deletions come
    /// last, what refers before what it refers to. Each record is read before it is written: where
    /// it is not what `image` says (any more), nothing is written and the result is
    /// `EmrError::Changed`.
    fn write<'a>(&'a self, writes: &'a [EmrWrite]) -> BoxFuture<'a, Vec<Result<Shown, EmrError>>>;

    /// What the EMR lacks to hold these records, a sentence a lack, ids only: a concept, an
    /// identifier type, a privilege. Each once; asked by `tributary emr check`.
    fn lacks<'a>(&'a self, _records: &'a [Record]) -> BoxFuture<'a, Result<Vec<String>, EmrError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

/// What an EMR is and can do, for people; kept in the store as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Capabilities {
    /// What it says to be: `OpenMRS`, `HAPI FHIR Server`.
    pub product: String,
    /// Its version, as it says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What else counts: modules with their versions, how changes are noticed, how they are
    /// written. A short sentence each.
    pub notes: Vec<String>,
    /// What is missing, and what to do about it. A sentence each.
    pub missing: Vec<String>,
}

/// What was noticed in an EMR.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Noticed {
    /// Records that may have changed: a group is one transaction of the EMR, as far as that is
    /// known, and becomes one change. A record may be named again and again; it is read once.
    pub groups: Vec<Vec<RecordRef>>,
    /// Some of them whole, as a list has shown them, in the form in which `read` shows them. It may
    /// be older than what is there by now; that is named later on then. A record of which the EMR
    /// has told before that it was deleted since is not among them.
    pub shown: BTreeMap<RecordRef, Shown>,
    /// Where to go on: the adapter's own text, at most 64 kB. Of a full load it says how far that
    /// has come *and* where changes begin that are made while it runs.
    pub cursor: String,
    /// Whether more is there already: ask again at once.
    pub more: bool,
    /// How many records are still to be named, as far as that is known (a full load: the bar).
    pub left: Option<u64>,
}

/// One record that is to be written into an EMR.
#[derive(Debug, Clone, PartialEq)]
pub struct EmrWrite {
    /// Which.
    pub record: RecordRef,
    /// The state to write; `None` deletes it.
    pub wanted: Option<Record>,
    /// What the EMR showed last; `None` where it was never asked: then it is read first, and what
    /// is there already is `Changed`. What `wanted` and the image have in common needs no writing.
    pub image: Option<Shown>,
}

/// Why an EMR did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EmrError {
    /// No link, a timeout, 5xx, 429, a login that is refused for everything: says nothing of any
    /// record, costs time only, and nothing is parked.
    #[error(transparent)]
    Away(#[from] LinkError),
    /// This record is refused. In plain words, ids only, with what to do about it where that is
    /// known. It parks; its patient waits and all others flow.
    #[error("{0}")]
    Refused(String),
    /// It refers to what is not in the EMR yet: it waits for that, and goes by itself then.
    #[error("it refers to {0}, which is not in the record system yet")]
    Waits(RecordRef),
    /// This EMR cannot hold such records: kept in our store and shown as kept, not as failed.
    #[error("{0}")]
    Kept(String),
    /// It is not what the image says any more: to be captured first, then written again.
    #[error("it was changed in the record system meanwhile")]
    Changed,
    /// What came after the cursor cannot be had any more (a log that was purged, another server):
    /// everything is to be compared. Only from `changes_since`.
    #[error("what changed since cannot be told any more: {0}")]
    CursorLost(String),
}

impl EmrError {
    /// The link failed, in these words.
    pub fn away(words: impl Into<String>) -> EmrError {
        EmrError::Away(LinkError(words.into()))
    }
}
