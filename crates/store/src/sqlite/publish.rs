//! What a change brings about in its own transaction: feed entries, joins and leaves.

use std::collections::BTreeSet;

use protocol::Timestamp;
use protocol::feed::EntryKind;
use protocol::planted::{Fault, planted};
use rusqlite::{Connection, OptionalExtension, params};

use super::index::Touched;
use super::{SqliteStore, cohorts};
use crate::Result;

/// One patient's coming into or going out of a cohort.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Move {
    pub(super) feed: i64,
    pub(super) patient: i64,
    /// `None`: joins; else why it leaves.
    pub(super) leaves: Option<&'static str>,
}

/// Appends a change to the feeds that hold any of its patients, before it or after it; to
/// `reference`, if it has reference records; and to `outgoing`, if it is to go `upwards`.
pub(super) fn publish(
    store: &SqliteStore,
    step: &Connection,
    (sequence, now): (u64, Timestamp),
    touched: &Touched,
    upwards: bool,
) -> Result<()> {
    let mut feeds = BTreeSet::new();
    for patient in &touched.patients {
        feeds.extend(holding(step, *patient)?);
    }
    let moves = cohorts::moves(store, step, &touched.moved)?;
    feeds.extend(moves.iter().filter(|step| step.leaves.is_none()).map(|step| step.feed));
    for (wanted, kind) in [(touched.reference, "reference"), (upwards, "outgoing")] {
        if wanted {
            feeds.extend(feed_of_kind(step, kind)?);
        }
    }
    for feed in feeds {
        if planted(Fault::EntrySkipped) && sequence.is_multiple_of(8) {
            continue;
        }
        publish_change(step, feed, sequence, now)?;
    }
    for each in &moves {
        publish_move(step, each, sequence, now)?;
    }
    Ok(())
}

/// Appends a change to a feed.
pub(super) fn publish_change(
    step: &Connection,
    feed: i64,
    sequence: u64,
    now: Timestamp,
) -> Result<()> {
    let position = next_position(step, feed, EntryKind::Change)?;
    append(step, (feed, position), EntryKind::Change, sequence, None, now)
}

/// Appends a join or leave and brings the cohort's membership into line with it.
pub(super) fn publish_move(
    step: &Connection,
    each: &Move,
    sequence: u64,
    now: Timestamp,
) -> Result<()> {
    let kind = if each.leaves.is_none() { EntryKind::Join } else { EntryKind::Leave };
    let position = next_position(step, each.feed, kind)?;
    append(step, (each.feed, position), kind, sequence, Some(each), now)?;
    let sql = match kind {
        EntryKind::Leave => {
            "UPDATE cohort_patient SET \"left\" = ?3 WHERE feed = ?1 AND patient = ?2"
        }
        _ => {
            "INSERT INTO cohort_patient (feed, patient, joined) VALUES (?1, ?2, ?3)
             ON CONFLICT (feed, patient) DO UPDATE SET joined = excluded.joined, \"left\" = NULL"
        }
    };
    step.prepare_cached(sql)?.execute(params![each.feed, each.patient, position])?;
    Ok(())
}

/// The feeds of the cohorts that hold a patient.
pub(super) fn holding(step: &Connection, patient: i64) -> Result<Vec<i64>> {
    let mut statement = step.prepare_cached(
        "SELECT feed FROM cohort_patient WHERE patient = ?1 AND \"left\" IS NULL ORDER BY feed",
    )?;
    let found = statement.query_map([patient], |row| row.get(0))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

fn feed_of_kind(step: &Connection, kind: &str) -> Result<Option<i64>> {
    Ok(step
        .prepare_cached("SELECT key FROM feed WHERE name = ?1")?
        .query_row([kind], |row| row.get(0))
        .optional()?)
}

fn next_position(step: &Connection, feed: i64, kind: EntryKind) -> Result<u64> {
    let joins = kind == EntryKind::Join;
    Ok(step
        .prepare_cached(
            "UPDATE feed SET head = head + 1,
                head_join = CASE WHEN ?2 THEN head + 1 ELSE head_join END
             WHERE key = ?1 RETURNING head",
        )?
        .query_row(params![feed, joins], |row| row.get(0))?)
}

fn append(
    step: &Connection,
    (feed, position): (i64, u64),
    kind: EntryKind,
    sequence: u64,
    each: Option<&Move>,
    now: Timestamp,
) -> Result<()> {
    let kind = match kind {
        EntryKind::Change => 0,
        EntryKind::Join => 1,
        EntryKind::Leave => 2,
    };
    let (patient, reason) = (each.map(|each| each.patient), each.and_then(|each| each.leaves));
    step.prepare_cached(
        "INSERT INTO feed_entry (feed, position, kind, sequence, patient, reason, at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![feed, position, kind, sequence, patient, reason, now.millis()])?;
    Ok(())
}
