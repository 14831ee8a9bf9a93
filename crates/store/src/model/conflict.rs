//! Conflicts, as people and programs see them, and what is done about them.

use std::collections::BTreeMap;

use protocol::conflict::{Choice, Conflict, Contested, Mark};
use protocol::{Author, RecordRef, SiteId, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;

use super::StoredVersion;

/// Which conflicts to list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConflictFilter {
    /// Those that nobody has decided or confirmed (`Some(true)`), or the others.
    pub open: Option<bool>,
    /// Of this patient.
    pub patient: Option<RecordRef>,
    /// About this record.
    pub record: Option<RecordRef>,
    /// Whose ids go on so after `conflict-`.
    pub id: Option<String>,
    /// After this one, in the order of the list (`ConflictPage::next`).
    pub after: Option<String>,
    /// At most so many.
    pub limit: usize,
}

/// Some of the conflicts.
#[derive(Debug, Clone, PartialEq)]
pub struct ConflictPage {
    /// In the order in which they came here, newest first.
    pub conflicts: Vec<ConflictInfo>,
    /// From where to go on, where there are more.
    pub next: Option<String>,
}

/// A conflict in a list.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[allow(missing_docs)]
pub struct ConflictInfo {
    /// The id of its own record.
    pub id: String,
    /// `open`, `confirmed` or `decided`.
    pub state: &'static str,
    /// The record that it is about, and whose that is.
    #[schemars(with = "String")]
    pub record: RecordRef,
    #[schemars(with = "Vec<String>")]
    pub patients: Vec<RecordRef>,
    #[schemars(with = "Vec<serde_json::Value>")]
    pub elements: Vec<Contested>,
    /// The sites at whose link the two versions met.
    #[schemars(with = "String")]
    pub parent: SiteId,
    #[schemars(with = "String")]
    pub child: SiteId,
    /// When this site heard of it.
    #[schemars(with = "String")]
    pub noted: Timestamp,
    /// Who closed it, or opened it again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    pub by: Option<Mark>,
}

impl ConflictInfo {
    /// The paths of its elements.
    pub fn paths(&self) -> Vec<&str> {
        self.elements.iter().map(|element| element.path.as_str()).collect()
    }
}

/// One conflict whole.
#[derive(Debug, Clone, PartialEq)]
pub struct ConflictView {
    /// As in a list.
    pub info: ConflictInfo,
    /// The versions and what was decided; with bodies from this site's own history where the
    /// conflict does not carry them and the reader may see everything.
    pub conflict: Conflict,
    /// The record as this site holds it now, where it does.
    pub now: Option<StoredVersion>,
    /// Who wrote `base`, `parent`, `child` and `result`, where this site had that version.
    pub writers: BTreeMap<&'static str, Writer>,
}

/// Who made a version.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Writer {
    /// The author, as the site says at which it was made.
    pub by: String,
    /// That site, where the change has an id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<SiteId>,
    /// By that site's clock.
    pub at: Timestamp,
}

/// What a person does about a conflict.
#[derive(Debug, Clone, PartialEq)]
pub enum ConflictAction {
    /// Decides or confirms it.
    Close(Choice),
    /// Opens it again and takes the decision back.
    Reopen,
}

/// A decision that is to be recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct ConflictOrder {
    /// The id of the conflict's own record.
    pub id: String,
    /// What to do.
    pub action: ConflictAction,
    /// The person whose decision it is: the author of the change.
    pub author: Author,
    /// Why, in the person's words.
    pub why: Option<String>,
    /// Who asked, for the audit: the person, or the program through which it was done.
    pub actor: String,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[allow(missing_docs)]
pub struct ConflictDone {
    pub id: String,
    #[schemars(with = "String")]
    pub record: RecordRef,
    /// `open`, `confirmed` or `decided`.
    pub state: &'static str,
    /// The change's sequence.
    pub sequence: u64,
    /// Whether the record itself has another state now.
    pub changed: bool,
    /// Elements that somebody had edited in the meantime: the decision stands over those edits,
    /// or the reversal left them as they are.
    pub contested: Vec<String>,
}
