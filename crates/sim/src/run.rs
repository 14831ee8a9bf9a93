//! Running a plan to its end.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::check;
use crate::op::Plan;
use crate::world::{Violation, World};

/// Records whose history is told where something went wrong.
const EXPLAINED: usize = 3;

/// What came of a world.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// What must not be, in the order in which it was found; empty where all is well.
    pub violations: Vec<Violation>,
    /// Tells two runs apart.
    pub digest: u64,
    /// What happened, by its name.
    pub counts: BTreeMap<&'static str, u64>,
    /// Days of its time, times its sites.
    pub site_days: u64,
    /// What happened, line by line, where that was asked for.
    pub trace: Vec<String>,
}

/// Runs a plan: all its steps, then quiet, then every checker. `trace`: keep what happened.
pub fn run(plan: &Plan, trace: bool) -> Outcome {
    let ran = catch_unwind(AssertUnwindSafe(|| run_world(plan, trace)));
    match ran {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => failed("start", format!("{error:#}")),
        Err(_) => failed("panic", "the world broke down: see above".to_owned()),
    }
}

fn failed(checker: &'static str, what: String) -> Outcome {
    Outcome { violations: vec![Violation { checker, what }], ..Outcome::default() }
}

fn run_world(plan: &Plan, trace: bool) -> anyhow::Result<Outcome> {
    let world = World::new(plan.clone(), trace)?;
    let shared = Arc::clone(&world.shared);
    let playing = Arc::clone(&shared);
    world.run(playing.play())?;
    // What is known by now is worse than what is not finished.
    let resting = Arc::clone(&shared);
    let rests = shared.log.violations().is_empty() && world.run(resting.come_to_rest())?;
    let mut violations = shared.log.violations();
    if violations.is_empty() && !rests {
        let what = "rounds go on moving records, or queues never drain".to_owned();
        violations.push(Violation { checker: "rest", what });
    }
    if shared.places.iter().all(|place| place.up().is_some()) {
        violations.extend(check::all(&shared)?);
    }
    let mut lines = shared.log.lines();
    if trace {
        let records = violations.iter().flat_map(|violation| violation.records());
        for record in records.take(EXPLAINED) {
            lines.push(format!("{record}:"));
            lines.extend(check::explain(&shared, &record));
        }
        if !violations.is_empty() {
            lines.extend(check::explain_links(&shared));
        }
    }
    let mut counts = shared.log.counts();
    let links = shared.net.counts();
    counts.insert("requests", links.requests.load(Ordering::Relaxed));
    counts.insert("requests in trouble", links.troubles.load(Ordering::Relaxed));
    counts.insert("conflicts", shared.oracle().conflicts());
    let days = plan.head.days * plan.head.sites.len() as u64;
    Ok(Outcome { violations, digest: shared.log.digest(), counts, site_days: days, trace: lines })
}
