//! `tributary patient merge`, `unmerge` and `duplicates`: two files of one person.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use protocol::json::{self, Json};
use protocol::resource::Record;
use protocol::resource::replaced::{replaced_by, with_link, without_link};
use protocol::{Author, RecordRef};
use store::{Draft, Expect, Scope, StoredVersion, Write};

use super::find::author;
use crate::cli::open::Dir;
use crate::cli::say;
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
    if loser == winner {
        bail!("failed to merge: {loser} cannot replace itself");
    }
    let author = author_of(args.author.as_deref());
    let (losing, winning) = (held(&site, loser)?, held(&site, winner)?);
    let before = parsed(&losing)?;
    let said = replaced_by(loser, &before);
    if let Some(other) = said.iter().find(|other| *other != winner) {
        bail!("failed to merge: {loser} is replaced by {other}; `tributary patient unmerge` first");
    }
    if replaced_by(winner, &parsed(&winning)?).contains(loser) {
        bail!(
            "failed to merge: {winner} is replaced by {loser}; `tributary patient unmerge` first"
        );
    }
    if said.contains(winner) && site.store().patient_confirm(loser, &author, site.now())? {
        say!("That {loser} is replaced by {winner} is confirmed.");
    }
    let losing_now = with_link(&before, winner, "replaced-by", Some(false));
    let winning_now = with_link(&parsed(&winning)?, loser, "replaces", None);
    record(&site, &author, &[(&losing, losing_now), (&winning, winning_now)])?;
    follow(&site)?;
    let links = site.store().patient_replaced(usize::MAX)?;
    let link = links.iter().find(|link| link.loser == *loser && link.winner == *winner);
    match link.and_then(|link| link.reason.as_ref()) {
        Some(reason) => say!("{loser} is replaced by {winner}, and nothing follows: {reason}."),
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
    let author = author_of(args.author.as_deref());
    let losing = held(&site, loser)?;
    let mut now = parsed(&losing)?;
    let winners = replaced_by(loser, &now);
    if winners.is_empty() {
        bail!("failed to unmerge: nobody replaced {loser}");
    }
    let mut versions = Vec::new();
    for winner in &winners {
        now = without_link(&now, winner, "replaced-by", Some(true));
        // A winner that is not here, or deleted, has no link to be taken away.
        versions.extend(held(&site, winner).ok());
    }
    let mut writes = vec![(&losing, now)];
    for version in &versions {
        writes.push((version, without_link(&parsed(version)?, loser, "replaces", None)));
    }
    record(&site, &author, &writes)?;
    follow(&site)?;
    say!("{loser} is a patient of its own again; the audit says which records went back.");
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

fn held(site: &Site, patient: &RecordRef) -> anyhow::Result<StoredVersion> {
    let found = site.store().record_get(patient, None, &Scope::Everything)?;
    match found {
        Some(version) if version.body.is_some() => Ok(version),
        Some(_) => bail!("failed to find {patient}: it is deleted"),
        None => bail!(
            "failed to find {patient}: {} does not hold it; at a child, \
             `tributary patient fetch` brings it",
            site.id()
        ),
    }
}

fn parsed(version: &StoredVersion) -> anyhow::Result<Json<'_>> {
    let body = version.body.as_deref().unwrap_or_default();
    json::parse(body.as_bytes(), json::DEPTH_MAX).map_err(anyhow::Error::msg)
}

fn record(
    site: &Site,
    author: &Author,
    states: &[(&StoredVersion, Json<'_>)],
) -> anyhow::Result<()> {
    let limits = &site.config().limits;
    let write = |(version, state): &(&StoredVersion, Json<'_>)| {
        let record = Record::parse(state.to_text().as_bytes(), limits);
        let expect = Expect::Version(version.sequence);
        record.map(|record| Write { record, expect }).map_err(anyhow::Error::msg)
    };
    let writes = states.iter().map(write).collect::<anyhow::Result<Vec<_>>>()?;
    let draft = Draft { author: author.clone(), writes, expect: Vec::new(), again: false };
    site.store()
        .change_record(&draft, site.now())
        .context("failed to write the links of the two patients: nothing was changed")?;
    Ok(())
}

fn follow(site: &Site) -> anyhow::Result<()> {
    let spinner = progress::spinner("moving what refers to the patient");
    while site.store().patient_follow(site.now())? {}
    spinner.finish_and_clear();
    Ok(())
}
