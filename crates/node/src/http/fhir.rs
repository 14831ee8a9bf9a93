//! The FHIR R4 API of a site. Implements `docs/protocol.md` §3.

use axum::Router;

use crate::site::Site;

/// The routes below `/fhir`.
pub fn router() -> Router<Site> {
    Router::new()
}
