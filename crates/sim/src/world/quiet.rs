//! After all that happened: links and disks are whole again, every site is up, operators send
//! again what was parked, and rounds go on until nothing moves. Then some days go by.

use std::collections::BTreeSet;
use std::sync::Arc;

use node::jobs::link::Link;
use node::jobs::patients::{self, Answer};
use node::jobs::{messages, outbox, replaced, round, visitors};
use protocol::delivery::DeliveryState;
use protocol::resource::compartment;
use protocol::visit::FetchQuestion;
use protocol::{Limits, RecordRef, json};
use store::{Allowance, DeliveryAction, DeliveryChoice, DeliveryFilter, HistoryQuery, Scope};

use super::Shared;
use super::beside::nothing_for_beside;
use crate::place::{Place, Up};

/// Days of rest after restores: each site compares itself with its parent once a day, and what one
/// tier finds comes to the tier below it on the next.
const DAYS: u32 = 3;
/// Passes over all sites in a day after which a world that still moves never comes to rest.
const PASSES: u32 = 40;
/// Passes in a row in which nothing moves: a purge is no movement, and what comes of it goes down
/// one tier in each pass.
const STILL: u32 = 3;
/// Milliseconds between two passes: longer than any backoff.
const PAUSE: u64 = 20 * 60_000;

/// Passes in which operators do what the reasons of refused deliveries say first.
const FETCHING: u32 = 4;
/// Refused deliveries that an operator looks at in one pass.
const REFUSED: usize = 100;
/// Versions of a record in which somebody looks for whose it was.
const VERSIONS: u32 = 1_000;

impl Shared {
    /// Brings the world to rest; `false` where it does not come there.
    pub(crate) async fn come_to_rest(self: Arc<Shared>) -> bool {
        self.note("quiet begins");
        for place in self.places.iter() {
            place.link.set(|now| *now = Default::default());
            if let Some(system) = &place.system {
                system.mend();
            }
            let started = if place.up().is_none() { place.start() } else { Ok(()) };
            if let Err(error) = started.and_then(|()| place.widen()) {
                self.log.violation("start", format!("{error:#}"));
                return false;
            }
        }
        let days = if self.plan.restores() { DAYS } else { 0 };
        for _ in 0..days {
            if !self.until_still().await {
                return false;
            }
            self.time.sleep(Limits::default().compare_seconds * 1_000).await;
        }
        let ended = self.until_still().await;
        if ended {
            self.compare_beside().await;
        }
        self.places.iter().filter_map(Place::up).for_each(|up| self.harvest(&up));
        ended
    }

    /// Rounds of all sites until nothing moves; `false` where that does not happen.
    async fn until_still(&self) -> bool {
        let mut still = 0;
        for pass in 0..PASSES {
            let mut moved = 0;
            for place in self.deepest_first() {
                moved += self.settle(place, pass).await;
            }
            self.time.sleep(PAUSE).await;
            still = if moved == 0 && self.queues_are_empty() { still + 1 } else { 0 };
            if still == STILL {
                return true;
            }
        }
        false
    }

    fn deepest_first(&self) -> Vec<&Place> {
        let mut places = self.places.iter().collect::<Vec<_>>();
        places.sort_by_key(|place| std::cmp::Reverse(self.depth(place)));
        places
    }

    fn depth(&self, place: &Place) -> usize {
        place.parent.map_or(0, |parent| 1 + self.depth(&self.places[parent]))
    }

    fn queues_are_empty(&self) -> bool {
        self.places.iter().all(|place| {
            let Some(up) = place.up() else { return false };
            let status = up.site.store().site_status(up.site.now());
            let is_empty = status.is_ok_and(|status| {
                let count = |state: &str| status.deliveries.get(state).copied().unwrap_or(0);
                ["ready", "retry", "leased", "handed-over"].map(count).iter().sum::<u64>() == 0
            });
            is_empty && nothing_for_beside(&up)
        })
    }

    /// One site's part of a pass: how much moved.
    async fn settle(&self, place: &Place, pass: u32) -> u64 {
        let Some(up) = place.up() else { return 1 };
        if let Some(link) = Link::of(&up.site) {
            self.mend_refused(place, &up, (&link, pass)).await;
        }
        self.retry_all(&up).await;
        self.harvest(&up);
        let ended = self.finish_jobs(&up).await + self.settle_beside(&up).await;
        let Some(link) = Link::of(&up.site) else { return ended };
        let carried = if place.carried { self.carry_all(place, &up).await } else { 0 };
        let result = round::run(&up.site, &link).await;
        // Both ways at once: what came down may have to go up again.
        let read = if place.read { self.read(place).await } else { 0 };
        let ended = ended + carried + read + self.settle_beside(&up).await;
        match result {
            Ok(round) => {
                self.note(&format!(
                    "{} settles: {} up, {} down, {} refused, {} parked",
                    place.id, round.sent, round.received, round.not_taken, round.parked
                ));
                ended + round.sent + round.received + round.not_taken + round.parked
            }
            Err(error) => {
                self.note(&format!("{} settles: {error}", place.id));
                if error.0.contains("credential") {
                    self.rejoin(place.index).await;
                }
                1
            }
        }
    }

