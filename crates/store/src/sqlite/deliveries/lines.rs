//! The line of one turn: the latest bodies of its records, without those that the parent holds.

use std::collections::BTreeSet;

use protocol::digest::ShortDigest;
use protocol::feed::EntryKind;
use protocol::stream::{Base, OutLine, OutRecord};
use protocol::{Author, ChangeId, Digest, Limits, RecordRef, Timestamp};
use rusqlite::{Connection, Row, params};

use super::turns::Turn;
use crate::sqlite::{body, rows};
use crate::{PushLine, Result};

/// Bytes of a line beside its records, and of a record beside its body, at the most.
const LINE_EXTRA: usize = 1_024;
const RECORD_EXTRA: usize = 256;
/// Bytes of one number or one patient in the envelope.
const LISTED_EXTRA: usize = 90;

/// The line in its parts, and about how many bytes it has.
pub(in crate::sqlite) fn build(
    conn: &Connection,
    turn: &Turn,
    limits: &Limits,
) -> Result<(PushLine, usize)> {
    build_within(conn, turn, limits, usize::MAX)
}

/// As above, of as many of the turn's first changes as come to about `most` bytes, and of one at
/// least: what one request cannot carry goes in those after it, in its order.
pub(super) fn build_within(
    conn: &Connection,
    turn: &Turn,
    limits: &Limits,
    most: usize,
) -> Result<(PushLine, usize)> {
    let found = Records::of(conn, &turn.changes, &mut BTreeSet::new(), most)?;
    line_of(conn, turn, limits, found)
}

/// As `build`, without the records (keys) that were said before, which it adds to.
pub(in crate::sqlite) fn build_after(
    conn: &Connection,
    turn: &Turn,
    limits: &Limits,
    said: &mut BTreeSet<i64>,
) -> Result<(PushLine, usize)> {
    let found = Records::of(conn, &turn.changes, said, usize::MAX)?;
    line_of(conn, turn, limits, found)
}

fn line_of(
    conn: &Connection,
    turn: &Turn,
    limits: &Limits,
    found: Records,
) -> Result<(PushLine, usize)> {
    let Records { records, sent, changes } = found;
    let covered = &turn.changes[..changes];
    let last = covered.last().map_or(0, |(sequence, _)| *sequence);
    let (author, at) = author_of(conn, last)?;
    let numbers = covered.iter().map(|(_, number)| *number).collect::<Vec<_>>();
    let (origin, epoch) = conn
        .prepare_cached("SELECT site, epoch FROM origin WHERE key = ?1")?
        .query_row([turn.origin], |row| Ok((rows::site_id(row, 0)?, rows::epoch(row, 1)?)))?;
    let number = numbers.last().copied().unwrap_or(0);
    let patients = patients_of(conn, last)?;
    let envelope = LINE_EXTRA + LISTED_EXTRA * (numbers.len() + patients.len());
    let line = OutLine {
        position: None,
        kind: EntryKind::Change,
        id: Some(ChangeId { origin, epoch, number }),
        covers: if numbers.len() > 1 { numbers } else { Vec::new() },
        part: None,
        author: Some(author),
        at: Some(at),
        patients,
        reason: None,
        records: Vec::new(),
    };
    let size = envelope + records.iter().map(size_of).sum::<usize>();
    let lines = in_parts(line, records, limits.line_bytes.saturating_sub(envelope));
    let deliveries = covered.iter().map(|(sequence, _)| *sequence).collect();
    Ok((PushLine { lines, deliveries, sent, lane: turn.lane }, size))
}

fn author_of(conn: &Connection, sequence: u64) -> Result<(Author, Timestamp)> {
    Ok(conn
        .prepare_cached("SELECT author, at FROM change WHERE sequence = ?1")?
        .query_row([sequence], |row| {
            Ok((Author::new(row.get_ref(0)?.as_str()?), rows::time(row, 1)?))
        })?)
}

