//! All routes of a site, in one list.

pub mod auth;
pub mod body;
pub mod error;
pub mod feeds;
pub mod fhir;
pub mod sync;

use axum::Router;
use axum::routing::{any, get};

use crate::site::Site;

/// The routes of a site.
pub fn router(site: Site) -> Router {
    Router::new()
        .route("/health", get(health))
        .nest("/feeds", feeds::router())
        .route("/fhir/", any(fhir::base))
        .nest("/fhir", fhir::router())
        .nest("/sync", sync::router())
        .with_state(site)
}

async fn health() -> &'static str {
    "ok\n"
}
