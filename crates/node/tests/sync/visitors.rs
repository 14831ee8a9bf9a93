//! Patients who are not a clinic's own: asked for, fetched, and gone again.

use node::demo::site::DemoSite;
use node::jobs::link::Link;
use node::jobs::patients::{self, Answer, Fetched};
use node::ports::LinkError;
use protocol::Limits;
use protocol::cohort::Definition;
use protocol::visit::{FetchQuestion, FindAnswer, FindQuestion, PatientIdentifier, Rules};
use serde_json::json;
use store::{LeavePolicy, TokenDraft, TokenScope};

use crate::epochs::{backup, restore};
use crate::world::*;

const DAY: i64 = 86_400_000;

fn list(ids: &[&str]) -> Definition {
    Definition::Patients {
        patients: ids.iter().map(|id| reference(&format!("Patient/{id}"))).collect(),
    }
}

fn amina() -> String {
    json!({
        "resourceType": "Patient", "id": "amina", "gender": "female", "birthDate": "1984-02",
        "identifier": [{"system": "urn:national", "value": "K-104"}],
        "name": [{"family": "Juma", "given": ["Amina", "Atieno"]}],
    })
    .to_string()
}

/// A centre that holds Amina, with two clinics that do not.
async fn world() -> World {
    let mut world = World::centre_with(Limits::default()).await;
    world.add_clinic("east", list(&["own"]), Limits::default()).await;
    world.add_clinic("west", list(&["other"]), Limits::default()).await;
    world.centre.record("registrar", &[patient("own", "Mwangi")]).await.unwrap();
    let file = [amina(), observation("pulse", "amina", "36.60")];
    world.centre.record("registrar", &file).await.unwrap();
    world
}

fn by_identifier(value: &str) -> FindQuestion {
    let identifier = PatientIdentifier { system: None, value: value.to_owned() };
    FindQuestion {
        identifier: Some(identifier),
        author: Some("nurse-3".to_owned()),
        ..FindQuestion::default()
    }
}

async fn find(clinic: &DemoSite, question: &FindQuestion) -> FindAnswer {
    let link = Link::of(clinic.site()).unwrap();
    match patients::find(clinic.site(), &link, question).await.unwrap() {
        Answer::Given(found) => found,
        Answer::Refused(reason) => panic!("{reason}"),
    }
}

fn visit(patient: &str, reason: &str, days: u32) -> FetchQuestion {
    FetchQuestion {
        patient: patient.to_owned(),
        reason: reason.to_owned(),
        days: Some(days),
        author: Some("nurse-3".to_owned()),
    }
}

async fn ask_for(clinic: &DemoSite, question: FetchQuestion) -> Result<Answer<Fetched>, LinkError> {
    let link = Link::of(clinic.site()).unwrap();
    patients::fetch(clinic.site(), &link, &question).await
}

async fn fetch(clinic: &DemoSite, patient: &str) -> Fetched {
    match ask_for(clinic, visit(patient, "walked in with a fever", 7)).await.unwrap() {
        Answer::Given(fetched) => fetched,
        Answer::Refused(reason) => panic!("{reason}"),
    }
}

/// Whether the audit has a row of this actor, action and subject with these words in it. The bytes
/// of a row stand together in the database or in its log.
fn audited(site: &DemoSite, row: &str, words: &str) -> bool {
    std::fs::read_dir(site.folder()).unwrap().any(|file| {
        let bytes = std::fs::read(file.unwrap().path()).unwrap_or_default();
        let mut found = memchr::memmem::find_iter(&bytes, row.as_bytes());
        found.any(|at| {
            let end = bytes.len().min(at + row.len() + 300);
            memchr::memmem::find(&bytes[at..end], words.as_bytes()).is_some()
        })
    })
}

pub(crate) async fn set_leave(clinic: &mut DemoSite, leave: LeavePolicy) {
    let mut config = clinic.site().config().clone();
    config.parent.as_mut().unwrap().leave = leave;
    let credential = clinic.site().credential().map(str::to_owned);
    clinic.restart(config, credential).await.unwrap();
}

