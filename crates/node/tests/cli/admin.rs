//! What an administrator sees and does: by the command line, and by HTTP the same.

use serde_json::{Value, json};

use crate::folder::Folder;
use crate::pair::joined;

/// A credential for `/admin`.
fn administrator(site: &Folder) -> String {
    let told = site.run(&["token", "add", "desk", "--scope", "administer"]).ok();
    told.split_whitespace().last().unwrap().to_owned()
}

/// The JSON of an answer by HTTP.
fn body(answer: &str) -> Value {
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

fn get(site: &Folder, path: &str, bearer: &str) -> Value {
    let (status, answer) = site.ask(&format!("GET {path}"), Some(bearer), "");
    assert_eq!(status, 200, "{answer}");
    body(&answer)
}

fn post(site: &Folder, path: &str, bearer: &str, asked: &Value) -> (u16, Value) {
    let (status, answer) = site.ask(&format!("POST {path}"), Some(bearer), &asked.to_string());
    (status, body(&answer))
}

#[test]
fn what_waits_is_parked_freed_and_dropped_by_both_ways_alike() {
    let (_centre, clinic, centre_runs) = joined();
    drop(centre_runs);
    let _running = clinic.serve();
    let desk = administrator(&clinic);
    for id in ["amina", "baraka", "chebet"] {
        clinic.put_patient(id, "Otieno");
    }
    let listed = clinic.json(&["queue", "--json"]);
    assert_eq!(listed["deliveries"].as_array().unwrap().len(), 3);
    assert_eq!(get(&clinic, "/admin/queue", &desk), listed);
    // Counting first: nothing happens by it.
    let amina = ["queue", "park", "--patient", "Patient/amina", "--reason", "room 4", "--dry-run"];
    assert!(clinic.run(&amina).ok().contains("1 changes and 0 lines. Nothing was done"));
    clinic.run(&amina[..6]).ok();
    assert_eq!(
        clinic.json(&["queue", "--state", "parked", "--json"])["deliveries"][0]["state"],
        "parked"
    );
    let freed = post(&clinic, "/admin/queue/unpark", &desk, &json!({"reason_has": "room 4"}));
    assert_eq!(freed, (200, json!({"changes": 1, "lines": 0, "kept": 0})));
    clinic.run(&["queue", "drop", "1", "--reason", "entered twice"]).ok();
    clinic.run(&["queue", "drop", "1", "--reason", " "]).refused(&["reason"]);
    let asked = json!({"ids": ["2"], "reason": "a test record"});
    assert_eq!(post(&clinic, "/admin/queue/drop", &desk, &asked).1["changes"], 1);
    let dropped = get(&clinic, "/admin/queue?state=dropped", &desk);
    assert_eq!(dropped, clinic.json(&["queue", "--state", "dropped", "--json"]));
    assert_eq!(dropped["deliveries"][0]["reason"], "entered twice");
    assert_eq!(get(&clinic, "/admin/queue/1", &desk), clinic.json(&["queue", "show", "1"]));
    assert_eq!(get(&clinic, "/admin/queue/1", &desk)["history"][0][1], "dropped");
    let why = clinic.run(&["why", "Patient/amina"]).ok();
    assert!(why.contains("was given up by hand") && why.contains("entered twice"), "{why}");
    assert!(clinic.run(&["audit", "search", "--action", "delivery-drop"]).ok().contains("entered"));
    for (path, asked, status) in [
        ("/admin/queue/drop", json!({"ids": ["3"]}), 400),
        ("/admin/queue/drop", json!({"reason": "everything?"}), 400),
        ("/admin/queue/retry", json!({"ids": ["3"], "all": true}), 400),
        ("/admin/queue/retry", json!({"ids": ["three"]}), 400),
        ("/admin/queue/retry", json!({"old": 3}), 400),
    ] {
        assert_eq!(post(&clinic, path, &desk, &asked).0, status, "{path} {asked}");
    }
    let other = clinic.run(&["token", "add", "emr", "--scope", "fhir-write"]).ok();
    let other = other.split_whitespace().last().unwrap();
    for bearer in [None, Some(other)] {
        assert_eq!(clinic.ask("GET /admin/queue", bearer, "").0, 403, "programs on this machine");
    }
    // An administrator reads no records.
    assert_eq!(clinic.ask("GET /fhir/Patient/amina", Some(&desk), "").0, 403);
    assert_eq!(clinic.ask("GET /admin/queue/99", Some(&desk), "").0, 404);
}
