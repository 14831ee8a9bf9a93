//! Lines that could not be applied are tried again when they are due, at every site: those of the
//! sources of a centre that has no parent, and those of a site whose parent is out of reach.

use crate::site::Site;

/// Milliseconds between two looks. Rounds with the parent look as well.
const LOOK_EVERY: u64 = 60_000;

/// Tries those again that are due. What fails is due again later; the reason is in the store for
/// people to see.
pub async fn step(site: &Site) {
    let (now, jitter) = (site.now(), site.entropy().number());
    match site.read(move |store| store.parked_retry(now, jitter, false)).await {
        Ok(0) => {}
        Ok(_) => site.wake(),
        Err(error) => tracing::warn!(%error, "failed to retry parked lines"),
    }
}

/// Works for ever.
pub async fn run(site: &Site) {
    loop {
        step(site).await;
        site.clock().sleep(LOOK_EVERY).await;
    }
}
