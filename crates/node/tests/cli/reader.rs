//! A site that its parent reads, and one that starts though not all can be written.

use serde_json::json;

use crate::admin::{administrator, get, post};
use crate::folder::{Folder, patient};

#[test]
fn a_clinic_that_is_read_needs_no_credential_for_its_parent_and_is_told_what_it_can_do() {
    let clinic = Folder::new("clinic");
    clinic.run(&["join", "--read-by", "centre"]).ok();
    let told = clinic.run(&["doctor"]).ok();
    assert!(told.contains("ok    the parent centre reads this site"), "{told}");
    clinic.run(&["sync"]).refused(&["the parent centre reads this site", "source run clinic"]);
    clinic.run(&["verify"]).refused(&["the parent centre reads this site"]);
    let file = clinic.write("amina.json", patient("amina", "Odhiambo"));
    clinic.run(&["import", &file]).ok();
    let told = clinic.run(&["why", "Patient/amina"]).ok();
    assert!(told.contains("waits for the parent to read it"), "{told}");
    assert!(!told.contains("never been heard"), "{told}");
    let names = clinic.json(&["token", "list", "--json"]);
    let name = names[0]["name"].as_str().unwrap().to_owned();
    clinic.run(&["token", "revoke", &name]).ok();
    let told = clinic.run(&["doctor"]);
    assert_eq!(told.code, Some(1));
    assert!(told.out.contains("--scope read-outgoing` makes its credential"), "{}", told.out);
}

#[test]
fn a_site_starts_though_the_file_for_commands_cannot_be_written() {
    let site = Folder::new("centre");
    std::fs::create_dir(site.dir().join("serve.control")).unwrap();
    let _serving = site.serve();
    assert_eq!(site.ask("GET /health/ready", None, "").0, 200);
    let left = std::fs::read_dir(site.dir()).unwrap().filter_map(Result::ok);
    let left = left.filter(|file| file.file_name().to_string_lossy().contains("serve.new-"));
    assert_eq!(left.count(), 0, "nothing half written stays");
}

#[test]
fn what_is_done_to_the_queue_is_told_with_its_reason_and_its_patient() {
    let (_centre, clinic, _serving) = crate::pair::joined();
    let file = clinic.write("amina.json", patient("amina", "Odhiambo"));
    clinic.run(&["import", &file]).ok();
    let queue = clinic.json(&["queue", "--json"]);
    let number = queue["deliveries"][0]["sequence"].as_u64().unwrap().to_string();
    let reason = "room 4 \u{1b}[2J is being painted";
    clinic.run(&["queue", "park", &number, "--reason", reason]).ok();
    let told = clinic.run(&["audit", "search", "--action", "delivery-park"]).ok();
    assert!(told.contains("(park: 1: room 4  [2J is being painted)"), "{told}");
    assert_eq!(clinic.run(&["queue", "unpark", "9999"]).code, Some(1));
    clinic.run(&["queue", "unpark", &number]).ok();
    clinic.run(&["link", "pause", "parent", "--reason", "the mast is mended"]).ok();
    let told = clinic.run(&["why", "Patient/amina"]).ok();
    assert!(told.contains("it goes when the link is resumed"), "{told}");
    assert!(told.contains("until it is resumed: the mast is mended."), "{told}");
    clinic.run(&["queue", "drop", &number, "--reason", "entered twice"]).ok();
    let desk = administrator(&clinic);
    let _runs = clinic.serve();
    let found = get(&clinic, "/fhir/AuditEvent?patient=amina&_count=100", &desk);
    let of = |action: &str| {
        let entries = found["entry"].as_array().unwrap().iter().map(|entry| &entry["resource"]);
        let event = entries.into_iter().find(|event| event["subtype"][0]["code"] == action);
        event.map(|event| event["entity"][0]["what"]["reference"].clone())
    };
    for action in ["delivery-park", "delivery-unpark", "delivery-drop"] {
        assert_eq!(of(action), Some("Patient/amina".into()), "{action}: {found}");
    }
}

#[test]
fn a_source_that_is_no_child_is_paused_by_its_name_and_shown_so() {
    let centre = Folder::new("centre");
    let settings = centre.dir().join("tributary.toml");
    let source = "[[source]]\nname = \"kisumu-emr\"\nkind = \"atomfeed\"\n\
        url = \"http://127.0.0.1:9/openmrs\"\nfeeds = [\"patient\"]\n";
    let text = std::fs::read_to_string(&settings).unwrap();
    std::fs::write(&settings, format!("{text}\n{source}")).unwrap();
    centre.run(&["link", "pause", "kisumu", "--reason", "x"]).refused(&["no source of that name"]);
    centre.run(&["link", "pause", "kisumu-emr", "--reason", "it is upgraded"]).ok();
    centre.run(&["source", "run", "kisumu-emr"]).refused(&["paused at centre", "it is upgraded"]);
    let status = centre.run(&["status"]).ok();
    assert!(status.contains("PAUSED     kisumu-emr: ") && status.contains("upgraded"), "{status}");
    let listed = centre.run(&["link", "list"]).ok();
    assert!(listed.starts_with("source  kisumu-emr") && listed.contains("upgraded"), "{listed}");
    let desk = administrator(&centre);
    let serving = centre.serve();
    assert_eq!(get(&centre, "/admin/links", &desk)[0]["paused"]["reason"], "it is upgraded");
    let (path, asked) = ("/admin/links/kisumu-emr", json!({"reason": "x"}));
    assert_eq!(post(&centre, &format!("{path}/resume"), &desk, &json!({})).0, 200);
    assert_eq!(post(&centre, &format!("{path}/pause"), &desk, &asked).0, 200);
    drop(serving);
    centre.run(&["link", "resume", "kisumu-emr"]).ok();
    centre.run(&["source", "run", "kisumu-emr"]).refused(&["failed to read kisumu-emr"]);
}
