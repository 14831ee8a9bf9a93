//! `tributary queue`: what waits for the parent, what is stuck and why, and acting on it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::Subcommand;
use protocol::RecordRef;
use protocol::delivery::DeliveryState;
use serde_json::json;
use store::{
    DeliveryAction, DeliveryInfo, QueueChoice, QueueDone, QueueFilter, QueueId, QueueOrder,
};

use crate::cli::open::Dir;
use crate::cli::status::{ago, held};
use crate::cli::{emr, say};
use crate::config::Up;
use crate::queue;
use crate::site::Site;

/// Rows that are shown unless asked for more.
const ROWS: usize = 100;

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
    /// Only what stands so: ready, leased, handed-over, retry, parked, done or dropped
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
    /// Show one of them with all that is known: a change with every attempt, or a line
    Show {
        /// Its number in the queue; L and a number for a line from the parent
        #[arg(value_name = "NUMBER")]
        id: QueueId,
        #[command(flatten)]
        dir: Dir,
    },
    /// Try changes again now, and lines from the parent that are stuck here
    ///
    /// What was dropped is taken up again where it is named by its number or by --state dropped.
    Retry {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        dir: Dir,
    },
    /// Set changes aside; later changes of the same patients wait behind them
    ///
    /// A line from the parent that is set aside is not tried again by itself.
    Park {
        #[command(flatten)]
        which: Which,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        dir: Dir,
    },
    /// Put what is parked back in the queue, to go when its turn comes
    Unpark {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        dir: Dir,
    },
    /// Give up changes or lines for good, with a reason; the records stay as they are
    ///
    /// A change that is dropped does not go to the parent, and holds nothing up any more. Its
    /// records stay here. What it brought goes up with the next change of the same records, when
    /// this site and its parent compare, or when `queue retry NUMBER` takes it up again. A line
    /// that is dropped is not applied here: what it said comes with the parent's next change of
    /// the record, or when they compare. `why` and `queue --state dropped` tell of both for ever.
    /// What a third party has had cannot be dropped, since a late copy of it may still arrive.
    Drop {
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
struct Which {
    #[command(flatten)]
    chosen: Chosen,
    /// Only say how many it would be
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
struct Chosen {
    /// Numbers in the queue: 12 a change, L3 a line from the parent
    #[arg(value_name = "NUMBER", conflicts_with_all =
        ["patient", "state", "parked", "older", "with_reason", "all"])]
    ids: Vec<QueueId>,
    /// All of this patient
    #[arg(long, value_name = "Patient/ID")]
    patient: Option<RecordRef>,
    /// All that stand so
    #[arg(long, value_name = "STATE", value_parser = state)]
    state: Option<DeliveryState>,
    /// All that are parked
    #[arg(long, conflicts_with = "state")]
    parked: bool,
    /// All that have waited for so many hours
    #[arg(long, value_name = "HOURS", value_parser = clap::value_parser!(u32))]
    older: Option<u32>,
    /// All that have these words in their reason
    #[arg(long, value_name = "TEXT")]
    with_reason: Option<String>,
    /// Everything that waits or is stuck
    #[arg(long, conflicts_with_all = ["patient", "state", "parked", "older", "with_reason"])]
    all: bool,
}

impl Chosen {
    fn choice(&self, site: &Site) -> QueueChoice {
        if !self.ids.is_empty() {
            return QueueChoice::Ids(self.ids.clone());
        }
        QueueChoice::Matching(QueueFilter {
            state: self.state.or(self.parked.then_some(DeliveryState::Parked)),
            patient: self.patient.clone(),
            before: self.older.map(|hours| before(site, hours)),
            reason: self.with_reason.clone(),
        })
    }
}

/// When it was so many hours ago.
fn before(site: &Site, hours: u32) -> protocol::Timestamp {
    site.now().plus_millis(-i64::from(hours) * 3_600_000)
}

/// A state by its name.
fn state(text: &str) -> Result<DeliveryState, String> {
    let named = serde_json::from_value(json!(text));
    let all = "not one of ready, leased, handed-over, retry, parked, done, dropped";
    named.map_err(|_| all.to_owned())
}

