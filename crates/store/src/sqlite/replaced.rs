//! Merged patients: where a Patient says that another one replaced it, what refers to it moves
//! there, whatever way it comes; and goes back when the link is taken away. The site at the top
//! does that, and the others hear of it as of any change: a record that two sites moved, each by
//! what it had heard of links, would go to and fro. The others note the links, for who goes into
//! which cohort, and for merges.
//!
//! `journal` calls [`follow`] with every change, in its transaction. What does not fit there goes
//! on in [`patient_follow`], one portion a call; its place is in the tables.

mod back;
mod duplicates;
mod files;
mod links;
mod moving;
mod through;

use std::collections::BTreeSet;

use protocol::Timestamp;
use protocol::resource::{Record, replaced};
use rusqlite::{Connection, OptionalExtension, params};

use self::links::State as LinkState;
use super::journal::Way;
use super::prepared::State;
use super::publish::publish_move;
use super::{SqliteStore, cohorts, rows};
use crate::{ReplacedInfo, Result};

pub(super) use self::duplicates::patient_duplicates;
pub(super) use self::files::{forget, together, with_files};
pub(super) use self::through::{Meeting, Through, reconcile_through};

/// Who moves what refers to a patient who was replaced; as `change.author` has it.
const AUTHOR: &str = "tributary";
/// Patients whose links one call reads, in a store that never read them.
const READ_AT_ONCE: u32 = 500;

/// What a change brings about for merged patients: links that are new or gone and, at the top,
/// records that came for a loser, and as many of the others as one change may have. A state that a
/// later change of the same transaction has replaced counts for nothing. `way`: whose word the
/// states are.
pub(super) fn follow(
    store: &SqliteStore,
    step: &Connection,
    (way, now): (Way, Timestamp),
    states: &[State<'_>],
) -> Result<()> {
    let mut said = Vec::new();
    for record in states.iter().map(|state| state.prepared.record) {
        let is_patient = record.reference.is_patient();
        if is_patient && links::concerns(step, record)? && moving::is_current(step, record)? {
            said.push(record);
        }
    }
    let seeds = note_all(step, (way, now), said)?;
    if !step.prepare_cached("SELECT 1 FROM replaced LIMIT 1")?.exists([])? {
        return Ok(());
    }
    if !seeds.is_empty() {
        settle(store, step, &seeds, now)?;
    }
    if !rows::has_parent(step)? {
        moving::note_followed(store, step, states)?;
        moving::newcomers(store, step, states, now)?;
    }
    if seeds.is_empty() { Ok(()) } else { portions(store, step, now).map(drop) }
}

/// Notes the links of Patients that are about to be written, so that the other records of their
/// line are merged with them.
pub(super) fn announce<'a>(
    store: &SqliteStore,
    step: &Connection,
    (way, now): (Way, Timestamp),
    patients: impl IntoIterator<Item = &'a Record>,
) -> Result<()> {
    let seeds = note_all(step, (way, now), patients)?;
    if !seeds.is_empty() {
        links::evaluate(step, &seeds, store.options.limits.merged_patients)?;
    }
    Ok(())
}

fn note_all<'a>(
    step: &Connection,
    (way, now): (Way, Timestamp),
    patients: impl IntoIterator<Item = &'a Record>,
) -> Result<BTreeSet<i64>> {
    let child = match way {
        Way::Child(origin) => Some(site_of(step, origin)?),
        Way::Here | Way::Parent => None,
    };
    let mut seeds = BTreeSet::new();
    for patient in patients {
        seeds.extend(links::note(step, patient, child.as_deref(), now)?);
    }
    Ok(seeds)
}

fn site_of(step: &Connection, origin: i64) -> Result<String> {
    Ok(step
        .prepare_cached("SELECT site FROM origin WHERE key = ?1")?
        .query_row([origin], |row| row.get(0))?)
}

/// Works out anew which links among the files of these patients can be followed, and who holds
/// them.
fn settle(
    store: &SqliteStore,
    step: &Connection,
    seeds: &BTreeSet<i64>,
    now: Timestamp,
) -> Result<()> {
    let limit = store.options.limits.merged_patients;
    let concerned = links::evaluate(step, seeds, limit)?;
    let sequence = rows::site_sequence(step)?;
    for each in cohorts::moves(store, step, &concerned)? {
        publish_move(step, &each, sequence, now)?;
    }
    Ok(())
}

/// Moves, or moves back, about as many records as one change may have. Gives whether there was
/// anything to do.
fn portions(store: &SqliteStore, step: &Connection, now: Timestamp) -> Result<bool> {
    if rows::has_parent(step)? {
        return left_to_the_top(store, step, now);
    }
    let mut room = store.options.limits.change_records;
    let mut any = false;
    while room > 0 {
        let Some((loser, winner, state)) = open(step)? else { break };
        any = true;
        let done = match state {
            LinkState::Undoing => back::portion(store, step, (loser, winner), room, now)?,
            _ => moving::portion(store, step, (loser, winner), room, now)?,
        };
        room = room.saturating_sub(done.max(1));
    }
    Ok(any)
}

