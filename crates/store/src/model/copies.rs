//! Who was shown what, and the audits of sites below.

use protocol::{Digest, RecordRef, SiteId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Somebody was shown records: a row of the audit, or several where there are many patients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disclosure {
    /// Who: `program:NAME`, `child:SITE`, `operator`.
    pub actor: String,
    /// `read`, `search`, `history`, `feed-read`, `sent`, `export`, `backup` or `conflict-read`.
    pub action: &'static str,
    /// What was asked for, ids and types only.
    pub detail: String,
    /// Records that were shown; their patients are found here.
    pub records: Vec<RecordRef>,
    /// Patients who were shown besides.
    pub patients: Vec<RecordRef>,
    /// Old versions were shown: whose the records were before counts as well.
    pub former: bool,
    /// Everything that is here was shown.
    pub everything: bool,
}

/// A place in a chain of audit rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditPlace {
    /// The row; 0 before the first.
    pub key: u64,
    /// Its hash; zeros before the first.
    #[serde(with = "hex")]
    #[schemars(with = "String")]
    pub hash: Digest,
}

impl AuditPlace {
    /// Before the first row.
    pub const BEGINNING: AuditPlace = AuditPlace { key: 0, hash: Digest([0; 32]) };
}

mod hex {
    use protocol::Digest;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(digest: &Digest, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(digest)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Digest, D::Error> {
        let text = String::deserialize(from)?;
        let wrong = || serde::de::Error::custom("a hash has 64 hexadecimal digits");
        if text.len() != 64 || !text.is_ascii() {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            let digits = &text[2 * index..2 * index + 2];
            *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
        }
        Ok(Digest(bytes))
    }
}

/// A row of the audit as it is passed on: its hash follows from the rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct AuditLine {
    pub key: u64,
    pub at: Timestamp,
    pub actor: String,
    pub action: String,
    pub subject: String,
    pub detail: String,
}

/// Rows of one site's chain, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditBatch {
    /// Whose chain it is.
    pub site: SiteId,
    /// The row that the first of them follows.
    pub after: AuditPlace,
    /// Whether they follow a row in the middle of what is held: the site was restored.
    pub fork: bool,
    /// The rows.
    pub lines: Vec<AuditLine>,
    /// The last of them, or `after` where there are none.
    pub end: AuditPlace,
    /// Whether there are more.
    pub more: bool,
}

/// What became of rows that a child passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditTaken {
    /// They are held, up to here.
    Held(AuditPlace),
    /// They do not follow what is held up to here: nothing was taken.
    Elsewhere(AuditPlace),
    /// The chain is of a site whose rows come another way.
    NotYours,
    /// Their hashes do not come to what was said: nothing was taken.
    Broken,
}

/// The audit of a site as it is known here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[allow(missing_docs)]
pub struct AuditSite {
    #[schemars(with = "String")]
    pub site: SiteId,
    /// The child that brings its rows; `None`: this site itself.
    #[schemars(with = "Option<String>")]
    pub via: Option<SiteId>,
    /// The newest row that is here, and when it was written there.
    pub key: u64,
    #[schemars(with = "Option<String>")]
    pub at: Option<Timestamp>,
    /// When it was heard of last.
    #[schemars(with = "Option<String>")]
    pub heard: Option<Timestamp>,
    /// Of a child: the newest row that it said it had when it was here last.
    pub newest_there: Option<u64>,
}

/// Somebody who has seen a patient's records.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[allow(missing_docs)]
pub struct Seen {
    #[schemars(with = "String")]
    pub site: SiteId,
    pub actor: String,
    /// `read`, `search`, `sent`, `wrote`, ...
    pub how: String,
    #[schemars(with = "String")]
    pub first: Timestamp,
    #[schemars(with = "String")]
    pub last: Timestamp,
    pub times: u64,
}

/// Who has seen a patient's records, and as of when that is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[allow(missing_docs)]
pub struct AuditWho {
    /// The record that was asked for and its patients.
    #[schemars(with = "Vec<String>")]
    pub names: Vec<RecordRef>,
    /// By site, then by when they saw it last.
    pub seen: Vec<Seen>,
    /// All sites whose rows were looked at.
    pub sites: Vec<AuditSite>,
}
