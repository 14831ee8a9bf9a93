//! One entry of a feed to the lines that tell a reader of it.

use protocol::feed::EntryKind;
use protocol::planted::{Fault, planted};
use protocol::stream::{Base, OutLine, OutRecord};
use protocol::{Digest, Limits, ResourceType, SiteId};
use rusqlite::{OptionalExtension, Row, ToSql, params};

use super::entries::{EntryRow, change_patients, patients_then};
use super::*;
use crate::sqlite::records::body_text;

/// Bytes of a line besides its records: about, and rather too many.
const LINE_BYTES: usize = 512;
/// Bytes of a record besides its body, and of a patient's name: likewise.
const RECORD_BYTES: usize = 112;
/// Versions that are looked at to see whether a record was in the cohort before: a record that
/// moves between patients more often than this is moved by a fault.
const MOVES: u32 = 16;

/// A record in its latest state, as far as a line needs it.
struct Latest {
    key: i64,
    reference: RecordRef,
    sequence: u64,
    digest: Digest,
    /// Whether there is a version before it.
    has_previous: bool,
    /// Which child brought it.
    via: Option<i64>,
}

const LATEST: &str =
    "r.key, r.type, r.id, r.sequence, r.digest, l.previous IS NOT NULL, c.via_site,
     l.body";
const LATEST_FROM: &str = "CROSS JOIN version AS l ON l.record = r.key AND l.sequence = r.sequence
     CROSS JOIN change AS c ON c.sequence = r.sequence";

impl Latest {
    fn read(row: &Row<'_>) -> rusqlite::Result<Latest> {
        Ok(Latest {
            key: row.get(0)?,
            reference: rows::record_ref(row, 1)?,
            sequence: row.get(3)?,
            digest: rows::digest(row, 4)?,
            has_previous: row.get(5)?,
            via: row.get(6)?,
        })
    }
}

/// Who reads: as an origin in its present life, where it has ever sent us something in that; and
/// its name.
pub(super) type Reader = (Option<i64>, Option<SiteId>);

pub(super) struct LineMaker<'a> {
    conn: &'a Connection,
    feed: &'a Feed,
    /// The sequence up to which the reader knows the feed.
    since: u64,
    /// The reader, as an origin, in its present life.
    reader: Option<i64>,
    /// The reader in any life of its store.
    site: Option<SiteId>,
    limits: &'a Limits,
    change_sql: String,
}

