//! How long it takes to merge a record that two sites changed.

use std::hint::black_box;
use std::time::Instant;

use anyhow::bail;
use protocol::Digest;
use protocol::json::{self, DEPTH_MAX};
use protocol::reconcile::{Plan, Policies, Side, State, reconcile};
use protocol::resource::Record;
use serde_json::{Value, json};

use crate::bench::data;
use crate::bench::{Bench, Figure};

/// Records that are merged for the figures.
const RECORDS: usize = 2_000;
/// Times that each is merged and parsed; the fastest counts, the rest is the machine's.
const TIMES: usize = 5;

/// One record in three states.
struct Edited {
    base: String,
    parent: String,
    child: String,
}

/// Both sides change an element of their own, and both put an item into two lists: everything has
/// to be compared, items have to be told apart, and all is written anew.
fn edited(record: &Record) -> Option<Edited> {
    let base: Value = serde_json::from_str(record.body.as_deref()?).ok()?;
    let side = |element: &str, mark: &str| {
        let mut edited = base.clone();
        edited[element] = json!(mark);
        for (list, item) in [
            ("identifier", json!({"system": "http://example.org/bench", "value": mark})),
            ("extension", json!({"url": format!("http://example.org/{mark}"), "valueCode": mark})),
        ] {
            match &mut edited[list] {
                Value::Array(items) => items.push(item),
                other => *other = json!([item]),
            }
        }
        edited.to_string()
    };
    let (parent, child) = (side("language", "parent"), side("implicitRules", "child"));
    Some(Edited { base: base.to_string(), parent, child })
}

/// Microseconds to reconcile two states of a record that both sides changed, in the median over
/// records, and that over what it takes to parse the two.
pub(super) fn measure(bench: &Bench<'_>) -> anyhow::Result<()> {
    if !bench.wants("reconcile_micros") && !bench.wants("reconcile_per_parse") {
        return Ok(());
    }
    bench.say("merging records");
    let mut records = Vec::new();
    for number in 0.. {
        let patient = bench.data.patient(number)?;
        records.extend(data::all_of(&patient).filter_map(edited));
        if records.len() >= RECORDS {
            break;
        }
    }
    records.truncate(RECORDS);
    let mut merged = Vec::with_capacity(records.len());
    let mut shares = Vec::with_capacity(records.len());
    let mut bytes = 0;
    for record in &records {
        let (merge, parse) = (micros(|| merge(record))?, micros(|| parse(record))?);
        merged.push(merge);
        shares.push(merge / parse);
        bytes += record.base.len();
    }
    let settings = json!({
        "data": bench.data.name(),
        "records": records.len(),
        "bytes_per_record": bytes / records.len().max(1),
    });
    let micros = Figure::new("reconcile_micros", median(merged), "µs", settings.clone());
    bench.tell(&micros);
    bench.tell(&Figure::new("reconcile_per_parse", median(shares), "", settings));
    Ok(())
}

fn merge(record: &Edited) -> anyhow::Result<()> {
    // The store knows digests; that they differ is all that is asked of them here.
    let [base, parent, child] = [(0, &record.base), (1, &record.parent), (2, &record.child)]
        .map(|(mark, body)| State { digest: Digest([mark; 32]), body: Some(body), at: None });
    let policies = Policies::default();
    match reconcile(Some(base), Some(parent), child, Side::Child, &policies)? {
        Plan::Merged { body } => drop(black_box(body)),
        plan => bail!("failed to measure merges: {plan:?} instead of a merge"),
    }
    Ok(())
}

fn parse(record: &Edited) -> anyhow::Result<()> {
    for body in [&record.parent, &record.child] {
        drop(black_box(json::parse(body.as_bytes(), DEPTH_MAX)?));
    }
    Ok(())
}

/// Microseconds that `work` takes, the fastest of some times.
fn micros(work: impl Fn() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let mut fastest = f64::INFINITY;
    for _ in 0..TIMES {
        let started = Instant::now();
        work()?;
        fastest = fastest.min(started.elapsed().as_secs_f64() * 1e6);
    }
    Ok(fastest)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
