//! What a store does of the record system beside its site.

use std::collections::BTreeSet;

use protocol::{Author, Digest, RecordRef, ResourceType, Timestamp};

use crate::Result;
use crate::model::*;

/// So many records that are gone at once, or one in so many of all, look as if the record system
/// had lost them, and not as if people had deleted each. So does a type of which nothing is left.
const GONE: u64 = 50;
const GONE_OF: u64 = 20;
/// Records of a type that people may well delete all.
const FEW: u64 = 3;

/// Whether `gone` records of the `all` of one type that a record system showed look lost.
pub fn looks_lost(all: u64, gone: u64) -> bool {
    gone > GONE.max(all / GONE_OF) || gone > FEW && gone >= all
}

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
    /// What these records are that a list of the record system has shown so, in their order.
    fn emr_listed(&self, shown: &[(RecordRef, Digest)]) -> Result<Vec<EmrListed>>;
    /// Records that were noticed and could not be read, and are due again.
    fn emr_hints(&self, now: Timestamp, limit: usize) -> Result<Vec<RecordRef>>;
    /// The records of a type that the record system showed when it was asked last.
    fn emr_live(&self, kind: ResourceType) -> Result<BTreeSet<RecordRef>>;
    /// Those of them that were purged here since. That many of them are gone there is no loss.
    fn emr_left(&self, kind: ResourceType) -> Result<BTreeSet<RecordRef>>;
    /// Where any of these records was there when it was looked at last: others that were too, at
    /// most `limit`. If those are there no more either, the record system has lost them all, and
    /// nobody has deleted these. `None`: these were not there.
    fn emr_witnesses(&self, absent: &[RecordRef], limit: usize) -> Result<Option<Vec<RecordRef>>>;
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
    /// Under which names records of ours stand there, in their order.
    fn emr_there(&self, ours: &[RecordRef]) -> Result<Vec<EmrId>>;
    /// Which records of ours these names there are, in their order.
    fn emr_here(&self, theirs: &[RecordRef]) -> Result<Vec<EmrId>>;
    /// Keeps under which names there records of ours stand: (here, there). Fails where another
    /// record of ours has that name there.
    fn emr_name(&self, names: &[(RecordRef, RecordRef)]) -> Result<()>;
    /// Why ids that are kept may be those of other records by now: everything is being compared
    /// again, and an id that a server gives a second time (no UUID) is among them. `None`: they
    /// are as they were.
    fn emr_ids_doubt(&self) -> Result<Option<String>>;
}
