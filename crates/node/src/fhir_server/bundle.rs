//! Transaction Bundles: what is sent, and what became of each entry.

use axum::http::Method;
use protocol::RecordRef;
use reqwest::Url;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::outcome;
use super::{ANSWER_BYTES, Asked, FHIR_JSON, FhirError, FhirServer, Private, Read, no_page};
use crate::ports::{LinkError, Response as Reply};
use crate::transport::answer::text_within;

/// What is to be done with one record.
#[derive(Debug, Clone, Copy)]
pub enum Action<'a> {
    /// It is written under its own id.
    Put {
        /// Its name.
        record: &'a RecordRef,
        /// Its body.
        body: &'a str,
        /// The version that it must still be.
        if_match: Option<&'a str>,
    },
    /// It is deleted.
    Delete {
        /// Its name.
        record: &'a RecordRef,
    },
}

/// What became of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryAnswer {
    /// It is done; the version that the record has there now, where that is told.
    Done(Option<String>),
    /// It is not, and why.
    Refused(String),
}

/// The Bundle of some actions: no record may stand in it twice.
pub fn transaction<'a>(base: &Url, actions: impl IntoIterator<Item = Action<'a>>) -> String {
    let mut out = String::from("{\"resourceType\":\"Bundle\",\"type\":\"transaction\",\"entry\":[");
    for (at, action) in actions.into_iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        match action {
            Action::Put { record, body, if_match } => {
                out.push_str(&format!(
                    "{{\"fullUrl\":{},\"resource\":{body},\
                     \"request\":{{\"method\":\"PUT\",\"url\":\"{record}\"",
                    Value::from(format!("{base}{record}"))
                ));
                if let Some(version) = if_match {
                    let tag = Value::from(format!("W/\"{version}\""));
                    out.push_str(&format!(",\"ifMatch\":{tag}"));
                }
                out.push_str("}}");
            }
            Action::Delete { record } => out.push_str(&format!(
                "{{\"request\":{{\"method\":\"DELETE\",\"url\":\"{record}\"}}}}"
            )),
        }
    }
    out.push_str("]}");
    out
}

impl FhirServer {
    /// The whole body, as `body` gives it; `None` where it is longer.
    pub(super) async fn within(
        &self,
        response: Reply,
        most: u64,
    ) -> Result<Option<Vec<u8>>, LinkError> {
        self.in_time(text_within(response, most)).await?.map(no_page).transpose()
    }

    /// Records as they are there now, by one batch Bundle, in their order; `None` where it says
    /// something else of one, which is to be asked for by itself.
    pub async fn read_batch(&self, records: &[RecordRef]) -> Result<Vec<Option<Read>>, FhirError> {
        let bundle = reads(records);
        let more = [("content-type", FHIR_JSON)];
        let url = self.root();
        let response = self.ask(Method::POST, &url, FHIR_JSON, (bundle.into(), &more)).await?;
        if !response.status.is_success() {
            return Err(self.fault(response, &Private::default(), Asked::Bundle).await);
        }
        let body = self.within(response, ANSWER_BYTES).await?.ok_or_else(|| {
            FhirError::TooMuch(format!("what it answers is longer than {ANSWER_BYTES} bytes"))
        })?;
        Ok(read(&body, records.len())?)
    }
}

/// The Bundle that asks for these records.
fn reads(records: &[RecordRef]) -> String {
    let entries = records
        .iter()
        .map(|record| format!("{{\"request\":{{\"method\":\"GET\",\"url\":\"{record}\"}}}}"));
    let entries = entries.collect::<Vec<_>>().join(",");
    format!("{{\"resourceType\":\"Bundle\",\"type\":\"batch\",\"entry\":[{entries}]}}")
}

/// What it answers to that: so many records, in their order.
fn read(body: &[u8], records: usize) -> Result<Vec<Option<Read>>, LinkError> {
    let odd = |what: &str| LinkError(format!("what it answers to a batch {what}"));
    let answer: Answer = serde_json::from_slice(body).map_err(|_| odd("cannot be read"))?;
    if answer.kind != "Bundle" || answer.bundle != "batch-response" {
        return Err(odd("is no batch-response"));
    }
    if answer.entry.len() != records {
        let told = answer.entry.len();
        return Err(odd(&format!("tells of {told} entries, and {records} were asked for")));
    }
    Ok(answer.entry.into_iter().map(read_of).collect())
}

fn read_of(entry: Entry) -> Option<Read> {
    let response = entry.response?;
    match (status_of(&response)?, entry.resource) {
        (200, Some(body)) => {
            let version = version_of(&response).or_else(|| {
                let told: Versioned = serde_json::from_str(body.get()).ok()?;
                told.meta?.version
            });
            Some(Read::Body(body.get().as_bytes().to_vec(), version))
        }
        (404, _) => Some(Read::Absent),
        (410, _) => Some(Read::Gone),
        _ => None,
    }
}

#[derive(Deserialize)]
struct Versioned {
    meta: Option<Meta>,
}

#[derive(Deserialize)]
struct Meta {
    #[serde(rename = "versionId")]
    version: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "resourceType")]
    kind: String,
    #[serde(rename = "type", default)]
    bundle: String,
    #[serde(default)]
    entry: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    response: Option<Response>,
    resource: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Response {
    #[serde(default)]
    status: String,
    etag: Option<String>,
    outcome: Option<Box<RawValue>>,
}

/// What became of each entry, in their order; `deletes` says which of them delete. Refuses what
/// answers something else: then nothing is known of any of them.
pub(super) fn answers(
    body: &[u8],
    deletes: &[bool],
    private: &Private<'_>,
) -> Result<Vec<EntryAnswer>, LinkError> {
    let odd = |what: &str| LinkError(format!("what it answers to a transaction {what}"));
    let answer: Answer = serde_json::from_slice(body).map_err(|_| odd("cannot be read"))?;
    if answer.kind != "Bundle" || answer.bundle != "transaction-response" {
        return Err(odd("is no transaction-response"));
    }
    let entries = deletes.len();
    if answer.entry.len() != entries {
        let told = answer.entry.len();
        return Err(odd(&format!("tells of {told} entries, and {entries} were sent")));
    }
    let told = answer.entry.into_iter().zip(deletes).map(|(entry, deletes)| {
        let response = entry.response.ok_or_else(|| odd("does not tell of each entry"))?;
        Ok(of_entry(&response, *deletes, private))
    });
    told.collect()
}

fn status_of(response: &Response) -> Option<u16> {
    response.status.get(..3).and_then(|digits| digits.parse().ok())
}

fn version_of(response: &Response) -> Option<String> {
    let tag = response.etag.as_deref()?;
    let version = tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"');
    (!version.is_empty()).then(|| version.to_owned())
}

fn of_entry(response: &Response, deletes: bool, private: &Private<'_>) -> EntryAnswer {
    match status_of(response) {
        Some(200..300) => EntryAnswer::Done(version_of(response)),
        // What was to be deleted and is not there is deleted.
        Some(404 | 410) if deletes && response.outcome.is_none() => EntryAnswer::Done(None),
        status => {
            let told = response.outcome.as_ref();
            let told = told.and_then(|told| outcome::told(told.get().as_bytes(), private));
            let told = told.filter(|told| !told.is_empty());
            let told = told.map_or(String::new(), |told| format!(": {told}"));
            let status = status.unwrap_or_default();
            EntryAnswer::Refused(format!("the server refuses it ({status}){told}"))
        }
    }
}
