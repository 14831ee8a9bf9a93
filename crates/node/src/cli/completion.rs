//! `tributary completion`: a script that completes commands in a shell.

use std::process::ExitCode;

use clap::CommandFactory as _;

/// What `completion` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// For which shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

/// Prints the script.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut command = super::Cli::command();
    clap_complete::generate(args.shell, &mut command, "tributary", &mut std::io::stdout());
    Ok(ExitCode::SUCCESS)
}
