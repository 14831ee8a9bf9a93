//! Making a world from its plan, and running it to its end.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, anyhow};
use node::config::{Parent, Up};
use node::jobs::enrol;
use protocol::cohort::{Area, Definition};
use protocol::{CohortName, FeedId, RecordRef};
use store::CohortDraft;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use super::watch::Watch;
use super::{Log, START, Shared};
use crate::net::WorldNet;
use crate::op::Plan;
use crate::oracle::Oracle;
use crate::place::Place;
use crate::template;
use crate::time::WorldTime;

/// A world, its thread and its files.
pub(crate) struct World {
    pub(crate) shared: Arc<Shared>,
    runtime: Runtime,
    _folder: TempDir,
}

impl World {
    /// Makes the sites of a plan and joins them. `lines`: keep the whole trace.
    pub(crate) fn new(plan: Plan, lines: bool) -> anyhow::Result<World> {
        let time = WorldTime::new(START);
        let passing = time.clone();
        // One thread: when it has nothing to do, nothing can happen until time has passed.
        let runtime = Builder::new_current_thread()
            .on_thread_park(move || passing.pass())
            .build()
            .context("failed to start the runtime")?;
        let folder = template::folder()?;
        let (oracle, log) = (Arc::new(Mutex::new(Oracle::default())), Arc::new(Log::new(lines)));
        let watch = Arc::new(Watch::new(Arc::clone(&oracle), Arc::clone(&log)));
        let net = WorldNet::new(time.clone(), watch.clone());
        let mut places = Vec::new();
        for (index, head) in plan.head.sites.iter().enumerate() {
            let seed = plan.head.seed;
            let mut place = Place::new(index, head, seed, folder.path(), &net, &time)?;
            if !plan.restores() {
                place.limits.compare_seconds = 0;
            }
            places.push(place);
        }
        let places = Arc::new(places);
        watch.know(Arc::clone(&places));
        let numbers = AtomicU64::new(0);
        let shared = Arc::new(Shared { plan, time, net, places, oracle, log, numbers });
        let world = World { shared, runtime, _folder: folder };
        let shared = Arc::clone(&world.shared);
        world.run(async move { shared.begin().await })??;
        Ok(world)
    }

    /// Runs work in the world to its end, however long that takes there.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let time = self.shared.time.clone();
        let task = self.runtime.spawn(async move { time.run(work).await });
        let done = self.runtime.block_on(task).context("failed to run a world")?;
        done.ok_or_else(|| anyhow!("failed to run a world: it waits for what never comes"))
    }
}

impl Shared {
    async fn begin(self: &Arc<Shared>) -> anyhow::Result<()> {
        for place in self.places.iter() {
            let old = self.plan.head.sites[place.index].old;
            template::begin(&place.store_file(), &place.id, old, START)?;
            place.start()?;
            if let Some(parent) = place.parent {
                self.make_cohort(place, &self.plan.head.sites[place.index].cohort)?;
                self.join(place, parent).await?;
                let up = place.up().context("failed to begin: a site is down")?;
                let feed = FeedId::from_random(up.site.entropy().uuid_bytes());
                up.site.store().parent_set(up.site.now(), &feed)?;
                // With its parent and its credential it starts anew, as after `tributary join`.
                place.crash()?;
                place.start()?;
            }
        }
        for place in self.places.iter() {
            let below = self.children(place.index).filter(|child| child.read);
            let below = below.map(|child| place.reads(child)).count();
            if below > 0 {
                place.crash()?;
                place.start()?;
            }
        }
        Ok(())
    }

    /// The names of a site's cohorts.
    pub(crate) fn cohorts_of(&self, place: &Place) -> anyhow::Result<Vec<CohortName>> {
        let own: CohortName = format!("of-{}", place.id).parse()?;
        if self.plan.head.sites[place.index].old {
            return Ok(vec!["all".parse()?, own]);
        }
        Ok(vec![own])
    }

    /// Invites a site at its parent and lets it join, while the link works.
    pub(crate) async fn join(&self, place: &Place, parent: usize) -> anyhow::Result<()> {
        let above = &self.places[parent];
        let (here, there) = (place.up(), above.up());
        let (here, there) = here.zip(there).context("failed to join: a site is down")?;
        let cohorts = self.cohorts_of(place)?;
        let (code, _) = enrol::invite(&there.site, &place.id, &cohorts)?;
        let before = place.link.pause();
        let answer = enrol::redeem(&here.site, &above.url, &code).await;
        place.link.set(|now| *now = before);
        let answer = answer?;
        let parent = Parent {
            url: above.url.clone(),
            site: answer.site,
            leave: place.leave,
            up: match (place.carried, place.read) {
                (true, _) => Up::Carried,
                (false, true) => Up::Read,
                (false, false) => Up::Direct,
            },
            fhir: node::config::FhirParent::default(),
        };
        place.joined(parent, answer.credential);
        Ok(())
    }

    /// Makes the cohort of a site at its parent, or changes its definition.
    pub(crate) fn make_cohort(&self, place: &Place, kind: &str) -> anyhow::Result<()> {
        let parent = place.parent.context("failed to make a cohort: the site has no parent")?;
        let above = self.places[parent].up().context("failed to make a cohort: it is down")?;
        let draft = CohortDraft {
            name: format!("of-{}", place.id).parse()?,
            feed: FeedId::from_random(above.site.entropy().uuid_bytes()),
            title: None,
            definition: self.definition(place, kind)?,
            page_entries: 10,
        };
        above.site.store().cohort_set(&draft, above.site.now())?;
        Ok(())
    }

    /// The definition of a site's cohort: its own place and those below it.
    fn definition(&self, place: &Place, kind: &str) -> anyhow::Result<Definition> {
        let below = self.children(place.index).map(|child| child.id.to_string());
        let places = below.chain([place.id.to_string()]).collect::<Vec<_>>();
        Ok(match kind {
            "places" => {
                let places = places.iter().map(|id| format!("Organization/{id}").parse());
                let places = places.collect::<Result<BTreeSet<RecordRef>, _>>()?;
                Definition::Location { places, by: BTreeSet::new() }
            }
            "address" => {
                let areas = places.iter().map(|id| id.parse::<Area>());
                Definition::Address { areas: areas.collect::<Result<_, _>>()? }
            }
            "listed" => {
                let first = places.iter().map(|id| format!("Patient/p-{id}-1").parse());
                let more = (1..20).map(|number| format!("Patient/p-centre-{number}").parse());
                Definition::Patients { patients: first.chain(more).collect::<Result<_, _>>()? }
            }
            "group" => {
                let groups = places.iter().map(|id| format!("Group/g-{id}").parse());
                Definition::Group { groups: groups.collect::<Result<_, _>>()? }
            }
            _ => Definition::All {},
        })
    }
}
