//! Planted faults: whether each is found, and what finds it. A checker that finds nothing looks
//! just like a site that does nothing wrong, until something is done wrong on purpose.

use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::bail;
use protocol::planted::{Fault, plant};

use crate::op::Plan;
use crate::plan::draw;
use crate::profile::Profile;
use crate::run::{Outcome, run};

/// Seeds that are tried for a fault.
const SEEDS: u64 = 200;
/// Seeds after the recorded one that are tried where that one does not find the fault any more: a
/// new kind of step changes what all seeds draw.
const NEAR: u64 = 15;
/// Profiles, in the order in which they are tried.
const ORDER: [&str; 4] = ["chaos", "power-cuts", "2g", "calm"];
/// Times a day, in hundredths, that somebody asks for what is not the child's, where a fault shows
/// only then, and seldom.
const ASKING: u64 = 1_000;
/// Bytes of a record that is somewhat longer than when it was made.
const NARROW: usize = 520;
/// Faults that show beside record systems alone: each site has one then.
const BESIDE: [Fault; 4] =
    [Fault::ShownIsAll, Fault::EditIsOfOurs, Fault::WrittenUnheard, Fault::UnreadForgotten];
/// Violations that say that a world could not be run, and nothing of a fault.
const BROKEN: [&str; 2] = ["panic", "start"];

/// Where a fault is found.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    fault: Fault,
    profile: &'static str,
    seed: u64,
    checker: &'static str,
}

const fn known(fault: Fault, profile: &'static str, seed: u64, checker: &'static str) -> Found {
    Found { fault, profile, seed, checker }
}

/// The first seed that finds each fault, as the last search told.
const KNOWN: &[Found] = &[
    known(Fault::MarkerPastCut, "2g", 5, "converged"),
    known(Fault::MarkerAtFirstPart, "power-cuts", 1, "converged"),
    known(Fault::TakenTwice, "chaos", 22, "lost"),
    known(Fault::ReceivedAtFirstPart, "chaos", 22, "lost"),
    known(Fault::FeedForAnyone, "power-cuts", 9, "entitled"),
    known(Fault::FetchForAnyone, "power-cuts", 9, "entitled"),
    known(Fault::HistoryForAnyone, "power-cuts", 14, "entitled"),
    known(Fault::LocalPreferred, "power-cuts", 1, "lost"),
    known(Fault::BaseIsOurs, "power-cuts", 1, "lost"),
    known(Fault::ConflictUnnoted, "chaos", 2, "lost"),
    known(Fault::EntrySkipped, "chaos", 1, "converged"),
    known(Fault::DoneWhenSent, "2g", 3, "converged"),
    known(Fault::SettledTooMuch, "power-cuts", 1, "converged"),
    known(Fault::DifferenceUnsaid, "2g", 4, "lost"),
    known(Fault::HeldByAnyone, "chaos", 1, "converged"),
    known(Fault::LeaveIgnored, "power-cuts", 1, "converged"),
    known(Fault::LeaveUntold, "power-cuts", 1, "members"),
    known(Fault::JoinEmpty, "chaos", 1, "converged"),
    known(Fault::FailedLineSkipped, "power-cuts", 1, "converged"),
    known(Fault::CarrierBelieved, "chaos", 2, "converged"),
    known(Fault::ShownIsAll, "power-cuts", 1, "lost"),
    known(Fault::EditIsOfOurs, "chaos", 1, "lost"),
    known(Fault::WrittenUnheard, "chaos", 1, "rest"),
    known(Fault::UnreadForgotten, "2g", 2, "beside"),
];