impl<'a> LineMaker<'a> {
    pub(super) fn new(
        conn: &'a Connection,
        feed: &'a Feed,
        since: u64,
        (reader, site): Reader,
        limits: &'a Limits,
    ) -> LineMaker<'a> {
        let change_sql = format!(
            "SELECT {LATEST}, v.previous, {}
             FROM version AS v CROSS JOIN record AS r ON r.key = v.record {LATEST_FROM}
             WHERE v.sequence = ?1 ORDER BY v.key",
            feed.entitled("r")
        );
        LineMaker { conn, feed, since, reader, site, limits, change_sql }
    }

    /// Appends what the live lane says of an entry; gives about how many bytes that is.
    pub(super) fn live(&self, entry: EntryRow, lines: &mut Vec<OutLine>) -> Result<usize> {
        if entry.kind != EntryKind::Change {
            if !self.is_newest(&entry)? {
                return Ok(0);
            }
            lines.push(line_of(entry));
            return Ok(LINE_BYTES);
        }
        let records = self.change_records(entry.sequence)?;
        if records.iter().all(|(record, _)| matches!(record, OutRecord::Held(_))) {
            return Ok(0);
        }
        let patients = self.patients(entry.sequence)?;
        let line = OutLine { patients, ..line_of(entry) };
        Ok(self.push(line, records, lines))
    }

    /// Appends what the bulk lane says of a join; gives about how many bytes that is.
    pub(super) fn bulk(&self, entry: EntryRow, lines: &mut Vec<OutLine>) -> Result<usize> {
        if !self.is_newest(&entry)? {
            return Ok(0);
        }
        let Some((patient, name)) = &entry.patient else { return Ok(0) };
        // Told even where the reader holds all of it: it has to know that the patient is its own.
        let left = self.has_left(*patient)?;
        let first = (!left).then_some(entry.position);
        let mut records = self.patient_records(*patient, left, first)?;
        if planted(Fault::JoinEmpty) {
            records.clear();
        }
        if left {
            records.extend(self.moved_away(*patient, name)?);
        }
        Ok(self.push(line_of(entry), records, lines))
    }

    /// Appends a join with the patient's whole record, whatever the reader may hold of it; gives
    /// about how many bytes that is.
    pub(super) fn whole(&self, join: EntryRow, lines: &mut Vec<OutLine>) -> Result<usize> {
        let Some((patient, name)) = &join.patient else { return Ok(0) };
        let mut records = self.patient_records(*patient, true, None)?;
        if self.has_left(*patient)? {
            records.extend(self.moved_away(*patient, name)?);
        }
        Ok(self.push(line_of(join), records, lines))
    }

    /// Whether a join or leave is the newest of its patient in this feed.
    fn is_newest(&self, entry: &EntryRow) -> Result<bool> {
        let Some((patient, _)) = &entry.patient else { return Ok(false) };
        let newest: Option<u64> = self
            .conn
            .prepare_cached(
                "SELECT max(joined, coalesce(\"left\", 0)) FROM cohort_patient
                 WHERE feed = ?1 AND patient = ?2",
            )?
            .query_row(params![self.feed.key, patient], |row| row.get(0))
            .optional()?;
        Ok(newest == Some(entry.position))
    }

    /// The patients of a change whom this feed's readers may know of: those it had when it was
    /// made, and those whom its records have now.
    fn patients(&self, sequence: u64) -> Result<Vec<RecordRef>> {
        match self.feed.kind {
            Kind::Reference => return Ok(Vec::new()),
            Kind::Outgoing => {
                let all = change_patients(self.conn, sequence)?;
                return Ok(all.into_iter().map(|(_, patient)| patient).collect());
            }
            Kind::Cohort => {}
        }
        let mut statement = self.conn.prepare_cached(
            "SELECT p.id FROM (
                SELECT patient FROM change_patient WHERE sequence = ?2
                UNION
                SELECT rp.patient FROM version AS v
                CROSS JOIN record_patient AS rp ON rp.record = v.record WHERE v.sequence = ?2
             ) AS own
             CROSS JOIN cohort_patient AS m ON m.feed = ?1 AND m.patient = own.patient
             CROSS JOIN patient AS p ON p.key = own.patient
             WHERE m.\"left\" IS NULL ORDER BY p.id",
        )?;
        let found = statement
            .query_map(params![self.feed.key, sequence], |row| rows::patient_ref(row, 0))?;
        Ok(found.collect::<rusqlite::Result<_>>()?)
    }

    /// What a line says of the records of a change; with each, about how many bytes it takes.
    fn change_records(&self, sequence: u64) -> Result<Vec<(OutRecord, usize)>> {
        let mut statement = self.conn.prepare_cached(&self.change_sql)?;
        let mut rows = statement.query([sequence])?;
        let mut records = Vec::new();
        while let Some(row) = rows.next()? {
            let latest = Latest::read(row)?;
            if self.told_before(&latest, sequence, row.get(8)?)? {
                continue;
            }
            if !row.get::<_, bool>(9)? {
                if self.was_here(&latest)? {
                    records.push((OutRecord::Left(latest.reference), RECORD_BYTES));
                }
            } else if latest.via.is_some()
                && (latest.via == self.reader || planted(Fault::HeldByAnyone))
            {
                records.push((OutRecord::Held(latest.reference), RECORD_BYTES));
            } else {
                records.push(self.state(latest, row)?);
            }
        }
        records.extend(self.gone("sequence = ?1", sequence)?);
        Ok(records)
    }

    /// Records that this site let go, and that are not in this feed again: what came again is
    /// told at its own place.
    fn gone(&self, which: &str, value: impl ToSql) -> Result<Vec<(OutRecord, usize)>> {
        let mut statement = self.conn.prepare_cached(&format!(
            "SELECT DISTINCT type, id FROM gone_record AS g WHERE {which} AND NOT EXISTS
                (SELECT 1 FROM record AS r WHERE r.type = g.type AND r.id = g.id AND {})
             ORDER BY type, id",
            self.feed.entitled("r")
        ))?;
        let found = statement.query_map(params![value], |row| {
            Ok((OutRecord::Left(rows::record_ref(row, 0)?), RECORD_BYTES))
        })?;
        Ok(found.collect::<rusqlite::Result<_>>()?)
    }

    /// Whether an entry after the marker and before this one tells of the record: that one has
    /// told its latest state.
    fn told_before(&self, latest: &Latest, sequence: u64, previous: Option<u64>) -> Result<bool> {
        if previous.is_none_or(|previous| previous <= self.since) {
            return Ok(false);
        }
        Ok(self
            .conn
            .prepare_cached(
                "SELECT 1 FROM version AS v
                 CROSS JOIN feed_entry AS e
                    ON e.feed = ?1 AND e.sequence = v.sequence AND e.kind = 0
                 WHERE v.record = ?2 AND v.sequence > ?3 AND v.sequence < ?4
                 ORDER BY v.sequence DESC LIMIT 1",
            )?
            .exists(params![self.feed.key, latest.key, self.since, sequence])?)
    }

    /// Whether a record that is not in this feed moved away from a patient who is in it or was:
    /// then the reader may hold it, and has to hear that it left. (Where it is still of a patient
    /// who left, the leave entry says so, and if that one came back, the join.)
    fn was_here(&self, latest: &Latest) -> Result<bool> {
        if self.feed.kind != Kind::Cohort || latest.reference.is_reference() {
            return Ok(false);
        }
        // Most often the patient left, and no body has to be read to see that.
        let mut statement = self.conn.prepare_cached(
            "SELECT DISTINCT p.id FROM version AS v
             CROSS JOIN change_patient AS cp ON cp.sequence = v.sequence
             CROSS JOIN cohort_patient AS m ON m.feed = ?1 AND m.patient = cp.patient
             CROSS JOIN patient AS p ON p.key = cp.patient
             WHERE v.record = ?2 AND cp.patient NOT IN
                (SELECT patient FROM record_patient WHERE record = ?2)",
        )?;
        let told = statement
            .query_map(params![self.feed.key, latest.key], |row| rows::patient_ref(row, 0))?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        if told.is_empty() {
            return Ok(false);
        }
        let then = patients_then(self.conn, latest.key, latest.sequence, MOVES, self.limits)?;
        Ok(told.iter().any(|patient| then.contains(patient)))
    }

    /// Records that were a patient's and moved away. Where the patient had left and came back,
    /// that may have been meanwhile, with no entry in this feed.
    fn moved_away(&self, key: i64, patient: &RecordRef) -> Result<Vec<(OutRecord, usize)>> {
        let mut statement = self.conn.prepare_cached(&format!(
            "SELECT DISTINCT r.key, r.type, r.id, r.sequence FROM change_patient AS cp
             CROSS JOIN version AS v ON v.sequence = cp.sequence
             CROSS JOIN record AS r ON r.key = v.record
             WHERE cp.patient = ?1 AND NOT EXISTS
                (SELECT 1 FROM record_patient AS q WHERE q.record = r.key AND q.patient = ?1)
                AND NOT {} ORDER BY r.type, r.id",
            self.feed.entitled("r")
        ))?;
        let mut rows = statement.query([key])?;
        let mut records = Vec::new();
        while let Some(row) = rows.next()? {
            let reference = rows::record_ref(row, 1)?;
            if reference.is_reference() {
                continue;
            }
            let then = patients_then(self.conn, row.get(0)?, row.get(3)?, MOVES, self.limits)?;
            if then.contains(patient) {
                records.push((OutRecord::Left(reference), RECORD_BYTES));
            }
        }
        let theirs =
            "sequence IN (SELECT sequence FROM change_patient AS cp WHERE cp.patient = ?1)";
        records.extend(self.gone(theirs, key)?);
        Ok(records)
    }

    /// The record's latest state, from a row that begins with [`LATEST`].
    fn state(&self, latest: Latest, row: &Row<'_>) -> Result<(OutRecord, usize)> {
        let base = self.base(&latest)?;
        let (reference, digest) = (latest.reference, latest.digest);
        Ok(match body_text(row, 7)? {
            Some(body) => {
                let size = body.len() + RECORD_BYTES;
                (OutRecord::Resource { reference, body, digest, base }, size)
            }
            None => (OutRecord::Deleted { reference, base }, RECORD_BYTES),
        })
    }

    /// The newest version that the reader itself brought, where that is not the latest: the
    /// reader cannot know that we hold it.
    fn base(&self, latest: &Latest) -> Result<Option<Base>> {
        let site = self.site.as_ref().filter(|_| latest.has_previous);
        let Some(site) = site else { return Ok(None) };
        let found = self
            .conn
            .prepare_cached(
                "SELECT v.digest FROM version AS v
                 CROSS JOIN change AS c ON c.sequence = v.sequence
                 CROSS JOIN origin AS o ON o.key = c.via_site
                 WHERE v.record = ?1 AND v.sequence < ?2 AND o.site = ?3
                 ORDER BY v.sequence DESC LIMIT 1",
            )?
            .query_row(params![latest.key, latest.sequence, site.as_str()], |row| {
                rows::digest(row, 0)
            })
            .optional()?;
        Ok(found.map(|digest| digest.short().into()))
    }

    /// Whether a patient ever left a cohort.
    fn has_left(&self, patient: i64) -> Result<bool> {
        Ok(self
            .conn
            .prepare_cached(
                "SELECT 1 FROM feed_entry INDEXED BY feed_entry_patient
                 WHERE patient = ?1 AND kind <> 0 AND kind = 2",
            )?
            .exists([patient])?)
    }

    /// Whether a record was ever in one change with another patient than this one.
    fn was_of_another(&self, latest: &Latest, patient: i64) -> Result<bool> {
        Ok(self
            .conn
            .prepare_cached(
                "SELECT 1 FROM version AS v
                 CROSS JOIN change_patient AS cp ON cp.sequence = v.sequence
                 WHERE v.record = ?1 AND cp.patient <> ?2 LIMIT 1",
            )?
            .exists(params![latest.key, patient])?)
    }

    /// All records of a patient, patient and encounters first. Unless it is to be the `whole` of
    /// them, what the reader brought is left out: where the patient had left a cohort, it may be
    /// rid of that, also of what it brought after this join, which it had not heard of then; and of
    /// what was another patient's once it may have been rid when that one's cohort was left.
    ///
    /// `first`: the position of the patient's only join. A record that is also that of a member
    /// who joined before it came with that join, or by the live lane since: a Group of thousands
    /// is not sent again with each of them.
    fn patient_records(
        &self,
        patient: i64,
        whole: bool,
        first: Option<u64>,
    ) -> Result<Vec<(OutRecord, usize)>> {
        let mut statement = self.conn.prepare_cached(&format!(
            "SELECT {LATEST} FROM record_patient AS rp
             CROSS JOIN record AS r ON r.key = rp.record {LATEST_FROM}
             WHERE rp.patient = ?1 AND (?3 IS NULL OR NOT EXISTS (
                SELECT 1 FROM record_patient AS o
                CROSS JOIN cohort_patient AS cp ON cp.feed = ?2 AND cp.patient = o.patient
                WHERE o.record = rp.record AND o.patient <> ?1
                    AND cp.\"left\" IS NULL AND cp.joined < ?3))"
        ))?;
        let mut rows = statement.query(params![patient, self.feed.key, first])?;
        let mut records = Vec::new();
        while let Some(row) = rows.next()? {
            let latest = Latest::read(row)?;
            let brought = latest.via.is_some() && latest.via == self.reader;
            if whole || !brought || self.was_of_another(&latest, patient)? {
                let order = order(&latest.reference);
                records.push((order, self.state(latest, row)?));
            }
        }
        records.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(records.into_iter().map(|(_, record)| record).collect())
    }

    /// Appends a line with its records, in parts where it would be too long; gives its size.
    fn push(
        &self,
        line: OutLine,
        records: Vec<(OutRecord, usize)>,
        lines: &mut Vec<OutLine>,
    ) -> usize {
        let envelope = LINE_BYTES + line.patients.len() * RECORD_BYTES;
        let room = self.limits.line_bytes.saturating_sub(envelope);
        let mut parts: Vec<Vec<OutRecord>> = vec![Vec::new()];
        let (mut all, mut filled) = (0, 0);
        for (record, size) in records {
            if filled + size > room && filled > 0 {
                parts.push(Vec::new());
                filled = 0;
            }
            filled += size;
            all += size;
            if let Some(part) = parts.last_mut() {
                part.push(record);
            }
        }
        let count = u32::try_from(parts.len()).unwrap_or(u32::MAX);
        for (number, records) in (1..).zip(parts) {
            let part = (count > 1).then_some((number, count));
            lines.push(OutLine { part, records, ..line.clone() });
        }
        all + envelope * count as usize
    }
}

/// Patients before encounters before the rest by type, so that what is referred to comes first.
fn order(record: &RecordRef) -> (u8, RecordRef) {
    let first = match record.kind {
        ResourceType::PATIENT => 0,
        ResourceType::ENCOUNTER => 1,
        _ => 2,
    };
    (first, record.clone())
}

/// A line without records yet.
fn line_of(entry: EntryRow) -> OutLine {
    OutLine {
        position: Some(entry.position),
        kind: entry.kind,
        id: entry.id,
        covers: Vec::new(),
        part: None,
        author: entry.author,
        at: entry.made.or(Some(entry.at)),
        patients: entry.patient.into_iter().map(|(_, patient)| patient).collect(),
        reason: entry.reason,
        records: Vec::new(),
    }
}
