//! `tributary emr`: the record system beside the site: how it stands, what is on its way there, and
//! what it lacks.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use protocol::resource::Record;
use protocol::{RecordRef, ResourceType, Timestamp};
use store::{EmrAction, EmrChoice, EmrInfo, EmrState, Scope, SearchQuery};

use crate::cli::open::{Dir, block_on};
use crate::cli::say;
use crate::cli::status::{ago, ahead, emr as lines};
use crate::ports::{Emr, EmrError};
use crate::site::Site;
use crate::{progress, queue};

/// Rows that are shown unless asked for more.
const ROWS: usize = 100;
/// Records that are asked about at once.
const PAGE: u32 = 500;

/// What `emr` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show how it stands; while everything there is read, how far that has come
    Status {
        #[command(flatten)]
        dir: Dir,
        /// As JSON
        #[arg(long)]
        json: bool,
        /// Stay until everything there has been read
        #[arg(long)]
        watch: bool,
    },
    /// Ask it what it can do, and what it lacks to hold this site's records
    Check {
        #[command(flatten)]
        dir: Dir,
    },
    /// List records on their way there or from there, and why they wait
    List {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        dir: Dir,
        /// As JSON
        #[arg(long)]
        json: bool,
        /// At most so many rows
        #[arg(long, value_name = "N", default_value_t = ROWS)]
        limit: usize,
    },
    /// Try records again now
    Retry {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        dir: Dir,
    },
    /// Set records aside; what else their patients have waits
    Park {
        #[command(flatten)]
        which: Which,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        dir: Dir,
    },
    /// Do not write these states there; the records stay here, and their next change goes
    Drop {
        #[command(flatten)]
        which: Which,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        dir: Dir,
    },
}

#[derive(Debug, clap::Args)]
struct Which {
    /// This record; all where nothing is said
    #[arg(value_name = "Type/ID")]
    record: Option<RecordRef>,
    /// Those of this patient
    #[arg(long, value_name = "Patient/ID")]
    patient: Option<RecordRef>,
    /// Those that stand so: due, retry, waits, parked, kept, dropped or unread
    #[arg(long, value_name = "STATE", value_parser = state)]
    state: Option<EmrState>,
}

fn state(text: &str) -> Result<EmrState, String> {
    let known = EmrState::ALL.into_iter().filter(|state| *state != EmrState::Same);
    let names: Vec<&str> = known.clone().map(EmrState::name).collect();
    let found = known.into_iter().find(|state| state.name() == text);
    found.ok_or_else(|| format!("one of {}", names.join(", ")))
}

impl Which {
    fn choice(&self) -> EmrChoice {
        EmrChoice { record: self.record.clone(), patient: self.patient.clone(), state: self.state }
    }

    /// What is to be given up or set aside has to be named.
    fn named(&self) -> anyhow::Result<EmrChoice> {
        if self.record.is_none() && self.patient.is_none() && self.state.is_none() {
            bail!("say which: Type/ID, --patient or --state");
        }
        Ok(self.choice())
    }
}

/// Shows, checks or acts.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.action {
        Action::Status { dir, json, watch } => status(&dir.open()?, *json, *watch),
        Action::Check { dir } => check(&dir.open()?),
        Action::List { which, dir, json, limit } => {
            list(&dir.open()?, &which.choice(), *json, *limit)
        }
        Action::Retry { which, dir } => act(&dir.open()?, &which.choice(), &EmrAction::Retry),
        Action::Park { which, reason, dir } => {
            let site = dir.open()?;
            let reason =
                queue::reason(reason, &site.config().limits).map_err(anyhow::Error::msg)?;
            act(&site, &which.named()?, &EmrAction::Park(reason))
        }
        Action::Drop { which, reason, dir } => {
            let site = dir.open()?;
            let reason =
                queue::reason(reason, &site.config().limits).map_err(anyhow::Error::msg)?;
            act(&site, &which.named()?, &EmrAction::Drop(reason))
        }
    }
}

const NONE: &str = "there is no record system beside this site: [emr] in tributary.toml names it, \
                    and `tributary serve` begins with it";

