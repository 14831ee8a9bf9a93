//! What happened to a patient, in the order of this site.

use protocol::conflict::{Compared, Mark};
use protocol::diff::ElementChange;
use protocol::{RecordRef, SiteId, Timestamp};
use serde::Serialize;

/// Which part of whose timeline.
#[derive(Debug, Clone, PartialEq)]
pub struct TimelineQuery {
    /// Whose.
    pub patient: RecordRef,
    /// What was recorded here at or after.
    pub since: Option<Timestamp>,
    /// The newest first.
    pub reverse: bool,
    /// Most changes, joins and leaves that are looked at for one page.
    pub limit: u32,
    /// Where the page before ended (opaque; from `TimelinePage::next`).
    pub after: Option<String>,
}

/// One page of a timeline. It may be empty and have a next one all the same: not everything that
/// was looked at is for everybody.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TimelinePage {
    /// In the order of this site's sequence.
    pub entries: Vec<TimelineEntry>,
    /// Where the next page goes on; `None` at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TimelineEntry {
    /// This site's sequence: of the change; the newest one at that time, of anything else.
    pub sequence: u64,
    /// When this site recorded it, by its clock.
    pub recorded: Timestamp,
    /// What.
    #[serde(flatten)]
    pub event: TimelineEvent,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum TimelineEvent {
    /// A change to records of the patient.
    Change(TimelineChange),
    /// The patient joined a cohort: one of this site's, or one of its parent's that it reads.
    Join {
        /// The cohort's name.
        cohort: String,
    },
    /// The patient left it.
    Leave {
        /// The cohort's name.
        cohort: String,
        /// Why, where that is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// This site got rid of the patient's records, because the patient had left.
    Purge {},
}

/// A change, as far as it is about the patient.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TimelineChange {
    /// The change's name, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The site that made it, where it has a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<SiteId>,
    /// Who made it.
    pub author: String,
    /// When, by the clock of the site that made it.
    pub at: Timestamp,
    /// Which way it came.
    pub via: TimelineVia,
    /// The child that brought it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub child: Option<SiteId>,
    /// The records.
    pub records: Vec<RecordChange>,
    /// Whether it has more records of the patient than a page shows.
    pub more: bool,
}

/// Which way a change came to this site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimelineVia {
    /// It was made here.
    Here,
    /// The parent's feed brought it.
    Parent,
    /// A child pushed it.
    Child,
}

/// What a change did to one record.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RecordChange {
    /// Which record.
    pub record: RecordRef,
    /// What was done.
    pub what: RecordStep,
    /// Whom it follows: the patient whose it is from now on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub follows: Option<RecordRef>,
    /// The version that `elements` start from, where there is one and it may be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_version: Option<u64>,
    /// The version that they lead to.
    pub to_version: u64,
    /// What differs between the two. Nothing, where the record is a conflict that was opened or
    /// closed.
    pub elements: Vec<ElementChange>,
    /// The conflict that was opened or closed, where the record is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conflict: Option<ConflictTold>,
}

/// A conflict as a change left it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ConflictTold {
    /// The record that it is about.
    pub record: RecordRef,
    /// The site at the parent's end of the link on which the two versions met.
    pub parent: SiteId,
    /// The one at the child's end.
    pub child: SiteId,
    /// What was taken, where it was decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub how: Option<String>,
    /// Who closed it or opened it again, where, when and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<Mark>,
    /// The contested elements, both sides' values in words, and `now`, what stood after the change.
    pub elements: Vec<Compared>,
}

/// What was done to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordStep {
    /// It was not known here before.
    Created,
    /// It says something else.
    Updated,
    /// It was deleted.
    Deleted,
    /// It was deleted, and is there again.
    Restored,
    /// It says the same: it was offered to the parent again.
    Again,
    /// It came in while this site had changed the record itself, and the two were merged. The
    /// elements are what that changed here.
    Merging,
    /// What the merge came to. The elements are where that differs from what had come in.
    Merged,
    /// It was another patient's before.
    MovedHere,
    /// It is another patient's from now on.
    MovedAway,
    /// Its patient was replaced by another one, or is so no more, and nothing but its references
    /// changed.
    Follows,
    /// It is a conflict, and a merge opened it.
    ConflictOpened,
    /// It is a conflict, and a person said that what stands is right.
    ConflictConfirmed,
    /// It is a conflict, and a person decided it.
    ConflictDecided,
    /// It is a conflict, and a person took the decision back.
    ConflictReopened,
}
