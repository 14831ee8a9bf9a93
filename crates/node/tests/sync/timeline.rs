//! The patient's timeline by HTTP, at the child as at the parent, and who may read it.

use protocol::Limits;
use protocol::cohort::Definition;
use serde_json::Value;

use crate::world::*;

const EAST: &str = "/sync/patients/mine/timeline";

fn json(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap()
}

/// The kinds of the entries, and of a change what it did: `change Patient/mine created`.
fn told(timeline: &Value) -> Vec<String> {
    let entries = timeline["entries"].as_array().unwrap().iter();
    entries
        .map(|entry| {
            let records = entry["records"].as_array().into_iter().flatten();
            let records = records.map(|record| {
                let word = |name: &str| record[name].as_str().unwrap().to_owned();
                format!(" {} {}", word("record"), word("what"))
            });
            format!("{}{}", entry["kind"].as_str().unwrap(), records.collect::<String>())
        })
        .collect()
}

async fn two_clinics() -> World {
    let mut world = World::centre_with(Limits::default()).await;
    let of =
        |id: &str| Definition::Patients { patients: [reference(&format!("Patient/{id}"))].into() };
    world.add_clinic("east", of("mine"), Limits::default()).await;
    world.add_clinic("west", of("theirs"), Limits::default()).await;
    for id in ["mine", "theirs"] {
        let file = [patient(id, &format!("Secret-{id}")), observation(id, id, "36.50")];
        world.centre.record("registrar", &file).await.unwrap();
    }
    world.settle().await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeline_is_told_at_the_child_as_at_the_parent() {
    let world = two_clinics().await;
    let east = &world.clinics[0];
    east.record("nurse", &[patient("mine", "Juma")]).await.unwrap();
    world.settle().await;
    let (status, body) = ask(&world, east, "GET", EAST, b"").await;
    let timeline = json(&body);
    assert_eq!((status, timeline["site"].as_str()), (200, Some("centre")), "{timeline}");
    assert_eq!(
        told(&timeline),
        [
            "change Patient/mine created Observation/mine created",
            "join",
            "change Patient/mine updated",
        ]
    );
    let change = &timeline["entries"][2];
    assert_eq!(change["author"], "nurse");
    assert_eq!(change["origin"], "east");
    assert_eq!((&change["via"], &change["child"]), (&"child".into(), &"east".into()));
    let element = &change["records"][0]["elements"][0];
    assert_eq!(element["path"], "name[official].family");
    assert_eq!((&element["from"], &element["to"]), (&"Secret-mine".into(), &"Juma".into()));
    // The clinic's own programs read it at the clinic.
    let (status, body) = http(east, "GET", EAST, &[], Vec::new()).await;
    let timeline = json(&body);
    assert_eq!((status, timeline["site"].as_str()), (200, Some("east")), "{timeline}");
    assert_eq!(
        told(&timeline),
        [
            "join",
            "change Patient/mine created Observation/mine created",
            "change Patient/mine updated",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeline_goes_on_page_by_page_and_refuses_what_it_does_not_understand() {
    let world = two_clinics().await;
    let east = &world.clinics[0];
    let mut found = Vec::new();
    let mut path = format!("{EAST}?limit=1&reverse=true");
    loop {
        let (status, body) = ask(&world, east, "GET", &path, b"").await;
        assert_eq!(status, 200);
        let page = json(&body);
        found.extend(told(&page));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("{EAST}?limit=1&reverse=true&after={next}");
    }
    assert_eq!(found, ["join", "change Patient/mine created Observation/mine created"]);
    for (query, expected) in [
        ("?after=x", 422),
        ("?limit=-1", 400),
        ("?since=yesterday", 400),
        ("?nonsense=1", 400),
        ("?limit=0", 200),
        ("?limit=4000000000", 200),
        ("?since=2999-01-01T00:00:00Z", 200),
    ] {
        let (status, body) = ask(&world, east, "GET", &format!("{EAST}{query}"), b"").await;
        assert_eq!(status, expected, "{query}: {}", String::from_utf8_lossy(&body));
    }
    let (status, _) = ask(&world, east, "GET", "/sync/patients/no%20id/timeline", b"").await;
    assert_eq!(status, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_28_a_timeline_outside_the_childs_cohorts_is_404() {
    let world = two_clinics().await;
    let east = &world.clinics[0];
    let foreign = ask(&world, east, "GET", "/sync/patients/theirs/timeline", b"").await;
    let missing = ask(&world, east, "GET", "/sync/patients/nobody/timeline", b"").await;
    let text = |body: &[u8]| String::from_utf8_lossy(body).into_owned();
    assert_eq!((foreign.0, missing.0), (404, 404));
    assert_eq!(text(&foreign.1).replace("theirs", "nobody"), text(&missing.1));
    let (status, body) = ask(&world, east, "GET", EAST, b"").await;
    assert!(status == 200 && !text(&body).contains("theirs"), "{}", text(&body));
    let wrong = [("authorization", "Bearer wrong")];
    let (status, _) = http(&world.centre, "GET", EAST, &wrong, Vec::new()).await;
    assert_eq!(status, 401);
    // A patient who left is not the clinic's business any more.
    world.set_cohort("east", Definition::Patients { patients: [].into() });
    let (status, _) = ask(&world, east, "GET", EAST, b"").await;
    assert_eq!(status, 404);
}
