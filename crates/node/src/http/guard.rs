//! What every request passes: a bound on how many there are at once, in all and of one credential,
//! and a handler that breaks
//! down is an answer of 500 and not a dead connection.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::hash::{BuildHasher as _, RandomState};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use futures::FutureExt as _;
use protocol::Limits;
use tokio::sync::Semaphore;

use crate::http::error::Failure;

/// Requests at once from those who have no credential yet: they cannot crowd out those who have.
const STRANGERS: usize = 16;

/// Places that one credential may take at the least, where there are so many.
const SHARE: usize = 4;

/// The path that was asked for: routes see what is left of it below theirs.
#[derive(Debug, Clone)]
pub(super) struct WholePath(pub(super) String);

/// Places for requests.
#[derive(Clone)]
pub(super) struct Places {
    known: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    share: usize,
    /// How many places each credential has just now, by a hash of its header.
    shares: Arc<Shares>,
}

/// Places in use by credential; of the hash no credential can be told.
#[derive(Default)]
struct Shares {
    hasher: RandomState,
    taken: Mutex<BTreeMap<u64, usize>>,
}

impl Shares {
    fn taken(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One place more for a credential; `None` where it has its share. Programs on this machine
    /// that need no credential have no share, and who has none elsewhere is sent away at once.
    fn take(self: &Arc<Shares>, request: &Request, share: usize) -> Option<Share> {
        let Some(credential) = request.headers().get(header::AUTHORIZATION) else {
            return Some(Share(None));
        };
        let key = self.hasher.hash_one(credential.as_bytes());
        let mut all = self.taken();
        let taken = all.entry(key).or_default();
        if *taken >= share {
            return None;
        }
        *taken += 1;
        Some(Share(Some((Arc::clone(self), key))))
    }
}

/// A place of a credential, until the answer begins.
struct Share(Option<(Arc<Shares>, u64)>);

impl Drop for Share {
    fn drop(&mut self) {
        let Some((shares, key)) = &self.0 else { return };
        let mut all = shares.taken();
        if let Entry::Occupied(mut taken) = all.entry(*key) {
            *taken.get_mut() -= 1;
            if *taken.get() == 0 {
                taken.remove();
            }
        }
    }
}

/// Places for requests.
pub(super) fn places(limits: &Limits) -> Places {
    Places {
        known: Arc::new(Semaphore::new(limits.requests_at_once)),
        strangers: Arc::new(Semaphore::new(STRANGERS)),
        share: (limits.requests_at_once / 4).max(SHARE),
        shares: Arc::default(),
    }
}

/// Lets a request in, or says that there are too many.
pub(super) async fn guard(
    State(places): State<Places>,
    mut request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path().to_owned();
    request.extensions_mut().insert(WholePath(path.clone()));
    let (place, share) = match path.as_str() {
        // A poll waits and does nothing: every child holds one open. The connections bound them.
        // Who asks after the site's health is to hear it when there is no place left.
        "/sync/poll" | "/health" | "/health/live" | "/health/ready" => (None, Some(Share(None))),
        "/sync/join" => (Some(places.strangers.try_acquire()), Some(Share(None))),
        _ => {
            let share = places.shares.take(&request, places.share);
            (share.is_some().then(|| places.known.try_acquire()), share)
        }
    };
    if share.is_none() {
        let detail = "this credential has as many requests open here as one may have, a quarter of \
                      requests_at_once; try again";
        return Failure::new(StatusCode::SERVICE_UNAVAILABLE, "throttled", detail).problem();
    }
    if matches!(place, Some(Err(_))) {
        let detail = "this site answers as many requests as requests_at_once allows; try again";
        return Failure::new(StatusCode::SERVICE_UNAVAILABLE, "throttled", detail).problem();
    }
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(_) => {
            // The panic's own text may hold what it was working on.
            let route = path.split('/').nth(1).unwrap_or("");
            tracing::error!(route, "a handler broke down");
            let detail = "this site failed to answer; nothing of the request was stored";
            let failure = Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "exception", detail);
            if route == "fhir" { failure.outcome() } else { failure.problem() }
        }
    }
}
