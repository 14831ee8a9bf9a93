//! A program beside a site, which writes by the FHIR API and remembers what it was told.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use protocol::{RecordRef, ResourceType};
use serde_json::Value;
use store::{Scope, SearchOrder, SearchQuery};

use super::Shared;
use crate::chance::SeededEntropy;
use crate::oracle::Written;
use crate::place::{Place, Up};
use crate::records;
use crate::template::PROGRAM;
use tower::ServiceExt as _;

/// The most of an answer that a program reads.
const ANSWER: usize = 1 << 20;

/// What a program says of the state that it writes over.
#[derive(Clone, Copy)]
enum Over<'a> {
    /// Nothing.
    Any,
    /// That the record was never there.
    Nothing,
    /// That it is this version.
    Version(&'a str),
}

/// A program at one site.
pub(super) struct Program<'a> {
    pub(super) shared: &'a Shared,
    pub(super) place: &'a Place,
    pub(super) up: &'a Up,
    pub(super) chance: &'a SeededEntropy,
}

impl Program<'_> {
    /// Sends a request to the site beside it; `None` where no answer came.
    async fn send(
        &self,
        method: Method,
        path: &str,
        over: Over<'_>,
        body: Option<&Value>,
    ) -> Option<(StatusCode, Option<String>, String)> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {PROGRAM}"));
        request = match over {
            Over::Any => request,
            Over::Nothing => request.header(header::IF_NONE_MATCH, "*"),
            Over::Version(version) => request.header(header::IF_MATCH, version),
        };
        let body = match body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/fhir+json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        let request = request.body(body).ok()?;
        let answer = self.up.router.clone().oneshot(request).await.ok()?;
        let etag = answer.headers().get(header::ETAG);
        let etag = etag.and_then(|etag| etag.to_str().ok()).map(str::to_owned);
        let status = answer.status();
        let bytes = axum::body::to_bytes(answer.into_body(), ANSWER).await.ok()?;
        Some((status, etag, String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Reads a record: its version and its body.
    async fn read(&self, record: &RecordRef) -> Option<(String, Value)> {
        let (status, etag, text) =
            self.send(Method::GET, &format!("/fhir/{record}"), Over::Any, None).await?;
        if status != StatusCode::OK {
            return None;
        }
        Some((etag?, serde_json::from_str(&text).ok()?))
    }

    /// Writes a record whose state was `before`; `None`: deletes it.
    async fn write(
        &self,
        record: &RecordRef,
        over: Over<'_>,
        before: &Value,
        after: Option<&Value>,
    ) {
        let path = format!("/fhir/{record}");
        let number = self.shared.oracle().tried(self.written(record, before, after));
        let method = if after.is_some() { Method::PUT } else { Method::DELETE };
        let answer = self.send(method, &path, over, after).await;
        let Some((status, ..)) = answer else { return };
        self.told(number, status, record);
    }

    /// What the site answered to a write.
    fn told(&self, number: usize, status: StatusCode, record: &RecordRef) {
        if status.is_success() {
            self.shared.oracle().acknowledged(number);
            self.shared.log.count("writes", 1);
        } else {
            self.shared.log.count("writes refused", 1);
        }
        self.shared.note(&format!("{}: {record} {status}", self.place.id));
    }

    fn written(&self, record: &RecordRef, before: &Value, after: Option<&Value>) -> Written {
        let at = self.shared.time.now().millis();
        Written::of(record, self.place.index, at, (before, after))
    }

    /// A record of one of these types that is here.
    fn some_record(&self, kinds: &[&str]) -> Option<RecordRef> {
        let kind = kinds[self.chance.place(kinds.len())];
        let newest = self.chance.permille(600);
        let query = SearchQuery {
            kind: kind.parse::<ResourceType>().ok(),
            limit: if newest { 4 } else { 40 },
            order: SearchOrder::UpdatedDescending,
            ..SearchQuery::default()
        };
        let page = self.up.site.store().record_search(&query, &Scope::Everything).ok()?;
        let chosen = self.chance.place(page.records.len());
        page.records.into_iter().nth(chosen).map(|version| version.reference)
    }

    /// Registers a patient, with a visit, in one transaction.
    pub(super) async fn register(&self) -> Option<()> {
        let id = self.place.patient_id();
        let home = self.some_place();
        let mut fresh = || self.shared.oracle().fresh();
        let patient = records::patient(&id, &home, &mut fresh);
        let visit = format!("e-{}-{}", self.place.id, self.shared.number());
        let visit = records::of_patient("Encounter", &visit, &id, &home, &mut fresh);
        self.transaction(&[patient, visit]).await
    }

    /// Writes several new records in one change.
    async fn transaction(&self, resources: &[Value]) -> Option<()> {
        let mut numbers = Vec::new();
        let mut entries = Vec::new();
        for resource in resources {
            let record = reference_of(resource)?;
            let url = record.to_string();
            numbers.push((
                self.shared.oracle().tried(self.written(&record, &Value::Null, Some(resource))),
                record,
            ));
            entries.push(serde_json::json!({
                "resource": resource, "request": {"method": "PUT", "url": url},
            }));
        }
        let bundle = serde_json::json!({
            "resourceType": "Bundle", "type": "transaction", "entry": entries,
        });
        let (status, ..) = self.send(Method::POST, "/fhir", Over::Any, Some(&bundle)).await?;
        for (number, record) in numbers {
            self.told(number, status, &record);
        }
        Some(())
    }

    /// Makes a record of a patient who is here, with so many letters that mean nothing.
    pub(super) async fn make(&self, letters: usize) -> Option<()> {
        let patient = self.some_record(&["Patient"])?;
        let kind = records::MADE[self.chance.place(records::MADE.len())];
        let id = format!("r-{}-{}", self.place.id, self.shared.number());
        let mut fresh = || self.shared.oracle().fresh();
        let home = self.some_place();
        let mut body = records::of_patient(kind, &id, patient.id(), &home, &mut fresh);
        if letters > 0 {
            body["language"] = Value::from("x".repeat(letters));
        }
        self.write(&reference_of(&body)?, Over::Nothing, &Value::Null, Some(&body)).await;
        Some(())
    }

    /// Changes an element of a record that is here.
    pub(super) async fn edit(&self) -> Option<()> {
        let record = self.some_record(&records::EDITED)?;
        self.change(&record, |body, this| {
            records::edit(body, this.chance, &mut || this.shared.oracle().fresh());
        })
        .await
    }

    /// Reads a record, changes it, and writes it if nobody did meanwhile.
    async fn change(
        &self,
        record: &RecordRef,
        change: impl FnOnce(&mut Value, &Self),
    ) -> Option<()> {
        let (version, before) = self.read(record).await?;
        let mut after = before.clone();
        change(&mut after, self);
        if after != before {
            self.write(record, Over::Version(&version), &before, Some(&after)).await;
        }
        Some(())
    }

    /// Deletes a record that is here.
    pub(super) async fn delete(&self) -> Option<()> {
        let record = self.some_record(&["Observation", "Encounter", "AllergyIntolerance"])?;
        let (version, before) = self.read(&record).await?;
        self.write(&record, Over::Version(&version), &before, None).await;
        Some(())
    }

    /// Writes again what was deleted here.
    pub(super) async fn undelete(&self) -> Option<()> {
        let gone = {
            let oracle = self.shared.oracle();
            let of_ours = oracle.writes().iter().filter(|write| {
                write.site == self.place.index && write.brought.is_empty() && write.acknowledged
            });
            let records = of_ours.map(|write| write.record.clone()).collect::<Vec<_>>();
            records.get(self.chance.place(records.len())).cloned()?
        };
        if self.read(&gone).await.is_some() {
            return None;
        }
        let patient = self.some_record(&["Patient"])?;
        let mut fresh = || self.shared.oracle().fresh();
        let kind = gone.kind.name();
        let home = self.some_place();
        let body = records::of_patient(kind, gone.id(), patient.id(), &home, &mut fresh);
        self.write(&gone, Over::Nothing, &Value::Null, Some(&body)).await;
        Some(())
    }

    /// Sends a patient who is here to another site.
    pub(super) async fn transfer(&self) -> Option<()> {
        let record = self.some_record(&["Patient"])?;
        let home = self.some_place();
        self.change(&record, |body, _| {
            body["managingOrganization"] =
                serde_json::json!({"reference": format!("Organization/{home}")});
            if let Some(address) = body.pointer_mut("/address/0") {
                address["country"] = serde_json::json!(home);
            }
        })
        .await
    }

    /// Makes or changes a reference record.
    pub(super) async fn refer(&self) -> Option<()> {
        let kind = ["Location", "Practitioner"][self.chance.place(2)];
        if let Some(record) = self.some_record(&[kind]).filter(|_| self.chance.permille(700)) {
            return self
                .change(&record, |body, this| {
                    records::edit(body, this.chance, &mut || this.shared.oracle().fresh());
                })
                .await;
        }
        let id = format!("x-{}-{}", self.place.id, self.shared.number());
        let body = records::reference(kind, &id, &mut || self.shared.oracle().fresh());
        self.write(&reference_of(&body)?, Over::Nothing, &Value::Null, Some(&body)).await;
        Some(())
    }

    /// Gives the Group of a site other members.
    pub(super) async fn regroup(&self) -> Option<()> {
        let id = format!("g-{}", self.some_place());
        let record: RecordRef = format!("Group/{id}").parse().ok()?;
        let mut members = Vec::new();
        for _ in 0..self.chance.between(1, 4) {
            members.extend(self.some_record(&["Patient"]).map(|record| record.id().to_owned()));
        }
        members.sort();
        members.dedup();
        let mut fresh = || self.shared.oracle().fresh();
        let body = records::group(&id, &members, &mut fresh);
        let read = self.read(&record).await;
        let (over, before) = match &read {
            Some((version, before)) => (Over::Version(version), before),
            // Nobody writes the Group of another site who does not hold it.
            None if id != format!("g-{}", self.place.id) => return None,
            None => (Over::Nothing, &Value::Null),
        };
        self.write(&record, over, before, Some(&body)).await;
        Some(())
    }

    /// The name of some site: where a patient belongs.
    fn some_place(&self) -> String {
        if self.chance.permille(500) {
            return self.place.id.to_string();
        }
        self.shared.places[self.chance.place(self.shared.places.len())].id.to_string()
    }
}

pub(super) fn reference_of(resource: &Value) -> Option<RecordRef> {
    let (kind, id) = (resource.get("resourceType")?.as_str()?, resource.get("id")?.as_str()?);
    format!("{kind}/{id}").parse().ok()
}
