//! `tributary sync`: one round with the parent, now.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::bail;
use serde_json::json;

use crate::cli::open::{Dir, block_on};
use crate::cli::say;
use crate::cli::status::bytes;
use crate::jobs::link::Link;
use crate::jobs::round;

/// What `sync` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    dir: Dir,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Runs a round; succeeds only when this site and its parent are in step after it.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let site = args.dir.open()?;
    let Some(link) = Link::of(&site) else {
        bail!(
            "failed to sync: this site has no parent; `tributary join URL --code CODE` joins one"
        );
    };
    let before = site.store().link_get()?;
    let started = Instant::now();
    let round = block_on(round::run(&site, &link))?;
    let seconds = started.elapsed().as_secs_f64();
    let after = site.store().link_get()?;
    let wire = (after.wire_sent + after.wire_received) - (before.wire_sent + before.wire_received);
    let status = site.store().site_status(site.now())?;
    let left: u64 =
        status.deliveries.iter().filter(|(state, _)| *state != "done").map(|(_, n)| n).sum();
    let in_step = round.is_ok() && left == 0 && status.parked_lines == 0;
    let (sent, received) = round.as_ref().map_or((0, 0), |round| (round.sent, round.received));
    if args.json {
        let error = round.as_ref().err().map(ToString::to_string);
        let told = json!({
            "in_step": in_step, "sent": sent, "received": received, "wire_bytes": wire,
            "seconds": seconds, "undelivered": left, "parked_lines": status.parked_lines,
            "error": error,
        });
        say!("{told}");
    } else {
        match &round {
            Ok(_) => say!(
                "{sent} changes sent, {received} received, {} on the wire, {seconds:.1} s",
                bytes(wire)
            ),
            Err(error) => say!("The round broke off after {seconds:.1} s: {error}"),
        }
        if left > 0 || status.parked_lines > 0 {
            say!(
                "{left} changes wait for the parent, {} lines from it are stuck here: \
                  `tributary queue` says why",
                status.parked_lines
            );
        }
        say!("in step: {}", if in_step { "yes" } else { "no" });
    }
    Ok(if in_step { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
