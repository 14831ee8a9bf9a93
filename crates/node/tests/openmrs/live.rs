//! The same tests against any OpenMRS: the stand-in, told apart by nothing but its address, and a
//! live one that `TRIBUTARY_OPENMRS_URL` names (`docs/openmrs.md` says how it is run).

use std::time::Duration;

use node::config::{EmrConfig, NoticeWay};
use node::emr::openmrs::OpenMrs;
use node::ports::system::OsEntropy;
use node::ports::{Emr as _, Entropy as _, Shown};
use protocol::Limits;
use serde_json::{Value, json};

use crate::stand_in::{PASSWORD, StandIn, USER};
use crate::world::{body, delete, name, store, told, ways, write};

/// Where an OpenMRS is, and its database where that may be read.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) url: String,
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) database: Option<(String, String)>,
}

impl Place {
    /// The stand-in, whose clock goes on by itself as that of a live one.
    pub(crate) fn of(stand_in: &StandIn, database: Option<(String, String)>) -> Place {
        let ticking = stand_in.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(300)).await;
                ticking.tick(1);
            }
        });
        let (user, password) = (USER.to_owned(), PASSWORD.to_owned());
        Place { url: stand_in.url.clone(), user, password, database }
    }

    /// The live one that the environment names.
    fn live() -> Option<Place> {
        let read = |name: &str| std::env::var(format!("TRIBUTARY_OPENMRS_{name}")).ok();
        let url = read("URL")?.trim_end_matches('/').to_owned();
        let user = read("USER").unwrap_or_else(|| "admin".to_owned());
        let password = read("PASSWORD").expect("TRIBUTARY_OPENMRS_PASSWORD is not set");
        // `mysql://user:password@host:3306/openmrs`
        let database = read("DB_URL").map(|url| {
            let mut apart = reqwest::Url::parse(&url).expect("TRIBUTARY_OPENMRS_DB_URL is no URL");
            let secret = apart.password().unwrap_or_default().to_owned();
            apart.set_password(None).unwrap();
            (apart.to_string(), secret)
        });
        Some(Place { url, user, password, database })
    }

    fn adapter(&self) -> OpenMrs {
        let mut config = EmrConfig {
            kind: node::config::EmrKind::Openmrs,
            url: Some(self.url.clone()),
            user: Some(self.user.clone()),
            secret_file: Some("secret".into()),
            ..EmrConfig::default()
        };
        config.openmrs.floor_seconds = 1;
        if let Some((url, _)) = &self.database {
            config.openmrs.notice = vec![NoticeWay::LastUpdated, NoticeWay::Binlog];
            config.openmrs.database = Some(url.clone());
        }
        let secret = self.database.as_ref().map(|(_, secret)| secret.as_str());
        let secrets = (Some(self.password.as_str()), secret);
        OpenMrs::new(&config, secrets, store(), ways(), &Limits::default()).unwrap()
    }

    /// Asks webservices.rest, as another program than Tributary.
    async fn rest(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client
            .request(method.parse().unwrap(), format!("{}/ws/rest/v1/{path}", self.url))
            .basic_auth(&self.user, Some(&self.password));
        let request = match body {
            Some(body) => request.header("content-type", "application/json").body(body.to_string()),
            None => request,
        };
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{method} {path}: {}", answer.status());
        serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default()
    }

    /// The first of its metadata of a kind that will do.
    async fn first(&self, kind: &str, good: impl Fn(&Value) -> bool) -> Value {
        let all = self.rest("GET", &format!("{kind}?v=full"), None).await;
        let all = all["results"].as_array().cloned().unwrap_or_default();
        let found = all.into_iter().find(|one| one["retired"] != json!(true) && good(one));
        found.unwrap_or_else(|| panic!("this OpenMRS has no {kind} that will do"))
    }
}

/// Records of one patient, under ids that nobody had.
struct Story {
    patient: Value,
    visit: Value,
    encounter: Value,
    weight: Value,
}

fn uuid() -> String {
    uuid::Builder::from_random_bytes(OsEntropy.uuid_bytes()).into_uuid().to_string()
}

/// The id of a record, and its name.
fn id_of(record: &Value) -> &str {
    record["id"].as_str().unwrap()
}

fn name_of(record: &Value) -> String {
    format!("{}/{}", record["resourceType"].as_str().unwrap(), id_of(record))
}

