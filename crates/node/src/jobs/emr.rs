//! The way to the record system beside a site: what the jobs `capture` and `apply` have in common.
//! It may be away for days: that costs time and nothing else.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use protocol::Timestamp;
use protocol::delivery::backoff_millis;
use store::{EmrDraft, EmrEvent, LinkName, StoreError};

use crate::config::EmrMode;
use crate::jobs::begin::TRY_AGAIN;
use crate::jobs::{apply, capture};
use crate::pause;
use crate::ports::{Capabilities, Emr, EmrError, LinkError, Noticed};
use crate::site::Site;

/// Milliseconds after which a site looks again whether the link is paused.
const LOOK_AGAIN: u64 = 2_000;
/// Milliseconds between two notes that it answers.
const NOTE_EVERY: i64 = 60_000;
/// How much of a second's records may go at once.
const BURST_MILLIS: i64 = 1_000;

/// Captures and applies, for ever; returns at once where there is no record system.
pub async fn run(site: &Site) {
    loop {
        match begin(site) {
            Ok(()) => break,
            // It has no place until there is room.
            Err(StoreError::Full) => site.clock().sleep(TRY_AGAIN).await,
            Err(error) => {
                tracing::error!(%error, "failed to note which record system there is");
                return;
            }
        }
    }
    let Some(beside) = Beside::of(site) else { return };
    tokio::join!(capture::run(site, &beside), apply::run(site, &beside));
}

/// Notes in the store which record system there is.
pub fn begin(site: &Site) -> Result<(), StoreError> {
    let config = &site.config().emr;
    let draft = site.emr().map(|_| EmrDraft {
        kind: config.kind.name().to_owned(),
        url: config.url.clone().unwrap_or_default(),
        captures: config.mode.captures(),
        applies: config.mode.applies(),
    });
    site.store().emr_set(draft.as_ref(), site.now())
}

/// The record system, as the jobs see it.
pub struct Beside {
    pub(super) emr: Arc<dyn Emr>,
    pub(super) mode: EmrMode,
    /// Records that are read or written at the same time.
    pub(super) at_once: usize,
    pub(super) every_ms: u64,
    per_second: u32,
    /// When the next record is due, by what was taken so far.
    next: Mutex<i64>,
    noted: Mutex<Option<Timestamp>>,
    /// Whether all that changed there was read, the last time.
    at_end: AtomicBool,
    /// What comes after a cursor, asked for while what came before it was read and recorded.
    ahead: Mutex<Option<(String, Noticed)>>,
    /// Held by each turn of writing, together, and alone by what is read and then recorded: a state
    /// from before a write must not be recorded after it, as an edit that takes the write back.
    pub(super) turns: tokio::sync::RwLock<()>,
}

impl Beside {
    /// That of a site, where there is one.
    pub fn of(site: &Site) -> Option<Beside> {
        let config = &site.config().emr;
        Some(Beside {
            emr: site.emr()?.clone(),
            mode: config.mode,
            at_once: config.at_once.max(1),
            every_ms: config.every_ms,
            per_second: config.records_per_second.max(1),
            next: Mutex::new(i64::MIN),
            noted: Mutex::default(),
            at_end: AtomicBool::default(),
            ahead: Mutex::default(),
            turns: tokio::sync::RwLock::default(),
        })
    }

    /// Whether now all is read that changed there, and the last time it was not.
    pub(super) fn comes_to_the_end(&self, at_end: bool) -> bool {
        !self.at_end.swap(at_end, Ordering::Relaxed) && at_end
    }

    /// What comes after a cursor.
    pub(super) async fn noticed(&self, cursor: Option<&str>) -> Result<Noticed, EmrError> {
        let ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner).take();
        match ahead {
            Some((after, noticed)) if Some(after.as_str()) == cursor => Ok(noticed),
            _ => self.emr.changes_since(cursor).await,
        }
    }

    /// Asks already for what comes after a cursor. A failure is no matter: it is asked again when
    /// its turn comes.
    pub(super) async fn look_ahead(&self, cursor: &str) {
        if let Ok(noticed) = self.emr.changes_since(Some(cursor)).await {
            let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
            *ahead = Some((cursor.to_owned(), noticed));
        }
    }

    /// Waits until so many more records may be read or written.
    pub(super) async fn take(&self, site: &Site, records: usize) {
        let now = site.now().millis();
        let needed = i64::try_from(records).unwrap_or(i64::MAX).saturating_mul(1_000)
            / i64::from(self.per_second);
        let wait = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            // A clock that was put back keeps nothing waiting.
            let from = if *next > now + 3_600_000 { now } else { (*next).max(now) };
            *next = from + needed;
            *next - now - BURST_MILLIS
        };
        if let Ok(millis @ 1..) = u64::try_from(wait) {
            site.clock().sleep(millis).await;
        }
    }

    /// Whether it is there and lets us in; asked when something failed, to tell whose fault it is.
    pub(super) async fn probe(&self, site: &Site) -> Result<(), LinkError> {
        match self.emr.capabilities().await {
            Ok(capabilities) => self.answered(site, Some(&capabilities)).await,
            Err(EmrError::Away(error)) => return Err(error),
            Err(other) => return Err(LinkError(other.to_string())),
        }
        Ok(())
    }

    /// Notes now and then that it answers; at once what it can do.
    pub(super) async fn answered(&self, site: &Site, capabilities: Option<&Capabilities>) {
        let now = site.now();
        let is_new = {
            let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
            let old = noted.is_none_or(|at| now.since(at).abs() >= NOTE_EVERY);
            if old || capabilities.is_some() {
                *noted = Some(now);
            }
            old || capabilities.is_some()
        };
        if !is_new {
            return;
        }
        let text = capabilities.and_then(|said| serde_json::to_string(said).ok());
        let event = EmrEvent::Contact(text);
        if let Err(error) = site.read(move |store| store.emr_note(&event, now)).await {
            tracing::warn!(%error, "failed to note that the record system answers");
        }
    }

    /// Waits as long as a person has the link paused.
    pub(super) async fn while_paused(&self, site: &Site) {
        while pause::of(site, LinkName::Emr).await.is_ok_and(|pause| pause.is_some()) {
            site.clock().sleep(LOOK_AGAIN).await;
        }
    }

    /// Notes that it is away, and waits, ever longer, until it answers to the cheapest question.
    pub(super) async fn while_away(&self, site: &Site, error: LinkError) {
        let mut error = error;
        for failures in 1u32.. {
            *self.noted.lock().unwrap_or_else(PoisonError::into_inner) = None;
            let limits = &site.config().limits;
            let millis = backoff_millis(failures, limits, site.entropy().number());
            let now = site.now();
            let next = now.plus_millis(millis.cast_signed());
            tracing::warn!(failures, pause_ms = millis, %error, "the record system is away");
            let event = EmrEvent::Away { error: error.0, next };
            if let Err(error) = site.read(move |store| store.emr_note(&event, now)).await {
                tracing::warn!(%error, "failed to note that the record system is away");
            }
            site.clock().sleep(millis).await;
            self.while_paused(site).await;
            match self.probe(site).await {
                Ok(()) => {
                    tracing::info!("the record system is back");
                    return;
                }
                Err(still) => error = still,
            }
        }
    }
}

/// What our own store said, for who waits for the record system.
pub(super) fn ours(error: &StoreError) -> LinkError {
    LinkError(format!("this site's own store failed: {error}"))
}
