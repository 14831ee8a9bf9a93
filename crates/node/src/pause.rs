//! Links that a person has paused: who may not use them, and how that is said.

use axum::http::StatusCode;
use protocol::Timestamp;
use store::{LinkName, Pause, StoreError};

use crate::http::error::Failure;
use crate::site::Site;

/// Seconds after which who is turned away may ask again: at the most, and where no end is known.
const ASK_AGAIN: i64 = 300;

/// Whether a link is paused now.
pub async fn of(site: &Site, link: LinkName) -> Result<Option<Pause>, StoreError> {
    let now = site.now();
    site.read(move |store| store.link_paused(&link, now)).await
}

/// 503 with the time to ask again where the link is paused.
pub async fn refuse(site: &Site, link: LinkName) -> Result<(), Failure> {
    let Some(pause) = of(site, link).await? else { return Ok(()) };
    let left = pause.until.map_or(ASK_AGAIN, |until| (until.since(site.now()) + 999) / 1_000);
    let detail = format!("{}; nothing is lost by it", words(&pause, site.id().as_str()));
    let failure = Failure::new(StatusCode::SERVICE_UNAVAILABLE, "throttled", detail);
    Err(Failure { retry_after: Some(left.clamp(1, ASK_AGAIN).unsigned_abs()), ..failure })
}

/// What is said of a pause.
pub fn words(pause: &Pause, site: &str) -> String {
    let until = pause.until.map_or("it is resumed".to_owned(), minute);
    let (since, reason) = (minute(pause.since), &pause.reason);
    format!("this link was paused at {site} on {since}, until {until}: {reason}")
}

/// A time as people write it, by the minute.
fn minute(at: Timestamp) -> String {
    at.to_string().chars().take(16).collect::<String>().replace('T', " ")
}
