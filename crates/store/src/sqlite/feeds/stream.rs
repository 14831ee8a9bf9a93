//! The change stream of a feed: what a reader needs after its marker, each record once, in its
//! latest state. The cost depends on the entries after the marker only.

use protocol::stream::{Lane, OutLine};
use rusqlite::{OptionalExtension, params};

use super::entries::{self, EntryRow};
use super::lines::{LineMaker, Reader};
use super::*;
use crate::StoreError;

/// Most entries that one slice looks at, so that a long run of entries of which nothing is left
/// to be said holds no snapshot open for long.
const MOST_ENTRIES: usize = 20_000;

pub(in crate::sqlite) fn feed_changes(
    store: &SqliteStore,
    query: &FeedQuery,
    scope: &Scope,
) -> Result<Option<FeedSlice>> {
    store.read("read a feed", |conn| {
        let Some(feed) = find(conn, &query.feed, scope)? else { return Ok(None) };
        let gone = query.epoch.is_some_and(|epoch| epoch != feed.info.epoch)
            || query.after.max(query.marker) > feed.info.head;
        if gone {
            return Err(StoreError::Gone { epoch: feed.info.epoch, head: feed.info.head });
        }
        let sequence =
            conn.prepare_cached("SELECT sequence FROM site")?.query_row([], |row| row.get(0))?;
        let head = match query.lane {
            Lane::Live => feed.info.head,
            Lane::Bulk => feed.info.head_join,
        };
        let behind = behind(conn, &feed, query)?;
        let since = sequence_at(conn, &feed, query.marker)?;
        let maker = LineMaker::new(conn, &feed, since, reader(conn, scope)?, &store.options.limits);
        let to = query.to.map_or(head, |to| to.min(head));
        let read = read_lines(conn, &feed, query, to, &maker)?;
        Ok(Some(FeedSlice {
            sequence,
            head,
            behind,
            oldest: read.oldest,
            lines: read.lines,
            end: read.end,
            more: read.more,
            feed: feed.info,
        }))
    })
}

#[derive(Default)]
struct Read {
    oldest: Option<Timestamp>,
    lines: Vec<OutLine>,
    end: u64,
    more: bool,
}

fn read_lines(
    conn: &Connection,
    feed: &Feed,
    query: &FeedQuery,
    to: u64,
    maker: &LineMaker<'_>,
) -> Result<Read> {
    let mut statement = match query.lane {
        Lane::Live => entries::all(conn)?,
        Lane::Bulk => entries::joins(conn)?,
    };
    let mut read = Read { end: query.after.max(to), ..Read::default() };
    let (mut bytes, mut looked_at, mut last) = (0, 0, query.after);
    let mut rows = statement.query(params![feed.key, query.after, to])?;
    while let Some(row) = rows.next()? {
        if looked_at >= MOST_ENTRIES || (bytes >= query.bytes && !read.lines.is_empty()) {
            return Ok(Read { end: last, more: true, ..read });
        }
        let entry = EntryRow::read(row)?;
        looked_at += 1;
        last = entry.position;
        read.oldest.get_or_insert(entry.at);
        bytes += match query.lane {
            Lane::Live => maker.live(entry, &mut read.lines)?,
            Lane::Bulk => maker.bulk(entry, &mut read.lines)?,
        };
    }
    Ok(read)
}

/// The sequence up to which a reader with this marker knows the feed. Joins and leaves carry the
/// sequence of the change before them.
fn sequence_at(conn: &Connection, feed: &Feed, marker: u64) -> Result<u64> {
    Ok(conn
        .prepare_cached("SELECT sequence FROM feed_entry WHERE feed = ?1 AND position = ?2")?
        .query_row(params![feed.key, marker], |row| row.get(0))
        .optional()?
        .unwrap_or(0))
}

/// How many entries of the lane lie after `after`; counted only where a stream begins.
fn behind(conn: &Connection, feed: &Feed, query: &FeedQuery) -> Result<u64> {
    if query.lane == Lane::Live || query.to.is_some() {
        return Ok(feed.info.head.saturating_sub(query.after));
    }
    Ok(conn
        .prepare_cached(
            "SELECT count(*) FROM feed_entry WHERE feed = ?1 AND position > ?2 AND kind = 1",
        )?
        .query_row(params![feed.key, query.after], |row| row.get(0))?)
}

/// The reader, in the life that it says it is in.
pub(super) fn reader(conn: &Connection, scope: &Scope) -> Result<Reader> {
    let Scope::Cohorts { reader, epoch, .. } = scope else { return Ok((None, None)) };
    let key = conn
        .prepare_cached("SELECT key FROM origin WHERE site = ?1 AND epoch = ?2")?
        .query_row(params![reader.as_str(), epoch.as_bytes()], |row| row.get(0))
        .optional()?;
    Ok((key, Some(reader.clone())))
}
