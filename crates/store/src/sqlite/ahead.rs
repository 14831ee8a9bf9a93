//! At a child: patients of whose join the live lane has told, and whose records lie far away on
//! the bulk lane, behind a first load perhaps.

use protocol::stream::Lane;
use protocol::{Epoch, FeedId, RecordRef};
use rusqlite::{Connection, OptionalExtension, params};

use super::{SqliteStore, markers, rows};
use crate::{JoinsAhead, Result};

pub(super) fn joins_ahead(store: &SqliteStore, feed: &FeedId, epoch: &Epoch) -> Result<JoinsAhead> {
    store.read("look for joins ahead of the bulk lane", |conn| {
        let limits = &store.options.limits;
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
    position: u64,
) -> Result<()> {
    store.write("note which joins were looked at", |step| {
        step.prepare_cached(
            "INSERT INTO ahead (feed, epoch, position) VALUES (?1, ?2, ?3)
             ON CONFLICT (feed) DO UPDATE SET
                position = CASE WHEN epoch = excluded.epoch
                    THEN max(position, excluded.position) ELSE excluded.position END,
                epoch = excluded.epoch",
        )?
        .execute(params![feed.as_bytes(), epoch.as_bytes(), position])?;
        Ok(())
    })
}
