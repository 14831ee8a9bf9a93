//! `/admin/emr`: the record system beside the site, what is on its way there or from there, and
//! acting on it: the same as `tributary emr`.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State};
use protocol::{RecordRef, ResourceType};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::{EmrAction, EmrChoice, EmrInfo, EmrState, EmrStatus};

use super::{administrator, read};
use crate::http::api::shapes;
use crate::http::error::{self, Failure, Problem};
use crate::queue;
use crate::site::Site;

/// Rows of an answer that did not ask for a number, and the most.
const ROWS: usize = 100;
const ROWS_MOST: usize = 1_000;

/// `GET /admin/emr`
pub async fn status(
    State(site): State<Site>,
    request: Request,
) -> Result<Json<EmrStatus>, Problem> {
    let (parts, _) = request.into_parts();
    administrator(&parts, &site).await?;
    let found = site.read(|store| store.emr_status()).await?;
    let absent = || Failure::not_found("there is no record system beside this site");
    Ok(Json(found.ok_or_else(absent)?))
}

/// The query of a list.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    #[schemars(with = "Option<shapes::OpenState>")]
    state: Option<EmrState>,
    #[serde(default, deserialize_with = "super::patient")]
    #[schemars(with = "Option<shapes::PatientName>")]
    patient: Option<RecordRef>,
    limit: Option<usize>,
}

/// `GET /admin/emr/records`
pub async fn list(
    State(site): State<Site>,
    asked: Result<Query<Asked>, QueryRejection>,
    request: Request,
) -> Result<Json<Vec<EmrInfo>>, Problem> {
    let (parts, _) = request.into_parts();
    administrator(&parts, &site).await?;
    let Asked { state, patient, limit } = error::query(asked)?;
    let choice = EmrChoice { record: None, patient, state };
    let limit = limit.unwrap_or(ROWS).clamp(1, ROWS_MOST);
    Ok(Json(site.read(move |store| store.emr_list(&choice, limit)).await?))
}

/// `GET /admin/emr/records/{type}/{id}`: one of them, with its reason.
pub async fn show(
    State(site): State<Site>,
    Path((kind, id)): Path<(String, String)>,
    request: Request,
) -> Result<Json<EmrInfo>, Problem> {
    let (parts, _) = request.into_parts();
    administrator(&parts, &site).await?;
    let absent =
        || Failure::not_found("no such record is on its way to the record system or from it");
    let kind: ResourceType = kind.parse().map_err(|_| absent())?;
    let record = RecordRef::new(kind, &id).map_err(|_| absent())?;
    let choice = EmrChoice { record: Some(record), ..EmrChoice::default() };
    let found = site.read(move |store| store.emr_list(&choice, 1)).await?;
    Ok(Json(found.into_iter().next().ok_or_else(absent)?))
}

/// What to act on, and how.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Act {
    #[schemars(with = "Option<shapes::Reference>")]
    record: Option<RecordRef>,
    #[schemars(with = "Option<shapes::Reference>")]
    patient: Option<RecordRef>,
    #[schemars(with = "Option<shapes::OpenState>")]
    state: Option<EmrState>,
    /// Everything, to try it again: said aloud, so that a forgotten choice is not everything.
    #[serde(default)]
    all: bool,
    /// Why, for the audit; needed to park and to drop.
    reason: Option<String>,
}

/// How many records were acted on.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Acted {
    records: u64,
}

/// `POST /admin/emr/retry`
pub async fn retry(state: State<Site>, request: Request) -> Result<Json<Acted>, Problem> {
    act(state, request, |_| Ok(EmrAction::Retry)).await
}

/// `POST /admin/emr/park`
pub async fn park(state: State<Site>, request: Request) -> Result<Json<Acted>, Problem> {
    act(state, request, |reason| reason.map(EmrAction::Park)).await
}

/// `POST /admin/emr/drop`
pub async fn give_up(state: State<Site>, request: Request) -> Result<Json<Acted>, Problem> {
    act(state, request, |reason| reason.map(EmrAction::Drop)).await
}

async fn act(
    State(site): State<Site>,
    request: Request,
    action: impl FnOnce(Result<String, Failure>) -> Result<EmrAction, Failure>,
) -> Result<Json<Acted>, Problem> {
    let (parts, payload) = request.into_parts();
    let actor = administrator(&parts, &site).await?;
    let asked: Act = read(&site, &parts.headers, payload).await?;
    let said = asked.reason.as_deref().map(|text| queue::reason(text, &site.config().limits));
    let said = said.unwrap_or_else(|| Err("`reason` is missing: say why".to_owned()));
    let action = action(said.map_err(Failure::bad_request))?;
    let choice = choice(asked, &action)?;
    let now = site.now();
    let acted = move |store: &dyn store::Store| store.emr_act(&choice, &action, &actor, now);
    Ok(Json(Acted { records: site.write(acted).await? }))
}

fn choice(asked: Act, action: &EmrAction) -> Result<EmrChoice, Failure> {
    let Act { record, patient, state, all, .. } = asked;
    let chosen = record.is_some() || patient.is_some() || state.is_some();
    match (chosen, all) {
        (true, true) => Err(Failure::bad_request("`all` and a choice: say one of both")),
        (false, true) if *action != EmrAction::Retry => {
            Err(Failure::bad_request("`all` is for trying again: say which"))
        }
        (false, false) => Err(Failure::bad_request(
            "say which: `record`, `patient` or `state`; or `all` to try everything again",
        )),
        _ => Ok(EmrChoice { record, patient, state }),
    }
}
