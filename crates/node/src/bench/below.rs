//! A parent with many children: what it costs to ask them again and again while nothing happens,
//! and how many changes it takes in when all of them send.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::try_join_all;
use protocol::cohort::{Definition, LocationBy};
use protocol::delivery::Outcome;
use protocol::resource::Record;
use protocol::stream::{self, OutLine};
use protocol::{FeedId, SiteId};
use serde_json::json;
use store::{CohortDraft, LeavePolicy, TokenDraft, TokenScope};
use tokio_util::sync::CancellationToken;

use crate::bench::data::Changes;
use crate::bench::pair;
use crate::bench::process::Process;
use crate::bench::{Bench, Figure};
use crate::cli::open::write_secret;
use crate::config::{Config, FhirParent, Parent, SourceConfig, Up};
use crate::http;
use crate::http::auth::{EPOCH_HEADER, PROTOCOL_HEADER, SITE_HEADER, credential_hash};
use crate::http::sync::join::new_secret;
use crate::jobs::enrol;
use crate::jobs::link::Link;
use crate::jobs::round;
use crate::ports::Request;
use crate::server;
use crate::site::Site;
use crate::wire::{self, Coding};

/// Children that are read, how often, and for how many seconds that is measured: each is asked
/// three times.
const READ: usize = 650;
const EVERY: &str = "60s";
const MEASURED: u64 = 180;
/// Seconds in which each of them has to have been read for the first time.
const FIRST: u64 = 300;

/// Children that send, the changes of each, and how many go in one request.
const SENDERS: usize = 50;
const CHANGES: usize = 400;
const AT_ONCE: usize = 100;
/// Rounds in which a child has sent its patients.
const ROUNDS: usize = 4;

const PARENT: &str = "parent";

/// A site that answers until it is dropped.
struct Answering {
    site: Site,
    url: String,
    stop: CancellationToken,
}

