//! A parent that is a FHIR server of another make: what is written here goes up as transaction
//! Bundles, messages or single records. Nothing comes down from it.
//!
//! The queue moves as it does to a Tributary parent: in order for each patient, coalesced, lane by
//! lane, no faster than the link. What such a server has taken is known by its answer alone; where
//! that is lost the same states are written again, which changes nothing.

mod counted;
mod deliver;
mod send;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use protocol::Timestamp;
use protocol::delivery::is_due;
use serde::{Deserialize, Serialize};
use store::LinkEvent;

use crate::config::{FhirWay, Parent, Up};
use crate::fhir_server::{Capabilities, FhirError, FhirServer, Login, Ways};
use crate::jobs::link::{Link, ours};
use crate::jobs::push::Pushed;
use crate::jobs::rounds::Moved;
use crate::jobs::{
    LOOK_AGAIN, ROUND_EVERY, is_paused, note_failure_at_least, push, round, until_resumed,
};
use crate::ports::LinkError;
use crate::site::Site;

/// The way to such a parent.
pub struct Foreign {
    link: Link,
    server: FhirServer,
    /// As the settings say.
    way: FhirWay,
    /// By what it offers, once that was heard; asked again after it was away.
    heard: Mutex<Option<FhirWay>>,
    /// Changes at which the server failed while others got through.
    doubted: Mutex<BTreeSet<u64>>,
}

/// What is kept of such a parent, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// What it is.
    pub software: Option<String>,
    /// How it is written to.
    pub way: FhirWay,
}

/// What was heard of such a parent, from what the link keeps.
pub fn heard(peer: Option<&str>) -> Option<Heard> {
    serde_json::from_str(peer?).ok()
}

/// Whether the parent of these settings is one.
pub fn is_foreign(parent: &Parent) -> bool {
    parent.up == Up::Fhir
}

impl Foreign {
    /// The way of a site whose parent is a FHIR server; `None` where it is none. Refuses a login
    /// that cannot be.
    pub fn of(site: &Site) -> Option<Result<Foreign, LinkError>> {
        let parent = site.config().parent.as_ref().filter(|parent| is_foreign(parent))?;
        Some(Foreign::to(site, parent))
    }

    fn to(site: &Site, parent: &Parent) -> Result<Foreign, LinkError> {
        let link = Link::foreign(site, parent)?;
        let login = Login::of(&parent.fhir.login, site.secret_of(&parent.site))?;
        let ways = site.ways();
        let transport =
            Arc::new(counted::Counted::new(ways.transport.clone(), link.clone(), site.clone()));
        let ways = Ways { transport, ..ways };
        let server = FhirServer::new(&parent.url, login, ways, &site.config().limits)?;
        let way = parent.fhir.way;
        Ok(Foreign { link, server, way, heard: Mutex::default(), doubted: Mutex::default() })
    }

    /// The link, with its speed and its lanes.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// What the server says that it can do, and how it would be written to by that.
    pub async fn offers(&self) -> Result<(Capabilities, FhirWay), FhirError> {
        let offered = self.server.capabilities().await?;
        let way = if self.way == FhirWay::Offered { way_of(&offered)? } else { self.way };
        Ok((offered, way))
    }

    /// How the server is written to; asks it, where the settings leave that to it.
    async fn way(&self, site: &Site) -> Result<FhirWay, FhirError> {
        if self.way != FhirWay::Offered {
            return Ok(self.way);
        }
        if let Some(way) = *self.known() {
            return Ok(way);
        }
        let (offered, way) = self.offers().await?;
        let heard = Heard { software: offered.software, way };
        let now = site.now();
        // One that says what it is, and takes nothing, is still out of reach.
        if let Ok(peer) = serde_json::to_string(&heard) {
            let noted = site.read(move |store| store.link_note(&LinkEvent::Peer(peer), now)).await;
            noted.map_err(|error| ours(&error))?;
        }
        *self.known() = Some(way);
        Ok(way)
    }

