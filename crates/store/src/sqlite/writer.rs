//! The one writer: steps of several threads share a transaction, and none of them returns before
//! its COMMIT.
//!
//! There is no thread of its own. Whoever holds the connection runs its own step in a savepoint;
//! if others wait for the connection meanwhile, the transaction stays open for them, and the last
//! one (or the one that fills the group) commits for all. A single caller commits at once.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;

use super::rows::fault;
use crate::{Result, StoreError};

/// Most steps that share one commit: bounds how long the first of them waits for it.
const GROUP_STEPS: usize = 64;

#[derive(Debug)]
pub(super) struct Writer {
    waiting: AtomicUsize,
    seat: Mutex<Seat>,
}

#[derive(Debug)]
struct Seat {
    connection: Connection,
    group: Option<Arc<Group>>,
    steps: usize,
}

/// Steps that share a transaction, and what became of it.
#[derive(Debug, Default)]
struct Group {
    end: Mutex<Option<End>>,
    ended: Condvar,
}

/// What became of a group's transaction.
#[derive(Debug, Clone)]
enum End {
    Committed,
    Full,
    Damaged(String),
    Failed(String),
}

impl End {
    fn of(error: &StoreError) -> End {
        match error {
            StoreError::Full => End::Full,
            StoreError::Damaged(what) => End::Damaged(what.clone()),
            other => End::Failed(other.to_string()),
        }
    }

    fn into_result(self, step: &'static str) -> Result<()> {
        match self {
            End::Committed => Ok(()),
            End::Full => Err(StoreError::Full),
            End::Damaged(what) => Err(StoreError::Damaged(what)),
            End::Failed(what) => Err(StoreError::Database { step, source: what.into() }),
        }
    }
}

impl Group {
    fn finish(&self, end: End) {
        *lock(&self.end) = Some(end);
        self.ended.notify_all();
    }

    fn wait(&self) -> End {
        let mut end = lock(&self.end);
        loop {
            match &*end {
                Some(end) => return end.clone(),
                None => end = self.ended.wait(end).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Panics of steps are caught below, before a guard could be dropped by one.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Writer {
    pub(super) fn new(connection: Connection) -> Writer {
        Writer {
            waiting: AtomicUsize::new(0),
            seat: Mutex::new(Seat { connection, group: None, steps: 0 }),
        }
    }

    pub(super) fn run<T>(
        &self,
        step: &'static str,
        work: impl FnOnce(&Connection) -> Result<T>,
    ) -> Result<T> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut seat = lock(&self.seat);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        let group = seat.join().map_err(|e| fault(step, e))?;
        let outcome = catch_unwind(AssertUnwindSafe(|| in_savepoint(&seat.connection, work)));
        if seat.connection.is_autocommit() {
            // SQLite gave up the whole transaction (full disk, I/O): the group goes with it.
            let end = match &outcome {
                Ok(Err(error)) => End::of(error),
                _ => End::Failed("the transaction was rolled back".to_owned()),
            };
            seat.leave(end);
        } else if self.waiting.load(Ordering::SeqCst) == 0 || seat.steps >= GROUP_STEPS {
            let end = seat.commit();
            seat.leave(end);
        }
        drop(seat);
        let end = group.wait();
        match outcome {
            Err(panic) => resume_unwind(panic),
            Ok(Err(error)) => Err(named(step, error)),
            Ok(Ok(value)) => end.into_result(step).map(|()| value),
        }
    }
}

impl Seat {
    /// Joins the open transaction, or opens one.
    fn join(&mut self) -> rusqlite::Result<Arc<Group>> {
        self.steps += 1;
        if let Some(group) = &self.group {
            return Ok(Arc::clone(group));
        }
        self.steps = 1;
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let group = Arc::new(Group::default());
        self.group = Some(Arc::clone(&group));
        Ok(group)
    }

    fn commit(&self) -> End {
        let commit = || self.connection.prepare_cached("COMMIT")?.execute([]);
        let Err(error) = commit() else { return End::Committed };
        if !self.connection.is_autocommit() {
            // Nothing more can be done where even this fails: the next BEGIN will say so.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        End::of(&fault("commit", error))
    }

    fn leave(&mut self, end: End) {
        if let Some(group) = self.group.take() {
            group.finish(end);
        }
    }
}

/// Runs `work` so that, if it fails, nothing of what it wrote remains.
pub(super) fn in_savepoint<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T>,
) -> Result<T> {
    connection.prepare_cached("SAVEPOINT step")?.execute([])?;
    let undo = Undo { connection };
    let value = work(connection)?;
    std::mem::forget(undo);
    connection.prepare_cached("RELEASE step")?.execute([])?;
    Ok(value)
}

/// Takes back the innermost savepoint, on an error and on a panic.
struct Undo<'a> {
    connection: &'a Connection,
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        // Where SQLite has given up the whole transaction there is no savepoint any more.
        if !self.connection.is_autocommit() {
            let _ = self.connection.execute_batch("ROLLBACK TO step; RELEASE step");
        }
    }
}

/// Gives an error of the database the name of the step that met it.
pub(super) fn named(step: &'static str, error: StoreError) -> StoreError {
    match error {
        StoreError::Database { source, .. } => StoreError::Database { step, source },
        other => other,
    }
}

#[cfg(test)]
mod tests;
