//! What goes from one to the other, and what does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use node::config::{EmrConfig, EmrKind, EmrMode};
use node::jobs::emr::{Beside, begin};
use node::jobs::{apply, capture};
use node::ports::{Capabilities, Emr, EmrError, EmrWrite, Noticed, Shown};
use node::site::Site;
use protocol::{Author, Limits, RecordRef, resource::Record};
use store::{Draft, EmrState, EmrStatus, Expect, Scope, Write};

use crate::harness::TestSite;
use crate::memory::{Faults, MemoryEmr};

/// A clinic beside a record system.
pub(crate) struct Clinic {
    pub(crate) test: TestSite,
    pub(crate) site: Site,
    pub(crate) emr: MemoryEmr,
    pub(crate) beside: Beside,
}

impl Clinic {
    pub(crate) fn new(faults: Faults) -> Clinic {
        Clinic::with_mode(faults, EmrMode::TwoWay)
    }

    fn with_mode(faults: Faults, mode: EmrMode) -> Clinic {
        let emr = MemoryEmr::new(faults);
        Clinic::beside(emr.clone(), Arc::new(emr), mode)
    }

    /// Beside what stands before a record system.
    pub(crate) fn beside(emr: MemoryEmr, before: Arc<dyn Emr>, mode: EmrMode) -> Clinic {
        let test = TestSite::with("clinic", |config| {
            config.emr = EmrConfig {
                kind: EmrKind::Fhir,
                url: Some("http://127.0.0.1:1/fhir".to_owned()),
                mode,
                records_per_second: 1_000_000,
                ..EmrConfig::default()
            };
        });
        let site = test.beside(before);
        begin(&site).unwrap();
        let beside = Beside::of(&site).unwrap();
        Clinic { test, site, emr, beside }
    }

    pub(crate) fn capture(&self) -> Result<(), String> {
        let done = async {
            while capture::step(&self.site, &self.beside).await.map_err(|e| e.0)? {}
            Ok(())
        };
        block(done)
    }

    pub(crate) fn apply(&self) -> Result<(), String> {
        let done = async {
            while apply::step(&self.site, &self.beside).await.map_err(|e| e.0)? {}
            Ok(())
        };
        block(done)
    }

    /// Until nothing moves any more.
    pub(crate) fn settle(&self) {
        for _ in 0..20 {
            let before = (self.status(), self.sequence(), self.emr.take_written().len());
            self.capture().unwrap();
            self.apply().unwrap();
            if (self.status(), self.sequence(), self.emr.take_written().len()) == before {
                return;
            }
        }
        panic!("it never ends: {:?}", self.status());
    }

    pub(crate) fn status(&self) -> EmrStatus {
        self.site.store().emr_status().unwrap().unwrap()
    }

    pub(crate) fn sequence(&self) -> u64 {
        self.site.store().site().unwrap().sequence
    }

    pub(crate) fn put(&self, bodies: &[&str]) {
        let writes = bodies.iter().map(|body| {
            let record = Record::parse(body.as_bytes(), &Limits::default()).unwrap();
            Write { record, expect: Expect::Any }
        });
        let draft = Draft {
            author: Author::new("centre"),
            writes: writes.collect(),
            expect: Vec::new(),
            again: false,
            lane: protocol::Urgency::Normal,
        };
        self.site.store().change_record(&draft, self.site.now()).unwrap();
    }

    pub(crate) fn delete(&self, name: &str) {
        let draft = Draft {
            author: Author::new("centre"),
            writes: vec![Write { record: Record::deleted(named(name)), expect: Expect::Any }],
            expect: Vec::new(),
            again: false,
            lane: protocol::Urgency::Normal,
        };
        self.site.store().change_record(&draft, self.site.now()).unwrap();
    }

    pub(crate) fn body(&self, name: &str) -> Option<String> {
        let record = named(name);
        let found = self.site.store().record_get(&record, None, &Scope::Everything).unwrap();
        found.and_then(|version| version.body)
    }

