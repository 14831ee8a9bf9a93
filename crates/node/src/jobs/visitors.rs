//! Ending visits whose time is over, at every site that has children. The membership of the
//! cohort decides who may read what, never the clock by itself.

use crate::site::Site;

/// Milliseconds between two looks.
const EVERY: u64 = 60_000;

/// Looks again and again, for ever.
pub async fn run(site: &Site) {
    loop {
        step(site).await;
        site.clock().sleep(EVERY).await;
    }
}

/// Ends the visits that are over by now; gives how many. What fails is tried again.
pub async fn step(site: &Site) -> u64 {
    let now = site.now();
    match site.read(move |store| store.visitor_expire(now)).await {
        Ok(0) => 0,
        Ok(ended) => {
            // The children are waiting for news.
            site.wake();
            ended
        }
        Err(error) => {
            tracing::warn!(%error, "failed to end visits that are over");
            0
        }
    }
}
