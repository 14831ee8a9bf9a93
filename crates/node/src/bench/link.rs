//! Bytes on the wire, all of HTTP included, and time over a slow link.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::bench::pair::{self, Between, COHORT, Pair};
use crate::bench::proxy::Shape;
use crate::bench::rates::{Reading, known};
use crate::bench::{Bench, Figure};
use crate::jobs;
use crate::jobs::link::Link;
use crate::jobs::round;

/// A clinic's mobile link on a bad day.
const SLOW: Shape = Shape { bits_per_second: 256_000, round_trip: Duration::from_millis(600) };
/// Visits that are synced one by one.
const VISITS: usize = 40;
/// Idle polls that are counted.
const POLLS: u32 = 5;

/// One round that brings `records` new records of known patients.
pub(super) async fn catch_up(
    bench: &Bench<'_>,
    name: &'static str,
    records: usize,
) -> anyhow::Result<()> {
    if !bench.wants(name) {
        return Ok(());
    }
    bench.say(&format!("bytes of a catch-up of {records}"));
    let folder = bench.folder()?;
    let (registrations, visits) = bench.data.take(records)?;
    let changes = visits.len();
    let raw = raw_bytes(&visits);
    let known = known(bench, registrations);
    let pair = Pair::behind(folder.path(), Between::Counting, known, visits).await?;
    pair.round().await?;
    let passed = pair.passed();
    pair.check().await?;
    let settings = json!({
        "data": bench.data.name(), "resources": records, "changes": changes,
        "up": passed.up, "down": passed.down, "raw_bytes": raw,
    });
    bench.tell(&Figure::new(name, passed.all() as f64 / records as f64, "bytes", settings));
    Ok(())
}

/// Patients whom the child has never heard of: a join, and all their records.
pub(super) async fn newcomers(bench: &Bench<'_>) -> anyhow::Result<()> {
    let name = "wire_bytes_per_resource_newcomers";
    if !bench.wants(name) {
        return Ok(());
    }
    bench.say("bytes of new patients");
    let folder = bench.folder()?;
    let (registrations, visits) = bench.data.take(1_000)?;
    let records = registrations.iter().chain(&visits).map(Vec::len).sum::<usize>();
    let shared = known(bench, Vec::new());
    let new = registrations.into_iter().chain(visits).collect();
    let pair = Pair::behind(folder.path(), Between::Counting, shared, new).await?;
    pair.round().await?;
    let passed = pair.passed();
    pair.check().await?;
    let settings = json!({
        "data": bench.data.name(), "resources": records, "up": passed.up, "down": passed.down,
    });
    bench.tell(&Figure::new(name, passed.all() as f64 / records as f64, "bytes", settings));
    Ok(())
}

/// Single visits: an encounter and what refers to it.
pub(super) async fn visit(bench: &Bench<'_>) -> anyhow::Result<()> {
    if !bench.wants("wire_bytes_visit") && !bench.wants("wire_bytes_visit_round") {
        return Ok(());
    }
    bench.say("bytes of single visits");
    let folder = bench.folder()?;
    let (registrations, visits) = bench.data.take(10_000)?;
    let visits: Vec<_> = visits
        .into_iter()
        .filter(|visit| visit[0].reference.kind == protocol::ResourceType::ENCOUNTER)
        .collect();
    // Visits of many patients, and not the first of each alone.
    let step = (visits.len() / VISITS).max(1);
    let visits: Vec<_> = visits.into_iter().step_by(step).take(VISITS).collect();
    let count = visits.len() as f64;
    let records: usize = visits.iter().map(Vec::len).sum();
    let raw = raw_bytes(&visits);
    let known = known(bench, registrations);
    let mut pair = Pair::behind(folder.path(), Between::Counting, known, Vec::new()).await?;
    pair.round().await?;
    let (mut answers, mut rounds) = (0, 0);
    for visit in visits {
        pair::load(&pair.parent, vec![visit]).await?;
        answers += answer_bytes(&mut pair).await?;
        let before = pair.passed();
        pair.round().await?;
        rounds += pair.passed().since(before).all();
    }
    pair.check().await?;
    let settings = json!({
        "data": bench.data.name(), "visits": count, "resources": records,
        "raw_bytes_each": (raw as f64 / count).round(),
    });
    for (name, bytes) in [("wire_bytes_visit", answers), ("wire_bytes_visit_round", rounds)] {
        if bench.wants(name) {
            bench.tell(&Figure::new(name, bytes as f64 / count, "bytes", settings.clone()));
        }
    }
    Ok(())
}

