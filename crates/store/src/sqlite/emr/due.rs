//! What is to be written into the record system: marked in the transaction of the change.

use protocol::resource::Record;
use protocol::{RecordRef, conflict};
use rusqlite::{Connection, OptionalExtension};

use crate::Result;

/// Whether what changes here is written there.
fn applies(step: &Connection) -> Result<bool> {
    let found: Option<bool> = step
        .prepare_cached("SELECT applies FROM emr_link")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(found == Some(true))
}

/// Marks what a change wrote. Its records are known by their keys.
pub(in crate::sqlite) fn mark(step: &Connection, written: &[(i64, &Record)]) -> Result<()> {
    if written.is_empty() || !applies(step)? {
        return Ok(());
    }
    for (key, record) in written {
        let known =
            step.prepare_cached("SELECT 1 FROM emr_record WHERE record = ?1")?.exists([key])?;
        if known {
            weigh(step, *key)?;
        } else if record.body.is_some() && is_for_it(step, *key, &record.reference)? {
            step.prepare_cached(
                "INSERT INTO emr_record (record, state, since)
                 SELECT key, 'due', sequence FROM record WHERE key = ?1",
            )?
            .execute([key])?;
        }
    }
    Ok(())
}

/// Marks what is here of a patient and was not meant for the record system as long as the patient
/// was not.
pub(in crate::sqlite) fn mark_patient(step: &Connection, patient: i64) -> Result<()> {
    if !applies(step)? {
        return Ok(());
    }
    step.prepare_cached(
        "INSERT INTO emr_record (record, state, since)
         SELECT r.key, 'due', r.sequence FROM record_patient AS rp
         JOIN record AS r ON r.key = rp.record
         WHERE rp.patient = ?1 AND r.deleted = 0
            AND NOT EXISTS (SELECT 1 FROM emr_record AS e WHERE e.record = r.key)
            AND NOT EXISTS (SELECT 1 FROM conflict AS c WHERE c.record = r.key)",
    )?
    .execute([patient])?;
    Ok(())
}

/// Whether a record may go there: one of a patient who is here, or a reference record. Conflicts
/// are ours.
fn is_for_it(step: &Connection, key: i64, name: &RecordRef) -> Result<bool> {
    if conflict::is_name(name) {
        return Ok(false);
    }
    let (any, here): (bool, bool) = step
        .prepare_cached(
            "SELECT count(*) > 0, coalesce(max(p.state = 'here'), 0) FROM record_patient AS rp
             JOIN patient AS p ON p.key = rp.patient WHERE rp.record = ?1",
        )?
        .query_row([key], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(if any { here } else { name.is_reference() })
}

/// Brings a row into line with its record: whether it is to be written, and afresh. What was never
/// written and is deleted by now needs no row.
pub(super) fn weigh(step: &Connection, record: i64) -> Result<()> {
    step.prepare_cached(
        "DELETE FROM emr_record WHERE record = ?1 AND digest IS NULL AND image_digest IS NULL
            AND gone = 0 AND (SELECT deleted FROM record WHERE key = ?1) = 1",
    )?
    .execute([record])?;
    step.prepare_cached(
        "UPDATE emr_record SET
            since = CASE WHEN emr_record.state IN ('same', 'kept', 'dropped') THEN r.sequence
                ELSE since END,
            state = CASE WHEN emr_record.digest IS r.digest AND emr_record.lost = 0
                    OR NOT EXISTS (SELECT 1 FROM emr_link WHERE applies = 1)
                THEN 'same' ELSE 'due' END,
            attempts = 0, next_at = 0, reason = NULL, waits_type = NULL, waits_id = NULL
         FROM record AS r WHERE r.key = ?1 AND emr_record.record = ?1",
    )?
    .execute([record])
    .map(drop)
    .map_err(Into::into)
}

/// Everything that the record system may hold and does not, as far as is known, becomes due.
pub(super) fn mark_all(step: &Connection) -> Result<usize> {
    let new = step.execute(
        "INSERT INTO emr_record (record, state, since)
         SELECT r.key, 'due', r.sequence FROM record AS r
         WHERE r.deleted = 0 AND EXISTS (SELECT 1 FROM record_patient AS rp
                JOIN patient AS p ON p.key = rp.patient
                WHERE rp.record = r.key AND p.state = 'here')
            AND NOT EXISTS (SELECT 1 FROM emr_record AS e WHERE e.record = r.key)
            AND NOT EXISTS (SELECT 1 FROM conflict AS c WHERE c.record = r.key)",
        [],
    )?;
    let reference = mark_reference(step)?;
    let moved = step.execute(
        "UPDATE emr_record SET state = 'due', since = r.sequence FROM record AS r
         WHERE r.key = emr_record.record AND emr_record.state = 'same'
            AND (emr_record.digest IS NOT r.digest OR emr_record.lost = 1)",
        [],
    )?;
    Ok(new + reference + moved)
}

/// Records of no patient, by the types that go everywhere.
fn mark_reference(step: &Connection) -> Result<usize> {
    let mut marked = 0;
    for kind in protocol::ResourceType::all().filter(|kind| kind.is_reference()) {
        marked += step
            .prepare_cached(
                "INSERT INTO emr_record (record, state, since)
                 SELECT r.key, 'due', r.sequence FROM record AS r
                 WHERE r.type = ?1 AND r.deleted = 0
                    AND NOT EXISTS (SELECT 1 FROM record_patient AS rp WHERE rp.record = r.key)
                    AND NOT EXISTS (SELECT 1 FROM emr_record AS e WHERE e.record = r.key)",
            )?
            .execute([kind.name()])?;
    }
    Ok(marked)
}
