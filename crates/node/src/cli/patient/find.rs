//! `tributary patient find`: who is it that stands here?

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use protocol::visit::{FindQuestion, PatientHit, PatientIdentifier};

use crate::cli::open::{Dir, block_on};
use crate::cli::say;
use crate::jobs::link::Link;
use crate::jobs::patients::{self, Answer};
use crate::site::Site;

/// What `patient find` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// An identifier, with its system where that is known
    #[arg(long, value_name = "[SYSTEM|]VALUE", conflicts_with_all = ["name", "sex", "born"],
          required_unless_present_all = ["name", "sex", "born"])]
    identifier: Option<String>,
    /// Names, or their beginnings, in any order
    #[arg(long, requires_all = ["sex", "born"], required_unless_present = "identifier")]
    name: Option<String>,
    /// female, male, other or unknown
    #[arg(long, required_unless_present = "identifier")]
    sex: Option<String>,
    /// The birth date, or its month or year: 1984-02-28, 1984-02, 1984
    #[arg(long, value_name = "DATE", required_unless_present = "identifier")]
    born: Option<String>,
    /// Who asks, for the audit at both sites
    #[arg(long, value_name = "NAME")]
    author: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    dir: Dir,
}

impl Args {
    fn question(&self) -> FindQuestion {
        let identifier = self.identifier.as_deref().map(|text| match text.rsplit_once('|') {
            Some((system, value)) => {
                PatientIdentifier { system: Some(system.to_owned()), value: value.to_owned() }
            }
            None => PatientIdentifier { system: None, value: text.to_owned() },
        });
        FindQuestion {
            identifier,
            name: self.name.clone(),
            sex: self.sex.clone(),
            born: self.born.clone(),
            author: Some(author(self.author.as_deref())),
        }
    }
}

/// Who asks: the name that was given, else that of the account.
pub(super) fn author(given: Option<&str>) -> String {
    let account = || std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
    given.map(str::to_owned).or_else(|| account().ok()).unwrap_or_else(|| "operator".to_owned())
}

/// The way to the parent, or what to do about it that there is none.
pub(super) fn link_of(site: &Site, what: &str) -> anyhow::Result<Link> {
    if site.config().parent.is_none() {
        bail!(
            "failed to {what}: this site has no parent to ask; everybody whom it knows is here: \
             search on /fhir/Patient"
        );
    }
    Link::of(site).with_context(|| {
        format!("failed to {what}: the credential for the parent is gone: run `tributary join`")
    })
}

/// Asks and prints.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let site = args.dir.open()?;
    let link = link_of(&site, "look for a patient")?;
    let parent = link.parent().site.clone();
    let answer = block_on(patients::find(&site, &link, &args.question()))?.with_context(|| {
        format!("failed to ask {parent}: when the link is back, ask again; nothing was changed")
    })?;
    let found = match answer {
        Answer::Given(found) => found,
        Answer::Refused(reason) => bail!("failed to look for a patient: {parent} says: {reason}"),
    };
    if args.json {
        say!("{}", serde_json::to_string_pretty(&found)?);
        return Ok(ExitCode::SUCCESS);
    }
    for hit in &found.patients {
        tell(hit);
    }
    match (found.patients.len(), &found.parent) {
        (0, None) => say!("{parent} has nobody like this."),
        (0, Some(above)) => say!(
            "{parent} holds nobody like this. It has a parent of its own, {above}: ask there \
             (`tributary patient find` at {parent}), fetch there first, then here."
        ),
        _ if found.more => say!("There are more than these: say more of the name or birth date."),
        _ => say!(
            "`tributary patient fetch Patient/ID --reason TEXT --days N` brings one who is not \
             here."
        ),
    }
    Ok(ExitCode::SUCCESS)
}

fn tell(hit: &PatientHit) {
    let names = if hit.names.is_empty() { "(no name)".to_owned() } else { hit.names.join(" / ") };
    let sex = hit.sex.as_deref().unwrap_or("sex unknown");
    let born = hit.born.as_deref().unwrap_or("unknown");
    say!("{}", hit.patient);
    say!("  {names}, {sex}, born {born}{}", if hit.deceased { ", has died" } else { "" });
    for identifier in &hit.identifiers {
        match &identifier.system {
            Some(system) => say!("  {system}|{}", identifier.value),
            None => say!("  {}", identifier.value),
        }
    }
    if let Some(place) = &hit.managed_by {
        say!("  looked after by {place}");
    }
    if let Some(seen) = &hit.last_seen {
        let at = seen.at.as_deref().unwrap_or("an unknown day");
        say!("  last seen {at} at {}", seen.place.as_deref().unwrap_or("an unknown place"));
    }
    if let Some(other) = &hit.replaced_by {
        say!("  this record was replaced by {other}: use that one");
    }
    if hit.held {
        say!("  belongs to this site already");
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::cli::Cli;

    #[test]
    fn a_search_is_by_identifier_or_by_all_three() {
        for (line, good) in [
            ("find --identifier K-104 --dir d", true),
            ("find --identifier urn:x|K-104 --dir d --json", true),
            ("find --name amina --sex female --born 1984 --dir d --author me", true),
            ("find --name amina --sex female --dir d", false),
            ("find --sex female --born 1984 --dir d", false),
            ("find --identifier 7 --name amina --sex female --born 1984 --dir d", false),
            ("find --dir d", false),
            ("fetch Patient/amina --reason ill --days 7 --dir d", true),
            ("fetch Patient/amina --reason ill --dir d", true),
            ("fetch Patient/amina --dir d", false),
            ("fetch --reason ill --dir d", false),
        ] {
            let words = ["tributary", "patient"].into_iter().chain(line.split(' '));
            assert_eq!(Cli::try_parse_from(words).is_ok(), good, "{line}");
        }
    }
}
