//! Merged patients: what did not fit into the change that said so follows, or goes back, here.

use store::StoreError;

use crate::site::Site;

/// Milliseconds between two looks. The change that merges patients does the first portion itself,
/// so that only long records wait for this.
const LOOK_EVERY: u64 = 5_000;

/// One portion; whether there was anything to do.
pub async fn step(site: &Site) -> Result<bool, StoreError> {
    let now = site.now();
    let more = site.read(move |store| store.patient_follow(now)).await?;
    if more {
        site.wake();
    }
    Ok(more)
}

/// Works for ever, at every site.
pub async fn run(site: &Site) {
    loop {
        match step(site).await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "failed to follow merged patients"),
        }
        site.clock().sleep(LOOK_EVERY).await;
    }
}
