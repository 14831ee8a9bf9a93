//! `tributary source`: the sites below and the feeds that this site reads itself.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use protocol::{SiteId, Timestamp};
use serde_json::json;
use store::{SourceEvent, SourceInfo};

use crate::cli::open::{Dir, block_on};
use crate::cli::say;
use crate::cli::status::{ago, ahead};
use crate::config::SourceConfig;
use crate::jobs::sources;
use crate::site::Site;

/// What `source` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the sources of the settings, and how each stands
    List {
        #[command(flatten)]
        dir: Dir,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Read all of one once more, from its beginning: what is known already changes nothing
    Again {
        /// Its name
        #[arg(value_name = "NAME")]
        name: SiteId,
        #[command(flatten)]
        dir: Dir,
    },
    /// Read one now, until nothing is left
    Run {
        /// Its name
        #[arg(value_name = "NAME")]
        name: SiteId,
        #[command(flatten)]
        dir: Dir,
    },
}

/// Runs the action.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.action {
        Action::List { dir, json } => list(&dir.open()?, *json),
        Action::Again { name, dir } => {
            let site = dir.open()?;
            source_of(&site, name)?;
            site.store().source_note(name, &SourceEvent::Again, site.now())?;
            say!("{name} is read from its beginning the next time.");
            Ok(ExitCode::SUCCESS)
        }
        Action::Run { name, dir } => read(&dir.open()?, name),
    }
}

fn list(site: &Site, json: bool) -> anyhow::Result<ExitCode> {
    let known = site.store().source_list()?;
    let (config, now) = (site.config(), site.now());
    if json {
        let told = config.sources.iter().map(|source| {
            let state = known.iter().find(|known| known.name == source.name);
            json!({"name": source.name, "url": source.url, "state": state})
        });
        say!("{}", serde_json::to_string_pretty(&told.collect::<Vec<_>>())?);
        return Ok(ExitCode::SUCCESS);
    }
    if config.sources.is_empty() {
        say!("No sources: a [[source]] in tributary.toml names one (docs/operations.md).");
    }
    for source in &config.sources {
        let state = known.iter().find(|known| known.name == source.name);
        say!("{}", line(source, state, now));
    }
    Ok(ExitCode::SUCCESS)
}

/// A source in one line.
pub(super) fn line(source: &SourceConfig, state: Option<&SourceInfo>, now: Timestamp) -> String {
    let head = format!("{:<20} {}", source.name.as_str(), source.url);
    let Some(state) = state else { return format!("{head}: never read yet") };
    let behind = state.head.saturating_sub(state.position);
    let behind = match (behind, state.oldest) {
        (0, _) => "up to date".to_owned(),
        (count, Some(at)) => format!("{count} changes behind (oldest {})", ago(now, at)),
        (count, None) => format!("{count} changes behind"),
    };
    let read = match state.last_contact {
        Some(at) => format!("read {}, {behind}", ago(now, at)),
        // What it has nobody knows.
        None => "never read yet".to_owned(),
    };
    let parked = match state.parked {
        0 => String::new(),
        count => format!(", {count} lines parked here"),
    };
    let unread = sources::unread(state.place.as_deref().unwrap_or(""));
    let parked = match unread.as_slice() {
        [] => parked,
        [(record, why), ..] => {
            format!("{parked}, {} records cannot be read there: {record} ({why})", unread.len())
        }
    };
    let next = state.next_at.map_or(String::new(), |at| format!(", next {}", ahead(now, at)));
    let trouble = match &state.last_error {
        Some(error) => format!("; {} failures in a row: {error}", state.failures),
        None => String::new(),
    };
    format!("{head}: {read}{parked}{next}{trouble}")
}

fn source_of<'a>(site: &'a Site, name: &SiteId) -> anyhow::Result<&'a SourceConfig> {
    match site.config().sources.iter().find(|source| source.name == *name) {
        Some(source) => Ok(source),
        None => bail!("failed to find {name}: no [[source]] in tributary.toml has that name"),
    }
}

fn read(site: &Site, name: &SiteId) -> anyhow::Result<ExitCode> {
    let source = source_of(site, name)?;
    let turn = block_on(sources::read_now(site, source))?;
    let turn = turn.with_context(|| format!("failed to read {name}"))?;
    say!("{name}: {} changes came in, {} are parked here", turn.applied, turn.parked);
    Ok(if turn.parked == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_told_in_one_line() {
        let now = Timestamp::from_millis(1_795_000_000_000);
        let name: SiteId = "east".parse().unwrap();
        let source = SourceConfig::of_child(name.clone(), "https://east.example".to_owned());
        assert!(line(&source, None, now).ends_with("https://east.example: never read yet"));
        let state = SourceInfo {
            name,
            mark: None,
            position: 10,
            head: 14,
            oldest: Some(now.plus_millis(-3_600_000)),
            compare: None,
            place: None,
            failures: 2,
            last_error: Some("no connection".to_owned()),
            since: Some(now),
            last_attempt: Some(now),
            last_contact: Some(now.plus_millis(-180_000)),
            next_at: Some(now.plus_millis(30_000)),
            lines: 10,
            parked: 1,
        };
        let told = line(&source, Some(&state), now);
        let words = ": read 3 min ago, 4 changes behind (oldest 60 min ago), 1 lines parked here, \
                     next in 30 s; 2 failures in a row: no connection";
        assert!(told.ends_with(words), "{told}");
        let never = SourceInfo { position: 0, head: 0, parked: 0, last_contact: None, ..state };
        let told = line(&source, Some(&never), now);
        let words = ": never read yet, next in 30 s; 2 failures in a row: no connection";
        assert!(told.ends_with(words), "{told}");
    }
}
