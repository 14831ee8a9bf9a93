//! `tributary backup`: a consistent copy of a running site's store.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use store::Disclosure;

use crate::cli::open::Dir;
use crate::cli::say;
use crate::cli::status::bytes;
use crate::disclosure;
use crate::progress;

/// What `backup` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The file to write; it must not exist
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    dir: Dir,
}

/// Copies the store.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let site = args.dir.open()?;
    let bar = progress::bar(0, "pages");
    let mut told = |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    };
    let shown = Disclosure { everything: true, ..disclosure::of("backup", String::new()) };
    disclosure::note_once(&site, &shown)?;
    site.store()
        .site_backup(&args.file, &mut told)
        .with_context(|| format!("failed to back up to {}", args.file.display()))?;
    bar.finish_and_clear();
    let size = std::fs::metadata(&args.file).map_or(0, |file| file.len());
    say!("{} holds everything up to now ({}).", args.file.display(), bytes(size));
    say!("It holds patients' records: keep it where only you can read it.");
    Ok(ExitCode::SUCCESS)
}
