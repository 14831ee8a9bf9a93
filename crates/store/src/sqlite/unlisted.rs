//! After the parent's store was restored: what it has lost of what this site sent, and what this
//! site holds of its feeds and it does not list any more.
//!
//! First all is sent that the parent may lack; only then it is asked once more, and what it does
//! not list then has left, as it would have been told by the life that was lost. Until it was
//! asked, a record has a row in `left_record` with the sequence 0.

use protocol::{ChangeId, FeedId, RecordRef, Timestamp, Urgency};
use rusqlite::{Connection, params};

use super::deliveries::lanes::{self, LaneColumn};
use super::rows::RecordRow;
use super::sources::outgoing;
use super::writer::in_savepoint;
use super::{SqliteStore, audit, leaves, markers, offer, received, rows};
use crate::{AuditRow, DigestRange, LeavePolicy, Result};

/// Where a leave stands that no entry of the feed has told of: any later join is after it.
const BEFORE_ALL: u64 = 1;
/// Kept records that are offered in one transaction.
const OFFERED_AT_ONCE: u32 = 200;

pub(super) fn delivery_done(
    store: &SqliteStore,
    after: u64,
    limit: usize,
) -> Result<Vec<(u64, ChangeId)>> {
    store.read("list what the parent took", |conn| {
        let mut statement = conn.prepare_cached(
            "SELECT d.sequence, o.site, o.epoch, c.number FROM delivery AS d
             CROSS JOIN change AS c ON c.sequence = d.sequence
             CROSS JOIN origin AS o ON o.key = c.origin
             WHERE d.target = 'parent' AND d.state = 'done' AND d.sequence > ?1
                AND d.outcome IS NOT 'dropped'
             ORDER BY d.sequence LIMIT ?2",
        )?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let found = statement.query_map(params![after, limit], |row| {
            let (origin, epoch) = (rows::site_id(row, 1)?, rows::epoch(row, 2)?);
            Ok((row.get(0)?, ChangeId { origin, epoch, number: row.get(3)? }))
        })?;
        Ok(found.collect::<rusqlite::Result<_>>()?)
    })
}

pub(super) fn delivery_reopen(
    store: &SqliteStore,
    sequences: &[u64],
    now: Timestamp,
) -> Result<u64> {
    store.write("offer again what the parent lost", |step| {
        if sequences.is_empty() {
            ask_below(step)?;
        }
        let mut count = 0;
        for sequence in sequences {
            if is_purged(step, *sequence)? {
                step.execute("UPDATE site SET asks_below = 1", [])?;
            }
            count += step
                .prepare_cached(
                    "UPDATE delivery SET state = 'ready', attempts = 0, next_at = 0, away = 0,
                        outcome = NULL, reason = NULL, changed = ?2, lane = ?3
                     WHERE target = 'parent' AND sequence = ?1 AND state = 'done'",
                )?
                .execute(params![sequence, now.millis(), LaneColumn(Urgency::Bulk)])?;
            lanes::place(step, *sequence)?;
            outgoing::again(step, *sequence, now)?;
            // The parent holds none of the versions from here on; the one before it may.
            step.prepare_cached(
                "UPDATE record SET parent_digest = NULL, parent_sequence = 0, base_below =
                    (SELECT substr(v.digest, 1, 8) FROM version AS v
                     WHERE v.record = record.key AND v.sequence < ?1
                     ORDER BY v.sequence DESC LIMIT 1)
                 WHERE parent_digest IS NOT NULL
                    AND key IN (SELECT record FROM version WHERE sequence = ?1)",
            )?
            .execute([sequence])?;
        }
        Ok(count as u64)
    })
}

/// Whether something that a change brought was purged here since.
fn is_purged(step: &Connection, sequence: u64) -> Result<bool> {
    let sql = "SELECT 1 FROM change AS c WHERE c.sequence = ?1 AND (c.purged = 1
        OR NOT EXISTS (SELECT 1 FROM version AS v WHERE v.sequence = c.sequence))";
    Ok(step.prepare_cached(sql)?.exists([sequence])?)
}

/// The parent has been asked about everything: where it has lost what was purged here, the sites
/// below are asked for it.
fn ask_below(step: &Connection) -> Result<()> {
    if step.execute("UPDATE site SET asks_below = 0 WHERE asks_below = 1", [])? == 0 {
        return Ok(());
    }
    received::ask_again(step)?;
    step.execute("UPDATE site SET again = again + 1", [])?;
    Ok(())
}

