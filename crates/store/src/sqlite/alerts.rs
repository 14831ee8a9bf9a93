//! Whether the store works, and alerts: what was raised and cleared, and who was told.

use protocol::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{SqliteStore, open, rows, status};
use crate::{Alert, AlertFacts, AlertFound, AlertTrouble, AlertWay, Result, WatchStore};

impl WatchStore for SqliteStore {
    fn site_ready(&self) -> Result<()> {
        site_ready(self)
    }
    fn alert_list(&self, all: bool, limit: usize) -> Result<Vec<Alert>> {
        alert_list(self, all, limit)
    }
    fn alert_update(&self, raise: &[AlertFound], clear: &[u64], now: Timestamp) -> Result<()> {
        alert_update(self, raise, clear, now)
    }
    fn alert_untold(&self, way: AlertWay, limit: usize) -> Result<Vec<Alert>> {
        alert_untold(self, way, limit)
    }
    fn alert_told(&self, way: AlertWay, told: &[Alert]) -> Result<()> {
        alert_told(self, way, told)
    }
    fn alert_not_told(&self, way: AlertWay, error: &str, now: Timestamp) -> Result<()> {
        alert_not_told(self, way, error, now)
    }
    fn alert_facts(&self) -> Result<AlertFacts> {
        alert_facts(self)
    }
}

/// Only a write that is durable shows that one can be. There and back, since SQLite leaves out
/// what would be written as it stands.
fn site_ready(store: &SqliteStore) -> Result<()> {
    store.write("see whether it can be written", |step| {
        open::check_schema(step)?;
        for by in [1, -1] {
            step.prepare_cached("UPDATE site SET created = created + ?1")?.execute([by])?;
        }
        Ok(())
    })
}

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

fn alert_list(store: &SqliteStore, all: bool, limit: usize) -> Result<Vec<Alert>> {
    store.read("list alerts", |conn| {
        let open = if all { "" } else { "WHERE cleared IS NULL" };
        let sql = format!("SELECT {COLUMNS} FROM alert {open} ORDER BY key DESC LIMIT ?1");
        status::list(conn, &sql, [limit], read)
    })
}

fn alert_update(
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
fn alert_untold(store: &SqliteStore, way: AlertWay, limit: usize) -> Result<Vec<Alert>> {
    let (column, index) = names(way);
    store.read("find alerts that nobody was told of", |conn| {
        let sql = format!(
            "SELECT {COLUMNS} FROM alert INDEXED BY {index}
             WHERE {column} < 2 AND ({column} = 0 OR cleared IS NOT NULL) ORDER BY key LIMIT ?1"
        );
        status::list(conn, &sql, [limit], read)
    })
}

/// The column and the index of a way of telling.
fn names(way: AlertWay) -> (&'static str, &'static str) {
    match way {
        AlertWay::Webhook => ("told", "alert_untold"),
        AlertWay::Email => ("mailed", "alert_unmailed"),
    }
}

fn alert_told(store: &SqliteStore, way: AlertWay, told: &[Alert]) -> Result<()> {
    let (column, _) = names(way);
    store.write("note who was told of alerts", |step| {
        for alert in told {
            let state = if alert.cleared.is_some() { 2 } else { 1 };
            let sql = format!("UPDATE alert SET {column} = max({column}, ?2) WHERE key = ?1");
            step.prepare_cached(&sql)?.execute(params![alert.key, state])?;
        }
        step.prepare_cached("DELETE FROM alert_trouble WHERE way = ?1")?.execute([way.as_str()])?;
        Ok(())
    })
}

/// Characters that are kept of what was wrong.
const ERROR_CHARS: usize = 500;

fn alert_not_told(store: &SqliteStore, way: AlertWay, error: &str, now: Timestamp) -> Result<()> {
    // Whoever is asked says what it likes: it is shown on one line.
    let line = protocol::plain::line(error, ERROR_CHARS);
    store.write("note that nobody could be told of alerts", |step| {
        step.prepare_cached(
            "INSERT INTO alert_trouble (way, failures, since, error) VALUES (?1, 1, ?2, ?3)
             ON CONFLICT (way) DO UPDATE SET failures = failures + 1, error = ?3",
        )?
        .execute(params![way.as_str(), now.millis(), line])?;
        Ok(())
    })
}

/// Ways by which nobody could be told.
pub(super) fn troubles(conn: &Connection) -> Result<Vec<AlertTrouble>> {
    let sql = "SELECT way, failures, since, error FROM alert_trouble ORDER BY way";
    status::list(conn, sql, [], |row| {
        let name = row.get_ref(0)?.as_str()?;
        let way = AlertWay::ALL.into_iter().find(|way| way.as_str() == name);
        Ok(AlertTrouble {
            way: way.ok_or_else(|| rows::odd(0, "not a way to tell of alerts"))?,
            failures: row.get(1)?,
            since: rows::time(row, 2)?,
            error: row.get(3)?,
        })
    })
}

fn alert_facts(store: &SqliteStore) -> Result<AlertFacts> {
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
