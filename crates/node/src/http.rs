//! All routes of a site, in one list.

pub mod auth;
pub mod body;
pub mod error;
pub mod fhir;

use axum::Router;
use axum::routing::get;

use crate::site::Site;

/// The routes of a site.
pub fn router(site: Site) -> Router {
    Router::new().route("/health", get(health)).nest("/fhir", fhir::router()).with_state(site)
}

async fn health() -> &'static str {
    "ok\n"
}
