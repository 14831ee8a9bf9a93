//! A child reads its cohorts and the reference records, on every route, and nothing else.

use protocol::Limits;
use protocol::cohort::Definition;

use crate::world::*;

#[tokio::test(flavor = "multi_thread")]
async fn defect_28_a_child_asking_in_any_way_for_a_foreign_record_gets_404_or_nothing() {
    let mut world = World::centre_with(Limits::default()).await;
    let of =
        |id: &str| Definition::Patients { patients: [reference(&format!("Patient/{id}"))].into() };
    world.add_clinic("east", of("mine"), Limits::default()).await;
    world.add_clinic("west", of("theirs"), Limits::default()).await;
    for id in ["mine", "theirs"] {
        let file =
            [patient(id, &format!("Secret-{id}")), observation(&format!("obs-{id}"), id, "1")];
        world.centre.record("registrar", &file).await.unwrap();
    }
    world.settle().await;
    let east = &world.clinics[0];
    for path in [
        "/fhir/Patient/theirs",
        "/fhir/Patient/theirs/_history",
        "/fhir/Patient/theirs/_history/1",
        "/fhir/Patient/theirs/$everything",
        "/fhir/Observation/obs-theirs",
        "/feeds/west/recent",
        "/feeds/west/1",
        "/feeds/outgoing/recent",
        "/feeds/nothing/recent",
        "/sync/feeds/west/changes?after=0",
        "/sync/feeds/west/changes?after=0&lane=bulk",
        "/sync/feeds/west/digests",
        "/sync/feeds/west/summary",
    ] {
        let (status, body) = ask(&world, east, "GET", path, b"").await;
        let body = String::from_utf8(body).unwrap();
        assert_eq!(status, 404, "{path}: {body}");
        assert!(!body.contains("Secret-theirs"), "{path}: {body}");
    }
    for path in [
        "/fhir/Patient",
        "/fhir/Patient?family=Secret",
        "/fhir/Patient?_id=theirs",
        "/fhir/Observation?patient=theirs",
        "/fhir/Observation",
        "/fhir/_history",
        "/fhir/Patient/_history",
        "/feeds/east/recent",
        "/feeds",
        "/sync/feeds/east/changes?after=0",
        "/sync/feeds/east/changes?after=0&lane=bulk",
        "/sync/feeds/east/digests",
        "/sync/feeds/east/summary",
        "/sync/feeds/reference/changes?after=0",
    ] {
        let (status, body) = ask(&world, east, "GET", path, b"").await;
        let body = String::from_utf8(body).unwrap();
        assert_eq!(status, 200, "{path}: {body}");
        // The answer may repeat the question, in its links.
        let said = body.replace(path, "");
        assert!(!said.contains("theirs"), "{path}: {body}");
    }
    let fetch = br#"{"records":["Patient/theirs","Observation/obs-theirs","Patient/mine"]}"#;
    let (status, body) = ask(&world, east, "POST", "/sync/feeds/east/fetch", fetch).await;
    let body = String::from_utf8(body).unwrap();
    assert!(status == 200 && body.contains("Secret-mine") && !body.contains("theirs"), "{body}");
    assert_eq!(text(east, "Patient/theirs"), None);
    // A foreign feed is denied in the same words as one that does not exist; the audit knows.
    let (_, foreign) = ask(&world, east, "GET", "/feeds/west/recent", b"").await;
    let (_, missing) = ask(&world, east, "GET", "/feeds/nothing/recent", b"").await;
    assert_eq!(foreign, missing);
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_29_a_childs_credential_writes_nothing_by_fhir() {
    let world = World::pair().await;
    world.centre.record("registrar", &[patient("p", "Kamau")]).await.unwrap();
    let before = sequence(&world.centre);
    let body = patient("p", "Changed");
    for (method, path) in
        [("PUT", "/fhir/Patient/p"), ("POST", "/fhir/Patient"), ("DELETE", "/fhir/Patient/p")]
    {
        let mut headers = as_child(world.clinic());
        headers.push(("content-type", "application/fhir+json".to_owned()));
        let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let (status, _) = http(&world.centre, method, path, &headers, body.clone().into()).await;
        assert_eq!(status, 403, "{method} {path}");
    }
    assert_eq!(sequence(&world.centre), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_child_cannot_make_anothers_changes_look_received() {
    let mut world = World::pair().await;
    world.add_clinic("west", Definition::All {}, Limits::default()).await;
    let victim = world.clinics[0].site().store().site().unwrap();
    // West claims, under its own credential, to carry the first changes of the other clinic.
    for number in 1..=3 {
        let line = format!("{{\"id\":[\"{}\",\"{}\",{number}]}}\n", victim.site, victim.epoch);
        let (status, body) =
            ask(&world, &world.clinics[1], "POST", "/sync/changes", line.as_bytes()).await;
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    }
    world.clinics[0].record("nurse", &[patient("p", "Real")]).await.unwrap();
    world.settle().await;
    assert!(text(&world.centre, "Patient/p").is_some(), "a record was swallowed");
    world.assert_in_step().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_page_under_a_foreign_name_is_not_taken_for_a_program_of_this_machine() {
    let world = World::pair().await;
    let port = world.centre.site().config().listen.port();
    let own = format!("localhost:{port}");
    for (host, expected) in [(own.as_str(), 200), ("evil.example", 401), ("evil.example:80", 401)] {
        let headers = [("host", host)];
        let (status, _) = http(&world.centre, "GET", "/fhir/Patient", &headers, Vec::new()).await;
        assert_eq!(status, expected, "{host}");
    }
}
