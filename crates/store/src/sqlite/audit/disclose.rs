//! Who was shown whose records.

use std::collections::BTreeSet;

use protocol::{RecordRef, Timestamp};
use rusqlite::{Connection, params};

use super::append;
use crate::sqlite::{SqliteStore, rows, status};
use crate::{AuditRow, Disclosure, Result};

/// Patients that one row names at the most.
const PATIENTS: usize = 100;

pub(in crate::sqlite) fn disclosed(
    store: &SqliteStore,
    disclosure: &Disclosure,
    now: Timestamp,
) -> Result<()> {
    store.write("note who was shown what", |step| note(step, disclosure, now))
}

fn note(step: &Connection, disclosure: &Disclosure, now: Timestamp) -> Result<()> {
    let mut patients = disclosure.patients.iter().cloned().collect::<BTreeSet<_>>();
    for record in &disclosure.records {
        patients.extend(patients_of(step, record, disclosure.former)?);
    }
    let patients = patients.into_iter().collect::<Vec<_>>();
    let write = |names: &[RecordRef]| {
        let names = names.iter().map(RecordRef::to_string).collect::<Vec<_>>();
        let subject = match (disclosure.everything, &disclosure.records[..]) {
            (true, _) => "*".to_owned(),
            // One record is named itself as well.
            (false, [one]) if !one.is_patient() => {
                format!("{one} {}", names.join(" ")).trim_end().to_owned()
            }
            _ => names.join(" "),
        };
        let row = AuditRow {
            actor: disclosure.actor.clone(),
            action: disclosure.action,
            subject,
            detail: disclosure.detail.clone(),
        };
        append(step, &row, now)
    };
    if patients.is_empty() {
        return write(&[]);
    }
    patients.chunks(PATIENTS).try_for_each(write)
}

fn patients_of(step: &Connection, record: &RecordRef, former: bool) -> Result<Vec<RecordRef>> {
    let mut found: Vec<RecordRef> = Vec::new();
    if record.is_patient() {
        found.push(record.clone());
    }
    let Some(row) = rows::record_row(step, record)? else { return Ok(found) };
    let sql = "SELECT p.id FROM record_patient AS rp CROSS JOIN patient AS p ON p.key = rp.patient
         WHERE rp.record = ?1";
    found.extend::<Vec<_>>(status::list(step, sql, params![row.key], |row| {
        rows::patient_ref(row, 0)
    })?);
    if former {
        let sql = "SELECT p.id FROM former_patient AS fp
             CROSS JOIN patient AS p ON p.key = fp.patient WHERE fp.record = ?1";
        found.extend::<Vec<_>>(status::list(step, sql, params![row.key], |row| {
            rows::patient_ref(row, 0)
        })?);
    }
    Ok(found)
}
