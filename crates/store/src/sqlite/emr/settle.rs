//! What the record system made of what it was given.

use protocol::delivery::{DeliveryState, after_refusal, backoff_millis};
use protocol::resource::Record;
use protocol::{Digest, RecordRef, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

use super::{Agreed, Row, agree, capture, row, version_of};
use crate::sqlite::{SqliteStore, rows};
use crate::{EmrResult, EmrSettled, EmrState, Result, Shown};

/// Times that a record may be changed there between being read and written before that counts as a
/// failure.
const CHANGED: u32 = 3;

pub(super) fn emr_settle(
    store: &SqliteStore,
    settled: &[EmrSettled],
    now: Timestamp,
    jitter: u64,
) -> Result<()> {
    store.write("note what the record system took", |step| {
        for EmrSettled { record, given, result } in settled {
            let Some(known) = rows::record_row(step, record)? else { continue };
            let at = Step { store, step, record, key: known.key, now, jitter };
            at.settle(*given, result)?;
        }
        Ok(())
    })
}

struct Step<'a> {
    store: &'a SqliteStore,
    step: &'a Connection,
    record: &'a RecordRef,
    key: i64,
    now: Timestamp,
    jitter: u64,
}

impl Step<'_> {
    fn settle(&self, given: Digest, result: &EmrResult) -> Result<()> {
        match result {
            EmrResult::Written(shown) => self.written(given, shown),
            EmrResult::Refused(reason) => {
                let attempts = row(self.step, self.key)?.map_or(0, |row| row.attempts) + 1;
                self.stands(EmrState::Parked, attempts, Some(reason), None)
            }
            EmrResult::Failed(reason) => self.failed(reason),
            EmrResult::Waits(target) => self.waits(target),
            EmrResult::Kept(reason) => self.stands(EmrState::Kept, 0, Some(reason), None),
            EmrResult::Changed => self.changed(),
            EmrResult::Overwrite(shown) => self.overwrite(shown),
        }
    }

    /// It shows what it was given, as far as it can hold it.
    fn written(&self, given: Digest, shown: &Shown) -> Result<()> {
        let deleted = given == Digest::of_deletion(self.record);
        if shown.body().is_none() && !deleted {
            return self.failed("it took the record and does not show it");
        }
        if shown.body().is_some() && deleted {
            return self.failed("it took the deletion and still shows the record");
        }
        let ours = match version_of(self.step, self.key, given)? {
            Some(body) => Record::parse(body.as_bytes(), &self.store.options.limits)?,
            None => Record::deleted(self.record.clone()),
        };
        if ours.digest != given {
            // It was purged and came again meanwhile: what was given is known no more.
            return Ok(());
        }
        agree(self.step, &Agreed { record: self.key, ours: &ours, shown })?;
        self.step
            .prepare_cached(
                "UPDATE emr_record SET load = (SELECT load FROM emr_link) WHERE record = ?1",
            )?
            .execute([self.key])?;
        self.step.prepare_cached("UPDATE emr_link SET applied = applied + 1")?.execute([])?;
        Ok(())
    }

    fn failed(&self, reason: &str) -> Result<()> {
        let attempts = row(self.step, self.key)?.map_or(0, |row| row.attempts) + 1;
        let state = match after_refusal(attempts, &self.store.options.limits) {
            DeliveryState::Parked => EmrState::Parked,
            _ => EmrState::Retry,
        };
        self.stands(state, attempts, Some(reason), None)
    }

    /// It is tried again when the other one has come, and now and then in case that comes to the
    /// record system by another way.
    fn waits(&self, target: &RecordRef) -> Result<()> {
        let attempts = row(self.step, self.key)?.map_or(0, |row| row.attempts) + 1;
        let reason = format!("it refers to {target}, which is not in the record system yet");
        if !self.was_there(target)? {
            return self.stands(EmrState::Waits, attempts, Some(&reason), Some(target));
        }
        // Somebody has deleted it, and that was not read yet: as far as is known here it has come
        // already, and what waits for it would be tried without end.
        self.stands(EmrState::Waits, attempts, Some(&reason), None)?;
        self.read_again(target, "what refers to it was refused as if it were not there")
    }

    /// Whether a record was in the record system when that was looked at last.
    fn was_there(&self, record: &RecordRef) -> Result<bool> {
        let Some(known) = rows::record_row(self.step, record)? else { return Ok(false) };
        let seen = row(self.step, known.key)?;
        Ok(seen.as_ref().and_then(Row::live_image).is_some())
    }

    /// A record is to be read at once, where anything is read there at all.
    fn read_again(&self, record: &RecordRef, reason: &str) -> Result<()> {
        let captures: Option<bool> = self
            .step
            .prepare_cached("SELECT captures FROM emr_link")?
            .query_row([], |row| row.get(0))
            .optional()?;
        if captures != Some(true) {
            return Ok(());
        }
        capture::keep(self.store, self.step, record, reason, (self.now, self.jitter))?;
        self.step
            .prepare_cached(
                "UPDATE emr_hint SET next_at = 0, attempts = 0 WHERE type = ?1 AND id = ?2",
            )?
            .execute(params![record.kind.name(), record.id()])?;
        Ok(())
    }

    /// What was changed there is read first. That is no failure, unless it never ends.
    fn changed(&self) -> Result<()> {
        let attempts = row(self.step, self.key)?.map_or(0, |row| row.attempts) + 1;
        let reason = "it was changed in the record system meanwhile";
        let state = if attempts < CHANGED { EmrState::Due } else { EmrState::Retry };
        self.stands(state, attempts, Some(reason), None)?;
        self.read_again(self.record, reason)
    }

    /// What is there is known now, and goes by the next write.
    fn overwrite(&self, shown: &Shown) -> Result<()> {
        let image = match shown.body().and_then(|record| record.body.as_deref()) {
            Some(text) => Some(crate::sqlite::body::encode(text)?),
            None => None,
        };
        self.step
            .prepare_cached(
                "UPDATE emr_record SET image_digest = coalesce(?2, image_digest),
                    image = CASE WHEN ?2 IS NULL THEN image ELSE ?3 END, gone = ?4, lost = ?5,
                    state = 'due'
                 WHERE record = ?1",
            )?
            .execute(params![
                self.key,
                shown.digest().map(|digest| digest.0),
                image,
                matches!(shown, Shown::Gone | Shown::Replaced(_)),
                matches!(shown, Shown::Absent)
            ])?;
        Ok(())
    }

    fn stands(
        &self,
        state: EmrState,
        attempts: u32,
        reason: Option<&str>,
        waits: Option<&RecordRef>,
    ) -> Result<()> {
        let pauses = matches!(state, EmrState::Retry | EmrState::Waits);
        let pause = backoff_millis(attempts.max(1), &self.store.options.limits, self.jitter);
        let next = if pauses { self.now.plus_millis(pause.cast_signed()).millis() } else { 0 };
        self.step
            .prepare_cached(
                "UPDATE emr_record SET state = ?2, attempts = ?3, next_at = ?4, reason = ?5,
                    waits_type = ?6, waits_id = ?7
                 WHERE record = ?1",
            )?
            .execute(params![
                self.key,
                state.name(),
                attempts,
                next,
                reason,
                waits.map(|target| target.kind.name()),
                waits.map(RecordRef::id)
            ])?;
        Ok(())
    }
}
