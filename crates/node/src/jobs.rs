//! The jobs of a site and the one driver that runs them.
//!
//! A job exposes one step. The driver loops: a round with the parent, then waiting for news from
//! either side in one small request. Signals wake; polling guarantees.

pub mod alerts;
pub mod apply;
pub mod audit;
pub mod begin;
pub mod capture;
pub mod compare;
pub mod emr;
pub mod enrol;
pub mod foreign;
pub mod gate;
pub mod heal;
pub mod link;
pub mod messages;
pub mod outbox;
pub mod parked;
pub mod patients;
pub mod pull;
pub mod push;
pub mod replaced;
pub mod round;
pub mod rounds;
pub mod sources;
pub mod speed;
pub mod unlisted;
pub mod verify;
pub mod visitors;

use std::future::pending;

use protocol::Urgency;
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
            foreign::run(&site),
            visitors::run(&site),
            replaced::run(&site),
            messages::run(&site),
            parked::run(&site),
            sources::run(&site),
            carried_and_beside(&site)
        )
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        _ = all => {}
    }
}

/// The messages that third parties carry, and the record system beside the site where there is one.
async fn carried_and_beside(site: &Site) {
    match site.emr() {
        Some(_) => drop(tokio::join!(outbox::run(site), emr::run(site))),
        None => outbox::run(site).await,
    }
}

/// Keeps a child in step with its parent, for ever; returns at once where there is no Tributary
/// site that could be asked.
async fn keep_in_step(site: &Site) {
    let Some(link) = Link::of(site) else { return };
    let mut failures = 0u32;
    loop {
        while_paused(site, &link).await;
        let before = link.progress();
        match once(site, &link).await {
            Ok(()) => failures = 0,
            // A person paused it in the middle: that is no failure of the link.
            Err(_) if is_paused(site, &link).await => {}
            Err(error) => {
                // A link that breaks often and still carries something is worth trying again soon.
                failures = if link.progress() > before { 1 } else { failures.saturating_add(1) };
                pause_after(site, failures, &error).await;
            }
        }
    }
}

/// Milliseconds after which a site looks again whether its link is paused.
const LOOK_AGAIN: u64 = 2_000;

async fn is_paused(site: &Site, link: &Link) -> bool {
    link.pause(site).await.is_ok_and(|pause| pause.is_some())
}

/// Waits as long as a person has the link paused. The parent is told once, if it can be.
async fn while_paused(site: &Site, link: &Link) {
    if !is_paused(site, link).await {
        return;
    }
    tracing::info!("the link to the parent is paused");
    let told = match round::report(site).await {
        Ok(report) => link.farewell(site, &report).await,
        Err(error) => Err(error),
    };
    if let Err(error) = told {
        tracing::info!(%error, "the parent could not be told that the link is paused");
    }
    until_resumed(site, link).await;
    tracing::info!("the link to the parent is resumed");
}

/// Waits as long as a person has the link paused.
async fn until_resumed(site: &Site, link: &Link) {
    let mut news = site.news();
    while is_paused(site, link).await {
        tokio::select! {
            biased;
            _ = news.changed() => {}
            () = site.clock().sleep(LOOK_AGAIN) => {}
        }
    }
}

/// One round and, where all is said, waiting for news: one small request after the other.
async fn once(site: &Site, link: &Link) -> Result<(), LinkError> {
    site.rounds().begin();
    let round = round::run(site, link).await;
    let moved = round.as_ref().map(Round::moved).map_err(Clone::clone);
    site.metrics().round_ended(&site.rounds().end(&moved, site.now()));
    let round = round?;
    let end = site.now().plus_millis(ROUND_EVERY.cast_signed());
    loop {
        let news = wait_for_news(site, link, &round).await?;
        if news || is_due(end, site.now(), ROUND_EVERY) {
            return Ok(());
        }
        round::retry_parked(site).await;
    }
}

/// Returns when the parent has news, when something here waits for the parent, or when a lane opens
/// that has something (`true`), or after a while (`false`).
async fn wait_for_news(site: &Site, link: &Link, round: &Round) -> Result<bool, LinkError> {
    let mut news = site.news();
    news.mark_unchanged();
    if has_news(site, link, round).await {
        return Ok(true);
    }
    let begun = site.now();
    let open = link.gate().open(begun);
    let polls = open.contains(&Urgency::Normal);
    let poll = async {
        if !polls {
            // What the parent has may not come now: it need not be asked.
            return pending().await;
        }
        let live_only = !open.contains(&Urgency::Bulk);
        link.poll(site, &round.view, &round.markers, live_only).await
    };
    tokio::pin!(poll);
    loop {
        tokio::select! {
            biased;
            answer = &mut poll => return answer,
            () = site.rounds().wanted() => return Ok(true),
            _ = news.changed() => {
                if round::has_news_for_parent(site, link).await {
                    return Ok(true);
                }
            }
            // Another process may have written, a retry may have come due, or a lane opened.
            () = site.clock().sleep(LOOK_AGAIN) => {
                if is_paused(site, link).await || has_news(site, link, round).await {
                    return Ok(true);
                }
                link.look_at_budget(site).await?;
                let now = site.now();
                let waited = now.since(begun).unsigned_abs() / 1_000;
                let is_over = !polls && waited >= site.config().limits.poll_seconds;
                if is_over || link.gate().open(now) != open {
                    return Ok(false);
                }
            }
        }
    }
}

/// Whether something that may move now waits at either side, as far as it is known here.
async fn has_news(site: &Site, link: &Link, round: &Round) -> bool {
    round::has_news_for_parent(site, link).await || round::has_more(link, round, site.now())
}

/// Waits with backoff and jitter, visibly; local work does not cut the pause short, since the
/// link is what failed. A person who wants a round does.
async fn pause_after(site: &Site, failures: u32, error: &LinkError) {
    let millis = note_failure(site, failures, error).await;
    tokio::select! {
        biased;
        () = site.clock().sleep(millis) => {}
        () = site.rounds().wanted() => {}
    }
}

/// Notes a failure of the link, and gives the pause that follows from it.
pub async fn note_failure(site: &Site, failures: u32, error: &LinkError) -> u64 {
    note_failure_at_least(site, failures, error, 0).await
}

/// The same, where the other side asked for a pause of so many milliseconds.
async fn note_failure_at_least(site: &Site, failures: u32, error: &LinkError, least: u64) -> u64 {
    let millis = backoff_millis(failures, &site.config().limits, site.entropy().number());
    let millis = millis.max(least);
    let next = site.now().plus_millis(millis.cast_signed());
    tracing::warn!(failures, pause_ms = millis, %error, "the parent is out of reach");
    let event = LinkEvent::Failure { error: error.0.clone(), next };
    let now = site.now();
    if let Err(error) = site.write(move |store| store.link_note(&event, now)).await {
        tracing::warn!(%error, "failed to note the state of the link");
    }
    millis
}
