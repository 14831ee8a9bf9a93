//! Once a day: whether this site holds just what its parent lists for it. Whatever led to a
//! difference, it does not stay. Both ends make one digest of all, which costs next to nothing on
//! the link; only where those differ, record is compared with record.

use axum::http::StatusCode;
use protocol::Timestamp;
use protocol::delivery::is_due;
use store::{DigestScope, LinkEvent};

use crate::http::sync::digests::{Summary, summary_of};
use crate::http::sync::status::{FeedHead, ParentView};
use crate::jobs::compare;
use crate::jobs::link::{Link, ours};
use crate::ports::LinkError;
use crate::site::Site;

/// Looks, where it is time to. To be called when both sides have said all: what is on its way
/// makes a difference, too.
pub async fn step(site: &Site, link: &Link, view: &ParentView) -> Result<(), LinkError> {
    let every = site.config().limits.compare_seconds.saturating_mul(1_000);
    if every == 0 {
        return Ok(());
    }
    let known = site.read(|store| store.link_get()).await.map_err(|error| ours(&error))?;
    let pause = i64::try_from(every).unwrap_or(i64::MAX);
    let due = |last: Timestamp| is_due(last.plus_millis(pause), site.now(), every);
    if !known.compared.is_none_or(due) {
        return Ok(());
    }
    for feed in &view.feeds {
        if differs(site, link, feed).await? {
            tracing::warn!(feed = feed.name, "not all is as the parent has it: comparing records");
            compare::pages(site, link, view, feed, true).await?;
        }
    }
    let now = site.now();
    let noted = site.write(move |store| store.link_note(&LinkEvent::Compared, now)).await;
    noted.map_err(|error| ours(&error))
}

/// Whether the parent lists something else in a feed than is here.
async fn differs(site: &Site, link: &Link, feed: &FeedHead) -> Result<bool, LinkError> {
    let response = link.get_small(site, &format!("/sync/feeds/{}/summary", feed.name)).await?;
    if response.status == StatusCode::NOT_FOUND {
        // It is not ours to read by now, or the parent is of an older version.
        return Ok(false);
    }
    let theirs: Summary = link.json(site, response).await?;
    let scope = DigestScope::Held { feed: feed.id, name: feed.name.clone() };
    let held = summary_of(site, &scope).await;
    let held = held.map_err(|failure| LinkError(failure.detail))?;
    Ok(held != theirs)
}
