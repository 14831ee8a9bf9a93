//! `/admin`: what the command line shows and does, for programs of administrators. Implements
//! `docs/operations.md`, "By HTTP". No answer has anything of what a record says.

pub mod audit;
pub mod links;
pub mod queue;
pub mod rounds;
pub mod status;

use axum::Router;
use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::routing::{get, post};
use serde::de::DeserializeOwned;

use crate::http::auth::Caller;
use crate::http::body;
use crate::http::error::Failure;
use crate::site::Site;

/// The most that a body may come to, in bytes.
const BODY_BYTES: usize = 1 << 20;

/// The routes below `/admin`.
pub fn router() -> Router<Site> {
    Router::new()
        .route("/status", get(status::status))
        .route("/alerts", get(status::alerts))
        .route("/conflicts", get(status::conflicts))
        .route("/audit", get(audit::search))
        .route("/audit/who", get(audit::who))
        .route("/links", get(links::list))
        .route("/links/{link}/pause", post(links::pause))
        .route("/links/{link}/resume", post(links::resume))
        .route("/rounds", get(rounds::state).post(rounds::ask))
        .route("/queue", get(queue::list))
        .route("/queue/{id}", get(queue::show))
        .route("/queue/retry", post(queue::retry))
        .route("/queue/park", post(queue::park))
        .route("/queue/unpark", post(queue::unpark))
        .route("/queue/drop", post(queue::give_up))
}

/// Who asks, as the audit names them.
async fn administrator(parts: &Parts, site: &Site) -> Result<String, Failure> {
    Caller::administrator(parts, site).await
}

/// The JSON of a request; nothing at all counts as `{}`.
async fn read<T: DeserializeOwned>(
    site: &Site,
    headers: &HeaderMap,
    payload: Body,
) -> Result<T, Failure> {
    let bytes = body::read(site, headers, payload, BODY_BYTES).await?;
    let text = if bytes.is_empty() { &b"{}"[..] } else { &bytes[..] };
    serde_json::from_slice(text)
        .map_err(|error| Failure::bad_request(format!("the body cannot be understood: {error}")))
}
