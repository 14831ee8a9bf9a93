//! Sources: sites below that this site reads itself, each with a marker, a state and a pace of its
//! own. What comes in goes the way of a child's push (`apply.rs`).

pub(super) mod images;
pub(super) mod outgoing;
pub(super) mod words;

use protocol::digest::ShortDigest;
use protocol::message::Receipt;
use protocol::{Digest, Epoch, FeedId, RecordRef, SiteId, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::apply::with_short;
use super::{SqliteStore, audit, feeds, rows, status};
use crate::{
    AuditRow, OutgoingQuery, OutgoingSlice, ReaderSeen, Reading, Result, SourceEvent, SourceInfo,
    SourceMark, SourceStore, StoreError,
};

pub(super) use outgoing::reader;

impl SourceStore for SqliteStore {
    fn source_list(&self) -> Result<Vec<SourceInfo>> {
        source_list(self)
    }
    fn source_get(&self, name: &SiteId) -> Result<Option<SourceInfo>> {
        source_get(self, name)
    }
    fn source_note(&self, name: &SiteId, event: &SourceEvent, now: Timestamp) -> Result<()> {
        source_note(self, name, event, now)
    }
    fn source_words(&self, name: &SiteId, limit: usize) -> Result<Vec<Receipt>> {
        words::source_words(self, name, limit)
    }
    fn source_told(&self, name: &SiteId, words: &[Receipt]) -> Result<()> {
        words::source_told(self, name, words)
    }
    fn source_unknown(
        &self,
        name: &SiteId,
        page: &[(RecordRef, ShortDigest)],
    ) -> Result<Vec<RecordRef>> {
        source_unknown(self, name, page)
    }
    fn source_images(
        &self,
        name: &SiteId,
        records: &[RecordRef],
    ) -> Result<Vec<Option<ShortDigest>>> {
        images::source_images(self, name, records)
    }
    fn outgoing_changes(&self, query: &OutgoingQuery) -> Result<Option<OutgoingSlice>> {
        feeds::outgoing_changes(self, query)
    }
    fn outgoing_read(&self, reader: &ReaderSeen, now: Timestamp) -> Result<()> {
        outgoing::outgoing_read(self, reader, now)
    }
    fn outgoing_settle(&self, words: &[Receipt], now: Timestamp, jitter: u64) -> Result<u64> {
        outgoing::outgoing_settle(self, words, now, jitter)
    }
}

pub(super) fn source_list(store: &SqliteStore) -> Result<Vec<SourceInfo>> {
    store.read("list its sources", list)
}

const SOURCES: &str =
    "SELECT s.name, s.feed, s.epoch, s.own_epoch, s.position, s.head, s.oldest, s.compare,
        s.place, s.failures, s.last_error, s.last_attempt, s.last_contact, s.next_at, s.lines,
        (SELECT count(*) FROM parked_line AS l WHERE l.source = s.name), s.since
     FROM source AS s";

pub(super) fn list(conn: &Connection) -> Result<Vec<SourceInfo>> {
    let own = status::site_info(conn)?.epoch;
    status::list(conn, &format!("{SOURCES} ORDER BY s.name"), [], |row| read(row, own))
}

fn source_get(store: &SqliteStore, name: &SiteId) -> Result<Option<SourceInfo>> {
    store.read("look at a source", |conn| {
        let own = status::site_info(conn)?.epoch;
        let mut statement = conn.prepare_cached(&format!("{SOURCES} WHERE s.name = ?1"))?;
        Ok(statement.query_row([name.as_str()], |row| read(row, own)).optional()?)
    })
}

fn read(row: &Row<'_>, own: Epoch) -> rusqlite::Result<SourceInfo> {
    let position = row.get(4)?;
    let is_ours = row.get::<_, Option<[u8; 16]>>(3)? == Some(*own.as_bytes());
    let mark = match row.get::<_, Option<[u8; 16]>>(1)? {
        Some(_) if is_ours => {
            Some(SourceMark { feed: rows::feed_id(row, 1)?, epoch: rows::epoch(row, 2)?, position })
        }
        _ => None,
    };
    Ok(SourceInfo {
        name: rows::site_id(row, 0)?,
        mark,
        position,
        head: row.get(5)?,
        oldest: rows::time_option(row, 6)?,
        compare: row.get(7)?,
        place: row.get(8)?,
        failures: row.get(9)?,
        last_error: row.get(10)?,
        last_attempt: rows::time_option(row, 11)?,
        last_contact: rows::time_option(row, 12)?,
        next_at: rows::time_option(row, 13)?,
        lines: row.get(14)?,
        parked: row.get(15)?,
        since: rows::time_option(row, 16)?,
    })
}

pub(super) fn source_note(
    store: &SqliteStore,
    name: &SiteId,
    event: &SourceEvent,
    now: Timestamp,
) -> Result<()> {
    let at = now.millis();
    store.write("note how a source stands", |step| {
        step.prepare_cached(
            "INSERT INTO source (name, since) VALUES (?1, ?2)
             ON CONFLICT (name) DO UPDATE SET since = coalesce(since, excluded.since)",
        )?
        .execute(params![name.as_str(), at])?;
        match event {
            SourceEvent::Begin { feed, epoch } => begin(step, name, (feed, epoch), now)?,
            SourceEvent::Compared(up_to) => {
                let up_to = up_to.as_ref().map(RecordRef::to_string);
                step.prepare_cached("UPDATE source SET compare = ?2 WHERE name = ?1")?
                    .execute(params![name.as_str(), up_to])?;
            }
            SourceEvent::Again => {
                step.prepare_cached(
                    "UPDATE source SET feed = NULL, epoch = NULL, own_epoch = NULL, place = NULL
                     WHERE name = ?1",
                )?
                .execute([name.as_str()])?;
                let (actor, detail) = ("operator".to_owned(), String::new());
                let (action, subject) = ("source-again", name.to_string());
                audit::append(step, &AuditRow { actor, action, subject, detail }, now)?;
            }
            SourceEvent::Contact { head, oldest, next } => {
                let oldest = oldest.map(Timestamp::millis);
                step.prepare_cached(
                    "UPDATE source SET head = ?2, oldest = ?3, next_at = ?4, failures = 0,
                        last_error = NULL, last_attempt = ?5, last_contact = ?5
                     WHERE name = ?1",
                )?
                .execute(params![
                    name.as_str(),
                    head,
                    oldest,
                    next.millis(),
                    at
                ])?;
            }
            SourceEvent::Failure { error, next } => {
                step.prepare_cached(
                    "UPDATE source SET failures = failures + 1, last_error = ?2, next_at = ?3,
                        last_attempt = ?4
                     WHERE name = ?1",
                )?
                .execute(params![name.as_str(), error, next.millis(), at])?;
            }
        }
        Ok(())
    })
}

/// A feed is read from its beginning, and compared after.
fn begin(
    step: &Connection,
    name: &SiteId,
    (feed, epoch): (&FeedId, &Epoch),
    now: Timestamp,
) -> Result<()> {
    step.prepare_cached(
        "UPDATE source SET feed = ?2, epoch = ?3, own_epoch = (SELECT epoch FROM site),
            position = 0, compare = ''
         WHERE name = ?1",
    )?
    .execute(params![name.as_str(), feed.as_bytes(), epoch.as_bytes()])?;
    let (actor, detail) = ("tributary".to_owned(), format!("epoch {epoch}"));
    let (action, subject) = ("source-begin", name.to_string());
    audit::append(step, &AuditRow { actor, action, subject, detail }, now)
}

/// Where the marker of a source stands. Refuses where that is not where the reader thinks: then
/// somebody else reads the same source, and what this one has may be older.
pub(super) fn position(
    step: &Connection,
    (name, epoch): (&SiteId, &Epoch),
    reading: &Reading,
) -> Result<u64> {
    let found: Option<u64> = step
        .prepare_cached("SELECT position FROM source WHERE name = ?1 AND feed = ?2 AND epoch = ?3")?
        .query_row(params![name.as_str(), reading.feed.as_bytes(), epoch.as_bytes()], |row| {
            row.get(0)
        })
        .optional()?;
    found.filter(|position| *position == reading.after).ok_or(StoreError::Raced)
}

/// Moves the marker of a source on, in the transaction that applied the lines before it.
pub(super) fn advance(step: &Connection, name: &SiteId, position: u64, lines: usize) -> Result<()> {
    step.prepare_cached("UPDATE source SET position = ?2, lines = lines + ?3 WHERE name = ?1")?
        .execute(params![name.as_str(), position, lines])?;
    Ok(())
}

pub(super) fn source_unknown(
    store: &SqliteStore,
    name: &SiteId,
    page: &[(RecordRef, ShortDigest)],
) -> Result<Vec<RecordRef>> {
    store.read("compare with a source", |conn| {
        let mut unknown = Vec::new();
        let mut parked = conn.prepare_cached(
            "SELECT 1 FROM parked_line_record AS lr JOIN parked_line AS l ON l.key = lr.line
             WHERE lr.record = ?1 AND l.source = ?2",
        )?;
        for (record, short) in page {
            let is_known = match rows::record_row(conn, record)? {
                Some(row) => with_short(conn, &row, *short)?.is_some(),
                // What was deleted there and never was here is of no use to anybody.
                None => *short == Digest::of_deletion(record).short(),
            };
            if !is_known && !parked.exists(params![record.to_string(), name.as_str()])? {
                unknown.push(record.clone());
            }
        }
        Ok(unknown)
    })
}
