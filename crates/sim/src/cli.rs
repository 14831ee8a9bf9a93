//! The command line: which worlds to run, and what is told of them.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Parser;

use crate::op::Plan;
use crate::plan::draw;
use crate::profile::{PROFILES, Profile};
use crate::run::{Outcome, run};
use crate::shrink::shrink;

/// Run worlds of Tributary sites through bad days, and look whether anything is lost.
#[derive(Debug, Parser)]
#[command(name = "sim")]
struct Arguments {
    /// Run the world of this seed
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Run the worlds of these seeds, the last one not included
    #[arg(long, value_name = "A..B", value_parser = range)]
    seeds: Option<(u64, u64)>,
    /// Run seeds for so many minutes
    #[arg(long, value_name = "M")]
    minutes: Option<f64>,
    /// The first seed of a run of minutes
    #[arg(long, value_name = "N", default_value_t = 0, requires = "minutes")]
    from: u64,
    /// In a long run, tell every so many seconds how far it is
    #[arg(long, value_name = "S")]
    progress: Option<u64>,
    /// The profile: calm, 2g, power-cuts, chaos; all of them in turn unless one is named
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Run the world that a file describes
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seed", "seeds", "minutes"])]
    replay: Option<PathBuf>,
    /// Threads: each world has one of its own
    #[arg(long, value_name = "N", default_value_t = 1)]
    jobs: usize,
    /// Leave out all steps of these kinds, named as in a file: restore,crash,emr
    #[arg(long, value_name = "KINDS", value_delimiter = ',')]
    without: Vec<String>,
    /// Print all that happened
    #[arg(long)]
    trace: bool,
    /// Seconds that may be spent on the shortest list of steps that fails
    #[arg(long, value_name = "S", default_value_t = 60)]
    shrink: u64,
    /// Plant faults, each in turn, and look whether it is found: `all` of them, or the one of a
    /// name, in the seeds from 1 on; or all of them where they were found before (`known`)
    #[cfg(feature = "planted-faults")]
    #[arg(long, value_name = "WHICH", num_args = 0..=1, default_missing_value = "all",
        conflicts_with_all = ["seed", "seeds", "minutes", "replay"])]
    faults: Option<String>,
}

fn range(text: &str) -> Result<(u64, u64), String> {
    let parts = text.split_once("..").and_then(|(low, high)| {
        Some((low.parse().ok()?, high.trim_start_matches('=').parse().ok()?))
    });
    parts.filter(|(low, high)| low < high).ok_or_else(|| "it is written 1..200".to_owned())
}

/// Runs what the command line asks for.
pub fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    #[cfg(feature = "planted-faults")]
    if let Some(which) = &arguments.faults {
        return crate::faults::find(which, arguments.jobs, say);
    }
    if let Some(path) = &arguments.replay {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("failed to read {}", path.display()))?;
        let plan = Plan::of_text(&text)?;
        return one(&arguments, &plan);
    }
    let profiles = match &arguments.profile {
        None => PROFILES.iter().collect::<Vec<_>>(),
        Some(name) => match Profile::named(name) {
            Some(profile) => vec![profile],
            None => {
                bail!("failed to find the profile {name}: there are calm, 2g, power-cuts, chaos")
            }
        },
    };
    if let (Some(seed), [profile]) = (arguments.seed, profiles.as_slice()) {
        return one(&arguments, &arguments.draw(seed, profile));
    }
    many(&arguments, &profiles)
}

impl Arguments {
    /// The world of a seed, without the steps that are not wanted.
    fn draw(&self, seed: u64, profile: &Profile) -> Plan {
        let mut plan = draw(seed, profile);
        self.without.iter().for_each(|kind| plan.leave_out(kind));
        plan
    }
}

fn say(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").context("failed to print")
}

/// Runs one world and tells all of it.
fn one(arguments: &Arguments, plan: &Plan) -> anyhow::Result<ExitCode> {
    say(&format!("seed {} ({})", plan.head.seed, plan.head.profile))?;
    let begun = Instant::now();
    let outcome = run(plan, arguments.trace);
    for line in &outcome.trace {
        say(line)?;
    }
    let mut sum = Sum::default();
    sum.add(&outcome);
    sum.tell(begun.elapsed())?;
    say(&format!("trace {:016x}", outcome.digest))?;
    let code = if outcome.violations.is_empty() {
        ExitCode::SUCCESS
    } else {
        tell_failure(arguments, plan, &outcome)?;
        ExitCode::FAILURE
    };
    say(&format!("seed {} ({})", plan.head.seed, plan.head.profile))?;
    Ok(code)
}

/// What happened in many worlds.
#[derive(Default)]
struct Sum {
    worlds: u64,
    site_days: u64,
    counts: BTreeMap<&'static str, u64>,
}

