//! The lanes of what goes up. Order holds for each patient over all lanes: what goes before another
//! change of the same patients is made as urgent as that one, and nothing overtakes anything of its
//! own patients in any case.

use std::collections::BTreeSet;

use protocol::Urgency;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, params};

use super::turns::{Subject, subjects_of};
use crate::Result;

/// A lane as its column has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::sqlite) struct LaneColumn(pub(in crate::sqlite) Urgency);

impl ToSql for LaneColumn {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let number: i64 = match self.0 {
            Urgency::Urgent => 0,
            Urgency::Normal => 1,
            Urgency::Bulk => 2,
        };
        Ok(number.into())
    }
}

impl FromSql for LaneColumn {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let index = usize::try_from(value.as_i64()?).ok();
        let lane = index.and_then(|index| Urgency::ALL.get(index));
        lane.copied().map(LaneColumn).ok_or(FromSqlError::InvalidType)
    }
}

/// A delivery has come, or is open again: what is before it of the same patients becomes as urgent
/// as it is, and it as urgent as what is behind it.
pub(in crate::sqlite) fn place(step: &Connection, sequence: u64) -> Result<()> {
    let found: Option<LaneColumn> = step
        .prepare_cached(
            "SELECT lane FROM delivery
             WHERE target = 'parent' AND sequence = ?1 AND state <> 'done'",
        )?
        .query_row([sequence], |row| row.get(0))
        .optional()?;
    let Some(own) = found else { return Ok(()) };
    if !is_mixed(step)? {
        return Ok(());
    }
    let lane = most_urgent_behind(step, sequence)?.map_or(own, |behind| behind.min(own));
    if lane < own {
        set(step, sequence, lane)?;
    }
    let mut todo = vec![sequence];
    while let Some(sequence) = todo.pop() {
        for before in less_urgent_before(step, sequence, lane)? {
            set(step, before, lane)?;
            todo.push(before);
        }
    }
    Ok(())
}

/// Whether what is open is of more than one lane: else there is nothing to be looked at.
pub(in crate::sqlite) fn is_mixed(conn: &Connection) -> Result<bool> {
    let edge = |order: &str| -> Result<Option<LaneColumn>> {
        let sql = format!(
            "SELECT lane FROM delivery INDEXED BY delivery_lane
             WHERE target = 'parent' AND state <> 'done' ORDER BY lane {order} LIMIT 1"
        );
        Ok(conn.prepare_cached(&sql)?.query_row([], |row| row.get(0)).optional()?)
    };
    Ok(edge("ASC")? != edge("DESC")?)
}

fn set(step: &Connection, sequence: u64, lane: LaneColumn) -> Result<()> {
    step.prepare_cached("UPDATE delivery SET lane = ?2 WHERE target = 'parent' AND sequence = ?1")?
        .execute(params![sequence, lane])?;
    Ok(())
}

/// Open deliveries of a subject (`?1`), as far as `what` says.
fn of_subject(select: &str, subject: &Subject, what: &str) -> String {
    let (table, column) = match subject {
        Subject::Patient(_) => ("change_patient", "patient"),
        Subject::Record(_) => ("version", "record"),
    };
    format!(
        "SELECT {select} FROM {table} AS s
         CROSS JOIN delivery AS d ON d.target = 'parent' AND d.sequence = s.sequence
         WHERE s.{column} = ?1 AND d.state <> 'done' AND {what}"
    )
}

fn key(subject: &Subject) -> i64 {
    match subject {
        Subject::Patient(key) | Subject::Record(key) => *key,
    }
}

fn most_urgent_behind(step: &Connection, sequence: u64) -> Result<Option<LaneColumn>> {
    let mut found = None;
    for subject in subjects_of(step, sequence)? {
        let sql = of_subject("min(d.lane)", &subject, "s.sequence > ?2");
        let lane: Option<LaneColumn> = step
            .prepare_cached(&sql)?
            .query_row(params![key(&subject), sequence], |row| row.get(0))?;
        found = found.into_iter().chain(lane).min();
    }
    Ok(found)
}

fn less_urgent_before(step: &Connection, sequence: u64, lane: LaneColumn) -> Result<BTreeSet<u64>> {
    let oldest = oldest_open(step)?;
    let mut found = BTreeSet::new();
    for subject in subjects_of(step, sequence)? {
        let what = "s.sequence >= ?2 AND s.sequence < ?3 AND d.lane > ?4";
        let mut statement = step.prepare_cached(&of_subject("d.sequence", &subject, what))?;
        let values = params![key(&subject), oldest, sequence, lane];
        for before in statement.query_map(values, |row| row.get(0))? {
            found.insert(before?);
        }
    }
    Ok(found)
}

/// The oldest delivery that is not done.
pub(in crate::sqlite) fn oldest_open(conn: &Connection) -> Result<u64> {
    let oldest = conn
        .prepare_cached(
            "SELECT sequence FROM delivery INDEXED BY delivery_open
             WHERE target = 'parent' AND state <> 'done' ORDER BY sequence LIMIT 1",
        )?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(oldest.unwrap_or(0))
}

/// Whether something of these subjects that is open lies between two deliveries (from the first one
/// on, before the second one): that one must not go ahead of it.
pub(super) fn would_overtake(
    conn: &Connection,
    subjects: &BTreeSet<Subject>,
    (from, before): (u64, u64),
) -> Result<bool> {
    for subject in subjects {
        let what = "s.sequence >= ?2 AND s.sequence < ?3 LIMIT 1";
        let sql = of_subject("1", subject, what);
        if conn.prepare_cached(&sql)?.exists(params![key(subject), from, before])? {
            return Ok(true);
        }
    }
    Ok(false)
}
