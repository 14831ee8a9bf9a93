//! Lines from the parent that could not be applied, and those that wait behind them: kept as they
//! came, tried again in order by patient. Only the patients concerned are held back.

use std::collections::BTreeSet;

use protocol::delivery::{backoff_longest, backoff_millis, is_due};
use protocol::stream::{self, Lane, StreamLine};
use protocol::{Epoch, FeedId, RecordRef, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

use super::apply::{self, Run};
use super::writer::in_savepoint;
use super::{SqliteStore, body, rows};
use crate::{Incoming, LeavePolicy, Result, Source, StoreError};

/// Most lines that one call looks at.
const LINES_AT_ONCE: u32 = 1_000;

/// The position of the newest parked line of any of these patients.
pub(super) fn blocking(step: &Connection, patients: &BTreeSet<&RecordRef>) -> Result<Option<u64>> {
    if !step.prepare_cached("SELECT 1 FROM parked_line")?.exists([])? {
        return Ok(None);
    }
    for patient in patients {
        let position = step
            .prepare_cached(
                "SELECT l.position FROM patient AS p
                 JOIN parked_line_patient AS lp ON lp.patient = p.key
                 JOIN parked_line AS l ON l.key = lp.line
                 WHERE p.id = ?1 ORDER BY l.key DESC LIMIT 1",
            )?
            .query_row([patient.id()], |row| row.get(0))
            .optional()?;
        if position.is_some() {
            return Ok(position);
        }
    }
    Ok(None)
}

/// Lets go of what waits for patients who leave a feed at `position`: what the feed told of them
/// before is of no use here any more, and a leave must not wait behind what may never be applied.
pub(super) fn forget(
    step: &Connection,
    (feed, epoch): (&FeedId, &Epoch),
    position: u64,
    patients: &BTreeSet<&RecordRef>,
) -> Result<()> {
    for patient in patients {
        let mut statement = step.prepare_cached(
            "SELECT l.key FROM patient AS p
             CROSS JOIN parked_line_patient AS lp ON lp.patient = p.key
             CROSS JOIN parked_line AS l ON l.key = lp.line
             WHERE p.id = ?1 AND l.feed = ?2 AND (l.epoch <> ?3 OR l.position < ?4)",
        )?;
        let values = params![patient.id(), feed.as_bytes(), epoch.as_bytes(), position];
        let lines = statement
            .query_map(values, |row| row.get(0))?
            .collect::<rusqlite::Result<Vec<i64>>>()?;
        for line in lines {
            step.prepare_cached(
                "DELETE FROM parked_line_patient WHERE line = ?1
                    AND patient = (SELECT key FROM patient WHERE id = ?2)",
            )?
            .execute(params![line, patient.id()])?;
            // It stays for those who do not leave.
            step.prepare_cached(
                "DELETE FROM parked_line WHERE key = ?1
                    AND NOT EXISTS (SELECT 1 FROM parked_line_patient WHERE line = ?1)",
            )?
            .execute([line])?;
        }
    }
    Ok(())
}

/// Parks a line of the parent's.
#[expect(clippy::too_many_arguments, reason = "each is a column of the row that is written")]
pub(super) fn park(
    store: &SqliteStore,
    step: &Connection,
    source: &Source,
    position: u64,
    patients: &BTreeSet<&RecordRef>,
    raw: &[u8],
    reason: &str,
    now: Timestamp,
) -> Result<()> {
    let Source::Parent { feed, epoch, lane, sequence, leave, .. } = source else { return Ok(()) };
    let pause = backoff_millis(1, &store.options.limits, 0);
    let next = now.plus_millis(i64::try_from(pause).unwrap_or(i64::MAX));
    // No key is given twice: people act on a line by it.
    let line: i64 = step
        .prepare_cached("UPDATE site SET last_line = last_line + 1 RETURNING last_line")?
        .query_row([], |row| row.get(0))?;
    step.prepare_cached(
        "INSERT INTO parked_line (key, feed, epoch, lane, position, sequence, line, leave, reason,
            attempts, next_at, parked)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 1, ?10, ?11)",
    )?
    .execute(params![
        line,
        feed.as_bytes(),
        epoch.as_bytes(),
        lane.as_str(),
        position,
        sequence,
        body::encode_bytes(raw)?,
        policy_name(*leave),
        reason,
        next.millis(),
        now.millis()
    ])?;
    for patient in patients {
        let patient = rows::patient_key(step, patient)?;
        step.prepare_cached("INSERT INTO parked_line_patient (line, patient) VALUES (?1, ?2)")?
            .execute(params![line, patient])?;
    }
    Ok(())
}

fn policy_name(policy: LeavePolicy) -> &'static str {
    match policy {
        LeavePolicy::Keep => "keep",
        LeavePolicy::Freeze => "freeze",
        LeavePolicy::Purge => "purge",
    }
}

/// A parked line as it is tried again.
struct Parked {
    key: i64,
    source: Source,
    raw: Vec<u8>,
    attempts: u32,
    due: bool,
}

pub(super) fn parked_retry(
    store: &SqliteStore,
    now: Timestamp,
    jitter: u64,
    all: bool,
) -> Result<u64> {
    let any = store.read("look for parked lines", |conn| {
        Ok(conn.prepare_cached("SELECT 1 FROM parked_line LIMIT 1")?.exists([])?)
    })?;
    if !any {
        return Ok(0);
    }
    store.write("try parked lines again", |step| {
        let mut blocked = BTreeSet::new();
        let mut done = 0;
        for key in keys(step)? {
            let patients = patients(step, key)?;
            let line = load(step, key, (now, backoff_longest(&store.options.limits)))?;
            let free = blocked.is_disjoint(&patients) && (all || line.due);
            if free && retry(store, step, &line, now, jitter)? {
                done += 1;
            } else {
                blocked.extend(patients);
            }
        }
        Ok(done)
    })
}

