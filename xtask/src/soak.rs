//! A long run of the simulator: worlds of seeds that nobody ran before, in all profiles.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;

/// Seconds between two lines that say how far it is.
const PROGRESS: &str = "60";

/// Runs the simulator for so many hours from a fresh release build. What goes wrong is told by
/// the simulator: the seed, the shortest list of steps and how to play it again.
pub(crate) fn run(root: &Path, hours: f64, jobs: Option<usize>) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(hours > 0.0, "failed to begin: --hours must be more than 0");
    let program = crate::bench::built(root, "sim", "sim")?;
    let jobs = jobs.or_else(|| std::thread::available_parallelism().ok().map(usize::from));
    let since = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    let ran = Command::new(&program)
        .args(["--minutes", &(hours * 60.0).to_string()])
        // No two runs begin at the same seed, nor does one come to where the next began.
        .args(["--from", &(since.as_secs() * 1_000).to_string()])
        .args(["--jobs", &jobs.unwrap_or(1).to_string()])
        .args(["--progress", PROGRESS])
        .status()
        .with_context(|| format!("failed to start {}", program.display()))?;
    Ok(if ran.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
