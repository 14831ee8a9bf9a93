//! Cohorts, their definitions, and who joins and leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use protocol::cohort::{Definition, Place};
use protocol::planted::{Fault, planted};
use protocol::{RecordRef, Refusal, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};
use sha2::{Digest as _, Sha256};

use super::publish::{Move, publish_move};
use super::{SqliteStore, audit, replaced, rows, visitors};
use crate::{AuditRow, CohortChange, CohortDraft, Result, StoreError};

/// Definitions that stay parsed in memory; more are parsed anew.
const KEPT: usize = 256;
const NOT_OF_IT: &str = "the cohort's definition does not hold the patient any more";

/// Parsed definitions by the SHA-256 of their text: whatever another process or a transaction
/// that was rolled back has written, an entry is never wrong.
#[derive(Debug, Default)]
pub(super) struct Definitions(Mutex<BTreeMap<[u8; 32], Arc<Definition>>>);

impl Definitions {
    fn get(&self, step: &Connection, feed: i64, digest: [u8; 32]) -> Result<Arc<Definition>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(definition) = kept.get(&digest) {
            return Ok(Arc::clone(definition));
        }
        let text: String = step
            .prepare_cached("SELECT definition FROM cohort WHERE feed = ?1")?
            .query_row([feed], |row| row.get(0))?;
        let definition = serde_json::from_str(&text)
            .map_err(|_| StoreError::Damaged("a cohort's definition cannot be read".to_owned()))?;
        let definition = Arc::new(definition);
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(digest, Arc::clone(&definition));
        Ok(definition)
    }
}

/// Who of `patients` joins or leaves which cohort, by what the records say now.
pub(super) fn moves(
    store: &SqliteStore,
    step: &Connection,
    patients: &BTreeSet<i64>,
) -> Result<Vec<Move>> {
    if patients.is_empty() {
        return Ok(Vec::new());
    }
    let mut statement = step.prepare_cached("SELECT feed, digest FROM cohort ORDER BY feed")?;
    let cohorts = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<Vec<(i64, [u8; 32])>>>()?;
    let mut moves = Vec::new();
    let limit = store.options.limits.merged_patients;
    for patient in replaced::with_files(step, patients, limit)? {
        let files = replaced::together(step, patient, limit)?;
        for (feed, holds) in visitors::of_files(step, patient, &files)? {
            moves.extend(move_of(step, feed, patient, holds)?);
        }
        if cohorts.is_empty() {
            continue;
        }
        let files = files.into_iter().map(|file| patient_places(step, file));
        let files = files.collect::<Result<Vec<_>>>()?;
        for (feed, digest) in &cohorts {
            let definition = store.definitions.get(step, *feed, *digest)?;
            let holds = files.iter().any(|(name, places)| definition.holds(name, places));
            moves.extend(move_of(step, *feed, patient, holds)?);
        }
    }
    Ok(moves)
}