/// Looks for faults and prints where they are found. `which`: `all` of them or the one of this
/// name, from the first seed on; or all of them where they were found before (`known`). Fails
/// where one is not found.
pub(crate) fn find(
    which: &str,
    jobs: usize,
    say: impl Fn(&str) -> anyhow::Result<()> + Sync,
) -> anyhow::Result<ExitCode> {
    let known = which == "known";
    let named = |fault: &&Fault| match which {
        "all" => true,
        "known" => KNOWN.iter().any(|known| known.fault == **fault),
        name => format!("{fault:?}") == name,
    };
    let faults = Fault::ALL.iter().filter(named).collect::<Vec<_>>();
    if faults.is_empty() {
        bail!("failed to find a fault of the name {which}: say `all`, `known` or a fault's name");
    }
    let next = AtomicUsize::new(0);
    let missed = AtomicUsize::new(0);
    let failed = Mutex::new(None);
    let work = || loop {
        let Some(fault) = faults.get(next.fetch_add(1, Ordering::SeqCst)) else { return };
        let found = if known { near_known(**fault) } else { search(**fault) };
        if found.is_none() {
            missed.fetch_add(1, Ordering::SeqCst);
        }
        if let Err(error) = say(&line(**fault, found.as_ref())) {
            failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(work);
        }
    });
    if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let missed = missed.into_inner();
    say(&format!("{} of {} faults are found", faults.len() - missed, faults.len()))?;
    Ok(if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A row of the table in `docs/testing.md`.
fn line(fault: Fault, found: Option<&Found>) -> String {
    match found {
        Some(Found { profile, seed, checker, .. }) => {
            let moved = if KNOWN.iter().any(|known| Some(known) == found) { "" } else { " (new)" };
            format!("| `{fault:?}` | {profile} | {seed} | `{checker}` |{moved}")
        }
        None => format!("| `{fault:?}` | NOT FOUND | | |"),
    }
}

fn search(fault: Fault) -> Option<Found> {
    let profiles = ORDER.map(Profile::named);
    (1..=SEEDS).find_map(|seed| {
        profiles.iter().flatten().find_map(|profile| try_seed(fault, profile, seed))
    })
}

fn near_known(fault: Fault) -> Option<Found> {
    let known = KNOWN.iter().find(|known| known.fault == fault)?;
    let profile = Profile::named(known.profile)?;
    (known.seed..=known.seed + NEAR).find_map(|seed| try_seed(fault, profile, seed))
}

/// Whether the world of a seed goes wrong with the fault, and does not without.
fn try_seed(fault: Fault, profile: &'static Profile, seed: u64) -> Option<Found> {
    let asking = Profile { probes: ASKING, writes: 2 * profile.writes, ..profile.clone() };
    let asked = fault == Fault::HistoryForAnyone;
    let mut plan = small(seed, if asked { &asking } else { profile }, BESIDE.contains(&fault));
    if fault == Fault::FailedLineSkipped {
        // What cannot be applied comes about where a child's limit is narrower than its parent's.
        plan.head.sites.iter_mut().skip(1).for_each(|site| site.resource_bytes = Some(NARROW));
    }
    if fault == Fault::CarrierBelieved {
        plan.head.sites.iter_mut().skip(1).for_each(|site| site.carried = true);
    }
    plant(Some(fault));
    let checker = first_checker(&run(&plan, false));
    plant(None);
    let checker = checker?;
    let clean = run(&plan, false).violations.is_empty();
    clean.then_some(Found { fault, profile: profile.name, seed, checker })
}

/// A world that takes little time, and in which all that is looked at can be.
/// `beside`: with record systems.
fn small(seed: u64, profile: &Profile, beside: bool) -> Plan {
    let (days, sites) = ((1, 2), (2, 4));
    let (restores, decisions, merges, visits, bulky) = (0, 0, 0, 0, 0);
    let profile = profile.clone();
    let (carriers, readers) = (0, 0);
    let emrs = if beside { 1_000 } else { 0 };
    let profile = Profile { days, sites, restores, decisions, merges, visits, bulky, ..profile };
    draw(seed, &Profile { carriers, readers, emrs, ..profile })
}

fn first_checker(outcome: &Outcome) -> Option<&'static str> {
    let said = outcome.violations.iter().map(|violation| violation.checker);
    said.into_iter().find(|checker| !BROKEN.contains(checker))
}
