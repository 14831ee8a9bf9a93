//! `tributary patient fetch`: the record of a patient who is here for some days.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use protocol::visit::FetchQuestion;
use serde_json::json;

use super::find::{author, link_of};
use crate::cli::open::{Dir, block_on};
use crate::cli::say;
use crate::jobs::patients::{self, Answer};
use crate::progress;

/// What `patient fetch` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Who, as `patient find` names them
    #[arg(value_name = "Patient/ID")]
    patient: String,
    /// Why the record is needed here; kept in the audit of both sites
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// For how many days; 7, or as many as the parent allows
    #[arg(long, value_name = "N", allow_negative_numbers = true,
          value_parser = clap::value_parser!(u32).range(1..))]
    days: Option<u32>,
    /// Who asks, for the audit at both sites
    #[arg(long, value_name = "NAME")]
    author: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    dir: Dir,
}

/// Fetches and says what came.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let site = args.dir.open()?;
    let link = link_of(&site, "fetch a patient")?;
    let parent = link.parent().site.clone();
    let patient = if args.patient.contains('/') {
        args.patient.clone()
    } else {
        format!("Patient/{}", args.patient)
    };
    let question = FetchQuestion {
        patient: patient.clone(),
        reason: args.reason.clone(),
        days: args.days,
        author: Some(author(args.author.as_deref())),
    };
    let spinner = progress::spinner(&format!("fetching {patient} from {parent}"));
    let answer = block_on(patients::fetch(&site, &link, &question));
    spinner.finish_and_clear();
    let answer = answer?.with_context(|| {
        format!(
            "failed to fetch {patient} from {parent}: what came is kept; run the same command \
             again when the link is back"
        )
    })?;
    let fetched = match answer {
        Answer::Given(fetched) => fetched,
        Answer::Refused(reason) => bail!("failed to fetch {patient}: {parent} says: {reason}"),
    };
    let read = fetched.read;
    if args.json {
        let told = json!({
            "patient": patient, "records": read.written, "parked_lines": read.parked,
            "until": fetched.until,
        });
        say!("{told}");
    } else {
        say!("{patient} is here: {} records came or changed.", read.written);
        match &fetched.until {
            Some(until) => {
                say!("As a visitor until {until}; what changes meanwhile comes by itself.")
            }
            None => say!("As a patient of this site's own."),
        }
        if read.parked > 0 {
            say!("{} lines could not be taken: `tributary queue` says why.", read.parked);
        }
    }
    Ok(if read.parked == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
