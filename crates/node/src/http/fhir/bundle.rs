//! Bundles that are posted to the base: a transaction is one change, all or nothing; a batch is
//! one change an entry, each for itself.

mod entry;
mod references;
mod transaction;

use axum::http::StatusCode;
use protocol::json::{self, Json};
use serde_json::{Value, json};

use self::entry::Entry;
use super::answer::{Answer, BundleText, all_well};
use super::conditions::{Prefer, Return, etag};
use super::write::limits;
use super::{Call, perform};
use crate::http::error::Failure;

/// `POST` of a Bundle to the base.
pub(super) async fn process(call: &Call<'_>) -> Result<Answer, Failure> {
    let bundle = json::parse(&call.resource, limits(call.site).json_depth)?;
    if bundle.str_at("resourceType").as_deref() != Some("Bundle") {
        return Err(Failure::bad_request(
            "only a Bundle can be posted to the base; other resources go to their type's URL",
        ));
    }
    let items = match bundle.get("entry") {
        None => &[],
        Some(entries) => entries
            .as_array()
            .ok_or_else(|| Failure::bad_request("Bundle.entry is not an array"))?,
    };
    match bundle.str_at("type").as_deref() {
        Some("transaction") => transaction(call, items).await,
        Some("batch") => batch(call, items).await,
        _ => Err(Failure::bad_request(
            "Bundle.type must be transaction or batch to be processed; a Bundle of another type \
             is stored as a record by POST Bundle or PUT Bundle/id",
        )),
    }
}

async fn transaction(call: &Call<'_>, items: &[Json<'_>]) -> Result<Answer, Failure> {
    let mut entries = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let entry = Entry::of(call, item).map_err(|failure| at(index, failure))?;
        super::check_writer(call.site, call.caller, &entry.method, &entry.asked).await?;
        entries.push((index, entry));
    }
    let mut replies = vec![None; entries.len()];
    for (index, reply) in transaction::write(call, &entries).await? {
        replies[index] = Some(reply);
    }
    for (index, entry) in &entries {
        if replies[*index].is_none() {
            replies[*index] = Some(read(call, entry).await);
        }
    }
    Ok(respond(call, "transaction-response", replies.into_iter().flatten()))
}

async fn batch(call: &Call<'_>, items: &[Json<'_>]) -> Result<Answer, Failure> {
    let entries: Vec<_> =
        items.iter().enumerate().map(|(index, item)| (index, Entry::of(call, item))).collect();
    let mut order: Vec<usize> = (0..entries.len()).collect();
    order.sort_by_key(|index| entries[*index].1.as_ref().map_or(0, Entry::rank));
    let mut replies = vec![None; entries.len()];
    let seconds = limits(call.site).request_seconds;
    let until = call
        .site
        .now()
        .plus_millis(i64::try_from(seconds.saturating_mul(1_000)).unwrap_or(i64::MAX));
    for index in order {
        let reply = match &entries[index].1 {
            _ if call.site.now() >= until => Err(at(index, not_reached(seconds))),
            Ok(entry) => one_of_batch(call, index, entry).await,
            Err(failure) => Err(at(index, failure.clone())),
        };
        replies[index] = Some(reply.unwrap_or_else(|failure| Reply::failed(&failure)));
    }
    Ok(respond(call, "batch-response", replies.into_iter().flatten()))
}

/// A batch may be long, and somebody waits for its answer.
fn not_reached(seconds: u64) -> Failure {
    Failure::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "timeout",
        format!("not done within request_seconds = {seconds}; send this entry again"),
    )
}

/// A write in a batch is a transaction of one entry.
async fn one_of_batch(call: &Call<'_>, index: usize, entry: &Entry<'_>) -> Result<Reply, Failure> {
    if !entry.asked.interaction.writes() {
        return Ok(read(call, entry).await);
    }
    super::check_writer(call.site, call.caller, &entry.method, &entry.asked).await?;
    let alone = [(index, entry.clone())];
    let written = transaction::write(call, &alone).await?;
    written.into_iter().next().map(|(_, reply)| reply).ok_or_else(|| {
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "exception", "nothing was written")
    })
}

/// A read answers for itself: what was written stays written where a read finds nothing.
async fn read(call: &Call<'_>, entry: &Entry<'_>) -> Reply {
    let inner = Call {
        site: call.site,
        caller: call.caller,
        conditions: entry.conditions.clone(),
        prefer: Prefer { returns: None, ..call.prefer },
        query: entry.query.clone(),
        resource: bytes::Bytes::new(),
    };
    match Box::pin(perform(&inner, &entry.asked)).await {
        Ok(answer) => Reply {
            status: answer.status,
            location: None,
            version: answer.version,
            outcome: None,
            resource: answer.body,
        },
        Err(failure) => Reply::failed(&failure),
    }
}

/// One entry of the response.
#[derive(Debug, Clone)]
struct Reply {
    status: StatusCode,
    location: Option<String>,
    version: Option<(u64, protocol::Timestamp)>,
    outcome: Option<Value>,
    resource: Option<String>,
}

impl Reply {
    fn failed(failure: &Failure) -> Reply {
        Reply {
            status: failure.status,
            location: None,
            version: None,
            outcome: Some(failure.outcome_json()),
            resource: None,
        }
    }
    /// The answer to a write: the resource only where it was asked for.
    fn written(mut self, prefer: Prefer, said: &str, shown: Option<String>) -> Reply {
        match prefer.returns {
            Some(Return::Representation) => self.resource = shown,
            Some(Return::Outcome) => self.outcome = serde_json::from_str(&all_well(said)).ok(),
            Some(Return::Minimal) | None => {}
        }
        self
    }
    fn response(&self) -> Value {
        let mut response = json!({"status": self.status.to_string()});
        if let Some(location) = &self.location {
            response["location"] = location.as_str().into();
        }
        if let Some((version, recorded)) = self.version {
            response["etag"] = etag(version).into();
            response["lastModified"] = recorded.to_string().into();
        }
        if let Some(outcome) = &self.outcome {
            response["outcome"] = outcome.clone();
        }
        response
    }
}

fn respond(call: &Call<'_>, kind: &str, replies: impl Iterator<Item = Reply>) -> Answer {
    let mut bundle = BundleText::new(kind, call.site.now(), None);
    for reply in replies {
        bundle.entry(None, reply.resource.as_deref(), &[("response", reply.response())]);
    }
    Answer::of(bundle.finish())
}

/// The failure, and which entry it is about.
fn at(index: usize, failure: Failure) -> Failure {
    let detail = format!("Bundle.entry[{index}]: {}", failure.detail);
    Failure { detail, ..failure }
}
