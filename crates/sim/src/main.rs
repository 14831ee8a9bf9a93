//! Worlds of Tributary sites: see the crate's documentation and `docs/testing.md`.

use std::process::ExitCode;

fn main() -> anyhow::Result<ExitCode> {
    sim::cli::main()
}