/// Below the top nothing moves, and nothing goes back: a link is followed at once, and forgotten
/// once it does not stand. Gives whether there was anything to do.
fn left_to_the_top(store: &SqliteStore, step: &Connection, now: Timestamp) -> Result<bool> {
    let mut any = false;
    while let Some((loser, winner, state)) = open(step)? {
        any = true;
        if state != LinkState::Undoing {
            step.prepare_cached(
                "UPDATE replaced SET state = 'moved' WHERE loser = ?1 AND winner = ?2",
            )?
            .execute([loser, winner])?;
            continue;
        }
        step.prepare_cached("DELETE FROM moved_record WHERE loser = ?1 AND winner = ?2")?
            .execute([loser, winner])?;
        step.prepare_cached("DELETE FROM replaced WHERE loser = ?1 AND winner = ?2")?
            .execute([loser, winner])?;
        settle(store, step, &BTreeSet::from([loser, winner]), now)?;
    }
    Ok(any)
}

/// A link of which records have to move or to go back. What has to go back goes first: it may
/// have to move elsewhere.
fn open(step: &Connection) -> Result<Option<(i64, i64, LinkState)>> {
    Ok(step
        .prepare_cached(
            "SELECT loser, winner, state FROM replaced INDEXED BY replaced_open
             WHERE state IN ('moving', 'undoing') ORDER BY state DESC, loser, winner LIMIT 1",
        )?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?, links::state(row, 2)?)))
        .optional()?)
}

pub(super) fn patient_follow(store: &SqliteStore, now: Timestamp) -> Result<bool> {
    let idle = store.read("look for merged patients", |conn| {
        Ok(open(conn)?.is_none() && look_place(conn)?.is_none())
    })?;
    if idle {
        return Ok(false);
    }
    store.write("follow merged patients", |step| {
        if look(store, step, now)? {
            return Ok(true);
        }
        portions(store, step, now)
    })
}

fn look_place(conn: &Connection) -> Result<Option<i64>> {
    Ok(conn
        .prepare_cached("SELECT place FROM replaced_look")?
        .query_row([], |row| row.get(0))
        .optional()?)
}

/// Reads the links of Patients from before links were noted. Gives whether there were any left.
fn look(store: &SqliteStore, step: &Connection, now: Timestamp) -> Result<bool> {
    let Some(place) = look_place(step)? else { return Ok(false) };
    let mut statement = step.prepare_cached(
        "SELECT r.key, v.body FROM record AS r
         CROSS JOIN version AS v ON v.record = r.key AND v.sequence = r.sequence
         WHERE r.key > ?1 AND r.type = 'Patient' AND r.deleted = 0 ORDER BY r.key LIMIT ?2",
    )?;
    let mut found = statement.query(params![place, READ_AT_ONCE])?;
    let mut last = None;
    let mut seeds = BTreeSet::new();
    while let Some(row) = found.next()? {
        last = Some(row.get::<_, i64>(0)?);
        let Some(body) = super::records::body_text(row, 1)? else { continue };
        if links::may_link(&body) {
            let limits = &store.options.limits;
            let record = Record::parse(body.as_bytes(), limits)?;
            seeds.extend(links::note(step, &record, None, now)?);
        }
    }
    drop(found);
    match last {
        Some(last) => step.execute("UPDATE replaced_look SET place = ?1", [last])?,
        None => step.execute("DELETE FROM replaced_look", [])?,
    };
    if !seeds.is_empty() {
        settle(store, step, &seeds, now)?;
    }
    Ok(true)
}

pub(super) fn patient_replaced(store: &SqliteStore, limit: usize) -> Result<Vec<ReplacedInfo>> {
    store.read("list merged patients", |conn| {
        let mut statement = conn.prepare_cached(
            "SELECT l.id, w.id, r.state, r.reason, r.child,
                (SELECT count(*) FROM moved_record AS m
                    WHERE m.loser = r.loser AND m.winner = r.winner)
             FROM replaced AS r CROSS JOIN patient AS l ON l.key = r.loser
             CROSS JOIN patient AS w ON w.key = r.winner ORDER BY l.id, w.id LIMIT ?1",
        )?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let found = statement.query_map([limit], |row| {
            Ok(ReplacedInfo {
                loser: rows::patient_ref(row, 0)?,
                winner: rows::patient_ref(row, 1)?,
                state: row.get(2)?,
                reason: row.get(3)?,
                child: row.get(4)?,
                moved: row.get(5)?,
            })
        })?;
        Ok(found.collect::<rusqlite::Result<_>>()?)
    })
}

pub(super) fn patient_confirm(
    store: &SqliteStore,
    loser: &protocol::RecordRef,
    author: &protocol::Author,
    now: Timestamp,
) -> Result<bool> {
    store.write("confirm a merge of patients", |step| {
        let Some(key) = rows::patient_known(step, loser)? else { return Ok(false) };
        let doubted = step.execute(
            "UPDATE replaced SET child = NULL WHERE loser = ?1 AND trusted = 0
                AND child IS NOT NULL AND state <> 'undoing'",
            [key],
        )?;
        if doubted == 0 {
            return Ok(false);
        }
        links::audit_row(step, author.as_str(), "patient-confirm", loser, String::new(), now)?;
        settle(store, step, &BTreeSet::from([key]), now)?;
        portions(store, step, now)?;
        Ok(true)
    })
}

/// The SQL list of the types whose references stay.
fn staying() -> String {
    let names = replaced::staying().iter().map(|name| format!("'{name}'"));
    names.collect::<Vec<_>>().join(", ")
}