pub(super) fn kept_offer(store: &SqliteStore, again: u64, now: Timestamp) -> Result<bool> {
    store.write("offer what the parent purged", |step| {
        let kept = kept(step)?;
        for (name, row) in &kept {
            let offered = in_savepoint(step, |_| offer_kept(store, step, (name, row), now));
            match offered {
                Err(error) if error.is_about_the_line() => {
                    let (action, actor) = ("offer-refused", "tributary".to_owned());
                    let (subject, detail) = (name.to_string(), error.to_string());
                    audit::append(step, &AuditRow { actor, action, subject, detail }, now)?;
                }
                other => other?,
            }
        }
        if let Some((name, _)) = kept.last() {
            step.prepare_cached("UPDATE link SET offered_type = ?1, offered_id = ?2")?
                .execute(params![name.kind.name(), name.id()])?;
            return Ok(true);
        }
        step.prepare_cached("UPDATE link SET again = ?1, offered_type = '', offered_id = ''")?
            .execute([again])?;
        // Those below may keep more of it.
        step.execute("UPDATE site SET again = again + 1", [])?;
        Ok(false)
    })
}

fn offer_kept(
    store: &SqliteStore,
    step: &Connection,
    (name, row): (&RecordRef, &RecordRow),
    now: Timestamp,
) -> Result<()> {
    // What the parent had, it may have gone on from: that is no edit of ours.
    step.prepare_cached(
        "UPDATE record SET parent_digest = NULL,
            base_below = coalesce(substr(parent_digest, 1, 8), base_below) WHERE key = ?1",
    )?
    .execute([row.key])?;
    offer::unless_on_its_way(store, step, vec![(name.clone(), row.clone())], now)
}

/// What is here of patients whom no feed of the parent's holds, and it once sent: the next of it.
fn kept(step: &Connection) -> Result<Vec<(RecordRef, RecordRow)>> {
    let mut statement = step.prepare_cached(
        "SELECT r.type, r.id FROM record AS r
         CROSS JOIN link AS l
         WHERE l.target = 'parent' AND (r.type, r.id) > (l.offered_type, l.offered_id)
            AND r.deleted = 0 AND EXISTS (SELECT 1 FROM record_patient WHERE record = r.key)
            AND NOT EXISTS (SELECT 1 FROM record_patient AS rp
                CROSS JOIN held_patient AS h ON h.patient = rp.patient WHERE rp.record = r.key)
            AND EXISTS (SELECT 1 FROM version AS v CROSS JOIN change AS c
                ON c.sequence = v.sequence WHERE v.record = r.key AND c.via = 1)
         ORDER BY r.type, r.id LIMIT ?1",
    )?;
    let names = statement.query_map([OFFERED_AT_ONCE], |row| rows::record_ref(row, 0))?;
    let names = names.collect::<rusqlite::Result<Vec<_>>>()?;
    let mut kept = Vec::with_capacity(names.len());
    for name in names {
        kept.extend(rows::record_row(step, &name)?.map(|row| (name, row)));
    }
    Ok(kept)
}

pub(super) fn feed_lost(
    store: &SqliteStore,
    feed: &FeedId,
    name: &str,
    policy: LeavePolicy,
    now: Timestamp,
) -> Result<()> {
    let range = DigestRange { name: name.to_owned(), ..DigestRange::default() };
    markers::marker_compare(store, feed, &[], &range, 0, now)?;
    store.write("forget a feed that the parent lost", |step| {
        markers::forget_positions(step, feed)?;
        for patient in held_without_records(step, feed)? {
            leaves::left(step, feed, &patient, BEFORE_ALL, policy, now)?;
        }
        step.prepare_cached("DELETE FROM marker WHERE feed = ?1")?.execute([feed.as_bytes()])?;
        step.prepare_cached("DELETE FROM ahead WHERE feed = ?1")?.execute([feed.as_bytes()])?;
        Ok(())
    })
}

