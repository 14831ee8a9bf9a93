//! All routes of a site, in one list.

pub mod admin;
pub(crate) mod api;
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
use serde_json::Value;

use crate::http::api::{Api, Doc, Who};
use crate::http::error::{Failure, Problem};
use crate::site::Site;

/// The routes of a site, and what they are for.
pub(crate) fn api() -> Api {
    let metrics = Doc::of(Who::Watchers, "How the site stands, for monitoring");
    let description = Doc::of(Who::Anybody, "This description").gives::<Value>();
    Api::default()
        .below("/health", health::api())
        .get("/metrics", metrics::show, metrics.gives_media(&["application/openmetrics-text"]))
        .get("/api/openapi.json", api::show, description)
        .below("/feeds", feeds::api())
        .below("/fhir", fhir::api())
        .spelt("/fhir/", fhir::base)
        .below("/sync", sync::api())
        .below("/outbox", outbox::api())
        .below("/admin", admin::api())
}

/// The routes of a site.
pub fn router(site: Site) -> Router {
    let places = guard::places(&site.config().limits);
    let (routes, _) = api().into_parts();
    routes
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
