//! Alerts: what was raised and cleared, and who was told.

use protocol::Timestamp;
use rusqlite::{OptionalExtension, Row, params};

use super::{SqliteStore, rows, status};
use crate::{Alert, AlertFacts, AlertFound, Result};

const COLUMNS: &str = "key, rule, subject, text, raised, cleared";

fn read(row: &Row<'_>) -> rusqlite::Result<Alert> {
    Ok(Alert {
        key: row.get(0)?,
        rule: row.get(1)?,
        subject: row.get(2)?,
        text: row.get(3)?,
        raised: rows::time(row, 4)?,
        cleared: rows::time_option(row, 5)?,
    })
}

pub(super) fn alert_list(store: &SqliteStore, all: bool, limit: usize) -> Result<Vec<Alert>> {
    store.read("list alerts", |conn| {
        let open = if all { "" } else { "WHERE cleared IS NULL" };
        let sql = format!("SELECT {COLUMNS} FROM alert {open} ORDER BY key DESC LIMIT ?1");
        status::list(conn, &sql, [limit], read)
    })
}

pub(super) fn alert_update(
    store: &SqliteStore,
    raise: &[AlertFound],
    clear: &[u64],
    now: Timestamp,
) -> Result<()> {
    if raise.is_empty() && clear.is_empty() {
        return Ok(());
    }
    store.write("note alerts", |step| {
        for found in raise {
            step.prepare_cached(
                "INSERT INTO alert (rule, subject, text, raised) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO NOTHING",
            )?
            .execute(params![found.rule, found.subject, found.text, now.millis()])?;
        }
        for key in clear {
            step.prepare_cached(
                "UPDATE alert SET cleared = ?2 WHERE key = ?1 AND cleared IS NULL",
            )?
            .execute(params![key, now.millis()])?;
        }
        Ok(())
    })
}

/// Oldest first: raised and not told, or cleared and told only that it was raised.
pub(super) fn alert_untold(store: &SqliteStore, limit: usize) -> Result<Vec<Alert>> {
    store.read("find alerts that nobody was told of", |conn| {
        let sql = format!(
            "SELECT {COLUMNS} FROM alert INDEXED BY alert_untold
             WHERE told < 2 AND (told = 0 OR cleared IS NOT NULL) ORDER BY key LIMIT ?1"
        );
        status::list(conn, &sql, [limit], read)
    })
}

pub(super) fn alert_told(store: &SqliteStore, told: &[Alert]) -> Result<()> {
    store.write("note who was told of alerts", |step| {
        for alert in told {
            let state = if alert.cleared.is_some() { 2 } else { 1 };
            step.prepare_cached("UPDATE alert SET told = max(told, ?2) WHERE key = ?1")?
                .execute(params![alert.key, state])?;
        }
        Ok(())
    })
}

pub(super) fn alert_facts(store: &SqliteStore) -> Result<AlertFacts> {
    store.read("look for what is wrong", |conn| {
        let oldest_conflict = conn
            .prepare_cached(
                "SELECT min(c.recorded) FROM conflict AS l
                 CROSS JOIN version AS v ON v.record = l.record AND v.previous IS NULL
                 CROSS JOIN change AS c ON c.sequence = v.sequence
                 WHERE l.state = 'open'",
            )?
            .query_row([], |row| rows::time_option(row, 0))
            .optional()?
            .flatten();
        Ok(AlertFacts { oldest_conflict })
    })
}