async fn set_rules(world: &mut World, rules: Rules, limits: Limits) {
    let mut config = world.centre.site().config().clone();
    (config.visitors, config.limits) = (rules, limits);
    world.centre.restart(config, None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_36_a_clinic_asks_for_who_walks_in_and_has_the_whole_record_at_once() {
    let world = world().await;
    let east = &world.clinics[0];
    let found = find(east, &by_identifier("K-104")).await;
    assert_eq!(found.patients[0].names, ["Amina Atieno Juma"]);
    assert!(!found.patients[0].held && found.parent.is_none());
    let person = FindQuestion {
        name: Some("amina juma".to_owned()),
        sex: Some("female".to_owned()),
        born: Some("1984".to_owned()),
        ..FindQuestion::default()
    };
    assert_eq!(find(east, &person).await.patients.len(), 1);
    let fetched = fetch(east, "Patient/amina").await;
    assert!(fetched.until.is_some());
    assert_eq!(fetched.read.written, 2);
    for record in ["Patient/amina", "Observation/pulse"] {
        assert_eq!(text(east, record), text(&world.centre, record), "{record}");
    }
    assert!(find(east, &by_identifier("K-104")).await.patients[0].held);
    // Later changes come by the feed, and what is written at the clinic goes up.
    let later = observation("later", "amina", "37.1");
    world.centre.record("registrar", std::slice::from_ref(&later)).await.unwrap();
    east.record("nurse", &[observation("here", "amina", "38.4")]).await.unwrap();
    world.settle().await;
    world.assert_in_step().await;
    assert_eq!(text(east, "Observation/later"), Some(later));
    assert!(text(&world.centre, "Observation/here").is_some());
    for (site, actor) in [(&world.centre, "child:east"), (east, "operator")] {
        let row = format!("{actor}patient-findPatient/amina");
        assert!(audited(site, &row, "by nurse-3"), "{}", site.id());
    }
    let why = "walked in with a fever";
    assert!(audited(&world.centre, "child:eastpatient-fetchPatient/amina", why));
    assert!(audited(east, "operatorpatient-fetch-askedPatient/amina", why));
    assert!(audited(east, "operatorpatient-fetchPatient/amina", "records 2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_28_visitors_of_one_clinic_are_hidden_from_the_other() {
    let world = world().await;
    let (east, west) = (&world.clinics[0], &world.clinics[1]);
    fetch(east, "Patient/amina").await;
    for (method, path, body) in [
        ("GET", "/sync/feeds/visitors-east/changes?after=0", ""),
        ("GET", "/sync/feeds/visitors-east/changes?after=0&lane=bulk", ""),
        ("GET", "/sync/feeds/visitors-east/digests", ""),
        ("POST", "/sync/feeds/visitors-east/fetch", r#"{"records":["Patient/amina"]}"#),
        ("POST", "/sync/feeds/visitors-east/patients", r#"{"patients":["Patient/amina"]}"#),
        ("GET", "/feeds/visitors-east/recent", ""),
        ("GET", "/fhir/Patient/amina", ""),
    ] {
        let (status, said) = ask(&world, west, method, path, body.as_bytes()).await;
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(status == 404 && !said.contains("Juma"), "{path}: {status} {said}");
        let (status, _) = ask(&world, east, method, path, body.as_bytes()).await;
        assert_eq!(status, 200, "{path}");
    }
    // Of its own feed a clinic gets its own patients and no others.
    let body = br#"{"patients":["Patient/amina","Patient/own"]}"#;
    let (status, said) = ask(&world, east, "POST", "/sync/feeds/east/patients", body).await;
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(status == 200 && said.contains("Mwangi") && !said.contains("Juma"), "{said}");
    // Both may have the same visitor, each for itself.
    fetch(west, "Patient/amina").await;
    let site = world.centre.site();
    assert!(site.store().visitor_end(east.id(), &reference("Patient/amina"), site.now()).unwrap());
    world.settle().await;
    let (status, _) = ask(&world, east, "GET", "/fhir/Patient/amina", b"").await;
    assert_eq!(status, 404);
    let (status, _) = ask(&world, west, "GET", "/fhir/Patient/amina", b"").await;
    assert_eq!(status, 200);
    site.store().child_revoke(west.id(), site.now()).unwrap();
    assert_eq!(site.store().visitor_list(None).unwrap(), []);
    assert!(ask_for(west, visit("Patient/amina", "again", 7)).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_granted_is_refused_in_plain_words_and_audited_at_both_sites() {
    let mut world = world().await;
    let old = json!({"resourceType": "Patient", "id": "old",
        "link": [{"other": {"reference": "Patient/amina"}, "type": "replaced-by"}]});
    world.centre.record("registrar", &[old.to_string(), patient("dead", "X")]).await.unwrap();
    let gone = protocol::resource::Record::deleted(reference("Patient/dead"));
    world.centre.record_all("registrar", vec![gone]).await.unwrap();
    let rules = Rules { days_max: 14, ..Rules::default() };
    set_rules(&mut world, rules.clone(), Limits::default()).await;
    let east = &world.clinics[0];
    for (patient, reason, days, words) in [
        ("Patient/nobody", "walked in", 7, "centre has no Patient/nobody"),
        ("Patient/amina", "", 7, "for a reason"),
        ("Patient/amina", "x", 7, "too short"),
        ("Patient/amina", "walked in", 15, "at most 14 days"),
        ("Patient/amina", "walked in", 0, "a day or more"),
        ("Observation/pulse", "walked in", 7, "Patient/ID"),
        ("Patient/dead", "walked in", 7, "was deleted"),
        ("Patient/old", "walked in", 7, "replaced by Patient/amina"),
    ] {
        let answer = ask_for(east, visit(patient, reason, days)).await.unwrap();
        let Answer::Refused(said) = answer else { panic!("{patient} {reason} {days}: {answer:?}") };
        assert!(said.contains(words), "{said}");
        let subject = if patient.starts_with("Patient") { patient } else { "nobody" };
        let row = format!("child:eastpatient-fetch-refused{subject}");
        assert!(audited(&world.centre, &row, reason), "{row}");
        let row = format!("operatorpatient-fetch-refused{patient}");
        assert!(audited(east, &row, words), "{row}");
    }
    assert_eq!(text(east, "Patient/amina"), None);
    let never = Rules { find: false, fetch: false, ..rules };
    set_rules(&mut world, never, Limits::default()).await;
    let east = &world.clinics[0];
    let answer = ask_for(east, visit("Patient/amina", "walked in", 7)).await.unwrap();
    assert!(
        matches!(&answer, Answer::Refused(said) if said.contains("does not let")),
        "{answer:?}"
    );
    let link = Link::of(east.site()).unwrap();
    let answer = patients::find(east.site(), &link, &by_identifier("K-104")).await.unwrap();
    assert!(
        matches!(&answer, Answer::Refused(said) if said.contains("does not let")),
        "{answer:?}"
    );
    assert!(audited(east, "operatorpatient-find-refused", "does not let"));
    assert!(audited(&world.centre, "child:eastpatient-find-refused", "does not let"));
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_questions_get_a_status_of_their_own_and_repeat_nothing() {
    let mut world = world().await;
    let limits = Limits { asks_per_hour: 6, ..Limits::default() };
    set_rules(&mut world, Rules::default(), limits).await;
    let east = &world.clinics[0];
    let (find, fetch) = ("/sync/patients/find", "/sync/patients/fetch");
    for (path, body, expected) in [
        (find, "Secret", 400),
        (find, r#"{"name":["Secret"]}"#, 400),
        (fetch, r#"{"patient":7}"#, 400),
        ("/sync/feeds/east/patients", r#"{"patients":["Secret"]}"#, 400),
        (find, "{}", 422),
        (find, r#"{"name":"Secret","sex":"female"}"#, 422),
        (fetch, r#"{"patient":"Patient/Secret"}"#, 422),
        (fetch, r#"{"reason":"Secret"}"#, 422),
        (fetch, r#"{"patient":"Patient/none","reason":"Secret"}"#, 404),
        (find, r#"{"identifier":{"value":"K-104"}}"#, 200),
        (find, r#"{"identifier":{"value":"K-104"}}"#, 429),
        (fetch, r#"{"patient":"Patient/amina","reason":"Secret"}"#, 429),
    ] {
        let (status, said) = ask(&world, east, "POST", path, body.as_bytes()).await;
        let said = String::from_utf8_lossy(&said).into_owned();
        assert_eq!(status, expected, "{path} {body}: {said}");
        assert!(!said.contains("Secret"), "{said}");
    }
    let many: Vec<String> = (0..21).map(|n| format!("Patient/p{n}")).collect();
    let body = json!({"patients": many}).to_string();
    let (status, said) =
        ask(&world, east, "POST", "/sync/feeds/east/patients", body.as_bytes()).await;
    assert_eq!(status, 400);
    assert!(String::from_utf8_lossy(&said).contains("fetch_patients = 20"));
    assert_eq!(ask(&world, east, "GET", find, b"").await.0, 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_has_no_business_with_visitors() {
    let world = world().await;
    let site = world.centre.site();
    let hash = node::http::auth::credential_hash("of a program");
    let draft = TokenDraft {
        name: "emr".to_owned(),
        scope: TokenScope::FhirWrite,
        children: Vec::new(),
        hash,
        expires: None,
    };
    site.store().token_add(&draft, site.now()).unwrap();
    let body = br#"{"patient":"Patient/amina","reason":"walked in"}"#.to_vec();
    for path in ["/sync/patients/find", "/sync/patients/fetch", "/sync/feeds/east/patients"] {
        let known = [("authorization", "Bearer of a program")];
        assert_eq!(http(&world.centre, "POST", path, &known, body.clone()).await.0, 403, "{path}");
        let unknown = [("authorization", "Bearer nonsense")];
        assert_eq!(
            http(&world.centre, "POST", path, &unknown, body.clone()).await.0,
            401,
            "{path}"
        );
    }
    assert_eq!(site.store().visitor_list(None).unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_that_was_cut_is_repeated_and_comes_whole() {
    let world = world().await;
    let many: Vec<String> =
        (0..200).map(|n| observation(&format!("o{n}"), "amina", &format!("{n}.{n}1"))).collect();
    world.centre.record("registrar", &many).await.unwrap();
    let east = &world.clinics[0];
    // The status comes through, and the beginning of the answer.
    east.switch().cut_after(1_200);
    assert!(ask_for(east, visit("Patient/amina", "walked in", 7)).await.is_err());
    assert_eq!(text(east, "Patient/amina"), None, "a line is applied whole or not at all");
    east.switch().set(false);
    let said = ask_for(east, visit("Patient/amina", "walked in", 7)).await.unwrap_err();
    assert_eq!(said.to_string(), "the link is cut");
    east.switch().set(true);
    assert_eq!(fetch(east, "Patient/amina").await.read.written, 202);
    assert_eq!(fetch(east, "Patient/amina").await.read.written, 0, "all of it is held");
    world.settle().await;
    world.assert_in_step().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_visit_is_over_the_record_goes_as_the_clinic_has_decided() {
    let mut world = world().await;
    set_leave(&mut world.clinics[0], LeavePolicy::Purge).await;
    let east = &world.clinics[0];
    fetch(east, "Patient/amina").await;
    // Not even met by a round yet, the feed does not miss the end of the visit.
    let site = world.centre.site();
    let later = site.now().plus_millis(8 * DAY);
    assert_eq!(site.store().visitor_expire(later).unwrap(), 1);
    east.record("nurse", &[observation("here", "amina", "38.4")]).await.unwrap();
    world.settle().await;
    assert_eq!(text(east, "Patient/amina"), None);
    assert!(text(&world.centre, "Observation/here").is_some(), "what was written went up first");
    world.assert_in_step().await;
    // And may come again.
    fetch(east, "Patient/amina").await;
    world.settle().await;
    assert!(text(east, "Observation/here").is_some());
    world.assert_in_step().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_between_says_that_its_own_parent_may_know_more() {
    let mut world = World::centre_with(Limits::default()).await;
    world.add_clinic("district", list(&["own"]), Limits::default()).await;
    world.centre.record("registrar", &[amina()]).await.unwrap();
    let clinic = {
        let district = world.clinics[0].site();
        let draft = store::CohortDraft {
            name: "ward".parse().unwrap(),
            feed: protocol::FeedId::from_random([5; 16]),
            title: None,
            definition: list(&["mine"]),
            page_entries: 100,
        };
        district.store().cohort_set(&draft, district.now()).unwrap();
        let id = "ward".parse().unwrap();
        let (code, _) =
            node::jobs::enrol::invite(district, &id, &["ward".parse().unwrap()]).unwrap();
        let mut clinic = DemoSite::make(&world.folder.path().join("ward"), &id).await.unwrap();
        clinic.join(district, &code).await.unwrap();
        clinic
    };
    let found = find(&clinic, &by_identifier("K-104")).await;
    assert_eq!((found.patients.len(), found.parent.as_deref()), (0, Some("centre")));
    let answer = ask_for(&clinic, visit("Patient/amina", "walked in", 7)).await.unwrap();
    let Answer::Refused(said) = answer else { panic!("{answer:?}") };
    assert!(said.contains("its own parent centre: fetch the patient there first"), "{said}");
    // Fetched there first, it is here.
    fetch(&world.clinics[0], "Patient/amina").await;
    fetch(&clinic, "Patient/amina").await;
    assert_eq!(text(&clinic, "Patient/amina"), text(&world.centre, "Patient/amina"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_parent_ends_what_is_over_and_gets_back_what_a_visit_brought() {
    let mut world = world().await;
    set_leave(&mut world.clinics[0], LeavePolicy::Purge).await;
    world.settle().await;
    let before = backup(&world.centre, "before", world.folder.path());
    fetch(&world.clinics[0], "Patient/amina").await;
    let note = observation("here", "amina", "38.4");
    world.clinics[0].record("nurse", std::slice::from_ref(&note)).await.unwrap();
    world.settle().await;
    // The centre forgets that there was a visit, and gets back what it brought: only then the
    // clinic lets go.
    restore(&mut world.centre, &before, 7).await;
    world.settle().await;
    assert_eq!(text(&world.centre, "Observation/here"), Some(note.clone()));
    let (status, _) = ask(&world, &world.clinics[0], "GET", "/fhir/Patient/amina", b"").await;
    assert_eq!(status, 404);
    for record in ["Patient/amina", "Observation/here"] {
        assert_eq!(text(&world.clinics[0], record), None);
    }
    // Fetched again it is as it was.
    fetch(&world.clinics[0], "Patient/amina").await;
    world.settle().await;
    assert_eq!(text(&world.centre, "Observation/here"), Some(note));
    world.assert_in_step().await;
    // A backup from the time of the visit brings it back for no longer than it was granted.
    let during = backup(&world.centre, "during", world.folder.path());
    let site = world.centre.site();
    site.store()
        .visitor_end(&"east".parse().unwrap(), &reference("Patient/amina"), site.now())
        .unwrap();
    world.settle().await;
    assert_eq!(text(&world.clinics[0], "Patient/amina"), None);
    restore(&mut world.centre, &during, 8).await;
    let site = world.centre.site();
    let later = site.now().plus_millis(8 * DAY);
    assert_eq!(site.store().visitor_expire(later).unwrap(), 1);
    world.settle().await;
    assert_eq!(text(&world.clinics[0], "Patient/amina"), None);
    assert_eq!(site.store().visitor_list(None).unwrap(), []);
}
