//! Whose turn it is: consecutive deliveries of the same patients, in the order of their changes,
//! that nothing before them holds back.

use std::collections::{BTreeMap, BTreeSet};

use protocol::delivery::{backoff_longest, is_due};
use protocol::{Limits, Timestamp};
use rusqlite::Connection;

use crate::Result;
use crate::sqlite::rows;

/// Open deliveries that one call looks at: bounds the work where many are held back.
const LOOKED_AT: u32 = 20_000;
/// Most lines that one call gives.
const TURNS: usize = 500;

/// What deliveries have to keep their order for: the change's patients, or its records where it
/// has none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::sqlite) enum Subject {
    Patient(i64),
    Record(i64),
}

/// Deliveries that go in one line.
#[derive(Debug)]
pub(in crate::sqlite) struct Turn {
    pub(in crate::sqlite) origin: i64,
    /// Sequence and number of each change.
    pub(in crate::sqlite) changes: Vec<(u64, u64)>,
    pub(in crate::sqlite) subjects: BTreeSet<Subject>,
}

pub(super) fn find(conn: &Connection, now: Timestamp, limits: &Limits) -> Result<Vec<Turn>> {
    let mut statement = conn.prepare_cached(
        "SELECT d.sequence, d.state, d.next_at, d.away, c.origin, c.number
         FROM delivery AS d INDEXED BY delivery_open
         CROSS JOIN change AS c ON c.sequence = d.sequence
         WHERE d.target = 'parent' AND d.state <> 'done' ORDER BY d.sequence LIMIT ?1",
    )?;
    let mut found = statement.query([LOOKED_AT])?;
    let mut turns: Vec<Turn> = Vec::new();
    // Which turn a subject has, `None`: it has to wait for the next call.
    let mut held: BTreeMap<Subject, Option<usize>> = BTreeMap::new();
    while let Some(row) = found.next()? {
        let sequence = row.get(0)?;
        let is_here = row.get::<_, u8>(3)? == 0;
        let free = is_here
            && match row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)? {
                "ready" => true,
                "retry" => is_due(rows::time(row, 2)?, now, backoff_longest(limits)),
                _ => false,
            };
        let name: Option<(i64, u64)> = row.get::<_, Option<i64>>(4)?.zip(row.get(5)?);
        let subjects = subjects_of(conn, sequence)?;
        let before = subjects.iter().filter_map(|subject| held.get(subject).copied());
        let before = before.collect::<BTreeSet<_>>();
        let turn = match (free, name, before.iter().next().copied()) {
            (true, Some((origin, number)), None) if turns.len() < TURNS => {
                let changes = vec![(sequence, number)];
                turns.push(Turn { origin, changes, subjects: subjects.clone() });
                Some(turns.len() - 1)
            }
            (true, Some((origin, number)), Some(Some(index))) if before.len() == 1 => {
                join(&mut turns[index], (origin, sequence, number), &subjects, limits)
                    .then_some(index)
            }
            _ => None,
        };
        held.extend(subjects.into_iter().map(|subject| (subject, turn)));
        if turns.len() >= TURNS {
            break;
        }
    }
    Ok(turns)
}

/// Takes a delivery into a turn, if it is of the same subjects and the same origin.
fn join(
    turn: &mut Turn,
    (origin, sequence, number): (i64, u64, u64),
    subjects: &BTreeSet<Subject>,
    limits: &Limits,
) -> bool {
    let fits = turn.origin == origin
        && turn.subjects == *subjects
        && turn.changes.len() < limits.change_records;
    if fits {
        turn.changes.push((sequence, number));
    }
    fits
}

/// What a delivery has to keep its order for.
pub(in crate::sqlite) fn subjects_of(
    conn: &Connection,
    sequence: u64,
) -> Result<BTreeSet<Subject>> {
    let list = |sql: &str, make: fn(i64) -> Subject| -> Result<BTreeSet<Subject>> {
        let mut statement = conn.prepare_cached(sql)?;
        let found = statement.query_map([sequence], |row| row.get(0).map(make))?;
        Ok(found.collect::<rusqlite::Result<_>>()?)
    };
    let patients =
        list("SELECT patient FROM change_patient WHERE sequence = ?1", Subject::Patient)?;
    if !patients.is_empty() {
        return Ok(patients);
    }
    list("SELECT record FROM version WHERE sequence = ?1", Subject::Record)
}
