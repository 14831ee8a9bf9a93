//! `/sync/conflicts`: what is in conflict, for children (of their cohorts, to read) and programs;
//! a program that may write decides. Implements `docs/protocol.md` §7.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use protocol::conflict::Choice;
use protocol::{Author, RecordRef};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{
    AuditRow, ConflictAction, ConflictDone, ConflictFilter, ConflictInfo, ConflictOrder,
    ConflictView, Disclosure, Scope,
};

use crate::conflicts;
use crate::disclosure;
use crate::http::api::shapes;
use crate::http::auth::Caller;
use crate::http::body;
use crate::http::error::{self, Failure, Problem};
use crate::http::sync::caller_of;
use crate::site::Site;

/// The query of a list.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// `open` (as when it is left out), `closed` or `all`.
    state: Option<Which>,
    /// Of this patient.
    #[schemars(with = "Option<shapes::Reference>")]
    patient: Option<RecordRef>,
    /// About this record.
    #[schemars(with = "Option<shapes::Reference>")]
    record: Option<RecordRef>,
    /// Where the page before ended.
    after: Option<String>,
    /// At most so many.
    limit: Option<u32>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Which {
    Open,
    Closed,
    All,
}

/// A page of conflicts.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Listed {
    conflicts: Vec<ConflictInfo>,
    /// What to ask for as `after`, where there are more.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// `GET /sync/conflicts`: newest first.
pub async fn list(
    State(site): State<Site>,
    asked: Result<Query<Asked>, QueryRejection>,
    request: Request,
) -> Result<Json<Listed>, Problem> {
    let (parts, _) = request.into_parts();
    let scope = caller_of(&parts, &site).await?.scope();
    let asked = error::query(asked)?;
    let limits = &site.config().limits;
    let limit = asked.limit.unwrap_or(limits.search_page).clamp(1, limits.search_page_max);
    let filter = ConflictFilter {
        open: match asked.state {
            None | Some(Which::Open) => Some(true),
            Some(Which::Closed) => Some(false),
            Some(Which::All) => None,
        },
        patient: asked.patient,
        record: asked.record,
        id: None,
        after: asked.after,
        limit: limit as usize,
    };
    let page = site.read(move |store| store.conflict_list(&filter, &scope)).await?;
    Ok(Json(Listed { conflicts: page.conflicts, next: page.next }))
}

/// `GET /sync/conflicts/{id}`: its versions, side by side.
pub async fn show(
    State(site): State<Site>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<Value>, Problem> {
    let (parts, _) = request.into_parts();
    let caller = caller_of(&parts, &site).await?;
    let view = view_of(&site, &caller, &id).await?;
    let records = vec![view.info.record.clone()];
    let read = disclosure::by(&caller, "conflict-read", id);
    disclosure::note(&site, Disclosure { records, former: true, ..read }).await?;
    Ok(Json(conflicts::told(&view)?))
}

/// The conflict as the caller may see it; 404 where there is none, or none for this caller.
async fn view_of(site: &Site, caller: &Caller, id: &str) -> Result<ConflictView, Failure> {
    let (scope, actor, now) = (caller.scope(), caller.author().as_str().to_owned(), site.now());
    let wanted = id.to_owned();
    let found = site
        .read(move |store| {
            let found = store.conflict_get(&wanted, &scope)?;
            let hidden = found.is_none()
                && scope != Scope::Everything
                && store.conflict_get(&wanted, &Scope::Everything)?.is_some();
            if hidden {
                let detail = "GET of a conflict outside the caller's cohorts".to_owned();
                let subject = format!("Basic/{wanted}");
                let row = AuditRow { actor, action: "denied", subject, detail };
                store.audit_append(&row, now)?;
            }
            Ok(found)
        })
        .await?;
    found.ok_or_else(|| Failure::not_found("there is no such conflict here"))
}

/// What is taken.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Take {
    /// A side, or `keep` or `delete`.
    All(String),
    /// A side for each element.
    Elements(std::collections::BTreeMap<String, String>),
}

