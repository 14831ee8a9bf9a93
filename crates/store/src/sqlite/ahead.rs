//! At a child: patients whose whole records are asked for by name. Of the join of some the live
//! lane has told, and their records lie far away on the bulk lane, behind a first load perhaps. Of
//! others something was purged here, and the parent believed it held when they joined again.

use protocol::feed::EntryKind;
use protocol::stream::{InLine, Lane};
use protocol::{Epoch, FeedId, RecordRef};
use rusqlite::{Connection, OptionalExtension, params};

use super::{SqliteStore, markers, rows};
use crate::{JoinsAhead, Result, Source};

pub(super) fn joins_ahead(store: &SqliteStore, feed: &FeedId, epoch: &Epoch) -> Result<JoinsAhead> {
    store.read("look for joins ahead of the bulk lane", |conn| {
        let limits = &store.options.limits;
        let back = back(conn, feed, limits.fetch_patients)?;
        if !back.is_empty() {
            return Ok(JoinsAhead { patients: back, position: looked(conn, feed, epoch)? });
        }
        let bulk = markers::position(conn, feed, epoch, Lane::Bulk)?.unwrap_or(0);
        let looked = looked(conn, feed, epoch)?;
        let from = looked.max(bulk.saturating_add(limits.ahead_entries));
        let joined = joined_after(conn, feed, from, limits.fetch_patients + 1)?;
        if joined.len() <= limits.fetch_patients {
            let position = joined.last().map_or(looked, |(position, _)| *position);
            let patients = joined.into_iter().map(|(_, patient)| patient).collect();
            return Ok(JoinsAhead { patients, position });
        }
        let newest: u64 = conn
            .prepare_cached("SELECT max(joined) FROM held_patient WHERE feed = ?1")?
            .query_row([feed.as_bytes()], |row| row.get(0))?;
        Ok(JoinsAhead { patients: Vec::new(), position: newest })
    })
}

/// Who joined a feed again without what was purged here.
fn back(conn: &Connection, feed: &FeedId, most: usize) -> Result<Vec<RecordRef>> {
    let mut statement = conn.prepare_cached(
        "SELECT DISTINCT p.id FROM purged_record AS g CROSS JOIN patient AS p ON p.key = g.patient
         WHERE g.feed = ?1 ORDER BY g.patient LIMIT ?2",
    )?;
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let found =
        statement.query_map(params![feed.as_bytes(), most], |row| rows::patient_ref(row, 0))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// The bulk lane has brought a join, as whole as the parent thought it had to be: what was purged
/// here of the patient and did not come with it is to be asked for.
pub(super) fn note_back(step: &Connection, source: &Source, line: &InLine) -> Result<()> {
    let Source::Parent { feed, lane: Lane::Bulk, .. } = source else { return Ok(()) };
    let is_whole = line.part.is_none_or(|(part, of)| part >= of);
    if line.kind != EntryKind::Join || !is_whole {
        return Ok(());
    }
    for patient in &line.patients {
        let patient = rows::patient_key(step, patient)?;
        step.prepare_cached(
            "DELETE FROM purged_record AS g WHERE patient = ?1 AND EXISTS
                (SELECT 1 FROM record AS r WHERE r.type = g.type AND r.id = g.id)",
        )?
        .execute([patient])?;
        step.prepare_cached("UPDATE purged_record SET feed = ?2 WHERE patient = ?1")?
            .execute(params![patient, feed.as_bytes()])?;
    }
    Ok(())
}

fn looked(conn: &Connection, feed: &FeedId, epoch: &Epoch) -> Result<u64> {
    let found = conn
        .prepare_cached("SELECT position FROM ahead WHERE feed = ?1 AND epoch = ?2")?
        .query_row(params![feed.as_bytes(), epoch.as_bytes()], |row| row.get(0))
        .optional()?;
    Ok(found.unwrap_or(0))
}

fn joined_after(
    conn: &Connection,
    feed: &FeedId,
    position: u64,
    most: usize,
) -> Result<Vec<(u64, RecordRef)>> {
    let mut statement = conn.prepare_cached(
        "SELECT h.joined, p.id FROM held_patient AS h CROSS JOIN patient AS p ON p.key = h.patient
         WHERE h.feed = ?1 AND h.joined > ?2 ORDER BY h.joined LIMIT ?3",
    )?;
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let found = statement.query_map(params![feed.as_bytes(), position, most], |row| {
        Ok((row.get(0)?, rows::patient_ref(row, 1)?))
    })?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn joins_looked_at(
    store: &SqliteStore,
    feed: &FeedId,
    epoch: &Epoch,
    joins: &JoinsAhead,
) -> Result<()> {
    store.write("note which joins were looked at", |step| {
        for patient in &joins.patients {
            step.prepare_cached(
                "DELETE FROM purged_record WHERE feed = ?1
                    AND patient = (SELECT key FROM patient WHERE id = ?2)",
            )?
            .execute(params![feed.as_bytes(), patient.id()])?;
        }
        step.prepare_cached(
            "INSERT INTO ahead (feed, epoch, position) VALUES (?1, ?2, ?3)
             ON CONFLICT (feed) DO UPDATE SET
                position = CASE WHEN epoch = excluded.epoch
                    THEN max(position, excluded.position) ELSE excluded.position END,
                epoch = excluded.epoch",
        )?
        .execute(params![feed.as_bytes(), epoch.as_bytes(), joins.position])?;
        Ok(())
    })
}
