//! One change of a timeline: which of its records are the patient's, and what became of them.

use std::collections::BTreeSet;

use protocol::diff::{self, ElementChange};
use protocol::resource::compartment;
use protocol::{ChangeId, RecordRef, json};
use rusqlite::{OptionalExtension, params};

use super::super::records::body_text;
use super::super::scope::Sight;
use super::super::*;
use crate::StoreError;

/// Who makes what merges come to.
const MERGE_AUTHOR: &str = "tributary";

/// A change, as far as it is about the patient and `sight` reaches; `None` where nothing is left
/// of it. `room` is how many elements the page may still show.
pub(super) fn entry(
    conn: &Connection,
    patient: &RecordRef,
    sequence: u64,
    sight: &Sight,
    room: &mut usize,
) -> Result<Option<TimelineEntry>> {
    let (mut entry, is_merge) = envelope(conn, sequence)?;
    let TimelineEvent::Change(change) = &mut entry.event else { return Ok(None) };
    for version in versions(conn, sequence, sight)? {
        let Some(mut record) = told(conn, &version, patient, sight, is_merge)? else { continue };
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
    /// The record's newest version.
    newest: u64,
}

/// The versions that a change made, of records that `sight` reaches now.
fn versions(conn: &Connection, sequence: u64, sight: &Sight) -> Result<Vec<Version>> {
    let sql = format!(
        "SELECT r.type, r.id, r.key, v.previous, r.sequence
         FROM version AS v CROSS JOIN record AS r ON r.key = v.record
         WHERE v.sequence = ?1 AND {} ORDER BY v.key",
        sight.condition("r")
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let found = statement.query_map([sequence], |row| {
        Ok(Version {
            record: row.get(2)?,
            name: rows::record_ref(row, 0)?,
            sequence,
            previous: row.get(3)?,
            newest: row.get(4)?,
        })
    })?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// A state of a record, and whose it was then.
struct Then {
    sequence: u64,
    body: Option<String>,
    patients: BTreeSet<RecordRef>,
}

impl Then {
    /// Whether `sight` reaches one of the patients of this state, or it was nobody's.
    fn is_seen(&self, conn: &Connection, version: &Version, sight: &Sight) -> Result<bool> {
        if *sight == Sight::Everything
            || self.patients.is_empty() && version.name.kind.is_reference()
        {
            return Ok(true);
        }
        for patient in &self.patients {
            if sight.sees(conn, patient)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn then(conn: &Connection, version: &Version, sequence: u64) -> Result<Option<Then>> {
    let mut statement =
        conn.prepare_cached("SELECT body FROM version WHERE record = ?1 AND sequence = ?2")?;
    let found = statement
        .query_row(params![version.record, sequence], |row| Ok(body_text(row, 0)))
        .optional()?;
    let Some(body) = found.transpose()? else { return Ok(None) };
    let patients = match &body {
        Some(body) => patients_of(&version.name, body)?,
        None => patients_of_deleted(conn, version, sequence)?,
    };
    Ok(Some(Then { sequence, body, patients }))
}

fn patients_of(name: &RecordRef, body: &str) -> Result<BTreeSet<RecordRef>> {
    let resource = json::parse(body.as_bytes(), json::DEPTH_MAX)
        .map_err(|_| StoreError::Damaged(format!("a version of {name} cannot be read")))?;
    Ok(compartment::patients(name, &resource))
}

/// A deleted record keeps the patients it had, unless who deleted it knew better.
fn patients_of_deleted(
    conn: &Connection,
    version: &Version,
    sequence: u64,
) -> Result<BTreeSet<RecordRef>> {
    if sequence != version.newest {
        let mut statement = conn.prepare_cached(
            "SELECT body FROM version WHERE record = ?1 AND sequence < ?2 AND body IS NOT NULL
             ORDER BY sequence DESC LIMIT 1",
        )?;
        let found = statement
            .query_row(params![version.record, sequence], |row| Ok(body_text(row, 0)))
            .optional()?;
        if let Some(body) = found.transpose()?.flatten() {
            return patients_of(&version.name, &body);
        }
    }
    let mut statement = conn.prepare_cached(
        "SELECT p.id FROM record_patient AS rp CROSS JOIN patient AS p ON p.key = rp.patient
         WHERE rp.record = ?1",
    )?;
    let found = statement.query_map([version.record], |row| rows::patient_ref(row, 0))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// What the timeline says of one version; `None` where it is not the patient's.
fn told(
    conn: &Connection,
    version: &Version,
    patient: &RecordRef,
    sight: &Sight,
    is_merge: bool,
) -> Result<Option<RecordChange>> {
    let Some(after) = then(conn, version, version.sequence)? else { return Ok(None) };
    let before = match version.previous {
        Some(sequence) => then(conn, version, sequence)?,
        None => None,
    };
    let is_theirs = after.patients.contains(patient);
    let was_theirs = before.as_ref().is_some_and(|then| then.patients.contains(patient));
    if !is_theirs && !was_theirs {
        return Ok(None);
    }
    let merged = match &before {
        Some(_) if !is_merge => result_of_merge(conn, version)?,
        _ => None,
    };
    let is_merge = is_merge && is_first_after_incoming(conn, version)?;
    let what = match &before {
        None => RecordStep::Created,
        Some(_) if !was_theirs => RecordStep::MovedHere,
        Some(_) if !is_theirs => RecordStep::MovedAway,
        Some(_) if merged.is_some() => RecordStep::Merging,
        Some(_) if is_merge => RecordStep::Merged,
        Some(_) if after.body.is_none() => RecordStep::Deleted,
        Some(before) if before.body.is_none() => RecordStep::Restored,
        Some(before) if before.body == after.body => RecordStep::Again,
        Some(_) => RecordStep::Updated,
    };
    let after = merged.filter(|_| what == RecordStep::Merging).unwrap_or(after);
    let before = match before {
        Some(before) if before.is_seen(conn, version, sight)? => Some(before),
        _ => None,
    };
    // What became of a record at another patient is for who may see that patient.
    let elements = match after.is_seen(conn, version, sight)? {
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

fn elements(before: Option<&Then>, after: &Then) -> Result<Vec<ElementChange>> {
    let before = before.and_then(|then| then.body.as_deref());
    Ok(diff::elements(before, after.body.as_deref())?)
}

/// What a merge made of a version that came in: the version right after it, written by us.
fn result_of_merge(conn: &Connection, version: &Version) -> Result<Option<Then>> {
    let next = version.sequence + 1;
    let is_merged = conn
        .prepare_cached(
            "SELECT 1 FROM change AS came
             CROSS JOIN change AS result ON result.sequence = came.sequence + 1
             CROSS JOIN version AS v ON v.record = ?2 AND v.sequence = result.sequence
             WHERE came.sequence = ?1 AND came.via <> 0
                AND result.via = 0 AND result.author = ?3",
        )?
        .exists(params![version.sequence, version.record, MERGE_AUTHOR])?;
    if is_merged { then(conn, version, next) } else { Ok(None) }
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
