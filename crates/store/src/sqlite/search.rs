//! Records by what they can be found by.
//!
//! Each part of a search can give its candidates (a short walk of an index) and can test one
//! record (a look at one place of an index). The part with the fewest candidates leads, counted
//! up to a bound; where all have many, the records of the type are walked in the order of the
//! page, which then is full soon. Either way a page costs what it shows, not what is stored.

mod parts;
#[cfg(test)]
mod tests;

use rusqlite::types::Value;
use rusqlite::{OptionalExtension, params, params_from_iter};

use self::parts::Part;
use super::history::{cursor, read_cursor};
use super::records::{STORED, stored};
use super::scope::Sight;
use super::*;
use crate::StoreError;

/// A part with fewer candidates than this may lead; with more, walking the type is no worse.
const FEW: u64 = 2_000;

pub(super) fn record_search(
    store: &SqliteStore,
    query: &SearchQuery,
    scope: &Scope,
) -> Result<SearchPage> {
    store.read("search its records", |conn| run(conn, query, scope))
}

/// The same in the caller's transaction.
pub(super) fn run(conn: &Connection, query: &SearchQuery, scope: &Scope) -> Result<SearchPage> {
    if query.kind.is_none() && query.patients.is_none() {
        let reason = "a search has to name a resource type or a patient";
        return Err(StoreError::Refused(protocol::Refusal::invalid(reason)));
    }
    let plan = Plan::of(conn, query, &Sight::of(conn, scope)?)?;
    let total = if query.total { Some(plan.total(conn)?) } else { None };
    let (records, next) = plan.page(conn, query)?;
    Ok(SearchPage { records, next, total })
}

struct Plan {
    parts: Vec<Part>,
    /// Which part has the fewest candidates, and how many (at most [`FEW`]).
    fewest: Option<(usize, u64)>,
    /// What else has to hold of a record `r`.
    conditions: Vec<String>,
    values: Vec<Value>,
    has_kind: bool,
}

impl Plan {
    fn of(conn: &Connection, query: &SearchQuery, sight: &Sight) -> Result<Plan> {
        let mut plan = Plan {
            parts: Vec::new(),
            fewest: None,
            conditions: vec!["r.deleted = 0".to_owned(), sight.condition("r")],
            values: Vec::new(),
            has_kind: query.kind.is_some(),
        };
        if let Some(kind) = query.kind {
            plan.condition("r.type = ?", Value::Text(kind.name().to_owned()));
        }
        plan.add_updated(conn, query)?;
        plan.add_parts(conn, query)?;
        for (index, part) in plan.parts.iter().enumerate() {
            let count = part.count(conn, FEW)?;
            if plan.fewest.is_none_or(|(_, fewest)| count < fewest) {
                plan.fewest = Some((index, count));
            }
        }
        Ok(plan)
    }

    fn condition(&mut self, condition: &str, value: Value) {
        self.conditions.push(condition.to_owned());
        self.values.push(value);
    }

    fn add_parts(&mut self, conn: &Connection, query: &SearchQuery) -> Result<()> {
        if let Some(ids) = &query.ids {
            match query.kind {
                Some(kind) => self.parts.push(Part::ids(conn, kind, ids)?),
                None => {
                    let marks = vec!["?"; ids.len()].join(", ");
                    self.conditions.push(format!("r.id IN ({marks})"));
                    self.values.extend(ids.iter().map(|id| Value::Text(id.clone())));
                }
            }
        }
        if let Some(patients) = &query.patients {
            self.parts.push(Part::patients(conn, patients)?);
        }
        self.parts.extend(query.filters.iter().map(Part::filter));
        Ok(())
    }

    /// Times decide; sequences only say where they have to be looked at.
    fn add_updated(&mut self, conn: &Connection, query: &SearchQuery) -> Result<()> {
        const RECORDED: &str = "(SELECT u.recorded FROM change AS u WHERE u.sequence = r.sequence)";
        if let Some(from) = query.updated.0 {
            let floor: Option<i64> = conn
                .prepare_cached("SELECT min(sequence) FROM change WHERE recorded >= ?1")?
                .query_row([from.millis()], |row| row.get(0))?;
            self.condition("r.sequence >= ?", Value::Integer(floor.unwrap_or(i64::MAX)));
            self.condition(&format!("{RECORDED} >= ?"), Value::Integer(from.millis()));
        }
        if let Some(to) = query.updated.1 {
            let ceiling: Option<i64> = conn
                .prepare_cached("SELECT max(sequence) FROM change WHERE recorded <= ?1")?
                .query_row([to.millis()], |row| row.get(0))?;
            self.condition("r.sequence <= ?", Value::Integer(ceiling.unwrap_or(-1)));
            self.condition(&format!("{RECORDED} <= ?"), Value::Integer(to.millis()));
        }
        Ok(())
    }

