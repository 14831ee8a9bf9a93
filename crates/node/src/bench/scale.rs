//! What becomes of memory, time to start and the cost of a catch-up when a site holds a million
//! records.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::json;
use store::sqlite::SqliteStore;

use crate::bench::pair::{self, Between, Pair};
use crate::bench::process::Process;
use crate::bench::rates::{disk, known};
use crate::bench::{Bench, Figure};
use crate::cli::open::{Dir, options};

/// Changes of a catch-up, one record each.
const CHANGES: usize = 1_000;
/// Records of the site that a big one is compared with.
const FEW: usize = 10_000;
/// Times that a catch-up is measured; the middle one counts.
const TIMES: u64 = 7;

/// The figures that one site with many records gives.
const FIGURES: &[&str] = &[
    "rss_child_million",
    "start_million_seconds",
    "disk_bytes_per_record_million",
    "catchup_ratio",
];

/// All figures of a site that holds many records.
pub(super) async fn many(bench: &Bench<'_>) -> anyhow::Result<()> {
    if !FIGURES.iter().any(|name| bench.wants(name)) {
        return Ok(());
    }
    let few = if bench.wants("catchup_ratio") { Some(few(bench).await?) } else { None };
    let folder = bench.folder()?;
    let mut pair = Pair::make(folder.path(), Between::Nothing).await?;
    let patients = load(bench, &pair, bench.options.many).await?;
    let first = by_other_process(bench, &pair, "first load").await?;
    pair.check().await?;
    let settled = Settled { patients, first };
    if bench.wants("rss_child_million") {
        rss(bench, &pair, &settled).await?;
    }
    if bench.wants("start_million_seconds") {
        start(bench, &mut pair).await?;
    }
    if let Some(few) = few {
        let many = catch_up(bench, &pair, patients, 100).await?;
        let settings = json!({
            "data": bench.data.name(), "changes": CHANGES,
            "records_few": FEW, "seconds_few": few,
            "records_many": bench.options.many, "seconds_many": many,
        });
        bench.tell(&Figure::new("catchup_ratio", many / few, "", settings));
    }
    if bench.wants("disk_bytes_per_record_million") {
        bench.tell(&disk("disk_bytes_per_record_million", bench, pair).await?);
    }
    Ok(())
}

/// What is known once the child holds many records.
struct Settled {
    patients: u64,
    first: Run,
}

/// Records at the parent, until it has about `records`; gives how many patients these are.
async fn load(bench: &Bench<'_>, pair: &Pair, records: usize) -> anyhow::Result<u64> {
    pair::load(&pair.parent, known(bench, Vec::new())).await?;
    let (mut done, mut patients) = (0, 0);
    let changes = std::iter::from_fn(|| {
        if done >= records {
            return None;
        }
        let patient = bench.data.patient(patients);
        patients += 1;
        if let Ok(patient) = &patient {
            done += patient.records();
        }
        if patients.is_multiple_of(100) {
            bench.say(&format!("recording {done} of {records} records"));
        }
        Some(patient)
    });
    let changes = changes.flat_map(|patient| match patient {
        Ok(patient) => {
            let changes = std::iter::once(patient.registration).chain(patient.visits);
            changes.map(Ok).collect::<Vec<_>>()
        }
        Err(error) => vec![Err(error)],
    });
    let store = pair.parent.clone();
    // The writers have threads of their own; this one only makes records.
    tokio::task::block_in_place(|| pair::load_all(store.store(), changes))?;
    Ok(patients)
}

/// A sync by a process of its own.
struct Run {
    /// The most memory that it ever had, in MB.
    megabytes: f64,
    seconds: f64,
}

async fn by_other_process(bench: &Bench<'_>, pair: &Pair, what: &str) -> anyhow::Result<Run> {
    let started = Instant::now();
    let mut process = Process::start("sync", &pair.child_folder())?;
    let mut megabytes = 0.0f64;
    let status = loop {
        megabytes = megabytes.max(process.peak_megabytes().unwrap_or(0.0));
        let seconds = started.elapsed().as_secs();
        bench.say(&format!("{what} by a child process: {seconds} s, {megabytes:.0} MB"));
        if let Some(status) = process.0.try_wait().context("failed to wait for the child")? {
            break status;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    if !status.success() {
        bail!("failed to measure: the child's sync ended with {status}");
    }
    Ok(Run { megabytes, seconds: started.elapsed().as_secs_f64() })
}

/// The child's memory in its first load, and in a catch-up when it holds everything.
async fn rss(bench: &Bench<'_>, pair: &Pair, settled: &Settled) -> anyhow::Result<()> {
    let changes = bench.data.single(FEW, settled.patients.min(1_000), 99)?;
    pair::load(&pair.parent, changes).await?;
    let later = by_other_process(bench, pair, "catch-up").await?;
    pair.check().await?;
    let records = pair::records(&pair.child).await?;
    let settings = json!({
        "data": bench.data.name(), "records": records,
        "first_load": settled.first.megabytes, "first_load_seconds": settled.first.seconds,
        "catch_up": later.megabytes, "catch_up_seconds": later.seconds,
    });
    let value = settled.first.megabytes.max(later.megabytes);
    bench.tell(&Figure::new("rss_child_million", value, "MB", settings));
    Ok(())
}

/// Opening a store that was closed properly, and its first answer.
async fn start(bench: &Bench<'_>, pair: &mut Pair) -> anyhow::Result<()> {
    let dir = Dir { dir: pair.child_folder() };
    let records = pair::records(&pair.child).await?;
    let limits = options(pair.child.config());
    let started = Instant::now();
    let store = SqliteStore::open(&dir.store(), limits)?;
    store::Store::site(&store)?;
    let seconds = started.elapsed().as_secs_f64();
    drop(store);
    pair.reopen_child()?;
    let settings = json!({"data": bench.data.name(), "records": records});
    bench.tell(&Figure::new("start_million_seconds", seconds, "s", settings));
    Ok(())
}

/// The catch-up of a child with few records.
async fn few(bench: &Bench<'_>) -> anyhow::Result<f64> {
    let folder = bench.folder()?;
    let pair = Pair::make(folder.path(), Between::Nothing).await?;
    let patients = load(bench, &pair, FEW).await?;
    pair.catch_up().await?;
    catch_up(bench, &pair, patients, 0).await
}

/// Seconds of a round that brings the changes, the middle of some.
async fn catch_up(
    bench: &Bench<'_>,
    pair: &Pair,
    patients: u64,
    first: u64,
) -> anyhow::Result<f64> {
    let mut all = Vec::new();
    for time in 0..TIMES {
        bench.say(&format!("catch-up {} of {TIMES}", time + 1));
        let changes = bench.data.single(CHANGES, patients.min(500), first + time)?;
        pair::load(&pair.parent, changes).await?;
        let started = Instant::now();
        let round = pair.round().await?;
        all.push(started.elapsed().as_secs_f64());
        if round.received != CHANGES as u64 {
            bail!("failed to measure: {} of {CHANGES} changes came", round.received);
        }
    }
    all.sort_by(f64::total_cmp);
    Ok(all[all.len() / 2])
}
