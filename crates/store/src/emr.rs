//! What a store does of the record system beside its site.

use protocol::{Author, RecordRef, ResourceType, Timestamp};

use crate::Result;
use crate::model::*;

/// The part of [`crate::Store`] for the record system beside a site (its EMR).
pub trait EmrStore {
    /// Which record system is there; `None`: none any more. Where there was none before, or it is
    /// given what changes here from now on, all that it may hold becomes due.
    fn emr_set(&self, draft: Option<&EmrDraft>, now: Timestamp) -> Result<()>;
    /// The record system as it was last seen; `None`: there is none.
    fn emr_status(&self) -> Result<Option<EmrStatus>>;
    /// Where its cursor is; `None`: a full load is to begin.
    fn emr_cursor(&self) -> Result<Option<String>>;
    /// Notes what happened on the way to it.
    fn emr_note(&self, event: &EmrEvent, now: Timestamp) -> Result<()>;
    /// Records what was noticed and read, a group a change, and moves the cursor. What was shown
    /// before is an echo and dies here. `Raced`: the cursor is not where it was said to be.
    fn emr_capture(
        &self,
        capture: &EmrCapture,
        author: &Author,
        now: Timestamp,
        jitter: u64,
    ) -> Result<Captured>;
    /// Records that were noticed and could not be read, and are due again.
    fn emr_hints(&self, now: Timestamp, limit: usize) -> Result<Vec<RecordRef>>;
    /// What is to be written next: reference records first and alone, else of at most `patients`
    /// patients, of each at most `records` records.
    fn emr_next(&self, now: Timestamp, patients: usize, records: usize) -> Result<Vec<EmrTurn>>;
    /// What became of writes.
    fn emr_settle(&self, settled: &[EmrSettled], now: Timestamp, jitter: u64) -> Result<()>;
    /// Records that are not the same on both sides, those that wait longest first.
    fn emr_list(&self, choice: &EmrChoice, limit: usize) -> Result<Vec<EmrInfo>>;
    /// What a person does to them, in the audit; gives how many.
    fn emr_act(
        &self,
        choice: &EmrChoice,
        action: &EmrAction,
        actor: &str,
        now: Timestamp,
    ) -> Result<u64>;
    /// The ids there of records, where they have others than here.
    fn emr_locals(&self, records: &[RecordRef]) -> Result<Vec<Option<String>>>;
    /// The record that has this id there.
    fn emr_named(&self, kind: ResourceType, local: &str) -> Result<Option<RecordRef>>;
    /// Keeps the id that a record has there. Fails where another record has it.
    fn emr_name(&self, record: &RecordRef, local: &str) -> Result<()>;
}
