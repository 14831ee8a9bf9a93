//! What a parent that reads this site gets: its outgoing changes in their order, those that it has
//! not taken yet, each record once in an answer, in its latest state.

use std::collections::BTreeSet;

use protocol::Urgency;
use protocol::feed::EntryKind;
use protocol::stream::OutLine;
use rusqlite::{OptionalExtension, params};

use super::entries::{self, EntryRow};
use super::*;
use crate::sqlite::deliveries::lines;
use crate::sqlite::deliveries::turns::Turn;
use crate::{OutgoingQuery, OutgoingSlice, StoreError};

/// Most entries that one slice looks at.
const MOST_ENTRIES: usize = 20_000;

pub(in crate::sqlite) fn outgoing_changes(
    store: &SqliteStore,
    query: &OutgoingQuery,
) -> Result<Option<OutgoingSlice>> {
    store.read("read its outgoing changes", |conn| {
        let Some(feed) = find(conn, "outgoing", &Scope::Everything)? else { return Ok(None) };
        let (epoch, head) = (feed.info.epoch, feed.info.head);
        if query.epoch.is_some_and(|asked| asked != epoch) || query.after > head {
            return Err(StoreError::Gone { epoch, head });
        }
        let sequence = rows::site_sequence(conn)?;
        let mut slice = OutgoingSlice {
            feed: feed.info.clone(),
            sequence,
            oldest: None,
            lines: Vec::new(),
            end: head,
            more: false,
        };
        read(store, conn, (&feed, query), &mut slice)?;
        Ok(Some(slice))
    })
}

fn read(
    store: &SqliteStore,
    conn: &Connection,
    (feed, query): (&Feed, &OutgoingQuery),
    slice: &mut OutgoingSlice,
) -> Result<()> {
    let mut statement = entries::all(conn)?;
    let mut rows = statement.query(params![feed.key, query.after, feed.info.head])?;
    let (mut bytes, mut looked_at, mut last) = (0, 0, query.after);
    // Said once in an answer: the reader applies its lines in order, and all are of one snapshot.
    let (mut said, mut changes) = (BTreeSet::new(), BTreeSet::new());
    while let Some(row) = rows.next()? {
        if looked_at >= MOST_ENTRIES || (bytes >= query.bytes && !slice.lines.is_empty()) {
            (slice.end, slice.more) = (last, true);
            return Ok(());
        }
        let entry = EntryRow::read(row)?;
        looked_at += 1;
        last = entry.position;
        // What is to go again stands in the feed twice.
        if entry.kind != EntryKind::Change || !changes.insert(entry.sequence) {
            continue;
        }
        let Some(turn) = turn_of(conn, entry.sequence)? else { continue };
        slice.oldest.get_or_insert(entry.at);
        let (line, size) = lines::build_after(conn, &turn, &store.options.limits, &mut said)?;
        bytes += size;
        let placed = line.lines.into_iter();
        slice.lines.extend(placed.map(|line| OutLine { position: Some(entry.position), ..line }));
    }
    Ok(())
}

/// A change by itself, if it still has to go up.
fn turn_of(conn: &Connection, sequence: u64) -> Result<Option<Turn>> {
    let found: Option<(i64, u64)> = conn
        .prepare_cached(
            "SELECT c.origin, c.number FROM delivery AS d
             CROSS JOIN change AS c ON c.sequence = d.sequence
             WHERE d.target = 'parent' AND d.sequence = ?1 AND d.state <> 'done'
                AND c.number IS NOT NULL",
        )?
        .query_row([sequence], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(found.map(|(origin, number)| Turn {
        origin,
        changes: vec![(sequence, number)],
        subjects: BTreeSet::new(),
        lane: Urgency::Normal,
    }))
}
