//! `tributary alerts`: what is wrong and was told of.

use std::process::ExitCode;

use crate::cli::open::Dir;
use crate::cli::say;
use crate::cli::status::ago;

/// Rows that are shown at the most.
const ROWS: usize = 1_000;

/// What `alerts` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Those that are over as well
    #[arg(long)]
    all: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    dir: Dir,
}

/// Lists them; fails where any is raised.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let site = args.dir.open()?;
    let alerts = site.store().alert_list(args.all, ROWS)?;
    let raised = alerts.iter().any(|alert| alert.cleared.is_none());
    if args.json {
        say!("{}", serde_json::to_string_pretty(&alerts)?);
    } else if alerts.is_empty() {
        say!("Nothing is raised.");
    } else {
        let now = site.now();
        for alert in &alerts {
            let over = alert.cleared.map_or(String::new(), |at| format!(", over {}", ago(now, at)));
            say!("{:<12} raised {}{over}: {}", alert.rule, ago(now, alert.raised), alert.text);
        }
    }
    Ok(if raised { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