/// Whether a cohort holds a patient for another file of the same person.
fn holds_another_file(
    store: &SqliteStore,
    step: &Connection,
    definition: &Definition,
    patient: i64,
) -> Result<bool> {
    let files = replaced::together(step, patient, store.options.limits.merged_patients)?;
    for file in files.into_iter().filter(|file| *file != patient) {
        let (name, places) = patient_places(step, file)?;
        if definition.holds(&name, &places) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn move_of(step: &Connection, feed: i64, patient: i64, holds: bool) -> Result<Option<Move>> {
    let member = step
        .prepare_cached(
            "SELECT 1 FROM cohort_patient
             WHERE feed = ?1 AND patient = ?2 AND \"left\" IS NULL",
        )?
        .exists(params![feed, patient])?;
    Ok(match (member, holds) {
        (false, true) => Some(Move { feed, patient, leaves: None }),
        (true, false) if planted(Fault::LeaveUntold) => None,
        (true, false) => Some(Move { feed, patient, leaves: Some(NOT_OF_IT) }),
        _ => None,
    })
}

fn patient_places(step: &Connection, patient: i64) -> Result<(RecordRef, BTreeSet<Place>)> {
    let name = step
        .prepare_cached("SELECT id FROM patient WHERE key = ?1")?
        .query_row([patient], |row| rows::patient_ref(row, 0))?;
    let mut statement = step.prepare_cached(
        "SELECT DISTINCT p.text FROM record_place AS rp JOIN place AS p ON p.key = rp.place
         WHERE rp.patient = ?1",
    )?;
    let places =
        statement.query_map([patient], |row| place(row, 0))?.collect::<rusqlite::Result<_>>()?;
    Ok((name, places))
}

fn place(row: &Row<'_>, column: usize) -> rusqlite::Result<Place> {
    row.get_ref(column)?.as_str()?.parse().map_err(|_| rows::odd(column, "not a place"))
}

pub(super) fn cohort_set(
    store: &SqliteStore,
    cohort: &CohortDraft,
    now: Timestamp,
) -> Result<CohortChange> {
    let limit = store.options.limits.cohort_patients;
    if matches!(&cohort.definition, Definition::Patients { patients } if patients.len() > limit) {
        return Err(Refusal::over_limit("cohort_patients", limit).into());
    }
    let text = serde_json::to_string(&cohort.definition).map_err(|e| StoreError::Database {
        step: "write a cohort's definition",
        source: Box::new(e),
    })?;
    store.write("set a cohort", |step| {
        visitors::refuse_owned(step, cohort.name.as_str())?;
        let (feed, created) = feed_of(step, cohort, now)?;
        let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
        step.execute(
            "INSERT INTO cohort (feed, definition, digest) VALUES (?1, ?2, ?3)
             ON CONFLICT (feed) DO UPDATE
             SET definition = excluded.definition, digest = excluded.digest",
            params![feed, text, digest],
        )?;
        let (joined, left) = evaluate_all(store, step, feed, &cohort.definition, now)?;
        let row = AuditRow {
            actor: "operator".to_owned(),
            action: "cohort-set",
            subject: cohort.name.to_string(),
            detail: format!("joined {joined}, left {left}"),
        };
        audit::append(step, &row, now)?;
        let patients = step.query_row(
            "SELECT count(*) FROM cohort_patient WHERE feed = ?1 AND \"left\" IS NULL",
            [feed],
            |row| row.get(0),
        )?;
        Ok(CohortChange { created, joined, left, patients })
    })
}

/// The key of the cohort's feed, and whether it was made just now.
fn feed_of(step: &Connection, cohort: &CohortDraft, now: Timestamp) -> Result<(i64, bool)> {
    let name = cohort.name.as_str();
    let found = step
        .query_row("SELECT key FROM feed WHERE name = ?1", [name], |row| row.get(0))
        .optional()?;
    if let Some(feed) = found {
        step.execute(
            "UPDATE feed SET title = coalesce(?2, title) WHERE key = ?1",
            params![feed, cohort.title],
        )?;
        return Ok((feed, false));
    }
    let title = cohort.title.as_deref().unwrap_or(name);
    step.execute(
        "INSERT INTO feed (id, name, kind, title, page_entries, created)
         VALUES (?1, ?2, 'cohort', ?3, ?4, ?5)",
        params![cohort.feed.as_bytes(), name, title, cohort.page_entries.max(1), now.millis()],
    )?;
    Ok((step.last_insert_rowid(), true))
}

/// Asks a definition about every patient; gives how many joined and left.
fn evaluate_all(
    store: &SqliteStore,
    step: &Connection,
    feed: i64,
    definition: &Definition,
    now: Timestamp,
) -> Result<(u64, u64)> {
    let sequence = step.query_row("SELECT sequence FROM site", [], |row| row.get(0))?;
    // Only tables that are not written here are read while the statement runs.
    let mut statement = step.prepare(
        "SELECT p.key, p.id, pl.text FROM patient AS p
         LEFT JOIN record_place AS rp ON rp.patient = p.key
         LEFT JOIN place AS pl ON pl.key = rp.place
         WHERE p.placed = 1 ORDER BY p.key",
    )?;
    let mut found = statement.query([])?;
    let mut counts = (0, 0);
    let mut current: Option<(i64, RecordRef, BTreeSet<Place>)> = None;
    let mut settle = |patient: Option<(i64, RecordRef, BTreeSet<Place>)>| -> Result<()> {
        let Some((key, name, places)) = patient else { return Ok(()) };
        let holds =
            definition.holds(&name, &places) || holds_another_file(store, step, definition, key)?;
        if let Some(each) = move_of(step, feed, key, holds)? {
            if each.leaves.is_none() {
                counts.0 += 1
            } else {
                counts.1 += 1
            }
            publish_move(step, &each, sequence, now)?;
        }
        Ok(())
    };
    while let Some(row) = found.next()? {
        let key: i64 = row.get(0)?;
        if current.as_ref().is_none_or(|(before, ..)| *before != key) {
            let next = Some((key, rows::patient_ref(row, 1)?, BTreeSet::new()));
            settle(std::mem::replace(&mut current, next))?;
        }
        if let (Some((.., places)), false) =
            (&mut current, row.get_ref(2)? == rusqlite::types::ValueRef::Null)
        {
            places.insert(place(row, 2)?);
        }
    }
    settle(current)?;
    Ok(counts)
}