/// Lists or acts.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.action {
        Some(Action::Show { id, dir }) => show(&dir.open()?, *id),
        Some(Action::Retry { which, dir }) => {
            let done = act(&dir.open()?, which, DeliveryAction::Retry)?;
            told(which, &done, "will be sent again now", "lines that were stuck here went in")
        }
        Some(Action::Park { which, reason, dir }) => {
            let site = dir.open()?;
            if site.config().up() == Some(Up::Read) {
                bail!("failed to park: {}", queue::NO_PARKING);
            }
            let reason = said(&site, reason)?;
            let done = act(&site, which, DeliveryAction::Park(reason))?;
            told(which, &done, "parked", "lines from the parent are set aside")
        }
        Some(Action::Unpark { which, dir }) => {
            let done = act(&dir.open()?, which, DeliveryAction::Unpark)?;
            told(which, &done, "are in the queue again", "lines will be tried again by themselves")
        }
        Some(Action::Drop { which, reason, dir }) => {
            let site = dir.open()?;
            let reason = said(&site, reason)?;
            let done = act(&site, which, DeliveryAction::Drop(reason))?;
            told(which, &done, "dropped", "lines from the parent dropped")
        }
        None => {
            let Some(dir) = args.list.dir.clone() else { bail!("name the site's folder: --dir") };
            show_all(&Dir { dir }.open()?, &args.list)
        }
    }
}

fn said(site: &Site, reason: &str) -> anyhow::Result<String> {
    queue::reason(reason, &site.config().limits).map_err(anyhow::Error::msg)
}

fn act(site: &Site, which: &Which, action: DeliveryAction) -> anyhow::Result<QueueDone> {
    let order = QueueOrder {
        which: which.chosen.choice(site),
        action,
        actor: "operator".to_owned(),
        dry_run: which.dry_run,
        after: 0,
    };
    Ok(queue::act(site.store(), &order, site.now(), site.entropy().number())?)
}

fn told(which: &Which, done: &QueueDone, changes: &str, lines: &str) -> anyhow::Result<ExitCode> {
    if which.dry_run {
        say!("It would be {} changes and {} lines. Nothing was done.", done.changes, done.lines);
    } else {
        say!("{} {changes}; {} {lines}.", done.changes, done.lines);
    }
    if done.kept > 0 {
        say!(
            "{} stay: a third party has had them, and a late copy may still arrive. Park them.",
            done.kept
        );
    }
    if done.leased > 0 {
        say!("{} are with a third party, and go again when its lease ends.", done.leased);
    }
    // A choice may be of nothing; who names a number means one that is there.
    let named = !which.chosen.ids.is_empty();
    let nothing = done.changes + done.lines + done.kept + done.leased == 0;
    Ok(if named && nothing { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn show_all(site: &Site, list: &List) -> anyhow::Result<ExitCode> {
    let filter = QueueFilter {
        state: list.state,
        before: list.older.map(|hours| before(site, hours)),
        reason: list.reason.clone(),
        patient: list.patient.clone(),
    };
    let now = site.now();
    let found = queue::list(site.store(), (site.config(), now), &filter, 0, list.limit)?;
    if list.json {
        say!("{}", serde_json::to_string_pretty(&found)?);
        return Ok(ExitCode::SUCCESS);
    }
    let lines = found.parked_lines.len() + found.dropped_lines.len();
    if found.deliveries.is_empty() && lines == 0 && found.emr.is_empty() {
        match queue::is_narrow(&filter) {
            true => say!("Nothing of that kind waits or is stuck."),
            false => say!("Nothing waits and nothing is stuck."),
        }
    }
    for delivery in &found.deliveries {
        say!("{}", row(delivery, &ago(now, delivery.recorded)));
    }
    for closed in found.held.iter().filter(|_| !found.deliveries.is_empty()) {
        say!("held: {}", held(closed));
    }
    for line in &found.parked_lines {
        say!(
            "stuck here: L{} {} position {} ({}), {} attempts{}: {}",
            line.key,
            line.feed,
            line.position,
            names(&line.patients),
            line.attempts,
            if line.held { ", set aside" } else { "" },
            line.reason
        );
    }
    for line in &found.dropped_lines {
        say!(
            "dropped: L{} {} position {} ({}), {} by {}: {}. It was stuck here: {}",
            line.key,
            line.feed,
            line.position,
            names(&line.patients),
            ago(now, line.dropped),
            line.actor,
            line.dropped_because,
            line.reason
        );
    }
    for info in &found.emr {
        say!("record system: {}", emr::row(info, now));
    }
    if !found.emr.is_empty() {
        say!("`tributary emr` acts on what is on its way to the record system.");
    }
    for conflict in &found.conflicts {
        say!("conflict: {} on {}", conflict.record, conflict.paths().join(", "));
    }
    if !found.conflicts.is_empty() {
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

fn show(site: &Site, id: QueueId) -> anyhow::Result<ExitCode> {
    let Some(told) = queue::show(site.store(), id)? else {
        bail!("failed to show {id}: there is no such change on its way, and no such line");
    };
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
            ("queue retry L3 12 --dry-run --dir d", true),
            ("queue retry --dry-run --dir d", false),
            ("queue retry 12 --parked --dir d", false),
            ("queue unpark --older 3 --with-reason full --dir d", true),
            ("queue drop --all --reason wrong --dir d", true),
            ("queue drop --all --dir d", false),
            ("queue drop X3 --reason wrong --dir d", false),
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
