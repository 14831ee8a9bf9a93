//! OpenMRS beside a site: reads by its FHIR module (fhir2), writes by webservices.rest, which
//! keeps our ids. No write ever goes to its database.
//!
//! What is written is planned by pure functions (`plan.rs`, a file or a function a resource): they
//! give the fewest calls that lead from what OpenMRS shows to what is wanted, and ask for what they
//! have to know (`known.rs`). docs/openmrs.md has the table of elements against columns.

mod allergy;
mod binlog;
mod check;
mod condition;
pub mod element;
mod encounter;
pub mod known;
mod look;
mod merged;
mod notice;
mod observation;
mod order;
mod other;
mod patient;
mod person;
pub mod plan;
mod polling;
mod rest;
mod several;
pub mod shape;
#[cfg(test)]
mod tests;
mod versions;
mod write;

use std::collections::{BTreeMap, BTreeSet};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use protocol::resource::Record;
use protocol::{Limits, RecordRef, ResourceType};
use serde_json::Value;
use store::SharedStore;
use tokio::sync::Mutex;

use self::binlog::Binlog;
use self::element::{codings, items, text};
use self::known::Need;
use self::rest::{Rest, failed};
use crate::config::{EmrConfig, NoticeWay};
use crate::emr::ids::Ids;
use crate::fhir_server::{FhirError, FhirServer, Login, Read, Ways};
use crate::ports::{Capabilities, Emr, EmrError, EmrWrite, Noticed, Shown};

/// The path of its FHIR API.
const FHIR: &str = "/ws/fhir2/R4";
/// Concepts of an immunization's group and its members: what has them is no Observation of its
/// own.
const IMMUNIZATION: [&str; 7] = ["1421", "984", "1410", "1418", "1419", "1420", "165907"];

/// One OpenMRS.
pub struct OpenMrs {
    server: FhirServer,
    rest: Rest,
    ids: Ids,
    config: EmrConfig,
    map: BTreeMap<String, String>,
    limits: Limits,
    ways: Ways,
    url: String,
    binlog: Option<Binlog>,
    /// Metadata that was found: their uuids never change.
    found: Mutex<BTreeMap<Need, String>>,
    /// Types that its FHIR API has; `None` until it was asked.
    types: Mutex<Option<BTreeSet<String>>>,
    /// Types whose records are the same in a search as read by themselves.
    alike: Mutex<BTreeSet<ResourceType>>,
}

impl OpenMrs {
    /// As the settings say; the secrets are the passwords of its user, and of the user of its
    /// database.
    pub fn new(
        config: &EmrConfig,
        (secret, database_secret): (Option<&str>, Option<&str>),
        store: SharedStore,
        ways: Ways,
        limits: &Limits,
    ) -> anyhow::Result<OpenMrs> {
        let url = config.url.clone().unwrap_or_default();
        let url = url.trim_end_matches('/').to_owned();
        let login = match (&config.user, secret) {
            (Some(user), Some(password)) => Login::basic(user, password)?,
            _ => Login::none(),
        };
        let binlog = match (&config.openmrs.database, config.openmrs.has(NoticeWay::Binlog)) {
            (Some(database), true) => Some(Binlog::of(database, database_secret, &config.openmrs)?),
            _ => None,
        };
        Ok(OpenMrs {
            server: FhirServer::new(&format!("{url}{FHIR}"), login, ways.clone(), limits)?,
            rest: Rest::of(&url)?,
            ids: Ids::new(store),
            config: config.clone(),
            map: config.map.clone(),
            limits: limits.clone(),
            ways,
            url,
            binlog,
            found: Mutex::default(),
            types: Mutex::default(),
            alike: Mutex::default(),
        })
    }

    /// The connection to the database is encrypted, and its certificate one that this authority
    /// (certificates as PEM) vouches for.
    pub fn trusting(self, authority: &[u8]) -> OpenMrs {
        OpenMrs { binlog: self.binlog.map(|log| log.trusting(authority)), ..self }
    }

    /// Whether its FHIR API has a type.
    async fn has(&self, kind: &str) -> Result<bool, EmrError> {
        let mut types = self.types.lock().await;
        if types.is_none() {
            let capabilities = self.server.capabilities().await.map_err(failed)?;
            *types = Some(capabilities.types.keys().map(ToString::to_string).collect());
        }
        Ok(types.as_ref().is_some_and(|types| types.contains(kind)))
    }

    /// What came of reading a record. Where it is unclear whose fault a failure is, it is the
    /// record's only if OpenMRS answers otherwise: one that starts or whose database is down
    /// parks nothing.
    async fn blamed<T>(&self, read: Result<T, FhirError>) -> Result<T, EmrError> {
        match read {
            Err(error @ FhirError::Unclear(_)) => {
                let mut others = self.server.pages("Patient?_count=1")?;
                match others.next().await {
                    Ok(_) => Err(failed(error)),
                    Err(_) => Err(EmrError::away(error.to_string())),
                }
            }
            read => read.map_err(failed),
        }
    }

