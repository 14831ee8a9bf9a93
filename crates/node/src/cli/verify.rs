//! `tributary verify`: proof that this site and its parent hold the same.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use store::Outside;

use crate::cli::open::{Dir, block_on};
use crate::cli::say;
use crate::config::Up;
use crate::jobs::link::Link;
use crate::jobs::verify::{self, Comparison};
use crate::progress;
use crate::site::Site;

/// Differences that are named in words; all of them stand in the JSON.
const NAMED: usize = 100;
/// Likewise records that the parent does not list, of each kind.
const OUTSIDE_NAMED: usize = 20;

/// What `verify` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    dir: Dir,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Compares; succeeds only where all is equal.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let site = args.dir.open()?;
    if site.config().up() == Some(Up::Fhir) {
        bail!(
            "failed to verify: the parent is a FHIR server of another make, which does not tell \
             what it holds; `tributary why Type/ID` says what it has taken"
        );
    }
    if let Some(parent) = site.config().parent.as_ref().filter(|parent| parent.is_reader()) {
        bail!(
            "failed to verify: the parent {} reads this site, which cannot ask it what it holds; \
             it compares by itself when it reads again from the beginning (`tributary source \
             again {}` there)",
            parent.site,
            site.id()
        );
    }
    let Some(link) = Link::of(&site) else {
        bail!(
            "failed to verify: this site has no parent; `tributary join URL --code CODE` joins one"
        );
    };
    let bar = progress::spinner("comparing");
    let told = |feed: &str, records: u64| bar.set_message(format!("{feed}: {records} records"));
    let comparison = block_on(verify::run(&site, &link, told))?.context("failed to verify")?;
    bar.finish_and_clear();
    if args.json {
        say!("{}", serde_json::to_string(&comparison)?);
    } else {
        tell(&site, &comparison)?;
    }
    Ok(if comparison.is_equal() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tell(site: &Site, comparison: &Comparison) -> anyhow::Result<()> {
    let status = site.store().site_status(site.now())?;
    let open = status.deliveries.iter().filter(|(state, _)| *state != "done");
    let waiting: u64 = open.map(|(_, count)| count).sum();
    if !comparison.is_equal() && waiting > 0 {
        say!("Not in step yet: {waiting} changes wait to be sent. `tributary sync` first.");
    }
    for difference in comparison.differences.iter().take(NAMED) {
        let how = match difference.how {
            verify::How::Differs => "differs",
            verify::How::MissingHere => "is missing here",
            verify::How::MissingAtParent => "is missing at the parent",
        };
        say!("{} {how} ({})", difference.record, difference.feed);
    }
    and_more(comparison.differences.len(), NAMED);
    for (why, words) in [
        (Outside::OnlyHere, "only here: nothing says that the parent has it, and nothing waits"),
        (Outside::Kept, "kept here by the leave policy: no feed of the parent's has it any more"),
        (Outside::Taken, "the parent took it as it is here, and lists it in no feed of this site"),
    ] {
        let of_these = comparison.outside.iter().filter(|beyond| beyond.why == why);
        for beyond in of_these.take(OUTSIDE_NAMED) {
            say!("{} {words}", beyond.record);
        }
        and_more(comparison.count(why), OUTSIDE_NAMED);
    }
    let (equal, differ) = (comparison.equal, comparison.differences.len());
    say!("{equal} records are equal, {differ} differ");
    if !comparison.outside.is_empty() {
        say!(
            "{} more are here that the parent does not list for this site: {} kept, {} taken, {} \
             only here",
            comparison.outside.len(),
            comparison.count(Outside::Kept),
            comparison.count(Outside::Taken),
            comparison.count(Outside::OnlyHere)
        );
    }
    Ok(())
}

fn and_more(all: usize, named: usize) {
    let more = all.saturating_sub(named);
    if more > 0 {
        say!("and {more} more: --json names all");
    }
}
