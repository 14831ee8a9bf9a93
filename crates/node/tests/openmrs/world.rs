//! What the tests have in common: an adapter beside a stand-in, and small records.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use node::config::{EmrConfig, EmrKind};
use node::emr::openmrs::OpenMrs;
use node::fhir_server::Ways;
use node::ports::system::{OsEntropy, SystemClock};
use node::ports::{Clock, Emr as _, EmrError, EmrWrite, Shown};
use node::transport::http::HttpTransport;
use protocol::resource::Record;
use protocol::{Epoch, FeedId, Limits, RecordRef, Timestamp};
use serde_json::{Value, json};
use store::sqlite::SqliteStore;
use store::{NewSite, OpenOptions, SharedStore};

use crate::stand_in::{PASSWORD, StandIn, USER};

pub(crate) fn settings(stand_in: &StandIn) -> EmrConfig {
    EmrConfig {
        kind: EmrKind::Openmrs,
        url: Some(stand_in.url.clone()),
        user: Some(USER.to_owned()),
        secret_file: Some("secret".into()),
        ..EmrConfig::default()
    }
}

pub(crate) fn ways() -> Ways {
    Ways {
        transport: Arc::new(HttpTransport::new().unwrap()),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(OsEntropy),
        idle_seconds: 10,
    }
}

/// A clock that can be set ahead.
#[derive(Default)]
pub(crate) struct Ahead(pub(crate) AtomicI64);

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        SystemClock.now().plus_millis(self.0.load(Ordering::Relaxed))
    }
    fn sleep(&self, millis: u64) -> futures::future::BoxFuture<'static, ()> {
        SystemClock.sleep(millis)
    }
}

/// An adapter to which these records are known, as they are where a site has captured them.
pub(crate) fn adapter_knowing(config: &EmrConfig, records: &[&str]) -> OpenMrs {
    let store = store();
    let known = records.iter().map(|record| (name(record), name(record))).collect::<Vec<_>>();
    store.emr_name(&known).unwrap();
    OpenMrs::new(config, (Some(PASSWORD), None), store, ways(), &Limits::default()).unwrap()
}

pub(crate) fn adapter(config: &EmrConfig, database_secret: Option<&str>) -> OpenMrs {
    let secrets = (Some(PASSWORD), database_secret);
    OpenMrs::new(config, secrets, store(), ways(), &Limits::default()).unwrap()
}

/// The store of a site, in a folder that stays.
pub(crate) fn store() -> SharedStore {
    let new = NewSite {
        site: "clinic".parse().unwrap(),
        epoch: Epoch::from_random([1; 16]),
        reference: FeedId::from_random([2; 16]),
    };
    let options = OpenOptions {
        limits: Limits::default(),
        merge: Default::default(),
        urgent: Default::default(),
        cache_bytes: 4 << 20,
        readers: 2,
        wal_pages: OpenOptions::WAL_PAGES,
    };
    let path = tempfile::tempdir().unwrap().keep().join("tributary.db");
    Arc::new(SqliteStore::create(&path, &new, options, SystemClock.now()).unwrap())
}

pub(crate) fn name(text: &str) -> RecordRef {
    text.parse().unwrap()
}

pub(crate) fn record(value: &Value) -> Record {
    Record::parse(value.to_string().as_bytes(), &Limits::default()).unwrap()
}

/// Writes records as they are to be, each from what is shown of it now.
pub(crate) async fn write(emr: &OpenMrs, records: &[Value]) -> Vec<Result<Shown, EmrError>> {
    let mut writes = Vec::new();
    for value in records {
        let record = record(value);
        let image = match emr.read(&record.reference).await {
            // Of a type that is not offered nothing is known.
            Err(EmrError::Refused(why)) if why.contains("does not offer") => None,
            shown => Some(shown.unwrap()),
        };
        writes.push(EmrWrite { record: record.reference.clone(), wanted: Some(record), image });
    }
    emr.write(&writes).await
}

pub(crate) async fn delete(emr: &OpenMrs, records: &[&str]) -> Vec<Result<Shown, EmrError>> {
    let mut writes = Vec::new();
    for text in records {
        let record = name(text);
        let image = emr.read(&record).await.unwrap();
        writes.push(EmrWrite { record, wanted: None, image: Some(image) });
    }
    emr.write(&writes).await
}

