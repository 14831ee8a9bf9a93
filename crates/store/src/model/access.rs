//! Children and programs, and what they may do.

use protocol::{CohortName, SiteId, Timestamp};
use serde::Serialize;

/// A child that is invited.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ChildDraft {
    pub site: SiteId,
    pub cohorts: Vec<CohortName>,
    /// SHA-256 of the one-time code.
    pub code_hash: [u8; 32],
    pub code_expires: Timestamp,
}

/// A child.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct ChildInfo {
    pub site: SiteId,
    /// `invited`, `joined` or `revoked`.
    pub state: String,
    pub cohorts: Vec<CohortName>,
    pub last_seen: Option<Timestamp>,
    /// Its last status, as it sent it.
    pub report: Option<String>,
}

/// What a program may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenScope {
    /// Read everything.
    FhirRead,
    /// Read and write everything.
    FhirWrite,
    /// Lease messages of this site's outbox and say what became of them; nothing else.
    Outbox,
    /// Post messages of some children; nothing else.
    Carry,
}

/// A credential for a program.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct TokenDraft {
    pub name: String,
    pub scope: TokenScope,
    /// For `Carry`: the children whose messages it may bring.
    pub children: Vec<SiteId>,
    /// SHA-256 of the credential.
    pub hash: [u8; 32],
    pub expires: Option<Timestamp>,
}

/// A program's credential, without the secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct TokenInfo {
    pub name: String,
    pub scope: TokenScope,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<SiteId>,
    pub created: Timestamp,
    pub expires: Option<Timestamp>,
    pub revoked: Option<Timestamp>,
}

/// Whose credential it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// A child, with its cohorts.
    Child {
        /// The child.
        site: SiteId,
        /// Its cohorts.
        cohorts: Vec<CohortName>,
    },
    /// A program.
    Program {
        /// Its name.
        name: String,
        /// What it may do.
        scope: TokenScope,
        /// For `Carry`: for whom.
        children: Vec<SiteId>,
    },
}
