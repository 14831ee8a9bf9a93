//! Patients who visit a child, and what a child asks about patients who are not its own.

use protocol::visit::PatientHit;
use protocol::{Author, FeedId, RecordRef, SiteId, Timestamp};
use serde::Serialize;

/// What came of a question that a child may ask only so often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked<T> {
    /// The answer.
    Answered(T),
    /// It has asked `asks_per_hour` times within the hour; nothing was done.
    TooOften,
}

/// Patients who were found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct PatientsFound {
    pub patients: Vec<PatientHit>,
    /// Whether there are more.
    pub more: bool,
}

/// A patient who is to visit a child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VisitorDraft {
    /// The child.
    pub child: SiteId,
    /// Who.
    pub patient: RecordRef,
    /// Why, in a person's words.
    pub reason: String,
    /// Who asks, as the child says.
    pub author: Author,
    /// Until when.
    pub until: Timestamp,
    /// The id of the feed of the child's visitors, where that is new.
    pub feed: FeedId,
}

/// What came of a fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Visiting {
    /// The patient is in the feed of this name: as a visitor until then, or, without an end, as a
    /// patient of the child's own.
    In {
        /// The feed's name.
        feed: String,
        /// When the visit ends.
        until: Option<Timestamp>,
    },
    /// There is no such patient here.
    Unknown,
    /// The Patient record was deleted.
    Deleted,
    /// The record was replaced by another one, which is here.
    ReplacedBy(RecordRef),
}

/// A visitor of a child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct VisitorInfo {
    pub child: SiteId,
    pub patient: RecordRef,
    pub since: Timestamp,
    pub until: Timestamp,
    pub author: String,
    pub reason: String,
}

/// Joins that a child has heard of and whose records are far away on the bulk lane, or have come
/// without what was purged at the child meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JoinsAhead {
    /// Whose records are to be fetched ahead. Where more patients than that joined at once, none:
    /// they are a load of their own, which the bulk lane brings in its order.
    pub patients: Vec<RecordRef>,
    /// Up to where the joins were looked at.
    pub position: u64,
}
