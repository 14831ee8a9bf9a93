//! Messages that third parties carry: how long a lease takes with much in the outbox, and how long
//! a parent takes to answer for a message.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use bytes::Bytes;
use futures::StreamExt as _;
use protocol::message::{self, Envelope, Urls};
use protocol::resource::Record;
use serde_json::json;
use store::{LeaseAsk, Leased};

use crate::bench::pair::{self, Between, Pair};
use crate::bench::{Bench, Figure};
use crate::http::auth::credential_hash;
use crate::ports::{Request, Transport as _};
use crate::site::Site;
use crate::transport::http::HttpTransport;

/// Changes of each patient in the outbox.
const OF_EACH: u64 = 4;
/// Messages of one lease.
const MESSAGES: usize = 50;
/// Leases that are measured before and after.
const TIMES: usize = 20;
/// Leases between, whose messages stay away.
const AWAY: usize = 200;
/// Milliseconds of a lease: as long as it may be.
const LEASE: i64 = 600_000;
/// Messages a second that are posted, and for how many seconds.
const RATE: u64 = 200;
const SECONDS: u64 = 10;

/// One change: an observation of its own.
fn change(number: u64, limits: &protocol::Limits) -> anyhow::Result<Vec<Record>> {
    let patient = number / OF_EACH;
    let text = format!(
        "{{\"resourceType\":\"Observation\",\"id\":\"o{number}\",\"status\":\"final\",\"code\":\
         {{\"coding\":[{{\"system\":\"http://loinc.org\",\"code\":\"29463-7\"}}]}},\"subject\":\
         {{\"reference\":\"Patient/p{patient}\"}},\"valueQuantity\":{{\"value\":{}.5,\"unit\":\
         \"kg\"}}}}",
        40 + number % 60
    );
    Ok(vec![Record::parse(text.as_bytes(), limits)?])
}

fn lease(site: &Site, number: usize, max: usize) -> anyhow::Result<Vec<Leased>> {
    let now = site.now();
    let ask = LeaseAsk {
        carrier: "bench".to_owned(),
        max,
        bytes: site.config().limits.stream_bytes,
        lanes: protocol::Urgency::ALL.to_vec(),
        until: now.plus_millis(LEASE),
        lease: format!("lease-{number}"),
        is_anew: false,
    };
    Ok(site.store().outbox_lease(&ask, now)?)
}

/// The messages as they are given out.
fn texts(site: &Site, leased: &[Leased]) -> anyhow::Result<Vec<String>> {
    let info = site.store().site()?;
    let hash = credential_hash(site.credential().context("failed to measure: no credential")?);
    let to = site.config().parent.as_ref().context("failed to measure: there is no parent")?;
    let write = |one: &Leased| {
        let envelope = Envelope {
            from: info.site.clone(),
            epoch: info.epoch,
            to: to.site.clone(),
            attempt: one.attempt,
            at: site.now(),
        };
        let urls = Urls { base: &site.config().public_url, target: &to.url };
        message::write_proved(&one.line, &envelope, urls, &hash)
            .context("failed to write a message")
    };
    leased.iter().map(write).collect()
}

