//! `tributary sync`: one round with the parent, now; by the running site where there is one.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use protocol::FeedId;
use serde_json::json;

use crate::cli::open::{Dir, block_on};
use crate::cli::say;
use crate::cli::serve::control::Control;
use crate::cli::status::{bytes, held};
use crate::jobs::foreign::{self, Foreign};
use crate::jobs::link::Link;
use crate::jobs::rounds::RoundsState;
use crate::jobs::{note_failure, round};
use crate::ports::LinkError;
use crate::site::Site;
use crate::told;

/// How often a running site is asked how far it is.
const ASK_EVERY: Duration = Duration::from_millis(300);

/// What `sync` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    dir: Dir,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// What a round came to.
struct Outcome {
    sent: u64,
    received: u64,
    error: Option<String>,
}

/// Runs a round; succeeds only when this site and its parent are in step after it.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let site = args.dir.open()?;
    let way = way_up(&site)?;
    let before = site.store().link_get()?;
    let started = Instant::now();
    let control = Control::of_running(&args.dir.dir)?;
    let by = if control.is_some() { "serve" } else { "sync" };
    let round = block_on(async {
        match &control {
            Some(control) => by_server(&site, control).await,
            None => Ok(by_ourselves(&site, &way).await),
        }
    })??;
    let seconds = started.elapsed().as_secs_f64();
    let after = site.store().link_get()?;
    let wire = (after.wire_sent + after.wire_received)
        .saturating_sub(before.wire_sent + before.wire_received);
    let status = site.store().site_status(site.now())?;
    let open = |state: &str| !["done", "dropped"].contains(&state);
    let left: u64 = status.deliveries.iter().filter(|(state, _)| open(state)).map(|(_, n)| n).sum();
    let to_come = status.link.pace.live_ahead + status.link.pace.bulk_ahead;
    let nothing_waits = left + status.parked_lines + to_come == 0;
    let in_step = round.error.is_none() && nothing_waits;
    if args.json {
        let told = json!({
            "in_step": in_step, "sent": round.sent, "received": round.received, "wire_bytes": wire,
            "seconds": seconds, "undelivered": left, "parked_lines": status.parked_lines,
            "to_come": to_come,
            "error": round.error, "by": by,
        });
        say!("{told}");
    } else {
        match &round.error {
            None => say!(
                "{} changes sent, {} received, {} on the wire, {seconds:.1} s",
                round.sent,
                round.received,
                bytes(wire)
            ),
            Some(error) => say!("The round broke off after {seconds:.1} s: {error}"),
        }
        if left > 0 || status.parked_lines > 0 {
            say!(
                "{left} changes wait for the parent, {} lines from it are stuck here: \
                  `tributary queue` says why",
                status.parked_lines
            );
        }
        if to_come > 0 {
            say!("{to_come} entries of the parent's feeds are still to come");
        }
        for closed in told::held(site.config(), &status.link, site.now()) {
            say!("Held: {}", held(&closed));
        }
        say!("in step: {}", if in_step { "yes" } else { "no" });
    }
    Ok(if in_step { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The way to the parent.
enum WayUp {
    Tributary(Box<Link>),
    Fhir(Box<Foreign>),
}

fn way_up(site: &Site) -> anyhow::Result<WayUp> {
    if let Some(foreign) = Foreign::of(site) {
        let foreign = foreign.context("failed to sync")?;
        // Whoever wrote the settings: what is written here is for the parent.
        let feed = FeedId::from_random(site.entropy().uuid_bytes());
        site.store().parent_set(site.now(), &feed)?;
        return Ok(WayUp::Fhir(Box::new(foreign)));
    }
    if let Some(parent) = site.config().parent.as_ref().filter(|parent| parent.is_reader()) {
        bail!(
            "failed to sync: the parent {} reads this site when its time has come, or at once by \
             `tributary source run {}` there; `tributary status` says when it was here last",
            parent.site,
            site.id()
        );
    }
    Link::of(site).map(|link| WayUp::Tributary(Box::new(link))).context(
        "failed to sync: this site has no parent; `tributary join URL --code CODE` joins one",
    )
}

/// No site runs: the round is ours, and a link that fails is noted as the running site would.
async fn by_ourselves(site: &Site, way: &WayUp) -> Outcome {
    let (link, moved) = match way {
        WayUp::Tributary(link) => {
            (&**link, round::run(site, link).await.map(|round| round.moved()))
        }
        WayUp::Fhir(foreign) => {
            let moved = foreign::run_round(site, foreign).await;
            (foreign.link(), moved.map_err(LinkError::from))
        }
    };
    match moved {
        Ok(moved) => Outcome { sent: moved.sent, received: moved.received, error: None },
        Err(error) => {
            let paused = link.pause(site).await.is_ok_and(|pause| pause.is_some());
            if !paused {
                let failures = site.store().link_get().map_or(0, |link| link.failures);
                note_failure(site, failures.saturating_add(1), &error).await;
            }
            Outcome { sent: 0, received: 0, error: Some(error.0) }
        }
    }
}

/// Asks the running site for a round, and says how far it is until it is over.
async fn by_server(site: &Site, control: &Control) -> anyhow::Result<Outcome> {
    let asked = control.post(site, "/admin/rounds").await?;
    let Some(number) = asked.get("number").and_then(serde_json::Value::as_u64) else {
        bail!("failed to sync: the running site gave no number of the round");
    };
    let is_watched = std::io::stderr().is_terminal();
    loop {
        let state: RoundsState = serde_json::from_value(control.get(site, "/admin/rounds").await?)?;
        if let Some(last) = state.last.as_ref().filter(|last| last.number >= number) {
            if is_watched {
                let _ = write!(std::io::stderr(), "\r\x1b[K");
            }
            let (sent, received, error) = (last.sent, last.received, last.error.clone());
            return Ok(Outcome { sent, received, error });
        }
        if is_watched {
            let what = match state.running {
                true => format!("{} sent, {} received", state.sent, state.received),
                false => "waiting for the round to begin".to_owned(),
            };
            let _ = write!(std::io::stderr(), "\r\x1b[K{what}");
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}
