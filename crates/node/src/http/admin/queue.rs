//! `/admin/queue`: what waits and what is stuck, and acting on it.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use protocol::RecordRef;
use protocol::delivery::DeliveryState;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use store::{DeliveryAction, QueueChoice, QueueDone, QueueFilter, QueueId, QueueOrder};

use super::{administrator, read};
use crate::config::Up;
use crate::http::api::shapes;
use crate::http::error::{self, Failure, Problem};
use crate::queue::{self, Listing};
use crate::site::Site;

/// Rows of an answer that did not ask for a number, and the most.
const ROWS: usize = 100;
const ROWS_MOST: usize = 1_000;

/// What is chosen of the queue.
#[derive(Debug, Default, Deserialize)]
struct Chosen {
    state: Option<DeliveryState>,
    patient: Option<RecordRef>,
    older_hours: Option<u32>,
    reason_has: Option<String>,
}

impl Chosen {
    fn filter(&self, site: &Site) -> QueueFilter {
        let hours = |hours| site.now().plus_millis(-i64::from(hours) * 3_600_000);
        QueueFilter {
            state: self.state,
            patient: self.patient.clone(),
            before: self.older_hours.map(hours),
            reason: self.reason_has.clone(),
        }
    }
}

/// The query of a list.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    #[schemars(with = "Option<shapes::State>")]
    state: Option<DeliveryState>,
    #[serde(default, deserialize_with = "super::patient")]
    #[schemars(with = "Option<shapes::PatientName>")]
    patient: Option<RecordRef>,
    older_hours: Option<u32>,
    reason_has: Option<String>,
    limit: Option<usize>,
    #[serde(default)]
    after: u64,
}

/// `GET /admin/queue`
pub async fn list(
    State(site): State<Site>,
    asked: Result<Query<Asked>, QueryRejection>,
    request: Request,
) -> Result<Json<Listing>, Problem> {
    let (parts, _) = request.into_parts();
    administrator(&parts, &site).await?;
    let asked = error::query(asked)?;
    let limit = asked.limit.unwrap_or(ROWS).clamp(1, ROWS_MOST);
    let Asked { state, patient, older_hours, reason_has, after, .. } = asked;
    let filter = Chosen { state, patient, older_hours, reason_has }.filter(&site);
    let (config, now) = (site.config().clone(), site.now());
    let listing = site.read(move |store| queue::list(store, (&config, now), &filter, after, limit));
    Ok(Json(listing.await?))
}

/// `GET /admin/queue/{id}`
pub async fn show(
    State(site): State<Site>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<Value>, Problem> {
    let (parts, _) = request.into_parts();
    administrator(&parts, &site).await?;
    let id: QueueId = id.parse().map_err(Failure::not_found)?;
    let found = site.read(move |store| queue::show(store, id)).await?;
    let absent = || Failure::not_found(format!("{id} is not in the queue and never was dropped"));
    Ok(Json(found.ok_or_else(absent)?))
}

/// What to act on, and how.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Act {
    /// These: `"12"`, `"L3"`.
    #[serde(default)]
    ids: Vec<String>,
    #[schemars(with = "Option<shapes::State>")]
    state: Option<DeliveryState>,
    #[schemars(with = "Option<shapes::Reference>")]
    patient: Option<RecordRef>,
    older_hours: Option<u32>,
    reason_has: Option<String>,
    /// Everything that is open: said aloud, so that a forgotten choice is not everything.
    #[serde(default)]
    all: bool,
    /// Why, for the audit; needed to park and to drop.
    reason: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

/// `POST /admin/queue/retry`
pub async fn retry(state: State<Site>, request: Request) -> Result<Json<QueueDone>, Problem> {
    act(state, request, |_| Ok(DeliveryAction::Retry)).await
}

/// `POST /admin/queue/unpark`
pub async fn unpark(state: State<Site>, request: Request) -> Result<Json<QueueDone>, Problem> {
    act(state, request, |_| Ok(DeliveryAction::Unpark)).await
}

/// `POST /admin/queue/park`
pub async fn park(state: State<Site>, request: Request) -> Result<Json<QueueDone>, Problem> {
    if state.config().up() == Some(Up::Read) {
        return Err(Failure::new(StatusCode::CONFLICT, "conflict", queue::NO_PARKING).into());
    }
    act(state, request, |reason| reason.map(DeliveryAction::Park)).await
}

/// `POST /admin/queue/drop`
pub async fn give_up(state: State<Site>, request: Request) -> Result<Json<QueueDone>, Problem> {
    act(state, request, |reason| reason.map(DeliveryAction::Drop)).await
}

async fn act(
    State(site): State<Site>,
    request: Request,
    action: impl FnOnce(Result<String, Failure>) -> Result<DeliveryAction, Failure>,
) -> Result<Json<QueueDone>, Problem> {
    let (parts, payload) = request.into_parts();
    let actor = administrator(&parts, &site).await?;
    let asked: Act = read(&site, &parts.headers, payload).await?;
    let limits = &site.config().limits;
    let said = asked.reason.as_deref().map(|text| queue::reason(text, limits));
    let said = said.unwrap_or_else(|| Err("`reason` is missing: say why".to_owned()));
    let action = action(said.map_err(Failure::bad_request))?;
    let which = which(&site, &asked)?;
    let order = QueueOrder { which, action, actor, dry_run: asked.dry_run, after: 0 };
    let (now, jitter) = (site.now(), site.entropy().number());
    Ok(Json(site.write(move |store| queue::act(store, &order, now, jitter)).await?))
}

fn which(site: &Site, asked: &Act) -> Result<QueueChoice, Failure> {
    let chosen = Chosen {
        state: asked.state,
        patient: asked.patient.clone(),
        older_hours: asked.older_hours,
        reason_has: asked.reason_has.clone(),
    };
    let filter = chosen.filter(site);
    let selects = filter != QueueFilter::default();
    match (asked.ids.is_empty(), selects, asked.all) {
        (false, false, false) => {
            let ids = asked.ids.iter().map(|id| id.parse().map_err(Failure::bad_request));
            Ok(QueueChoice::Ids(ids.collect::<Result<_, _>>()?))
        }
        (true, true, false) | (true, false, true) => Ok(QueueChoice::Matching(filter)),
        _ => Err(Failure::bad_request(
            "say one of: `ids`, a choice (`state`, `patient`, `older_hours`, `reason_has`), `all`",
        )),
    }
}
