//! Children and programs, and what they may do.

use protocol::{CohortName, Epoch, RecordRef, SiteId, Timestamp};
use schemars::JsonSchema;
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

/// What a person lets a child change, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Allowance {
    pub site: SiteId,
    pub records: Vec<RecordRef>,
    pub reason: String,
}

/// A child.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[allow(missing_docs)]
pub struct ChildInfo {
    #[schemars(with = "String")]
    pub site: SiteId,
    /// `invited`, `joined` or `revoked`.
    pub state: String,
    #[schemars(with = "Vec<String>")]
    pub cohorts: Vec<CohortName>,
    /// When it was invited, last if it has not joined since.
    #[schemars(with = "String")]
    pub added: Timestamp,
    /// In which life of its store it was here last.
    #[schemars(with = "Option<String>")]
    pub epoch: Option<Epoch>,
    #[schemars(with = "Option<String>")]
    pub last_seen: Option<Timestamp>,
    /// Its last status, as it sent it.
    pub report: Option<String>,
    /// Its clock less ours when it last reported, in milliseconds.
    pub clock_offset: Option<i64>,
    /// How far it is behind, by where it said that it is; `None` where it has not said, or where it
    /// was not to be counted.
    pub lag: Option<ChildLag>,
}

/// How far a child is behind what its feeds hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[allow(missing_docs)]
pub struct ChildLag {
    /// Entries of its feeds that it has not passed.
    pub changes: u64,
    /// Patients whose whole records it has not fetched yet; of a feed at most 10,000 are counted.
    pub joins: u64,
    /// When the oldest of all these was recorded.
    #[schemars(with = "Option<String>")]
    pub since: Option<Timestamp>,
    /// How long it will take at the pace of lately; `None` where there is none to go by.
    pub catch_up_millis: Option<u64>,
}

/// Where a child is in a feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedPosition {
    /// The feed's name.
    pub feed: String,
    /// On the live lane.
    pub live: u64,
    /// On the bulk lane.
    pub bulk: u64,
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
    /// See how the site stands, act on its queue and its links, read its audit; no records.
    Administer,
    /// Read what goes up from this site, and say what became of it; nothing else.
    ReadOutgoing,
    /// Read the site's metrics; nothing else.
    Metrics,
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
