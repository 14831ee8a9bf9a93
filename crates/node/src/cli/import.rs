//! `tributary import`: FHIR files into this site.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use serde_json::json;

use crate::cli::open::Dir;
use crate::cli::say;
use crate::{import, progress};

/// Refusals that are named in words; all of those kept stand in the JSON.
const NAMED: usize = 50;

/// What `import` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Files or folders: FHIR Bundles, single resources, NDJSON, also as .gz and .zst
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    dir: Dir,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Imports; succeeds only where all went in.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let site = args.dir.open()?;
    let total = args
        .paths
        .iter()
        .flat_map(|path| import::files::below(path).0)
        .filter_map(|file| std::fs::metadata(file).ok())
        .map(|file| file.len())
        .sum();
    let bar = progress::bytes_bar(total);
    let started = Instant::now();
    let done =
        import::run(site.store(), &args.paths, &site.config().limits, || site.now(), &|bytes| {
            bar.inc(bytes)
        });
    bar.finish_and_clear();
    let summary = done?;
    let seconds = started.elapsed().as_secs_f64();
    if args.json {
        say!("{}", json!({"summary": summary, "seconds": seconds}));
    } else {
        say!(
            "{} files, {} resources: {} written in {} changes, {} unchanged, {} refused \
             ({:.1} s, {:.0}/s)",
            summary.files,
            summary.resources,
            summary.written,
            summary.changes,
            summary.unchanged,
            summary.refused,
            seconds,
            summary.resources as f64 / seconds.max(0.001)
        );
        for refused in summary.reasons.iter().take(NAMED) {
            say!("refused: {}: {}", refused.place, refused.reason);
        }
        let more = summary.refused.saturating_sub(NAMED as u64);
        if more > 0 {
            say!("and {more} more");
        }
    }
    Ok(if summary.refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
