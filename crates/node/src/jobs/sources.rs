//! Reading sites below: each source has a schedule, a marker, a backoff and a turn of its own. A
//! turn is bounded in bytes and in time, and whoever has more to read goes to the end of the row;
//! sources that failed last have places of their own, so that those that hang delay no other.

pub(crate) mod atomfeed;
mod child;
mod itself;
mod peer;
mod read;

use futures::future::join_all;
use protocol::Timestamp;
use protocol::delivery::{backoff_millis, is_due};
use store::{LinkName, Pause, SourceEvent, SourceInfo};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::config::schedule::Schedule;
use crate::config::{SourceConfig, SourceKind};
use crate::jobs::link::ours;
use crate::jobs::{LOOK_AGAIN, gate};
use crate::pause;
use crate::ports::LinkError;
use crate::site::Site;

pub use atomfeed::unread;

/// Milliseconds that one turn may take: what was applied until then stays.
const TURN: u64 = 5 * 60_000;
/// Milliseconds after which a waiting source looks at the clock again: it may have been put.
const LOOK: u64 = 60_000;

/// What came of one turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Turn {
    /// Lines that were applied.
    pub applied: u64,
    /// Lines that were parked here.
    pub parked: u64,
    /// Changes that the source was told about.
    pub told: u64,
    /// Its newest position.
    pub head: u64,
    /// When the oldest change that still waits there was recorded.
    pub oldest: Option<Timestamp>,
    /// Whether there is more to read at once.
    pub more: bool,
}

/// Places for turns.
struct Places {
    good: Semaphore,
    /// For those that failed last.
    doubtful: Semaphore,
}

impl Places {
    fn new(at_once: usize) -> Places {
        let doubtful = Semaphore::new((at_once / 4).max(1));
        Places { good: Semaphore::new(at_once), doubtful }
    }

    /// Waits for a place, first come, first served. Nobody closes them.
    async fn take(&self, failures: u32) -> Option<SemaphorePermit<'_>> {
        let places = if failures > 0 { &self.doubtful } else { &self.good };
        places.acquire().await.ok()
    }
}

/// Reads all sources of the settings, for ever.
pub async fn run(site: &Site) {
    let places = Places::new(site.config().limits.sources_at_once);
    let all = site.config().sources.iter().map(|source| keep_reading(site, source, &places));
    join_all(all).await;
}

/// Reads one source again and again, when its schedule says.
async fn keep_reading(site: &Site, source: &SourceConfig, places: &Places) {
    let Ok(schedule) = Schedule::of(source) else { return };
    let known = info(site, source).await.ok().flatten();
    let mut failures = known.as_ref().map_or(0, |info| info.failures);
    let mut due = first_due(&schedule, site.now(), known.and_then(|info| info.next_at));
    let mut hear_at = site.now();
    loop {
        wait_until(site, due).await;
        let place = places.take(failures).await;
        if pause_of(site, source).await.is_ok_and(|pause| pause.is_some()) {
            drop(place);
            site.clock().sleep(LOOK_AGAIN).await;
            continue;
        }
        let every = site.config().limits.audit_seconds.saturating_mul(1_000);
        let hears = is_due(hear_at, site.now(), every);
        let result = turn(site, source, hears).await;
        drop(place);
        if hears && result.as_ref().is_ok_and(|turn| !turn.more) {
            hear_at = site.now().plus_millis(i64::try_from(every).unwrap_or(i64::MAX));
        }
        failures = if result.is_ok() { 0 } else { failures.saturating_add(1) };
        due = match &result {
            Ok(turn) if turn.more => site.now(),
            _ => next_due(site, &schedule, failures),
        };
        note(site, source, result, due).await;
    }
}

/// One turn, and no longer than a turn may be.
async fn turn(site: &Site, source: &SourceConfig, hears: bool) -> Result<Turn, LinkError> {
    let turn = async {
        match source.kind {
            SourceKind::Tributary => child::turn(site, source, hears).await,
            SourceKind::Atomfeed => atomfeed::turn(site, source).await,
        }
    };
    tokio::select! {
        biased;
        result = turn => result,
        () = site.clock().sleep(TURN) => Err(LinkError(format!(
            "it took longer than {} s; it goes on from there later", TURN / 1_000
        ))),
    }
}

