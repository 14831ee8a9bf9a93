//! Resources a second: files into a site, a stream into a child, a stream out of a parent.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, bail};
use futures::StreamExt as _;
use protocol::stream::{self, Lane, Lines, StreamLine};
use serde_json::json;

use crate::bench::pair::{self, Between, COHORT, Pair};
use crate::bench::{Bench, Figure};
use crate::import;
use crate::jobs::link::Link;

/// The most that one answer comes to in a measurement.
const ANSWER_BYTES: u64 = 64 << 20;

/// Files on disk into an empty site.
pub(super) async fn import(bench: &Bench<'_>) -> anyhow::Result<()> {
    if !bench.wants("import_rate") {
        return Ok(());
    }
    bench.say("import");
    let folder = bench.folder()?;
    let files = folder.path().join("files");
    std::fs::create_dir(&files).context("failed to make a folder for files")?;
    let paths = bench.data.write_files(&files, bench.options.records)?;
    let site = pair::make(&folder.path().join("site"), "site", ([127, 0, 0, 1], 1).into())?;
    let started = Instant::now();
    let summary = tokio::task::spawn_blocking(move || {
        import::run(site.store(), &paths, &site.config().limits, || site.now(), &|_| {})
    });
    let summary = summary.await.context("failed to import: a thread broke off")??;
    let seconds = started.elapsed().as_secs_f64();
    if summary.refused > 0 {
        bail!("failed to measure the import: {} resources were refused", summary.refused);
    }
    let settings = json!({
        "data": bench.data.name(),
        "files": summary.files,
        "resources": summary.resources,
        "changes": summary.changes,
        "seconds": seconds,
    });
    let rate = summary.resources as f64 / seconds;
    bench.tell(&Figure::new("import_rate", rate, "resources/s", settings));
    Ok(())
}

/// A child behind on visits of patients whom it knows.
pub(super) async fn apply(bench: &Bench<'_>) -> anyhow::Result<()> {
    if !bench.wants("apply_rate") && !bench.wants("disk_bytes_per_record") {
        return Ok(());
    }
    bench.say("applying a stream");
    let folder = bench.folder()?;
    let records = bench.options.records;
    let (registrations, visits) = bench.data.take(records)?;
    let changes = visits.len();
    let known = known(bench, registrations);
    let pair = Pair::behind(folder.path(), Between::Nothing, known, visits).await?;
    let started = Instant::now();
    pair.round().await?;
    let seconds = started.elapsed().as_secs_f64();
    pair.check().await?;
    if bench.wants("apply_rate") {
        let settings = json!({
            "data": bench.data.name(), "resources": records, "changes": changes,
            "lane": "live", "seconds": seconds,
        });
        let rate = records as f64 / seconds;
        bench.tell(&Figure::new("apply_rate", rate, "resources/s", settings));
    }
    if bench.wants("disk_bytes_per_record") {
        bench.tell(&disk("disk_bytes_per_record", bench, pair).await?);
    }
    Ok(())
}

/// A child that has nothing yet.
pub(super) async fn first_load(bench: &Bench<'_>) -> anyhow::Result<()> {
    if !bench.wants("first_load_rate") {
        return Ok(());
    }
    bench.say("first load");
    let folder = bench.folder()?;
    let (registrations, visits) = bench.data.take(bench.options.records)?;
    let pair = Pair::make(folder.path(), Between::Nothing).await?;
    pair::load(&pair.parent, known(bench, registrations)).await?;
    pair::load(&pair.parent, visits).await?;
    let resources = pair::records(&pair.parent).await?;
    let started = Instant::now();
    pair.round().await?;
    let seconds = started.elapsed().as_secs_f64();
    pair.check().await?;
    let settings = json!({
        "data": bench.data.name(), "resources": resources, "lane": "bulk", "seconds": seconds,
    });
    let rate = resources as f64 / seconds;
    bench.tell(&Figure::new("first_load_rate", rate, "resources/s", settings));
    Ok(())
}

