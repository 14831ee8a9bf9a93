//! The audit, as people read it and prove it.

use protocol::{RecordRef, Timestamp};
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct AuditEntry {
    /// Counts from 1, without gaps.
    pub key: u64,
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