fn patients_of(conn: &Connection, sequence: u64) -> Result<Vec<RecordRef>> {
    let mut statement = conn.prepare_cached(
        "SELECT p.id FROM change_patient AS cp JOIN patient AS p ON p.key = cp.patient
         WHERE cp.sequence = ?1 ORDER BY p.id",
    )?;
    let found = statement.query_map([sequence], |row| rows::patient_ref(row, 0))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// Which state of which record is sent.
type Sent = (RecordRef, Digest);

/// What goes of a turn.
struct Records {
    /// In the order in which they first came, with their latest state.
    records: Vec<OutRecord>,
    /// Which states these are.
    sent: Vec<Sent>,
    /// Of how many of the changes.
    changes: usize,
}

impl Records {
    /// The records of the first changes that come to about `most` bytes; of one change at least.
    fn of(
        conn: &Connection,
        changes: &[(u64, u64)],
        seen: &mut BTreeSet<i64>,
        most: usize,
    ) -> Result<Records> {
        let mut all = Records { records: Vec::new(), sent: Vec::new(), changes: 0 };
        let mut size = 0;
        for (sequence, _) in changes {
            let one = of_change(conn, *sequence, seen)?;
            size +=
                LISTED_EXTRA + one.iter().map(|(_, (record, _))| size_of(record)).sum::<usize>();
            if size > most && all.changes > 0 {
                // They are said with a later line.
                for (key, _) in &one {
                    seen.remove(key);
                }
                break;
            }
            all.changes += 1;
            for (_, (record, state)) in one {
                all.records.push(record);
                all.sent.push(state);
            }
        }
        Ok(all)
    }
}

/// The records of one change, by their keys, that were not seen before and that the parent lacks.
fn of_change(
    conn: &Connection,
    sequence: u64,
    seen: &mut BTreeSet<i64>,
) -> Result<Vec<(i64, (OutRecord, Sent))>> {
    let mut statement = conn.prepare_cached(
        "SELECT r.type, r.id, r.digest, r.parent_digest, latest.body, r.key, r.base_below,
            (SELECT min(sequence) FROM version AS first WHERE first.record = r.key)
         FROM version AS v
         CROSS JOIN record AS r ON r.key = v.record
         CROSS JOIN version AS latest
            ON latest.record = r.key AND latest.sequence = r.sequence
         WHERE v.sequence = ?1 ORDER BY v.key",
    )?;
    let mut found = statement.query(params![sequence])?;
    let mut records = Vec::new();
    while let Some(row) = found.next()? {
        let key = row.get(5)?;
        let held = rows::digest_option(row, 3)? == Some(rows::digest(row, 2)?);
        if seen.insert(key) && (!held || may_have_gone_out(conn, key)?) {
            records.push((key, record(row)?));
        }
    }
    Ok(records)
}

/// Whether another state of a record than the one that stands here is on its way: the parent may
/// have taken it, and we have not heard. What was undone here has to be undone there.
fn may_have_gone_out(conn: &Connection, record: i64) -> Result<bool> {
    let sql = "SELECT 1 FROM record AS r CROSS JOIN version AS v ON v.record = r.key
         CROSS JOIN delivery AS d ON d.target = 'parent' AND d.sequence = v.sequence
         WHERE r.key = ?1 AND v.digest <> r.digest AND d.state <> 'done'";
    Ok(conn.prepare_cached(sql)?.exists([record])?)
}

fn record(row: &Row<'_>) -> Result<(OutRecord, Sent)> {
    let (reference, digest) = (rows::record_ref(row, 0)?, rows::digest(row, 2)?);
    let parent = rows::digest_option(row, 3)?;
    let below = row.get::<_, Option<[u8; 8]>>(6)?.filter(|_| parent.is_none());
    let base = Some(Base {
        digest: parent.map(|digest| digest.short()).or(below.map(ShortDigest)),
        relayed: below.is_some(),
        // Versions go only with their record: the first is where this site began to hold it.
        since: row.get(7)?,
    });
    let state = (reference.clone(), digest);
    let record = match row.get::<_, Option<Vec<u8>>>(4)? {
        Some(bytes) => {
            let body = body::decode(&bytes)?;
            OutRecord::Resource { reference, body, digest, base }
        }
        None => OutRecord::Deleted { reference, base },
    };
    Ok((record, state))
}

fn size_of(record: &OutRecord) -> usize {
    match record {
        OutRecord::Resource { body, .. } => body.len() + RECORD_EXTRA,
        OutRecord::Deleted { .. } | OutRecord::Held(_) | OutRecord::Left(_) => RECORD_EXTRA,
    }
}

/// Cuts the records so that each part is at most about `room` bytes; at least one record each.
fn in_parts(line: OutLine, records: Vec<OutRecord>, room: usize) -> Vec<OutLine> {
    let mut parts: Vec<Vec<OutRecord>> = vec![Vec::new()];
    let mut left = room;
    for record in records {
        let size = size_of(&record);
        let current = parts.last_mut().expect("there is always a part");
        if size > left && !current.is_empty() {
            parts.push(vec![record]);
            left = room.saturating_sub(size);
        } else {
            current.push(record);
            left = left.saturating_sub(size);
        }
    }
    let count = u32::try_from(parts.len()).unwrap_or(u32::MAX);
    let numbered = (1..=count).zip(parts);
    numbered
        .map(|(number, records)| OutLine {
            part: (count > 1).then_some((number, count)),
            records,
            ..line.clone()
        })
        .collect()
}
