//! What a caller has to tell apart when the store says no.

use protocol::{RecordRef, Refusal};

/// Why the store did not do what it was asked. Reads well after "failed to ...".
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The input itself is refused.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// A precondition of a write does not hold (`If-Match`, create-only).
    #[error("{record} has changed: {reason}")]
    Precondition {
        /// Which record.
        record: RecordRef,
        /// What was expected and what is there.
        reason: String,
    },
    /// A conditional write was worked out against records that changed meanwhile: work it out
    /// again.
    #[error("the records it was worked out against changed meanwhile; try again")]
    Raced,
    /// Somebody else has decided a conflict.
    #[error(
        "{conflict} was {state} by {by} at {site}, {at}; `tributary conflict reopen` takes \
         that back"
    )]
    Closed {
        /// The id of its record.
        conflict: String,
        /// `confirmed` or `decided`.
        state: &'static str,
        /// Who.
        by: String,
        /// Where.
        site: protocol::SiteId,
        /// When, by that site's clock.
        at: protocol::Timestamp,
    },
    /// The record's patient left this site and is frozen here.
    #[error("{0} has left this site's cohorts; its records here are read only")]
    Frozen(RecordRef),
    /// A name is taken, or something that was named does not exist.
    #[error("{0}")]
    Name(String),
    /// The disk is full: nothing was stored, everything else goes on.
    #[error("the disk that holds the store is full; free some space and try again")]
    Full,
    /// The file is damaged.
    #[error(
        "the store is damaged ({0}); stop the site and restore its last backup with \
         `tributary restore`"
    )]
    Damaged(String),
    /// The store was written by a newer version of the program.
    #[error(
        "the store has schema {found} and this program knows schemas up to {known}; \
         install the newer version of the program"
    )]
    Newer {
        /// In the file.
        found: u32,
        /// The newest of this program.
        known: u32,
    },
    /// A feed was asked for after its head, or in another epoch.
    #[error("the feed's epoch or head is not the one that was asked for")]
    Gone {
        /// Ours.
        epoch: protocol::Epoch,
        /// The feed's newest position.
        head: u64,
    },
    /// Anything else that the database said.
    #[error("the store failed to {step}: {source}")]
    Database {
        /// What it was doing.
        step: &'static str,
        /// What the database said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StoreError {
    /// Whether what was to be written is to blame, and not the database.
    pub(crate) fn is_about_the_line(&self) -> bool {
        matches!(
            self,
            StoreError::Refused(_)
                | StoreError::Precondition { .. }
                | StoreError::Frozen(_)
                | StoreError::Name(_)
        )
    }
}