impl Story {
    async fn of(place: &Place, emr: &OpenMrs) -> Story {
        let clinic = json!({ "resourceType": "Location", "id": uuid(), "status": "active",
            "name": format!("Tributary's tests {}", uuid()) });
        assert_eq!(told(&write(emr, std::slice::from_ref(&clinic)).await), ["there"]);
        // An identifier that nothing checks: any text is one.
        let free = |one: &Value| one["validator"].is_null() && one["format"].is_null();
        let identifier = place.first("patientidentifiertype", free).await;
        let encounter_type = place.first("encountertype", |_| true).await;
        let visit_type = place.first("visittype", |_| true).await;
        let place = json!({ "reference": name_of(&clinic) });
        let patient = json!({
            "resourceType": "Patient", "id": uuid(), "gender": "female", "birthDate": "1990-02-03",
            "name": [{ "id": uuid(), "given": ["Amina"], "family": "Otieno" }],
            "address": [{ "id": uuid(), "city": "Kisumu", "country": "Kenya" }],
            "identifier": [{
                "id": uuid(), "use": "official", "value": format!("T{}", &uuid()[..13]),
                "type": { "text": identifier["display"] },
                "extension": [{
                    "url": "http://fhir.openmrs.org/ext/patient/identifier#location",
                    "valueReference": place,
                }],
            }],
        });
        let subject = json!({ "reference": name_of(&patient) });
        let visit = json!({
            "resourceType": "Encounter", "id": uuid(), "status": "finished",
            "class": { "code": "AMB" }, "subject": subject,
            "meta": { "tag": [{
                "system": "http://fhir.openmrs.org/ext/encounter-tag", "code": "visit",
            }] },
            "type": [{ "coding": [{ "code": visit_type["uuid"] }] }],
            "period": { "start": "2026-03-01T08:00:00Z" },
        });
        let encounter = json!({
            "resourceType": "Encounter", "id": uuid(), "status": "finished",
            "class": { "code": "AMB" }, "subject": subject,
            "type": [{ "coding": [{
                "system": "http://fhir.openmrs.org/code-system/encounter-type",
                "code": encounter_type["uuid"],
            }] }],
            "period": { "start": "2026-03-01T09:00:00Z" },
            "location": [{ "location": place }], "partOf": { "reference": name_of(&visit) },
        });
        let weight = json!({
            "resourceType": "Observation", "id": uuid(), "status": "final", "subject": subject,
            "code": { "coding": [{ "code": format!("5089{}", "A".repeat(32)) }] },
            "encounter": { "reference": name_of(&encounter) },
            "effectiveDateTime": "2026-03-01T09:10:00Z", "valueQuantity": { "value": 61.5 },
        });
        Story { patient, visit, encounter, weight }
    }

    async fn delete(&self, emr: &OpenMrs) {
        let all = [&self.weight, &self.encounter, &self.visit, &self.patient].map(name_of);
        let gone = delete(emr, &all.each_ref().map(String::as_str)).await;
        assert_eq!(told(&gone), ["gone"; 4]);
    }
}

/// What is written is shown as it is, under its own ids; an edit is, and a deletion.
pub(crate) async fn records_are_written_edited_and_deleted(place: &Place) {
    let emr = place.adapter();
    let capabilities = emr.capabilities().await.unwrap();
    assert_eq!(capabilities.product, "OpenMRS");
    let story = Story::of(place, &emr).await;
    let written = write(&emr, std::slice::from_ref(&story.patient)).await;
    let shown = body(&written[0]);
    for at in ["/id", "/name/0/family", "/name/0/id", "/address/0/city", "/identifier/0/value"] {
        assert_eq!(shown.pointer(at), story.patient.pointer(at), "defect 23: {at}");
    }
    let whole = [&story.visit, &story.encounter, &story.weight].map(Clone::clone);
    let written = write(&emr, &whole).await;
    assert_eq!(told(&written), ["there"; 3]);
    assert_eq!(body(&written[2])["valueQuantity"]["value"], 61.5);
    let mut edited = story.patient.clone();
    edited["address"][0]["city"] = json!("Siaya");
    let written = write(&emr, &[edited]).await;
    let shown = body(&written[0]);
    assert_eq!(shown["address"][0]["city"], "Siaya");
    assert_eq!(shown["name"][0]["family"], "Otieno", "what was not edited stays");
    story.delete(&emr).await;
    for record in [&story.patient, &story.encounter] {
        let shown = emr.read(&name(&name_of(record))).await.unwrap();
        assert!(matches!(shown, Shown::Gone | Shown::Absent), "{shown:?}");
    }
}

/// What somebody edits there is named, and then nothing is.
pub(crate) async fn what_is_edited_there_is_noticed(place: &Place) {
    let emr = place.adapter();
    let story = Story::of(place, &emr).await;
    let whole = [&story.patient, &story.visit, &story.encounter, &story.weight].map(Clone::clone);
    assert_eq!(told(&write(&emr, &whole).await), ["there"; 4]);
    let mut cursor = None;
    // Until all is read that was there, and all is named that is as new as our own.
    let mut quiet = 0;
    while quiet < 5 {
        let noticed = emr.changes_since(cursor.as_deref()).await.unwrap();
        cursor = Some(noticed.cursor);
        quiet = if noticed.more || !noticed.groups.is_empty() { 0 } else { quiet + 1 };
        if !noticed.more {
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
    }
    let edit = json!({ "encounterDatetime": "2026-03-01T09:05:00.000+0000" });
    place.rest("POST", &format!("encounter/{}", id_of(&story.encounter)), Some(edit)).await;
    let wanted = name(&name_of(&story.encounter));
    let mut named = false;
    for _ in 0..100 {
        let noticed = emr.changes_since(cursor.as_deref()).await.unwrap();
        cursor = Some(noticed.cursor);
        named |= noticed.groups.iter().flatten().any(|record| *record == wanted);
        if named {
            break;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert!(named, "an edit was not noticed");
    let shown = body(&emr.read(&wanted).await);
    assert_eq!(shown["period"]["start"].as_str().unwrap()[14..16], *"05", "{shown}");
    story.delete(&emr).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stand_in_passes_as_live() {
    let stand_in = StandIn::start().await;
    let place = Place::of(&stand_in, None);
    records_are_written_edited_and_deleted(&place).await;
    what_is_edited_there_is_noticed(&place).await;
}

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::print_stderr, reason = "a test that is left out says so")]
async fn a_live_openmrs_does_as_the_stand_in() {
    let Some(place) = Place::live() else {
        eprintln!("SKIPPED: TRIBUTARY_OPENMRS_URL is not set");
        return;
    };
    records_are_written_edited_and_deleted(&place).await;
    what_is_edited_there_is_noticed(&place).await;
}
