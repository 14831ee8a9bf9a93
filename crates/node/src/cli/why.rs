//! `tributary why`: where a record is on its way, in plain words.

use std::process::ExitCode;

use protocol::RecordRef;

use crate::cli::open::Dir;
use crate::cli::say;
use crate::http::sync::why::read;

/// What `why` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The record
    #[arg(value_name = "Type/ID")]
    record: RecordRef,
    #[command(flatten)]
    dir: Dir,
    /// As JSON: the facts, and the same sentences
    #[arg(long)]
    json: bool,
}

/// Says where the record is; fails where it is not here.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let site = args.dir.open()?;
    let operator = "operator".to_owned();
    let up = site.config().up().unwrap_or_default();
    let why = read(site.store(), &args.record, up, operator, site.now())?;
    if args.json {
        say!("{}", serde_json::to_string_pretty(&why)?);
    } else {
        for sentence in &why.sentences {
            say!("{sentence}");
        }
    }
    Ok(if why.facts.here.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
