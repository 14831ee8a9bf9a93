//! Rows of all audits that are here, ours and those of sites below, as events.

use std::collections::BTreeSet;

use protocol::RecordRef;
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

use crate::sqlite::{SqliteStore, rows, status};
use crate::{AuditEvent, EVENT_SITE_CHARS, EventFilter, EventId, Result};

/// All rows in one form. Ours have life 0.
const ALL: &str = "(SELECT (SELECT site FROM site) AS site, 0 AS life, key, at, actor, action,
        subject, detail, 1 AS own FROM audit
     UNION ALL
     SELECT site, life, key, at, actor, action, subject, detail, 0 FROM audit_copy)";

pub(in crate::sqlite) fn audit_events(
    store: &SqliteStore,
    filter: &EventFilter,
) -> Result<Vec<AuditEvent>> {
    store.read("search all audits", |conn| {
        let (sql, values) = sql_of(conn, filter)?;
        let mut statement = conn.prepare_cached(&sql)?;
        let found = statement.query_map(params_from_iter(values), read)?;
        let found = found.collect::<rusqlite::Result<Vec<_>>>()?;
        let mut events = Vec::with_capacity(found.len());
        for (mut event, subject, own) in found {
            event.about = about(conn, &event, &subject, own)?;
            events.push(event);
        }
        Ok(events)
    })
}

fn read(row: &Row<'_>) -> rusqlite::Result<(AuditEvent, String, bool)> {
    let site = rows::site_id(row, 0)?;
    let begins = site.as_str().chars().take(EVENT_SITE_CHARS).collect();
    let event = AuditEvent {
        id: EventId { site: begins, life: row.get(1)?, key: row.get(2)? },
        site,
        at: rows::time(row, 3)?,
        actor: row.get(4)?,
        action: row.get(5)?,
        detail: row.get(7)?,
        about: Vec::new(),
    };
    Ok((event, row.get(6)?, row.get(8)?))
}

/// What the subject names; of changes that were recorded here, and of what was done to them on
/// their way up, their patients.
fn about(
    conn: &Connection,
    event: &AuditEvent,
    subject: &str,
    own: bool,
) -> Result<Vec<RecordRef>> {
    if !(own && (event.action == "change" || event.action.starts_with("delivery-"))) {
        return Ok(subject.split(' ').filter_map(|word| word.parse().ok()).collect());
    }
    let sql = "SELECT p.id FROM change_patient AS cp CROSS JOIN patient AS p ON p.key = cp.patient
         WHERE cp.sequence = ?1 ORDER BY p.id";
    let mut about = BTreeSet::new();
    for word in subject.split(' ') {
        match word.parse::<i64>() {
            Ok(sequence) => {
                about.extend(status::list(conn, sql, [sequence], |row| rows::patient_ref(row, 0))?);
            }
            Err(_) => about.extend(word.parse::<RecordRef>()),
        }
    }
    Ok(about.into_iter().collect())
}

fn sql_of(conn: &Connection, filter: &EventFilter) -> Result<(String, Vec<Value>)> {
    let mut conditions = vec!["1 = 1".to_owned()];
    let mut values = Vec::new();
    for (column, list) in [("actor", &filter.actors), ("action", &filter.actions)] {
        if !list.is_empty() {
            let marks = vec!["?"; list.len()].join(", ");
            conditions.push(format!("a.{column} IN ({marks})"));
            values.extend(list.iter().cloned().map(Value::Text));
        }
    }
    if !filter.not_actions.is_empty() {
        let marks = vec!["?"; filter.not_actions.len()].join(", ");
        conditions.push(format!("a.action NOT IN ({marks})"));
        values.extend(filter.not_actions.iter().cloned().map(Value::Text));
    }
    for (test, time) in [(">=", filter.since), ("<", filter.until)] {
        if let Some(time) = time {
            conditions.push(format!("a.at {test} ?"));
            values.push(Value::Integer(time.millis()));
        }
    }
    for name in &filter.about {
        conditions.push(
            "(instr(' ' || a.subject || ' ', ' ' || ? || ' ') > 0
                OR (a.own = 1 AND a.action = 'change' AND CAST(a.subject AS INTEGER) IN
                    (SELECT sequence FROM change_patient WHERE patient = ?))
                OR (a.own = 1 AND a.action LIKE 'delivery-%' AND EXISTS
                    (SELECT 1 FROM change_patient AS cp WHERE cp.patient = ?
                        AND instr(' ' || a.subject || ' ', ' ' || cp.sequence || ' ') > 0)))"
                .to_owned(),
        );
        let patient = match name.is_patient() {
            true => rows::patient_known(conn, name)?.unwrap_or(-1),
            false => -1,
        };
        let patient = Value::Integer(patient);
        values.extend([Value::Text(name.to_string()), patient.clone(), patient]);
    }
    let site = format!("substr(a.site, 1, {EVENT_SITE_CHARS})");
    let place = |id: &EventId| {
        let number = |n: u64| Value::Integer(n.cast_signed());
        [Value::Text(id.site.clone()), number(id.life), number(id.key)]
    };
    if let Some(id) = &filter.id {
        conditions.push(format!("({site}, a.life, a.key) = (?, ?, ?)"));
        values.extend(place(id));
    }
    if let Some((at, id)) = &filter.after {
        conditions.push(format!("(a.at, {site}, a.life, a.key) < (?, ?, ?, ?)"));
        values.push(Value::Integer(at.millis()));
        values.extend(place(id));
    }
    values.push(Value::Integer(i64::try_from(filter.limit).unwrap_or(i64::MAX)));
    let sql = format!(
        "SELECT a.site, a.life, a.key, a.at, a.actor, a.action, a.subject, a.detail, a.own
         FROM {ALL} AS a WHERE {}
         ORDER BY a.at DESC, {site} DESC, a.life DESC, a.key DESC LIMIT ?",
        conditions.join(" AND ")
    );
    Ok((sql, values))
}
