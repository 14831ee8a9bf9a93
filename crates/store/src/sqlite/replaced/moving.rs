//! Records that follow from a loser to the winner, as changes by `tributary`.

use std::collections::BTreeSet;

use protocol::resource::replaced::{Moves, moved, stays};
use protocol::resource::{Record, compartment};
use protocol::{Author, RecordRef, Timestamp, Urgency};
use rusqlite::{Connection, OptionalExtension, params};

use super::{AUTHOR, links, staying};
use crate::Result;
use crate::sqlite::journal::{self, NewChange, Way};
use crate::sqlite::prepared::{Prepared, State};
use crate::sqlite::records::body_text;
pub(super) use crate::sqlite::rows::patient_name as name_of;
use crate::sqlite::rows::{self, RecordRow};
use crate::sqlite::{SqliteStore, body};

/// A record in the state that it is to have.
pub(super) struct Rewritten {
    pub(super) record: Record,
    pub(super) known: RecordRow,
}

/// Where references to a patient lead now: to the end of the links that are followed.
pub(super) fn target(step: &Connection, patient: i64, limit: usize) -> Result<Option<i64>> {
    let mut at = patient;
    for _ in 0..limit {
        let next: Option<i64> = step
            .prepare_cached(
                "SELECT winner FROM replaced WHERE loser = ?1 AND state IN ('moving', 'moved')",
            )?
            .query_row([at], |row| row.get(0))
            .optional()?;
        match next {
            Some(next) => at = next,
            None => break,
        }
    }
    Ok((at != patient).then_some(at))
}

/// The moves that are due among some patients.
pub(super) fn moves_among<'a>(
    step: &Connection,
    patients: impl IntoIterator<Item = &'a RecordRef>,
    limit: usize,
) -> Result<Moves> {
    let mut moves = Moves::new();
    for patient in patients {
        let Some(key) = rows::patient_known(step, patient)? else { continue };
        if let Some(to) = target(step, key, limit)? {
            moves.insert(patient.clone(), name_of(step, to)?);
        }
    }
    Ok(moves)
}

/// The text of one version; `None` where it is not kept, or is a deletion.
pub(super) fn version_text(step: &Connection, record: i64, at: u64) -> Result<Option<String>> {
    let bytes: Option<Option<Vec<u8>>> = step
        .prepare_cached("SELECT body FROM version WHERE record = ?1 AND sequence = ?2")?
        .query_row(params![record, at], |row| row.get(0))
        .optional()?;
    bytes.flatten().as_deref().map(body::decode).transpose()
}

/// The patients in whose compartment a text puts its record.
pub(super) fn patients_of(name: &RecordRef, body: &str) -> Result<BTreeSet<RecordRef>> {
    let resource = protocol::json::parse(body.as_bytes(), protocol::json::DEPTH_MAX)?;
    Ok(compartment::patients(name, &resource))
}

/// Moves up to `room` of the records that a loser had when its link began to be followed. Gives
/// how many were looked at; with the last, the link is `moved`.
pub(super) fn portion(
    store: &SqliteStore,
    step: &Connection,
    (loser, winner): (i64, i64),
    room: usize,
    now: Timestamp,
) -> Result<usize> {
    let place: i64 = step
        .prepare_cached("SELECT place FROM replaced WHERE loser = ?1 AND winner = ?2")?
        .query_row([loser, winner], |row| row.get(0))?;
    let found = records_after(step, loser, place, room)?;
    let looked = found.len();
    let last = found.last().map_or(place, |(key, ..)| *key);
    let mut rewritten = Vec::new();
    for (_, name, text) in found {
        rewritten.extend(rewrite(store, step, &name, &text, now)?);
    }
    write(store, step, rewritten, now)?;
    let state = if looked < room { "moved" } else { "moving" };
    step.prepare_cached(
        "UPDATE replaced SET place = ?3, state = ?4 WHERE loser = ?1 AND winner = ?2",
    )?
    .execute(params![loser, winner, last, state])?;
    Ok(looked)
}

type Found = (i64, RecordRef, String);

fn records_after(step: &Connection, loser: i64, place: i64, room: usize) -> Result<Vec<Found>> {
    let mut statement = step.prepare_cached(&format!(
        "SELECT r.key, r.type, r.id, v.body FROM record_patient AS rp
         CROSS JOIN record AS r ON r.key = rp.record
         CROSS JOIN version AS v ON v.record = r.key AND v.sequence = r.sequence
         WHERE rp.patient = ?1 AND rp.record > ?2 AND r.deleted = 0 AND r.type NOT IN ({})
         ORDER BY rp.record LIMIT ?3",
        staying()
    ))?;
    let room = i64::try_from(room).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![loser, place, room])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let text = body_text(row, 3)?.unwrap_or_default();
        found.push((row.get(0)?, rows::record_ref(row, 1)?, text));
    }
    Ok(found)
}