/// The shared records and the registrations, as changes.
pub(super) fn known(
    bench: &Bench<'_>,
    registrations: crate::bench::data::Changes,
) -> crate::bench::data::Changes {
    let limit = protocol::Limits::default().change_records;
    let shared = bench.data.shared().chunks(limit).map(<[_]>::to_vec);
    shared.chain(registrations).collect()
}

/// What each site's files come to by record, once both are closed.
pub(super) async fn disk(
    name: &'static str,
    bench: &Bench<'_>,
    pair: Pair,
) -> anyhow::Result<Figure> {
    let records = pair::records(&pair.child).await?;
    let (child, parent) = (pair.child_folder(), pair.parent_folder());
    drop(pair);
    // The parent's server lets go of its store within a moment.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    let parent = bytes_below(&parent)? as f64 / records as f64;
    let child = bytes_below(&child)? as f64 / records as f64;
    let settings = json!({
        "data": bench.data.name(), "records": records,
        "parent": parent.round(), "child": child.round(),
    });
    Ok(Figure::new(name, child.max(parent), "bytes", settings))
}

fn bytes_below(folder: &Path) -> anyhow::Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(folder).context("failed to look at a site's files")? {
        sum += entry.and_then(|entry| entry.metadata()).context("failed to see a file")?.len();
    }
    Ok(sum)
}

/// A parent's stream, read by someone who only inflates and counts.
pub(super) async fn stream(bench: &Bench<'_>) -> anyhow::Result<()> {
    if !bench.wants("stream_rate") {
        return Ok(());
    }
    bench.say("streaming");
    let folder = bench.folder()?;
    let records = bench.options.records;
    let (registrations, visits) = bench.data.take(records)?;
    let known = known(bench, registrations);
    let pair = Pair::behind(folder.path(), Between::Nothing, known, visits).await?;
    let link = Link::of(&pair.child).context("failed to find the child's link")?;
    let markers = pair.child.read(|store| store.marker_list()).await?;
    let live = |marker: &&store::Marker| marker.name == COHORT && marker.lane == Lane::Live;
    let marker = markers.iter().find(live).context("failed to find the child's marker")?;
    let mut read = Reading { after: marker.position, ..Reading::default() };
    let started = Instant::now();
    while !read.over {
        let path =
            format!("/sync/feeds/{COHORT}/changes?after={}&epoch={}", read.after, marker.epoch);
        read.answer(&pair, &link, &path).await?;
    }
    let seconds = started.elapsed().as_secs_f64();
    let settings = json!({
        "data": bench.data.name(), "resources": records, "lines": read.lines,
        "wire_bytes": read.wire, "raw_bytes": read.raw, "seconds": seconds,
    });
    let rate = records as f64 / seconds;
    bench.tell(&Figure::new("stream_rate", rate, "resources/s", settings));
    Ok(())
}

/// What was read of a stream.
#[derive(Default)]
pub(super) struct Reading {
    after: u64,
    lines: u64,
    pub(super) wire: u64,
    pub(super) raw: u64,
    over: bool,
}

impl Reading {
    /// Reads one answer to its end.
    pub(super) async fn answer(
        &mut self,
        pair: &Pair,
        link: &Link,
        path: &str,
    ) -> anyhow::Result<()> {
        let mut response = link.get_lines(&pair.child, path).await?;
        if !response.status.is_success() {
            bail!("failed to read the stream: {}", response.status);
        }
        let mut decoder = link.decoder(&response, ANSWER_BYTES)?;
        let mut lines = Lines::new(ANSWER_BYTES as usize);
        let mut last = Vec::new();
        while let Some(bytes) = response.body.next().await {
            let bytes = bytes?;
            self.wire += bytes.len() as u64;
            lines.push(&decoder.push(&bytes)?);
            while let Some(line) = lines.next_line()? {
                (self.lines, self.raw) = (self.lines + 1, self.raw + line.len() as u64);
                last = line;
            }
        }
        lines.push(&decoder.finish()?);
        while let Some(line) = lines.next_line()? {
            last = line;
        }
        match stream::read_line(&last, &pair.child.config().limits)? {
            StreamLine::End { end, more } => (self.after, self.over) = (end, !more),
            _ => bail!("failed to read the stream: it was cut short"),
        }
        Ok(())
    }
}
