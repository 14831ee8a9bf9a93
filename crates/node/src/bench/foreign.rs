//! A backlog on its way to a FHIR server of another make: how many records go with one request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, StatusCode, header};
use axum::response::IntoResponse;
use protocol::FeedId;
use serde::Deserialize;
use serde_json::json;
use store::LeavePolicy;
use tokio_util::sync::CancellationToken;

use crate::bench::pair;
use crate::bench::{Bench, Figure};
use crate::config::{Config, FhirParent, Parent, Up};
use crate::jobs::foreign::{Foreign, run_round};
use crate::server;

/// Changes of the backlog, a record each, and the patients they are of.
const CHANGES: usize = 10_000;
const PATIENTS: u64 = 1_000;

/// What a server was asked, which takes every transaction.
#[derive(Default)]
struct Taker {
    requests: AtomicU64,
    entries: AtomicU64,
}

#[derive(Deserialize)]
struct Sent {
    entry: Vec<serde::de::IgnoredAny>,
}

async fn take(State(taker): State<Arc<Taker>>, method: Method, body: Bytes) -> impl IntoResponse {
    taker.requests.fetch_add(1, Ordering::Relaxed);
    let answer = if method == Method::GET {
        json!({
            "resourceType": "CapabilityStatement", "fhirVersion": "4.0.1",
            "rest": [{"mode": "server", "interaction": [{"code": "transaction"}]}],
        })
    } else {
        let sent = serde_json::from_slice::<Sent>(&body).map_or(0, |sent| sent.entry.len());
        taker.entries.fetch_add(sent as u64, Ordering::Relaxed);
        let entries = vec![json!({"response": {"status": "200"}}); sent];
        json!({"resourceType": "Bundle", "type": "transaction-response", "entry": entries})
    };
    (StatusCode::OK, [(header::CONTENT_TYPE, "application/fhir+json")], answer.to_string())
}

/// A backlog of 10,000 changes, a record each, to a server on loopback.
pub(super) async fn backlog(bench: &Bench<'_>) -> anyhow::Result<()> {
    if !bench.wants("foreign_records_per_request") && !bench.wants("foreign_rate") {
        return Ok(());
    }
    bench.say("sending a backlog to a FHIR server");
    let folder = bench.folder()?;
    let (taker, stop) = (Arc::new(Taker::default()), CancellationToken::new());
    let listener = server::bind(([127, 0, 0, 1], 0).into()).await?;
    let address = listener.local_addr().context("failed to learn the address")?;
    let router = Router::new()
        .fallback(take)
        .layer(axum::extract::DefaultBodyLimit::disable())
        .with_state(taker.clone());
    let serving = tokio::spawn(server::run(listener, router, stop.clone()));
    let dir = folder.path().join("child");
    let child = pair::make(&dir, "child", ([127, 0, 0, 1], 9).into())?;
    let feed = FeedId::from_random(child.entropy().uuid_bytes());
    child.store().parent_set(child.now(), &feed)?;
    pair::load(&child, bench.data.single(CHANGES, PATIENTS, 0)?).await?;
    drop(child);
    let mut config = Config::load(&dir)?;
    config.parent = Some(Parent {
        url: format!("http://{address}/fhir"),
        site: "registry".parse()?,
        leave: LeavePolicy::Keep,
        up: Up::Fhir,
        fhir: FhirParent::default(),
    });
    config.save(&dir)?;
    let child = pair::open(&dir)?;
    let records = pair::records(&child).await?;
    let foreign = Foreign::of(&child).context("failed to find the way to the server")??;
    let begun = Instant::now();
    let moved = run_round(&child, &foreign).await?;
    let seconds = begun.elapsed().as_secs_f64();
    stop.cancel();
    serving.await.context("failed to stop the server")?;
    let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let (requests, entries) = (count(&taker.requests), count(&taker.entries));
    ensure!(entries == records, "failed to measure: {entries} of {records} records came");
    let settings = json!({
        "data": bench.data.name(), "changes": moved.sent, "records": records,
        "requests": requests, "seconds": seconds,
    });
    let per = records as f64 / requests as f64;
    bench.tell(&Figure::new("foreign_records_per_request", per, "records", settings.clone()));
    let rate = records as f64 / seconds;
    bench.tell(&Figure::new("foreign_rate", rate, "records/s", settings));
    Ok(())
}
