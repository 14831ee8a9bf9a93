//! `tributary child`: who may read from this site.

use std::process::ExitCode;

use anyhow::bail;
use clap::Subcommand;
use protocol::{CohortName, RecordRef, SiteId};
use store::Allowance;

use crate::cli::open::Dir;
use crate::cli::say;
use crate::jobs::enrol;
use crate::queue;
use crate::site::Site;

/// What `child` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Let a child in: prints a code that works once
    Add {
        /// The child's site id
        #[arg(value_name = "SITE")]
        site: SiteId,
        /// A cohort that the child may hold; may be given several times
        #[arg(long = "cohort", value_name = "NAME", required = true)]
        cohorts: Vec<CohortName>,
        #[command(flatten)]
        dir: Dir,
    },
    /// List the children
    List {
        #[command(flatten)]
        dir: Dir,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// List the patients who visit a child without being its own, or end a visit
    Visitors {
        /// The child's site id
        #[arg(value_name = "SITE")]
        site: SiteId,
        /// End the visit of this patient now
        #[arg(long, value_name = "Patient/ID", value_parser = super::patient::patient)]
        end: Option<RecordRef>,
        #[command(flatten)]
        dir: Dir,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Let a child change records that it says it had, though nothing here knows of it any more
    ///
    /// After a restore of this site, what a child had from it and changed since may be refused:
    /// the records are of patients who are in none of the child's cohorts as they were then. The
    /// child's queue names them. What the child sends next is merged with what is here.
    Allow {
        /// The child's site id
        #[arg(value_name = "SITE")]
        site: SiteId,
        /// The records, as the child's queue names them
        #[arg(value_name = "TYPE/ID", required = true)]
        records: Vec<RecordRef>,
        /// Why; it stands in the audit
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        dir: Dir,
    },
    /// End a child's access at once
    Revoke {
        /// The child's site id
        #[arg(value_name = "SITE")]
        site: SiteId,
        #[command(flatten)]
        dir: Dir,
    },
}

/// Runs the action.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.action {
        Action::Add { site, cohorts, dir } => add(&dir.open()?, site, cohorts),
        Action::List { dir, json } => list(&dir.open()?, *json),
        Action::Visitors { site, end, dir, json } => match end {
            Some(patient) => end_visit(&dir.open()?, site, patient),
            None => list_visitors(&dir.open()?, site, *json),
        },
        Action::Allow { site, records, reason, dir } => allow(&dir.open()?, site, records, reason),
        Action::Revoke { site, dir } => {
            let here = dir.open()?;
            if !here.store().child_revoke(site, here.now())? {
                bail!("failed to revoke {site}: there is no such child");
            }
            say!("{site} has no access any more.");
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn add(here: &Site, site: &SiteId, cohorts: &[CohortName]) -> anyhow::Result<ExitCode> {
    if site == here.id() {
        bail!("failed to add {site}: that is this site itself");
    }
    let (code, expires) = enrol::invite(here, site, cohorts)?;
    say!("Code for {site}, good once until {expires}:");
    say!("  {code}");
    say!("At the child: tributary join {} --code {code} --dir DIR", here.config().public_url);
    Ok(ExitCode::SUCCESS)
}

fn allow(
    here: &Site,
    site: &SiteId,
    records: &[RecordRef],
    reason: &str,
) -> anyhow::Result<ExitCode> {
    let reason = queue::reason(reason, &here.config().limits).map_err(anyhow::Error::msg)?;
    let allowance = Allowance { site: site.clone(), records: records.to_vec(), reason };
    if !here.store().child_allow(&allowance, here.now())? {
        bail!("failed to let {site} change records: there is no such child");
    }
    say!("{site} may change them; what it has parked goes after `tributary queue retry` there.");
    Ok(ExitCode::SUCCESS)
}

fn list(here: &Site, json: bool) -> anyhow::Result<ExitCode> {
    let children = here.store().child_list()?;
    if json {
        say!("{}", serde_json::to_string_pretty(&children)?);
        return Ok(ExitCode::SUCCESS);
    }
    if children.is_empty() {
        say!("No children yet: `tributary child add SITE --cohort NAME` lets one in.");
    }
    for child in children {
        let cohorts: Vec<&str> = child.cohorts.iter().map(|name| name.as_str()).collect();
        let seen = child.last_seen.map_or("never".to_owned(), |at| at.to_string());
        say!(
            "{:<24} {:<8} last seen {seen}  cohorts {}",
            child.site,
            child.state,
            cohorts.join(", ")
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn end_visit(here: &Site, site: &SiteId, patient: &RecordRef) -> anyhow::Result<ExitCode> {
    if !here.store().visitor_end(site, patient, here.now())? {
        bail!("failed to end the visit: {patient} is no visitor of {site}");
    }
    say!("{patient} does not visit {site} any more; the site hears of it at its next contact.");
    Ok(ExitCode::SUCCESS)
}

fn list_visitors(here: &Site, site: &SiteId, json: bool) -> anyhow::Result<ExitCode> {
    if !here.store().child_list()?.iter().any(|child| child.site == *site) {
        bail!("failed to list the visitors of {site}: there is no such child");
    }
    let visitors = here.store().visitor_list(Some(site))?;
    if json {
        say!("{}", serde_json::to_string_pretty(&visitors)?);
        return Ok(ExitCode::SUCCESS);
    }
    if visitors.is_empty() {
        say!("Nobody visits {site}.");
    }
    for visitor in visitors {
        say!(
            "{}  since {} until {}  by {}: {}",
            visitor.patient,
            visitor.since,
            visitor.until,
            visitor.author,
            visitor.reason
        );
    }
    Ok(ExitCode::SUCCESS)
}