    /// A record as it is read for capture. That a type is not offered (any more, or not yet: a
    /// module that starts) says nothing of its records; it is asked anew the next time.
    async fn capture(&self, record: &RecordRef) -> Result<Shown, EmrError> {
        let kind = record.kind.name();
        if person::is_uuid(record.id()) && !self.has(kind).await? {
            *self.types.lock().await = None;
            return Err(EmrError::Refused(format!(
                "OpenMRS does not offer {kind}, so it is not known whether it is there: see \
                 whether its module fhir2 is started, and is 1.5 or newer"
            )));
        }
        let Some(there) = self.place_of(record).await? else { return Ok(Shown::Absent) };
        let shown = match self.shown_at(record, &there).await? {
            not_there @ (Shown::Absent | Shown::Gone) if there != *record => {
                self.shown_as_before(record, not_there).await?
            }
            shown => shown,
        };
        self.as_ours(shown).await
    }

    /// What its FHIR API answers for a record. That it is not there counts only in FHIR's own
    /// words: what stands before OpenMRS may answer 404 for everything while that restarts.
    async fn answer_for(&self, record: &RecordRef) -> Result<Read, EmrError> {
        let read = self.server.read_saying(record).await;
        let (read, said) = self.blamed(read).await?;
        match read != Read::Absent || is_said_absent(&said) {
            true => Ok(read),
            false => Err(EmrError::away(
                "it answered 404 for a record, and not as its module fhir2 does: is it starting, \
                 or does something before it answer?",
            )),
        }
    }

    /// A record as it is shown now; what is of a type that it has not is absent.
    async fn show(&self, record: &RecordRef) -> Result<Shown, EmrError> {
        if !person::is_uuid(record.id()) || !self.has(record.kind.name()).await? {
            return Ok(Shown::Absent);
        }
        match self.answer_for(record).await? {
            Read::Body(body, _) => self.shown(record, &body),
            Read::Gone => Ok(Shown::Gone),
            Read::Absent => Ok(Shown::Absent),
        }
    }

    /// A body as a record, without what fhir2 makes up itself.
    fn shown(&self, record: &RecordRef, body: &[u8]) -> Result<Shown, EmrError> {
        let odd = |why: &str| EmrError::Refused(format!("OpenMRS shows it so: {why}"));
        let parsed = Record::parse(body, &self.limits).map_err(|refusal| odd(&refusal.reason))?;
        if parsed.reference != *record {
            return Err(odd(&format!("{} came where it was asked for", parsed.reference)));
        }
        let text = parsed.body.as_deref().unwrap_or_default();
        let mut value: Value = serde_json::from_str(text).map_err(|_| odd("it is no JSON"))?;
        if record.kind.name() == "Observation" && is_of_immunization(&value) {
            return Ok(Shown::Absent);
        }
        if !made_up(&mut value) {
            return Ok(Shown::Body(Box::new(parsed)));
        }
        let text = value.to_string();
        let parsed = Record::parse(text.as_bytes(), &self.limits);
        parsed.map(|record| Shown::Body(Box::new(record))).map_err(|refusal| odd(&refusal.reason))
    }
}

/// Whether a body of a 404 says that a record is not there, and not that its type is unknown.
fn is_said_absent(body: &[u8]) -> bool {
    let body = serde_json::from_slice::<Value>(body).unwrap_or_default();
    let told = items(&body, "issue").iter().filter_map(|issue| text(issue, "/diagnostics"));
    let is_of_type = told.into_iter().any(|told| told.contains("Unknown resource type"));
    text(&body, "/resourceType") == Some("OperationOutcome") && !is_of_type
}

/// Whether an Observation is a part of an immunization, which is shown as one record already.
fn is_of_immunization(observation: &Value) -> bool {
    let codings = codings(&observation["code"]);
    codings.iter().any(|(system, code)| {
        let number = code.trim_end_matches('A');
        system.is_none() && code.len() == 36 && IMMUNIZATION.contains(&number)
    })
}

/// Takes away what fhir2 makes up at each read: the narrative, and older ones' contained
/// Provenance with ids of the moment.
fn made_up(value: &mut Value) -> bool {
    let Some(resource) = value.as_object_mut() else { return false };
    let mut changed = resource.remove("text").is_some();
    if let Some(Value::Array(contained)) = resource.get_mut("contained") {
        let before = contained.len();
        contained.retain(|one| text(one, "/resourceType") != Some("Provenance"));
        changed |= contained.len() != before;
    }
    if resource.get("contained").is_some() && items(value, "contained").is_empty() {
        value.as_object_mut().and_then(|resource| resource.remove("contained"));
    }
    changed
}

impl Emr for OpenMrs {
    fn capabilities(&self) -> BoxFuture<'_, Result<Capabilities, EmrError>> {
        self.look_at_it().boxed()
    }

    fn changes_since<'a>(
        &'a self,
        cursor: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Noticed, EmrError>> {
        self.notice(cursor).boxed()
    }

    fn read<'a>(&'a self, record: &'a RecordRef) -> BoxFuture<'a, Result<Shown, EmrError>> {
        self.capture(record).boxed()
    }

    fn several(&self) -> usize {
        several::SEVERAL
    }

    fn read_several<'a>(
        &'a self,
        records: &'a [RecordRef],
    ) -> BoxFuture<'a, Vec<Result<Shown, EmrError>>> {
        self.capture_several(records).boxed()
    }

    fn write<'a>(&'a self, writes: &'a [EmrWrite]) -> BoxFuture<'a, Vec<Result<Shown, EmrError>>> {
        self.write_ours(writes).boxed()
    }

    fn lacks<'a>(&'a self, records: &'a [Record]) -> BoxFuture<'a, Result<Vec<String>, EmrError>> {
        self.lacking(records).boxed()
    }
}