impl Answering {
    async fn start(site: Site, listener: tokio::net::TcpListener) -> anyhow::Result<Answering> {
        let address = listener.local_addr().context("failed to learn the address")?;
        let stop = CancellationToken::new();
        tokio::spawn(server::run(listener, http::router(site.clone()), stop.clone()));
        Ok(Answering { site, url: format!("http://{address}"), stop })
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn local() -> std::net::SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

fn patient(id: &str, clinic: &str) -> String {
    format!(
        "{{\"resourceType\":\"Patient\",\"id\":\"{id}\",\"name\":[{{\"family\":\"Auma\"}}],\
         \"managingOrganization\":{{\"reference\":\"Organization/{clinic}\"}}}}"
    )
}

fn observation(patient: &str, value: usize) -> String {
    format!(
        "{{\"resourceType\":\"Observation\",\"id\":\"o-{patient}\",\"status\":\"final\",\"code\":\
         {{\"coding\":[{{\"system\":\"http://loinc.org\",\"code\":\"29463-7\"}}]}},\"subject\":\
         {{\"reference\":\"Patient/{patient}\"}},\"valueQuantity\":{{\"value\":{}.5,\"unit\":\
         \"kg\"}}}}",
        40 + value % 60
    )
}

fn one(text: &str, site: &Site) -> anyhow::Result<Vec<Record>> {
    Ok(vec![Record::parse(text.as_bytes(), &site.config().limits)?])
}

/// A parent that asks 650 children every minute, while nothing happens at any of them.
pub(super) async fn idle_sources(bench: &Bench<'_>) -> anyhow::Result<()> {
    if !bench.wants("sources_650_idle_cpu") {
        return Ok(());
    }
    let folder = bench.folder()?;
    let at = folder.path().join(PARENT);
    let parent = pair::make(&at, PARENT, local())?;
    let (mut sources, mut children) = (Vec::new(), Vec::new());
    for number in 0..READ {
        bench.say(&format!("making children: {number} of {READ}"));
        let child = read_child(&folder.path().join(format!("c{number}")), number).await?;
        let name = child.site.id().clone();
        let file = format!("{name}.token");
        write_secret(&at.join(&file), &token(&child.site)?)?;
        let source = SourceConfig::of_child(name, child.url.clone());
        sources.push(SourceConfig {
            token_file: Some(file.into()),
            every: Some(EVERY.to_owned()),
            ..source
        });
        children.push(child);
    }
    Config { sources, ..parent.config().clone() }.save(&at)?;
    let process = Process::start("serve", &at)?;
    until_all_are_read(bench, &parent).await?;
    let (began, cpu) = (parent.now(), process.cpu_seconds()?);
    for second in 0..MEASURED {
        bench.say(&format!("asking {READ} children: {second} of {MEASURED} s"));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let (cpu, ended) = (process.cpu_seconds()? - cpu, parent.now());
    let seconds = ended.since(began) as f64 / 1_000.0;
    for source in parent.store().source_list()? {
        let fresh = source.last_contact.is_some_and(|at| ended.since(at) < 75_000);
        let name = &source.name;
        ensure!(fresh, "failed to measure: {name} was not asked for the last 75 s");
    }
    let settings = json!({
        "children": children.len(), "every_seconds": 60, "cpu_seconds": cpu, "seconds": seconds,
        "micros_a_turn": cpu * 1e6 / (READ as f64 * seconds / 60.0),
        "megabytes": process.peak_megabytes(),
    });
    bench.tell(&Figure::new(
        "sources_650_idle_cpu",
        100.0 * cpu / seconds,
        "% of a core",
        settings,
    ));
    Ok(())
}

/// A child that its parent reads, which has a record and answers.
async fn read_child(folder: &Path, number: usize) -> anyhow::Result<Answering> {
    let listener = server::bind(local()).await?;
    let address = listener.local_addr().context("failed to learn the address")?;
    let made = pair::make(folder, &format!("c{number}"), address)?;
    let mut config = made.config().clone();
    config.parent = Some(Parent {
        url: String::new(),
        site: PARENT.parse()?,
        leave: LeavePolicy::Keep,
        up: Up::Read,
        fhir: FhirParent::default(),
    });
    config.save(folder)?;
    let site = pair::open(folder)?;
    site.store().parent_set(site.now(), &FeedId::from_random(site.entropy().uuid_bytes()))?;
    let changes = one(&patient(&format!("p{number}"), "none"), &site)?;
    pair::load(&site, vec![changes]).await?;
    Answering::start(site, listener).await
}

/// A new credential of a child for its parent.
fn token(child: &Site) -> anyhow::Result<String> {
    let secret = new_secret(child);
    let draft = TokenDraft {
        name: PARENT.to_owned(),
        scope: TokenScope::ReadOutgoing,
        children: Vec::new(),
        hash: credential_hash(&secret),
        expires: None,
    };
    child.store().token_add(&draft, child.now())?;
    Ok(secret)
}

async fn until_all_are_read(bench: &Bench<'_>, parent: &Site) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        let sources = parent.store().source_list()?;
        if let Some(error) = sources.iter().find_map(|source| source.last_error.as_ref()) {
            anyhow::bail!("failed to measure: a child could not be read: {error}");
        }
        let read = sources.iter().filter(|source| source.last_contact.is_some()).count();
        if read == READ {
            return Ok(());
        }
        ensure!(begun.elapsed().as_secs() < FIRST, "failed to read {READ} children in {FIRST} s");
        bench.say(&format!("reading children for the first time: {read} of {READ}"));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Changes that a parent takes from 50 children which send at the same time. What they send is
/// made beforehand; each then waits for the parent's word on each change.
pub(super) async fn senders(bench: &Bench<'_>) -> anyhow::Result<()> {
    if !bench.wants("push_rate_50") {
        return Ok(());
    }
    let folder = bench.folder()?;
    let listener = server::bind(local()).await?;
    let address = listener.local_addr().context("failed to learn the address")?;
    let parent = pair::make(&folder.path().join(PARENT), PARENT, address)?;
    let parent = Answering::start(parent, listener).await?;
    let mut children = Vec::new();
    for number in 0..SENDERS {
        bench.say(&format!("children register patients: {number} of {SENDERS}"));
        let at = folder.path().join(format!("c{number}"));
        children.push(sending_child(&at, number, &parent).await?);
    }
    let before = pair::records(&parent.site).await?;
    let mut requests = Vec::new();
    for child in &children {
        requests.push(requests_of(child, &parent.url).await?);
    }
    bench.say("children send");
    let began = Instant::now();
    let sent = children.iter().zip(requests).map(|(child, requests)| send(child, requests));
    let taken: usize = try_join_all(sent).await?.into_iter().sum();
    let seconds = began.elapsed().as_secs_f64();
    let records = pair::records(&parent.site).await? - before;
    ensure!(
        taken == SENDERS * CHANGES && records == taken as u64,
        "failed to measure: {taken} changes were taken and the parent has {records} records more"
    );
    let settings = json!({
        "children": SENDERS, "changes": taken, "changes_a_request": AT_ONCE, "seconds": seconds,
        "cohorts": SENDERS,
    });
    bench.tell(&Figure::new("push_rate_50", taken as f64 / seconds, "changes/s", settings));
    Ok(())
}

/// A child with a cohort of its own whose patients the parent has, and a change of each that it has
/// not.
async fn sending_child(folder: &Path, number: usize, parent: &Answering) -> anyhow::Result<Site> {
    let clinic = format!("c{number}");
    let place = format!("Organization/{clinic}").parse()?;
    let draft = CohortDraft {
        name: clinic.parse()?,
        feed: FeedId::from_random(parent.site.entropy().uuid_bytes()),
        title: None,
        definition: Definition::Location {
            places: [place].into(),
            by: [LocationBy::Managing].into(),
        },
        page_entries: parent.site.config().limits.page_entries,
    };
    let (cohort, now) = (draft.name.clone(), parent.site.now());
    parent.site.write(move |store| store.cohort_set(&draft, now)).await?;
    let made = pair::make(folder, &clinic, ([127, 0, 0, 1], 1).into())?;
    let id: SiteId = made.id().clone();
    let (code, _) = enrol::invite(&parent.site, &id, &[cohort])?;
    pair::join(&made, folder, &parent.url, &code).await?;
    drop(made);
    let child = pair::open(folder)?;
    let names = || (0..CHANGES).map(|patient| format!("p{number}-{patient}"));
    let patients: anyhow::Result<Changes> =
        names().map(|name| one(&patient(&name, &clinic), &child)).collect();
    pair::load(&child, patients?).await?;
    let link = Link::of(&child).context("failed to find the child's link")?;
    for _ in 0..ROUNDS {
        let round = round::run(&child, &link).await.map_err(anyhow::Error::from)?;
        ensure!(round.not_taken == 0, "failed to measure: the parent refused patients");
    }
    let changes: anyhow::Result<Changes> =
        names().enumerate().map(|(at, name)| one(&observation(&name, at), &child)).collect();
    pair::load(&child, changes?).await?;
    Ok(child)
}

/// What a child sends, request by request.
async fn requests_of(child: &Site, url: &str) -> anyhow::Result<Vec<Request>> {
    let now = child.now();
    let lines = child.read(move |store| store.delivery_next(now, usize::MAX)).await?;
    let lines: Vec<OutLine> = lines.into_iter().flat_map(|line| line.lines).collect();
    ensure!(lines.len() == CHANGES, "failed to measure: {} changes wait", lines.len());
    let credential = child.credential().context("failed to measure: no credential")?;
    let epoch = child.store().site()?.epoch;
    let text = |value: String| HeaderValue::try_from(value);
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, text(format!("Bearer {credential}"))?);
    headers.insert(HeaderName::from_static(PROTOCOL_HEADER), HeaderValue::from_static("1"));
    headers.insert(HeaderName::from_static(SITE_HEADER), text(child.id().to_string())?);
    headers.insert(HeaderName::from_static(EPOCH_HEADER), text(epoch.to_string())?);
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("dcz"));
    let request = |lines: &[OutLine]| {
        let mut text = String::new();
        lines.iter().for_each(|line| stream::write_line(&mut text, line));
        Ok(Request {
            method: Method::POST,
            url: format!("{url}/sync/changes"),
            headers: headers.clone(),
            body: wire::encode(Coding::Dcz, text.as_bytes())?,
            idle_seconds: 60,
        })
    };
    lines.chunks(AT_ONCE).map(request).collect()
}

/// Sends one after the other; gives how many changes the parent took.
async fn send(child: &Site, requests: Vec<Request>) -> anyhow::Result<usize> {
    let mut taken = 0;
    for request in requests {
        let mut answer = child.transport().send(request).await?;
        ensure!(answer.status == StatusCode::OK, "failed to send: it answered {}", answer.status);
        let mut text: Vec<Bytes> = Vec::new();
        while let Some(part) = answer.body.next().await {
            text.push(part?);
        }
        for line in text.concat().split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            taken += usize::from(stream::read_outcome(line)?.outcome == Outcome::Applied);
        }
    }
    Ok(taken)
}
