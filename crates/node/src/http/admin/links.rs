//! `/admin/links`: pausing and resuming.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;
use store::{LinkName, PauseDraft, StoreError};

use super::{administrator, read};
use crate::http::api::shapes;
use crate::http::error::{Failure, Problem};
use crate::links::{self, LinkTold};
use crate::queue;
use crate::site::Site;

/// The longest pause that has an end, in seconds: ten years.
const SECONDS_MOST: u64 = 3_660 * 86_400;

/// `GET /admin/links`
pub async fn list(
    State(site): State<Site>,
    request: Request,
) -> Result<Json<Vec<LinkTold>>, Problem> {
    let (parts, _) = request.into_parts();
    administrator(&parts, &site).await?;
    let (asked, now) = (site.clone(), site.now());
    let told = site.read(move |store| links::list(store, asked.config(), now)).await?;
    Ok(Json(told))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    reason: String,
    for_seconds: Option<u64>,
}

fn named(link: &str) -> Result<LinkName, Failure> {
    match link {
        "parent" => Ok(LinkName::Parent),
        "emr" => Ok(LinkName::Emr),
        child => {
            let words = "a link is `parent`, `emr`, or the id of a child or of a source";
            let absent = |_| Failure::not_found(words);
            child.parse().map(LinkName::Child).map_err(absent)
        }
    }
}

/// `POST /admin/links/{parent, child or source}/pause`
pub(super) async fn pause(
    State(site): State<Site>,
    Path(link): Path<String>,
    request: Request,
) -> Result<Json<shapes::Paused>, Problem> {
    let (parts, payload) = request.into_parts();
    let actor = administrator(&parts, &site).await?;
    let link = named(&link)?;
    let asked: Asked = read(&site, &parts.headers, payload).await?;
    let reason = queue::reason(&asked.reason, &site.config().limits);
    let reason = reason.map_err(Failure::bad_request)?;
    if asked.for_seconds.is_some_and(|seconds| !(1..=SECONDS_MOST).contains(&seconds)) {
        let detail = format!("`for_seconds` is between 1 and {SECONDS_MOST}");
        return Err(Failure::bad_request(detail).into());
    }
    let millis = asked.for_seconds.map(|seconds| seconds * 1_000);
    let is_source = links::is_source(site.config(), &link);
    let (draft, now) = (PauseDraft { link, is_source, reason, actor, millis }, site.now());
    match site.write(move |store| store.link_pause(&draft, now)).await {
        Ok(()) => Ok(Json(shapes::Paused { paused: true })),
        Err(StoreError::Name(text)) => Err(Failure::not_found(text).into()),
        Err(error) => Err(error.into()),
    }
}

/// `POST /admin/links/{parent, child or source}/resume`
pub(super) async fn resume(
    State(site): State<Site>,
    Path(link): Path<String>,
    request: Request,
) -> Result<Json<shapes::Paused>, Problem> {
    let (parts, _) = request.into_parts();
    let actor = administrator(&parts, &site).await?;
    let (link, now) = (named(&link)?, site.now());
    if site.write(move |store| store.link_resume(&link, &actor, now)).await? {
        return Ok(Json(shapes::Paused { paused: false }));
    }
    Err(Failure::new(StatusCode::CONFLICT, "conflict", "this link is not paused").into())
}
