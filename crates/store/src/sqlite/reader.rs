//! Connections that cannot write. Each read is one deferred transaction: one snapshot.

use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};

use rusqlite::Connection;

use super::open;
use super::writer::named;
use crate::{OpenOptions, Result};

#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    options: OpenOptions,
    pool: Mutex<Pool>,
    returned: Condvar,
}

#[derive(Debug, Default)]
struct Pool {
    idle: Vec<Connection>,
    open: usize,
}

/// A connection that goes back to its pool when it is dropped.
struct Lent<'a> {
    readers: &'a Readers,
    connection: Option<Connection>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut pool = self.readers.pool.lock().unwrap_or_else(PoisonError::into_inner);
        match self.connection.take() {
            // A transaction left open by a panic goes with its connection.
            Some(connection) if connection.is_autocommit() => pool.idle.push(connection),
            _ => pool.open -= 1,
        }
        drop(pool);
        self.readers.returned.notify_one();
    }
}

impl Readers {
    pub(super) fn new(path: &Path, options: &OpenOptions) -> Readers {
        Readers {
            path: path.to_owned(),
            options: options.clone(),
            pool: Mutex::default(),
            returned: Condvar::new(),
        }
    }

    pub(super) fn run<T>(
        &self,
        step: &'static str,
        work: impl FnOnce(&Connection) -> Result<T>,
    ) -> Result<T> {
        let mut lent = self.lend();
        if lent.connection.is_none() {
            lent.connection =
                Some(open::reader(&self.path, &self.options).map_err(|e| named(step, e))?);
        }
        let connection = lent.connection.as_ref().expect("it was put there just now");
        let inside = || {
            connection.prepare_cached("BEGIN DEFERRED")?.execute([])?;
            let outcome = work(connection);
            connection.prepare_cached("ROLLBACK")?.execute([])?;
            outcome
        };
        inside().map_err(|e| named(step, e))
    }

    /// Waits until fewer than the allowed number are in use.
    fn lend(&self) -> Lent<'_> {
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(connection) = pool.idle.pop() {
                return Lent { readers: self, connection: Some(connection) };
            }
            if pool.open < self.options.readers.max(1) {
                pool.open += 1;
                return Lent { readers: self, connection: None };
            }
            pool = self.returned.wait(pool).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
