//! Builds the program as users get it and lets it measure itself.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Context;

/// Runs `tributary bench --json ARGUMENTS...` from a fresh release build.
pub(crate) fn run(root: &Path, arguments: &[String]) -> anyhow::Result<ExitCode> {
    let program = built(root, "node", "tributary")?;
    let measured = Command::new(&program)
        .args(["bench", "--json"])
        .args(arguments)
        .status()
        .with_context(|| format!("failed to start {}", program.display()))?;
    Ok(if measured.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A program of a package, freshly built as users get it.
pub(crate) fn built(root: &Path, package: &str, program: &str) -> anyhow::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--release", "--locked", "-p", package])
        .current_dir(root)
        .status()
        .context("failed to start cargo build")?;
    anyhow::ensure!(built.success(), "failed to build the release binary");
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root.join("target"), |folder| root.join(folder));
    Ok(target.join("release").join(program))
}
