//! Whose turn it is to be carried: like the turns of the direct way, found without looking at
//! what is away, so that it costs the same however much waits and however much is on its way.

use std::collections::{BTreeSet, VecDeque};

use protocol::Urgency;
use rusqlite::{Connection, params};

use crate::Result;
use crate::sqlite::deliveries::lanes::{LaneColumn, is_mixed, oldest_open};
use crate::sqlite::deliveries::turns::{Subject, Turn, subjects_of};

/// Free deliveries that one lease looks at: bounds the work where many are held back.
const LOOKED_AT: usize = 20_000;
/// How many of them are read at a time.
const CHUNK: usize = 128;

/// Finds turns one by one, oldest first.
pub(super) struct Finder<'a> {
    step: &'a Connection,
    /// Patients (or records) who have a turn already, or have to wait.
    held: BTreeSet<Subject>,
    /// The deliveries that have one.
    given: BTreeSet<u64>,
    chunk: VecDeque<Free>,
    /// The lanes that are still to be looked through, the present one first.
    lanes: VecDeque<Urgency>,
    /// Whether what is open is of more than one lane.
    is_mixed: bool,
    after: u64,
    looked: usize,
    /// The oldest delivery that is not done: nothing before it can hold anything back.
    oldest: u64,
    changes_at_once: usize,
}

/// A delivery that is ready and here.
struct Free {
    sequence: u64,
    message: Option<i64>,
    name: (i64, u64),
    lane: Urgency,
}

/// A turn, and how many of its changes have to go together.
pub(super) struct Found {
    pub(super) turn: Turn,
    pub(super) together: usize,
    /// The message in which those were the last time.
    pub(super) before: Option<i64>,
}

