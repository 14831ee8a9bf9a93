//! What every request passes: a bound on how many there are at once, and a handler that breaks
//! down is an answer of 500 and not a dead connection.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use futures::FutureExt as _;
use protocol::Limits;
use tokio::sync::Semaphore;

use crate::http::error::Failure;

/// Requests at once from those who have no credential yet: they cannot crowd out those who have.
const STRANGERS: usize = 16;

/// Places for requests.
#[derive(Clone)]
pub(super) struct Places {
    known: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
}

/// Places for requests.
pub(super) fn places(limits: &Limits) -> Places {
    Places {
        known: Arc::new(Semaphore::new(limits.requests_at_once)),
        strangers: Arc::new(Semaphore::new(STRANGERS)),
    }
}

/// Lets a request in, or says that there are too many.
pub(super) async fn guard(State(places): State<Places>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let place = match path.as_str() {
        // A poll waits and does nothing: every child holds one open. The connections bound them.
        // Who asks after the site's health is to hear it when there is no place left.
        "/sync/poll" | "/health" | "/health/live" | "/health/ready" => None,
        "/sync/join" => Some(places.strangers.try_acquire()),
        _ => Some(places.known.try_acquire()),
    };
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