    fn state(&self, name: &str) -> Option<EmrState> {
        self.site.store().record_why(&named(name)).unwrap().emr.map(|info| info.state)
    }
}

pub(crate) fn block<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(work)
}

pub(crate) fn named(name: &str) -> RecordRef {
    name.parse().unwrap()
}

pub(crate) const AMINA: &str = concat!(
    r#"{"resourceType":"Patient","id":"amina","birthDate":"1990-01-01","#,
    r#""name":[{"use":"official","family":"Otieno","given":["Amina","Wanjiru","Mary"]}],"#,
    r#""maritalStatus":{"text":"m"}}"#
);

const CARE_PLAN: &str = concat!(
    r#"{"resourceType":"CarePlan","id":"c","status":"active","intent":"plan","#,
    r#""subject":{"reference":"Patient/amina"}}"#
);

pub(crate) fn observation(id: &str, value: u32) -> String {
    serde_json::json!({
        "resourceType": "Observation", "id": id, "status": "final", "code": {"text": "pulse"},
        "subject": {"reference": "Patient/amina"},
        "effectiveDateTime": "2026-11-23T08:15:30.123Z",
        "valueQuantity": {"value": value, "unit": "/min"},
        "note": [{"text": "at rest"}],
    })
    .to_string()
}

#[test]
fn what_comes_from_the_centre_is_there_and_what_is_edited_there_keeps_the_rest() {
    let clinic = Clinic::new(Faults::LIKE_OPENMRS);
    clinic.settle();
    clinic.put(&[AMINA, &observation("o", 70)]);
    clinic.settle();
    let shown = clinic.emr.body(&named("Patient/amina")).unwrap();
    assert!(shown.contains("Wanjiru") && !shown.contains("Mary"), "{shown}");
    assert!(!shown.contains("maritalStatus") && shown.contains("N-amina"), "{shown}");
    let before = clinic.sequence();
    let edited = shown.replace("1990-01-01", "1991-02-03");
    clinic.emr.enter(&[(named("Patient/amina"), Some(edited))]);
    clinic.settle();
    assert_eq!(clinic.sequence(), before + 1);
    let body = clinic.body("Patient/amina").unwrap();
    assert!(body.contains("1991-02-03") && body.contains("Mary"), "{body}");
    assert!(body.contains("maritalStatus") && !body.contains("N-amina"), "{body}");
    // A value is edited: times to the millisecond and notes stay.
    let shown = clinic.emr.body(&named("Observation/o")).unwrap();
    clinic.emr.enter(&[(named("Observation/o"), Some(shown.replace(":70", ":82")))]);
    clinic.settle();
    let body = clinic.body("Observation/o").unwrap();
    assert!(body.contains(":82") && body.contains("30.123Z") && body.contains("at rest"), "{body}");
}

#[test]
fn defect_26_nothing_is_recorded_of_what_was_only_written_there() {
    let clinic = Clinic::new(Faults::LIKE_OPENMRS);
    clinic.put(&[AMINA, &observation("o", 70)]);
    clinic.settle();
    let before = clinic.sequence();
    for _ in 0..3 {
        clinic.emr.purge();
        clinic.settle();
    }
    assert_eq!(clinic.sequence(), before);
}

