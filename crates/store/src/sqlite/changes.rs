//! Changes made here, whole or not at all.

use std::collections::BTreeSet;

use protocol::{RecordRef, Refusal, Timestamp};
use rusqlite::Connection;

use super::journal::{self, NewChange, Way};
use super::prepared::{Prepared, State};
use super::rows::{self, RecordRow};
use super::{SqliteStore, search};
use crate::{Draft, Expect, Recorded, Result, Scope, StoreError, Write, Written};

pub(super) fn change_record(
    store: &SqliteStore,
    draft: &Draft,
    now: Timestamp,
) -> Result<Recorded> {
    check_size(store, draft)?;
    let prepared = prepare(draft)?;
    store.write("record a change", |step| {
        check_expected(step, draft)?;
        check_and_write(store, step, draft, &prepared, now)
    })
}

/// The same in the caller's transaction, for a draft that was worked out in it.
pub(super) fn record_within(
    store: &SqliteStore,
    step: &Connection,
    draft: &Draft,
    now: Timestamp,
) -> Result<Recorded> {
    check_size(store, draft)?;
    check_and_write(store, step, draft, &prepare(draft)?, now)
}

fn prepare(draft: &Draft) -> Result<Vec<Prepared<'_>>> {
    draft.writes.iter().map(|write| Prepared::of(&write.record)).collect()
}

fn check_and_write(
    store: &SqliteStore,
    step: &Connection,
    draft: &Draft,
    prepared: &[Prepared<'_>],
    now: Timestamp,
) -> Result<Recorded> {
    let mut known = Vec::with_capacity(prepared.len());
    for write in &draft.writes {
        let row = rows::record_row(step, &write.record.reference)?;
        check_precondition(write, row.as_ref())?;
        known.push(row);
    }
    check_frozen(step, draft, &known)?;
    write(store, step, draft, prepared, known, now)
}

/// Anything that is accepted has to fit into one line to the parent.
fn check_size(store: &SqliteStore, draft: &Draft) -> Result<()> {
    let limits = &store.options.limits;
    if draft.writes.len() > limits.change_records {
        return Err(Refusal::over_limit("change_records", limits.change_records).into());
    }
    let bodies = draft.writes.iter().filter_map(|write| write.record.body.as_ref());
    if bodies.map(String::len).sum::<usize>() > limits.line_bytes {
        return Err(Refusal::over_limit("line_bytes", limits.line_bytes).into());
    }
    let mut seen = BTreeSet::new();
    for write in &draft.writes {
        if !seen.insert(&write.record.reference) {
            let name = &write.record.reference;
            return Err(Refusal::invalid(format!("{name} stands twice in one change")).into());
        }
    }
    Ok(())
}

fn check_expected(step: &Connection, draft: &Draft) -> Result<()> {
    for (query, expected) in &draft.expect {
        let page = search::run(step, query, &Scope::Everything)?;
        if !page.records.iter().map(|record| &record.reference).eq(expected) {
            return Err(StoreError::Raced);
        }
    }
    Ok(())
}

fn check_precondition(write: &Write, known: Option<&RecordRow>) -> Result<()> {
    let here = known.filter(|row| !row.deleted);
    let reason = match (write.expect, here) {
        (Expect::Any, _) | (Expect::Absent, None) => return Ok(()),
        (Expect::Version(wanted), Some(row)) if row.sequence == wanted => return Ok(()),
        (Expect::Absent, Some(row)) => format!("there is a version {} already", row.sequence),
        (Expect::Version(wanted), Some(row)) => {
            format!("version {wanted} was expected and its version is {}", row.sequence)
        }
        (Expect::Version(wanted), None) => {
            format!("version {wanted} was expected and there is none")
        }
    };
    Err(StoreError::Precondition { record: write.record.reference.clone(), reason })
}

/// Patients who left may be read only here (policy `freeze`).
fn check_frozen(step: &Connection, draft: &Draft, known: &[Option<RecordRow>]) -> Result<()> {
    for (write, row) in draft.writes.iter().zip(known) {
        let mut named =
            step.prepare_cached("SELECT 1 FROM patient WHERE id = ?1 AND state = 'frozen'")?;
        for patient in &write.record.patients {
            if named.exists([patient.id()])? {
                return Err(StoreError::Frozen(patient.clone()));
            }
        }
        let Some(row) = row else { continue };
        if let Some(patient) = frozen_patient(step, row.key)? {
            return Err(StoreError::Frozen(patient));
        }
    }
    Ok(())
}

fn frozen_patient(step: &Connection, record: i64) -> Result<Option<RecordRef>> {
    let mut statement = step.prepare_cached(
        "SELECT p.id FROM record_patient AS rp JOIN patient AS p ON p.key = rp.patient
         WHERE rp.record = ?1 AND p.state = 'frozen' ORDER BY p.id LIMIT 1",
    )?;
    let found = statement.query_map([record], |row| rows::patient_ref(row, 0))?.next();
    Ok(found.transpose()?)
}

fn write(
    store: &SqliteStore,
    step: &Connection,
    draft: &Draft,
    prepared: &[Prepared<'_>],
    known: Vec<Option<RecordRow>>,
    now: Timestamp,
) -> Result<Recorded> {
    let mut writes = Vec::with_capacity(prepared.len());
    let mut states = Vec::with_capacity(prepared.len());
    for (prepared, known) in prepared.iter().zip(known) {
        let reference = prepared.record.reference.clone();
        let state = State { prepared, known, parent_sequence: None, patients: &[], since: None };
        let Some(row) = state.known.as_ref().filter(|row| !differs(draft, prepared, row)) else {
            if state.known.is_some() || prepared.body.is_some() {
                let action = Some(journal::action(&state));
                writes.push(Written { reference, sequence: 0, recorded: now, action });
                states.push(state);
            } else {
                // There is nothing to delete.
                writes.push(Written { reference, sequence: 0, recorded: now, action: None });
            }
            continue;
        };
        let recorded = journal::recorded(step, row.sequence)?.unwrap_or(now);
        writes.push(Written { reference, sequence: row.sequence, recorded, action: None });
    }
    if states.is_empty() {
        return Ok(Recorded { sequence: None, writes });
    }
    let actor = draft.author.as_str();
    let (way, lane) = (Way::Here, draft.lane);
    let change = NewChange { id: None, way, author: &draft.author, at: now, now, actor, lane };
    let sequence = journal::write(store, step, &change, &states)?;
    let recorded = journal::recorded(step, sequence)?.unwrap_or(now);
    for written in writes.iter_mut().filter(|written| written.action.is_some()) {
        (written.sequence, written.recorded) = (sequence, recorded);
    }
    Ok(Recorded { sequence: Some(sequence), writes })
}

fn differs(draft: &Draft, prepared: &Prepared<'_>, row: &RecordRow) -> bool {
    draft.again || row.digest != prepared.record.digest
}