/// Tries lines that a person chose, oldest first; gives how many went in. One that is behind
/// another of its patients waits for that one.
pub(super) fn retry_these(
    store: &SqliteStore,
    step: &Connection,
    lines: &[i64],
    now: Timestamp,
    jitter: u64,
) -> Result<u64> {
    let mut done = 0;
    for key in lines {
        let waits = step
            .prepare_cached(
                "SELECT 1 FROM parked_line_patient AS mine
                 CROSS JOIN parked_line_patient AS other ON other.patient = mine.patient
                 WHERE mine.line = ?1 AND other.line < ?1",
            )?
            .exists([key])?;
        step.prepare_cached("UPDATE parked_line SET held = 0 WHERE key = ?1")?.execute([key])?;
        if waits {
            continue;
        }
        let line = load(step, *key, (now, backoff_longest(&store.options.limits)))?;
        done += u64::from(retry(store, step, &line, now, jitter)?);
    }
    Ok(done)
}

fn keys(step: &Connection) -> Result<Vec<i64>> {
    let mut statement = step.prepare_cached("SELECT key FROM parked_line ORDER BY key LIMIT ?1")?;
    let found = statement.query_map([LINES_AT_ONCE], |row| row.get(0))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

fn patients(step: &Connection, line: i64) -> Result<BTreeSet<i64>> {
    let mut statement =
        step.prepare_cached("SELECT patient FROM parked_line_patient WHERE line = ?1")?;
    let found = statement.query_map([line], |row| row.get(0))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

fn load(step: &Connection, key: i64, (now, longest): (Timestamp, u64)) -> Result<Parked> {
    let site = match rows::parent_site(step)? {
        Some(parent) => parent,
        None => rows::own_site(step)?,
    };
    let (source, line, attempts, due) = step
        .prepare_cached(
            "SELECT feed, epoch, lane, sequence, leave, line, attempts,
                next_at, reason LIKE 'waits behind %', held
             FROM parked_line WHERE key = ?1",
        )?
        .query_row([key], |row| {
            let lane = Lane::named(row.get_ref(2)?.as_str()?);
            let leave = match row.get_ref(4)?.as_str()? {
                "freeze" => LeavePolicy::Freeze,
                "purge" => LeavePolicy::Purge,
                _ => LeavePolicy::Keep,
            };
            let source = Source::Parent {
                site: site.clone(),
                feed: rows::feed_id(row, 0)?,
                name: String::new(),
                epoch: rows::epoch(row, 1)?,
                lane: lane.ok_or_else(|| rows::odd(2, "not a lane"))?,
                sequence: row.get(3)?,
                leave,
            };
            let due = row.get(8)? || is_due(rows::time(row, 7)?, now, longest);
            // Set aside by a person.
            let due = due && !row.get::<_, bool>(9)?;
            Ok((source, row.get::<_, Vec<u8>>(5)?, row.get(6)?, due))
        })?;
    Ok(Parked { key, source, raw: body::decode_bytes(&line)?, attempts, due })
}

/// Tries one line; gives whether it went in.
fn retry(
    store: &SqliteStore,
    step: &Connection,
    line: &Parked,
    now: Timestamp,
    jitter: u64,
) -> Result<bool> {
    let outcome = match stream::read_line(&line.raw, &store.options.limits) {
        Ok(StreamLine::Line(read)) => {
            let incoming = Incoming::Line { line: read, raw: Vec::new() };
            in_savepoint(step, |step| apply_again(store, step, &line.source, &incoming, now))
        }
        Ok(StreamLine::Refused(refused)) => Err(refused.refusal.into()),
        Ok(StreamLine::Header(_) | StreamLine::End { .. }) => Ok(()),
        Err(refusal) => Err(refusal.into()),
    };
    match outcome {
        Ok(()) => {
            step.prepare_cached("DELETE FROM parked_line_patient WHERE line = ?1")?
                .execute([line.key])?;
            step.prepare_cached("DELETE FROM parked_line WHERE key = ?1")?.execute([line.key])?;
            Ok(true)
        }
        Err(error) if apply::is_about_the_line(&error) => {
            failed_again(store, step, line, &error, now, jitter)?;
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

fn apply_again(
    store: &SqliteStore,
    step: &Connection,
    source: &Source,
    incoming: &Incoming,
    now: Timestamp,
) -> Result<()> {
    let states = apply::prepare(incoming)?;
    let Incoming::Line { line, .. } = incoming else { return Ok(()) };
    Run::begin(store, step, source, now)?.apply(line, &states).map(drop)
}

fn failed_again(
    store: &SqliteStore,
    step: &Connection,
    line: &Parked,
    error: &StoreError,
    now: Timestamp,
    jitter: u64,
) -> Result<()> {
    let attempts = line.attempts.saturating_add(1);
    let pause = backoff_millis(attempts, &store.options.limits, jitter);
    let next = now.plus_millis(i64::try_from(pause).unwrap_or(i64::MAX));
    step.prepare_cached(
        "UPDATE parked_line SET attempts = ?2, next_at = ?3, reason = ?4 WHERE key = ?1",
    )?
    .execute(params![line.key, attempts, next.millis(), error.to_string()])?;
    Ok(())
}
