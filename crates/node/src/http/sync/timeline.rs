//! `GET /sync/patients/{id}/timeline`: what happened to a patient, for children (of their cohorts)
//! and programs. Implements `docs/protocol.md` §2.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State};
use protocol::{RecordRef, ResourceType, SiteId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::{AuditRow, Scope, TimelinePage, TimelineQuery};

use crate::http::error::{self, Failure, Problem};
use crate::http::sync::caller_of;
use crate::site::Site;

/// The query of a timeline.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// Where the page before ended.
    after: Option<String>,
    /// At most so many changes, joins and leaves.
    limit: Option<u32>,
    /// What was recorded at or after.
    #[schemars(with = "Option<String>")]
    since: Option<Timestamp>,
    /// The newest first.
    #[serde(default)]
    reverse: bool,
}

/// A page of a patient's timeline, and whose it is.
#[derive(Debug, Clone, Serialize)]
pub struct Timeline {
    /// The patient.
    pub patient: RecordRef,
    /// The site that tells it: sequences and times are of that site.
    pub site: SiteId,
    /// The page.
    #[serde(flatten)]
    pub page: TimelinePage,
}

/// Gives a page of a patient's timeline; 404 where the patient is not here, or not the caller's.
pub async fn timeline(
    State(site): State<Site>,
    Path(id): Path<String>,
    asked: Result<Query<Asked>, QueryRejection>,
    request: Request,
) -> Result<Json<Timeline>, Problem> {
    let (parts, _) = request.into_parts();
    let caller = caller_of(&parts, &site).await?;
    let asked = error::query(asked)?;
    let patient = RecordRef::new(ResourceType::PATIENT, &id)?;
    let limits = &site.config().limits;
    let query = TimelineQuery {
        patient: patient.clone(),
        since: asked.since,
        reverse: asked.reverse,
        limit: asked.limit.unwrap_or(limits.search_page).clamp(1, limits.search_page_max),
        after: asked.after,
    };
    let (scope, actor, now) = (caller.scope(), caller.author().as_str().to_owned(), site.now());
    let page = site.read(move |store| read(store, &query, &scope, actor, now)).await?;
    let page = page.ok_or_else(|| Failure::not_found(format!("{patient} is not here")))?;
    Ok(Json(Timeline { patient, site: site.id().clone(), page }))
}

/// Reads a page and notes in the audit who read it, or tried to.
pub(crate) fn read(
    store: &dyn store::Store,
    query: &TimelineQuery,
    scope: &Scope,
    actor: String,
    now: Timestamp,
) -> Result<Option<TimelinePage>, store::StoreError> {
    let page = store.patient_timeline(query, scope)?;
    let (action, detail) = match (&page, scope) {
        (Some(_), _) => ("timeline", "read".to_owned()),
        (None, Scope::Everything) => return Ok(None),
        (None, Scope::Cohorts { .. }) => {
            let probe = TimelineQuery { limit: 1, after: None, ..query.clone() };
            if store.patient_timeline(&probe, &Scope::Everything)?.is_none() {
                return Ok(None);
            }
            ("denied", "timeline of a patient outside the caller's cohorts".to_owned())
        }
    };
    // Who was let read is noted before anything is given.
    let subject = query.patient.to_string();
    store.audit_append(&AuditRow { actor, action, subject, detail }, now)?;
    Ok(page)
}
