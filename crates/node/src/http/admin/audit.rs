//! `/admin/audit`: who did what to what.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use protocol::{RecordRef, Timestamp};
use schemars::JsonSchema;
use serde::Deserialize;
use store::{AuditEntry, AuditFilter, AuditWho};

use super::administrator;
use crate::http::api::shapes;
use crate::http::error::{self, Problem};
use crate::site::Site;
use crate::who;

/// Rows of an answer that did not ask for a number, and the most.
const ROWS: usize = 100;
const ROWS_MOST: usize = 1_000;

/// The query.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    #[schemars(with = "Option<shapes::Reference>")]
    record: Option<RecordRef>,
    #[serde(default, deserialize_with = "super::patient")]
    #[schemars(with = "Option<shapes::PatientName>")]
    patient: Option<RecordRef>,
    actor: Option<String>,
    action: Option<String>,
    #[schemars(with = "Option<String>")]
    since: Option<Timestamp>,
    #[schemars(with = "Option<String>")]
    until: Option<Timestamp>,
    /// Rows after this one, the oldest first; else the newest.
    after: Option<u64>,
    limit: Option<usize>,
}

/// `GET /admin/audit`
pub async fn search(
    State(site): State<Site>,
    asked: Result<Query<Asked>, QueryRejection>,
    request: Request,
) -> Result<Json<Vec<AuditEntry>>, Problem> {
    let (parts, _) = request.into_parts();
    administrator(&parts, &site).await?;
    let asked = error::query(asked)?;
    let newest = asked.after.is_none();
    let filter = AuditFilter {
        record: asked.record,
        patient: asked.patient,
        actor: asked.actor,
        action: asked.action,
        since: asked.since,
        until: asked.until,
        after: asked.after.unwrap_or(0),
        newest,
        limit: asked.limit.unwrap_or(ROWS).clamp(1, ROWS_MOST),
    };
    let mut rows = site.read(move |store| store.audit_list(&filter)).await?;
    if newest {
        rows.reverse();
    }
    Ok(Json(rows))
}

/// The query of `/admin/audit/who`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Whom {
    #[schemars(with = "shapes::Reference")]
    record: RecordRef,
}

/// `GET /admin/audit/who`: who has seen a patient's records, here and below.
pub async fn who(
    State(site): State<Site>,
    asked: Result<Query<Whom>, QueryRejection>,
    request: Request,
) -> Result<Json<AuditWho>, Problem> {
    let (parts, _) = request.into_parts();
    let actor = administrator(&parts, &site).await?;
    let (record, now) = (error::query(asked)?.record, site.now());
    Ok(Json(site.read(move |store| who::read(store, &record, actor, now)).await?))
}
