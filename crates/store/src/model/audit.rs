//! The audit, as people read it and prove it.

use protocol::{RecordRef, SiteId, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;

/// Which rows of the audit to give; all that is set has to fit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditFilter {
    /// Rows about this record, and changes and deliveries of it.
    pub record: Option<RecordRef>,
    /// Rows about this patient or a record of the patient's, and changes of those.
    pub patient: Option<RecordRef>,
    /// What this one did.
    pub actor: Option<String>,
    /// What is called this.
    pub action: Option<String>,
    /// At or after.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// Only rows after this one.
    pub after: u64,
    /// The newest first.
    pub newest: bool,
    /// At most so many.
    pub limit: usize,
}

/// A row of the audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[allow(missing_docs)]
pub struct AuditEntry {
    /// Counts from 1, without gaps.
    pub key: u64,
    #[schemars(with = "String")]
    pub at: Timestamp,
    pub actor: String,
    pub action: String,
    pub subject: String,
    pub detail: String,
    /// SHA-256 over the hash of the row before and this row (`docs/data-model.md`), hexadecimal.
    pub hash: String,
}

/// Whether the rows of the audit follow from one another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct AuditProof {
    pub rows: u64,
    /// The hash of the last row.
    pub last: String,
    /// The first row that does not fit, in words.
    pub broken: Option<String>,
}

/// Which rows of all audits that are here to give, the newest first; all that is set has to fit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventFilter {
    /// Rows about these: a patient's own name finds the changes of the patient's records as well.
    pub about: Vec<RecordRef>,
    /// What one of these did; empty: anybody.
    pub actors: Vec<String>,
    /// What is called one of these; empty: anything.
    pub actions: Vec<String>,
    /// What is called none of these.
    pub not_actions: Vec<String>,
    /// At or after.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// Only this row.
    pub id: Option<EventId>,
    /// Rows after this one, in the order in which they are given.
    pub after: Option<(Timestamp, EventId)>,
    /// At most so many.
    pub limit: usize,
}

/// A row of an audit among those of all sites.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventId {
    /// The site; where its id is long, how it begins.
    pub site: String,
    /// The life of the chain, as it is kept here.
    pub life: u64,
    /// The row.
    pub key: u64,
}

/// Characters of a site that an `EventId` has at the most: it is a FHIR id.
pub const EVENT_SITE_CHARS: usize = 36;

impl std::fmt::Display for EventId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.key, self.life, self.site)
    }
}

impl std::str::FromStr for EventId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.splitn(3, '.');
        let mut number = || parts.next().and_then(|part| part.parse().ok()).ok_or(());
        let (key, life) = (number()?, number()?);
        let site = parts.next().filter(|site| !site.is_empty()).ok_or(())?.to_owned();
        Ok(EventId { site, life, key })
    }
}

/// A row of an audit, as an event.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct AuditEvent {
    pub id: EventId,
    pub site: SiteId,
    pub at: Timestamp,
    pub actor: String,
    pub action: String,
    pub detail: String,
    /// Records and patients that it names, and the patients of a change.
    pub about: Vec<RecordRef>,
}