    /// Changes at which the server failed while others got through.
    fn doubted(&self) -> std::sync::MutexGuard<'_, BTreeSet<u64>> {
        self.doubted.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Option<FhirWay>> {
        self.heard.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Refuses while a person has the link paused.
    async fn unless_paused(&self, site: &Site) -> Result<(), LinkError> {
        match self.link.pause(site).await? {
            Some(pause) => Err(LinkError(crate::pause::words(&pause, site.id().as_str()))),
            None => Ok(()),
        }
    }
}

/// The best way that a server offers.
fn way_of(offered: &Capabilities) -> Result<FhirWay, LinkError> {
    if offered.transaction {
        return Ok(FhirWay::Transaction);
    }
    if offered.message {
        return Ok(FhirWay::Message);
    }
    if offered.types.values().any(|kind| kind.update) {
        return Ok(FhirWay::Put);
    }
    Err(LinkError(
        "by its /metadata it takes neither transactions nor messages, and changes no record: set \
         parent.fhir.way if it does"
            .to_owned(),
    ))
}

/// Keeps such a parent up to date, for ever.
pub(super) async fn run(site: &Site) {
    let foreign = match Foreign::of(site) {
        None => return,
        Some(Ok(foreign)) => foreign,
        Some(Err(error)) => {
            // Only other settings help, and with them the site starts again.
            note_failure_at_least(site, 1, &error, 0).await;
            return;
        }
    };
    let mut failures = 0u32;
    loop {
        until_resumed(site, &foreign.link).await;
        let before = foreign.link.progress();
        match once(site, &foreign).await {
            Ok(()) => failures = 0,
            Err(_) if is_paused(site, &foreign.link).await => {}
            Err(error) => {
                let moved = foreign.link.progress() > before;
                failures = if moved { 1 } else { failures.saturating_add(1) };
                pause_after(site, failures, error).await;
            }
        }
    }
}

async fn pause_after(site: &Site, failures: u32, error: FhirError) {
    let wait = match &error {
        FhirError::Away { wait, .. } => wait.unwrap_or(0).saturating_mul(1_000),
        _ => 0,
    };
    let millis = note_failure_at_least(site, failures, &error.into(), wait).await;
    tokio::select! {
        biased;
        () = site.clock().sleep(millis) => {}
        () = site.rounds().wanted() => {}
    }
}

/// One round, and waiting until there is something to send.
async fn once(site: &Site, foreign: &Foreign) -> Result<(), FhirError> {
    site.rounds().begin();
    let moved = run_round(site, foreign).await;
    let told = moved.as_ref().map(|moved| *moved).map_err(|error| error.clone().into());
    site.metrics().round_ended(&site.rounds().end(&told, site.now()));
    moved?;
    let mut news = site.news();
    news.mark_unchanged();
    let end = site.now().plus_millis(ROUND_EVERY.cast_signed());
    while !has_news(site, foreign, end).await {
        tokio::select! {
            biased;
            () = site.rounds().wanted() => return Ok(()),
            _ = news.changed() => {}
            () = site.clock().sleep(LOOK_AGAIN) => foreign.link.look_at_budget(site).await?,
        }
    }
    Ok(())
}

/// Whether it is time for a round: something waits that may go now, or the last one is long ago.
async fn has_news(site: &Site, foreign: &Foreign, end: Timestamp) -> bool {
    is_paused(site, &foreign.link).await
        || round::has_due_of(site, foreign.link.gate().open(site.now())).await
        || is_due(end, site.now(), ROUND_EVERY)
}

/// Sends all that may go now. An error means that the link or the server failed; what was taken
/// until then is settled.
pub async fn run_round(site: &Site, foreign: &Foreign) -> Result<Moved, FhirError> {
    let lock = round::lock(site).await?;
    let result = run_alone(site, foreign).await;
    drop(lock);
    if result.is_err() {
        // It may be another one, or another version, when it is back.
        *foreign.known() = None;
    }
    let noted = foreign.link.note_traffic(site).await;
    let moved = result?;
    noted?;
    Ok(moved)
}

async fn run_alone(site: &Site, foreign: &Foreign) -> Result<Moved, FhirError> {
    let mut moved = Moved::default();
    loop {
        foreign.unless_paused(site).await?;
        foreign.link.look_at_budget(site).await?;
        let lines = push::next_lines(site, &foreign.link).await?;
        if lines.is_empty() {
            round::retry_parked(site).await;
            return Ok(moved);
        }
        let way = foreign.way(site).await?;
        let Pushed { taken, not_taken } = deliver::all(site, foreign, way, lines).await?;
        moved.sent += taken;
        moved.not_taken += not_taken;
        site.rounds().progress(&moved);
        foreign.link.note(site).await?;
        if taken == 0 {
            // What waits by now was put off a moment ago.
            return Ok(moved);
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::ResourceType;

    use super::*;
    use crate::fhir_server::TypeCapabilities;

    #[test]
    fn the_best_way_that_is_offered_is_taken() {
        let offered = |transaction, message, update| {
            let kind = TypeCapabilities { update, ..TypeCapabilities::default() };
            let types = [(ResourceType::PATIENT, kind)].into();
            way_of(&Capabilities { transaction, message, types, ..Capabilities::default() })
        };
        assert_eq!(offered(true, true, true), Ok(FhirWay::Transaction));
        assert_eq!(offered(false, true, true), Ok(FhirWay::Message));
        assert_eq!(offered(false, false, true), Ok(FhirWay::Put));
        assert!(offered(false, false, false).unwrap_err().0.contains("set parent.fhir.way"));
    }
}
