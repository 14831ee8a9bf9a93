//! `/admin/status` and `/admin/conflicts`: how the site stands.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use protocol::RecordRef;
use schemars::JsonSchema;
use serde::Deserialize;
use store::{Alert, ConflictFilter, Scope};

use super::administrator;
use crate::http::api::shapes;
use crate::http::error::{self, Problem};
use crate::site::Site;
use crate::told::Told;

/// Alerts of an answer at the most.
const ALERTS: usize = 1_000;

/// `GET /admin/status`
pub async fn status(State(site): State<Site>, request: Request) -> Result<Json<Told>, Problem> {
    let (parts, _) = request.into_parts();
    administrator(&parts, &site).await?;
    let now = site.now();
    let status = site.read(move |store| store.site_status(now)).await?;
    Ok(Json(Told::of(status, &site, now)))
}

/// The query of `/admin/conflicts`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    #[serde(default)]
    all: bool,
    #[serde(default, deserialize_with = "super::patient")]
    #[schemars(with = "Option<shapes::PatientName>")]
    patient: Option<RecordRef>,
    after: Option<String>,
    limit: Option<u32>,
}

/// `GET /admin/conflicts`: which there are; no values.
pub(super) async fn conflicts(
    State(site): State<Site>,
    asked: Result<Query<Asked>, QueryRejection>,
    request: Request,
) -> Result<Json<shapes::Conflicts>, Problem> {
    let (parts, _) = request.into_parts();
    administrator(&parts, &site).await?;
    let asked = error::query(asked)?;
    let limits = &site.config().limits;
    let limit = asked.limit.unwrap_or(limits.search_page).clamp(1, limits.search_page_max);
    let filter = ConflictFilter {
        open: (!asked.all).then_some(true),
        patient: asked.patient,
        after: asked.after,
        limit: limit as usize,
        ..ConflictFilter::default()
    };
    let page = site.read(move |store| store.conflict_list(&filter, &Scope::Everything)).await?;
    let (conflicts, more, next) = (page.conflicts, page.next.is_some(), page.next);
    Ok(Json(shapes::Conflicts { conflicts, more, next }))
}

/// The query of `/admin/alerts`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Which {
    #[serde(default)]
    all: bool,
}

/// `GET /admin/alerts`: those that are raised, the newest first.
pub async fn alerts(
    State(site): State<Site>,
    asked: Result<Query<Which>, QueryRejection>,
    request: Request,
) -> Result<Json<Vec<Alert>>, Problem> {
    let (parts, _) = request.into_parts();
    administrator(&parts, &site).await?;
    let all = error::query(asked)?.all;
    Ok(Json(site.read(move |store| store.alert_list(all, ALERTS)).await?))
}
