//! Developer commands of Tributary: `cargo xtask tidy`, `bench`, `dictionary` and `soak`.

mod bench;
mod dictionary;
mod soak;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Developer commands of Tributary.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check what the compiler cannot: widths, lengths, layers, documents, leftovers.
    Tidy,
    /// Build the compression dictionary from the corpus and the generator.
    Dictionary {
        /// Only say whether the file is what the corpus gives.
        #[arg(long)]
        check: bool,
    },
    /// Build the release binary and measure it; prints one JSON object a figure.
    Bench {
        /// Passed on to `tributary bench`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run simulated worlds of seeds that nobody ran before, for hours; stops at the first that
    /// goes wrong.
    Soak {
        /// For how long.
        #[arg(long, value_name = "H", default_value_t = 1.0)]
        hours: f64,
        /// Worlds at a time; as many as there are processors unless said otherwise.
        #[arg(long, value_name = "N")]
        jobs: Option<usize>,
    },
}

fn main() -> anyhow::Result<ExitCode> {
    match Arguments::parse().command {
        Command::Tidy => tidy::run(&root()),
        Command::Dictionary { check } => dictionary::run(&root(), check),
        Command::Bench { arguments } => bench::run(&root(), &arguments),
        Command::Soak { hours, jobs } => soak::run(&root(), hours, jobs),
    }
}

/// The folder of the workspace, whatever folder the command was called from.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}
