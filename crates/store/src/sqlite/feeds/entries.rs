//! Entries of a feed as they stand in its table. Nothing that can change later goes into them.

use std::collections::BTreeSet;

use protocol::feed::EntryKind;
use protocol::resource::Record;
use protocol::{Author, ChangeId, Limits};
use rusqlite::{CachedStatement, Row, params};

use super::*;
use crate::sqlite::records::body_text;

/// A row of `feed_entry` with what its change says.
#[derive(Debug)]
pub(super) struct EntryRow {
    pub(super) position: u64,
    pub(super) kind: EntryKind,
    /// Of the change; for join and leave the site's at the time.
    pub(super) sequence: u64,
    /// When this site recorded it.
    pub(super) at: Timestamp,
    /// Of a join or leave.
    pub(super) patient: Option<(i64, RecordRef)>,
    pub(super) reason: Option<String>,
    pub(super) id: Option<ChangeId>,
    /// The site where the change was made, or that brought it, where that is known.
    pub(super) origin: Option<SiteId>,
    pub(super) author: Option<Author>,
    /// When the change was made, by the clock of its origin.
    pub(super) made: Option<Timestamp>,
}

const ENTRIES: &str = "SELECT e.position, e.kind, e.sequence, e.at, e.patient, p.id, e.reason,
     o.site, o.epoch, c.number, c.author, c.at, w.site
     FROM feed_entry AS e
     LEFT JOIN patient AS p ON p.key = e.patient
     LEFT JOIN change AS c ON e.kind = 0 AND c.sequence = e.sequence
     LEFT JOIN origin AS o ON o.key = c.origin
     LEFT JOIN origin AS w ON w.key = c.via_site
     WHERE e.feed = ?1 AND e.position > ?2 AND e.position <= ?3";

/// Entries after `?2` up to `?3` of feed `?1`, in order.
pub(super) fn all(conn: &Connection) -> Result<CachedStatement<'_>> {
    Ok(conn.prepare_cached(&format!("{ENTRIES} ORDER BY e.position"))?)
}

/// As above, the joins only.
pub(super) fn joins(conn: &Connection) -> Result<CachedStatement<'_>> {
    Ok(conn.prepare_cached(&format!("{ENTRIES} AND e.kind = 1 ORDER BY e.position"))?)
}

impl EntryRow {
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<EntryRow> {
        let kind = match row.get(1)? {
            0 => EntryKind::Change,
            1 => EntryKind::Join,
            _ => EntryKind::Leave,
        };
        let patient = match row.get::<_, Option<i64>>(4)? {
            Some(key) => Some((key, rows::patient_ref(row, 5)?)),
            None => None,
        };
        let id = match row.get::<_, Option<u64>>(9)? {
            Some(number) => Some(ChangeId {
                origin: rows::site_id(row, 7)?,
                epoch: rows::epoch(row, 8)?,
                number,
            }),
            None => None,
        };
        let via = if row.get_ref(12)?.as_str_or_null()?.is_some() {
            Some(rows::site_id(row, 12)?)
        } else {
            None
        };
        Ok(EntryRow {
            position: row.get(0)?,
            kind,
            sequence: row.get(2)?,
            at: rows::time(row, 3)?,
            patient,
            reason: row.get(6)?,
            origin: id.as_ref().map(|id| id.origin.clone()).or(via),
            id,
            author: row.get_ref(10)?.as_str_or_null()?.map(Author::new),
            made: rows::time_option(row, 11)?,
        })
    }
}

/// The patients of a change, in order of their ids.
pub(super) fn change_patients(conn: &Connection, sequence: u64) -> Result<Vec<(i64, RecordRef)>> {
    let mut statement = conn.prepare_cached(
        "SELECT p.key, p.id FROM change_patient AS cp CROSS JOIN patient AS p ON p.key = cp.patient
         WHERE cp.sequence = ?1 ORDER BY p.id",
    )?;
    let found =
        statement.query_map([sequence], |row| Ok((row.get(0)?, rows::patient_ref(row, 1)?)))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// The patients of a record by its versions up to `sequence`: those of the `count` newest that
/// have a body. Reads bodies, so it is for the rare record whose patients have to be known as
/// they were.
pub(super) fn patients_then(
    conn: &Connection,
    record: i64,
    sequence: u64,
    count: u32,
    limits: &Limits,
) -> Result<BTreeSet<RecordRef>> {
    // What was taken under wider limits is to be read under narrower ones.
    let limits = Limits { resource_bytes: usize::MAX, ..limits.clone() };
    let mut statement = conn.prepare_cached(
        "SELECT body FROM version WHERE record = ?1 AND sequence <= ?2 AND body IS NOT NULL
         ORDER BY sequence DESC LIMIT ?3",
    )?;
    let mut rows = statement.query(params![record, sequence, count])?;
    let mut patients = BTreeSet::new();
    while let Some(row) = rows.next()? {
        let body = body_text(row, 0)?.unwrap_or_default();
        if let Ok(record) = Record::parse(body.as_bytes(), &limits) {
            patients.extend(record.patients);
        }
    }
    Ok(patients)
}