/// A lease, with its messages written, while very much waits and while much is away.
pub(super) async fn leases(bench: &Bench<'_>) -> anyhow::Result<()> {
    if !bench.wants("lease_million_ms") {
        return Ok(());
    }
    let folder = bench.folder()?;
    let pair = Pair::make(folder.path(), Between::Nothing).await?;
    let (many, limits) = (bench.options.many as u64, pair.child.config().limits.clone());
    let changes = (0..many).map(|number| {
        if number.is_multiple_of(10_000) {
            bench.say(&format!("filling an outbox: {number} of {many}"));
        }
        change(number, &limits)
    });
    tokio::task::block_in_place(|| pair::load_all(pair.child.store(), changes))?;
    let mut millis = Vec::new();
    for number in 0..TIMES + AWAY + TIMES {
        let begun = Instant::now();
        let leased = lease(&pair.child, number, MESSAGES)?;
        let written = texts(&pair.child, &leased)?;
        ensure!(written.len() == MESSAGES, "failed to measure: {} were leased", written.len());
        if !(TIMES..TIMES + AWAY).contains(&number) {
            millis.push(begun.elapsed().as_secs_f64() * 1_000.0);
        }
    }
    let median = |some: &[f64]| {
        let mut sorted = some.to_vec();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    };
    let (before, after) = (median(&millis[..TIMES]), median(&millis[TIMES..]));
    let settings = json!({
        "changes": many, "of_each_patient": OF_EACH, "messages": MESSAGES,
        "first_ms": before, "with_away": (TIMES + AWAY) * MESSAGES, "with_away_ms": after,
        "slowest_ms": millis.iter().copied().fold(0.0, f64::max),
    });
    bench.tell(&Figure::new("lease_million_ms", before.max(after), "ms", settings));
    Ok(())
}

/// A parent that is posted messages at a steady rate.
pub(super) async fn answers(bench: &Bench<'_>) -> anyhow::Result<()> {
    if !bench.wants("message_p99_ms") {
        return Ok(());
    }
    bench.say("posting messages");
    let folder = bench.folder()?;
    let pair = Pair::make(folder.path(), Between::Nothing).await?;
    let limits = pair.child.config().limits.clone();
    let changes: anyhow::Result<_> =
        (0..RATE * SECONDS * OF_EACH).map(|number| change(number, &limits)).collect();
    pair::load(&pair.child, changes?).await?;
    let mut posts = Vec::new();
    while posts.len() < usize::try_from(RATE * SECONDS)? {
        let leased = lease(&pair.child, posts.len(), MESSAGES)?;
        ensure!(!leased.is_empty(), "failed to measure: the outbox is empty");
        posts.extend(texts(&pair.child, &leased)?);
    }
    let count = posts.len();
    let mut millis = post_all(&pair, posts).await?;
    millis.sort_by(f64::total_cmp);
    let records = pair::records(&pair.parent).await?;
    ensure!(
        records == RATE * SECONDS * OF_EACH,
        "failed to measure: the parent holds {records} records"
    );
    let at = |share: f64| millis[((count as f64 * share) as usize).min(count - 1)];
    let settings = json!({
        "messages": count, "records_each": OF_EACH, "a_second": RATE,
        "median_ms": at(0.5), "slowest_ms": at(1.0),
    });
    bench.tell(&Figure::new("message_p99_ms", at(0.99), "ms", settings));
    Ok(())
}

/// Each at its time, whatever became of those before; gives how long each answer took.
async fn post_all(pair: &Pair, posts: Vec<String>) -> anyhow::Result<Vec<f64>> {
    let transport = Arc::new(HttpTransport::new().map_err(anyhow::Error::msg)?);
    let credential = pair.child.credential().context("failed to measure: no credential")?;
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, HeaderValue::try_from(format!("Bearer {credential}"))?);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/fhir+json"));
    let url = format!("http://{}/fhir/$process-message", pair.parent.config().listen);
    let mut tick = tokio::time::interval(Duration::from_millis(1_000 / RATE));
    let mut running = Vec::with_capacity(posts.len());
    for text in posts {
        tick.tick().await;
        let request = Request {
            method: Method::POST,
            url: url.clone(),
            headers: headers.clone(),
            body: Bytes::from(text),
            idle_seconds: 30,
        };
        let transport = transport.clone();
        running.push(tokio::spawn(async move {
            let begun = Instant::now();
            let mut answer = transport.send(request).await?;
            while let Some(part) = answer.body.next().await {
                part?;
            }
            if answer.status != StatusCode::OK {
                bail!("failed to measure: the parent answered {}", answer.status);
            }
            Ok(begun.elapsed().as_secs_f64() * 1_000.0)
        }));
    }
    let mut millis = Vec::with_capacity(running.len());
    for one in running {
        millis.push(one.await.context("failed to measure: a task broke off")??);
    }
    Ok(millis)
}
