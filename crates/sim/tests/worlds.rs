//! Whole worlds: a few of each kind, and that a seed says all that happens.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so what it expects")]

use sim::op::Plan;
use sim::plan::draw;
use sim::profile::{PROFILES, Profile};
use sim::run::run;

/// Threads that run worlds side by side.
const THREADS: u64 = 2;

/// A world that takes little time: few sites, few days.
fn small(seed: u64, profile: &Profile) -> Plan {
    let days = (1, 2);
    draw(seed, &Profile { days, sites: (2, 3), ..profile.clone() })
}

#[test]
fn the_same_seed_twice_gives_the_same_trace() {
    for profile in PROFILES {
        let (first, second) = (run(&small(3, profile), true), run(&small(3, profile), true));
        assert_eq!(first.trace, second.trace, "{}", profile.name);
        assert_eq!(first.digest, second.digest);
        assert_ne!(first.digest, run(&small(4, profile), false).digest);
    }
}

#[test]
fn a_plan_can_be_written_down_and_read_again() {
    let plan = small(5, &PROFILES[3]);
    assert_eq!(Plan::of_text(&plan.to_text().unwrap()).unwrap(), plan);
    let error = Plan::of_text("# nothing\n").unwrap_err().to_string();
    assert!(error.contains("empty"), "{error}");
}

#[test]
fn three_hundred_worlds_lose_nothing_leak_nothing_and_come_to_rest() {
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                for number in (0..300).filter(|number| number % THREADS == thread) {
                    let profile = &PROFILES[usize::try_from(number % 4).unwrap()];
                    // Restores of backups are not in here yet: see docs/testing.md.
                    let plan = small(number / 4, &Profile { restores: 0, ..profile.clone() });
                    let outcome = run(&plan, false);
                    let text = plan.to_text().unwrap();
                    assert_eq!(outcome.violations, [], "seed {}:\n{text}", plan.head.seed);
                }
            });
        }
    });
}
