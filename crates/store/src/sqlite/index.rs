//! What stands beside a record's current version: its patients, what it says of where patients
//! belong, and what it is found by.

use std::collections::{BTreeMap, BTreeSet};

use protocol::RecordRef;
use rusqlite::{Connection, OptionalExtension, params};

use super::conflicts;
use super::former;
use super::keys::KeyRow;
use super::prepared::State;
use crate::Result;

/// What a change has to do with, gathered while it is written.
#[derive(Debug, Default)]
pub(super) struct Touched {
    /// The patients of its records, before and after.
    pub(super) patients: BTreeSet<i64>,
    /// Patients whom cohorts have to be asked about again.
    pub(super) moved: BTreeSet<i64>,
    /// Whether it has a reference record.
    pub(super) reference: bool,
    /// Patients that were looked up already.
    keys: BTreeMap<RecordRef, i64>,
}

/// Brings the rows of `record` into line with its new state.
pub(super) fn replace(
    step: &Connection,
    record: i64,
    state: &State<'_>,
    touched: &mut Touched,
) -> Result<()> {
    let old = match &state.known {
        Some(_) => patients_of(step, record)?,
        None => BTreeSet::new(),
    };
    let name = &state.prepared.record.reference;
    let patients = match &state.prepared.body {
        Some(_) => patient_keys(step, &state.prepared.record.patients, touched)?,
        None => patients_of_deleted(step, state, &old, touched)?,
    };
    touched.reference |=
        name.is_reference() && (patients.is_empty() || (state.known.is_some() && old.is_empty()));
    if let Some(known) = state.known.as_ref().filter(|_| old != patients) {
        former::note(step, record, known.sequence, &old)?;
    }
    for gone in old.difference(&patients) {
        step.prepare_cached("DELETE FROM record_patient WHERE record = ?1 AND patient = ?2")?
            .execute(params![record, gone])?;
    }
    for new in patients.difference(&old) {
        step.prepare_cached("INSERT INTO record_patient (record, patient) VALUES (?1, ?2)")?
            .execute(params![record, new])?;
    }
    touched.patients.extend(old);
    touched.patients.extend(patients);
    replace_places(step, record, state, touched)?;
    conflicts::index(step, record, state.prepared.record)?;
    replace_keys(step, record, state)
}

fn patients_of(step: &Connection, record: i64) -> Result<BTreeSet<i64>> {
    let mut statement =
        step.prepare_cached("SELECT patient FROM record_patient WHERE record = ?1")?;
    let found = statement.query_map([record], |row| row.get(0))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// A deleted record keeps its patients: whoever held it has to hear of the deletion. Where it was
/// another one's at the site that deleted it, or never here, that site's word counts.
fn patients_of_deleted(
    step: &Connection,
    state: &State<'_>,
    old: &BTreeSet<i64>,
    touched: &mut Touched,
) -> Result<BTreeSet<i64>> {
    let name = &state.prepared.record.reference;
    if name.is_reference() || (name.is_patient() && !old.is_empty()) {
        return Ok(old.clone());
    }
    if name.is_patient() {
        return patient_keys(step, [name], touched);
    }
    let told = patient_keys(step, state.patients, touched)?;
    Ok(if told.is_empty() || !told.is_disjoint(old) { old.clone() } else { told })
}

fn patient_keys<'a>(
    step: &Connection,
    patients: impl IntoIterator<Item = &'a RecordRef>,
    touched: &mut Touched,
) -> Result<BTreeSet<i64>> {
    patients.into_iter().map(|patient| patient_key(step, patient, touched)).collect()
}