    /// The jobs that a site does for itself, until they have nothing left to do; gives how many
    /// visits ended.
    async fn finish_jobs(&self, up: &Up) -> u64 {
        let ended = visitors::step(&up.site).await;
        outbox::take_back(&up.site).await;
        while messages::step(&up.site).await > 0 {}
        for _ in 0..PASSES {
            match replaced::step(&up.site).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => self.note(&format!("{} fails to follow: {error}", up.site.id())),
            }
        }
        ended
    }

    /// What the parent refuses because it is of nobody of the site's there: the operator does what
    /// the reason says, and fetches the patients; where that has not helped, the parent's lets the
    /// site change those records.
    async fn mend_refused(&self, place: &Place, up: &Up, (link, pass): (&Link, u32)) {
        let above = place.parent.and_then(|parent| self.places[parent].up());
        let (mut patients, mut records) = (BTreeSet::new(), BTreeSet::new());
        for (reason, of) in refused(place, up, above.as_ref()) {
            // The parent may have the record under somebody whose it was; or of whom nobody here
            // has heard, which somebody there says who is asked.
            for name in reason.split(' ').filter_map(|name| name.parse::<RecordRef>().ok()) {
                for asked in std::iter::once(up).chain(&above) {
                    patients.extend(whose_it_was(asked, &name));
                }
                records.insert(name);
            }
            patients.extend(of);
        }
        if let (Some(above), true) = (&above, pass >= FETCHING && !records.is_empty()) {
            let reason = "fetching did not help".to_owned();
            let records = records.into_iter().collect();
            let allowance = Allowance { site: place.id.clone(), records, reason };
            let said = above.site.store().child_allow(&allowance, above.site.now());
            self.note(&format!("{} is allowed {:?}: {said:?}", place.id, allowance.records));
            return;
        }
        for patient in patients {
            let mut said = self.fetch_one(up, link, &patient).await;
            if let Some(other) = said.split_once(" was replaced by ").map(|(_, other)| other) {
                let other = other.split(':').next().and_then(|other| other.parse().ok());
                if let Some(other) = other {
                    said = self.fetch_one(up, link, &other).await;
                }
            }
            self.note(&format!("{} fetches {patient} as it was told: {said}", up.site.id()));
        }
    }

    async fn fetch_one(&self, up: &Up, link: &Link, patient: &RecordRef) -> String {
        let question = FetchQuestion {
            patient: patient.to_string(),
            reason: "what was written here is refused".to_owned(),
            days: Some(1),
            author: Some("somebody".to_owned()),
        };
        match patients::fetch(&up.site, link, &question).await {
            Ok(Answer::Refused(reason)) => reason,
            other => format!("{other:?}"),
        }
    }

    async fn retry_all(&self, up: &Up) {
        let (now, site) = (up.site.now(), &up.site);
        let work = move |store: &dyn store::Store| {
            let parked = DeliveryChoice::State(DeliveryState::Parked);
            store.delivery_act(&parked, &DeliveryAction::Retry, now)?;
            store.parked_retry(now, 0, true)
        };
        if let Err(error) = site.write(work).await {
            self.note(&format!("{} fails to retry: {error}", site.id()));
        }
    }
}

/// Why what a site sent, or its parent read of it, is refused for being of nobody of the site's
/// there, and whose it is.
fn refused(place: &Place, up: &Up, above: Option<&Up>) -> Vec<(String, Vec<RecordRef>)> {
    let filter = DeliveryFilter { limit: REFUSED, ..DeliveryFilter::default() };
    let sent = up.site.store().delivery_list(&filter).unwrap_or_default();
    let sent = sent.into_iter().filter_map(|one| Some((one.reason?, one.patients)));
    let read = above.and_then(|above| above.site.store().parked_list(REFUSED).ok());
    let of_this = format!("{}/", place.id);
    let read = read.into_iter().flatten().filter(|line| line.feed.starts_with(&of_this));
    let all = sent.chain(read.map(|line| (line.reason, line.patients)));
    all.filter(|(reason, _)| reason.contains("patient fetch")).collect()
}

/// The patients whose a record is here, or was in any version.
fn whose_it_was(up: &Up, name: &RecordRef) -> BTreeSet<RecordRef> {
    let query =
        HistoryQuery { record: Some(name.clone()), limit: VERSIONS, ..HistoryQuery::default() };
    let Ok(page) = up.site.store().record_history(&query, &Scope::Everything) else {
        return BTreeSet::new();
    };
    let depth = Limits::default().json_depth;
    let named = |body: String| {
        let resource = json::parse(body.as_bytes(), depth).ok()?;
        Some(compartment::patients(name, &resource))
    };
    let bodies = page.versions.into_iter().filter_map(|version| version.body);
    bodies.filter_map(named).flatten().collect()
}
