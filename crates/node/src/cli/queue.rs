//! `tributary queue`: what waits for the parent, what is stuck and why, and acting on it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::Subcommand;
use protocol::delivery::DeliveryState;
use protocol::{RecordRef, Timestamp};
use serde_json::json;
use store::{
    ConflictFilter, DeliveryAction, DeliveryChoice, DeliveryFilter, DeliveryInfo, ParkedLine, Scope,
};

use crate::cli::open::Dir;
use crate::cli::say;
use crate::cli::status::ago;
use crate::site::Site;

/// Rows that are shown unless asked for more.
const ROWS: usize = 100;

/// Lines from the parent that are looked at.
const LINES: usize = 10_000;

/// What `queue` takes.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, clap::Args)]
struct List {
    // Not `Dir`: where an action is named, the action has the folder, and this is left out.
    /// The site's folder
    #[arg(long, value_name = "DIR", required = true)]
    dir: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Only what concerns this patient
    #[arg(long, value_name = "Patient/ID")]
    patient: Option<RecordRef>,
    /// Only what stands so: ready, leased, handed-over, retry, parked or done
    #[arg(long, value_name = "STATE", value_parser = state)]
    state: Option<DeliveryState>,
    /// Only what has waited for so many hours
    #[arg(long, value_name = "HOURS", value_parser = clap::value_parser!(u32))]
    older: Option<u32>,
    /// Only what has these words in its reason
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// At most so many rows
    #[arg(long, value_name = "N", default_value_t = ROWS)]
    limit: usize,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show one change on its way, with every attempt
    Show {
        /// Its number in the queue
        #[arg(value_name = "NUMBER")]
        sequence: u64,
        #[command(flatten)]
        dir: Dir,
    },
    /// Try parked or waiting changes again now, and lines from the parent that are stuck here
    Retry {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        dir: Dir,
    },
    /// Set changes aside; later changes of the same patients wait behind them
    Park {
        #[command(flatten)]
        which: Which,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        dir: Dir,
    },
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// Numbers in the queue
    #[arg(value_name = "NUMBER")]
    sequences: Vec<u64>,
    /// All changes of this patient
    #[arg(long, value_name = "Patient/ID")]
    patient: Option<RecordRef>,
    /// All that are parked
    #[arg(long)]
    parked: bool,
}

impl Which {
    fn choice(&self) -> DeliveryChoice {
        match &self.patient {
            Some(patient) => DeliveryChoice::Patient(patient.clone()),
            None if self.parked => DeliveryChoice::State(DeliveryState::Parked),
            None => DeliveryChoice::Sequences(self.sequences.clone()),
        }
    }
}

/// A state by its name.
fn state(text: &str) -> Result<DeliveryState, String> {
    let named = serde_json::from_value(json!(text));
    named.map_err(|_| "not one of ready, leased, handed-over, retry, parked, done".to_owned())
}

impl List {
    /// Whether only a kind of what waits was asked for.
    fn is_narrow(&self) -> bool {
        self.state.is_some() || self.older.is_some() || self.reason.is_some()
    }

    /// Of lines from the parent, which are all parked, those that were asked for.
    fn wants(&self, line: &ParkedLine, before: Option<Timestamp>) -> bool {
        self.state.is_none_or(|state| state == DeliveryState::Parked)
            && self.patient.as_ref().is_none_or(|patient| line.patients.contains(patient))
            && self.reason.as_ref().is_none_or(|words| line.reason.contains(words))
            && before.is_none_or(|before| line.parked < before)
    }
}

/// Lists or acts.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.action {
        Some(Action::Show { sequence, dir }) => show(&dir.open()?, *sequence),
        Some(Action::Retry { which, dir }) => retry(&dir.open()?, which),
        Some(Action::Park { which, reason, dir }) => {
            let site = dir.open()?;
            let action = DeliveryAction::Park(reason.clone());
            let count = site.store().delivery_act(&which.choice(), &action, site.now())?;
            say!("Parked {count}.");
            Ok(ExitCode::SUCCESS)
        }
        None => {
            let Some(dir) = args.list.dir.clone() else { bail!("name the site's folder: --dir") };
            show_all(&Dir { dir }.open()?, &args.list)
        }
    }
}

