//! What sites say to each other. Implements `docs/protocol.md` §2 and §5.

pub mod audit;
pub mod changes;
pub mod conflicts;
pub mod digests;
pub mod join;
pub mod outgoing;
pub mod patients;
pub mod push;
pub mod receipts;
pub mod status;
pub mod timeline;
pub mod why;

use axum::Router;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use protocol::stream::PROTOCOL_VERSION;
use store::Scope;

use crate::http::auth::{Caller, PROTOCOL_HEADER};
use crate::http::error::Failure;
use crate::site::Site;

/// The most that a body which is not a push may come to, in bytes.
const SMALL_BODY: usize = 64 << 10;

/// The routes below `/sync`.
pub fn router() -> Router<Site> {
    Router::new()
        .route("/feeds/outgoing/changes", get(outgoing::read))
        .route("/feeds/outgoing/digests", get(outgoing::list))
        .route("/feeds/outgoing/fetch", post(outgoing::fetch))
        .route("/feeds/outgoing/receipts", post(outgoing::settle))
        .route("/feeds/{feed}/changes", get(changes::stream))
        .route("/feeds/{feed}/digests", get(digests::list))
        .route("/feeds/{feed}/fetch", post(digests::fetch))
        .route("/feeds/{feed}/patients", post(patients::of_feed))
        .route("/patients/find", post(patients::find))
        .route("/patients/fetch", post(patients::fetch))
        .route("/changes", post(push::receive))
        .route("/audit", post(audit::receive))
        .route("/audit/place", post(audit::place))
        .route("/receipts", post(receipts::tell))
        .route("/status", post(status::exchange))
        .route("/poll", get(status::poll))
        .route("/patients/{id}/timeline", get(timeline::timeline))
        .route("/why", get(why::why))
        .route("/conflicts", get(conflicts::list))
        .route("/conflicts/{id}", get(conflicts::show))
        .route("/conflicts/{id}/resolve", post(conflicts::resolve))
        .route("/conflicts/{id}/confirm", post(conflicts::confirm))
        .route("/conflicts/{id}/reopen", post(conflicts::reopen))
        .route("/join", post(join::redeem))
}

/// Checks the protocol version and says who asks.
async fn caller_of(parts: &Parts, site: &Site) -> Result<Caller, Failure> {
    check_version(&parts.headers)?;
    Caller::of(parts, site).await
}

/// The child that asks, with its scope; programs have no business on these routes.
async fn child_of(parts: &Parts, site: &Site) -> Result<(Caller, Scope), Failure> {
    let caller = caller_of(parts, site).await?;
    match &caller {
        Caller::Child { epoch: Some(_), .. } => {
            let scope = caller.scope();
            Ok((caller, scope))
        }
        Caller::Child { .. } => Err(Failure::bad_request("the header Tributary-Epoch is missing")),
        Caller::Program { .. } => Err(Failure::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            "this is for sites that have joined; a program uses /fhir and /feeds",
        )),
    }
}

fn check_version(headers: &HeaderMap) -> Result<(), Failure> {
    let said = headers.get(PROTOCOL_HEADER).and_then(|value| value.to_str().ok());
    match said.map(str::parse::<u32>) {
        None | Some(Ok(PROTOCOL_VERSION)) => Ok(()),
        Some(_) => Err(Failure::new(
            StatusCode::BAD_REQUEST,
            "not-supported",
            format!("this site speaks Tributary-Protocol {PROTOCOL_VERSION} only"),
        )),
    }
}

/// The text of a header.
fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
