//! Whose turn it is: consecutive deliveries of the same patients, in the order of their changes,
//! that nothing before them holds back.

use std::collections::{BTreeMap, BTreeSet};

use protocol::delivery::{backoff_longest, is_due};
use protocol::{Limits, Timestamp, Urgency};
use rusqlite::{Connection, params};

use super::lanes::{LaneColumn, is_mixed, oldest_open, would_overtake};
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
    /// The lane of the first.
    pub(in crate::sqlite) lane: Urgency,
}

pub(super) fn find(
    conn: &Connection,
    now: Timestamp,
    limits: &Limits,
    lanes: &[Urgency],
) -> Result<Vec<Turn>> {
    let is_mixed = is_mixed(conn)?;
    let oldest = if is_mixed { oldest_open(conn)? } else { 0 };
    let (turns, held) = (Vec::new(), BTreeMap::new());
    let mut finder = Finder { conn, now, limits, is_mixed, oldest, turns, held };
    for lane in lanes {
        finder.look(*lane)?;
        if finder.turns.len() >= TURNS {
            break;
        }
    }
    Ok(finder.turns)
}

struct Finder<'a> {
    conn: &'a Connection,
    now: Timestamp,
    limits: &'a Limits,
    /// Whether what is open is of more than one lane.
    is_mixed: bool,
    /// The oldest delivery that is open, where it is.
    oldest: u64,
    turns: Vec<Turn>,
    /// Which turn a subject has, `None`: it has to wait for the next call.
    held: BTreeMap<Subject, Option<usize>>,
}

/// An open delivery.
struct Open {
    sequence: u64,
    /// Whether it might go now.
    free: bool,
    /// Origin and number of its change.
    name: Option<(i64, u64)>,
}

impl Finder<'_> {
    /// Looks through the open deliveries of one lane, oldest first.
    fn look(&mut self, lane: Urgency) -> Result<()> {
        let conn = self.conn;
        let mut statement = conn.prepare_cached(
            "SELECT d.sequence, d.state, d.next_at, d.away, c.origin, c.number
             FROM delivery AS d INDEXED BY delivery_lane
             CROSS JOIN change AS c ON c.sequence = d.sequence
             WHERE d.target = 'parent' AND d.lane = ?2 AND d.state <> 'done'
             ORDER BY d.sequence LIMIT ?1",
        )?;
        let mut found = statement.query(params![LOOKED_AT, LaneColumn(lane)])?;
        while let Some(row) = found.next()? {
            let is_here = row.get::<_, u8>(3)? == 0;
            let free = is_here
                && match row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)? {
                    "ready" => true,
                    "retry" => is_due(rows::time(row, 2)?, self.now, backoff_longest(self.limits)),
                    _ => false,
                };
            let name = row.get::<_, Option<i64>>(4)?.zip(row.get(5)?);
            self.take(&Open { sequence: row.get(0)?, free, name }, lane)?;
            if self.turns.len() >= TURNS {
                break;
            }
        }
        Ok(())
    }

    fn take(&mut self, open: &Open, lane: Urgency) -> Result<()> {
        let subjects = subjects_of(self.conn, open.sequence)?;
        let before = subjects.iter().filter_map(|subject| self.held.get(subject).copied());
        let before = before.collect::<BTreeSet<_>>();
        let turn = match (open.free, open.name, before.iter().next().copied()) {
            (true, Some((origin, number)), None) if self.turns.len() < TURNS => {
                if self.overtakes(&subjects, self.oldest, open.sequence)? {
                    // What is before it may be in a lane that is looked at later: nothing is held.
                    return Ok(());
                }
                let changes = vec![(open.sequence, number)];
                self.turns.push(Turn { origin, changes, subjects: subjects.clone(), lane });
                Some(self.turns.len() - 1)
            }
            (true, Some((origin, number)), Some(Some(index))) if before.len() == 1 => {
                let last = self.turns[index].changes.last().map_or(0, |(last, _)| *last);
                let joins = !self.overtakes(&subjects, last + 1, open.sequence)?
                    && last < open.sequence
                    && join(
                        &mut self.turns[index],
                        (origin, open.sequence, number),
                        &subjects,
                        self.limits,
                    );
                joins.then_some(index)
            }
            _ => None,
        };
        self.held.extend(subjects.into_iter().map(|subject| (subject, turn)));
        Ok(())
    }

    fn overtakes(&self, subjects: &BTreeSet<Subject>, from: u64, before: u64) -> Result<bool> {
        Ok(self.is_mixed && would_overtake(self.conn, subjects, (from, before))?)
    }
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
