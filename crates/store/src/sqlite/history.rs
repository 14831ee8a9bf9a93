//! Versions of records, newest first.

use rusqlite::types::ToSql;

use super::records::{STORED, stored};
use super::scope::Sight;
use super::*;
use crate::StoreError;

/// Pages go on after (sequence, key of the version): rows that come or go between two pages move
/// nothing from one to the other.
pub(super) fn record_history(
    store: &SqliteStore,
    query: &HistoryQuery,
    scope: &Scope,
) -> Result<HistoryPage> {
    let after = query.after.as_deref().map(read_cursor).transpose()?;
    store.read("read a history", |conn| {
        let mut plan = Plan::of(conn, query, &Sight::of(conn, scope)?)?;
        let total = plan.total(conn)?;
        if total > FEW && query.record.is_none() {
            plan.from = BY_SEQUENCE;
        }
        let (versions, next) = plan.page(conn, after, query.limit)?;
        Ok(HistoryPage { versions, next, total })
    })
}

/// Tables in the order in which they are to be walked, and what has to hold.
struct Plan {
    from: &'static str,
    conditions: Vec<String>,
    values: Vec<Box<dyn ToSql>>,
}

/// So many versions are gathered from their records and sorted; of more, a page is walked in its
/// order.
const FEW: u64 = 2_000;

const BY_RECORD: &str = "record AS r CROSS JOIN version AS v ON v.record = r.key
     CROSS JOIN change AS c ON c.sequence = v.sequence";
const BY_SEQUENCE: &str = "version AS v CROSS JOIN record AS r ON r.key = v.record
     CROSS JOIN change AS c ON c.sequence = v.sequence";

impl Plan {
    fn of(conn: &Connection, query: &HistoryQuery, sight: &Sight) -> Result<Plan> {
        let by_sequence = query.record.is_none() && (query.since.is_some() || query.kind.is_none());
        let from = if by_sequence { BY_SEQUENCE } else { BY_RECORD };
        let mut plan = Plan { from, conditions: vec![sight.version("r", "v")], values: Vec::new() };
        if let Some(record) = &query.record {
            plan.add("r.type = ?", record.kind.name().to_owned());
            plan.add("r.id = ?", record.id().to_owned());
        } else if let Some(kind) = query.kind {
            plan.add("r.type = ?", kind.name().to_owned());
        }
        if let Some(since) = query.since {
            // The clock may have stepped back, so the times decide; the sequence only says from
            // where on they have to be looked at.
            let floor: Option<u64> = conn
                .prepare_cached("SELECT min(sequence) FROM change WHERE recorded >= ?1")?
                .query_row([since.millis()], |row| row.get(0))?;
            plan.add("v.sequence >= ?", floor.unwrap_or(i64::MAX as u64));
            plan.add("c.recorded >= ?", since.millis());
        }
        Ok(plan)
    }

    fn add(&mut self, condition: &str, value: impl ToSql + 'static) {
        self.conditions.push(condition.to_owned());
        self.values.push(Box::new(value));
    }

    fn sql(&self, columns: &str, tail: &str) -> String {
        format!(
            "SELECT {columns} FROM {} WHERE {} {tail}",
            self.from,
            self.conditions.join(" AND ")
        )
    }

    fn total(&self, conn: &Connection) -> Result<u64> {
        let mut statement = conn.prepare_cached(&self.sql("count(*)", ""))?;
        let values: Vec<&dyn ToSql> = self.values.iter().map(AsRef::as_ref).collect();
        Ok(statement.query_row(values.as_slice(), |row| row.get(0))?)
    }

    fn page(
        mut self,
        conn: &Connection,
        after: Option<(u64, i64)>,
        limit: u32,
    ) -> Result<(Vec<StoredVersion>, Option<String>)> {
        if let Some((sequence, key)) = after {
            self.add("v.sequence <= ?", sequence);
            self.conditions.push("(v.sequence, v.key) < (?, ?)".to_owned());
            self.values.push(Box::new(sequence));
            self.values.push(Box::new(key));
        }
        self.values.push(Box::new(u64::from(limit) + 1));
        let columns = format!("{STORED}, v.key");
        let sql = self.sql(&columns, "ORDER BY v.sequence DESC, v.key DESC LIMIT ?");
        let values: Vec<&dyn ToSql> = self.values.iter().map(AsRef::as_ref).collect();
        let mut statement = conn.prepare_cached(&sql)?;
        let mut rows = statement.query(values.as_slice())?;
        let (mut versions, mut last) = (Vec::new(), None);
        while let Some(row) = rows.next()? {
            if versions.len() >= limit as usize {
                return Ok((versions, last));
            }
            let version = stored(row)?;
            last = Some(cursor(version.sequence, row.get(7)?));
            versions.push(version);
        }
        Ok((versions, None))
    }
}

/// Where a page ended, as an opaque text.
pub(super) fn cursor(sequence: u64, key: i64) -> String {
    format!("{sequence}.{key}")
}

/// The inverse of [`cursor`], for texts that came over the wire.
pub(super) fn read_cursor(text: &str) -> Result<(u64, i64)> {
    let read = || {
        let (sequence, key) = text.split_once('.')?;
        let sequence: u64 = sequence.parse().ok().filter(|s| *s <= i64::MAX as u64)?;
        Some((sequence, key.parse().ok()?))
    };
    read().ok_or_else(|| {
        let reason = "the place to go on from is not one that this site gave";
        StoreError::Refused(protocol::Refusal::invalid(reason))
    })
}

#[cfg(test)]
mod tests;
