//! The jobs of a site and the one driver that runs them.
//!
//! A job exposes one step. The driver loops: a round with the parent, then waiting for news from
//! either side in one small request. Signals wake; polling guarantees.

pub mod compare;
pub mod enrol;
pub mod link;
pub mod messages;
pub mod outbox;
pub mod patients;
pub mod pull;
pub mod push;
pub mod replaced;
pub mod round;
pub mod verify;
pub mod visitors;

use protocol::delivery::{backoff_millis, is_due};
use store::LinkEvent;
use tokio_util::sync::CancellationToken;

use crate::jobs::link::Link;
use crate::jobs::round::Round;
use crate::ports::LinkError;
use crate::site::Site;

/// Milliseconds after which a child with nothing to do has a round all the same: the parent hears
/// how it is. (While nothing happens, polls are all that goes over the link.)
const ROUND_EVERY: u64 = 15 * 60 * 1_000;

/// Runs all jobs of a site until it is told to stop.
pub async fn run(site: Site, stop: CancellationToken) {
    let all = async {
        tokio::join!(
            keep_in_step(&site),
            visitors::run(&site),
            replaced::run(&site),
            messages::run(&site),
            outbox::run(&site)
        )
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        _ = all => {}
    }
}

/// Keeps a child in step with its parent, for ever; returns at once where there is no parent.
async fn keep_in_step(site: &Site) {
    let Some(link) = Link::of(site) else { return };
    let mut failures = 0u32;
    loop {
        let before = link.progress();
        match once(site, &link).await {
            Ok(()) => failures = 0,
            Err(error) => {
                // A link that breaks often and still carries something is worth trying again soon.
                failures = if link.progress() > before { 1 } else { failures.saturating_add(1) };
                pause_after(site, failures, &error).await;
            }
        }
    }
}

/// One round and, where all is said, waiting for news: one small request after the other.
async fn once(site: &Site, link: &Link) -> Result<(), LinkError> {
    let round = round::run(site, link).await?;
    let end = site.now().plus_millis(ROUND_EVERY.cast_signed());
    loop {
        let news = wait_for_news(site, link, &round).await?;
        if news || is_due(end, site.now(), ROUND_EVERY) {
            return Ok(());
        }
        round::retry_parked(site).await;
    }
}

/// Returns when the parent has news, when something here waits for the parent (`true`), or after
/// a while (`false`).
async fn wait_for_news(site: &Site, link: &Link, round: &Round) -> Result<bool, LinkError> {
    let mut news = site.news();
    news.mark_unchanged();
    if round::has_news_for_parent(site).await {
        return Ok(true);
    }
    let poll = link.poll(site, &round.view, &round.markers);
    tokio::pin!(poll);
    loop {
        tokio::select! {
            biased;
            answer = &mut poll => return answer,
            _ = news.changed() => {
                if round::has_news_for_parent(site).await {
                    return Ok(true);
                }
            }
            // Another process may have written, or a retry may have come due.
            () = site.clock().sleep(2_000) => {
                if round::has_news_for_parent(site).await {
                    return Ok(true);
                }
            }
        }
    }
}

/// Waits with backoff and jitter, visibly; local work does not cut the pause short, since the
/// link is what failed.
async fn pause_after(site: &Site, failures: u32, error: &LinkError) {
    let millis = backoff_millis(failures, &site.config().limits, site.entropy().number());
    let next = site.now().plus_millis(millis.cast_signed());
    tracing::warn!(failures, pause_ms = millis, %error, "the parent is out of reach");
    let event = LinkEvent::Failure { error: error.0.clone(), next };
    let now = site.now();
    if let Err(error) = site.write(move |store| store.link_note(&event, now)).await {
        tracing::warn!(%error, "failed to note the state of the link");
    }
    site.clock().sleep(millis).await;
}
