//! The deliveries, for people.

use protocol::delivery::DeliveryState;
use rusqlite::types::Value;
use rusqlite::{Row, params_from_iter};

use super::*;

/// A delivery's state as it is told: with a third party, unless a person has parked it.
const TOLD: &str = "CASE WHEN d.state = 'done' AND d.outcome IS 'dropped' THEN 'dropped'
    WHEN d.away = 0 OR d.state IN ('parked', 'done') THEN d.state
    WHEN d.away = 1 THEN 'leased' ELSE 'handed-over' END";

/// Oldest first; those that are not done, where neither a state nor one delivery is asked for.
pub(in crate::sqlite) fn delivery_list(
    store: &SqliteStore,
    filter: &DeliveryFilter,
) -> Result<Vec<DeliveryInfo>> {
    store.read("list its deliveries", |conn| find(conn, filter))
}

/// As `delivery_list`, in the caller's snapshot.
pub(in crate::sqlite) fn find(
    conn: &Connection,
    filter: &DeliveryFilter,
) -> Result<Vec<DeliveryInfo>> {
    let (sql, values) = sql_of(conn, filter)?;
    let mut statement = conn.prepare_cached(&sql)?;
    let found = statement.query_map(params_from_iter(values), read)?;
    let found = found.collect::<rusqlite::Result<Vec<_>>>()?;
    let names = outbox::message_names(conn, found.iter().filter_map(|(_, key)| *key))?;
    let named = found.into_iter().map(|(delivery, key)| {
        let message = key.and_then(|key| names.get(&key).cloned());
        DeliveryInfo { message, ..delivery }
    });
    let mut deliveries = named.collect::<Vec<_>>();
    for delivery in &mut deliveries {
        complete(conn, delivery)?;
        if filter.sequence.is_some() {
            delivery.history = history(conn, delivery.sequence)?;
        }
    }
    Ok(deliveries)
}

/// What has to hold of `delivery AS d` and its `change AS c`, with the values that it asks for.
pub(in crate::sqlite) fn delivery_conditions(
    conn: &Connection,
    filter: &DeliveryFilter,
) -> Result<(String, Vec<Value>)> {
    let mut conditions = vec!["d.target = 'parent'".to_owned()];
    let mut values = Vec::new();
    match (filter.sequence, filter.state) {
        (Some(sequence), _) => {
            conditions.push("d.sequence = ?".to_owned());
            values.push(Value::Integer(sequence.cast_signed()));
        }
        (None, Some(state)) => {
            // Said twice: the indexes hold only what is not done, and what was dropped.
            let open = match state {
                DeliveryState::Done => "",
                DeliveryState::Dropped => " AND d.outcome = 'dropped'",
                _ => " AND d.state <> 'done'",
            };
            conditions.push(format!("{TOLD} = '{}'{open}", state_name(state)));
        }
        (None, None) => conditions.push("d.state <> 'done'".to_owned()),
    }
    if let Some(before) = filter.before {
        conditions.push("c.recorded < ?".to_owned());
        values.push(Value::Integer(before.millis()));
    }
    if let Some(reason) = &filter.reason {
        // No pattern of a caller's: the words are compared as they are.
        conditions.push("instr(d.reason, ?) > 0".to_owned());
        values.push(Value::Text(reason.clone()));
    }
    if filter.after > 0 {
        conditions.push("d.sequence > ?".to_owned());
        values.push(Value::Integer(filter.after.cast_signed()));
    }
    if let Some(patient) = &filter.patient {
        let key = rows::patient_known(conn, patient)?.unwrap_or(-1);
        conditions.push(
            "EXISTS (SELECT 1 FROM change_patient AS cp
                WHERE cp.sequence = d.sequence AND cp.patient = ?)"
                .to_owned(),
        );
        values.push(Value::Integer(key));
    }
    Ok((conditions.join(" AND "), values))
}

fn sql_of(conn: &Connection, filter: &DeliveryFilter) -> Result<(String, Vec<Value>)> {
    let (conditions, mut values) = delivery_conditions(conn, filter)?;
    values.push(Value::Integer(bound(filter.limit)));
    let sql = format!(
        "SELECT d.sequence, {TOLD}, d.attempts, d.next_at, d.reason, c.recorded, d.message, d.lane
         FROM delivery AS d CROSS JOIN change AS c ON c.sequence = d.sequence
         WHERE {conditions} ORDER BY d.sequence LIMIT ?"
    );
    Ok((sql, values))
}

pub(in crate::sqlite) fn state_name(state: DeliveryState) -> &'static str {
    match state {
        DeliveryState::Ready => "ready",
        DeliveryState::Leased => "leased",
        DeliveryState::HandedOver => "handed-over",
        DeliveryState::Retry => "retry",
        DeliveryState::Parked => "parked",
        DeliveryState::Done => "done",
        DeliveryState::Dropped => "dropped",
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<(DeliveryInfo, Option<i64>)> {
    let state = match row.get_ref(1)?.as_str()? {
        "ready" => DeliveryState::Ready,
        "leased" => DeliveryState::Leased,
        "handed-over" => DeliveryState::HandedOver,
        "retry" => DeliveryState::Retry,
        "parked" => DeliveryState::Parked,
        "done" => DeliveryState::Done,
        "dropped" => DeliveryState::Dropped,
        _ => return Err(rows::odd(1, "not a state of a delivery")),
    };
    let next_at = rows::time(row, 3)?;
    let delivery = DeliveryInfo {
        sequence: row.get(0)?,
        lane: row.get::<_, LaneColumn>(7)?.0,
        state,
        patients: Vec::new(),
        records: Vec::new(),
        recorded: rows::time(row, 5)?,
        attempts: row.get(2)?,
        next_at: (state == DeliveryState::Retry).then_some(next_at),
        reason: row.get(4)?,
        message: None,
        history: Vec::new(),
    };
    Ok((delivery, row.get(6)?))
}

fn complete(conn: &Connection, delivery: &mut DeliveryInfo) -> Result<()> {
    let sql = "SELECT p.id FROM change_patient AS cp CROSS JOIN patient AS p ON p.key = cp.patient
         WHERE cp.sequence = ?1 ORDER BY p.id";
    delivery.patients = list(conn, sql, [delivery.sequence], |row| rows::patient_ref(row, 0))?;
    let sql = "SELECT r.type, r.id FROM version AS v CROSS JOIN record AS r ON r.key = v.record
         WHERE v.sequence = ?1 ORDER BY v.key";
    delivery.records = list(conn, sql, [delivery.sequence], |row| rows::record_ref(row, 0))?;
    Ok(())
}

fn history(conn: &Connection, sequence: u64) -> Result<Vec<(Timestamp, String, Option<String>)>> {
    let sql = "SELECT at, outcome, reason FROM delivery_attempt
         WHERE target = 'parent' AND sequence = ?1 ORDER BY rowid";
    list(conn, sql, [sequence], |row| Ok((rows::time(row, 0)?, row.get(1)?, row.get(2)?)))
}
