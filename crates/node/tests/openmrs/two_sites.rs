//! A clinic and a centre, each beside an OpenMRS, through a week of work on both sides.

use std::path::Path;
use std::time::Duration;

use node::config::NoticeWay;
use node::jobs::emr::{Beside, begin};
use node::jobs::{apply, capture};
use node::site::Site;
use protocol::Limits;
use protocol::cohort::Definition;
use serde_json::{Value, json};

use crate::pair::{World, text};
use crate::stand_in::{PASSWORD, StandIn};
use crate::world::*;

/// Two sites, each beside a stand-in.
struct Pair {
    world: World,
    clinic: StandIn,
    centre: StandIn,
    notice: Vec<NoticeWay>,
    database: [Option<String>; 2],
}

fn beside(config: &mut node::config::Config, stand_in: &StandIn, pair: &Settings, folder: &Path) {
    let secret = folder.join("secret");
    std::fs::write(&secret, PASSWORD).unwrap();
    let database_secret = folder.join("database-secret");
    std::fs::write(&database_secret, "secret").unwrap();
    #[cfg(unix)]
    for file in [&secret, &database_secret] {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    config.emr = settings(stand_in);
    config.emr.secret_file = Some(secret);
    config.emr.records_per_second = 100_000;
    config.emr.openmrs.notice.clone_from(&pair.notice);
    config.emr.openmrs.floor_seconds = 1;
    config.emr.openmrs.database.clone_from(&pair.database);
    config.emr.openmrs.database_secret_file = Some(database_secret);
}

struct Settings {
    notice: Vec<NoticeWay>,
    database: Option<String>,
}

impl Pair {
    async fn new(
        clinic: StandIn,
        centre: StandIn,
        notice: Vec<NoticeWay>,
        database: [Option<String>; 2],
    ) -> Pair {
        let folder = tempfile::tempdir().unwrap();
        let of = |at: usize| Settings { notice: notice.clone(), database: database[at].clone() };
        let own = of(1);
        let mut world =
            World::centre_set(|config| beside(config, &centre, &own, folder.path())).await;
        world.add_clinic("clinic", Definition::All {}, Limits::default()).await;
        let site = &mut world.clinics[0];
        let mut config = site.site().config().clone();
        beside(&mut config, &clinic, &of(0), folder.path());
        let credential = site.site().credential().map(str::to_owned);
        site.restart(config, credential).await.unwrap();
        begin(world.centre.site()).unwrap();
        begin(world.clinics[0].site()).unwrap();
        let pair = Pair { world, clinic, centre, notice, database };
        pair.settle().await;
        pair
    }

    fn sites(&self) -> [&Site; 2] {
        [self.world.clinics[0].site(), self.world.centre.site()]
    }

    /// Until nothing moves any more, between all four.
    async fn settle(&self) {
        let mut quiet = 0;
        for _ in 0..60 {
            if self.notice.len() > 1 {
                tokio::time::sleep(Duration::from_millis(400)).await;
            }
            let state = |site: &Site| {
                let sequence = site.store().site().unwrap().sequence;
                let status = site.store().emr_status().unwrap().unwrap();
                (sequence, status.applied, status.due, status.retry, status.waits, status.hints)
            };
            let before = self.sites().map(state);
            for site in self.sites() {
                let beside = Beside::of(site).unwrap();
                while capture::step(site, &beside).await.unwrap() {}
                while apply::step(site, &beside).await.unwrap() {}
            }
            self.world.settle().await;
            let same = self.sites().map(state) == before;
            quiet = if same { quiet + 1 } else { 0 };
            if quiet == 4 {
                return;
            }
        }
        panic!("the four do not come to rest");
    }

    /// Both stand-ins show the same of these.
    fn assert_same(&self, records: &[&str]) {
        for record in records {
            let (kind, id) = record.split_once('/').unwrap();
            let bare = |shown: Option<Value>| {
                shown.map(|mut shown| {
                    shown["meta"] = Value::Null;
                    shown["issued"] = Value::Null;
                    shown
                })
            };
            let (here, there) = (self.clinic.shown(kind, id), self.centre.shown(kind, id));
            assert_eq!(bare(here), bare(there), "{record}");
        }
    }

    fn tick(&self) {
        self.clinic.tick(3);
        self.centre.tick(3);
    }
}

/// A patient as a registration desk makes one.
fn registered(id: &str) -> Value {
    json!({
        "uuid": id,
        "person": {
            "gender": "F", "birthdate": "1990-02-03",
            "names": [{ "uuid": format!("{id}-n"), "givenName": "Amina", "familyName": "Otieno" }],
            "addresses": [{ "uuid": format!("{id}-a"), "cityVillage": "Kisumu" }],
        },
        "identifiers": [{
            "uuid": format!("{id}-i"), "identifier": format!("{id}-8"),
            "identifierType": "idtype-openmrs", "location": "loc-1", "preferred": true,
        }],
    })
}

/// An encounter with an observation, as a nurse makes one.
fn seen(id: &str, patient: &str, kilograms: f64) -> Value {
    let weight = format!("5089{}", "A".repeat(32));
    json!({
        "uuid": id, "patient": patient, "encounterType": "enctype-consult", "location": "loc-1",
        "encounterDatetime": "2026-03-01T09:00:00.000+0000",
        "obs": [{
            "uuid": format!("{id}-o"), "concept": weight, "value": kilograms,
            "obsDatetime": "2026-03-01T09:05:00.000+0000", "status": "FINAL",
        }],
    })
}

/// A week of work on both sides; `all` where deletions and edits of names are noticed too.
async fn a_week(pair: &Pair, all: bool) {
    pair.clinic.edit("location", Some(json!({ "uuid": "loc-1", "name": "Clinic" })));
    pair.settle().await;
    let mut records = vec!["Location/loc-1".to_owned()];
    for day in 1..=7 {
        pair.tick();
        let (own, theirs) = (format!("c{day}"), format!("h{day}"));
        pair.clinic.edit("patient", Some(registered(&own)));
        pair.clinic.edit("encounter", Some(seen(&format!("{own}-e"), &own, 60.5)));
        pair.centre.edit("patient", Some(registered(&theirs)));
        for (kind, id) in [
            ("Patient", own.clone()),
            ("Patient", theirs.clone()),
            ("Encounter", format!("{own}-e")),
            ("Observation", format!("{own}-e-o")),
        ] {
            records.push(format!("{kind}/{id}"));
        }
        // The link is down every other day: both go on, and meet in the evening.
        let link = pair.world.clinics[0].switch();
        link.set(day % 2 == 0);
        if day > 1 {
            let yesterday = format!("person/c{}", day - 1);
            pair.clinic.edit(&yesterday, Some(json!({ "birthdate": "1991-01-01" })));
            pair.centre.edit(&yesterday, Some(json!({ "gender": "M" })));
        }
        link.set(true);
        pair.settle().await;
    }
    observations_are_edited(pair).await;
    if all {
        pair.tick();
        pair.centre.edit("person/c1/name/c1-n", Some(json!({ "familyName": "Akinyi" })));
        pair.clinic.edit("person/h1/address/h1-a", Some(json!({ "cityVillage": "Siaya" })));
        pair.clinic.edit("obs/c2-e-o", None);
        pair.settle().await;
        let shown = pair.clinic.shown("Patient", "c1").unwrap();
        assert_eq!(shown["name"][0]["family"], "Akinyi");
        assert!(pair.centre.shown("Observation", "c2-e-o").is_none());
        assert!(text(&pair.world.centre, "Observation/c2-e-o").is_none());
    }
    let shown = pair.centre.shown("Patient", "c3").unwrap();
    assert_eq!((&shown["birthDate"], &shown["gender"]), (&json!("1991-01-01"), &json!("male")));
    pair.assert_same(&records.iter().map(String::as_str).collect::<Vec<_>>());
    pair.world.assert_in_step().await;
    assert!(text(&pair.world.centre, "Patient/c7").is_some());
}

/// An observation is edited at the centre, at the clinic, and there again: OpenMRS gives each a new
/// uuid, and it stays one record.
async fn observations_are_edited(pair: &Pair) {
    let record = "Observation/c3-e-o";
    for (at, value) in [(&pair.centre, 71.5), (&pair.clinic, 72.5), (&pair.clinic, 73.5)] {
        pair.tick();
        at.edit(&format!("obs/{}", at.present("c3-e-o")), Some(json!({ "value": value })));
        pair.settle().await;
        for stand_in in [&pair.centre, &pair.clinic] {
            let shown = stand_in.shown("Observation", &stand_in.present("c3-e-o")).unwrap();
            assert_eq!(shown["valueQuantity"]["value"], json!(value));
        }
        for site in [&pair.world.centre, &pair.world.clinics[0]] {
            let body: Value = serde_json::from_str(&text(site, record).unwrap()).unwrap();
            assert_eq!(body["valueQuantity"]["value"], json!(value));
            let kind = Some("Observation".parse().unwrap());
            let query = store::SearchQuery { kind, limit: 100, ..Default::default() };
            let found = site.site().store().record_search(&query, &store::Scope::Everything);
            assert_eq!(found.unwrap().records.len(), 7, "no other record is made of it");
        }
    }
}

/// Two patients are merged in the clinic's OpenMRS, and then in the centre's too.
async fn patients_are_merged(pair: &Pair) {
    let body = |site: &node::demo::site::DemoSite, record: &str| -> Value {
        serde_json::from_str(&text(site, record).unwrap()).unwrap()
    };
    let agree = || {
        for site in [&pair.world.centre, &pair.world.clinics[0]] {
            let loser = body(site, "Patient/c5");
            let link = json!([{ "other": { "reference": "Patient/c6" }, "type": "replaced-by" }]);
            assert_eq!((&loser["link"], &loser["active"]), (&link, &json!(false)));
            assert_eq!(body(site, "Observation/c5-e-o")["subject"]["reference"], "Patient/c6");
            assert_eq!(body(site, "Encounter/c5-e")["subject"]["reference"], "Patient/c6");
            let found = site.site().store().site_check(&mut |_| {}).unwrap();
            assert_eq!(found, Vec::<String>::new());
        }
    };
    pair.tick();
    pair.clinic.merge("c6", "c5");
    pair.settle().await;
    agree();
    // The centre's OpenMRS has both, and one of them has the identifier: they are to be merged.
    let parked = |site: &Site| {
        let choice =
            store::EmrChoice { state: Some(store::EmrState::Parked), ..Default::default() };
        let found = site.store().emr_list(&choice, 10).unwrap();
        found
            .into_iter()
            .map(|one| (one.record.to_string(), one.reason.unwrap()))
            .collect::<Vec<_>>()
    };
    let [clinic, centre] = pair.sites();
    let told = parked(centre);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].0 == "Patient/c6" && told[0].1.contains("Merge the two"), "{told:?}");
    pair.tick();
    pair.centre.merge("c6", "c5");
    pair.settle().await;
    let (all, now) = (store::EmrChoice::default(), centre.now());
    centre.store().emr_act(&all, &store::EmrAction::Retry, "operator", now).unwrap();
    pair.settle().await;
    agree();
    assert_eq!((parked(clinic), parked(centre)), (Vec::new(), Vec::new()));
    for stand_in in [&pair.clinic, &pair.centre] {
        assert!(stand_in.shown("Patient", "c5").is_none(), "it is not brought back");
        let shown = stand_in.shown("Observation", &stand_in.present("c5-e-o")).unwrap();
        assert_eq!(shown["subject"]["reference"], "Patient/c6");
    }
}

