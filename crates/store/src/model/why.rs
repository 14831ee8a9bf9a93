//! Where a record is on its way, as far as one site can tell: facts, ids only.

use protocol::{RecordRef, SiteId, Timestamp};
use serde::Serialize;

use super::{DeliveryInfo, DroppedLine, EmrInfo, MessageInfo, ParkedLine, Pause, TimelineVia};

/// All that this site knows of where a record is and goes, from one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Whereabouts {
    pub record: RecordRef,
    /// The site that tells it.
    pub site: SiteId,
    pub has_parent: bool,
    /// How the record stands here; `None`: it is not here.
    pub here: Option<Here>,
    /// When this site let go of it, because it left the parent's feed by itself.
    pub let_go: Option<Timestamp>,
    /// Whose it is; of a Patient that is not here, what is known of the patient all the same.
    pub patients: Vec<PatientPlace>,
    /// Its changes that the parent does not hold yet, oldest first, at most `WHY_ROWS`.
    pub up: Vec<GoingUp>,
    /// Its changes that a person gave up, newest first, at most `WHY_ROWS`.
    pub dropped: Vec<DeliveryInfo>,
    /// Lines from the parent of its patients, or that named it, that a person gave up, likewise.
    pub dropped_lines: Vec<DroppedLine>,
    pub link: LinkState,
    /// Lines from the parent that are stuck here: of its patients, or, of a record that is not
    /// here, those that name it. At most `WHY_ROWS`.
    pub parked: Vec<ParkedLine>,
    /// How it stands with the record system beside the site, where it has to do with one.
    pub emr: Option<EmrInfo>,
    /// Conflicts about it that nobody has decided, by their ids.
    pub conflicts: Vec<String>,
    /// The children, and what each has of it: those whose feeds it is in, or was; where it is not
    /// here, all of them.
    pub children: Vec<ChildPlace>,
    /// Messages that third parties brought and that wait to be worked off.
    pub inbox: u64,
}

/// Most deliveries, and most lines, that `Whereabouts` has.
pub const WHY_ROWS: usize = 20;

/// The state of a record that stands at this site.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Here {
    pub sequence: u64,
    /// When this site recorded that state.
    pub since: Timestamp,
    pub deleted: bool,
    pub author: String,
    /// The site that made the change, where it has an id.
    pub origin: Option<SiteId>,
    pub via: TimelineVia,
    /// The child that brought it.
    pub child: Option<SiteId>,
    /// What the parent has of it.
    pub parent: ParentHolds,
    /// When the parent took the change that made this state, and its word.
    pub taken: Option<(Timestamp, String)>,
    /// Whether the parent said that this state left its feed by itself.
    pub left: bool,
}

/// What the parent is known to have of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ParentHolds {
    /// The state that stands here.
    This,
    /// Another state.
    Other,
    /// Nothing that this site knows of.
    Nothing,
}

/// A patient of the record.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct PatientPlace {
    pub patient: RecordRef,
    /// `here`, `frozen` or `purging`.
    pub state: String,
    /// The parent's feeds that hold the patient for this site.
    pub feeds: Vec<String>,
    /// When the patient left this site last, and was purged, if no join came after it.
    pub left: Option<Timestamp>,
    pub purged: Option<Timestamp>,
}

/// A change of the record on its way to the parent.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct GoingUp {
    pub delivery: DeliveryInfo,
    /// The message that it is or was in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<MessageInfo>,
    /// The change before it, of a patient in common, for which it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behind: Option<DeliveryInfo>,
}

/// How the link to the parent stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[allow(missing_docs)]
pub struct LinkState {
    pub last_contact: Option<Timestamp>,
    /// In a row.
    pub failures: u32,
    pub last_error: Option<String>,
    pub next_attempt: Option<Timestamp>,
    /// The last pause that a person made of it and nobody ended; it may be over by itself.
    pub paused: Option<Pause>,
}

/// What a child has of the record, by one feed, as it said itself last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct ChildPlace {
    pub child: SiteId,
    /// `invited` or `joined`.
    pub state: String,
    pub last_seen: Option<Timestamp>,
    /// Changes that it had not delivered by then.
    pub undelivered: Option<u64>,
    /// The feed by which it gets the record; `None` where the record is not here.
    pub feed: Option<FeedPlace>,
    /// Whether it brought the state that stands here.
    pub brought: bool,
}

/// The record's place in a feed, and the child's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct FeedPlace {
    pub name: String,
    /// Position of the state that stands here; `None`: it is from before the patient joined.
    pub entry: Option<u64>,
    /// Position of the first join of its patients that holds; `None` in `reference`, and where
    /// none of them is in the cohort any more.
    pub joined: Option<u64>,
    /// Position of the last leave, where none of its patients is in the cohort any more.
    pub left: Option<u64>,
    /// Where the child was on the live lane, and on the bulk lane.
    pub live: Option<u64>,
    pub bulk: Option<u64>,
}

impl FeedPlace {
    /// Whether the child has passed all that brings it the record; `None` where it has not said.
    pub fn passed(&self) -> Option<bool> {
        let live = self.entry.map(|entry| self.live.map(|at| at >= entry));
        let bulk = self.joined.map(|joined| self.bulk.map(|at| at >= joined));
        match (live, bulk) {
            (Some(Some(false)), _) | (_, Some(Some(false))) => Some(false),
            (Some(None), _) | (_, Some(None)) | (None, None) => None,
            _ => Some(true),
        }
    }
}
