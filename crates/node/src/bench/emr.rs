//! A site beside a record system: how fast everything there is read the first time, and how fast
//! records are written there, against what the same server serves, and takes, in a bare loop.
//!
//! The record system is a FHIR server that reads and writes a disk: another site of this program.
//! Both run as processes of their own.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use futures::StreamExt as _;
use protocol::resource::Record;
use serde_json::{Value, json};
use store::EmrStatus;

use crate::bench::pair;
use crate::bench::process::Process;
use crate::bench::{Bench, Figure};
use crate::config::{Config, EmrConfig, EmrKind, EmrMode};
use crate::server;

/// The figures.
const FIGURES: &[&str] = &["emr_first_load_ratio", "emr_apply_ratio", "emr_rss"];
/// Records of a first load.
const RECORDS: usize = 100_000;
/// Records that are written, and requests of a bare loop.
const WRITES: usize = 20_000;
/// Requests of a bare loop at the same time: as many as the settings have unless said otherwise.
const AT_ONCE: usize = 4;
/// Tenths of a second in which a site has to answer.
const TRIES: usize = 600;
/// Seconds after which a measurement has failed.
const PATIENCE: u64 = 3_600;

/// All figures of a site beside a record system.
pub(super) async fn measure(bench: &Bench<'_>) -> anyhow::Result<()> {
    if !FIGURES.iter().any(|name| bench.wants(name)) {
        return Ok(());
    }
    let folder = bench.folder()?;
    let records = if bench.options.quick { RECORDS / 10 } else { RECORDS };
    let (changes, names) = made(bench, records)?;
    let loaded = first_load(bench, folder.path(), changes.clone(), &names).await?;
    let written = apply(bench, folder.path(), changes).await?;
    let settings = json!({
        "data": bench.data.name(), "records": names.len(),
        "first_load": loaded, "apply": written,
    });
    bench.tell(&Figure::new("emr_rss", loaded.max(written), "MB", settings));
    Ok(())
}

/// Changes with at least so many records, and the names of these.
fn made(bench: &Bench<'_>, records: usize) -> anyhow::Result<(Vec<Vec<Record>>, Vec<String>)> {
    let mut changes = vec![bench.data.shared().to_vec()];
    let mut count = changes[0].len();
    for number in 0.. {
        if count >= records {
            break;
        }
        let patient = bench.data.patient(number)?;
        count += patient.records();
        changes.extend(std::iter::once(patient.registration).chain(patient.visits));
    }
    // Each record once, as in a system that is read.
    let mut names = BTreeSet::new();
    for change in &mut changes {
        change.retain(|record| names.insert(record.reference.to_string()));
    }
    changes.retain(|change| !change.is_empty());
    Ok((changes, names.into_iter().collect()))
}

/// Measures a first load; gives the most memory that the site beside it had, in MB.
async fn first_load(
    bench: &Bench<'_>,
    folder: &Path,
    changes: Vec<Vec<Record>>,
    names: &[String],
) -> anyhow::Result<f64> {
    let system = System::make(&folder.join("system"), "system", changes).await?;
    let every = names.len().div_ceil(WRITES).max(1);
    let reads: Vec<Ask> = names.iter().step_by(every).map(|name| (name.clone(), None)).collect();
    bench.say("reading in a bare loop");
    let before = bare(&system.url, reads.clone()).await?;
    let dir = beside(&folder.join("loaded"), &system.url, EmrMode::CaptureOnly)?;
    let begun = Instant::now();
    let process = Process::start("serve", &dir)?;
    let megabytes = settled(bench, &dir, &process, |status| !status.loading).await?;
    let seconds = begun.elapsed().as_secs_f64();
    drop(process);
    let held = pair::records(&pair::open(&dir)?).await?;
    ensure!(held == names.len() as u64, "failed to measure: {held} of {} came", names.len());
    let after = bare(&system.url, reads).await?;
    let (rate, bare) = (names.len() as f64 / seconds, before.max(after));
    let settings = json!({
        "data": bench.data.name(), "records": names.len(), "seconds": seconds,
        "records_per_second": rate, "bare_per_second": bare, "at_once": AT_ONCE,
        "megabytes": megabytes,
    });
    bench.tell(&Figure::new("emr_first_load_ratio", rate / bare, "", settings));
    Ok(megabytes)
}

