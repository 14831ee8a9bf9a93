//! One change of a timeline: which of its records are the patient's, and what became of them.

use protocol::diff::{self, ElementChange};
use protocol::{ChangeId, RecordRef};
use rusqlite::{OptionalExtension, params};

use super::super::former;
use super::super::records::body_text;
use super::super::scope::Sight;
use super::super::*;

/// Who makes what merges come to.
const MERGE_AUTHOR: &str = "tributary";

/// A change, as far as it is about the patient and `sight` reaches; `None` where nothing is left
/// of it. `room` is how many elements the page may still show.
pub(super) fn entry(
    reading: &Reading<'_>,
    sequence: u64,
    room: &mut usize,
) -> Result<Option<TimelineEntry>> {
    let (mut entry, is_merge) = envelope(reading.conn, sequence)?;
    let TimelineEvent::Change(change) = &mut entry.event else { return Ok(None) };
    for version in versions(reading, sequence)? {
        let Some(mut record) = reading.told(&version, is_merge)? else { continue };
        if *room == 0 {
            change.more = true;
            break;
        }
        change.more |= record.elements.len() > *room;
        record.elements.truncate(*room);
        *room = room.saturating_sub(record.elements.len().max(1));
        change.records.push(record);
    }
    Ok((!change.records.is_empty()).then_some(entry))
}

/// The change without its records, and whether it may be what merges came to.
fn envelope(conn: &Connection, sequence: u64) -> Result<(TimelineEntry, bool)> {
    let mut statement = conn.prepare_cached(
        "SELECT o.site, o.epoch, c.number, c.via, v.site, c.author, c.at, c.recorded
         FROM change AS c LEFT JOIN origin AS o ON o.key = c.origin
         LEFT JOIN origin AS v ON v.key = c.via_site WHERE c.sequence = ?1",
    )?;
    Ok(statement.query_row([sequence], |row| {
        let origin = row.get::<_, Option<String>>(0)?.map(|_| rows::site_id(row, 0)).transpose()?;
        let id = match (&origin, row.get::<_, Option<u64>>(2)?) {
            (Some(origin), Some(number)) => {
                let epoch = rows::epoch(row, 1)?;
                Some(ChangeId { origin: origin.clone(), epoch, number }.to_string())
            }
            _ => None,
        };
        let via = match row.get::<_, u8>(3)? {
            0 => TimelineVia::Here,
            1 => TimelineVia::Parent,
            _ => TimelineVia::Child,
        };
        let child = row.get::<_, Option<String>>(4)?.map(|_| rows::site_id(row, 4)).transpose()?;
        let author: String = row.get(5)?;
        let is_merge = via == TimelineVia::Here && author == MERGE_AUTHOR;
        let change = TimelineChange {
            id,
            origin,
            author,
            at: rows::time(row, 6)?,
            via,
            child,
            records: Vec::new(),
            more: false,
        };
        let recorded = rows::time(row, 7)?;
        let event = TimelineEvent::Change(change);
        Ok((TimelineEntry { sequence, recorded, event }, is_merge))
    })?)
}

/// A version that a change made.
struct Version {
    record: i64,
    name: RecordRef,
    sequence: u64,
    previous: Option<u64>,
}

/// The versions that a change made, of records that `sight` reaches now.
fn versions(reading: &Reading<'_>, sequence: u64) -> Result<Vec<Version>> {
    let sql = format!(
        "SELECT r.type, r.id, r.key, v.previous
         FROM version AS v CROSS JOIN record AS r ON r.key = v.record
         WHERE v.sequence = ?1 AND {} ORDER BY v.key",
        reading.sight.condition("r")
    );
    let mut statement = reading.conn.prepare_cached(&sql)?;
    let found = statement.query_map([sequence], |row| {
        Ok(Version {
            record: row.get(2)?,
            name: rows::record_ref(row, 0)?,
            sequence,
            previous: row.get(3)?,
        })
    })?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// A state of a record, and whether the reader may see it.
struct Then {
    sequence: u64,
    body: Option<String>,
    /// Whether it was the patient's whose timeline is read.
    is_theirs: bool,
    is_seen: bool,
}

/// Who reads whose timeline.
pub(super) struct Reading<'a> {
    pub(super) conn: &'a Connection,
    /// The patient's key.
    pub(super) patient: i64,
    pub(super) sight: &'a Sight,
}

