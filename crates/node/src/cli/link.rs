//! `tributary link`: pausing and resuming the links of this site.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use protocol::SiteId;
use store::{LinkName, PauseDraft};

use crate::cli::open::Dir;
use crate::cli::say;
use crate::cli::status::ago;
use crate::jobs::gate::month_of;
use crate::links::{self, LinkTold};
use crate::queue;
use crate::site::Site;

/// What `link` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Let nothing move on a link for a while: nothing is lost, all of it goes afterwards
    Pause {
        /// A child, a source, `parent`, or `emr`; the parent where nothing is said
        #[arg(value_name = "CHILD|SOURCE|parent|emr")]
        link: Option<String>,
        /// Why: both sides show it
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// For how long: 90s, 30m, 2h, 3d; else until it is resumed
        #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
        time: Option<u64>,
        #[command(flatten)]
        dir: Dir,
    },
    /// Let a link that is paused work again
    Resume {
        /// A child, a source, `parent`, or `emr`; the parent where nothing is said
        #[arg(value_name = "CHILD|SOURCE|parent|emr")]
        link: Option<String>,
        #[command(flatten)]
        dir: Dir,
    },
    /// Let what is bulk go on although the budget of this month is spent
    Lift {
        /// Why: the audit keeps it
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        dir: Dir,
    },
    /// List the links of this site, and which are paused
    List {
        #[command(flatten)]
        dir: Dir,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// Milliseconds of a duration as people write it.
fn duration(text: &str) -> Result<u64, String> {
    let wrong = || "a number and s, m, h or d: 90s, 30m, 2h, 3d".to_owned();
    let unit = match text.chars().last().ok_or_else(wrong)? {
        's' => 1_000,
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => 86_400_000,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    let most = 3_660 * 86_400_000;
    let millis = number.checked_mul(unit).filter(|millis| (1..=most).contains(millis));
    millis.ok_or_else(|| "a duration is at least 1s and at most ten years".to_owned())
}

/// Pauses, resumes or lists.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.action {
        Action::Pause { link, reason, time, dir } => {
            let site = dir.open()?;
            let reason =
                queue::reason(reason, &site.config().limits).map_err(anyhow::Error::msg)?;
            let link = named(link.as_deref())?;
            let actor = "operator".to_owned();
            let is_source = links::is_source(site.config(), &link);
            let draft = PauseDraft { link: link.clone(), is_source, reason, actor, millis: *time };
            site.store().link_pause(&draft, site.now()).context("failed to pause it")?;
            say!("The link to {link} is paused. `tributary link resume {link}` ends it.");
            Ok(ExitCode::SUCCESS)
        }
        Action::Resume { link, dir } => {
            let site = dir.open()?;
            let link = named(link.as_deref())?;
            if !site.store().link_resume(&link, "operator", site.now())? {
                bail!("failed to resume {link}: this link is not paused");
            }
            say!("The link to {link} works again.");
            Ok(ExitCode::SUCCESS)
        }
        Action::Lift { reason, dir } => lift(&dir.open()?, reason),
        Action::List { dir, json } => list(&dir.open()?, *json),
    }
}

fn lift(site: &Site, reason: &str) -> anyhow::Result<ExitCode> {
    if site.config().link.budget().is_none() {
        bail!("failed to lift the budget: link.monthly_budget is not set in tributary.toml");
    }
    let reason = queue::reason(reason, &site.config().limits).map_err(anyhow::Error::msg)?;
    let now = site.now();
    let month = month_of(now).context("failed to work out which month it is")?;
    site.store().budget_lift(month, &reason, "operator", now).context("failed to lift it")?;
    say!("The budget is lifted until this month ends. The running site goes on by itself.");
    Ok(ExitCode::SUCCESS)
}

fn named(link: Option<&str>) -> anyhow::Result<LinkName> {
    match link {
        None | Some("parent") => Ok(LinkName::Parent),
        Some("emr") => Ok(LinkName::Emr),
        Some(child) => {
            let site: SiteId =
                child.parse().context("failed to understand the id of the child or source")?;
            Ok(LinkName::Child(site))
        }
    }
}

fn list(site: &Site, json: bool) -> anyhow::Result<ExitCode> {
    let links = links::list(site.store(), site.config(), site.now())?;
    if json {
        say!("{}", serde_json::to_string_pretty(&links)?);
        return Ok(ExitCode::SUCCESS);
    }
    if links.is_empty() {
        say!("This site has no links: no parent, no children and no sources.");
    }
    for LinkTold { link, site: other, last_contact, paused } in &links {
        let heard = last_contact.map_or("never".to_owned(), |at| ago(site.now(), at));
        let pause = match paused {
            Some(pause) => crate::pause::words(pause, site.id().as_str()),
            None => "works".to_owned(),
        };
        let kind = match link {
            LinkName::Parent => "parent",
            link if links::is_source(site.config(), link) => "source",
            LinkName::Child(_) => "child",
            LinkName::Emr => "emr",
        };
        say!("{kind:<7} {:<20} last contact {heard:<14} {pause}", other.as_str());
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, millis) in [("90s", 90_000), ("30m", 1_800_000), ("2h", 7_200_000)] {
            assert_eq!(duration(text), Ok(millis));
        }
        for wrong in ["", "h", "2", "2 weeks", "0s", "-1h", "99999999999999999999d", "2é"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
