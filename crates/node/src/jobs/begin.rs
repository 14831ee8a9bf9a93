//! What a site notes in its store when it starts, by its settings: that it has a parent, and which
//! record system stands beside it. A full disk must not keep it from answering: then it is noted as
//! soon as there is room. What was written before that is not missed: both go through all that is
//! here when they are new.

use protocol::FeedId;
use store::StoreError;

use crate::config::Up;
use crate::jobs::emr;
use crate::site::Site;

/// Milliseconds between two tries where the disk is full.
pub const TRY_AGAIN: u64 = 5_000;

/// Notes it.
pub fn step(site: &Site) -> Result<(), StoreError> {
    if matches!(site.config().up(), Some(Up::Read | Up::Fhir)) {
        // What is written from now on is for the parent, whoever wrote the settings.
        let feed = FeedId::from_random(site.entropy().uuid_bytes());
        site.store().parent_set(site.now(), &feed)?;
    }
    // Also that there is none any more: what changes is marked for it, or not, from now on.
    emr::begin(site)
}

/// Notes it as soon as there is room on the disk.
pub async fn later(site: &Site) {
    loop {
        site.clock().sleep(TRY_AGAIN).await;
        match step(site) {
            Ok(()) => break,
            Err(StoreError::Full) => {}
            Err(error) => {
                tracing::error!(%error, "failed to note the settings of the parent or of [emr]");
                return;
            }
        }
    }
    tracing::info!("there is room on the disk again: the parent and the record system are noted");
    site.wake();
}
