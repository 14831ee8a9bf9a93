//! Rows of the audit for people, by what they are about.

use protocol::{Digest, RecordRef};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::walk;
use crate::sqlite::{SqliteStore, rows};
use crate::{AuditEntry, AuditFilter, AuditProof, Result};

pub(in crate::sqlite) fn audit_list(
    store: &SqliteStore,
    filter: &AuditFilter,
) -> Result<Vec<AuditEntry>> {
    store.read("search the audit", |conn| {
        let (sql, values) = sql_of(conn, filter)?;
        let mut statement = conn.prepare_cached(&sql)?;
        let found = statement.query_map(params_from_iter(values), |row| {
            Ok(AuditEntry {
                key: row.get(0)?,
                at: rows::time(row, 1)?,
                actor: row.get(2)?,
                action: row.get(3)?,
                subject: row.get(4)?,
                detail: row.get(5)?,
                hash: Digest(row.get(6)?).to_string(),
            })
        })?;
        Ok(found.collect::<rusqlite::Result<_>>()?)
    })
}

fn sql_of(conn: &Connection, filter: &AuditFilter) -> Result<(String, Vec<Value>)> {
    let mut conditions = vec!["a.key > ?".to_owned()];
    let mut values = vec![Value::Integer(filter.after.cast_signed())];
    let mut add = |condition: String, value: Vec<Value>| {
        conditions.push(condition);
        values.extend(value);
    };
    for (column, text) in [("actor", &filter.actor), ("action", &filter.action)] {
        if let Some(text) = text {
            add(format!("a.{column} = ?"), vec![Value::Text(text.clone())]);
        }
    }
    for (test, time) in [(">=", filter.since), ("<", filter.until)] {
        if let Some(time) = time {
            add(format!("a.at {test} ?"), vec![Value::Integer(time.millis())]);
        }
    }
    if let Some(record) = &filter.record {
        let key = rows::record_row(conn, record)?.map_or(-1, |row| row.key);
        add(about("SELECT sequence FROM version WHERE record = ?"), named(record, key));
    }
    if let Some(patient) = &filter.patient {
        let key = rows::patient_known(conn, patient)?.unwrap_or(-1);
        let of_patient = about("SELECT sequence FROM change_patient WHERE patient = ?");
        let of_records = "EXISTS (SELECT 1 FROM record AS r CROSS JOIN record_patient AS rp
                ON rp.record = r.key AND rp.patient = ?
             WHERE r.type = substr(a.subject, 1, instr(a.subject, '/') - 1)
                AND r.id = substr(a.subject, instr(a.subject, '/') + 1))";
        let mut all = named(patient, key);
        all.push(Value::Integer(key));
        add(format!("({of_patient} OR {of_records})"), all);
    }
    values.push(Value::Integer(i64::try_from(filter.limit).unwrap_or(i64::MAX)));
    let order = if filter.newest { "DESC" } else { "ASC" };
    let sql = format!(
        "SELECT a.key, a.at, a.actor, a.action, a.subject, a.detail, a.hash FROM audit AS a
         WHERE {} ORDER BY a.key {order} LIMIT ?",
        conditions.join(" AND ")
    );
    Ok((sql, values))
}

/// Rows whose subject names it, alone or among others, or is one of its changes.
fn about(sequences: &str) -> String {
    format!(
        "(instr(' ' || a.subject || ' ', ' ' || ? || ' ') > 0
            OR (a.action = 'change' AND CAST(a.subject AS INTEGER) IN ({sequences}))
            OR (a.action LIKE 'delivery-%' AND EXISTS (SELECT 1 FROM ({sequences}) AS s
                WHERE instr(' ' || a.subject || ' ', ' ' || s.sequence || ' ') > 0)))"
    )
}

/// The values that `about` asks for.
fn named(record: &RecordRef, key: i64) -> Vec<Value> {
    vec![Value::Text(record.to_string()), Value::Integer(key), Value::Integer(key)]
}

pub(in crate::sqlite) fn audit_verify(store: &SqliteStore) -> Result<AuditProof> {
    store.read("verify the audit", |conn| {
        let mut broken = None;
        let (rows, last) = walk(conn, |finding| {
            broken.get_or_insert(finding);
        })?;
        Ok(AuditProof { rows, last: Digest(last).to_string(), broken })
    })
}
