//! Lines that were read and could not be applied, from the parent or a source, and those that wait
//! behind them: kept as they came, tried again in order by patient. Only the patients concerned are
//! held back.

use std::collections::BTreeSet;

use protocol::delivery::{backoff_longest, backoff_millis, is_due};
use protocol::stream::{self, InLine, Lane, RefusedLine, StreamLine};
use protocol::{Epoch, FeedId, RecordRef, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

use super::apply::{self, Run, Subjects};
use super::writer::in_savepoint;
use super::{SqliteStore, body, received, rows, sources};
use crate::{Applied, Incoming, LeavePolicy, Result, Source, StoreError};

/// Most lines that one call looks at.
const LINES_AT_ONCE: u32 = 1_000;

/// What stands for the records of a line that could not be read so far.
const UNREAD: &str = "*";

/// The name of a source that is read; `None` for the parent.
fn source_name(source: &Source) -> Option<&str> {
    match source {
        Source::Child { site, .. } => Some(site.as_str()),
        Source::Parent { .. } => None,
    }
}

/// The position of the newest parked line from the same side that this one has to wait behind.
pub(super) fn blocking(
    step: &Connection,
    source: &Source,
    subjects: &Subjects<'_>,
) -> Result<Option<u64>> {
    if !step.prepare_cached("SELECT 1 FROM parked_line")?.exists([])? {
        return Ok(None);
    }
    let source = source_name(source);
    for patient in &subjects.patients {
        let position = step
            .prepare_cached(
                "SELECT l.position FROM patient AS p
                 JOIN parked_line_patient AS lp ON lp.patient = p.key
                 JOIN parked_line AS l ON l.key = lp.line
                 WHERE p.id = ?1 AND l.source IS ?2 ORDER BY l.key DESC LIMIT 1",
            )?
            .query_row(params![patient.id(), source], |row| row.get(0))
            .optional()?;
        if position.is_some() {
            return Ok(position);
        }
    }
    if source.is_none() {
        // Of what the parent says of a record, the newest stands by its sequence.
        return Ok(None);
    }
    // A record may have become another patient's since. What is of no patient and could not be
    // read may be about any record of no patient.
    let nobodys = subjects.patients.is_empty();
    for record in names(subjects) {
        let position = step
            .prepare_cached(
                "SELECT l.position FROM parked_line_record AS lr
                 JOIN parked_line AS l ON l.key = lr.line
                 WHERE l.source IS ?2 AND (lr.record = ?1 OR ?3 AND (lr.record = '*' OR ?1 = '*'))
                 ORDER BY l.key DESC LIMIT 1",
            )?
            .query_row(params![record, source, nobodys], |row| row.get(0))
            .optional()?;
        if position.is_some() {
            return Ok(position);
        }
    }
    Ok(None)
}

/// The records of a line, as far as they are known; those of a line of no patient have to be.
fn names(subjects: &Subjects<'_>) -> Vec<String> {
    if subjects.records.is_empty() && subjects.patients.is_empty() {
        return vec![UNREAD.to_owned()];
    }
    subjects.records.iter().map(ToString::to_string).collect()
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

/// Whether a line that is parked may have what a feed has of a record (its key here, where it is
/// known): what is fetched then would be parked once more.
pub(super) fn may_have(step: &Connection, feed: &FeedId, record: Option<i64>) -> Result<bool> {
    let sql = "SELECT 1 FROM parked_line AS l WHERE l.feed = ?1 AND l.source IS NULL
            AND (?2 IS NULL OR EXISTS (SELECT 1 FROM parked_line_patient AS lp
                CROSS JOIN record_patient AS rp ON rp.patient = lp.patient
                WHERE lp.line = l.key AND rp.record = ?2))";
    Ok(step.prepare_cached(sql)?.exists(params![feed.as_bytes(), record])?)
}

/// Parks a line that was read; whether it has later states than its numbers brought.
#[expect(clippy::too_many_arguments, reason = "each is a column of the row that is written")]
pub(super) fn park(
    store: &SqliteStore,
    step: &Connection,
    source: &Source,
    position: u64,
    subjects: &Subjects<'_>,
    (raw, later): (&[u8], bool),
    reason: &str,
    now: Timestamp,
) -> Result<()> {
    let (feed, epoch, lane, sequence, leave) = match source {
        Source::Parent { feed, epoch, lane, sequence, leave, .. } => {
            (feed, epoch, *lane, *sequence, *leave)
        }
        Source::Child { epoch, reading: Some(reading), .. } => {
            (&reading.feed, epoch, Lane::Live, 0, LeavePolicy::Keep)
        }
        Source::Child { reading: None, .. } => return Ok(()),
    };
    let pause = backoff_millis(1, &store.options.limits, 0);
    let next = now.plus_millis(i64::try_from(pause).unwrap_or(i64::MAX));
    // No key is given twice: people act on a line by it.
    let line: i64 = step
        .prepare_cached("UPDATE site SET last_line = last_line + 1 RETURNING last_line")?
        .query_row([], |row| row.get(0))?;
    step.prepare_cached(
        "INSERT INTO parked_line (key, feed, epoch, lane, position, sequence, line, leave, reason,
            attempts, next_at, parked, source, later)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 1, ?10, ?11, ?12, ?13)",
    )?
    .execute(params![
        line,
        feed.as_bytes(),
        epoch.as_bytes(),
        lane.as_str(),
        position,
        sequence,
        body::encode_bytes(raw)?,
        policy_name(leave),
        reason,
        next.millis(),
        now.millis(),
        source_name(source),
        later
    ])?;
    let is_of_source = source_name(source).is_some();
    for record in names(subjects).into_iter().filter(|_| is_of_source) {
        step.prepare_cached("INSERT INTO parked_line_record (line, record) VALUES (?1, ?2)")?
            .execute(params![line, record])?;
    }
    for patient in &subjects.patients {
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
    later: bool,
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
            let subjects = subjects(step, key)?;
            let line = load(step, key, (now, backoff_longest(&store.options.limits)))?;
            let free = blocked.is_disjoint(&subjects) && (all || line.due);
            if free && retry(store, step, &line, now, jitter)? {
                done += 1;
            } else {
                blocked.extend(subjects);
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
                 CROSS JOIN parked_line AS l ON l.key = mine.line
                 CROSS JOIN parked_line_patient AS other ON other.patient = mine.patient
                 CROSS JOIN parked_line AS o ON o.key = other.line AND o.source IS l.source
                 WHERE mine.line = ?1 AND other.line < ?1
                 UNION ALL
                 SELECT 1 FROM parked_line_record AS mine
                 CROSS JOIN parked_line AS l ON l.key = mine.line
                 CROSS JOIN parked_line AS o ON o.source = l.source AND o.key < l.key
                 CROSS JOIN parked_line_record AS other ON other.line = o.key
                 WHERE mine.line = ?1 AND (other.record = mine.record
                    OR '*' IN (mine.record, other.record) AND NOT EXISTS
                        (SELECT 1 FROM parked_line_patient AS p WHERE p.line IN (o.key, l.key)))",
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

/// What a line waits for, of which source: a patient's key, or a record's name. (A line of a source
/// that is of no patient and could not be read waits for all like it.)
fn subjects(step: &Connection, line: i64) -> Result<BTreeSet<(Option<String>, i64, String)>> {
    let mut statement = step.prepare_cached(
        "SELECT l.source, lp.patient, '' FROM parked_line AS l
         JOIN parked_line_patient AS lp ON lp.line = l.key WHERE l.key = ?1
         UNION ALL
         SELECT l.source, 0, lr.record
         FROM parked_line AS l JOIN parked_line_record AS lr ON lr.line = l.key
         WHERE l.key = ?1 AND l.source IS NOT NULL
         UNION ALL
         SELECT l.source, 0, '*'
         FROM parked_line AS l WHERE l.key = ?1 AND l.source IS NOT NULL
            AND NOT EXISTS (SELECT 1 FROM parked_line_patient AS p WHERE p.line = l.key)
            AND EXISTS (SELECT 1 FROM parked_line AS o
                JOIN parked_line_record AS u ON u.line = o.key AND u.record = '*'
                WHERE o.source = l.source)",
    )?;
    let found = statement.query_map([line], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

fn load(step: &Connection, key: i64, (now, longest): (Timestamp, u64)) -> Result<Parked> {
    let site = match rows::parent_site(step)? {
        Some(parent) => parent,
        None => rows::own_site(step)?,
    };
    let (source, line, attempts, due, later) = step
        .prepare_cached(
            "SELECT feed, epoch, lane, sequence, leave, line, attempts,
                next_at, reason LIKE 'waits behind %', held, source, later
             FROM parked_line WHERE key = ?1",
        )?
        .query_row([key], |row| {
            let lane = Lane::named(row.get_ref(2)?.as_str()?);
            let leave = match row.get_ref(4)?.as_str()? {
                "freeze" => LeavePolicy::Freeze,
                "purge" => LeavePolicy::Purge,
                _ => LeavePolicy::Keep,
            };
            let epoch = rows::epoch(row, 1)?;
            let source = match row.get::<_, Option<String>>(10)? {
                // No marker moves by it any more, and what came another way meanwhile stands.
                Some(_) => Source::Child { site: rows::site_id(row, 10)?, epoch, reading: None },
                None => Source::Parent {
                    site: site.clone(),
                    feed: rows::feed_id(row, 0)?,
                    name: String::new(),
                    epoch,
                    lane: lane.ok_or_else(|| rows::odd(2, "not a lane"))?,
                    sequence: row.get(3)?,
                    leave,
                },
            };
            let due = row.get(8)? || is_due(rows::time(row, 7)?, now, longest);
            // Set aside by a person.
            let due = due && !row.get::<_, bool>(9)?;
            Ok((source, row.get::<_, Vec<u8>>(5)?, row.get(6)?, due, row.get(11)?))
        })?;
    Ok(Parked { key, source, raw: body::decode_bytes(&line)?, later, attempts, due })
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
            in_savepoint(step, |step| apply_again(store, step, line, &incoming, now))
        }
        Ok(StreamLine::Refused(refused)) => {
            // What another way has brought meanwhile is of no use here any more.
            if !line.later && is_held(step, &line.source, &refused)? {
                Ok(())
            } else {
                Err(refused.refusal.into())
            }
        }
        Ok(StreamLine::Header(_) | StreamLine::End { .. }) => Ok(()),
        Err(refusal) => Err(refusal.into()),
    };
    match outcome {
        Ok(()) => {
            for sql in [
                "DELETE FROM parked_line_patient WHERE line = ?1",
                "DELETE FROM parked_line_record WHERE line = ?1",
                "DELETE FROM parked_line WHERE key = ?1",
            ] {
                step.prepare_cached(sql)?.execute([line.key])?;
            }
            Ok(true)
        }
        Err(error) if error.is_about_the_line() => {
            failed_again(store, step, line, &error, now, jitter)?;
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Whether the changes of a source's line came another way.
fn is_held(step: &Connection, source: &Source, line: &RefusedLine) -> Result<bool> {
    let (Source::Child { site, .. }, Some(id)) = (source, &line.id) else { return Ok(false) };
    let origin = rows::origin_key(step, &id.origin, &id.epoch)?;
    let numbers = if line.covers.is_empty() { &[id.number][..] } else { &line.covers };
    received::holds_all(step, (site, origin), numbers)
}

/// Forgets the lines of a feed, all of whose records are fetched anew.
pub(super) fn forget_feed(step: &Connection, feed: &FeedId) -> Result<()> {
    forget_where(step, "feed = ?1", feed.as_bytes())
}

/// Forgets the lines of the parent's lives before `epoch`: sequences say no more what is older, and
/// all records are compared at the next contact.
pub(super) fn forget_lives_before(step: &Connection, epoch: &Epoch) -> Result<()> {
    forget_where(step, "source IS NULL AND epoch <> ?1", epoch.as_bytes())
}

fn forget_where(step: &Connection, which: &str, value: &[u8; 16]) -> Result<()> {
    for sql in [
        format!(
            "DELETE FROM parked_line_patient
             WHERE line IN (SELECT key FROM parked_line WHERE {which})"
        ),
        format!("DELETE FROM parked_line WHERE {which}"),
    ] {
        step.prepare_cached(&sql)?.execute([value])?;
    }
    Ok(())
}

fn apply_again(
    store: &SqliteStore,
    step: &Connection,
    parked: &Parked,
    incoming: &Incoming,
    now: Timestamp,
) -> Result<()> {
    let states = apply::prepare(incoming)?;
    let Incoming::Line { line, .. } = incoming else { return Ok(()) };
    let mut run = Run::begin(store, step, &parked.source, now)?;
    (run.has_later, run.is_retry) = (parked.later, true);
    let applied = run.apply(line, &states)?;
    tell(step, &parked.source, line, &applied)
}

/// A source that is read hears what became of its change after all.
fn tell(step: &Connection, source: &Source, line: &InLine, applied: &Applied) -> Result<()> {
    let (Source::Child { site, .. }, Some(id)) = (source, &line.id) else { return Ok(()) };
    let digests = sources::words::digests_of(line, applied);
    sources::words::keep(step, site, (id, line.part), applied, digests)
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