/// The key of a patient whom a record names; cohorts are asked about one that is new.
fn patient_key(step: &Connection, patient: &RecordRef, touched: &mut Touched) -> Result<i64> {
    if let Some(key) = touched.keys.get(patient) {
        return Ok(*key);
    }
    let found = step
        .prepare_cached("SELECT key, placed FROM patient WHERE id = ?1")?
        .query_row([patient.id()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let key = match found {
        Some((key, true)) => key,
        Some((key, false)) => {
            step.prepare_cached("UPDATE patient SET placed = 1 WHERE key = ?1")?.execute([key])?;
            touched.moved.insert(key);
            key
        }
        None => {
            step.prepare_cached("INSERT INTO patient (id, placed) VALUES (?1, 1)")?
                .execute([patient.id()])?;
            let key = step.last_insert_rowid();
            touched.moved.insert(key);
            key
        }
    };
    touched.keys.insert(patient.clone(), key);
    Ok(key)
}

fn replace_places(
    step: &Connection,
    record: i64,
    state: &State<'_>,
    touched: &mut Touched,
) -> Result<()> {
    let is_patient = state.prepared.record.reference.is_patient();
    if is_patient && state.prepared.body.is_none() {
        // A deleted Patient stays in its cohorts, so that the deletion reaches them.
        return Ok(());
    }
    let mut new = BTreeSet::new();
    for (patient, place) in &state.prepared.record.places {
        let patient = patient_key(step, patient, touched)?;
        new.insert((patient, place_key(step, &place.to_string())?));
    }
    let old = match &state.known {
        Some(_) => places_of(step, record)?,
        None => BTreeSet::new(),
    };
    for (patient, place) in old.difference(&new) {
        step.prepare_cached(
            "DELETE FROM record_place WHERE record = ?1 AND patient = ?2 AND place = ?3",
        )?
        .execute(params![record, patient, place])?;
        touched.moved.insert(*patient);
    }
    for (patient, place) in new.difference(&old) {
        step.prepare_cached(
            "INSERT INTO record_place (record, patient, place) VALUES (?1, ?2, ?3)",
        )?
        .execute(params![record, patient, place])?;
        touched.moved.insert(*patient);
    }
    Ok(())
}

fn places_of(step: &Connection, record: i64) -> Result<BTreeSet<(i64, i64)>> {
    let mut statement =
        step.prepare_cached("SELECT patient, place FROM record_place WHERE record = ?1")?;
    let found = statement.query_map([record], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

fn place_key(step: &Connection, text: &str) -> Result<i64> {
    let found = step
        .prepare_cached("SELECT key FROM place WHERE text = ?1")?
        .query_row([text], |row| row.get(0))
        .optional()?;
    if let Some(key) = found {
        return Ok(key);
    }
    step.prepare_cached("INSERT INTO place (text) VALUES (?1)")?.execute([text])?;
    Ok(step.last_insert_rowid())
}

fn replace_keys(step: &Connection, record: i64, state: &State<'_>) -> Result<()> {
    if state.known.as_ref().is_some_and(|known| !known.deleted) {
        remove_keys(step, record)?;
    }
    for key in &state.prepared.keys {
        // A record may say the same thing twice.
        match key {
            KeyRow::Token { param, value } => step
                .prepare_cached(
                    "INSERT OR IGNORE INTO search_token (param, value, record)
                     VALUES (?1, ?2, ?3)",
                )?
                .execute(params![param, value, record])?,
            KeyRow::Text { param, value } => step
                .prepare_cached(
                    "INSERT OR IGNORE INTO search_text (param, value, record)
                     VALUES (?1, ?2, ?3)",
                )?
                .execute(params![param, value, record])?,
            KeyRow::Date { param, low, high } => step
                .prepare_cached(
                    "INSERT OR IGNORE INTO search_date (param, low, high, record)
                     VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute(params![param, low, high, record])?,
        };
    }
    Ok(())
}

/// Takes a record out of all searches.
pub(super) fn remove_keys(step: &Connection, record: i64) -> Result<()> {
    step.prepare_cached("DELETE FROM search_token WHERE record = ?1")?.execute([record])?;
    step.prepare_cached("DELETE FROM search_text WHERE record = ?1")?.execute([record])?;
    step.prepare_cached("DELETE FROM search_date WHERE record = ?1")?.execute([record])?;
    Ok(())
}