/// What the parent's answer comes to that brings the child what it lacks, head and body.
async fn answer_bytes(pair: &mut Pair) -> anyhow::Result<u64> {
    let link = Link::of(&pair.child).context("failed to find the child's link")?;
    let markers = pair.child.read(|store| store.marker_list()).await?;
    let live = |marker: &&store::Marker| {
        marker.name == COHORT && marker.lane == protocol::stream::Lane::Live
    };
    let marker = markers.iter().find(live).context("failed to find the child's marker")?;
    let path =
        format!("/sync/feeds/{COHORT}/changes?after={}&epoch={}", marker.position, marker.epoch);
    let before = pair.passed();
    Reading::default().answer(pair, &link, &path).await?;
    Ok(pair.passed().since(before).down)
}

fn raw_bytes(changes: &[Vec<protocol::resource::Record>]) -> usize {
    let bodies = changes.iter().flatten().filter_map(|record| record.body.as_ref());
    bodies.map(String::len).sum()
}

/// The jobs of a child that has nothing to do, over some polls: everything that they send.
pub(super) async fn idle_poll(bench: &Bench<'_>) -> anyhow::Result<()> {
    let name = "wire_bytes_idle_poll";
    if !bench.wants(name) {
        return Ok(());
    }
    bench.say("bytes of idle polls");
    let folder = bench.folder()?;
    let (registrations, _) = bench.data.take(100)?;
    let known = known(bench, registrations);
    let mut pair = Pair::behind(folder.path(), Between::Counting, known, Vec::new()).await?;
    let mut config = pair.child.config().clone();
    config.limits.poll_seconds = 1;
    config.save(&pair.child_folder())?;
    pair.reopen_child()?;
    // The first round is over, and a poll is held open, when the counting begins.
    let stop = CancellationToken::new();
    let running = tokio::spawn(jobs::run(pair.child.clone(), stop.clone()));
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let before = pair.passed();
    tokio::time::sleep(Duration::from_millis(u64::from(POLLS) * 1_000)).await;
    let passed = pair.passed().since(before);
    stop.cancel();
    running.await.context("failed to end the jobs")?;
    let link = Link::of(&pair.child).context("failed to find the child's link")?;
    let single = single_poll(&pair, &link).await?;
    let settings = json!({
        "polls": POLLS, "up": passed.up, "down": passed.down, "single_request": single,
    });
    let value = passed.all() as f64 / f64::from(POLLS);
    bench.tell(&Figure::new(name, value, "bytes", settings));
    Ok(())
}

/// One poll, sent by hand.
async fn single_poll(pair: &Pair, link: &Link) -> anyhow::Result<u64> {
    let view = pair.round().await?.view;
    let at = round::positions(&pair.child, &view).await?;
    let before = pair.passed();
    link.poll(&pair.child, &view, &at, false).await?;
    Ok(pair.passed().since(before).all())
}

/// One round over a slow link, its connection included.
pub(super) async fn slow(
    bench: &Bench<'_>,
    name: &'static str,
    records: usize,
) -> anyhow::Result<()> {
    if !bench.wants(name) {
        return Ok(());
    }
    bench.say(&format!("{records} records over 256 kbit/s"));
    let folder = bench.folder()?;
    let (registrations, visits) = bench.data.take(records)?;
    let changes = visits.len();
    let known = known(bench, registrations);
    let pair = Pair::behind(folder.path(), Between::Slow(SLOW), known, visits).await?;
    let started = Instant::now();
    pair.round().await?;
    let seconds = started.elapsed().as_secs_f64();
    pair.check().await?;
    let passed = pair.passed();
    let settings = json!({
        "data": bench.data.name(), "resources": records, "changes": changes,
        "bits_per_second": SLOW.bits_per_second, "round_trip_ms": 600,
        "up": passed.up, "down": passed.down,
    });
    bench.tell(&Figure::new(name, seconds, "s", settings));
    Ok(())
}
