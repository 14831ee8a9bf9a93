//! The way into the record system and out of it, for people.

use protocol::{RecordRef, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::state;
use crate::sqlite::{SqliteStore, audit, rows};
use crate::{AuditRow, EmrAction, EmrChoice, EmrInfo, EmrState, Result};

const COLUMNS: &str = "r.type, r.id, e.state, c.recorded, e.attempts, e.next_at, e.reason,
    e.waits_type, e.waits_id, e.image_digest IS NOT NULL AND e.gone = 0 AND e.lost = 0, e.record";

fn read(row: &Row<'_>) -> rusqlite::Result<(EmrInfo, i64)> {
    let next: i64 = row.get(5)?;
    let waits: Option<String> = row.get(7)?;
    let info = EmrInfo {
        record: rows::record_ref(row, 0)?,
        state: state(row, 2)?,
        patients: Vec::new(),
        since: rows::time_option(row, 3)?,
        attempts: row.get(4)?,
        next_at: (next > 0).then(|| Timestamp::from_millis(next)),
        reason: row.get(6)?,
        waits_for: waits.map(|_| rows::record_ref(row, 7)).transpose()?,
        shown: row.get(9)?,
    };
    Ok((info, row.get(10)?))
}

fn patients_of(conn: &Connection, record: i64) -> Result<Vec<RecordRef>> {
    let mut statement = conn.prepare_cached(
        "SELECT p.id FROM record_patient AS rp JOIN patient AS p ON p.key = rp.patient
         WHERE rp.record = ?1 ORDER BY p.id",
    )?;
    let found = statement.query_map([record], |row| rows::patient_ref(row, 0))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// What is chosen, as a condition on `e` and `r`: `?1` and `?2` are the record, `?3` the patient,
/// `?4` the state.
const CHOSEN: &str = "(?1 IS NULL OR r.type = ?1 AND r.id = ?2)
    AND (?3 IS NULL OR EXISTS (SELECT 1 FROM record_patient AS rp
        JOIN patient AS p ON p.key = rp.patient WHERE rp.record = e.record AND p.id = ?3))
    AND (?4 IS NULL OR e.state = ?4)";

fn rows_of(conn: &Connection, choice: &EmrChoice, limit: usize) -> Result<Vec<(EmrInfo, i64)>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM emr_record AS e INDEXED BY emr_record_open
         CROSS JOIN record AS r ON r.key = e.record
         LEFT JOIN change AS c ON c.sequence = e.since
         WHERE e.state <> 'same' AND {CHOSEN} ORDER BY e.since, e.record LIMIT ?5"
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let found = statement.query_map(
        params![
            choice.record.as_ref().map(|record| record.kind.name()),
            choice.record.as_ref().map(RecordRef::id),
            choice.patient.as_ref().map(RecordRef::id),
            choice.state.map(EmrState::name),
            limit
        ],
        read,
    )?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// Records that were noticed and could not be read.
fn unread(conn: &Connection, record: Option<&RecordRef>, limit: usize) -> Result<Vec<EmrInfo>> {
    let mut statement = conn.prepare_cached(
        "SELECT type, id, noticed, attempts, next_at, reason FROM emr_hint
         WHERE ?1 IS NULL OR type = ?1 AND id = ?2 ORDER BY noticed, type, id LIMIT ?3",
    )?;
    let values = params![record.map(|record| record.kind.name()), record.map(RecordRef::id), limit];
    let found = statement.query_map(values, |row| {
        let next: i64 = row.get(4)?;
        Ok(EmrInfo {
            record: rows::record_ref(row, 0)?,
            state: EmrState::Unread,
            patients: Vec::new(),
            since: rows::time_option(row, 2)?,
            attempts: row.get(3)?,
            next_at: (next > 0).then(|| Timestamp::from_millis(next)),
            reason: row.get(5)?,
            waits_for: None,
            shown: true,
        })
    })?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn emr_list(
    store: &SqliteStore,
    choice: &EmrChoice,
    limit: usize,
) -> Result<Vec<EmrInfo>> {
    store.read("list what is on its way to the record system", |conn| {
        let mut found = Vec::new();
        if choice.state != Some(EmrState::Unread) {
            for (mut info, record) in rows_of(conn, choice, limit)? {
                info.patients = patients_of(conn, record)?;
                found.push(info);
            }
        }
        if choice.patient.is_none() && choice.state.is_none_or(|s| s == EmrState::Unread) {
            let left = limit.saturating_sub(found.len());
            found.extend(unread(conn, choice.record.as_ref(), left)?);
        }
        Ok(found)
    })
}

/// How one record stands with the record system: `None` where there is none, or it has nothing to
/// do with it.
pub(in crate::sqlite) fn of_record(
    conn: &Connection,
    record: &RecordRef,
) -> Result<Option<EmrInfo>> {
    if let Some(unread) = unread(conn, Some(record), 1)?.pop() {
        return Ok(Some(unread));
    }
    let sql = format!(
        "SELECT {COLUMNS} FROM record AS r CROSS JOIN emr_record AS e ON e.record = r.key
         LEFT JOIN change AS c ON c.sequence = e.since
         WHERE r.type = ?1 AND r.id = ?2
            AND EXISTS (SELECT 1 FROM emr_link WHERE captures = 1 OR applies = 1)"
    );
    let found = conn
        .prepare_cached(&sql)?
        .query_row(params![record.kind.name(), record.id()], read)
        .optional()?;
    Ok(found.map(|(info, _)| info))
}

/// Records that one call acts on.
const AT_ONCE: usize = 10_000;

pub(super) fn emr_act(
    store: &SqliteStore,
    choice: &EmrChoice,
    action: &EmrAction,
    actor: &str,
    now: Timestamp,
) -> Result<u64> {
    store.write("act on what is on its way to the record system", |step| {
        let mut acted = 0;
        let unread_too = choice.state.is_none_or(|state| state == EmrState::Unread);
        if *action == EmrAction::Retry && unread_too && choice.patient.is_none() {
            acted += step.execute(
                "UPDATE emr_hint SET next_at = 0 WHERE ?1 IS NULL OR type = ?1 AND id = ?2",
                params![
                    choice.record.as_ref().map(|record| record.kind.name()),
                    choice.record.as_ref().map(RecordRef::id)
                ],
            )?;
        }
        if choice.state != Some(EmrState::Unread) {
            for (info, record) in rows_of(step, choice, AT_ONCE)? {
                acted += act_on(step, &info, record, action)?;
            }
        }
        let (name, reason) = match action {
            EmrAction::Retry => ("emr-retry", String::new()),
            EmrAction::Park(reason) => ("emr-park", reason.clone()),
            EmrAction::Drop(reason) => ("emr-drop", reason.clone()),
        };
        if acted > 0 {
            let subject = match (&choice.record, &choice.patient) {
                (Some(record), _) | (None, Some(record)) => record.to_string(),
                (None, None) => "all".to_owned(),
            };
            let detail = format!("records {acted} {reason}").trim().to_owned();
            let row = AuditRow { actor: actor.to_owned(), action: name, subject, detail };
            audit::append(step, &row, now)?;
        }
        Ok(acted as u64)
    })
}

fn act_on(step: &Connection, info: &EmrInfo, record: i64, action: &EmrAction) -> Result<usize> {
    let (state, reason) = match action {
        EmrAction::Retry => ("due", None),
        EmrAction::Park(reason) if info.state != EmrState::Parked => ("parked", Some(reason)),
        EmrAction::Drop(reason) if info.state != EmrState::Dropped => ("dropped", Some(reason)),
        EmrAction::Park(_) | EmrAction::Drop(_) => return Ok(0),
    };
    Ok(step
        .prepare_cached(
            "UPDATE emr_record SET state = ?2, attempts = 0, next_at = 0, reason = ?3,
                waits_type = NULL, waits_id = NULL WHERE record = ?1",
        )?
        .execute(params![record, state, reason])?)
}
