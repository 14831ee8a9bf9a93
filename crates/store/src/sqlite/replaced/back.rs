//! Records that go back to a loser whose link was taken away: by a three-way merge, so that what
//! was changed of them since stays.

use std::collections::BTreeSet;

use protocol::reconcile::{self, Plan, Policies, Side};
use protocol::resource::Record;
use protocol::resource::replaced::{Moves, moved};
use protocol::{Digest, RecordRef, Timestamp, json};
use rusqlite::{Connection, params};

use super::links::audit_row;
use super::moving::{self, Rewritten, name_of, version_text};
use super::{AUTHOR, files, links, settle};
use crate::Result;
use crate::sqlite::SqliteStore;
use crate::sqlite::rows;

/// A record that moved by a link that does not stand any more.
struct Row {
    loser: i64,
    winner: i64,
    record: i64,
    before: u64,
}

/// What becomes of it.
enum Fate {
    Goes(Box<Rewritten>),
    /// It does not refer to the winner any more, or is deleted.
    Elsewhere,
    /// Its versions are not kept, or somebody has since said otherwise.
    Stays(RecordRef),
}

/// Brings back up to `room` records; gives how many were looked at. With the last, the link is
/// forgotten, and cohorts are asked again.
pub(super) fn portion(
    store: &SqliteStore,
    step: &Connection,
    (loser, winner): (i64, i64),
    room: usize,
    now: Timestamp,
) -> Result<usize> {
    let rows = rows_of(store, step, loser, room)?;
    let looked = rows.len();
    let (mut back, mut stayed) = (0, 0);
    let mut rewritten = Vec::new();
    for row in rows {
        match fate(store, step, &row)? {
            Fate::Goes(each) => {
                back += 1;
                rewritten.push(*each);
            }
            Fate::Elsewhere => {}
            Fate::Stays(name) => {
                stayed += 1;
                let detail = format!("with {}", name_of(step, row.winner)?);
                audit_row(step, AUTHOR, "record-stays", &name, detail, now)?;
            }
        }
        step.prepare_cached(
            "DELETE FROM moved_record WHERE loser = ?1 AND winner = ?2 AND record = ?3",
        )?
        .execute(params![row.loser, row.winner, row.record])?;
    }
    moving::write(store, step, rewritten, now)?;
    let (back, stayed): (u64, u64) = step
        .prepare_cached(
            "UPDATE replaced SET back = back + ?3, stayed = stayed + ?4
             WHERE loser = ?1 AND winner = ?2 RETURNING back, stayed",
        )?
        .query_row(params![loser, winner, back, stayed], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if looked == 0 {
        let name = name_of(step, winner)?;
        let detail = format!("not by {name}: {back} records went back, {stayed} could not");
        audit_row(step, AUTHOR, "patient-restored", &name_of(step, loser)?, detail, now)?;
        step.prepare_cached("DELETE FROM replaced WHERE loser = ?1 AND winner = ?2")?
            .execute([loser, winner])?;
        settle(store, step, &BTreeSet::from([loser, winner]), now)?;
    }
    Ok(looked)
}

/// Records that moved by links which led over this loser and do not lead there any more; a record
/// once, its last move first.
fn rows_of(store: &SqliteStore, step: &Connection, loser: i64, room: usize) -> Result<Vec<Row>> {
    let limit = store.options.limits.merged_patients;
    let (links, _) = files::around(step, &BTreeSet::from([loser]), limit)?;
    let standing = links::standing(&links);
    let name = name_of(step, loser)?;
    let mut froms = standing.reaching(&name);
    froms.insert(name);
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for from in froms {
        let key = rows::patient_key(step, &from)?;
        let reached = standing.reached(&from);
        for to in winners_moved_to(step, key)? {
            if !reached.contains(&name_of(step, to)?) {
                found.extend(moved_rows(step, (key, to), room)?);
            }
        }
    }
    found.sort_by_key(|row| std::cmp::Reverse(row.before));
    found.retain(|row| seen.insert(row.record));
    found.truncate(room);
    Ok(found)
}

fn winners_moved_to(step: &Connection, loser: i64) -> Result<Vec<i64>> {
    let mut statement =
        step.prepare_cached("SELECT DISTINCT winner FROM moved_record WHERE loser = ?1")?;
    let found = statement.query_map([loser], |row| row.get(0))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

fn moved_rows(step: &Connection, (loser, winner): (i64, i64), room: usize) -> Result<Vec<Row>> {
    let mut statement = step.prepare_cached(
        "SELECT record, before FROM moved_record WHERE loser = ?1 AND winner = ?2
         ORDER BY record LIMIT ?3",
    )?;
    let room = i64::try_from(room).unwrap_or(i64::MAX);
    let found = statement.query_map(params![loser, winner, room], |row| {
        Ok(Row { loser, winner, record: row.get(0)?, before: row.get(1)? })
    })?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// The merge: what moved is the base, what it was before is wanted, and the record as it is now
/// keeps what was changed since. All three are read with the links that still stand.
fn fate(store: &SqliteStore, step: &Connection, row: &Row) -> Result<Fate> {
    let name = step
        .prepare_cached("SELECT type, id FROM record WHERE key = ?1")?
        .query_row([row.record], |found| rows::record_ref(found, 0))?;
    let Some(known) = rows::record_row(step, &name)? else { return Ok(Fate::Elsewhere) };
    let Some(current) = version_text(step, known.key, known.sequence)? else {
        return Ok(Fate::Elsewhere);
    };
    let (loser, winner) = (name_of(step, row.loser)?, name_of(step, row.winner)?);
    let limit = store.options.limits.merged_patients;
    // The winner may have been replaced since.
    let further = moving::target(step, row.winner, limit)?;
    let further = further.map(|key| name_of(step, key)).transpose()?;
    let refers = moving::patients_of(&name, &current)?;
    if !refers.contains(&winner) && !further.is_some_and(|patient| refers.contains(&patient)) {
        return Ok(Fate::Elsewhere);
    }
    let Some(before) = version_text(step, row.record, row.before)? else {
        return Ok(Fate::Stays(name));
    };
    let one = Moves::from([(loser, winner)]);
    let base = moved(name.kind, &before, &one)?.unwrap_or_else(|| before.clone());
    let standing = |text: String| -> Result<String> {
        let moves = moving::moves_among(step, &moving::patients_of(&name, &text)?, limit)?;
        Ok(moved(name.kind, &text, &moves)?.unwrap_or(text))
    };
    let merged = merge(&standing(base)?, &standing(before)?, &standing(current)?)?;
    let Some(text) = merged else { return Ok(Fate::Stays(name)) };
    match Record::parse(text.as_bytes(), &store.options.limits) {
        Ok(record) if record.digest == known.digest => Ok(Fate::Elsewhere),
        Ok(record) => Ok(Fate::Goes(Box::new(Rewritten { record, known }))),
        Err(_) => Ok(Fate::Stays(name)),
    }
}

/// `None` where both changed one element to different values.
fn merge(base: &str, wanted: &str, current: &str) -> Result<Option<String>> {
    let plan = reconcile::reconcile(
        Some(state(base)?),
        Some(state(current)?),
        state(wanted)?,
        Side::Parent,
        &Policies::default(),
    )?;
    Ok(match plan {
        Plan::TakeIncoming => Some(wanted.to_owned()),
        Plan::Merged { body } => Some(body),
        Plan::AlreadyHave | Plan::KeepLocal => Some(current.to_owned()),
        Plan::Conflict { .. } => None,
    })
}

fn state(text: &str) -> Result<reconcile::State<'_>> {
    let digest = Digest::of(&json::parse(text.as_bytes(), json::DEPTH_MAX)?);
    Ok(reconcile::State { digest, body: Some(text), at: None })
}
