//! A clinic whose parent is a FHIR server of another make: everything that was written at the
//! clinic comes to be there, once, whatever the link and the server do.

use node::config::{FhirParent, FhirWay, LoginConfig, LoginKind, Parent, Up};
use node::demo::site::DemoSite;
use node::fhir_server::FhirError;
use node::jobs::foreign::{Foreign, heard, run_round};
use node::jobs::rounds::Moved;
use protocol::delivery::DeliveryState;
use protocol::{FeedId, SiteId};
use serde_json::{Value, json};
use store::{
    DeliveryFilter, DeliveryInfo, Draft, Expect, LeavePolicy, LinkName, PauseDraft, Write,
};

use crate::fhir_stand_in::{self, FHIR, Fault, Shared, locked, outcome};
use crate::world::*;

/// The file with the password, which has a colon.
const SECRET: &str = "registry.secret";

fn secret(folder: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::create_dir_all(folder).unwrap();
    let path = folder.join(SECRET);
    std::fs::write(&path, "a:b\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

struct Clinic {
    site: DemoSite,
    server: Shared,
    foreign: Foreign,
    _folder: tempfile::TempDir,
}

impl Clinic {
    async fn new(way: FhirWay) -> Clinic {
        Clinic::with(way, |_| {}).await
    }

    async fn with(way: FhirWay, change: impl FnOnce(&mut node::config::Config)) -> Clinic {
        let server = fhir_stand_in::start().await;
        locked(&server).message = true;
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("clinic");
        secret(&home);
        let id: SiteId = "clinic".parse().unwrap();
        let url = locked(&server).url.clone();
        let site = DemoSite::with(&home, &id, |config| {
            config.parent = Some(Parent {
                url,
                site: "registry".parse().unwrap(),
                leave: LeavePolicy::Keep,
                up: Up::Fhir,
                fhir: FhirParent { way, ..FhirParent::default() },
            });
            // What is refused is tried again at once.
            config.limits.backoff_seconds = 0;
            config.limits.backoff_max_seconds = 0;
            change(config);
        });
        let site = site.await.unwrap();
        let feed = FeedId::from_random([7; 16]);
        site.site().store().parent_set(site.site().now(), &feed).unwrap();
        let foreign = Foreign::of(site.site()).unwrap().unwrap();
        Clinic { site, server, foreign, _folder: folder }
    }

    async fn round(&self) -> Result<Moved, FhirError> {
        run_round(self.site.site(), &self.foreign).await
    }

    async fn record(&self, bodies: &[String]) {
        self.site.record("nurse", bodies).await.unwrap();
    }

    async fn delete(&self, records: &[&str]) {
        let writes = records.iter().map(|record| Write {
            record: protocol::resource::Record::deleted(reference(record)),
            expect: Expect::Any,
        });
        let draft = Draft {
            author: protocol::Author::new("nurse"),
            writes: writes.collect(),
            expect: Vec::new(),
            again: false,
            lane: protocol::Urgency::Normal,
        };
        let (site, now) = (self.site.site(), self.site.site().now());
        site.write(move |store| store.change_record(&draft, now)).await.unwrap();
    }

    /// What waits for the server, with its reasons.
    fn queue(&self, state: Option<DeliveryState>) -> Vec<DeliveryInfo> {
        let filter = DeliveryFilter { state, limit: 1_000, ..DeliveryFilter::default() };
        self.site.site().store().delivery_list(&filter).unwrap()
    }

    fn at_server(&self, record: &str) -> Option<String> {
        locked(&self.server).body(record).map(str::to_owned)
    }

    fn requests(&self, begins: &str) -> usize {
        locked(&self.server).count(begins)
    }

    /// Rounds until nothing but what is parked waits.
    async fn settle(&self) {
        for _ in 0..20 {
            let _ = self.round().await;
            let open = self.queue(None);
            if open.iter().all(|one| one.state == DeliveryState::Parked) {
                return;
            }
        }
        panic!("it does not come to rest: {:?}", self.queue(None));
    }
}

fn encounter(id: &str, patient: &str) -> String {
    json!({"resourceType": "Encounter", "id": id, "status": "finished",
        "class": {"code": "AMB"}, "subject": {"reference": format!("Patient/{patient}")}})
    .to_string()
}

fn with_encounter(observation: &str, encounter: &str) -> String {
    let part =
        format!("\"status\":\"final\",\"encounter\":{{\"reference\":\"Encounter/{encounter}\"}}");
    observation.replace("\"status\":\"final\"", &part)
}

#[tokio::test(flavor = "multi_thread")]
async fn whichever_way_it_goes_the_server_comes_to_hold_what_was_written() {
    for way in [FhirWay::Offered, FhirWay::Transaction, FhirWay::Put, FhirWay::Message] {
        let clinic = Clinic::new(way).await;
        // Nothing that is referred to comes before what refers to it.
        let observation = with_encounter(&observation("o", "a", "36.50"), "e");
        clinic.record(&[patient("a", "Auma")]).await;
        clinic.record(&[observation.clone(), encounter("e", "a")]).await;
        clinic.record(&[patient("a", "Akinyi")]).await;
        let moved = clinic.round().await.unwrap();
        assert_eq!((moved.sent, moved.not_taken), (3, 0), "{way:?}");
        assert!(clinic.queue(None).is_empty());
        assert!(clinic.at_server("Patient/a").unwrap().contains("Akinyi"));
        assert!(clinic.at_server("Encounter/e").is_some());
        if way != FhirWay::Message {
            let there = clinic.at_server("Observation/o");
            assert_eq!(there, Some(observation), "numbers keep their literals");
        }
        let requests = match way {
            FhirWay::Put => ["PUT /Patient/a", "PUT /Encounter/e", "PUT /Observation/o"].to_vec(),
            FhirWay::Message => vec!["POST /$process-message"],
            FhirWay::Transaction => vec!["POST "],
            FhirWay::Offered => vec!["GET /metadata", "POST "],
        };
        assert_eq!(locked(&clinic.server).asked, requests, "one line a patient, in order");
        // Nothing new: nothing is asked.
        clinic.requests("");
        clinic.round().await.unwrap();
        assert_eq!(clinic.requests(""), 0);
        // And then the patient is edited, and all of it deleted.
        clinic.record(&[patient("a", "Wanjiku")]).await;
        clinic.round().await.unwrap();
        assert!(clinic.at_server("Patient/a").unwrap().contains("Wanjiku"));
        if way == FhirWay::Message {
            continue;
        }
        clinic.delete(&["Patient/a", "Encounter/e", "Observation/o"]).await;
        clinic.settle().await;
        for record in ["Patient/a", "Encounter/e", "Observation/o"] {
            assert_eq!(clinic.at_server(record), None, "{way:?} {record}");
        }
        assert!(clinic.queue(None).is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_32_many_patients_go_in_one_bundle() {
    let clinic = Clinic::new(FhirWay::Transaction).await;
    for number in 0..300 {
        let id = format!("p{number}");
        clinic.record(&[patient(&id, "Auma"), observation(&format!("o{number}"), &id, "37")]).await;
    }
    clinic.round().await.unwrap();
    assert!(clinic.queue(None).is_empty());
    assert_eq!(locked(&clinic.server).records.len(), 600);
    assert_eq!(clinic.requests("POST"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_08_a_bundle_that_is_refused_is_cut_until_the_culprit_is_alone() {
    let clinic = Clinic::new(FhirWay::Transaction).await;
    for number in 0..40 {
        let id = if number == 17 { "1234".to_owned() } else { format!("p{number}") };
        clinic.record(&[patient(&id, "Auma")]).await;
    }
    let moved = clinic.round().await.unwrap();
    assert_eq!(moved.sent, 39, "all others go");
    assert!(clinic.requests("POST") < 80);
    clinic.settle().await;
    let parked = clinic.queue(Some(DeliveryState::Parked));
    assert_eq!(parked.len(), 1);
    let reason = parked[0].reason.as_deref().unwrap();
    assert!(reason.starts_with("Patient/1234: the server refuses it (400): processing: HAPI-0960"));
    assert!(reason.contains("clients may only assign IDs which contain at least one non-numeric"));
    // The patient's later changes wait behind it; others' go.
    clinic.record(&[observation("o", "1234", "37")]).await;
    clinic.record(&[observation("o2", "p3", "37")]).await;
    clinic.round().await.unwrap();
    assert!(clinic.at_server("Observation/o2").is_some());
    assert_eq!(clinic.at_server("Observation/o"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_04_a_server_that_is_away_costs_the_queue_nothing() {
    for way in [FhirWay::Transaction, FhirWay::Put, FhirWay::Message] {
        let clinic = Clinic::new(way).await;
        for number in 0..5 {
            clinic.record(&[patient(&format!("p{number}"), "Auma")]).await;
        }
        let page = "<html>Bad gateway</html>".to_owned();
        for fault in [
            Fault::Say(503, FHIR, String::new()),
            Fault::Say(429, FHIR, String::new()),
            Fault::Say(502, "text/html", page.clone()),
            Fault::Say(200, "text/html", page.clone()),
            Fault::Say(200, FHIR, page),
            Fault::Say(302, FHIR, String::new()),
            Fault::Say(401, FHIR, String::new()),
        ] {
            locked(&clinic.server).faults = [fault.clone()].into();
            let error = clinic.round().await.unwrap_err();
            assert!(matches!(error, FhirError::Away { .. }), "{way:?} {fault:?}: {error:?}");
        }
        // Everything fails, and nobody can say whether it is of a record.
        for (status, body) in [(500, ""), (500, "x"), (403, ""), (400, "")] {
            let fault = Fault::Say(status, FHIR, body.to_owned());
            locked(&clinic.server).faults = std::iter::repeat_n(fault, 100).collect();
            let error = clinic.round().await.unwrap_err();
            assert!(matches!(error, FhirError::Away { .. }), "{way:?} {status}: {error:?}");
        }
        locked(&clinic.server).faults.clear();
        let queue = clinic.queue(None);
        assert_eq!(queue.len(), 5);
        assert!(queue.iter().all(|one| one.attempts == 0 && one.state == DeliveryState::Ready));
        assert_eq!(clinic.round().await.unwrap().sent, 5, "{way:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_12_what_is_sent_again_after_a_lost_answer_changes_nothing() {
    for way in [FhirWay::Transaction, FhirWay::Put, FhirWay::Message] {
        let clinic = Clinic::new(way).await;
        clinic.record(&[patient("a", "Auma"), observation("o", "a", "37")]).await;
        locked(&clinic.server).faults = [Fault::LoseAnswer].into();
        clinic.round().await.unwrap_err();
        assert!(clinic.at_server("Patient/a").is_some(), "{way:?}: it came");
        assert_eq!(clinic.queue(None).len(), 1, "nothing is settled without an answer");
        clinic.record(&[patient("a", "Akinyi")]).await;
        clinic.round().await.unwrap();
        assert!(clinic.queue(None).is_empty());
        assert!(clinic.at_server("Patient/a").unwrap().contains("Akinyi"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_at_one_patient_alone_is_that_patients_where_others_get_through() {
    for (way, status) in [
        (FhirWay::Transaction, 500),
        (FhirWay::Transaction, 403),
        (FhirWay::Put, 500),
        (FhirWay::Message, 500),
    ] {
        let clinic = Clinic::new(way).await;
        for id in ["a", "b", "c", "d", "e"] {
            clinic.record(&[patient(id, "Auma")]).await;
        }
        let words = "NullPointerException at Auma".to_owned();
        locked(&clinic.server).fails.insert("Patient/b".to_owned(), (status, words));
        let moved = clinic.round().await.unwrap();
        assert_eq!(moved.sent, 4, "{way:?} {status}");
        let queue = clinic.queue(None);
        assert_eq!(queue.len(), 1);
        let reason = queue[0].reason.as_deref().unwrap();
        assert!(!reason.contains("Auma"), "{reason}");
        // It was mended there.
        locked(&clinic.server).fails.clear();
        clinic.settle().await;
        assert!(clinic.queue(None).is_empty(), "{way:?}");
        assert!(clinic.at_server("Patient/b").is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_17_what_refers_to_what_has_not_come_waits_for_it_and_is_not_lost() {
    let clinic = Clinic::new(FhirWay::Transaction).await;
    // The clinic itself has heard of the patient only by this.
    clinic.record(&[observation("o", "a", "37")]).await;
    clinic.record(&[patient("b", "Auma")]).await;
    clinic.round().await.unwrap();
    assert!(clinic.at_server("Patient/b").is_some());
    let queue = clinic.queue(None);
    let reason = queue[0].reason.as_deref().unwrap();
    assert!(reason.contains("HAPI-1094: Resource Patient/a not found"), "{reason}");
    clinic.record(&[patient("a", "Auma")]).await;
    clinic.settle().await;
    assert!(clinic.at_server("Observation/o").is_some());
    assert!(clinic.queue(None).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_the_server_takes_at_once_goes_in_smaller_requests() {
    let clinic = Clinic::new(FhirWay::Transaction).await;
    locked(&clinic.server).most = 20_000;
    for number in 0..200 {
        clinic.record(&[patient(&format!("p{number}"), "Auma")]).await;
    }
    // One patient alone has more than that, and one record of somebody is more than that.
    let many = (0..100).map(|number| observation(&format!("o{number}"), "many", "37"));
    clinic.record(&[vec![patient("many", "Auma")], many.collect()].concat()).await;
    clinic.record(&[patient("huge", &"x".repeat(30_000))]).await;
    clinic.settle().await;
    assert_eq!(locked(&clinic.server).records.len(), 301);
    let parked = clinic.queue(Some(DeliveryState::Parked));
    assert_eq!(parked.len(), 1);
    let reason = parked[0].reason.as_deref().unwrap();
    assert!(reason.starts_with("Patient/huge: it answered 413"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_does_not_fit_what_was_sent_settles_nothing() {
    let clinic = Clinic::new(FhirWay::Transaction).await;
    clinic.record(&[patient("a", "Auma")]).await;
    clinic.record(&[patient("b", "Auma")]).await;
    let answer = |entries: Value| {
        json!({"resourceType": "Bundle", "type": "transaction-response", "entry": entries})
            .to_string()
    };
    let done = json!({"response": {"status": "200"}});
    let refused =
        json!({"response": {"status": "422", "outcome": outcome("value", "no such code")}});
    for body in [answer(json!([done])), answer(json!([done, done, done])), "{}".to_owned()] {
        locked(&clinic.server).faults = [Fault::Say(200, FHIR, body)].into();
        clinic.round().await.unwrap_err();
        assert_eq!(clinic.queue(None).len(), 2);
    }
    // One that takes a part of a transaction is believed entry by entry.
    let body = answer(json!([done, refused]));
    locked(&clinic.server).faults = [Fault::Say(200, FHIR, body)].into();
    assert_eq!(clinic.round().await.unwrap().sent, 1 + 1, "and the other goes at once again");
    assert!(clinic.queue(None).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_of_messages_says_whether_to_send_again() {
    let clinic = Clinic::new(FhirWay::Message).await;
    clinic.record(&[patient("a", "Auma")]).await;
    locked(&clinic.server).answers = ("transient-error", "try again".to_owned());
    for _ in 0..8 {
        clinic.round().await.unwrap();
    }
    let queue = clinic.queue(None);
    assert_eq!((queue[0].state, queue[0].attempts), (DeliveryState::Retry, 0));
    let reason = queue[0].reason.as_deref().unwrap();
    assert_eq!(reason, "the server cannot take it now: processing: try again");
    locked(&clinic.server).answers = ("fatal-error", "never of Auma".to_owned());
    clinic.settle().await;
    let parked = clinic.queue(Some(DeliveryState::Parked));
    assert_eq!(parked[0].reason.as_deref(), Some("the server refuses it: processing: never of …"));
    assert!(locked(&clinic.server).messages.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_logged_in_to_and_says_what_it_is_and_a_pause_holds() {
    let clinic = Clinic::with(FhirWay::Offered, |config| {
        config.parent.as_mut().unwrap().fhir.login = LoginConfig {
            kind: LoginKind::Basic,
            user: Some("clinic".to_owned()),
            secret_file: Some(SECRET.into()),
            ..LoginConfig::default()
        };
    })
    .await;
    locked(&clinic.server).wants = Some("Basic Y2xpbmljOmE6Yg==".to_owned());
    clinic.record(&[patient("a", "Auma")]).await;
    let site = clinic.site.site();
    let (reason, actor) = ("the road is flooded".to_owned(), "operator".to_owned());
    let link = LinkName::Parent;
    let pause = PauseDraft { link, is_source: false, reason, actor, millis: None };
    site.store().link_pause(&pause, site.now()).unwrap();
    let error = clinic.round().await.unwrap_err();
    assert!(error.to_string().contains("the road is flooded"), "{error}");
    assert_eq!(clinic.requests(""), 0);
    site.store().link_resume(&LinkName::Parent, "operator", site.now()).unwrap();
    clinic.round().await.unwrap();
    assert!(clinic.at_server("Patient/a").is_some());
    let link = site.store().link_get().unwrap();
    let told = heard(link.peer.as_deref()).unwrap();
    assert_eq!(told.software.as_deref(), Some("Stand-in 1"));
    assert_eq!(told.way, FhirWay::Transaction);
    assert!(link.last_contact.is_some() && link.wire_sent > 500 && link.wire_received > 300);
    // The password was changed there.
    locked(&clinic.server).wants = Some("Basic x".to_owned());
    clinic.record(&[patient("b", "Auma")]).await;
    let error = clinic.round().await.unwrap_err();
    assert!(error.to_string().contains("check the login and its secret"), "{error}");
    assert_eq!(clinic.queue(None)[0].attempts, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_in_a_row_are_counted_with_the_last_reason_until_one_round_goes_well() {
    let clinic = Clinic::new(FhirWay::Put).await;
    clinic.record(&[patient("a", "Auma")]).await;
    let fault = Fault::Say(503, FHIR, String::new());
    locked(&clinic.server).faults = std::iter::repeat_n(fault, 100_000).collect();
    let site = clinic.site.site().clone();
    let stop = tokio_util::sync::CancellationToken::new();
    let jobs = tokio::spawn(node::jobs::run(site.clone(), stop.clone()));
    let link = || site.store().link_get().unwrap();
    let until = async |holds: &dyn Fn() -> bool| {
        for _ in 0..600 {
            if holds() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("it has not come: {:?}", link());
    };
    until(&|| link().failures >= 3).await;
    let failed = link();
    assert!(failed.last_error.as_ref().is_some_and(|error| error.contains("503")), "{failed:?}");
    assert!(failed.last_attempt.is_some() && failed.next_attempt.is_some());
    assert_eq!(clinic.queue(None)[0].attempts, 0, "none of it is of the record");
    locked(&clinic.server).faults.clear();
    until(&|| clinic.queue(None).is_empty() && link().failures == 0).await;
    assert_eq!(link().last_error, None);
    stop.cancel();
    jobs.await.unwrap();
}