    /// The part that leads: for a page only where walking the type in its order is worse.
    fn leader(&self, is_page: bool) -> Option<usize> {
        let (index, count) = self.fewest?;
        (count < FEW || !is_page || !self.has_kind).then_some(index)
    }

    /// `FROM` and `WHERE`, with their values.
    fn rows_of(&self, leader: Option<usize>) -> (String, Vec<Value>) {
        let mut values = Vec::new();
        let from = match leader {
            Some(index) => {
                let part = &self.parts[index];
                values.extend(part.values.iter().cloned());
                let candidates = &part.candidates;
                format!(
                    "(SELECT DISTINCT record FROM ({candidates})) AS lead
                    CROSS JOIN record AS r ON r.key = lead.record"
                )
            }
            None => "record AS r".to_owned(),
        };
        let mut conditions = self.conditions.clone();
        values.extend(self.values.iter().cloned());
        for (index, part) in self.parts.iter().enumerate() {
            if leader != Some(index) {
                conditions.push(part.probe.clone());
                values.extend(part.values.iter().cloned());
            }
        }
        (format!("FROM {from} WHERE {}", conditions.join(" AND ")), values)
    }

    fn total(&self, conn: &Connection) -> Result<u64> {
        let (from_where, values) = self.rows_of(self.leader(false));
        let mut statement = conn.prepare_cached(&format!("SELECT count(*) {from_where}"))?;
        Ok(statement.query_row(params_from_iter(values), |row| row.get(0))?)
    }

    fn page(
        &self,
        conn: &Connection,
        query: &SearchQuery,
    ) -> Result<(Vec<StoredVersion>, Option<String>)> {
        let (sql, values) = self.page_sql(query)?;
        let mut statement = conn.prepare_cached(&sql)?;
        let mut rows = statement.query(params_from_iter(values))?;
        let (mut records, mut last) = (Vec::new(), None);
        while let Some(row) = rows.next()? {
            if records.len() >= query.limit as usize {
                return Ok((records, last));
            }
            let record = stored(row)?;
            last = Some(cursor(record.sequence, row.get(7)?));
            records.push(record);
        }
        Ok((records, None))
    }

    fn page_sql(&self, query: &SearchQuery) -> Result<(String, Vec<Value>)> {
        let (mut from_where, mut values) = self.rows_of(self.leader(true));
        let (sign, order) = match query.order {
            SearchOrder::Updated => (">", "ASC"),
            SearchOrder::UpdatedDescending => ("<", "DESC"),
        };
        if let Some(after) = &query.after {
            let (sequence, key) = read_cursor(after)?;
            from_where.push_str(&format!(" AND (r.sequence, r.key) {sign} (?, ?)"));
            values.push(Value::Integer(sequence.cast_signed()));
            values.push(Value::Integer(key));
        }
        values.push(Value::Integer(i64::from(query.limit) + 1));
        let sql = format!(
            "WITH page AS MATERIALIZED (SELECT r.key, r.sequence {from_where}
                ORDER BY r.sequence {order}, r.key {order} LIMIT ?)
             SELECT {STORED}, r.key FROM page
             CROSS JOIN record AS r ON r.key = page.key
             CROSS JOIN version AS v ON v.record = r.key AND v.sequence = r.sequence
             CROSS JOIN change AS c ON c.sequence = v.sequence
             ORDER BY page.sequence {order}, page.key {order}"
        );
        Ok((sql, values))
    }
}

/// The key of a record, where there is one.
fn record_key(conn: &Connection, kind: &str, id: &str) -> Result<Option<i64>> {
    Ok(conn
        .prepare_cached("SELECT key FROM record WHERE type = ?1 AND id = ?2")?
        .query_row(params![kind, id], |row| row.get(0))
        .optional()?)
}