impl<'a> Finder<'a> {
    pub(super) fn new(
        step: &'a Connection,
        changes_at_once: usize,
        lanes: &[Urgency],
    ) -> Result<Finder<'a>> {
        Ok(Finder {
            step,
            held: BTreeSet::new(),
            given: BTreeSet::new(),
            chunk: VecDeque::new(),
            lanes: lanes.iter().copied().collect::<BTreeSet<_>>().into_iter().collect(),
            is_mixed: is_mixed(step)?,
            after: 0,
            looked: 0,
            oldest: oldest_open(step)?,
            changes_at_once,
        })
    }

    pub(super) fn next(&mut self) -> Result<Option<Found>> {
        while let Some(free) = self.next_free()? {
            if self.given.contains(&free.sequence) {
                continue;
            }
            let subjects = subjects_of(self.step, free.sequence)?;
            let has_to_wait = subjects.iter().any(|subject| self.held.contains(subject))
                || self.is_held_back(&free, &subjects)?;
            self.held.extend(subjects.iter().cloned());
            if !has_to_wait {
                let found = self.turn(&free, subjects)?;
                self.given.extend(found.turn.changes.iter().map(|(sequence, _)| *sequence));
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn next_free(&mut self) -> Result<Option<Free>> {
        while self.chunk.is_empty() && self.looked < LOOKED_AT {
            let Some(lane) = self.lanes.front().copied() else { return Ok(None) };
            self.read(lane)?;
            if self.chunk.is_empty() {
                self.lanes.pop_front();
                self.after = 0;
            }
        }
        let free = self.chunk.pop_front();
        if let Some(free) = &free {
            self.after = free.sequence;
        }
        Ok(free)
    }

    fn read(&mut self, lane: Urgency) -> Result<()> {
        let mut statement = self.step.prepare_cached(
            "SELECT d.sequence, d.message, c.origin, c.number
             FROM delivery AS d INDEXED BY delivery_free
             CROSS JOIN change AS c ON c.sequence = d.sequence
             WHERE d.target = 'parent' AND d.lane = ?3 AND d.state = 'ready' AND d.away = 0
                AND d.sequence > ?1 AND c.number IS NOT NULL
             ORDER BY d.sequence LIMIT ?2",
        )?;
        let values = params![self.after, CHUNK as i64, LaneColumn(lane)];
        let found = statement.query_map(values, |row| {
            let name = (row.get(2)?, row.get(3)?);
            Ok(Free { sequence: row.get(0)?, message: row.get(1)?, name, lane })
        })?;
        self.chunk = found.collect::<rusqlite::Result<_>>()?;
        self.looked += self.chunk.len();
        Ok(())
    }

    /// Whether something of the same patients is away, waits for a time, is parked, or is before it
    /// in another lane. What was in one message with it goes along.
    fn is_held_back(&self, free: &Free, subjects: &BTreeSet<Subject>) -> Result<bool> {
        for subject in subjects {
            let (table, key) = match subject {
                Subject::Patient(key) => ("change_patient AS s", key),
                Subject::Record(key) => ("version AS s", key),
            };
            let column = if table.starts_with("change") { "patient" } else { "record" };
            let sql = format!(
                "SELECT 1 FROM {table}
                 CROSS JOIN delivery AS d ON d.target = 'parent' AND d.sequence = s.sequence
                 WHERE s.{column} = ?1 AND s.sequence >= ?2 AND d.state <> 'done'
                    AND (d.away <> 0 OR d.state <> 'ready' OR s.sequence < ?4)
                    AND (?3 IS NULL OR d.message IS NOT ?3)"
            );
            let before = if self.is_mixed { free.sequence } else { 0 };
            let values = params![key, self.oldest, free.message, before];
            if self.step.prepare_cached(&sql)?.exists(values)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn turn(&self, free: &Free, subjects: BTreeSet<Subject>) -> Result<Found> {
        let mut changes = match free.message {
            Some(message) => self.of_message(message, free.name.0)?,
            None => vec![(free.sequence, free.name.1)],
        };
        let together = changes.len();
        self.extend(&mut changes, free.name.0, &subjects)?;
        let turn = Turn { origin: free.name.0, changes, subjects, lane: free.lane };
        Ok(Found { turn, together, before: free.message })
    }

    /// All that was in a message and is not done.
    fn of_message(&self, message: i64, origin: i64) -> Result<Vec<(u64, u64)>> {
        let mut statement = self.step.prepare_cached(
            "SELECT d.sequence, c.number FROM delivery AS d
             CROSS JOIN change AS c ON c.sequence = d.sequence
             WHERE d.message = ?1 AND d.state <> 'done' AND c.origin = ?2 ORDER BY d.sequence",
        )?;
        let found =
            statement.query_map(params![message, origin], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(found.collect::<rusqlite::Result<_>>()?)
    }

    /// Takes in the changes that follow, as long as they are of the same patients and the same
    /// origin, and here.
    fn extend(
        &self,
        changes: &mut Vec<(u64, u64)>,
        origin: i64,
        subjects: &BTreeSet<Subject>,
    ) -> Result<()> {
        let (table, column, key) = match subjects.first() {
            Some(Subject::Patient(key)) => ("change_patient", "patient", key),
            Some(Subject::Record(key)) => ("version", "record", key),
            None => return Ok(()),
        };
        let sql = format!(
            "SELECT d.sequence, c.number, d.state = 'ready' AND d.away = 0
                AND d.message IS NULL AND c.number IS NOT NULL AND c.origin = ?3,
                (SELECT count(*) FROM change_patient AS cp WHERE cp.sequence = s.sequence)
             FROM {table} AS s
             CROSS JOIN delivery AS d ON d.target = 'parent' AND d.sequence = s.sequence
             CROSS JOIN change AS c ON c.sequence = d.sequence
             WHERE s.{column} = ?1 AND s.sequence > ?2 AND d.state <> 'done'
             ORDER BY s.sequence LIMIT ?4"
        );
        // Whoever is of one patient, as most are, need not be looked at further.
        let of_one = subjects.len() == 1 && column == "patient";
        let last = changes.last().map_or(0, |(sequence, _)| *sequence);
        let room = self.changes_at_once.saturating_sub(changes.len());
        let room = i64::try_from(room).unwrap_or(i64::MAX);
        let mut statement = self.step.prepare_cached(&sql)?;
        let mut rows = statement.query(params![key, last, origin, room])?;
        while let Some(row) = rows.next()? {
            let sequence: u64 = row.get(0)?;
            let fits: bool = row.get(2)?;
            let is_of_one = of_one && row.get::<_, u32>(3)? == 1;
            if !fits || !is_of_one && subjects_of(self.step, sequence)? != *subjects {
                break;
            }
            changes.push((sequence, row.get(1)?));
        }
        Ok(())
    }
}
