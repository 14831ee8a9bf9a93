//! At a child whose changes are read: who reads them, and what it says of them.

use protocol::delivery::Outcome;
use protocol::message::{GIVEN_UP, Receipt};
use protocol::{Epoch, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

use crate::sqlite::{SqliteStore, audit, deliveries, parked, publish, rows};
use crate::{AuditRow, ReaderSeen, ReaderStatus, Result};

pub(in crate::sqlite) fn outgoing_read(
    store: &SqliteStore,
    reader: &ReaderSeen,
    now: Timestamp,
) -> Result<()> {
    store.write("note that its reader was here", |step| {
        let before: Option<(Option<String>, Option<[u8; 16]>)> = step
            .prepare_cached("SELECT reader, reader_epoch FROM link WHERE target = 'parent'")?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let (site, epoch) = before.unwrap_or_default();
        if epoch != Some(*reader.epoch.as_bytes()) || site.as_deref() != Some(reader.site.as_str())
        {
            meet(step, reader, epoch.map(Epoch::from_bytes), now)?;
        }
        step.prepare_cached(
            "UPDATE link SET reader = ?1, reader_epoch = ?2, reader_at = ?3, reader_position = ?4
             WHERE target = 'parent'",
        )?
        .execute(params![
            reader.site.as_str(),
            reader.epoch.as_bytes(),
            now.millis(),
            reader.position
        ])?;
        Ok(())
    })
}

/// Another reader, or another life of its store: what was said as of its sequences counts no more.
fn meet(
    step: &Connection,
    reader: &ReaderSeen,
    before: Option<Epoch>,
    now: Timestamp,
) -> Result<()> {
    if before.is_some() {
        step.execute("UPDATE record SET parent_sequence = 0 WHERE parent_sequence > 0", [])?;
        parked::forget_lives_before(step, &reader.epoch)?;
    }
    let row = AuditRow {
        actor: format!("parent:{}", reader.site),
        action: "outgoing-read",
        subject: reader.site.to_string(),
        detail: format!("epoch {}", reader.epoch),
    };
    audit::append(step, &row, now)
}

pub(in crate::sqlite) fn reader(conn: &Connection) -> Result<ReaderStatus> {
    let found = conn
        .prepare_cached(
            "SELECT reader, reader_at, coalesce(reader_position, 0) FROM link
             WHERE target = 'parent' AND reader IS NOT NULL",
        )?
        .query_row([], |row| {
            Ok(ReaderStatus {
                reader: Some(rows::site_id(row, 0)?),
                reader_at: rows::time_option(row, 1)?,
                position: row.get(2)?,
            })
        })
        .optional()?;
    Ok(found.unwrap_or_default())
}

pub(in crate::sqlite) fn outgoing_settle(
    store: &SqliteStore,
    words: &[Receipt],
    now: Timestamp,
    jitter: u64,
) -> Result<u64> {
    store.write("note what the parent said", |step| {
        let mut settled = 0;
        for word in words {
            settled += u64::from(take_in(store, step, word, (now, jitter))?);
        }
        Ok(settled)
    })
}

/// Settles a change by the parent's word; whether that was new.
fn take_in(
    store: &SqliteStore,
    step: &Connection,
    word: &Receipt,
    (now, jitter): (Timestamp, u64),
) -> Result<bool> {
    let Some(sequence) = open_delivery(step, word)? else { return Ok(false) };
    let told = deliveries::by_receipt(step, word, vec![sequence])?;
    deliveries::take_in(store, step, &told, now, jitter)?;
    if word.outcome == Outcome::Refused {
        // The parent has it and keeps it parked, or gave it up: it is tried again there or by hand.
        let reason = word.reason.as_deref().unwrap_or("it gave no reason");
        let reason = match reason.strip_prefix(GIVEN_UP) {
            Some(because) => format!("the parent gave it up: {because}"),
            None => format!("the parent keeps it parked: {reason}"),
        };
        step.prepare_cached(
            "UPDATE delivery SET state = 'parked', reason = ?2
             WHERE target = 'parent' AND sequence = ?1",
        )?
        .execute(params![sequence, reason])?;
    }
    Ok(true)
}

/// A change that a person wants to go again stands in the feed once more: its reader may have
/// passed it.
pub(in crate::sqlite) fn again(step: &Connection, sequence: u64, now: Timestamp) -> Result<()> {
    let feed: Option<i64> = step
        .prepare_cached(
            "SELECT f.key FROM link AS l CROSS JOIN feed AS f ON f.kind = 'outgoing'
             WHERE l.target = 'parent' AND l.reader IS NOT NULL",
        )?
        .query_row([], |row| row.get(0))
        .optional()?;
    match feed {
        Some(feed) => publish::publish_change(step, feed, sequence, now),
        None => Ok(()),
    }
}

/// The change that a word is about, where it is not done.
fn open_delivery(step: &Connection, word: &Receipt) -> Result<Option<u64>> {
    Ok(step
        .prepare_cached(
            "SELECT c.sequence FROM origin AS o
             CROSS JOIN change AS c ON c.origin = o.key AND c.number = ?3
             CROSS JOIN delivery AS d ON d.target = 'parent' AND d.sequence = c.sequence
             WHERE o.site = ?1 AND o.epoch = ?2 AND d.state <> 'done'",
        )?
        .query_row(
            params![word.id.origin.as_str(), word.id.epoch.as_bytes(), word.id.number],
            |row| row.get(0),
        )
        .optional()?)
}
