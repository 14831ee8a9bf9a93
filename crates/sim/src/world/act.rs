//! What each step does. Most of it runs as work of its site, beside everything else.

use std::sync::Arc;

use node::jobs::link::Link;
use node::jobs::{self, round, sources};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::fhir::Program;
use crate::chance::SeededEntropy;
use crate::op::{Op, Step};
use crate::place::{Place, Up};

const MINUTE: u64 = 60_000;
/// Milliseconds after which a crash comes even if the site has not done enough for it.
const CRASH_AT_LAST: u64 = 10 * MINUTE;

/// Letters in a record that is longer than some sites take.
const BULKY: usize = 8_000;

type Task = JoinHandle<()>;

impl Shared {
    /// Runs all steps of the plan, at their times; ends when all that they began has ended.
    pub(crate) async fn play(self: Arc<Shared>) {
        let mut tasks: Vec<Task> = Vec::new();
        let begun = self.time.now().millis();
        for step in &self.plan.steps {
            let due = begun.saturating_add_unsigned(step.at);
            let wait = due - self.time.now().millis();
            if wait > 0 {
                self.time.sleep(wait.cast_unsigned()).await;
            }
            self.log.count("operations", 1);
            tasks.extend(self.act(step));
            tasks.retain(|task| !task.is_finished());
        }
        for task in tasks {
            // A task that broke down is told of by the panic itself.
            if task.await.is_err() {
                self.log.violation("panic", "a step of the world broke down".to_owned());
            }
        }
    }

    /// Begins one step.
    fn act(self: &Arc<Shared>, step: &Step) -> Option<Task> {
        let place = &self.places[step.site];
        self.note(&format!("{} {:?}", place.id, step.op));
        match &step.op {
            Op::Outage { minutes, one_way } => Some(self.outage(step, *minutes, *one_way)),
            Op::Crash { polls, minutes } => self.crash(step, *polls, *minutes),
            Op::Restore => self.restore(step),
            Op::Clock { ahead } => {
                place.ahead.store(*ahead, std::sync::atomic::Ordering::Relaxed);
                None
            }
            Op::Round => self.round(step),
            Op::Serve { minutes } => self.serve(step, *minutes),
            Op::Revoke => self.revoke(step),
            Op::Redefine => {
                self.redefine(step);
                None
            }
            Op::Probe => self.probe(step),
            Op::Visit { days } => self.visit(step, *days),
            Op::Emr { does } => self.beside(step, does),
            _ => self.at_site(step),
        }
    }

    /// Work of one site, which ends with it.
    fn at_site(self: &Arc<Shared>, step: &Step) -> Option<Task> {
        let up = self.places[step.site].up()?;
        let (shared, step, life) = (Arc::clone(self), step.clone(), Arc::clone(&up.life));
        let work = async move {
            let chance = SeededEntropy::new(step.seed, "step");
            let place = &shared.places[step.site];
            let program = Program { shared: &shared, place, up: &up, chance: &chance };
            match step.op {
                Op::Register => drop(program.register().await),
                Op::Make => drop(program.make(0).await),
                Op::Bulky => drop(program.make(BULKY).await),
                Op::Edit => drop(program.edit().await),
                Op::Delete => drop(program.delete().await),
                Op::Undelete => drop(program.undelete().await),
                Op::Transfer => drop(program.transfer().await),
                Op::Refer => drop(program.refer().await),
                Op::Regroup => drop(program.regroup().await),
                _ => shared.operate(&step, &up, &chance).await,
            }
        };
        Some(spawn(life.mortal(work)))
    }

    /// One round with the parent; only one at a time.
    fn round(self: &Arc<Shared>, step: &Step) -> Option<Task> {
        let place = &self.places[step.site];
        let up = place.up()?;
        if !place.begins_round() {
            return None;
        }
        place.link.chance.begin(step.seed);
        let (shared, site, step_seed) = (Arc::clone(self), step.site, step.seed);
        let life = Arc::clone(&up.life);
        Some(spawn(life.mortal(async move {
            let place = &shared.places[site];
            let said = match Link::of(&up.site) {
                Some(link) => shared.one_round(&up, &link).await,
                None => "has no parent".to_owned(),
            };
            shared.note(&format!("{} {said}", place.id));
            if place.read {
                shared.read(place).await;
            }
            if place.carried {
                let chance = SeededEntropy::new(step_seed, "carrier");
                shared.carry(place, &up, &chance).await;
            }
            place.ends_round();
        })))
    }