/// Measures writing; gives the most memory, likewise.
async fn apply(bench: &Bench<'_>, folder: &Path, changes: Vec<Vec<Record>>) -> anyhow::Result<f64> {
    let mut count = 0;
    let changes: Vec<Vec<Record>> = changes
        .into_iter()
        .take_while(|change| {
            let before = count;
            count += change.len();
            before < WRITES
        })
        .collect();
    let asks = changes
        .iter()
        .flatten()
        .map(|record| (record.reference.to_string(), record.body.as_deref().map(str::to_owned)));
    let asks: Vec<Ask> = asks.collect();
    let count = asks.len();
    bench.say("writing in a bare loop");
    let taker = System::make(&folder.join("taker"), "taker", Vec::new()).await?;
    let bare = bare(&taker.url, asks).await?;
    drop(taker);
    let taker = System::make(&folder.join("other-taker"), "other-taker", Vec::new()).await?;
    let dir = beside(&folder.join("applied"), &taker.url, EmrMode::TwoWay)?;
    let site = pair::open(&dir)?;
    pair::load(&site, changes).await?;
    drop(site);
    let begun = Instant::now();
    let process = Process::start("serve", &dir)?;
    let all = count as u64;
    let done = |status: &EmrStatus| !status.loading && status.applied >= all && status.due == 0;
    let megabytes = settled(bench, &dir, &process, done).await?;
    let seconds = begun.elapsed().as_secs_f64();
    drop(process);
    let rate = count as f64 / seconds;
    let settings = json!({
        "data": bench.data.name(), "records": count, "seconds": seconds,
        "records_per_second": rate, "bare_per_second": bare, "at_once": AT_ONCE,
        "megabytes": megabytes,
    });
    bench.tell(&Figure::new("emr_apply_ratio", rate / bare, "", settings));
    Ok(megabytes)
}

/// What is asked of a server: to give a record, or to take one.
type Ask = (String, Option<String>);

/// Requests a second that a server answers in a loop that does nothing else.
async fn bare(url: &str, asks: Vec<Ask>) -> anyhow::Result<f64> {
    let client = reqwest::Client::builder().no_proxy().http1_only().build()?;
    let count = asks.len();
    let begun = Instant::now();
    let answers = asks.into_iter().map(|(name, body)| {
        let url = format!("{url}/{name}");
        let request = match body {
            None => client.get(url),
            Some(body) => {
                client.put(url).header("content-type", "application/fhir+json").body(body)
            }
        };
        async move {
            let answer = request.send().await?.error_for_status()?;
            answer.bytes().await.map(|_| ())
        }
    });
    let mut answers = futures::stream::iter(answers).buffer_unordered(AT_ONCE);
    while let Some(answer) = answers.next().await {
        answer.map_err(|error| {
            anyhow::anyhow!("failed to ask the server: {}", error.without_url())
        })?;
    }
    Ok(count as f64 / begun.elapsed().as_secs_f64())
}

/// A FHIR server with records, in a process of its own.
struct System {
    url: String,
    _process: Process,
}

impl System {
    async fn make(dir: &Path, id: &str, changes: Vec<Vec<Record>>) -> anyhow::Result<System> {
        let address = free().await?;
        let site = pair::make(dir, id, address)?;
        pair::load(&site, changes).await?;
        drop(site);
        let mut config = Config::load(dir)?;
        config.open_on_loopback = true;
        config.save(dir)?;
        let url = format!("http://{address}/fhir");
        Ok(System { url, _process: answering(dir, address).await? })
    }
}

/// A site beside it.
fn beside(dir: &Path, url: &str, mode: EmrMode) -> anyhow::Result<PathBuf> {
    let address = ([127, 0, 0, 1], 0).into();
    drop(pair::make(dir, "beside", address)?);
    let mut config = Config::load(dir)?;
    config.emr = EmrConfig {
        kind: EmrKind::Fhir,
        url: Some(url.to_owned()),
        mode,
        at_once: AT_ONCE,
        records_per_second: 1_000_000,
        ..EmrConfig::default()
    };
    config.save(dir)?;
    Ok(dir.to_owned())
}

async fn free() -> anyhow::Result<SocketAddr> {
    let listener = server::bind(([127, 0, 0, 1], 0).into()).await?;
    listener.local_addr().context("failed to learn the address")
}

/// `tributary serve` in a folder, once it answers.
async fn answering(dir: &Path, address: SocketAddr) -> anyhow::Result<Process> {
    let process = Process::start("serve", dir)?;
    for _ in 0..TRIES {
        if tokio::net::TcpStream::connect(address).await.is_ok() {
            return Ok(process);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("failed to measure: the site in {} does not answer", dir.display())
}

/// Waits until a site stands so beside its record system; gives the most memory that it had.
async fn settled(
    bench: &Bench<'_>,
    dir: &Path,
    process: &Process,
    is_done: impl Fn(&EmrStatus) -> bool,
) -> anyhow::Result<f64> {
    let site = pair::open(dir)?;
    let begun = Instant::now();
    let mut megabytes = 0.0f64;
    loop {
        megabytes = megabytes.max(process.peak_megabytes().unwrap_or(0.0));
        let status = site.read(|store| store.emr_status()).await?;
        if let Some(status) = status {
            if is_done(&status) {
                return Ok(megabytes);
            }
            if let Some(error) = status.last_error.filter(|_| status.failures > 3) {
                bail!("failed to measure: the record system is away: {error}");
            }
            let told: Value = json!({ "loaded": status.loaded, "applied": status.applied });
            bench.say(&format!("beside a record system: {told}, {megabytes:.0} MB"));
        }
        let seconds = begun.elapsed().as_secs();
        ensure!(seconds < PATIENCE, "failed to measure: it is not done after {seconds} s");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
