//! `tributary patient`: what a site knows of one patient, and patients whom it does not hold.

mod fetch;
mod find;
mod merge;
pub(crate) mod timeline;

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
    /// At a child: ask the parent who somebody is that this site does not hold
    Find(find::Args),
    /// At a child: fetch the record of a patient who is here for some days
    Fetch(fetch::Args),
    /// Say that one patient's file is replaced by another's: they are one person
    Merge(merge::Merge),
    /// Say that a replaced patient is somebody else after all
    Unmerge(merge::Unmerge),
    /// List patients who have an identifier in common: perhaps one person
    Duplicates(merge::Duplicates),
}

/// Does what was asked for.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.action {
        Action::Timeline(args) => timeline::run(args),
        Action::Find(args) => find::run(args),
        Action::Fetch(args) => fetch::run(args),
        Action::Merge(args) => merge::merge(args),
        Action::Unmerge(args) => merge::unmerge(args),
        Action::Duplicates(args) => merge::duplicates(args),
    }
}

/// A patient by its id, with `Patient/` before it or without.
pub(super) fn patient(text: &str) -> Result<RecordRef, String> {
    let id = text.strip_prefix("Patient/").unwrap_or(text);
    RecordRef::new(ResourceType::PATIENT, id).map_err(|refusal| refusal.to_string())
}
