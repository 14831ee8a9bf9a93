//! Offering again what stands here, and not at the parent, and of which nothing is on its way.

use std::collections::BTreeMap;

use protocol::resource::Record;
use protocol::{Author, RecordRef, Timestamp, Urgency};
use rusqlite::{Connection, params};

use super::journal::{self, NewChange, Way};
use super::prepared::{Prepared, State};
use super::rows::{self, RecordRow};
use super::{SqliteStore, body};
use crate::Result;

/// Who offers records again.
const OFFER_AUTHOR: &str = "tributary-reconciliation";

/// The parent is known to hold another state of these records than this site: offers ours, unless
/// something of it is still to be sent, or was given up. It names the parent's state for its base
/// then, so the parent takes it, or merges it with what it has come to since.
pub(super) fn if_apart<'a>(
    store: &SqliteStore,
    step: &Connection,
    names: impl IntoIterator<Item = &'a RecordRef>,
    now: Timestamp,
) -> Result<()> {
    let mut apart = Vec::new();
    for name in names {
        let row = rows::record_row(step, name)?;
        let row = row.filter(|row| row.parent_digest.is_some_and(|digest| digest != row.digest));
        apart.extend(row.map(|row| (name.clone(), row)));
    }
    unless_on_its_way(store, step, apart, now)
}

/// Offers records of which nothing is still to be sent, and that nobody gave up.
pub(super) fn unless_on_its_way(
    store: &SqliteStore,
    step: &Connection,
    records: Vec<(RecordRef, RecordRow)>,
    now: Timestamp,
) -> Result<()> {
    let mut offers = Vec::new();
    for (name, row) in records {
        if !is_queued(step, &row)? && !is_given_up(step, &row)? {
            offers.push((name, row));
        }
    }
    offer(store, step, offers, now)
}

/// How often the state that stands here was offered.
pub(super) fn times(step: &Connection, row: &RecordRow) -> Result<u32> {
    Ok(step
        .prepare_cached(
            "SELECT count(*) FROM version AS v CROSS JOIN change AS c ON c.sequence = v.sequence
             WHERE v.record = ?1 AND v.digest = ?2 AND c.via = 0 AND c.author = ?3",
        )?
        .query_row(params![row.key, row.digest.0, OFFER_AUTHOR], |found| found.get(0))?)
}

/// Whether a person gave up what stands here.
pub(super) fn is_given_up(step: &Connection, row: &RecordRow) -> Result<bool> {
    Ok(step
        .prepare_cached(
            "SELECT 1 FROM delivery
             WHERE target = 'parent' AND sequence = ?1 AND outcome = 'dropped'",
        )?
        .exists([row.sequence])?)
}

/// Whether something of a record is still to be sent.
pub(super) fn is_queued(step: &Connection, row: &RecordRow) -> Result<bool> {
    Ok(step
        .prepare_cached(
            "SELECT 1 FROM version AS v
             JOIN delivery AS d ON d.target = 'parent' AND d.sequence = v.sequence
             WHERE v.record = ?1 AND d.state <> 'done'",
        )?
        .exists([row.key])?)
}

/// Offers records again as new changes of our own, by patient, within the limits of a change.
pub(super) fn offer(
    store: &SqliteStore,
    step: &Connection,
    offers: Vec<(RecordRef, RecordRow)>,
    now: Timestamp,
) -> Result<()> {
    let mut by_patient: BTreeMap<Vec<i64>, Vec<(Record, RecordRow)>> = BTreeMap::new();
    for (name, row) in offers {
        let record = current(store, step, name, &row)?;
        by_patient.entry(patients_of(step, row.key)?).or_default().push((record, row));
    }
    for group in by_patient.into_values() {
        let mut batch = Vec::new();
        let mut bytes = 0;
        for (record, row) in group {
            let size = record.body.as_ref().map_or(0, String::len);
            let limits = &store.options.limits;
            let full = batch.len() >= limits.change_records || bytes + size > limits.line_bytes;
            if full && !batch.is_empty() {
                offer_batch(store, step, std::mem::take(&mut batch), now)?;
                bytes = 0;
            }
            bytes += size;
            batch.push((record, row));
        }
        offer_batch(store, step, batch, now)?;
    }
    Ok(())
}

fn offer_batch(
    store: &SqliteStore,
    step: &Connection,
    batch: Vec<(Record, RecordRow)>,
    now: Timestamp,
) -> Result<()> {
    let (records, known): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
    let prepared = records.iter().map(Prepared::of).collect::<Result<Vec<_>>>()?;
    let states = prepared.iter().zip(known);
    let states = states
        .map(|(prepared, row)| State {
            prepared,
            known: Some(row),
            parent_sequence: None,
            patients: &[],
            since: None,
        })
        .collect::<Vec<_>>();
    let author = Author::new(OFFER_AUTHOR);
    let change = NewChange {
        id: None,
        way: Way::Here,
        author: &author,
        at: now,
        now,
        actor: OFFER_AUTHOR,
        lane: Urgency::Bulk,
    };
    journal::write(store, step, &change, &states).map(drop)
}

fn current(
    store: &SqliteStore,
    step: &Connection,
    name: RecordRef,
    row: &RecordRow,
) -> Result<Record> {
    let bytes: Option<Vec<u8>> = step
        .prepare_cached("SELECT body FROM version WHERE record = ?1 AND sequence = ?2")?
        .query_row(params![row.key, row.sequence], |found| found.get(0))?;
    match bytes {
        Some(bytes) => {
            let text = body::decode(&bytes)?;
            Ok(Record::parse(text.as_bytes(), &store.options.limits)?)
        }
        None => Ok(Record::deleted(name)),
    }
}

fn patients_of(step: &Connection, record: i64) -> Result<Vec<i64>> {
    let mut statement = step
        .prepare_cached("SELECT patient FROM record_patient WHERE record = ?1 ORDER BY patient")?;
    let found = statement.query_map([record], |row| row.get(0))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}
