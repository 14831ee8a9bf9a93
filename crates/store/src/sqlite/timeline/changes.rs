//! One change of a timeline: which of its records are the patient's, and what became of them.

use std::collections::BTreeSet;

use protocol::diff::{self, ElementChange};
use protocol::resource::replaced::{self, Moves};
use protocol::{ChangeId, RecordRef, conflict};
use rusqlite::{OptionalExtension, params};

use super::super::former;
use super::super::records::body_text;
use super::super::scope::Sight;
use super::super::*;
use super::conflicts;

/// Who makes what merges come to.
const MERGE_AUTHOR: &str = "tributary";
/// Versions of a Patient that are looked at for who replaced it.
const VERSIONS: u32 = 16;

/// A change, as far as it is about the patient and `sight` reaches; `None` where nothing is left
/// of it. `room` is how many elements the page may still show.
pub(super) fn entry(
    reading: &Reading<'_>,
    sequence: u64,
    room: &mut usize,
) -> Result<Option<TimelineEntry>> {
    let mut entry = envelope(reading.conn, sequence)?;
    let TimelineEvent::Change(change) = &mut entry.event else { return Ok(None) };
    let maker = match (change.author.as_str(), change.via) {
        (MERGE_AUTHOR, TimelineVia::Here) => Maker::Merge,
        (MERGE_AUTHOR, _) => Maker::MergeElsewhere,
        (_, TimelineVia::Parent) => Maker::Above,
        _ => Maker::Anybody,
    };
    for version in versions(reading, sequence)? {
        let Some(mut record) = reading.told(&version, maker)? else { continue };
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

/// Whose a change is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Maker {
    /// This program's, here: it may be what a merge came to.
    Merge,
    /// This program's at another site.
    MergeElsewhere,
    /// Somebody's, from the parent, which told of it with the record's latest state: what this
    /// program made of the record there may be in it.
    Above,
    Anybody,
}

/// The change without its records.
fn envelope(conn: &Connection, sequence: u64) -> Result<TimelineEntry> {
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
        let change = TimelineChange {
            id,
            origin,
            author: row.get(5)?,
            at: rows::time(row, 6)?,
            via,
            child,
            records: Vec::new(),
            more: false,
        };
        let recorded = rows::time(row, 7)?;
        let event = TimelineEvent::Change(change);
        Ok(TimelineEntry { sequence, recorded, event })
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
    /// Whose it was.
    patients: BTreeSet<i64>,
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
        Ok(Some(Then { sequence, body, patients, is_theirs, is_seen: is_seen? }))
    }

    /// What the timeline says of one version; `None` where it is not the patient's.
    fn told(&self, version: &Version, maker: Maker) -> Result<Option<RecordChange>> {
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
            Some(_) if maker != Maker::Merge => self.result_of_merge(version, &after)?,
            _ => None,
        };
        let is_merge = maker == Maker::Merge && is_first_after_incoming(self.conn, version)?;
        let follows = match &before {
            Some(before) if maker == Maker::Above && self.was_replaced(before, &after)? => {
                self.followed(version, before, &after)?
            }
            Some(before) if matches!(maker, Maker::Merge | Maker::MergeElsewhere) => {
                self.followed(version, before, &after)?
            }
            _ => None,
        };
        let conflict = self.conflict(version, before.as_ref(), &after);
        let what = match (&conflict, &before) {
            (Some((step, _)), _) => *step,
            (_, None) => RecordStep::Created,
            (_, Some(_)) if follows.is_some() => RecordStep::Follows,
            (_, Some(_)) if !was_theirs => RecordStep::MovedHere,
            (_, Some(_)) if !after.is_theirs => RecordStep::MovedAway,
            (_, Some(_)) if merged.is_some() => RecordStep::Merging,
            (_, Some(_)) if is_merge => RecordStep::Merged,
            (_, Some(_)) if after.body.is_none() => RecordStep::Deleted,
            (_, Some(before)) if before.body.is_none() => RecordStep::Restored,
            (_, Some(before)) if before.body == after.body => RecordStep::Again,
            (_, Some(_)) => RecordStep::Updated,
        };
        let after = merged.filter(|_| what == RecordStep::Merging).unwrap_or(after);
        let before = before.filter(|then| then.is_seen);
        // What became of a record at another patient is for who may see that patient.
        let elements = match after.is_seen && conflict.is_none() {
            true => elements(before.as_ref(), &after)?,
            false => Vec::new(),
        };
        Ok(Some(RecordChange {
            record: version.name.clone(),
            what,
            follows,
            from_version: before.map(|then| then.sequence),
            to_version: after.sequence,
            elements,
            conflict: conflict.map(|(_, told)| told),
        }))
    }

    /// What became of a conflict, where the record is one and is the patient's.
    fn conflict(
        &self,
        version: &Version,
        before: Option<&Then>,
        after: &Then,
    ) -> Option<(RecordStep, ConflictTold)> {
        if !conflict::is_name(&version.name) || !after.is_theirs || !after.is_seen {
            return None;
        }
        let before = before.filter(|then| then.is_seen).and_then(|then| then.body.as_deref());
        conflicts::told(before, after.body.as_deref())
    }

    /// Whose a record is from now on, where nothing but its references to the patient whose it was
    /// has changed, and the reader may see both.
    fn followed(
        &self,
        version: &Version,
        before: &Then,
        after: &Then,
    ) -> Result<Option<RecordRef>> {
        let (Some(from), Some(to)) = (&before.body, &after.body) else { return Ok(None) };
        let mut gone = before.patients.difference(&after.patients).peekable();
        let mut new = after.patients.difference(&before.patients);
        let Some(winner) = new.next().or_else(|| after.patients.first()) else { return Ok(None) };
        if gone.peek().is_none() || new.next().is_some() || !before.is_seen || !after.is_seen {
            return Ok(None);
        }
        let winner = rows::patient_name(self.conn, *winner)?;
        let mut moves = Moves::new();
        for loser in gone {
            moves.insert(rows::patient_name(self.conn, *loser)?, winner.clone());
        }
        let moved = replaced::moved(version.name.kind, from, &moves)?;
        Ok((moved.as_ref() == Some(to)).then_some(winner))
    }

    /// Whether one of those whose a record was or is, and not both times, ever said to be replaced.
    fn was_replaced(&self, before: &Then, after: &Then) -> Result<bool> {
        for patient in before.patients.symmetric_difference(&after.patients) {
            let mut statement = self.conn.prepare_cached(
                "SELECT v.body FROM patient AS p
                 CROSS JOIN record AS r ON r.type = 'Patient' AND r.id = p.id
                 CROSS JOIN version AS v ON v.record = r.key
                 WHERE p.key = ?1 ORDER BY v.sequence DESC LIMIT ?2",
            )?;
            let mut found = statement.query(params![patient, VERSIONS])?;
            while let Some(row) = found.next()? {
                if body_text(row, 0)?.is_some_and(|body| body.contains("replaced-by")) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// What a merge made of a version that came in: the version right after it, written by us.
    /// Not where the record only followed its patient then.
    fn result_of_merge(&self, version: &Version, came: &Then) -> Result<Option<Then>> {
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
        let Some(result) = is_merged.then(|| self.then(version, next)).transpose()?.flatten()
        else {
            return Ok(None);
        };
        let follows = self.followed(version, came, &result)?.is_some();
        Ok((!follows).then_some(result))
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