fn held_without_records(step: &Connection, feed: &FeedId) -> Result<Vec<RecordRef>> {
    let mut statement = step.prepare_cached(
        "SELECT p.id FROM held_patient AS h CROSS JOIN patient AS p ON p.key = h.patient
         WHERE h.feed = ?1 AND NOT EXISTS (SELECT 1 FROM record_patient AS rp
            CROSS JOIN record AS r ON r.key = rp.record
            WHERE rp.patient = p.key AND r.deleted = 0)",
    )?;
    let found = statement.query_map([feed.as_bytes()], |row| rows::patient_ref(row, 0))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// The parent does not list a record in its feed, or in a state that is unknown here: it is to be
/// asked once more when all is sent. What its life before said of it counts no more.
pub(super) fn note(step: &Connection, feed: &FeedId, name: &RecordRef) -> Result<()> {
    step.prepare_cached(
        "INSERT INTO left_record (record, feed, sequence)
         SELECT key, ?1, 0 FROM record WHERE type = ?2 AND id = ?3
         ON CONFLICT (record, feed) DO UPDATE SET sequence = 0, said = 0",
    )?
    .execute(params![feed.as_bytes(), name.kind.name(), name.id()])?;
    Ok(())
}

/// A join, as of the parent's `sequence`, is about to say all that the feed has of a patient: what
/// it does not list is to be asked for, unless that was said to have left before. (What was only
/// taken to have left, since it did not come when it was asked for, may be back with its patient.)
pub(super) fn expect(
    step: &Connection,
    feed: &FeedId,
    patient: &RecordRef,
    sequence: u64,
) -> Result<()> {
    step.prepare_cached(
        "INSERT INTO left_record (record, feed, sequence)
         SELECT r.key, ?1, 0 FROM patient AS p
         CROSS JOIN record_patient AS rp ON rp.patient = p.key
         CROSS JOIN record AS r ON r.key = rp.record
         WHERE p.id = ?2 AND r.deleted = 0 AND r.parent_sequence <= ?3
         ON CONFLICT (record, feed) DO UPDATE SET sequence = 0 WHERE said = 0",
    )?
    .execute(params![feed.as_bytes(), patient.id(), sequence])?;
    Ok(())
}

/// A record's state at the parent is one that was heard and counts for more than it did then: it is
/// to be asked for by name in each feed that may list it.
pub(super) fn ask(step: &Connection, record: i64) -> Result<()> {
    step.prepare_cached(
        "INSERT INTO left_record (record, feed, sequence)
         SELECT DISTINCT rp.record, h.feed, 0 FROM record_patient AS rp
         CROSS JOIN held_patient AS h ON h.patient = rp.patient WHERE rp.record = ?1
         UNION SELECT ?1, m.feed, 0 FROM marker AS m WHERE m.name = 'reference'
            AND NOT EXISTS (SELECT 1 FROM record_patient WHERE record = ?1)
         ON CONFLICT (record, feed) DO UPDATE SET sequence = 0",
    )?
    .execute([record])?;
    Ok(())
}

/// The parent's state of a record that it never sent us is another than ours: perhaps it lists it
/// in none of the feeds that hold its patients for us, and will never say so.
pub(super) fn doubt(step: &Connection, name: &RecordRef) -> Result<()> {
    step.prepare_cached(
        "INSERT INTO left_record (record, feed, sequence)
         SELECT DISTINCT r.key, h.feed, 0 FROM record AS r
         CROSS JOIN record_patient AS rp ON rp.record = r.key
         CROSS JOIN held_patient AS h ON h.patient = rp.patient
         WHERE r.type = ?1 AND r.id = ?2 AND r.deleted = 0 AND NOT EXISTS
            (SELECT 1 FROM version AS v CROSS JOIN change AS c ON c.sequence = v.sequence
             WHERE v.record = r.key AND c.via = 1)
         ON CONFLICT (record, feed) DO UPDATE SET sequence = 0
            WHERE sequence <> (SELECT sequence FROM record WHERE key = left_record.record)",
    )?
    .execute(params![name.kind.name(), name.id()])?;
    Ok(())
}

/// What is still to be sent, or was given up and may yet be sent, is not asked for: it cannot be
/// listed.
pub(super) fn unlisted_list(store: &SqliteStore, limit: usize) -> Result<Vec<(FeedId, RecordRef)>> {
    store.read("list what the parent did not list", |conn| {
        let mut statement = conn.prepare_cached(
            "SELECT lr.feed, r.type, r.id FROM left_record AS lr
             CROSS JOIN record AS r ON r.key = lr.record
             WHERE lr.sequence = 0 AND NOT EXISTS (SELECT 1 FROM version AS v
                CROSS JOIN delivery AS d ON d.target = 'parent' AND d.sequence = v.sequence
                WHERE v.record = r.key AND (d.state <> 'done'
                    OR d.outcome = 'dropped' AND d.sequence = r.sequence))
             ORDER BY lr.feed, lr.record LIMIT ?1",
        )?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let found = statement
            .query_map([limit], |row| Ok((rows::feed_id(row, 0)?, rows::record_ref(row, 1)?)))?;
        Ok(found.collect::<rusqlite::Result<_>>()?)
    })
}

pub(super) fn unlisted_settle(
    store: &SqliteStore,
    feed: &FeedId,
    records: &[RecordRef],
    policy: LeavePolicy,
    now: Timestamp,
) -> Result<u64> {
    store.write("let go of what the parent does not list", |step| {
        let mut left = Vec::new();
        for name in records {
            let key: Option<i64> = note_left(step, feed, name)?;
            left.extend(key);
        }
        for key in &left {
            for patient in held_patients(step, feed, *key)? {
                if has_left(step, feed, &patient)? {
                    leaves::left(step, feed, &patient, BEFORE_ALL, policy, now)?;
                }
            }
        }
        leaves::records_left(step, &left, policy, now)?;
        Ok(left.len() as u64)
    })
}

/// A record that was not listed the second time either left as it is now; gives its key. What is
/// nobody's leaves with nobody.
fn note_left(step: &Connection, feed: &FeedId, name: &RecordRef) -> Result<Option<i64>> {
    step.prepare_cached(
        "DELETE FROM left_record WHERE feed = ?1 AND sequence = 0
            AND record = (SELECT key FROM record WHERE type = ?2 AND id = ?3)
            AND NOT EXISTS
                (SELECT 1 FROM record_patient AS rp WHERE rp.record = left_record.record)",
    )?
    .execute(params![feed.as_bytes(), name.kind.name(), name.id()])?;
    let mut statement = step.prepare_cached(
        "UPDATE left_record SET sequence = (SELECT sequence FROM record WHERE key = record)
         WHERE feed = ?1 AND sequence = 0
            AND record = (SELECT key FROM record WHERE type = ?2 AND id = ?3)
         RETURNING record",
    )?;
    let mut found = statement.query(params![feed.as_bytes(), name.kind.name(), name.id()])?;
    let key = found.next()?.map(|row| row.get(0)).transpose()?;
    Ok(key)
}

/// The patients of a record whom the feed holds for us.
fn held_patients(step: &Connection, feed: &FeedId, record: i64) -> Result<Vec<RecordRef>> {
    let mut statement = step.prepare_cached(
        "SELECT p.id FROM record_patient AS rp
         CROSS JOIN held_patient AS h ON h.feed = ?1 AND h.patient = rp.patient
         CROSS JOIN patient AS p ON p.key = rp.patient WHERE rp.record = ?2",
    )?;
    let found =
        statement.query_map(params![feed.as_bytes(), record], |row| rows::patient_ref(row, 0))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// Whether a patient is in the feed no more: the patient's own record is not, nor any other where
/// there is no such record. (What another feed brought was perhaps never listed in this one.)
fn has_left(step: &Connection, feed: &FeedId, patient: &RecordRef) -> Result<bool> {
    let mut statement = step.prepare_cached(
        "SELECT 1 FROM patient AS p CROSS JOIN record_patient AS rp ON rp.patient = p.key
         CROSS JOIN record AS r ON r.key = rp.record
         WHERE p.id = ?2 AND r.deleted = 0
            AND (r.type = 'Patient' AND r.id = p.id OR NOT EXISTS
                (SELECT 1 FROM record AS own
                 WHERE own.type = 'Patient' AND own.id = p.id AND own.deleted = 0))
            AND NOT EXISTS (SELECT 1 FROM left_record AS lr
                WHERE lr.record = r.key AND lr.feed = ?1 AND lr.sequence = r.sequence)",
    )?;
    Ok(!statement.exists(params![feed.as_bytes(), patient.id()])?)
}
