//! `tributary audit`: who did what to what, when and why, and the proof that no row was altered.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::bail;
use clap::Subcommand;
use protocol::{RecordRef, SiteId, Timestamp};
use store::{AuditEntry, AuditFilter};

use crate::cli::open::Dir;
use crate::cli::patient::{patient, timeline::time};
use crate::cli::say;
use crate::site::Site;

/// Rows that are shown unless asked for more.
const ROWS: usize = 100;
/// Rows that are read at once.
const ROWS_AT_ONCE: usize = 1_000;

/// What `audit` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show who did what, the newest last
    Search {
        #[command(flatten)]
        wanted: Wanted,
        /// At most so many rows, the newest
        #[arg(long, value_name = "N", default_value_t = ROWS)]
        limit: usize,
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        dir: Dir,
    },
    /// Prove that no row was altered, taken out or put between; name the first that does not fit
    Verify {
        /// Of the rows that a site below has passed on, instead of this site's own
        #[arg(long, value_name = "CHILD")]
        site: Option<SiteId>,
        #[command(flatten)]
        dir: Dir,
    },
    /// Show who has seen a patient's records, anywhere: here and at all sites below
    Who {
        /// The patient, or a record of the patient
        #[arg(value_name = "Type/ID", value_parser = record_or_patient)]
        record: RecordRef,
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        dir: Dir,
    },
    /// Write rows as NDJSON to standard output, the oldest first, each with its hash
    Export {
        #[command(flatten)]
        wanted: Wanted,
        #[command(flatten)]
        dir: Dir,
    },
}

#[derive(Debug, clap::Args)]
struct Wanted {
    /// Only what concerns this record, and the changes of it
    #[arg(long, value_name = "Type/ID")]
    record: Option<RecordRef>,
    /// Only what concerns this patient's records
    #[arg(long, value_name = "ID", value_parser = patient)]
    patient: Option<RecordRef>,
    /// Only what this one did: operator, program:NAME, child:SITE, a person
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// Only what is called this: change, timeline, why, denied, delivery-park, ...
    #[arg(long, value_name = "NAME")]
    action: Option<String>,
    /// Only from this day or time on (2026-11-23, 2026-11-23T08:15:30Z)
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Timestamp>,
    /// Only before this day or time
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<Timestamp>,
}

impl Wanted {
    fn filter(&self) -> AuditFilter {
        AuditFilter {
            record: self.record.clone(),
            patient: self.patient.clone(),
            actor: self.actor.clone(),
            action: self.action.clone(),
            since: self.since,
            until: self.until,
            ..AuditFilter::default()
        }
    }
}

/// Searches, verifies or exports.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.action {
        Action::Search { wanted, limit, json, dir } => {
            search(&dir.open()?, &wanted.filter(), *limit, *json)
        }
        Action::Verify { site: None, dir } => verify(&dir.open()?),
        Action::Verify { site: Some(child), dir } => verify_copy(&dir.open()?, child),
        Action::Who { record, json, dir } => who(&dir.open()?, record, *json),
        Action::Export { wanted, dir } => export(&dir.open()?, wanted.filter()),
    }
}

fn search(site: &Site, filter: &AuditFilter, limit: usize, json: bool) -> anyhow::Result<ExitCode> {
    let filter = AuditFilter { newest: true, limit, ..filter.clone() };
    let mut rows = site.store().audit_list(&filter)?;
    rows.reverse();
    if json {
        say!("{}", serde_json::to_string_pretty(&rows)?);
        return Ok(ExitCode::SUCCESS);
    }
    if rows.is_empty() {
        say!("Nothing in the audit is about that.");
    }
    for row in &rows {
        say!("{}", line(row));
    }
    Ok(ExitCode::SUCCESS)
}

fn line(row: &AuditEntry) -> String {
    let at: String = row.at.to_string().chars().take(19).collect();
    // A row is one line, whatever was said elsewhere.
    let detail = protocol::plain::line(&row.detail, usize::MAX);
    let detail = if detail.is_empty() { String::new() } else { format!(" ({detail})") };
    format!(
        "{:>8} {}  {:<20} {:<18} {}{detail}",
        row.key,
        at.replace('T', " "),
        row.actor,
        row.action,
        row.subject
    )
}

fn verify(site: &Site) -> anyhow::Result<ExitCode> {
    let proof = site.store().audit_verify()?;
    match proof.broken {
        Some(reason) => {
            say!("BROKEN {reason}. Restore the last backup whose `audit verify` is well.");
            Ok(ExitCode::FAILURE)
        }
        None => {
            say!(
                "All {} rows follow from one another. The last hash is {}.",
                proof.rows,
                proof.last
            );
            say!("Keep it elsewhere: a later `audit export` must have that row with that hash.");
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn verify_copy(site: &Site, child: &SiteId) -> anyhow::Result<ExitCode> {
    let Some(proof) = site.store().audit_verify_copy(child)? else {
        bail!("failed to verify the audit of {child}: no row of it has come here");
    };
    if let Some(reason) = proof.broken {
        say!("BROKEN {reason}. Restore the last backup whose `audit verify` is well.");
        return Ok(ExitCode::FAILURE);
    }
    say!(
        "All {} rows of {child} follow from one another. The last hash is {}: `audit export` there \
         must have a row with it.",
        proof.rows,
        proof.last
    );
    Ok(ExitCode::SUCCESS)
}

/// A bare id is a patient's.
fn record_or_patient(text: &str) -> Result<RecordRef, String> {
    if text.contains('/') { text.parse().map_err(|e| format!("{e}")) } else { patient(text) }
}

fn who(site: &Site, record: &RecordRef, json: bool) -> anyhow::Result<ExitCode> {
    let told = crate::who::read(site.store(), record, "operator".to_owned(), site.now())?;
    if json {
        say!("{}", serde_json::to_string_pretty(&told)?);
        return Ok(ExitCode::SUCCESS);
    }
    let names = told.names.iter().map(RecordRef::to_string).collect::<Vec<_>>().join(", ");
    if told.seen.is_empty() {
        say!("Nobody is known to have seen {names}.");
    } else {
        say!("Who has seen {names}:");
    }
    for seen in &told.seen {
        let at = |at: Timestamp| at.to_string().chars().take(16).collect::<String>();
        let times =
            if seen.times == 1 { String::new() } else { format!(" ({} times)", seen.times) };
        say!(
            "  {:<16} {:<24} {:<14} {}{times}",
            seen.site.as_str(),
            seen.actor,
            crate::who::words(&seen.how),
            at(seen.last).replace('T', " ")
        );
    }
    say!("");
    say!("By the rows of these sites:");
    for one in &told.sites {
        say!("  {:<16} {}", one.site.as_str(), crate::who::fresh(one, site.now()));
    }
    Ok(ExitCode::SUCCESS)
}

fn export(site: &Site, mut filter: AuditFilter) -> anyhow::Result<ExitCode> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    filter.limit = ROWS_AT_ONCE;
    loop {
        let rows = site.store().audit_list(&filter)?;
        for row in &rows {
            serde_json::to_writer(&mut out, row)?;
            writeln!(out)?;
        }
        let Some(last) = rows.last().filter(|_| rows.len() == ROWS_AT_ONCE) else { break };
        filter.after = last.key;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
