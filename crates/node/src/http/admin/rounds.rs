//! `/admin/rounds`: a round with the parent, now.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use store::LinkName;

use super::administrator;
use crate::http::api::shapes;
use crate::http::error::{Failure, Problem};
use crate::jobs::foreign::is_foreign;
use crate::jobs::rounds::RoundsState;
use crate::pause;
use crate::site::Site;

/// `POST /admin/rounds`: wakes the job that talks with the parent. 202 with the number of the round
/// whose outcome to wait for.
pub(super) async fn ask(
    State(site): State<Site>,
    request: Request,
) -> Result<(StatusCode, Json<shapes::RoundAsked>), Problem> {
    let (parts, _) = request.into_parts();
    administrator(&parts, &site).await?;
    let conflict = |detail: String| Failure::new(StatusCode::CONFLICT, "conflict", detail);
    let is_foreign = site.config().parent.as_ref().is_some_and(is_foreign);
    if site.config().parent.is_none() || (site.credential().is_none() && !is_foreign) {
        let detail = "this site has no parent, so there is nobody to have a round with";
        return Err(conflict(detail.to_owned()).into());
    }
    if let Some(found) = pause::of(&site, LinkName::Parent).await? {
        return Err(conflict(pause::words(&found, site.id().as_str())).into());
    }
    Ok((StatusCode::ACCEPTED, Json(shapes::RoundAsked { number: site.rounds().ask() })))
}

/// `GET /admin/rounds`: how far the round is, and how the last one ended.
pub async fn state(
    State(site): State<Site>,
    request: Request,
) -> Result<Json<RoundsState>, Problem> {
    let (parts, _) = request.into_parts();
    administrator(&parts, &site).await?;
    Ok(Json(site.rounds().state()))
}