impl Sum {
    fn add(&mut self, outcome: &Outcome) {
        self.worlds += 1;
        self.site_days += outcome.site_days;
        for (name, count) in &outcome.counts {
            *self.counts.entry(name).or_default() += count;
        }
    }

    fn tell(&self, time: Duration) -> anyhow::Result<()> {
        let counts = self.counts.iter().map(|(name, count)| format!("{count} {name}"));
        say(&counts.collect::<Vec<_>>().join(", "))?;
        let seconds = time.as_secs_f64();
        say(&format!(
            "{} worlds, {} site-days in {seconds:.1} s: {:.0} site-days a second",
            self.worlds,
            self.site_days,
            self.site_days as f64 / seconds.max(0.001)
        ))
    }
}

/// Runs many worlds on several threads; stops at the first that fails.
fn many(arguments: &Arguments, profiles: &[&'static Profile]) -> anyhow::Result<ExitCode> {
    let (low, high) = match (arguments.seed, arguments.seeds, arguments.minutes) {
        (Some(seed), ..) => (seed, seed + 1),
        (_, Some(seeds), _) => seeds,
        (_, _, Some(_)) => (arguments.from, u64::MAX / 8),
        _ => (0, 100),
    };
    let end = arguments.minutes.map(|minutes| Duration::from_secs_f64(minutes * 60.0));
    let count = profiles.len() as u64;
    say(&format!("seeds {low}..{high} of {count} profiles"))?;
    let begun = Instant::now();
    let next = AtomicU64::new(low * count);
    let sum = Mutex::new(Sum::default());
    let failure: Mutex<Option<(Plan, Outcome)>> = Mutex::new(None);
    let progress = Progress { every: arguments.progress, told: AtomicU64::new(0) };
    let work = || loop {
        let number = next.fetch_add(1, Ordering::SeqCst);
        let over = end.is_some_and(|end| begun.elapsed() > end);
        if number >= high.saturating_mul(count) || over || lock(&failure).is_some() {
            return;
        }
        let place = usize::try_from(number % count).unwrap_or(0);
        let plan = arguments.draw(number / count, profiles[place]);
        let outcome = run(&plan, false);
        lock(&sum).add(&outcome);
        if !outcome.violations.is_empty() {
            lock(&failure).get_or_insert((plan, outcome));
            return;
        }
        progress.tell(number / count, begun.elapsed(), &sum);
    };
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs.max(1) {
            scope.spawn(work);
        }
    });
    lock(&sum).tell(begun.elapsed())?;
    let last = (next.load(Ordering::SeqCst) / count).min(high);
    let failed = lock(&failure).take();
    let code = match failed {
        None => ExitCode::SUCCESS,
        Some((plan, outcome)) => {
            tell_failure(arguments, &plan, &outcome)?;
            ExitCode::FAILURE
        }
    };
    say(&format!("seeds {low}..{last} of {count} profiles"))?;
    Ok(code)
}

/// How far a long run is, told now and then.
struct Progress {
    /// Seconds.
    every: Option<u64>,
    told: AtomicU64,
}

impl Progress {
    fn tell(&self, seed: u64, time: Duration, sum: &Mutex<Sum>) {
        let Some(due) = self.every.and_then(|every| time.as_secs().checked_div(every)) else {
            return;
        };
        if self.told.fetch_max(due, Ordering::SeqCst) >= due {
            return;
        }
        let (worlds, site_days) = {
            let sum = lock(sum);
            (sum.worlds, sum.site_days)
        };
        let minutes = time.as_secs() / 60;
        // Who cannot be told any more need not be told: the end says it again.
        drop(say(&format!(
            "{minutes} min: {worlds} worlds and {site_days} site-days are well, seed {seed}"
        )));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells what must not be, and the shortest list of steps that leads there.
fn tell_failure(arguments: &Arguments, plan: &Plan, outcome: &Outcome) -> anyhow::Result<()> {
    say(&format!("VIOLATION in seed {} ({})", plan.head.seed, plan.head.profile))?;
    for violation in outcome.violations.iter().take(20) {
        say(&format!("  {}: {}", violation.checker, violation.what))?;
    }
    let Some(first) = outcome.violations.first() else { return Ok(()) };
    let short = shrink(plan, first.checker, Duration::from_secs(arguments.shrink));
    let name = format!("sim-{}-{}.plan", plan.head.profile, plan.head.seed);
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, short.to_text()?)
        .with_context(|| format!("failed to write {}", path.display()))?;
    let again = run(&short, false);
    say(&format!("{} of {} steps are enough:", short.steps.len(), plan.steps.len()))?;
    say(short.to_text()?.trim_end())?;
    for violation in again.violations.iter().take(10) {
        say(&format!("  {}: {}", violation.checker, violation.what))?;
    }
    say(&format!("cargo run -p sim --release -- --replay {}", path.display()))
}