/// What `POST /sync/conflicts/{id}/resolve` takes; the others take `author` and `why` only.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Order {
    take: Option<Take>,
    /// The whole record as text or as JSON.
    #[schemars(with = "Option<serde_json::Value>")]
    edit: Option<Box<serde_json::value::RawValue>>,
    /// The person; where it is left out, the program.
    author: Option<String>,
    why: Option<String>,
}

/// `POST /sync/conflicts/{id}/resolve`
pub async fn resolve(
    State(site): State<Site>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<ConflictDone>, Problem> {
    let (parts, payload) = request.into_parts();
    let caller = decider(&parts, &site).await?;
    let order = order(&site, &parts, payload).await?;
    let view = view_of(&site, &caller, &id).await?;
    let choice = match (&order.take, &order.edit) {
        (Some(take), None) => taken(take, &site, &view)?,
        (None, Some(text)) => Choice::Edit(text.get().to_owned()),
        _ => {
            return Err(
                Failure::bad_request("say what to `take`, or give the record as `edit`").into()
            );
        }
    };
    decide(site, caller, id, ConflictAction::Close(choice), order).await
}

fn taken(take: &Take, site: &Site, view: &ConflictView) -> Result<Choice, Failure> {
    let words = match take {
        Take::All(word) => vec![word.clone()],
        Take::Elements(sides) => {
            sides.iter().map(|(path, side)| format!("{path}={side}")).collect()
        }
    };
    Ok(conflicts::choice(&words, site.id(), &view.conflict)?)
}

/// `POST /sync/conflicts/{id}/confirm`
pub async fn confirm(
    State(site): State<Site>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<ConflictDone>, Problem> {
    plain(site, id, request, ConflictAction::Close(Choice::Confirm)).await
}

/// `POST /sync/conflicts/{id}/reopen`
pub async fn reopen(
    State(site): State<Site>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<ConflictDone>, Problem> {
    plain(site, id, request, ConflictAction::Reopen).await
}

async fn plain(
    site: Site,
    id: String,
    request: Request,
    action: ConflictAction,
) -> Result<Json<ConflictDone>, Problem> {
    let (parts, payload) = request.into_parts();
    let caller = decider(&parts, &site).await?;
    let order = order(&site, &parts, payload).await?;
    if order.take.is_some() || order.edit.is_some() {
        return Err(Failure::bad_request("here only `author` and `why` can be said").into());
    }
    view_of(&site, &caller, &id).await?;
    decide(site, caller, id, action, order).await
}

/// Who may decide: a program that may write. A child decides at itself and sends the change.
async fn decider(parts: &Parts, site: &Site) -> Result<Caller, Failure> {
    let caller = caller_of(parts, site).await?;
    if caller.may_write() {
        return Ok(caller);
    }
    let detail = "deciding needs a credential with the scope fhir-write; a child decides at itself";
    Err(Failure::new(StatusCode::FORBIDDEN, "forbidden", detail))
}

async fn order(site: &Site, parts: &Parts, payload: axum::body::Body) -> Result<Order, Failure> {
    let most = site.config().limits.resource_bytes.saturating_add(super::SMALL_BODY);
    let bytes = body::read(site, &parts.headers, payload, most).await?;
    if bytes.is_empty() {
        return Ok(Order::default());
    }
    serde_json::from_slice(&bytes).map_err(|error| {
        // The parser's own words may repeat what stands there.
        let (line, column) = (error.line(), error.column());
        Failure::bad_request(format!(
            "the body is not understood at line {line}, column {column}; it is JSON with `take` \
             or `edit`, and perhaps `author` and `why`"
        ))
    })
}

async fn decide(
    site: Site,
    caller: Caller,
    id: String,
    action: ConflictAction,
    order: Order,
) -> Result<Json<ConflictDone>, Problem> {
    let program = caller.author();
    let author = order.author.as_deref().map_or_else(|| program.clone(), Author::new);
    let actor = program.as_str().to_owned();
    let order = ConflictOrder { id, action, author, why: order.why, actor };
    let now = site.now();
    Ok(Json(site.write(move |store| store.conflict_decide(&order, now)).await?))
}
