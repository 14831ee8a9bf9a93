//! Lines from the parent that are stuck here, as a person acts on them.

use protocol::delivery::DeliveryState;
use protocol::stream::{self, InRecord, StreamLine};
use protocol::{RecordRef, SiteId, Timestamp};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

use super::patient_key;
use crate::sqlite::{SqliteStore, audit, body, parked, rows, sources, status};
use crate::{AuditRow, DeliveryAction, DroppedLine, ParkedLine, QueueFilter, QueueOrder, Result};

/// Lines that one call acts on at the most.
const LINES: i64 = 10_000;

/// Lines that fit, oldest first: all are parked.
pub(super) fn matching(conn: &Connection, filter: &QueueFilter) -> Result<Vec<i64>> {
    if filter.state.is_some_and(|state| state != DeliveryState::Parked) {
        return Ok(Vec::new());
    }
    let mut conditions = vec!["l.key > 0".to_owned()];
    let mut values = Vec::new();
    if let Some(patient) = &filter.patient {
        conditions.push(
            "EXISTS (SELECT 1 FROM parked_line_patient AS lp
                WHERE lp.line = l.key AND lp.patient = ?)"
                .to_owned(),
        );
        values.push(Value::Integer(patient_key(conn, patient)?));
    }
    if let Some(before) = filter.before {
        conditions.push("l.parked < ?".to_owned());
        values.push(Value::Integer(before.millis()));
    }
    if let Some(reason) = &filter.reason {
        conditions.push("instr(l.reason, ?) > 0".to_owned());
        values.push(Value::Text(reason.clone()));
    }
    values.push(Value::Integer(LINES));
    let sql = format!(
        "SELECT l.key FROM parked_line AS l WHERE {} ORDER BY l.key LIMIT ?",
        conditions.join(" AND ")
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let found = statement.query_map(params_from_iter(values), |row| row.get(0))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// Of these lines, those that are there and that the act would change.
pub(super) fn concerned(
    conn: &Connection,
    lines: &[i64],
    action: &DeliveryAction,
) -> Result<Vec<i64>> {
    let mut concerned = Vec::new();
    for key in lines {
        let held: Option<bool> = conn
            .prepare_cached("SELECT held FROM parked_line WHERE key = ?1")?
            .query_row([key], |row| row.get(0))
            .optional()?;
        if held.is_some_and(|held| held || *action != DeliveryAction::Unpark) {
            concerned.push(*key);
        }
    }
    Ok(concerned)
}

pub(super) fn act(
    store: &SqliteStore,
    step: &Connection,
    lines: &[i64],
    order: &QueueOrder,
    (now, jitter): (Timestamp, u64),
) -> Result<u64> {
    let lines = concerned(step, lines, &order.action)?;
    if order.action == DeliveryAction::Retry {
        return parked::retry_these(store, step, &lines, now, jitter);
    }
    for key in &lines {
        match &order.action {
            DeliveryAction::Retry => {}
            DeliveryAction::Park(reason) => {
                step.prepare_cached("UPDATE parked_line SET held = 1, reason = ?2 WHERE key = ?1")?
                    .execute(params![key, reason])?;
            }
            DeliveryAction::Unpark => {
                step.prepare_cached(
                    "UPDATE parked_line SET held = 0, next_at = ?2 WHERE key = ?1",
                )?
                .execute(params![key, now.millis()])?;
            }
            DeliveryAction::Drop(because) => {
                give_up(store, step, *key, (because, &order.actor), now)?;
            }
        }
    }
    Ok(lines.len() as u64)
}

fn give_up(
    store: &SqliteStore,
    step: &Connection,
    key: i64,
    (because, actor): (&str, &str),
    now: Timestamp,
) -> Result<()> {
    let line = status::parked_line(step, key)?;
    tell_source(store, step, key, because)?;
    let patients = joined(&line.patients);
    step.prepare_cached(
        "INSERT INTO dropped_line
            (key, feed, position, patients, records, reason, because, actor, at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute(params![
        key,
        line.feed,
        line.position,
        patients,
        joined(&records_of(store, step, key)?),
        line.reason,
        because,
        actor,
        now.millis()
    ])?;
    step.prepare_cached("DELETE FROM parked_line_patient WHERE line = ?1")?.execute([key])?;
    step.prepare_cached("DELETE FROM parked_line WHERE key = ?1")?.execute([key])?;
    let row = AuditRow {
        actor: actor.to_owned(),
        action: "line-drop",
        subject: format!("L{key} {patients}").trim_end().to_owned(),
        detail: format!("{} position {}: {because}", line.feed, line.position),
    };
    audit::append(step, &row, now)
}

/// Whoever made a change hears that it was given up, where this site has read it there.
fn tell_source(store: &SqliteStore, step: &Connection, key: i64, because: &str) -> Result<()> {
    let (source, line): (Option<SiteId>, Vec<u8>) = step
        .prepare_cached("SELECT source, line FROM parked_line WHERE key = ?1")?
        .query_row([key], |row| {
            let is_of_source = row.get_ref(0)?.as_str_or_null()?.is_some();
            let source = is_of_source.then(|| rows::site_id(row, 0)).transpose()?;
            Ok((source, row.get(1)?))
        })?;
    let Some(source) = source else { return Ok(()) };
    let line = body::decode_bytes(&line)?;
    sources::words::given_up(store, step, (&source, &line), because)
}

fn joined(names: &[RecordRef]) -> String {
    names.iter().map(RecordRef::to_string).collect::<Vec<_>>().join(" ")
}

/// The records that a line is about, as far as it can be read.
fn records_of(store: &SqliteStore, step: &Connection, key: i64) -> Result<Vec<RecordRef>> {
    let raw: Vec<u8> = step
        .prepare_cached("SELECT line FROM parked_line WHERE key = ?1")?
        .query_row([key], |row| row.get(0))?;
    let read = stream::read_line(&body::decode_bytes(&raw)?, &store.options.limits);
    let Ok(StreamLine::Line(line)) = read else { return Ok(Vec::new()) };
    let named = line.records.iter().map(|record| match record {
        InRecord::State { record, .. } => record.reference.clone(),
        InRecord::Held(name) | InRecord::Left(name) => name.clone(),
    });
    Ok(named.collect())
}

const DROPPED: &str = "SELECT key, feed, position, patients, reason, because, at, actor
     FROM dropped_line";

fn read(row: &Row<'_>) -> rusqlite::Result<DroppedLine> {
    let patients = row.get_ref(3)?.as_str()?.split(' ').filter_map(|name| name.parse().ok());
    Ok(DroppedLine {
        key: row.get(0)?,
        feed: row.get(1)?,
        position: row.get(2)?,
        patients: patients.collect(),
        reason: row.get(4)?,
        dropped_because: row.get(5)?,
        dropped: rows::time(row, 6)?,
        actor: row.get(7)?,
    })
}

/// Lines that were given up, newest first.
pub(in crate::sqlite) fn dropped_list(
    store: &SqliteStore,
    filter: &QueueFilter,
    limit: usize,
) -> Result<Vec<DroppedLine>> {
    store.read("list lines that were dropped", |conn| {
        let sql = format!(
            "{DROPPED} WHERE (?1 IS NULL OR instr(' ' || patients || ' ', ?1) > 0)
                AND (?2 IS NULL OR at < ?2)
                AND (?3 IS NULL OR instr(reason, ?3) > 0 OR instr(because, ?3) > 0)
             ORDER BY key DESC LIMIT ?4"
        );
        let patient = filter.patient.as_ref().map(|patient| format!(" {patient} "));
        let before = filter.before.map(Timestamp::millis);
        status::list(conn, &sql, params![patient, before, filter.reason, limit], read)
    })
}

/// Lines that named this record or these patients, newest first.
pub(in crate::sqlite) fn about(
    conn: &Connection,
    record: &RecordRef,
    patients: &[RecordRef],
    limit: usize,
) -> Result<Vec<DroppedLine>> {
    let mut found = Vec::new();
    for name in patients.iter().chain([record]) {
        let sql = format!(
            "{DROPPED} WHERE instr(' ' || patients || ' ' || records || ' ', ?1) > 0
             ORDER BY key DESC LIMIT ?2"
        );
        let name = format!(" {name} ");
        found.extend::<Vec<DroppedLine>>(status::list(conn, &sql, params![name, limit], read)?);
    }
    found.sort_by_key(|line| std::cmp::Reverse(line.key));
    found.dedup();
    found.truncate(limit);
    Ok(found)
}

/// One line that is stuck here.
pub(in crate::sqlite) fn parked_get(store: &SqliteStore, key: u64) -> Result<Option<ParkedLine>> {
    store.read("look at a parked line", |conn| {
        let there =
            conn.prepare_cached("SELECT 1 FROM parked_line WHERE key = ?1")?.exists([key])?;
        there.then(|| status::parked_line(conn, key.cast_signed())).transpose()
    })
}