/// The body that was shown.
pub(crate) fn body(shown: &Result<Shown, EmrError>) -> Value {
    let shown = shown.as_ref().unwrap_or_else(|error| panic!("{error}"));
    serde_json::from_str(shown.body().unwrap().body.as_ref().unwrap()).unwrap()
}

pub(crate) fn told(results: &[Result<Shown, EmrError>]) -> Vec<String> {
    let told = results.iter().map(|result| match result {
        Ok(Shown::Body(_)) => "there".to_owned(),
        Ok(Shown::Gone) => "gone".to_owned(),
        Ok(Shown::Replaced(winner)) => format!("replaced by {winner}"),
        Ok(Shown::Absent) => "absent".to_owned(),
        Err(EmrError::Away(error)) => format!("away: {error}"),
        Err(EmrError::Kept(why)) => format!("kept: {why}"),
        Err(EmrError::Refused(why)) => format!("refused: {why}"),
        Err(error) => error.to_string(),
    });
    told.collect()
}

pub(crate) fn location() -> Value {
    json!({ "resourceType": "Location", "id": "loc-1", "name": "Clinic", "status": "active" })
}

pub(crate) fn practitioner() -> Value {
    json!({ "resourceType": "Practitioner", "id": "prov-1", "identifier": [{ "value": "N-1" }],
        "name": [{ "family": "Were", "given": ["Otis"] }], "gender": "male" })
}

pub(crate) fn patient(id: &str) -> Value {
    json!({
        "resourceType": "Patient", "id": id, "gender": "female", "birthDate": "1990-02-03",
        "name": [{ "id": format!("{id}-name"), "given": ["Amina", "Wanjiru"], "family": "Otieno" }],
        "address": [{ "id": format!("{id}-address"), "city": "Kisumu", "country": "Kenya" }],
        "identifier": [{
            "id": format!("{id}-identifier"), "use": "official", "value": format!("{id}-8"),
            "type": { "text": "OpenMRS ID" },
            "extension": [{
                "url": "http://fhir.openmrs.org/ext/patient/identifier#location",
                "valueReference": { "reference": "Location/loc-1" },
            }],
        }],
        "maritalStatus": { "text": "married" },
    })
}

pub(crate) fn encounter(id: &str, patient: &str) -> Value {
    json!({
        "resourceType": "Encounter", "id": id, "status": "finished", "class": { "code": "AMB" },
        "subject": { "reference": format!("Patient/{patient}") },
        "type": [{ "coding": [{
            "system": "http://fhir.openmrs.org/code-system/encounter-type",
            "code": "enctype-consult",
        }] }],
        "period": { "start": "2026-03-01T09:00:00Z" },
        "location": [{ "location": { "reference": "Location/loc-1" } }],
        "participant": [{ "individual": { "reference": "Practitioner/prov-1" } }],
    })
}

pub(crate) fn visit(id: &str, patient: &str) -> Value {
    json!({
        "resourceType": "Encounter", "id": id, "status": "finished", "class": { "code": "AMB" },
        "meta": { "tag": [{
            "system": "http://fhir.openmrs.org/ext/encounter-tag", "code": "visit",
        }] },
        "subject": { "reference": format!("Patient/{patient}") },
        "type": [{ "coding": [{ "code": "visittype-clinic" }] }],
        "period": { "start": "2026-03-01T08:00:00Z" },
    })
}

pub(crate) fn ciel(code: &str) -> Value {
    let uuid = format!("{code}{}", "A".repeat(36 - code.len()));
    json!({ "coding": [{ "code": uuid }] })
}

pub(crate) fn weight(id: &str, patient: &str, encounter: &str, kilograms: f64) -> Value {
    json!({
        "resourceType": "Observation", "id": id, "status": "final", "code": ciel("5089"),
        "subject": { "reference": format!("Patient/{patient}") },
        "encounter": { "reference": format!("Encounter/{encounter}") },
        "effectiveDateTime": "2026-03-01T09:10:00Z", "valueQuantity": { "value": kilograms },
    })
}
