//! Whose the versions of a record were. The newest version's patients stand in `record_patient`;
//! where older ones had others, `former_patient` says so, by the last version that had them.
//!
//! Who may see a version is decided in [`super::scope::Sight::version`], and nowhere else.

use std::collections::BTreeSet;

use protocol::resource::compartment;
use protocol::{RecordRef, json};
use rusqlite::{Connection, params};
use rusqlite_migration::{HookError, HookResult};

use super::records::body_text;
use super::rows;
use crate::Result;

/// As deep as any limit ever allowed.
const DEPTH: usize = 1_000;

/// Notes that a record was `patients`' up to the version `upto`, and is others' from then on.
pub(super) fn note(
    step: &Connection,
    record: i64,
    upto: u64,
    patients: &BTreeSet<i64>,
) -> Result<()> {
    let mut insert = step
        .prepare_cached("INSERT INTO former_patient (record, upto, patient) VALUES (?1, ?2, ?3)")?;
    if patients.is_empty() {
        insert.execute(params![record, upto, None::<i64>])?;
    }
    for patient in patients {
        insert.execute(params![record, upto, patient])?;
    }
    Ok(())
}

/// The keys of the patients whose a version was.
pub(super) fn patients_of(conn: &Connection, record: i64, version: u64) -> Result<BTreeSet<i64>> {
    let mut former = conn.prepare_cached(
        "SELECT patient FROM former_patient WHERE record = ?1 AND upto =
            (SELECT min(upto) FROM former_patient WHERE record = ?1 AND upto >= ?2)",
    )?;
    let found = former
        .query_map(params![record, version], |row| row.get::<_, Option<i64>>(0))?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    if !found.is_empty() {
        return Ok(found.into_iter().flatten().collect());
    }
    let mut now = conn.prepare_cached("SELECT patient FROM record_patient WHERE record = ?1")?;
    let found = now.query_map([record], |row| row.get(0))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// Fills the table of a store that is older than it, from the versions themselves.
pub(super) fn fill(step: &Connection) -> HookResult {
    read_versions(step).map_err(|error| HookError::Hook(error.to_string()))
}

fn read_versions(step: &Connection) -> Result<()> {
    let mut statement = step.prepare(
        "SELECT r.type, r.id, v.record, v.sequence, v.body, v.sequence = r.sequence
         FROM version AS v CROSS JOIN record AS r ON r.key = v.record
         WHERE EXISTS (SELECT 1 FROM version AS w
            WHERE w.record = v.record AND w.previous IS NOT NULL)
         ORDER BY v.record, v.sequence",
    )?;
    let mut found = statement.query([])?;
    let mut before: Option<(i64, u64, BTreeSet<i64>)> = None;
    while let Some(row) = found.next()? {
        let (record, sequence) = (row.get(2)?, row.get(3)?);
        let known = before.take().filter(|(key, ..)| *key == record);
        let patients = match (row.get(5)?, body_text(row, 4), &known) {
            (true, ..) => patients_of(step, record, sequence)?,
            (_, Ok(Some(body)), _) => named_in(step, &rows::record_ref(row, 0)?, &body)?,
            // A deleted record keeps the patients it had.
            (_, Ok(None), Some((_, _, had))) => had.clone(),
            _ => BTreeSet::new(),
        };
        if let Some((_, upto, had)) = known
            && had != patients
        {
            note(step, record, upto, &had)?;
        }
        before = Some((record, sequence, patients));
    }
    Ok(())
}

/// The patients of a state; nobody where it cannot be read, so that no child sees it.
fn named_in(step: &Connection, name: &RecordRef, body: &str) -> Result<BTreeSet<i64>> {
    let Ok(resource) = json::parse(body.as_bytes(), DEPTH) else { return Ok(BTreeSet::new()) };
    let patients = compartment::patients(name, &resource);
    patients.iter().map(|patient| rows::patient_key(step, patient)).collect()
}

#[cfg(test)]
mod tests;