/// Whether a person has paused the link to a source.
async fn pause_of(site: &Site, source: &SourceConfig) -> Result<Option<Pause>, LinkError> {
    let paused = pause::of(site, LinkName::Child(source.name.clone())).await;
    paused.map_err(|error| ours(&error))
}

/// Reads a source until there is nothing left, now; gives what came of it. Refuses where it is
/// paused, which is no failure of the source.
pub async fn read_now(site: &Site, source: &SourceConfig) -> Result<Turn, LinkError> {
    let mut all = Turn::default();
    loop {
        if let Some(pause) = pause_of(site, source).await? {
            return Err(LinkError(pause::words(&pause, site.id().as_str())));
        }
        let result = turn(site, source, true).await;
        let known = info(site, source).await.ok().flatten();
        let failures = known.map_or(0, |info| info.failures);
        let failures = if result.is_ok() { 0 } else { failures.saturating_add(1) };
        let due = match Schedule::of(source) {
            Ok(schedule) => next_due(site, &schedule, failures),
            Err(_) => site.now(),
        };
        note(site, source, result.clone(), due).await;
        let turn = result?;
        all = Turn {
            applied: all.applied + turn.applied,
            parked: all.parked + turn.parked,
            told: all.told + turn.told,
            ..turn
        };
        if !turn.more {
            return Ok(all);
        }
    }
}

/// How a source stands, where it was ever read.
pub(super) async fn info(
    site: &Site,
    source: &SourceConfig,
) -> Result<Option<SourceInfo>, LinkError> {
    let name = source.name.clone();
    site.read(move |store| store.source_get(&name)).await.map_err(|error| ours(&error))
}

/// Writes down how it went, and says so once where it fails.
async fn note(
    site: &Site,
    source: &SourceConfig,
    result: Result<Turn, LinkError>,
    next: Timestamp,
) {
    let name = &source.name;
    let event = match result {
        Ok(turn) => SourceEvent::Contact { head: turn.head, oldest: turn.oldest, next },
        Err(error) => {
            tracing::warn!(source = %name, %error, "failed to read a source");
            SourceEvent::Failure { error: error.0, next }
        }
    };
    let (name, now) = (name.clone(), site.now());
    if let Err(error) = site.read(move |store| store.source_note(&name, &event, now)).await {
        tracing::warn!(%error, "failed to note how a source stands");
    }
}

/// When a source is read first after a start: as was said before the start, if that is not far
/// off, and else as soon as its windows allow.
fn first_due(schedule: &Schedule, now: Timestamp, said: Option<Timestamp>) -> Timestamp {
    let Some(local) = gate::local(now) else { return now };
    let latest = schedule.next(&local).map_or(now, |at| gate::plain(&at));
    match said {
        Some(said) if said > now && said <= latest => said,
        _ => schedule.opened(local).map_or(now, |at| gate::plain(&at)),
    }
}

/// When it is read next: when its schedule says; after a failure sooner, but not outside of its
/// windows.
fn next_due(site: &Site, schedule: &Schedule, failures: u32) -> Timestamp {
    let now = site.now();
    let Some(local) = gate::local(now) else { return now.plus_millis(60_000) };
    let planned = schedule.next(&local).map_or(now.plus_millis(60_000), |at| gate::plain(&at));
    if failures == 0 {
        return planned;
    }
    let pause = backoff_millis(failures, &site.config().limits, site.entropy().number());
    let again = now.plus_millis(i64::try_from(pause).unwrap_or(i64::MAX));
    let again = gate::local(again).and_then(|again| schedule.opened(again));
    again.map_or(planned, |again| gate::plain(&again))
}

async fn wait_until(site: &Site, due: Timestamp) {
    loop {
        let left = due.since(site.now());
        if left <= 0 {
            return;
        }
        site.clock().sleep(left.unsigned_abs().min(LOOK)).await;
    }
}