/// Records of a change that refer to a loser: they came from somebody who had not heard of it, and
/// move in a change after it.
pub(super) fn newcomers(
    store: &SqliteStore,
    step: &Connection,
    states: &[State<'_>],
    now: Timestamp,
) -> Result<()> {
    let mut rewritten = Vec::new();
    for state in states {
        let record = state.prepared.record;
        let Some(text) = record.body.as_deref().filter(|_| !stays(record.reference.kind)) else {
            continue;
        };
        if !is_current(step, record)? {
            continue;
        }
        rewritten.extend(rewrite(store, step, &record.reference, text, now)?);
    }
    write(store, step, rewritten, now)
}

/// Whether a state is still its record's: a merge may have come to another one since.
pub(super) fn is_current(step: &Connection, record: &Record) -> Result<bool> {
    let row = rows::record_row(step, &record.reference)?;
    Ok(row.is_some_and(|row| row.digest == record.digest))
}

/// A record with its references moved, where any are to be.
fn rewrite(
    store: &SqliteStore,
    step: &Connection,
    name: &RecordRef,
    text: &str,
    now: Timestamp,
) -> Result<Option<Rewritten>> {
    let limits = &store.options.limits;
    let moves = moves_among(step, &patients_of(name, text)?, limits.merged_patients)?;
    let Some(text) = moved(name.kind, text, &moves)? else { return Ok(None) };
    let Some(known) = rows::record_row(step, name)? else { return Ok(None) };
    match Record::parse(text.as_bytes(), limits) {
        Ok(record) => Ok(Some(Rewritten { record, known })),
        Err(refusal) => {
            // A longer name of the winner can make it pass a limit. It stays where it is.
            let detail = format!("cannot follow its patient: {refusal}");
            links::audit_row(step, AUTHOR, "record-stays", name, detail, now)?;
            Ok(None)
        }
    }
}

/// Writes records in as many changes as their number and size ask for.
pub(super) fn write(
    store: &SqliteStore,
    step: &Connection,
    records: Vec<Rewritten>,
    now: Timestamp,
) -> Result<()> {
    let limits = &store.options.limits;
    let mut rest = records.as_slice();
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = |each: &&Rewritten| {
            bytes += each.record.body.as_ref().map_or(0, String::len);
            bytes <= limits.line_bytes
        };
        let count = rest.iter().take(limits.change_records.max(1)).take_while(fits).count().max(1);
        let (these, others) = rest.split_at(count);
        write_one(store, step, these, now)?;
        rest = others;
    }
    Ok(())
}

fn write_one(
    store: &SqliteStore,
    step: &Connection,
    records: &[Rewritten],
    now: Timestamp,
) -> Result<()> {
    let prepared =
        records.iter().map(|each| Prepared::of(&each.record)).collect::<Result<Vec<_>>>()?;
    let states = prepared.iter().zip(records).map(|(prepared, each)| State {
        prepared,
        known: Some(each.known.clone()),
        parent_sequence: None,
        patients: &[],
        since: None,
    });
    let states = states.collect::<Vec<_>>();
    let author = Author::new(AUTHOR);
    let change = NewChange {
        id: None,
        way: Way::Here,
        author: &author,
        at: now,
        now,
        actor: AUTHOR,
        lane: Urgency::Normal,
    };
    journal::write_alone(store, step, &change, &states)?;
    note_followed(store, step, &states)
}

/// Notes which records went from a loser to where its link leads, whoever moved them: here, or the
/// other side, which heard of the link before us.
pub(super) fn note_followed(
    store: &SqliteStore,
    step: &Connection,
    states: &[State<'_>],
) -> Result<()> {
    for state in states {
        let record = state.prepared.record;
        let (Some(known), Some(_)) = (&state.known, &record.body) else { continue };
        if stays(record.reference.kind) || !is_current(step, record)? {
            continue;
        }
        let Some(before) = version_text(step, known.key, known.sequence)? else { continue };
        let was = patients_of(&record.reference, &before)?;
        let gone = was.difference(&record.patients).collect::<Vec<_>>();
        let moves = moves_among(step, gone, store.options.limits.merged_patients)?;
        for (loser, winner) in moves.iter().filter(|(_, to)| record.patients.contains(to)) {
            let (loser, winner) =
                (rows::patient_key(step, loser)?, rows::patient_key(step, winner)?);
            step.prepare_cached(
                "INSERT INTO moved_record (loser, winner, record, before) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (loser, winner, record) DO UPDATE SET before = excluded.before",
            )?
            .execute(params![loser, winner, known.key, known.sequence])?;
        }
    }
    Ok(())
}
