//! `tributary patient merge`, `unmerge` and `duplicates`: two files of one person.

use std::process::ExitCode;

use protocol::{Author, RecordRef};

use super::find::author;
use crate::cli::open::Dir;
use crate::cli::say;
use crate::jobs::replaced;
use crate::progress;
use crate::site::Site;

/// Groups that are shown unless asked for more.
const GROUPS: usize = 100;

/// What `patient merge` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Merge {
    /// Whose file ends; what refers to it follows to the other
    #[arg(value_name = "LOSER", value_parser = super::patient)]
    loser: RecordRef,
    /// Whose file goes on
    #[arg(value_name = "WINNER", value_parser = super::patient)]
    winner: RecordRef,
    /// Who says so, for the audit
    #[arg(long, value_name = "NAME")]
    author: Option<String>,
    #[command(flatten)]
    dir: Dir,
}

/// What `patient unmerge` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Unmerge {
    /// Whose file is to be one of its own again
    #[arg(value_name = "LOSER", value_parser = super::patient)]
    loser: RecordRef,
    /// Who says so, for the audit
    #[arg(long, value_name = "NAME")]
    author: Option<String>,
    #[command(flatten)]
    dir: Dir,
}

/// What `patient duplicates` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Duplicates {
    #[command(flatten)]
    dir: Dir,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = GROUPS)]
    limit: usize,
}

/// Writes the links of both as one change, and moves what refers to the loser.
pub(super) fn merge(args: &Merge) -> anyhow::Result<ExitCode> {
    let site = args.dir.open()?;
    let (loser, winner) = (&args.loser, &args.winner);
    let confirmed = replaced::merge(&site, loser, winner, &author_of(args.author.as_deref()))?;
    if confirmed {
        say!("That {loser} is replaced by {winner} is confirmed.");
    }
    follow(&site)?;
    let links = site.store().patient_replaced(usize::MAX)?;
    let link = links.iter().find(|link| link.loser == *loser && link.winner == *winner);
    match link.and_then(|link| link.reason.as_ref()) {
        Some(reason) => say!("{loser} is replaced by {winner}, and nothing follows: {reason}."),
        None if site.store().site()?.has_parent => say!(
            "{loser} is replaced by {winner}: records follow when the site at the top hears of it."
        ),
        None => {
            let moved = link.map_or(0, |link| link.moved);
            say!("{loser} is replaced by {winner}: {moved} records have followed.");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Takes the links of both away as one change, and moves back what can go back.
pub(super) fn unmerge(args: &Unmerge) -> anyhow::Result<ExitCode> {
    let site = args.dir.open()?;
    let loser = &args.loser;
    replaced::unmerge(&site, loser, &author_of(args.author.as_deref()))?;
    follow(&site)?;
    let what = match site.store().site()?.has_parent {
        true => "the site at the top brings back what followed when it hears of it",
        false => "the audit says which records went back",
    };
    say!("{loser} is a patient of its own again; {what}.");
    Ok(ExitCode::SUCCESS)
}

/// Shows who has one identifier in common.
pub(super) fn duplicates(args: &Duplicates) -> anyhow::Result<ExitCode> {
    let site = args.dir.open()?;
    let found = site.store().patient_duplicates(args.limit)?;
    if args.json {
        say!("{}", serde_json::to_string_pretty(&found)?);
        return Ok(ExitCode::SUCCESS);
    }
    if found.is_empty() {
        say!("No two patients have an identifier in common.");
    }
    for group in &found {
        let names = group.patients.iter().map(RecordRef::to_string).collect::<Vec<_>>();
        say!("{}", names.join("  "));
    }
    Ok(ExitCode::SUCCESS)
}

fn author_of(named: Option<&str>) -> Author {
    Author::new(&author(named))
}

fn follow(site: &Site) -> anyhow::Result<()> {
    let spinner = progress::spinner("moving what refers to the patient");
    while site.store().patient_follow(site.now())? {}
    spinner.finish_and_clear();
    Ok(())
}
