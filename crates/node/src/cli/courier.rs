//! `tributary courier`: records and answers on a stick that a person carries.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::Subcommand;
use protocol::{CohortName, SiteId};

use crate::cli::open::{Dir, block_on};
use crate::cli::say;
use crate::cli::status::bytes;
use crate::courier::{self, Exported, Imported, Loaded, Refused, Stick, Unwritten};
use crate::progress;

/// Days that a courier has to come back with the parent's word.
const DAYS: u32 = 30;

/// What `courier` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Write what waits for the other site to a stick, readable by that site only
    Export {
        #[command(flatten)]
        stick: Folder,
        /// At the parent: write the records that this child has not fetched yet
        #[arg(long, value_name = "SITE", conflicts_with = "days")]
        child: Option<SiteId>,
        /// At the parent: write those of this cohort, for each child that follows it; with --child
        /// for that one alone
        #[arg(long, value_name = "NAME", conflicts_with = "days")]
        cohort: Option<CohortName>,
        /// At the child: offer the messages again if no word of the parent came in so many days
        #[arg(long, value_name = "N", default_value_t = DAYS,
            value_parser = clap::value_parser!(u32).range(1..=3_650))]
        days: u32,
        #[command(flatten)]
        dir: Dir,
    },
    /// Take in what the other site wrote; a parent puts its answers on the stick
    Import {
        #[command(flatten)]
        stick: Folder,
        #[command(flatten)]
        dir: Dir,
    },
    /// At the child: read the parent's answers, and clear the stick of what is done
    Receipts {
        #[command(flatten)]
        stick: Folder,
        #[command(flatten)]
        dir: Dir,
    },
}

#[derive(Debug, clap::Args)]
struct Folder {
    /// The folder on the stick
    #[arg(value_name = "STICK")]
    stick: PathBuf,
}

/// Runs the action; fails where something on the stick cannot be used.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.action {
        Action::Export { stick, child, cohort, days, dir } => {
            let stick = Stick::at(&stick.stick)?;
            match (child, cohort) {
                (None, None) => export(dir, &stick, *days),
                (Some(child), cohort) => export_down(dir, &stick, child, cohort.as_ref()),
                (None, Some(cohort)) => export_cohort(dir, &stick, cohort),
            }
        }
        Action::Import { stick, dir } => import(dir, &Stick::at(&stick.stick)?),
        Action::Receipts { stick, dir } => receipts(dir, &Stick::at(&stick.stick)?),
    }
}

fn export(dir: &Dir, stick: &Stick, days: u32) -> anyhow::Result<ExitCode> {
    let site = dir.open()?;
    let bar = progress::spinner("writing");
    let mut told = |done: &Exported| bar.set_message(so_far(done));
    let done = block_on(courier::export(&site, stick, days, &mut told))??;
    bar.finish_and_clear();
    say!("{} messages in {} files, {}", done.messages, done.packets, bytes(done.bytes));
    if done.messages > 0 {
        say!(
            "Carry the stick to the parent, run `tributary courier import` there, and bring it \
             back for `tributary courier receipts`. Until then nothing of it counts as done."
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn export_down(
    dir: &Dir,
    stick: &Stick,
    child: &SiteId,
    cohort: Option<&CohortName>,
) -> anyhow::Result<ExitCode> {
    let site = dir.open()?;
    let bar = progress::spinner("writing");
    let mut told = |done: &Exported| bar.set_message(so_far(done));
    let mut done = Exported::default();
    courier::export_feeds(&site, stick, child, cohort, &mut done, &mut told)?;
    bar.finish_and_clear();
    say!("{}", written(&done));
    Ok(ExitCode::SUCCESS)
}

fn export_cohort(dir: &Dir, stick: &Stick, cohort: &CohortName) -> anyhow::Result<ExitCode> {
    let site = dir.open()?;
    let bar = progress::spinner("writing");
    let mut told = |done: &Exported| bar.set_message(so_far(done));
    let done = courier::export_cohort(&site, stick, cohort, &mut told)?;
    bar.finish_and_clear();
    let children = if done.children == 1 { "child" } else { "children" };
    say!("{}, for {} {children}", written(&done.exported), done.children);
    let mut code = ExitCode::SUCCESS;
    for Unwritten { child, reason } in &done.without {
        say!("{child}: not written: {reason}");
        code = ExitCode::FAILURE;
    }
    Ok(code)
}

fn so_far(done: &Exported) -> String {
    format!("{} files, {}", done.packets, bytes(done.bytes))
}

fn written(done: &Exported) -> String {
    let Exported { packets, messages, bytes: size } = *done;
    format!("{messages} changes and whole patients in {packets} files, {}", bytes(size))
}

fn import(dir: &Dir, stick: &Stick) -> anyhow::Result<ExitCode> {
    let site = dir.open()?;
    let Some(key) = site.courier() else { bail!("this site has no courier key") };
    let bar = progress::spinner("reading");
    let (up, down) = block_on(async {
        let mut told = |done: &Imported| bar.set_message(format!("{} files", done.packets));
        let up = courier::import(&site, key, stick, &mut told).await?;
        let mut told = |done: &Loaded| bar.set_message(format!("{} lines", done.applied));
        anyhow::Ok((up, courier::import_feeds(&site, key, stick, &mut told).await?))
    })??;
    bar.finish_and_clear();
    if up.packets + down.packets + down.had == 0 && up.bad.is_empty() && down.bad.is_empty() {
        bail!("there is nothing on the stick for {}", site.id());
    }
    if up.packets > 0 {
        say!(
            "{} messages taken, {} were here already, {} refused, {} stored and not worked off yet",
            up.taken,
            up.already,
            up.refused,
            up.waiting
        );
    }
    if down.packets + down.had > 0 {
        say!(
            "{} lines applied from {} files, {} stuck here (`tributary queue` says why); {} files \
             had nothing new",
            down.applied,
            down.packets,
            down.parked,
            down.had
        );
    }
    for Refused { name, reason } in &up.unanswered {
        say!("{name}: taken, but the answers are not on the stick: {reason}");
    }
    Ok(told_bad(up.bad.iter().chain(&down.bad)))
}

fn receipts(dir: &Dir, stick: &Stick) -> anyhow::Result<ExitCode> {
    let site = dir.open()?;
    let Some(key) = site.courier() else { bail!("this site has no courier key") };
    let done = block_on(courier::receipts(&site, key, stick))??;
    if done.packets == 0 && done.bad.is_empty() {
        bail!("there are no answers on the stick for {}", site.id());
    }
    say!("{} messages answered in {} files", done.settled, done.packets);
    Ok(told_bad(done.bad.iter()))
}

fn told_bad<'a>(bad: impl Iterator<Item = &'a Refused>) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for Refused { name, reason } in bad {
        say!("{name}: not used: {reason}");
        code = ExitCode::FAILURE;
    }
    code
}
