//! `/health`: whether the site lives, and whether it can do its work. For those who start, stop and
//! route: without a credential, and with nothing of what the site holds.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use protocol::{Limits, Timestamp};
use tokio::sync::Semaphore;

use crate::disk::Disk;
use crate::http::api::{Api, Doc, Who, shapes};
use crate::http::error::{Failure, Problem};
use crate::site::Site;

/// Milliseconds for which an answer of the store is good: whoever asks without end costs no more
/// than one write in that time.
const GOOD_FOR: i64 = 5_000;
/// Milliseconds after which a store that does not answer counts as one that does not work.
const PATIENCE: u64 = 5_000;

/// The routes below `/health`. Where the site answers at all its schema is up to date: it is
/// brought there before it listens.
pub(super) fn api() -> Api {
    let says = |summary| Doc::of(Who::Anybody, summary);
    let text = says("Whether the program answers").gives_media(&["text/plain"]);
    let whole = says("Whether the site can take what is sent to it").gives::<shapes::Ready>();
    Api::default().get("/", live, text).get("/live", live, text).get("/ready", ready, whole)
}

/// `GET /health` and `GET /health/live`: the program answers.
async fn live() -> &'static str {
    "ok\n"
}

/// Why a site is not ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unready {
    /// Too little is free.
    Disk,
    /// The store takes no writes.
    Store,
    /// It has not said in time whether it does.
    Slow,
}

/// What the store said last, and the one place for asking it.
#[derive(Debug)]
pub(crate) struct Health {
    place: Arc<Semaphore>,
    last: Mutex<Option<(Timestamp, Result<(), Unready>)>>,
}

impl Default for Health {
    fn default() -> Self {
        Health { place: Arc::new(Semaphore::new(1)), last: Mutex::default() }
    }
}

impl Health {
    fn known(&self, now: Timestamp) -> Option<Result<(), Unready>> {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.filter(|(at, _)| (0..GOOD_FOR).contains(&now.since(*at))).map(|(_, said)| said)
    }

    fn note(&self, now: Timestamp, said: Result<(), Unready>) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, said));
    }
}

/// `GET /health/ready`: 200 where the site can take what is sent to it, else 503.
async fn ready(State(site): State<Site>) -> Result<Json<shapes::Ready>, Problem> {
    let answer = match room(site.disk(), &site.config().limits) {
        Ok(()) => store(&site).await,
        Err(reason) => Err(reason),
    };
    let detail = match answer {
        Ok(()) => return Ok(Json(shapes::Ready { ready: true })),
        Err(Unready::Disk) => "less of the disk is free than disk_free_bytes",
        Err(Unready::Store) => "the store takes no writes: the log of the site says why",
        Err(Unready::Slow) => "the store has not answered in time",
    };
    Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", detail).into())
}

fn room(disk: Option<Disk>, limits: &Limits) -> Result<(), Unready> {
    match disk {
        Some(disk) if disk.free < limits.disk_free_bytes => Err(Unready::Disk),
        _ => Ok(()),
    }
}

/// Whether the store can be written, by a write or by what the last one told.
async fn store(site: &Site) -> Result<(), Unready> {
    if let Some(known) = site.health().known(site.now()) {
        return known;
    }
    let asking = async {
        let place = site.health().place.clone().acquire_owned().await;
        // Whoever was before us may have asked meanwhile.
        if let Some(known) = site.health().known(site.now()) {
            return known;
        }
        let asked = site.read(move |store| {
            let said = store.site_ready();
            // Also where nobody waits for the answer any more, only one asks at a time.
            drop(place);
            said
        });
        let said = asked.await.map_err(|error| {
            tracing::warn!(%error, "the site is not ready");
            Unready::Store
        });
        site.health().note(site.now(), said);
        said
    };
    tokio::select! {
        biased;
        said = asking => said,
        () = site.clock().sleep(PATIENCE) => Err(Unready::Slow),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_where_as_much_is_free_as_the_limit_says() {
        let limits = Limits { disk_free_bytes: 100, ..Limits::default() };
        let disk = |free| Some(Disk { free, size: 1_000 });
        for (disk, said) in [(disk(99), Err(Unready::Disk)), (disk(100), Ok(())), (None, Ok(()))] {
            assert_eq!(room(disk, &limits), said, "{disk:?}");
        }
    }

    #[test]
    fn what_the_store_said_is_good_for_a_while_whatever_the_clock_does() {
        let health = Health::default();
        let at = |millis: i64| Timestamp::from_millis(1_000_000 + millis);
        assert_eq!(health.known(at(0)), None);
        health.note(at(0), Err(Unready::Store));
        for (millis, known) in [
            (0, Some(Err(Unready::Store))),
            (4_999, Some(Err(Unready::Store))),
            (5_000, None),
            (-1, None),
        ] {
            assert_eq!(health.known(at(millis)), known, "{millis}");
        }
    }
}