/// What OpenMRS has no place for goes through both unharmed.
async fn what_it_cannot_hold(pair: &Pair) {
    pair.tick();
    let mut patient = patient("rich");
    patient["contact"] = json!([{ "name": { "text": "a neighbour" } }]);
    let flag = json!({ "resourceType": "Flag", "id": "flag-1", "status": "active",
        "code": { "text": "falls" }, "subject": { "reference": "Patient/rich" } });
    let own = [patient.to_string(), flag.to_string()];
    pair.world.centre.record("registrar", &own).await.unwrap();
    pair.settle().await;
    pair.tick();
    pair.clinic.edit("person/rich", Some(json!({ "birthdate": "1980-05-06" })));
    pair.settle().await;
    let body: Value =
        serde_json::from_str(&text(&pair.world.centre, "Patient/rich").unwrap()).unwrap();
    assert_eq!(body["birthDate"], "1980-05-06");
    assert_eq!(body["contact"], patient["contact"]);
    assert_eq!(body["maritalStatus"], patient["maritalStatus"]);
    assert!(text(&pair.world.clinics[0], "Flag/flag-1").is_some());
    assert!(pair.centre.shown("Patient", "rich").unwrap()["birthDate"] == "1980-05-06");
    for site in pair.sites() {
        let status = site.store().emr_status().unwrap().unwrap();
        assert_eq!((status.parked, status.retry, status.waits), (0, 0, 0), "{status:?}");
        assert!(status.kept > 0, "{status:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clinics_in_step_by_last_updated() {
    let notice = vec![NoticeWay::LastUpdated];
    let (clinic, centre) = (StandIn::start().await, StandIn::start().await);
    let pair = Pair::new(clinic, centre, notice, [None, None]).await;
    a_week(&pair, false).await;
    what_it_cannot_hold(&pair).await;
    assert_eq!(pair.database, [None, None]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clinics_in_step_by_the_atomfeed_module() {
    let notice = vec![NoticeWay::LastUpdated, NoticeWay::Atomfeed];
    let (clinic, centre) = (StandIn::start().await, StandIn::start().await);
    let pair = Pair::new(clinic, centre, notice, [None, None]).await;
    a_week(&pair, true).await;
    patients_are_merged(&pair).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MariaDB; `.ci/run` runs it"]
async fn needs_mariadb_two_clinics_in_step_by_the_binary_log() {
    use crate::stand_in::maria::Server;
    let servers = [Server::start(&[]), Server::start(&[])];
    let clinic = StandIn::over(servers[0].tables()).await;
    let centre = StandIn::over(servers[1].tables()).await;
    let notice = vec![NoticeWay::LastUpdated, NoticeWay::Binlog];
    let database = [0, 1].map(|at| Some(servers[at].database("reader")));
    let pair = Pair::new(clinic, centre, notice, database).await;
    a_week(&pair, true).await;
    what_it_cannot_hold(&pair).await;
    patients_are_merged(&pair).await;
}
