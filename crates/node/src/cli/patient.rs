//! `tributary patient`: what a site knows of one patient.

mod timeline;

use std::process::ExitCode;

use clap::Subcommand;
use protocol::{RecordRef, ResourceType};

/// What `patient` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show what happened to a patient's records: when, where, by whom, and what changed
    Timeline(timeline::Args),
}

/// Does what was asked for.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.action {
        Action::Timeline(args) => timeline::run(args),
    }
}

/// A patient by its id, with `Patient/` before it or without.
fn patient(text: &str) -> Result<RecordRef, String> {
    let id = text.strip_prefix("Patient/").unwrap_or(text);
    RecordRef::new(ResourceType::PATIENT, id).map_err(|refusal| refusal.to_string())
}
