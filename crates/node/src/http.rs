//! All routes of a site, in one list.

pub mod admin;
pub mod auth;
pub mod body;
pub mod error;
pub mod feeds;
pub mod fhir;
pub(crate) mod health;
pub mod outbox;
pub mod sync;

mod guard;
pub(crate) mod meter;
mod metrics;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::{any, get};

use crate::http::error::{Failure, Problem};
use crate::site::Site;

/// The routes of a site.
pub fn router(site: Site) -> Router {
    let places = guard::places(&site.config().limits);
    Router::new()
        .nest("/health", health::router())
        .route("/metrics", get(metrics::show))
        .nest("/feeds", feeds::router())
        .route("/fhir/", any(fhir::base))
        .nest("/fhir", fhir::router())
        .nest("/sync", sync::router())
        .nest("/outbox", outbox::router())
        .nest("/admin", admin::router())
        .fallback(absent)
        .method_not_allowed_fallback(not_allowed)
        .with_state(site.clone())
        .layer(from_fn_with_state(places, guard::guard))
        .layer(from_fn_with_state(site, meter::meter))
}

async fn absent(request: Request) -> Problem {
    let path = request.uri().path().chars().take(200).collect::<String>();
    Failure::not_found(format!("there is nothing at {path}; see /fhir/metadata and /feeds")).into()
}

async fn not_allowed(request: Request) -> Problem {
    let detail = format!("{} is not possible here", request.method());
    let status = StatusCode::METHOD_NOT_ALLOWED;
    Failure::new(status, "not-supported", detail).into()
}