fn retry(site: &Site, which: &Which) -> anyhow::Result<ExitCode> {
    let count = site.store().delivery_act(&which.choice(), &DeliveryAction::Retry, site.now())?;
    let lines = site.store().parked_retry(site.now(), site.entropy().number(), true)?;
    say!("{count} will be sent again now; {lines} lines that were stuck here went in.");
    Ok(ExitCode::SUCCESS)
}

fn show_all(site: &Site, list: &List) -> anyhow::Result<ExitCode> {
    let before = list.older.map(|hours| site.now().plus_millis(-i64::from(hours) * 3_600_000));
    let filter = DeliveryFilter {
        state: list.state,
        before,
        reason: list.reason.clone(),
        patient: list.patient.clone(),
        limit: list.limit,
        ..DeliveryFilter::default()
    };
    let deliveries = site.store().delivery_list(&filter)?;
    let mut lines = site.store().parked_list(LINES)?;
    lines.retain(|line| list.wants(line, before));
    lines.truncate(list.limit);
    let filter = ConflictFilter {
        open: Some(true),
        patient: list.patient.clone(),
        limit: list.limit,
        ..ConflictFilter::default()
    };
    // A conflict has no state of a delivery, no reason and holds nothing up.
    let conflicts = match list.is_narrow() {
        true => Vec::new(),
        false => site.store().conflict_list(&filter, &Scope::Everything)?.conflicts,
    };
    if list.json {
        let told = json!({"deliveries": deliveries, "parked_lines": lines, "conflicts": conflicts});
        say!("{}", serde_json::to_string_pretty(&told)?);
        return Ok(ExitCode::SUCCESS);
    }
    let now = site.now();
    if deliveries.is_empty() && lines.is_empty() {
        match list.is_narrow() {
            true => say!("Nothing of that kind waits or is stuck."),
            false => say!("Nothing waits and nothing is stuck."),
        }
    }
    for delivery in &deliveries {
        say!("{}", row(delivery, &ago(now, delivery.recorded)));
    }
    for line in &lines {
        say!(
            "stuck here: {} position {} ({}), {} attempts: {}",
            line.feed,
            line.position,
            names(&line.patients),
            line.attempts,
            line.reason
        );
    }
    for conflict in &conflicts {
        say!("conflict: {} on {}", conflict.record, conflict.paths().join(", "));
    }
    if !conflicts.is_empty() {
        say!("`tributary conflict list` shows how to decide.");
    }
    Ok(ExitCode::SUCCESS)
}

fn row(delivery: &DeliveryInfo, age: &str) -> String {
    let state = serde_json::to_value(delivery.state).unwrap_or_default();
    let reason = delivery.reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
    format!(
        "{:>8} {:<11} {age:<12} {} records, {}, {} attempts{reason}",
        delivery.sequence,
        state.as_str().unwrap_or(""),
        delivery.records.len(),
        names(&delivery.patients),
        delivery.attempts
    )
}

fn names(patients: &[RecordRef]) -> String {
    match patients {
        [] => "no patient".to_owned(),
        [one] => one.to_string(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
    }
}

fn show(site: &Site, sequence: u64) -> anyhow::Result<ExitCode> {
    let filter = DeliveryFilter { sequence: Some(sequence), limit: 1, ..DeliveryFilter::default() };
    let Some(delivery) = site.store().delivery_list(&filter)?.into_iter().next() else {
        bail!("failed to show {sequence}: there is no such change on its way");
    };
    let name = delivery.message.as_ref().and_then(|name| name.parse().ok());
    let message = name.map(|name| site.store().outbox_get(&name)).transpose()?.flatten();
    let mut told = serde_json::to_value(&delivery)?;
    if let Some(message) = message {
        told["carried"] = serde_json::to_value(message)?;
    }
    say!("{}", serde_json::to_string_pretty(&told)?);
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::cli::Cli;

    #[test]
    fn the_list_and_each_action_take_the_folder() {
        for (line, good) in [
            ("queue --dir d", true),
            ("queue --dir d --json --patient Patient/amina --limit 5", true),
            ("queue --dir d --state handed-over --older 24 --reason room", true),
            ("queue --dir d --state stuck", false),
            ("queue show 3 --dir d", true),
            ("queue retry --parked --dir d", true),
            ("queue park 3 4 --reason wrong --dir d", true),
            ("queue", false),
            ("queue show 3", false),
            ("queue retry --dir d", false),
        ] {
            let words = ["tributary"].into_iter().chain(line.split(' '));
            assert_eq!(Cli::try_parse_from(words).is_ok(), good, "{line}");
        }
    }
}