fn status(site: &Site, json: bool, watch: bool) -> anyhow::Result<ExitCode> {
    let mut found = site.store().emr_status()?.context(NONE)?;
    if watch && found.loading {
        let all = |found: &store::EmrStatus| found.loaded + found.remaining.unwrap_or(0);
        let bar = progress::bar(all(&found), "records");
        bar.set_message("reading");
        while found.loading {
            bar.set_length(all(&found));
            bar.set_position(found.loaded);
            std::thread::sleep(std::time::Duration::from_millis(500));
            found = site.store().emr_status()?.context(NONE)?;
        }
        bar.finish_and_clear();
    }
    match json {
        true => say!("{}", serde_json::to_string_pretty(&found)?),
        false => lines::show(&found, site.now()),
    }
    Ok(if found.failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn list(site: &Site, choice: &EmrChoice, json: bool, limit: usize) -> anyhow::Result<ExitCode> {
    let found = site.store().emr_list(choice, limit)?;
    if json {
        say!("{}", serde_json::to_string_pretty(&found)?);
        return Ok(ExitCode::SUCCESS);
    }
    for info in &found {
        say!("{}", row(info, site.now()));
    }
    if found.is_empty() {
        say!("Nothing is on its way to the record system or from it.");
    }
    Ok(ExitCode::SUCCESS)
}

/// One record on its way.
pub(super) fn row(info: &EmrInfo, now: Timestamp) -> String {
    let EmrInfo { record, state, since, attempts, next_at, reason, .. } = info;
    let since = since.map_or(String::new(), |at| ago(now, at));
    let next = next_at.map_or(String::new(), |at| format!(", again {}", ahead(now, at)));
    let reason = reason.as_deref().map_or(String::new(), |why| format!(": {why}"));
    let tried = if *attempts > 0 { format!(", {attempts} attempts") } else { String::new() };
    format!("{:<7} {record} {since}{tried}{next}{reason}", state.name())
}

fn act(site: &Site, choice: &EmrChoice, action: &EmrAction) -> anyhow::Result<ExitCode> {
    let acted = site.store().emr_act(choice, action, "operator", site.now())?;
    say!("{acted} records.");
    Ok(if acted > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Asks the record system, and what it lacks for each record of this site that goes there.
pub(super) fn check(site: &Site) -> anyhow::Result<ExitCode> {
    let emr = site.emr().context(NONE)?.clone();
    let lacks = block_on(async {
        let said = emr.capabilities().await.map_err(plain)?;
        let version = said.version.as_deref().unwrap_or("of unknown version");
        say!("{} {version} answers.", said.product);
        for note in &said.notes {
            say!("  {note}");
        }
        let mut lacks = said.missing;
        lacks.extend(lacking(site, &*emr).await?);
        anyhow::Ok(lacks)
    })??;
    if lacks.is_empty() {
        say!("It lacks nothing that this site's records need.");
        return Ok(ExitCode::SUCCESS);
    }
    for lack in &lacks {
        say!("LACKS {lack}");
    }
    Ok(ExitCode::FAILURE)
}

fn plain(error: EmrError) -> anyhow::Error {
    anyhow::anyhow!("failed to ask the record system: {error}")
}

async fn lacking(site: &Site, emr: &dyn Emr) -> anyhow::Result<Vec<String>> {
    let total = site.store().site_status(site.now())?.records;
    let bar = progress::bar(total, "records");
    bar.set_message("looking");
    let mut lacks = std::collections::BTreeSet::new();
    for kind in ResourceType::all() {
        let mut query = SearchQuery { kind: Some(kind), limit: PAGE, ..SearchQuery::default() };
        loop {
            let page = site.store().record_search(&query, &Scope::Everything)?;
            let bodies = page.records.iter().filter_map(|version| version.body.as_ref());
            let limits = &site.config().limits;
            let records: Vec<Record> = bodies
                .filter_map(|body| Record::parse(body.as_bytes(), limits).ok())
                .filter(|record| !protocol::conflict::is_name(&record.reference))
                .collect();
            if !records.is_empty() {
                lacks.extend(emr.lacks(&records).await.map_err(plain)?);
            }
            bar.inc(records.len() as u64);
            match page.next {
                Some(next) => query.after = Some(next),
                None => break,
            }
        }
    }
    bar.finish_and_clear();
    Ok(lacks.into_iter().collect())
}