    /// The parent of a site reads it, unless it is down or goes down.
    pub(super) async fn read(&self, place: &Place) -> u64 {
        let above = place.parent.and_then(|parent| self.places[parent].up());
        let Some(above) = above else { return 0 };
        let source = place.source();
        let life = Arc::clone(&above.life);
        let done = life.mortal(async move { sources::read_now(&above.site, &source).await }).await;
        self.log.count("readings", 1);
        match done {
            Some(Ok(turn)) => {
                self.note(&format!(
                    "{} is read: {} went in, {} parked, {} told",
                    place.id, turn.applied, turn.parked, turn.told
                ));
                turn.applied + turn.parked + turn.told
            }
            Some(Err(error)) => {
                self.note(&format!("{} is not read: {error}", place.id));
                1
            }
            None => 1,
        }
    }

    async fn one_round(&self, up: &Up, link: &Link) -> String {
        let result = round::run(&up.site, link).await;
        self.log.count("rounds", 1);
        self.harvest(up);
        match result {
            Ok(round) => format!(
                "sends {} and receives {}; {} refused, {} parked",
                round.sent, round.received, round.not_taken, round.parked
            ),
            Err(error) => {
                self.log.count("rounds cut short", 1);
                format!("fails: {error}")
            }
        }
    }

    /// The site's own driver, for some minutes.
    fn serve(self: &Arc<Shared>, step: &Step, minutes: u64) -> Option<Task> {
        let place = &self.places[step.site];
        let up = place.up()?;
        if !place.begins_round() {
            return None;
        }
        if let Some(system) = &place.system {
            if !place.begins_look() {
                place.ends_round();
                return None;
            }
            system.chance.begin(step.seed);
        }
        place.link.chance.begin(step.seed);
        let (shared, site) = (Arc::clone(self), step.site);
        let life = Arc::clone(&up.life);
        Some(spawn(life.mortal(async move {
            let stop = CancellationToken::new();
            let driver = jobs::run(up.site.clone(), stop.clone());
            tokio::select! {
                biased;
                () = driver => {}
                () = shared.time.sleep(minutes * MINUTE) => {}
            }
            shared.harvest(&up);
            shared.places[site].ends_round();
            shared.places[site].ends_look();
        })))
    }

    fn outage(self: &Arc<Shared>, step: &Step, minutes: u64, one_way: bool) -> Task {
        let (shared, site) = (Arc::clone(self), step.site);
        self.log.count("outages", 1);
        tokio::spawn(async move {
            let link = &shared.places[site].link;
            link.set(|now| if one_way { now.one_way = true } else { now.down = true });
            shared.time.sleep(minutes * MINUTE).await;
            link.set(|now| if one_way { now.one_way = false } else { now.down = false });
        })
    }

    fn crash(self: &Arc<Shared>, step: &Step, polls: u64, minutes: u64) -> Option<Task> {
        let up = self.places[step.site].up()?;
        up.life.end_after(polls);
        let (shared, site) = (Arc::clone(self), step.site);
        Some(tokio::spawn(async move {
            tokio::select! {
                biased;
                () = up.life.over() => {}
                () = shared.time.sleep(CRASH_AT_LAST) => up.life.end(),
            }
            drop(up);
            shared.down_and_up(site, minutes, |_| Ok(())).await;
        }))
    }

    /// Takes a site down as it is, does something to its files, and starts it again later.
    async fn down_and_up(
        &self,
        site: usize,
        minutes: u64,
        meanwhile: impl FnOnce(&Shared) -> anyhow::Result<()>,
    ) {
        let place = &self.places[site];
        self.log.count("crashes", 1);
        let downed = place.crash().and_then(|()| meanwhile(self));
        self.note(&format!("{} is down", place.id));
        self.time.sleep(minutes * MINUTE).await;
        // Somebody else may have started it meanwhile.
        let started = if place.up().is_some() { Ok(()) } else { place.start() };
        self.note(&format!("{} is up", place.id));
        if let Err(error) = downed.and(started) {
            self.log.violation("start", format!("{error:#}"));
        }
    }

    fn restore(self: &Arc<Shared>, step: &Step) -> Option<Task> {
        let up = self.places[step.site].up()?;
        self.harvest(&up);
        drop(up);
        let (shared, step) = (Arc::clone(self), step.clone());
        Some(tokio::spawn(async move {
            let site = step.site;
            let put_back = |shared: &Shared| {
                let chance = SeededEntropy::new(step.seed, "restore");
                if let Some(since) = shared.places[site].restore(&chance)? {
                    let now = shared.time.now().millis();
                    shared.oracle().put_back(site, since, now);
                    shared.log.count("restores", 1);
                }
                Ok(())
            };
            shared.down_and_up(site, 1, put_back).await;
        }))
    }
}

pub(super) fn spawn(work: impl Future<Output = Option<()>> + Send + 'static) -> Task {
    tokio::spawn(async move {
        // `None`: its site crashed.
        let _ = work.await;
    })
}
