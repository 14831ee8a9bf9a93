//! Writing one change whole: its sequence and number, versions, what they are found by, feed
//! entries, its delivery, what the record system is to be given of it, and its audit row, in the
//! caller's transaction.

use std::collections::BTreeSet;

use protocol::feed::Action;
use protocol::{Author, ChangeId, Digest, Timestamp, Urgency};
use rusqlite::{Connection, OptionalExtension, params};

use super::deliveries::lanes::{self, LaneColumn};
use super::index::Touched;
use super::prepared::{Prepared, State};
use super::rows::RecordRow;
use super::{SqliteStore, audit, emr, index, publish, replaced, rows};
use crate::{AuditRow, Result};

/// Who lets go of a record that its parent's feed does not hold any more.
const GONE_AUTHOR: &str = "tributary";
/// Milliseconds that a change may have waited for its turn.
const A_TURN: i64 = 10_000;

/// Which way a change came, as the column `change.via` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Here,
    Parent,
    /// The key in `origin` of the child in this life of its store.
    Child(i64),
}

impl Way {
    fn columns(self) -> (u8, Option<i64>) {
        match self {
            Way::Here => (0, None),
            Way::Parent => (1, None),
            Way::Child(origin) => (2, Some(origin)),
        }
    }
}

/// A change that is to be written.
#[derive(Debug)]
pub(super) struct NewChange<'a> {
    /// The id that it came with; `None` for one of our own.
    pub(super) id: Option<&'a ChangeId>,
    pub(super) way: Way,
    pub(super) author: &'a Author,
    pub(super) at: Timestamp,
    pub(super) now: Timestamp,
    pub(super) actor: &'a str,
    /// How soon it goes up, unless its records are urgent by themselves.
    pub(super) lane: Urgency,
}

/// What the row of the site gives to one change.
struct Place {
    sequence: u64,
    name: Option<(i64, u64)>,
    has_parent: bool,
}