impl Reading<'_> {
    fn then(&self, version: &Version, sequence: u64) -> Result<Option<Then>> {
        let sql = format!(
            "SELECT v.body, {} FROM version AS v CROSS JOIN record AS r ON r.key = v.record
             WHERE v.record = ?1 AND v.sequence = ?2",
            self.sight.version("r", "v")
        );
        let mut statement = self.conn.prepare_cached(&sql)?;
        let found = statement
            .query_row(params![version.record, sequence], |row| {
                Ok(body_text(row, 0).map(|body| (body, row.get(1))))
            })
            .optional()?;
        let Some((body, is_seen)) = found.transpose()? else { return Ok(None) };
        let patients = former::patients_of(self.conn, version.record, sequence)?;
        let is_theirs = patients.contains(&self.patient);
        Ok(Some(Then { sequence, body, is_theirs, is_seen: is_seen? }))
    }

    /// What the timeline says of one version; `None` where it is not the patient's.
    fn told(&self, version: &Version, is_merge: bool) -> Result<Option<RecordChange>> {
        let Some(after) = self.then(version, version.sequence)? else { return Ok(None) };
        let before = match version.previous {
            Some(sequence) => self.then(version, sequence)?,
            None => None,
        };
        let was_theirs = before.as_ref().is_some_and(|then| then.is_theirs);
        if !after.is_theirs && !was_theirs {
            return Ok(None);
        }
        let merged = match &before {
            Some(_) if !is_merge => self.result_of_merge(version)?,
            _ => None,
        };
        let is_merge = is_merge && is_first_after_incoming(self.conn, version)?;
        let what = match &before {
            None => RecordStep::Created,
            Some(_) if !was_theirs => RecordStep::MovedHere,
            Some(_) if !after.is_theirs => RecordStep::MovedAway,
            Some(_) if merged.is_some() => RecordStep::Merging,
            Some(_) if is_merge => RecordStep::Merged,
            Some(_) if after.body.is_none() => RecordStep::Deleted,
            Some(before) if before.body.is_none() => RecordStep::Restored,
            Some(before) if before.body == after.body => RecordStep::Again,
            Some(_) => RecordStep::Updated,
        };
        let after = merged.filter(|_| what == RecordStep::Merging).unwrap_or(after);
        let before = before.filter(|then| then.is_seen);
        // What became of a record at another patient is for who may see that patient.
        let elements = match after.is_seen {
            true => elements(before.as_ref(), &after)?,
            false => Vec::new(),
        };
        Ok(Some(RecordChange {
            record: version.name.clone(),
            what,
            from_version: before.map(|then| then.sequence),
            to_version: after.sequence,
            elements,
        }))
    }

    /// What a merge made of a version that came in: the version right after it, written by us.
    fn result_of_merge(&self, version: &Version) -> Result<Option<Then>> {
        let next = version.sequence + 1;
        let is_merged = self
            .conn
            .prepare_cached(
                "SELECT 1 FROM change AS came
                 CROSS JOIN change AS result ON result.sequence = came.sequence + 1
                 CROSS JOIN version AS v ON v.record = ?2 AND v.sequence = result.sequence
                 WHERE came.sequence = ?1 AND came.via <> 0
                    AND result.via = 0 AND result.author = ?3",
            )?
            .exists(params![version.sequence, version.record, MERGE_AUTHOR])?;
        if is_merged { self.then(version, next) } else { Ok(None) }
    }
}

fn elements(before: Option<&Then>, after: &Then) -> Result<Vec<ElementChange>> {
    let before = before.and_then(|then| then.body.as_deref());
    Ok(diff::elements(before, after.body.as_deref())?)
}

/// Whether the version before came in with the change right before this one, over an older one.
fn is_first_after_incoming(conn: &Connection, version: &Version) -> Result<bool> {
    if version.previous != version.sequence.checked_sub(1) {
        return Ok(false);
    }
    Ok(conn
        .prepare_cached(
            "SELECT 1 FROM version AS v CROSS JOIN change AS c ON c.sequence = v.sequence
             WHERE v.record = ?1 AND v.sequence = ?2 AND v.previous IS NOT NULL AND c.via <> 0",
        )?
        .exists(params![version.record, version.previous])?)
}
