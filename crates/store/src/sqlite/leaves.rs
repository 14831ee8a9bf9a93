//! Patients who joined and left this site's cohorts at its parent, and what becomes of the
//! records of those who left.

use protocol::planted::{Fault, planted};
use protocol::resource::Record;
use protocol::{FeedId, RecordRef, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

use super::publish::{self, Move, publish_move};
use super::{SqliteStore, audit, emr, index, journal, replaced, rows};
use crate::{AuditRow, LeavePolicy, Result};

/// Most patients that one call purges.
const PURGED_AT_ONCE: u32 = 200;
/// `held_move.kind`.
const JOINED: u8 = 1;
const LEFT: u8 = 2;
const PURGED: u8 = 3;
const LEFT_HERE: &str = "the patient left this site";

/// Notes that the parent's feed holds a patient from `position` on. Gives `false` where a later
/// leave was applied already: the join is void.
pub(super) fn joined(
    step: &Connection,
    feed: &FeedId,
    patient: &RecordRef,
    position: u64,
    now: Timestamp,
) -> Result<bool> {
    let patient = rows::patient_key(step, patient)?;
    let void = step
        .prepare_cached(
            "SELECT 1 FROM left_patient WHERE feed = ?1 AND patient = ?2 AND position > ?3",
        )?
        .exists(params![feed.as_bytes(), patient, position])?;
    if void {
        return Ok(false);
    }
    let held = step
        .prepare_cached("SELECT 1 FROM held_patient WHERE feed = ?1 AND patient = ?2")?
        .exists(params![feed.as_bytes(), patient])?;
    if !held {
        note_move(step, patient, JOINED, Some(feed), now)?;
    }
    step.prepare_cached(
        "INSERT INTO held_patient (feed, patient, joined) VALUES (?1, ?2, ?3)
         ON CONFLICT (feed, patient) DO UPDATE SET joined = max(joined, excluded.joined)",
    )?
    .execute(params![feed.as_bytes(), patient, position])?;
    is_here(step, patient)?;
    Ok(true)
}

/// Notes that the parent lists a record in its feed, outside of any join: where the record has
/// one patient, that is whom the feed holds. (Of several it cannot be told which; but nobody else's
/// being there, a patient's own record is listed for that patient.) Gives the patient, where that
/// was news.
pub(super) fn listed(
    step: &Connection,
    feed: &FeedId,
    record: i64,
    now: Timestamp,
) -> Result<Option<i64>> {
    let mut statement = step.prepare_cached(
        "SELECT rp.patient FROM record_patient AS rp
         CROSS JOIN record AS r ON r.key = rp.record CROSS JOIN patient AS p ON p.key = rp.patient
         WHERE rp.record = ?1 AND ((SELECT count(*) FROM record_patient WHERE record = ?1) = 1
            OR r.type = 'Patient' AND r.id = p.id AND NOT EXISTS
                (SELECT 1 FROM record_patient AS other CROSS JOIN held_patient AS h
                    ON h.feed = ?2 AND h.patient = other.patient
                 WHERE other.record = ?1 AND other.patient <> rp.patient))",
    )?;
    let values = params![record, feed.as_bytes()];
    let patient: Option<i64> = statement.query_row(values, |row| row.get(0)).optional()?;
    let Some(patient) = patient else { return Ok(None) };
    let new = step
        .prepare_cached(
            "INSERT INTO held_patient (feed, patient, joined) VALUES (?1, ?2, 0)
             ON CONFLICT (feed, patient) DO NOTHING",
        )?
        .execute(params![feed.as_bytes(), patient])?;
    if new > 0 {
        note_move(step, patient, JOINED, Some(feed), now)?;
    }
    step.prepare_cached("DELETE FROM left_patient WHERE feed = ?1 AND patient = ?2")?
        .execute(params![feed.as_bytes(), patient])?;
    is_here(step, patient)?;
    Ok((new > 0).then_some(patient))
}

/// A patient is here, or here again: what came of the patient before that was known goes into the
/// record system as well.
fn is_here(step: &Connection, patient: i64) -> Result<()> {
    let back = step
        .prepare_cached("UPDATE patient SET state = 'here' WHERE key = ?1 AND state <> 'here'")?
        .execute([patient])?;
    if back > 0 {
        emr::mark_patient(step, patient)?;
    }
    Ok(())
}

/// Whether one of a record's patients left a feed, and has not joined it again.
pub(super) fn left_since(step: &Connection, feed: &FeedId, record: i64) -> Result<bool> {
    let sql = "SELECT 1 FROM record_patient AS rp
         CROSS JOIN left_patient AS l ON l.feed = ?1 AND l.patient = rp.patient
         WHERE rp.record = ?2 AND NOT EXISTS (SELECT 1 FROM held_patient AS h
            WHERE h.feed = l.feed AND h.patient = l.patient)";
    Ok(step.prepare_cached(sql)?.exists(params![feed.as_bytes(), record])?)
}

/// Whether a feed that gives a patient's own record at `position` holds somebody of whom it said
/// no join here, and no later leave.
pub(super) fn is_new(
    step: &Connection,
    feed: &FeedId,
    patient: &Record,
    position: u64,
) -> Result<bool> {
    let sql = "SELECT 1 FROM patient AS p WHERE p.id = ?2
            AND NOT EXISTS (SELECT 1 FROM held_patient AS h
                WHERE h.feed = ?1 AND h.patient = p.key)
            AND NOT EXISTS (SELECT 1 FROM left_patient AS l
                WHERE l.feed = ?1 AND l.patient = p.key AND l.position > ?3)";
    let id = patient.reference.id();
    Ok(step.prepare_cached(sql)?.exists(params![feed.as_bytes(), id, position])?)
}

/// Notes that the parent's feed does not hold a patient any more. Where no other feed does, the
/// site's policy follows.
pub(super) fn left(
    step: &Connection,
    feed: &FeedId,
    patient: &RecordRef,
    position: u64,
    policy: LeavePolicy,
    now: Timestamp,
) -> Result<()> {
    let patient = rows::patient_key(step, patient)?;
    let joined: Option<u64> = step
        .prepare_cached("SELECT joined FROM held_patient WHERE feed = ?1 AND patient = ?2")?
        .query_row(params![feed.as_bytes(), patient], |row| row.get(0))
        .optional()?;
    if joined.is_some_and(|joined| joined >= position) {
        return Ok(());
    }
    if joined.is_some() {
        note_move(step, patient, LEFT, Some(feed), now)?;
    }
    step.prepare_cached("DELETE FROM held_patient WHERE feed = ?1 AND patient = ?2")?
        .execute(params![feed.as_bytes(), patient])?;
    step.prepare_cached(
        "INSERT INTO left_patient (feed, patient, position) VALUES (?1, ?2, ?3)
         ON CONFLICT (feed, patient) DO UPDATE SET position = max(position, excluded.position)",
    )?
    .execute(params![feed.as_bytes(), patient, position])?;
    let held =
        step.prepare_cached("SELECT 1 FROM held_patient WHERE patient = ?1")?.exists([patient])?;
    for record in said_to_have_left(step, patient)? {
        settle(step, record, policy)?;
    }
    let state = match policy {
        LeavePolicy::Keep => "here",
        LeavePolicy::Freeze => "frozen",
        LeavePolicy::Purge => "purging",
    };
    if !held {
        step.prepare_cached("UPDATE patient SET state = ?2 WHERE key = ?1")?
            .execute(params![patient, state])?;
    }
    Ok(())
}

/// Whether some feed has said of a record that it left.
pub(super) fn was_said_to_leave(step: &Connection, record: i64) -> Result<bool> {
    let sql = "SELECT 1 FROM left_record WHERE record = ?1 AND said > 0";
    Ok(step.prepare_cached(sql)?.exists([record])?)
}

/// The records of a patient of which some feed said that they left.
fn said_to_have_left(step: &Connection, patient: i64) -> Result<Vec<i64>> {
    let mut statement = step.prepare_cached(
        "SELECT DISTINCT lr.record FROM left_record AS lr
         JOIN record_patient AS rp ON rp.record = lr.record WHERE rp.patient = ?1",
    )?;
    let found = statement.query_map([patient], |row| row.get(0))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// Notes in the patient's timeline that the patient came or went.
fn note_move(
    step: &Connection,
    patient: i64,
    kind: u8,
    feed: Option<&FeedId>,
    now: Timestamp,
) -> Result<()> {
    step.prepare_cached(
        "INSERT INTO held_move (patient, kind, cohort, sequence, at)
         SELECT ?1, ?2, coalesce((SELECT name FROM marker WHERE feed = ?3 LIMIT 1), ''),
            sequence, ?4 FROM site",
    )?
    .execute(params![patient, kind, feed.map(FeedId::as_bytes), now.millis()])?;
    Ok(())
}

/// A record is no longer of the feed, though its patient may be. Once that was said of every feed
/// that holds one of its patients, it left: with `purge` it goes, when nothing of it is
/// undelivered. `said`: the parent's sequence as of which the feed said so.
pub(super) fn record_left(
    step: &Connection,
    feed: &FeedId,
    name: &RecordRef,
    said: u64,
    policy: LeavePolicy,
    now: Timestamp,
) -> Result<()> {
    let Some(record) = rows::record_row(step, name)? else { return Ok(()) };
    step.prepare_cached(
        "INSERT INTO left_record (record, feed, sequence, said) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (record, feed) DO UPDATE
         SET sequence = excluded.sequence, said = max(said, excluded.said)",
    )?
    .execute(params![record.key, feed.as_bytes(), record.sequence, said])?;
    if came_back(step, record.key)? {
        return Ok(());
    }
    settle(step, record.key, policy)?;
    if policy == LeavePolicy::Purge { purge_records(step, now) } else { Ok(()) }
}

/// Takes back that a record left a feed where the parent is known to have held this very state of
/// it after that was said, and the feed holds one of its patients: an edit of ours has brought it
/// back, or the word was parked while it came back. Gives whether there was any such word.
pub(super) fn came_back(step: &Connection, record: i64) -> Result<bool> {
    let gone = step
        .prepare_cached(
            "DELETE FROM left_record WHERE record = ?1 AND said > 0
                AND EXISTS (SELECT 1 FROM record AS r WHERE r.key = ?1
                    AND r.parent_digest = r.digest AND r.parent_sequence > left_record.said)
                AND EXISTS (SELECT 1 FROM record_patient AS rp
                    CROSS JOIN held_patient AS h ON h.patient = rp.patient
                    WHERE rp.record = ?1 AND h.feed = left_record.feed)",
        )?
        .execute([record])?;
    if gone > 0 {
        step.prepare_cached("UPDATE record SET left_sequence = NULL WHERE key = ?1")?
            .execute([record])?;
    }
    Ok(gone > 0)
}

/// Records left by themselves, by what was said of them: with `purge` they go, when nothing of them
/// is undelivered.
pub(super) fn records_left(
    step: &Connection,
    records: &[i64],
    policy: LeavePolicy,
    now: Timestamp,
) -> Result<()> {
    for record in records {
        settle(step, *record, policy)?;
    }
    if policy == LeavePolicy::Purge { purge_records(step, now) } else { Ok(()) }
}

/// The feed has the record, as `said` at that sequence: that it left counts no more. What is to be
/// asked for because of a later word is asked for all the same.
pub(super) fn record_listed(
    step: &Connection,
    feed: &FeedId,
    name: &RecordRef,
    said: u64,
) -> Result<()> {
    let key: Option<i64> = step
        .prepare_cached(
            "DELETE FROM left_record WHERE feed = ?1
                AND record = (SELECT key FROM record WHERE type = ?2 AND id = ?3)
                AND (sequence <> 0
                    OR (SELECT parent_sequence FROM record WHERE key = left_record.record) <= ?4)
             RETURNING record",
        )?
        .query_row(params![feed.as_bytes(), name.kind.name(), name.id(), said], |row| row.get(0))
        .optional()?;
    if let Some(key) = key {
        step.prepare_cached("UPDATE record SET left_sequence = NULL WHERE key = ?1")?
            .execute([key])?;
    }
    Ok(())
}

/// Whether a record left by itself: some feed said so of this version, and each that holds one of
/// its patients.
fn settle(step: &Connection, record: i64, policy: LeavePolicy) -> Result<()> {
    step.prepare_cached(
        "UPDATE record SET left_sequence = sequence, left_purge = ?2
         WHERE key = ?1 AND EXISTS (SELECT 1 FROM left_record AS lr
                WHERE lr.record = record.key AND lr.sequence = record.sequence)
            AND NOT EXISTS (SELECT 1 FROM record_patient AS rp
                JOIN held_patient AS h ON h.patient = rp.patient
                WHERE rp.record = record.key AND NOT EXISTS (SELECT 1 FROM left_record AS lr
                    WHERE lr.record = record.key AND lr.feed = h.feed
                        AND lr.sequence = record.sequence))",
    )?
    .execute(params![record, policy == LeavePolicy::Purge])?;
    Ok(())
}

/// Purges records that left by themselves, have nothing undelivered and are known to have been at
/// the parent: this may be their only copy else. A site below hears of it.
fn purge_records(step: &Connection, now: Timestamp) -> Result<()> {
    let mut statement = step.prepare_cached(
        "SELECT r.key FROM record AS r
         WHERE r.left_sequence IS NOT NULL AND r.left_sequence = r.sequence AND r.left_purge = 1
            AND r.parent_digest IS NOT NULL
            AND NOT EXISTS (SELECT 1 FROM version AS v
                JOIN delivery AS d ON d.target = 'parent' AND d.sequence = v.sequence
                WHERE v.record = r.key AND (d.state <> 'done'
                    OR (d.outcome = 'dropped' AND r.parent_digest IS NOT r.digest)))
         ORDER BY r.key LIMIT ?1",
    )?;
    let found = statement
        .query_map([PURGED_AT_ONCE], |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<i64>>>()?;
    for record in found {
        journal::write_gone(step, record, now)?;
        remove(step, record)?;
    }
    Ok(())
}

/// Takes a record out of the store with all of its versions. Changes keep their sequence, id and
/// author: they name no content.
fn remove(step: &Connection, record: i64) -> Result<()> {
    index::remove_keys(step, record)?;
    emr::keep_left(step, record)?;
    for sql in [
        "INSERT OR IGNORE INTO purged_record (patient, type, id)
         SELECT rp.patient, r.type, r.id FROM record AS r
         CROSS JOIN record_patient AS rp ON rp.record = r.key
         WHERE r.key = ?1 AND EXISTS (SELECT 1 FROM version AS v
            CROSS JOIN change AS c ON c.sequence = v.sequence
            WHERE v.record = r.key AND c.via <> 1)",
        "UPDATE change SET purged = 1
         WHERE sequence IN (SELECT sequence FROM version WHERE record = ?1)",
        "DELETE FROM record_place WHERE record = ?1",
        "DELETE FROM record_patient WHERE record = ?1",
        "DELETE FROM former_patient WHERE record = ?1",
        "DELETE FROM conflict WHERE record = ?1",
        "DELETE FROM moved_record WHERE record = ?1",
        "DELETE FROM left_record WHERE record = ?1",
        "DELETE FROM emr_record WHERE record = ?1",
        "DELETE FROM version WHERE record = ?1",
        "DELETE FROM record WHERE key = ?1",
    ] {
        step.prepare_cached(sql)?.execute([record])?;
    }
    Ok(())
}

/// The records `rp.record` of a patient who leaves that go with this one: a record of two patients
/// stays as long as one of them does.
const GOES_ALONG: &str = "NOT EXISTS (SELECT 1 FROM record_patient AS other
    JOIN patient AS op ON op.key = other.patient
    WHERE other.record = rp.record AND other.patient <> rp.patient AND op.state <> 'purging')";

/// What has to hold of a patient `p` who is to be purged and has left something: who was purged
/// stays one who left, and has nothing.
fn has_to_go() -> String {
    format!(
        "p.state <> 'here' AND p.state = 'purging' AND (
            EXISTS (SELECT 1 FROM record_patient AS rp WHERE rp.patient = p.key AND {GOES_ALONG})
            OR EXISTS (SELECT 1 FROM cohort_patient AS cp
                WHERE cp.patient = p.key AND cp.\"left\" IS NULL))"
    )
}

/// Whether a delivery `d` that was dropped brought a record of which the parent does not hold what
/// stands here: then it is nowhere else.
const ONLY_HERE: &str = "EXISTS (SELECT 1 FROM version AS v CROSS JOIN record AS r
    ON r.key = v.record AND r.parent_digest IS NOT r.digest WHERE v.sequence = d.sequence)";

/// Whether there is anything that may be purged some time.
fn is_leaving(conn: &Connection) -> Result<bool> {
    let who = has_to_go();
    let sql = format!(
        "SELECT 1 WHERE EXISTS (SELECT 1 FROM patient AS p WHERE {who})
            OR EXISTS (SELECT 1 FROM record WHERE left_sequence IS NOT NULL AND left_purge = 1)"
    );
    Ok(conn.prepare_cached(&sql)?.exists([])?)
}

pub(super) fn patient_purge(store: &SqliteStore, now: Timestamp) -> Result<u64> {
    if !store.read("look for who left", is_leaving)? {
        return Ok(0);
    }
    store.write("purge patients who left", |step| {
        purge_records(step, now)?;
        let who = has_to_go();
        let sql = format!(
            "SELECT p.key, p.id FROM patient AS p
             WHERE {who}
                AND NOT EXISTS (SELECT 1 FROM held_patient AS h WHERE h.patient = p.key)
                AND (?2 OR NOT EXISTS (SELECT 1 FROM change_patient AS cp
                    JOIN delivery AS d ON d.target = 'parent' AND d.sequence = cp.sequence
                    WHERE cp.patient = p.key AND (d.state <> 'done'
                        OR (d.outcome = 'dropped' AND {ONLY_HERE}))))
             ORDER BY p.key LIMIT ?1"
        );
        let mut statement = step.prepare_cached(&sql)?;
        let found = statement
            .query_map(params![PURGED_AT_ONCE, planted(Fault::PurgedBeforeSent)], |row| {
                Ok((row.get(0)?, rows::patient_ref(row, 1)?))
            })?
            .collect::<rusqlite::Result<Vec<(i64, RecordRef)>>>()?;
        for (key, name) in &found {
            purge(step, *key, name, now)?;
        }
        Ok(found.len() as u64)
    })
}

fn purge(step: &Connection, patient: i64, name: &RecordRef, now: Timestamp) -> Result<()> {
    let sequence = rows::site_sequence(step)?;
    for feed in publish::holding(step, patient)? {
        let leave = Move { feed, patient, leaves: Some(LEFT_HERE) };
        publish_move(step, &leave, sequence, now)?;
    }
    let mut statement = step.prepare_cached(&format!(
        "SELECT rp.record FROM record_patient AS rp WHERE rp.patient = ?1 AND {GOES_ALONG}"
    ))?;
    let records = statement
        .query_map([patient], |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<i64>>>()?;
    for record in &records {
        journal::write_gone(step, *record, now)?;
        remove(step, *record)?;
    }
    replaced::forget(step, patient, name)?;
    step.prepare_cached("DELETE FROM record_place WHERE patient = ?1")?.execute([patient])?;
    // The patient stays one who left: what comes of this one later, from a site below that had
    // not heard of it, goes up and then out of here as well.
    step.prepare_cached("UPDATE patient SET placed = 0 WHERE key = ?1")?.execute([patient])?;
    note_move(step, patient, PURGED, None, now)?;
    let row = AuditRow {
        actor: "tributary".to_owned(),
        action: "patient-purge",
        subject: name.to_string(),
        detail: format!("records {}", records.len()),
    };
    audit::append(step, &row, now)
}