/// Writes a change of at least one state; gives its sequence. What refers to a patient who was
/// replaced follows in changes after it, in the same transaction.
pub(super) fn write(
    store: &SqliteStore,
    step: &Connection,
    change: &NewChange<'_>,
    states: &[State<'_>],
) -> Result<u64> {
    let sequence = write_alone(store, step, change, states)?;
    replaced::follow(store, step, (change.way, change.now), states)?;
    Ok(sequence)
}

/// As `write`, and whoever calls it sees to what follows.
pub(super) fn write_alone(
    store: &SqliteStore,
    step: &Connection,
    change: &NewChange<'_>,
    states: &[State<'_>],
) -> Result<u64> {
    let place = take_place(step, change)?;
    let (via, via_site) = change.way.columns();
    let (origin, number) = place.name.unzip();
    let (author, at) = (change.author.as_str(), change.at.millis());
    let now = time_of_next(step, change.now)?;
    step.prepare_cached(
        "INSERT INTO change (sequence, origin, number, via, via_site, author, at, recorded)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![place.sequence, origin, number, via, via_site, author, at, now])?;
    let mut touched = Touched::default();
    let mut written = Vec::with_capacity(states.len());
    for state in states {
        let key = write_version(step, place.sequence, state)?;
        index::replace(step, key, state, &mut touched)?;
        written.push((key, state.prepared.record));
    }
    emr::mark(step, &written)?;
    for patient in &touched.patients {
        name_patient(step, place.sequence, *patient)?;
    }
    let upwards = place.has_parent && change.way != Way::Parent;
    publish::publish(store, step, (place.sequence, change.now), &touched, upwards)?;
    if upwards {
        let records = states.iter().map(|state| &state.prepared.record.reference);
        let lane = Urgency::of_change(records, &store.options.urgent, change.lane);
        deliver(step, (place.sequence, lane), change.now, states)?;
    }
    audit_change(step, change, place.sequence, states.len())?;
    Ok(place.sequence)
}

/// When the next change is recorded, in milliseconds. Each takes its time before its turn comes, so
/// that one may be a moment before the one before it: who reads changes by their times, from the
/// newest that was seen on, would miss it. A clock that was put back is followed.
fn time_of_next(step: &Connection, now: Timestamp) -> Result<i64> {
    let last: Option<i64> = step
        .prepare_cached("SELECT recorded FROM change ORDER BY sequence DESC LIMIT 1")?
        .query_row([], |row| row.get(0))
        .optional()?;
    let now = now.millis();
    Ok(last.filter(|last| (0..=A_TURN).contains(&(last - now))).unwrap_or(now))
}

/// Records that a record went from this store by itself, where feeds of this site hold patients
/// whose it is, or was: their readers have to hear that it left. Nobody's edit, so there is no
/// version of it and no delivery.
pub(super) fn write_gone(step: &Connection, record: i64, now: Timestamp) -> Result<()> {
    let patients = step
        .prepare_cached(
            "SELECT patient FROM record_patient WHERE record = ?1
             UNION SELECT patient FROM former_patient WHERE record = ?1 AND patient IS NOT NULL
             ORDER BY patient",
        )?
        .query_map([record], |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<i64>>>()?;
    let mut feeds = BTreeSet::new();
    for patient in &patients {
        feeds.extend(publish::holding(step, *patient)?);
    }
    if feeds.is_empty() {
        return Ok(());
    }
    let sequence: u64 = step
        .prepare_cached("UPDATE site SET sequence = sequence + 1 RETURNING sequence")?
        .query_row([], |row| row.get(0))?;
    step.prepare_cached(
        "INSERT INTO change (sequence, via, author, at, recorded) VALUES (?1, 1, ?2, ?3, ?3)",
    )?
    .execute(params![sequence, GONE_AUTHOR, time_of_next(step, now)?])?;
    for patient in &patients {
        name_patient(step, sequence, *patient)?;
    }
    step.prepare_cached(
        "INSERT INTO gone_record (sequence, type, id) SELECT ?1, type, id FROM record
         WHERE key = ?2",
    )?
    .execute(params![sequence, record])?;
    for feed in feeds {
        publish::publish_change(step, feed, sequence, now)?;
    }
    let row = AuditRow {
        actor: GONE_AUTHOR.to_owned(),
        action: "change",
        subject: sequence.to_string(),
        detail: "a record left".to_owned(),
    };
    audit::append(step, &row, now)
}

fn name_patient(step: &Connection, sequence: u64, patient: i64) -> Result<()> {
    step.prepare_cached("INSERT INTO change_patient (sequence, patient) VALUES (?1, ?2)")?
        .execute(params![sequence, patient])?;
    Ok(())
}

/// The next sequence, and the change's id: the one it came with, where that is not taken; else
/// the next number of our own. One that the parent sent again under a known id needs none.
fn take_place(step: &Connection, change: &NewChange<'_>) -> Result<Place> {
    let given = match change.id {
        Some(id) => free_name(step, id)?,
        None => None,
    };
    let own = given.is_none() && !(change.id.is_some() && change.way == Way::Parent);
    let own = own && change.way != Way::Parent;
    let mut place = step
        .prepare_cached(
            "UPDATE site SET sequence = sequence + 1, number = number + ?1
             RETURNING sequence, number, has_parent,
                (SELECT key FROM origin AS o WHERE o.site = site.site AND o.epoch = site.epoch)",
        )?
        .query_row(params![own], |row| {
            let name = if own { Some((row.get(3)?, row.get(1)?)) } else { given };
            Ok(Place { sequence: row.get(0)?, name, has_parent: row.get(2)? })
        })?;
    if own {
        place.name = place.name.map(|name| not_taken(step, name)).transpose()?;
    }
    Ok(place)
}

/// The next number of our own, past those that came back to us: of a life of this store that was
/// rolled back without a word, or made up by another site. Neither may stop what is written here.
fn not_taken(step: &Connection, (origin, number): (i64, u64)) -> Result<(i64, u64)> {
    if !is_taken(step, (origin, number))? {
        return Ok((origin, number));
    }
    let number = step
        .prepare_cached(
            "UPDATE site SET number = (SELECT max(number) + 1 FROM change WHERE origin = ?1)
             RETURNING number",
        )?
        .query_row([origin], |row| row.get(0))?;
    Ok((origin, number))
}

fn free_name(step: &Connection, id: &ChangeId) -> Result<Option<(i64, u64)>> {
    let origin = rows::origin_key(step, &id.origin, &id.epoch)?;
    let taken = is_taken(step, (origin, id.number))?;
    Ok((!taken).then_some((origin, id.number)))
}

/// Whether a change has this name.
fn is_taken(step: &Connection, (origin, number): (i64, u64)) -> Result<bool> {
    let sql = "SELECT 1 FROM change WHERE origin = ?1 AND number = ?2";
    Ok(step.prepare_cached(sql)?.exists(params![origin, number])?)
}

/// The body of the state that the parent is known to hold, where a record comes to that by another
/// way: the parent's bytes stand, in whatever order ours have them.
fn as_agreed(step: &Connection, known: &RecordRow, digest: Digest) -> Result<Option<Vec<u8>>> {
    if known.parent_digest != Some(digest) {
        return Ok(None);
    }
    let found: Option<Option<Vec<u8>>> = step
        .prepare_cached(
            "SELECT body FROM version WHERE record = ?1 AND digest = ?2
             ORDER BY sequence DESC LIMIT 1",
        )?
        .query_row(params![known.key, digest.0], |row| row.get(0))
        .optional()?;
    Ok(found.flatten())
}

/// Writes the record's row and its new version; gives the record's key.
fn write_version(step: &Connection, sequence: u64, state: &State<'_>) -> Result<i64> {
    let Prepared { record, body, .. } = state.prepared;
    let (deleted, digest) = (body.is_none(), record.digest.0);
    let agreed = state.parent_sequence.map(|_| digest);
    let key = match &state.known {
        Some(known) => {
            step.prepare_cached(
                "UPDATE record SET sequence = ?2, deleted = ?3, digest = ?4,
                    parent_digest = coalesce(?5, parent_digest),
                    parent_sequence = coalesce(?6, parent_sequence)
                 WHERE key = ?1",
            )?
            .execute(params![
                known.key,
                sequence,
                deleted,
                digest,
                agreed,
                state.parent_sequence
            ])?;
            known.key
        }
        None => {
            let name = &record.reference;
            step.prepare_cached(
                "INSERT INTO record
                    (type, id, sequence, deleted, digest, parent_digest, parent_sequence)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, coalesce(?7, 0))",
            )?
            .execute(params![
                name.kind.name(),
                name.id(),
                sequence,
                deleted,
                digest,
                agreed,
                state.parent_sequence
            ])?;
            step.last_insert_rowid()
        }
    };
    let agreed = match &state.known {
        Some(known) if state.parent_sequence.is_none() => as_agreed(step, known, record.digest)?,
        _ => None,
    };
    let body = agreed.as_ref().or(body.as_ref());
    let previous = state.known.as_ref().map(|known| known.sequence);
    step.prepare_cached(
        "INSERT INTO version (record, sequence, previous, digest, body, since)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![key, sequence, previous, digest, body, state.since])?;
    Ok(key)
}

/// Queues a change for the parent. What a record's change mends may have been parked: a delivery
/// of the same record goes on its way again.
fn deliver(
    step: &Connection,
    (sequence, lane): (u64, Urgency),
    now: Timestamp,
    states: &[State<'_>],
) -> Result<()> {
    let parked = step
        .prepare_cached(
            "SELECT 1 FROM delivery INDEXED BY delivery_parked
             WHERE target = 'parent' AND state = 'parked'",
        )?
        .exists([])?;
    for known in states.iter().filter_map(|state| state.known.as_ref()) {
        if parked {
            step.prepare_cached(
                "UPDATE delivery SET state = 'ready', attempts = 0, next_at = 0, changed = ?2
                 WHERE target = 'parent' AND state = 'parked'
                    AND sequence IN (SELECT sequence FROM version WHERE record = ?1)",
            )?
            .execute(params![known.key, now.millis()])?;
        }
    }
    step.prepare_cached(
        "INSERT INTO delivery (target, sequence, state, changed, lane)
         VALUES ('parent', ?1, 'ready', ?2, ?3)",
    )?
    .execute(params![sequence, now.millis(), LaneColumn(lane)])?;
    if lane == Urgency::Bulk {
        // Nothing is less urgent.
        return Ok(());
    }
    lanes::place(step, sequence)
}

fn audit_change(
    step: &Connection,
    change: &NewChange<'_>,
    sequence: u64,
    records: usize,
) -> Result<()> {
    let row = AuditRow {
        actor: change.actor.to_owned(),
        action: "change",
        subject: sequence.to_string(),
        detail: format!("records {records}"),
    };
    audit::append(step, &row, change.now)
}

/// What a state does to its record.
pub(super) fn action(state: &State<'_>) -> Action {
    match (&state.prepared.body, &state.known) {
        (None, _) => Action::Deleted,
        (Some(_), None) => Action::Created,
        (Some(_), Some(_)) => Action::Updated,
    }
}

/// When a change was recorded here; `None` where there is no such change.
pub(super) fn recorded(step: &Connection, sequence: u64) -> Result<Option<Timestamp>> {
    Ok(step
        .prepare_cached("SELECT recorded FROM change WHERE sequence = ?1")?
        .query_row([sequence], |row| rows::time(row, 0))
        .optional()?)
}
