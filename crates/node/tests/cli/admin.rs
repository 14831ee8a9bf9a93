//! What an administrator sees and does: by the command line, and by HTTP the same.

use serde_json::{Value, json};

use crate::folder::Folder;
use crate::pair::joined;

/// A credential for `/admin`.
pub(crate) fn administrator(site: &Folder) -> String {
    let told = site.run(&["token", "add", "desk", "--scope", "administer"]).ok();
    told.split_whitespace().last().unwrap().to_owned()
}

/// The JSON of an answer by HTTP.
fn body(answer: &str) -> Value {
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

pub(crate) fn get(site: &Folder, path: &str, bearer: &str) -> Value {
    let (status, answer) = site.ask(&format!("GET {path}"), Some(bearer), "");
    assert_eq!(status, 200, "{answer}");
    body(&answer)
}

pub(crate) fn post(site: &Folder, path: &str, bearer: &str, asked: &Value) -> (u16, Value) {
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
    assert_eq!(freed, (200, json!({"changes": 1, "lines": 0, "kept": 0, "leased": 0})));
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

#[test]
fn a_manual_round_is_had_by_the_running_site_or_else_by_the_command() {
    let (centre, clinic, centre_runs) = joined();
    let clinic_runs = clinic.serve();
    let desk = administrator(&clinic);
    clinic.put_patient("amina", "Otieno");
    let told = clinic.json(&["sync", "--json"]);
    assert_eq!((&told["by"], &told["in_step"]), (&json!("serve"), &json!(true)), "{told}");
    assert!(centre.holds("amina", "Otieno"));
    let (status, asked) = post(&clinic, "/admin/rounds", &desk, &json!({}));
    assert_eq!(status, 202);
    let number = asked["number"].as_u64().unwrap();
    crate::folder::wait_until("the round is over", || {
        get(&clinic, "/admin/rounds", &desk)["last"]["number"].as_u64() >= Some(number)
    });
    // Nobody answers: the running site tries at once, and says so.
    drop(centre_runs);
    let said = clinic.run(&["sync", "--json"]);
    assert_eq!(said.code, Some(1));
    assert!(said.out.contains("\"by\":\"serve\""), "{}", said.out);
    drop(clinic_runs);
    let before = clinic.json(&["status", "--json"])["link"]["failures"].as_u64().unwrap();
    let said = clinic.run(&["sync", "--json"]);
    assert!(said.out.contains("\"by\":\"sync\""), "{}", said.out);
    let link = clinic.json(&["status", "--json"])["link"].clone();
    assert_eq!(link["failures"].as_u64(), Some(before + 1), "it is noted as the site would");
    assert!(link["next_attempt"].is_string() && link["last_error"].is_string(), "{link}");
}

#[test]
fn links_are_paused_and_resumed_and_both_sides_show_it() {
    let (centre, clinic, _centre_runs) = joined();
    let _clinic_runs = clinic.serve();
    let desk = administrator(&centre);
    centre.run(&["link", "pause", "nobody", "--reason", "x"]).refused(&["no child nobody"]);
    centre.run(&["link", "pause", "--reason", "x"]).refused(&["has no parent"]);
    centre.run(&["link", "pause", "clinic", "--reason", "stocktaking", "--for", "2h"]).ok();
    let status = centre.run(&["status"]).ok();
    assert!(status.contains("PAUSED     clinic: ") && status.contains("stocktaking"), "{status}");
    let links = centre.json(&["link", "list", "--json"]);
    assert_eq!(
        (&links[0]["link"], &links[0]["paused"]["reason"]),
        (&json!("clinic"), &json!("stocktaking"))
    );
    assert_eq!(get(&centre, "/admin/links", &desk), links);
    clinic.put_patient("amina", "Otieno");
    crate::folder::wait_until("the clinic shows it", || {
        clinic.run(&["status"]).ok().contains("paused at centre")
    });
    assert_eq!(post(&centre, "/admin/links/clinic/resume", &desk, &json!({})).0, 200);
    assert_eq!(post(&centre, "/admin/links/clinic/resume", &desk, &json!({})).0, 409);
    clinic.run(&["sync"]).ok();
    assert!(centre.holds("amina", "Otieno"));
    clinic.run(&["link", "pause", "--reason", "moving house"]).ok();
    clinic.put_patient("baraka", "Mwangi");
    let said = clinic.run(&["sync"]);
    assert!(said.code != Some(0) && said.err.contains("moving house"), "{}", said.err);
    crate::folder::wait_until("the centre shows it", || {
        centre.run(&["status"]).ok().contains("PAUSED there")
    });
    assert!(!centre.holds("baraka", "Mwangi"));
    clinic.run(&["link", "resume", "parent"]).ok();
    crate::folder::wait_until("it goes on by itself", || centre.holds("baraka", "Mwangi"));
    for (path, asked, status) in [
        ("/admin/links/clinic/pause", json!({}), 400),
        ("/admin/links/clinic/pause", json!({"reason": "x", "for_seconds": 0}), 400),
        ("/admin/links/nobody/pause", json!({"reason": "x"}), 404),
        ("/admin/links/CLINIC!/pause", json!({"reason": "x"}), 404),
        ("/admin/rounds", json!({}), 409),
    ] {
        assert_eq!(post(&centre, path, &desk, &asked).0, status, "{path} {asked}");
    }
}

#[test]
fn what_the_command_line_shows_programs_get_with_the_same_fields() {
    let (centre, clinic, _centre_runs) = joined();
    let desk = administrator(&centre);
    let file = clinic.write("amina.json", crate::folder::patient("amina", "Otieno"));
    clinic.run(&["import", &file]).ok();
    clinic.run(&["sync"]).ok();
    let fields = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let (told, got) = (centre.json(&["status", "--json"]), get(&centre, "/admin/status", &desk));
    assert_eq!(fields(&told), fields(&got));
    assert_eq!(fields(&told["children"][0]), fields(&got["children"][0]));
    assert_eq!(told["records"], got["records"]);
    let told = centre.json(&["audit", "search", "--patient", "amina", "--json"]);
    for patient in ["Patient/amina", "amina"] {
        assert_eq!(get(&centre, &format!("/admin/audit?patient={patient}"), &desk), told);
    }
    assert!(!told.as_array().unwrap().is_empty());
    let rows = get(&centre, "/admin/audit?after=1&limit=2", &desk);
    assert_eq!((&rows[0]["key"], &rows[1]["key"]), (&json!(2), &json!(3)));
    let told = centre.json(&["conflict", "list", "--json"]);
    assert_eq!(get(&centre, "/admin/conflicts", &desk), told);
    let told = centre.json(&["why", "Patient/amina", "--json"]);
    let got = get(&centre, "/sync/why?record=Patient/amina", &desk);
    assert_eq!(fields(&told), fields(&got));
    assert_eq!(told["here"], got["here"]);
    assert_eq!(centre.ask("GET /admin/audit?who=me", Some(&desk), "").0, 400);
}

#[test]
fn who_has_seen_a_patient_is_told_and_found_as_audit_events() {
    let (centre, clinic, _centre_runs) = joined();
    let desk = administrator(&centre);
    let file = clinic.write("amina.json", crate::folder::patient("amina", "Otieno"));
    clinic.run(&["import", &file]).ok();
    clinic.run(&["sync"]).ok();
    centre.put_patient("baraka", "Mwangi");
    for id in ["amina", "baraka"] {
        assert_eq!(centre.ask(&format!("GET /fhir/Patient/{id}"), None, "").0, 200);
    }
    let told = centre.run(&["audit", "who", "amina"]).ok();
    for words in
        ["program:local", "read", "clinic           all that it had", "this site: all up to now"]
    {
        assert!(told.contains(words), "{words:?} is not in\n{told}");
    }
    let who = centre.json(&["audit", "who", "Patient/amina", "--json"]);
    let got = get(&centre, "/admin/audit/who?record=Patient/amina", &desk);
    assert_eq!((&who["seen"], &who["names"]), (&got["seen"], &got["names"]));
    assert!(centre.run(&["audit", "verify", "--site", "clinic"]).ok().contains("rows of clinic"));
    centre.run(&["audit", "verify", "--site", "nobody"]).refused(&["no row of it"]);
    // The same rows as FHIR resources, page by page.
    let events = |query: &str| {
        let bundle = get(&centre, &format!("/fhir/AuditEvent?{query}"), &desk);
        assert_eq!(bundle["type"], "searchset");
        bundle
    };
    let read = events("patient=amina&action=read");
    let resource = &read["entry"][0]["resource"];
    assert_eq!(
        (&resource["resourceType"], &resource["action"]),
        (&json!("AuditEvent"), &json!("R"))
    );
    assert_eq!(resource["agent"][0]["altId"], "program:local");
    assert_eq!(resource["entity"][0]["what"]["reference"], "Patient/amina");
    assert_eq!(read["entry"][1], Value::Null, "{read}");
    let id = resource["id"].as_str().unwrap();
    assert_eq!(&get(&centre, &format!("/fhir/AuditEvent/{id}"), &desk), resource);
    let sites = |query: &str| {
        let bundle = events(query);
        let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
        let site = |entry: &Value| entry["resource"]["source"]["site"].as_str().unwrap().to_owned();
        entries.iter().map(site).collect::<Vec<_>>()
    };
    assert!(sites("_count=100").contains(&"clinic".to_owned()), "rows of sites below, too");
    assert!(sites("action=U&entity=Patient/amina").contains(&"centre".to_owned()));
    assert_eq!(sites("date=lt2020-01-01"), [] as [&str; 0]);
    assert!(!sites("date=ge2020-01-01&agent=program:local").is_empty());
    let (mut seen, mut page) = (Vec::new(), events("_count=2"));
    loop {
        let entries = page["entry"].as_array().cloned().unwrap_or_default();
        seen.extend(entries.iter().map(|entry| entry["fullUrl"].as_str().unwrap().to_owned()));
        let links = page["link"].as_array().unwrap();
        let Some(next) = links.iter().find(|link| link["relation"] == "next") else { break };
        page = events(next["url"].as_str().unwrap().split_once('?').unwrap().1);
    }
    let all = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!((seen.len(), all), (all, sites("_count=500").len()), "each row once");
    what_is_asked_wrongly_or_by_others_shows_no_audit(&centre, &desk);
}

fn what_is_asked_wrongly_or_by_others_shows_no_audit(centre: &Folder, desk: &str) {
    for (head, bearer, status) in [
        ("GET /fhir/AuditEvent?date=yesterday", Some(desk), 400),
        ("GET /fhir/AuditEvent?color=red", Some(desk), 400),
        ("GET /fhir/AuditEvent/1.0.nowhere", Some(desk), 404),
        ("GET /fhir/AuditEvent?_page=x", Some(desk), 400),
        ("DELETE /fhir/AuditEvent/1.0.centre", Some(desk), 403),
        ("GET /fhir/Patient", Some(desk), 403),
    ] {
        assert_eq!(centre.ask(head, bearer, "").0, status, "{head}");
    }
    let (_, others) = centre.ask("GET /fhir/AuditEvent", None, "");
    assert!(!others.contains("\"entry\""), "no audit for other programs: {others}");
    let (_, metadata) = centre.ask("GET /fhir/metadata", None, "");
    assert!(metadata.contains("With a credential of the scope administer"));
}
