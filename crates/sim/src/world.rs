//! A world while it runs: its sites, its time, what is known of its writes, and what happened.

mod act;
mod begin;
mod beside;
mod carry;
mod fhir;
mod operate;
mod people;
mod quiet;
mod watch;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::Timestamp;

use crate::net::WorldNet;
use crate::op::Plan;
use crate::oracle::Oracle;
use crate::place::Place;
use crate::time::WorldTime;

pub(crate) use begin::World;
pub(crate) use carry::Message;
pub(crate) use watch::members;

/// When every world begins: 2026-11-23T08:00:00Z.
pub(crate) const START: Timestamp = Timestamp::from_millis(1_795_420_800_000);

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which checker found it.
    pub checker: &'static str,
    /// What, with the names of sites and records.
    pub what: String,
}

impl Violation {
    /// The records that it names.
    pub(crate) fn records(&self) -> Vec<protocol::RecordRef> {
        let words = self.what.split([' ', ',', ':']);
        words.filter(|word| word.contains('/')).filter_map(|word| word.parse().ok()).collect()
    }
}

/// What all parts of a world share.
pub(crate) struct Shared {
    pub(crate) plan: Plan,
    pub(crate) time: WorldTime,
    pub(crate) net: WorldNet,
    pub(crate) places: Arc<Vec<Place>>,
    pub(crate) oracle: Arc<Mutex<Oracle>>,
    pub(crate) log: Arc<Log>,
    /// Numbers for names that have to differ.
    numbers: AtomicU64,
}

impl Shared {
    pub(crate) fn oracle(&self) -> MutexGuard<'_, Oracle> {
        self.oracle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The children of a site.
    pub(crate) fn children(&self, parent: usize) -> impl Iterator<Item = &Place> {
        self.places.iter().filter(move |place| place.parent == Some(parent))
    }

    /// Notes what happened, for the trace.
    pub(crate) fn note(&self, what: &str) {
        self.log.note(self.time.now(), what);
    }
}

/// What has happened in a world: counted, and as a trace whose digest tells two runs apart.
pub(crate) struct Log {
    state: Mutex<LogState>,
}

struct LogState {
    digest: u64,
    lines: Option<Vec<String>>,
    counts: BTreeMap<&'static str, u64>,
    violations: Vec<Violation>,
}

impl Log {
    /// `lines`: keep the trace itself as well.
    pub(crate) fn new(lines: bool) -> Log {
        let state = LogState {
            digest: 0xcbf2_9ce4_8422_2325,
            lines: lines.then(Vec::new),
            counts: BTreeMap::new(),
            violations: Vec::new(),
        };
        Log { state: Mutex::new(state) }
    }

    fn note(&self, at: Timestamp, what: &str) {
        let mut state = self.lock();
        let line = format!("{at} {what}");
        state.digest = line.bytes().fold(state.digest, |digest, byte| {
            (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        if let Some(lines) = &mut state.lines {
            lines.push(line);
        }
    }

    pub(crate) fn count(&self, what: &'static str, more: u64) {
        *self.lock().counts.entry(what).or_default() += more;
    }

    pub(crate) fn violation(&self, checker: &'static str, what: String) {
        self.lock().violations.push(Violation { checker, what });
    }

    pub(crate) fn violations(&self) -> Vec<Violation> {
        self.lock().violations.clone()
    }

    pub(crate) fn digest(&self) -> u64 {
        self.lock().digest
    }

    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.lock().counts.clone()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.lock().lines.clone().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, LogState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
