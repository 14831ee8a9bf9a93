//! `GET /metrics`, for monitoring: counts by site are nobody else's business.

use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};

use crate::http::auth::Caller;
use crate::http::error::Problem;
use crate::metrics;
use crate::site::Site;

/// What the text is.
const TYPE: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// Gives all metrics.
pub(super) async fn show(State(site): State<Site>, request: Request) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    Caller::watcher(&parts, &site).await?;
    let text = metrics::text(&site).await?;
    Ok(([(header::CONTENT_TYPE, TYPE)], text).into_response())
}
