//! `GET /sync/why?record=REF`: where a record is on its way, for programs. Implements
//! `docs/protocol.md` §2.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::StatusCode;
use protocol::{RecordRef, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::{AuditRow, StoreError, TokenScope, Whereabouts};

use crate::config::Up;
use crate::http::api::shapes;
use crate::http::auth::Caller;
use crate::http::error::{self, Failure, Problem};
use crate::http::sync::check_version;
use crate::site::Site;
use crate::why::sentences;

/// The query.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// Which record.
    #[schemars(with = "shapes::Reference")]
    record: RecordRef,
}

/// Where a record is: in words, and the facts that they were made of.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Why {
    /// For people.
    pub sentences: Vec<String>,
    /// For programs.
    #[serde(flatten)]
    pub facts: Whereabouts,
}

/// Says where a record is; of one that is not here as well.
pub async fn why(
    State(site): State<Site>,
    asked: Result<Query<Asked>, QueryRejection>,
    request: Request,
) -> Result<Json<Why>, Problem> {
    let (parts, _) = request.into_parts();
    check_version(&parts.headers)?;
    let caller = Caller::any(&parts, &site).await?;
    // An administrator reads no records, and this shows none.
    let caller = match caller {
        Caller::Program { scope: TokenScope::Administer, .. } => caller,
        other => other.with_records()?,
    };
    if matches!(caller, Caller::Child { .. }) {
        let detail = "where records are is told to this site's own programs only";
        return Err(Failure::new(StatusCode::FORBIDDEN, "forbidden", detail).into());
    }
    let record = error::query(asked)?.record;
    let (actor, now) = (caller.author().as_str().to_owned(), site.now());
    let up = site.config().up().unwrap_or_default();
    let why = site.read(move |store| read(store, &record, up, actor, now)).await?;
    Ok(Json(why))
}

/// Reads the facts and notes in the audit who asked.
pub(crate) fn read(
    store: &dyn store::Store,
    record: &RecordRef,
    up: Up,
    actor: String,
    now: Timestamp,
) -> Result<Why, StoreError> {
    let facts = store.record_why(record)?;
    let detail = if facts.here.is_some() { "here" } else { "not here" }.to_owned();
    store.audit_append(
        &AuditRow { actor, action: "why", subject: record.to_string(), detail },
        now,
    )?;
    Ok(Why { sentences: sentences(&facts, now, up), facts })
}