#[test]
fn defect_05_what_is_entered_while_nobody_looks_is_found() {
    let clinic = Clinic::new(Faults::NONE);
    clinic.settle();
    let body = |n: usize| format!(r#"{{"resourceType":"Patient","id":"p{n}"}}"#);
    for n in 0..250 {
        clinic.emr.enter(&[(named(&format!("Patient/p{n}")), Some(body(n)))]);
    }
    // Its log does not reach back: everything is compared, in portions.
    clinic.emr.purge();
    clinic.settle();
    assert!(clinic.body("Patient/p0").is_some() && clinic.body("Patient/p249").is_some());
    assert_eq!(clinic.status().captured, 250);
}

#[test]
fn a_first_load_goes_on_where_it_was_interrupted() {
    let clinic = Clinic::new(Faults { portion: 10, ..Faults::NONE });
    let body = |n: usize| format!(r#"{{"resourceType":"Patient","id":"p{n:03}"}}"#);
    for n in 0..95 {
        clinic.emr.enter(&[(named(&format!("Patient/p{n:03}")), Some(body(n)))]);
    }
    block(async {
        for _ in 0..3 {
            assert_eq!(
                capture::step(&clinic.site, &clinic.beside).await.map_err(|e| e.0),
                Ok(true)
            );
        }
    });
    let status = clinic.status();
    assert_eq!((status.loading, status.loaded, status.remaining), (true, 30, Some(65)));
    // Nothing is written meanwhile.
    clinic.put(&[AMINA]);
    clinic.apply().unwrap();
    assert_eq!(clinic.emr.body(&named("Patient/amina")), None);
    // Another process, as after a crash.
    let again = Beside::of(&clinic.site).unwrap();
    let reads = clinic.emr.reads();
    block(async { while capture::step(&clinic.site, &again).await.unwrap() {} });
    assert_eq!(clinic.emr.reads() - reads, 65);
    assert!(!clinic.status().loading);
    clinic.settle();
    assert!(clinic.emr.body(&named("Patient/amina")).is_some());
}

#[test]
fn defect_04_a_record_system_that_is_away_costs_only_time() {
    let clinic = Clinic::new(Faults::NONE);
    clinic.settle();
    clinic.put(&[AMINA]);
    clinic.emr.away(true);
    for _ in 0..50 {
        assert!(clinic.apply().is_err() && clinic.capture().is_err());
    }
    let status = clinic.status();
    assert_eq!((status.due, status.parked, status.retry), (1, 0, 0));
    clinic.emr.away(false);
    clinic.settle();
    assert!(clinic.emr.body(&named("Patient/amina")).is_some());
}

/// Time passes, and what is ready is done.
async fn a_minute(clinic: &Clinic) {
    clinic.test.clock.advance(60_000);
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
}

#[test]
fn the_jobs_wait_while_it_is_away_and_go_on_by_themselves() {
    let clinic = Clinic::new(Faults::NONE);
    clinic.emr.away(true);
    clinic.put(&[AMINA]);
    let site = clinic.site.clone();
    block(async {
        let running = tokio::spawn(async move { node::jobs::emr::run(&site).await });
        while clinic.status().failures < 4 {
            a_minute(&clinic).await;
        }
        assert!(clinic.status().away_since.is_some());
        clinic.emr.away(false);
        while clinic.emr.body(&named("Patient/amina")).is_none() || clinic.status().failures > 0 {
            a_minute(&clinic).await;
        }
        running.abort();
    });
    assert_eq!(clinic.status().parked, 0);
}

#[test]
fn what_is_due_goes_as_soon_as_everything_there_was_read() {
    let clinic = Clinic::new(Faults::NONE);
    clinic.put(&[AMINA]);
    let site = clinic.site.clone();
    // No time passes: nothing that sleeps goes on.
    block(async {
        let running = tokio::spawn(async move { node::jobs::emr::run(&site).await });
        for _ in 0..1_000 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            if clinic.emr.body(&named("Patient/amina")).is_some() {
                break;
            }
        }
        running.abort();
    });
    assert!(clinic.emr.body(&named("Patient/amina")).is_some());
}

#[test]
fn defect_08_one_patient_for_whom_it_fails_holds_back_nobody_else() {
    let clinic = Clinic::new(Faults::NONE);
    clinic.settle();
    clinic.emr.fail(&named("Patient/amina"), true);
    let beno = r#"{"resourceType":"Patient","id":"beno"}"#;
    clinic.put(&[AMINA]);
    clinic.put(&[beno, &observation("o", 70)]);
    clinic.apply().unwrap();
    assert!(clinic.emr.body(&named("Patient/beno")).is_some());
    assert_eq!(clinic.state("Patient/amina"), Some(EmrState::Retry));
    for _ in 0..5 {
        clinic.test.clock.advance(900_000);
        clinic.apply().unwrap();
    }
    assert_eq!(clinic.state("Patient/amina"), Some(EmrState::Parked));
    // What was noticed of a record that cannot be read is kept, while the rest goes on.
    clinic.emr.fail(&named("Patient/beno"), true);
    clinic.emr.enter(&[(named("Patient/beno"), Some(beno.replace('}', r#","gender":"male"}"#)))]);
    clinic.emr.enter(&[(named("Patient/cora"), Some(beno.replace("beno", "cora")))]);
    clinic.capture().unwrap();
    assert!(clinic.body("Patient/cora").is_some());
    assert_eq!(clinic.state("Patient/beno"), Some(EmrState::Unread));
    clinic.emr.fail(&named("Patient/beno"), false);
    clinic.test.clock.advance(900_000);
    clinic.capture().unwrap();
    assert!(clinic.body("Patient/beno").unwrap().contains("male"));
}

#[test]
fn defect_17_what_refers_to_what_is_not_there_waits_and_says_for_what() {
    let clinic = Clinic::new(Faults::LIKE_OPENMRS);
    clinic.settle();
    clinic.put(&[&observation("o", 70)]);
    clinic.apply().unwrap();
    let info = clinic.site.store().record_why(&named("Observation/o")).unwrap().emr.unwrap();
    assert_eq!((info.state, info.waits_for), (EmrState::Waits, Some(named("Patient/amina"))));
    clinic.put(&[AMINA]);
    clinic.settle();
    assert!(clinic.emr.body(&named("Observation/o")).is_some());
}

#[test]
fn what_it_has_no_place_for_is_kept_and_shown_so() {
    let clinic = Clinic::new(Faults::LIKE_OPENMRS);
    clinic.put(&[AMINA, CARE_PLAN, &observation("o", 70)]);
    clinic.settle();
    assert_eq!(clinic.state("CarePlan/c"), Some(EmrState::Kept));
    assert!(clinic.emr.body(&named("Observation/o")).is_some());
}

#[test]
fn a_refusal_is_told_in_its_words_and_freed_by_a_change() {
    let clinic = Clinic::new(Faults::NONE);
    clinic.emr.refuse(&named("Patient/amina"), Some("there is no identifier type u-1"));
    clinic.put(&[AMINA]);
    clinic.settle();
    let info = clinic.site.store().record_why(&named("Patient/amina")).unwrap().emr.unwrap();
    assert_eq!(info.state, EmrState::Parked);
    assert!(info.reason.unwrap().contains("identifier type u-1"));
    clinic.emr.refuse(&named("Patient/amina"), None);
    clinic.put(&[&AMINA.replace("1990", "1992")]);
    clinic.settle();
    assert!(clinic.emr.body(&named("Patient/amina")).unwrap().contains("1992"));
}

#[test]
fn a_centre_only_collects_and_a_copy_is_only_written() {
    let collects = Clinic::with_mode(Faults::NONE, EmrMode::CaptureOnly);
    collects.put(&[AMINA]);
    collects.emr.enter(&[(
        named("Patient/beno"),
        Some(r#"{"resourceType":"Patient","id":"beno"}"#.to_owned()),
    )]);
    collects.capture().unwrap();
    assert!(collects.body("Patient/beno").is_some());
    assert_eq!(collects.status().due, 0);
    let copies = Clinic::with_mode(Faults::NONE, EmrMode::ApplyOnly);
    copies.put(&[AMINA]);
    copies.apply().unwrap();
    let shown = copies.emr.body(&named("Patient/amina")).unwrap();
    copies.emr.enter(&[(named("Patient/amina"), Some(shown.replace("1990", "1995")))]);
    copies.put(&[&AMINA.replace("1990", "1991")]);
    copies.apply().unwrap();
    assert!(copies.emr.body(&named("Patient/amina")).unwrap().contains("1991"));
}

#[test]
fn defect_39_what_is_written_into_an_emptied_system_deletes_nothing_here() {
    let clinic = Clinic::new(Faults::NONE);
    clinic.settle();
    let values = (0..8).map(|n| observation(&format!("o{n}"), 60 + n)).collect::<Vec<_>>();
    let bodies = values.iter().map(String::as_str).chain([AMINA]).collect::<Vec<_>>();
    clinic.put(&bodies);
    clinic.settle();
    // Nobody has noticed that it was emptied when an edit is to be written.
    clinic.emr.empty();
    clinic.put(&[&observation("o1", 99)]);
    clinic.settle();
    for n in 0..8 {
        let name = format!("Observation/o{n}");
        assert!(clinic.body(&name).is_some(), "{name} is here");
        assert!(clinic.emr.body(&named(&name)).is_some(), "{name} is there again");
    }
    assert!(clinic.emr.body(&named("Observation/o1")).unwrap().contains("99"));
    assert!(clinic.body("Patient/amina").is_some());
}

/// Once it is slow, it tells what it reads only when something was written meanwhile, or time has
/// passed.
struct Slow {
    emr: MemoryEmr,
    is_slow: AtomicBool,
    reading: tokio::sync::Notify,
    wrote: tokio::sync::Notify,
}

impl Emr for Slow {
    fn capabilities(&self) -> BoxFuture<'_, Result<Capabilities, EmrError>> {
        self.emr.capabilities()
    }

    fn changes_since<'a>(
        &'a self,
        cursor: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Noticed, EmrError>> {
        self.emr.changes_since(cursor)
    }

    fn read<'a>(&'a self, record: &'a RecordRef) -> BoxFuture<'a, Result<Shown, EmrError>> {
        async move {
            let shown = self.emr.read(record).await;
            if !self.is_slow.load(Ordering::Relaxed) {
                return shown;
            }
            self.reading.notify_one();
            let millis = std::time::Duration::from_millis;
            let _ = tokio::time::timeout(millis(300), self.wrote.notified()).await;
            // Long enough for what was written to be settled.
            tokio::time::sleep(millis(50)).await;
            shown
        }
        .boxed()
    }

    fn write<'a>(&'a self, writes: &'a [EmrWrite]) -> BoxFuture<'a, Vec<Result<Shown, EmrError>>> {
        async move {
            let results = self.emr.write(writes).await;
            if self.is_slow.load(Ordering::Relaxed) {
                self.wrote.notify_one();
            }
            results
        }
        .boxed()
    }
}

#[test]
fn defect_19_a_state_from_before_a_write_is_not_recorded_after_it() {
    let emr = MemoryEmr::new(Faults::NONE);
    let (reading, wrote) = (tokio::sync::Notify::new(), tokio::sync::Notify::new());
    let is_slow = AtomicBool::new(false);
    let slow = Arc::new(Slow { emr: emr.clone(), is_slow, reading, wrote });
    let clinic = Clinic::beside(emr, slow.clone(), EmrMode::TwoWay);
    clinic.put(&[AMINA]);
    clinic.settle();
    // It is saved there as it is, and edited here, at the same time.
    let shown = clinic.emr.body(&named("Patient/amina")).unwrap();
    clinic.emr.enter(&[(named("Patient/amina"), Some(shown))]);
    clinic.put(&[&AMINA.replace("1990", "1991")]);
    let before = clinic.sequence();
    slow.is_slow.store(true, Ordering::Relaxed);
    block(async {
        let captured = capture::step(&clinic.site, &clinic.beside);
        let applied = async {
            slow.reading.notified().await;
            apply::step(&clinic.site, &clinic.beside).await
        };
        let (captured, applied) = tokio::join!(captured, applied);
        assert!(captured.is_ok() && applied.is_ok());
    });
    clinic.settle();
    assert_eq!(clinic.sequence(), before, "nothing is recorded");
    assert!(clinic.body("Patient/amina").unwrap().contains("1991"), "the edit here stands");
    assert!(clinic.emr.body(&named("Patient/amina")).unwrap().contains("1991"));
}
