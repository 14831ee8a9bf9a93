//! What the verbs do to one site, also while it is served.

use std::net::TcpListener;

use crate::folder::{Folder, code_of, tributary};

#[test]
fn a_folder_is_made_once_and_its_site_id_and_address_are_checked() {
    let site = Folder::new("centre");
    let again = ["init", "--site", "centre", "--listen", "127.0.0.1:8480"];
    site.run(&again).refused(&["there is one already"]);
    let other = site.beside("other");
    let of = |args: &[&str]| tributary(&[&["init", "--dir", &other], args].concat());
    of(&["--site", "Kisumu East"]).refused(&["Kisumu East"]);
    let open = ["--site", "kisumu", "--listen", "0.0.0.0:8480"];
    of(&open).refused(&["--insecure-http", "0.0.0.0:8480"]);
    assert!(!std::path::Path::new(&other).exists(), "what is refused leaves nothing behind");
    of(&["--site", "kisumu", "--listen", "0.0.0.0:8480", "--insecure-http"]).ok();
}

#[test]
#[cfg(unix)]
fn the_folder_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let site = Folder::new("centre");
    assert_eq!(std::fs::metadata(site.dir()).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_port_in_use_is_said_in_a_sentence() {
    let site = Folder::new("centre");
    let _taken = TcpListener::bind(&site.address).unwrap();
    let said = site.run(&["serve"]);
    assert_eq!(said.code, Some(1));
    said.refused(&["failed to listen on", &site.address, "another program"]);
}

#[test]
#[cfg(unix)]
fn a_folder_is_served_by_one_process_which_sigterm_stops_cleanly() {
    let site = Folder::new("centre");
    let serving = site.serve();
    site.run(&["serve"]).refused(&["another `tributary serve`"]);
    let (code, said) = serving.stop();
    assert_eq!(code, Some(0));
    assert!(said.contains("stopping"), "{said}");
    // As soon as it says that it is up.
    for _ in 0..5 {
        assert_eq!(site.serve().stop().0, Some(0));
    }
    drop(site.serve());
}

#[test]
fn verbs_work_while_the_site_is_served() {
    let site = Folder::new("centre");
    let _serving = site.serve();
    site.put_patient("amina", "Odhiambo");
    assert_eq!(site.json(&["status", "--json"])["records"], 1);
    assert!(site.run(&["status"]).ok().contains("1 patients"));
    assert!(site.run(&["cohort", "set", "everybody", "--all"]).ok().contains("1 patients"));
    let list = site.json(&["cohort", "list", "--json"]);
    assert_eq!(list[0]["name"], "everybody");
    assert!(site.run(&["cohort", "show", "everybody"]).ok().contains("Patient/amina"));
    site.run(&["cohort", "show", "nobody"]).refused(&["nobody", "no such cohort"]);
    site.put_patient("baraka", "Mwangi");
    assert_eq!(site.json(&["cohort", "list", "--json"])[0]["patients"], 2);
    assert!(site.json(&["queue", "--json"])["deliveries"].as_array().unwrap().is_empty());
    assert!(site.run(&["queue"]).ok().contains("Nothing waits"));
    assert!(site.run(&["queue", "retry", "--parked"]).ok().contains("0 will be sent"));
    assert!(
        site.run(&["queue", "--state", "parked", "--older", "1"]).ok().contains("Nothing of that")
    );
    site.run(&["queue", "show", "1"]).refused(&["no such change"]);
    tributary(&["queue"]).refused(&["--dir"]);
    assert!(site.run(&["doctor", "--offline"]).ok().contains("Nothing is wrong"));
}

#[test]
fn a_program_gets_a_credential_that_ends_when_it_is_revoked() {
    let site = Folder::with("centre", &[]);
    let _serving = site.serve();
    let told = site.run(&["token", "add", "dashboard", "--scope", "fhir-read"]).ok();
    let secret = told.split_whitespace().last().unwrap();
    let read = |bearer| site.ask("GET /fhir/Patient", bearer, "").0;
    assert_eq!((read(None), read(Some("made-up")), read(Some(secret))), (401, 401, 200));
    let body = r#"{"resourceType":"Patient"}"#;
    assert_eq!(site.ask("POST /fhir/Patient", Some(secret), body).0, 403);
    site.run(&["token", "add", "dashboard", "--scope", "fhir-read"]).refused(&["dashboard"]);
    let list = site.run(&["token", "list"]).ok();
    assert!(list.contains("dashboard") && !list.contains(secret), "{list}");
    site.run(&["token", "revoke", "dashboard"]).ok();
    assert_eq!(read(Some(secret)), 401);
    site.run(&["token", "revoke", "nobody"]).refused(&["no such credential"]);
}

#[test]
fn a_child_is_let_in_and_shut_out() {
    let site = Folder::new("centre");
    let add = ["child", "add", "kisumu", "--cohort", "west"];
    site.run(&add).refused(&["west"]);
    site.run(&["cohort", "set", "west", "--address", "Kenya > Kisumu"]).ok();
    assert!(code_of(&site.run(&add).ok()).len() >= 8);
    assert_eq!(site.json(&["child", "list", "--json"])[0]["site"], "kisumu");
    site.run(&["child", "add", "centre", "--cohort", "west"]).refused(&["this site itself"]);
    let allow = ["child", "allow", "kisumu", "Observation/pulse", "--reason"];
    site.run(&[&allow[..], &["the centre was restored"]].concat()).ok();
    site.run(&[&allow[..], &[" "]].concat()).refused(&["reason"]);
    site.run(&["child", "allow", "kisumu", "pulse", "--reason", "x"]).refused(&["pulse"]);
    site.run(&["child", "revoke", "kisumu"]).ok();
    site.run(&[&allow[..], &["it is shut out"]].concat()).refused(&["no such child"]);
    assert!(site.run(&["child", "list"]).ok().contains("revoked"));
    site.run(&["child", "revoke", "nobody"]).refused(&["no such child"]);
}

#[test]
fn a_backup_of_a_running_site_is_restored_under_a_new_epoch() {
    let site = Folder::new("centre");
    let serving = site.serve();
    site.put_patient("amina", "Odhiambo");
    let backup = site.beside("backup.db");
    site.run(&["backup", &backup]).ok();
    site.run(&["backup", &backup]).refused(&["backup.db"]);
    site.put_patient("baraka", "Mwangi");
    let before = site.json(&["status", "--json"]);
    site.run(&["restore", &backup, "--replace"]).refused(&["stop `tributary serve` first"]);
    drop(serving);
    site.run(&["restore", &backup]).refused(&["--replace"]);
    site.run(&["restore", &site.write("odd", "no store"), "--replace"]).refused(&["odd"]);
    assert_eq!(site.json(&["status", "--json"])["records"], 2, "a refused restore changes nothing");
    site.run(&["restore", &backup, "--replace"]).ok();
    let after = site.json(&["status", "--json"]);
    assert_eq!(after["records"], 1);
    assert_ne!(after["epoch"], before["epoch"]);
    assert!(site.dir().join("tributary.db.replaced").exists());
    let foreign = Folder::new("kisumu");
    foreign.run(&["restore", &backup, "--replace"]).refused(&["of centre", "kisumu"]);
}

#[test]
fn a_timeline_shows_who_changed_what_in_lines_that_fit() {
    let site = Folder::new("centre");
    let born = |day: &str| {
        let long = "a very long remark ".repeat(9);
        let json = serde_json::json!({
            "resourceType": "Patient", "id": "amina", "birthDate": day, "language": long + day,
        });
        site.write("amina.json", json.to_string())
    };
    site.run(&["import", &born("1990-01-02")]).ok();
    site.run(&["import", &born("1990-02-02")]).ok();
    site.run(&["cohort", "set", "east", "--all"]).ok();
    let told = site.run(&["patient", "timeline", "amina"]).ok();
    for line in [
        "import at centre",
        "    Patient/amina created",
        "      birthDate  1990-01-02 -> 1990-02-02",
        "joined the cohort east",
    ] {
        assert!(told.contains(line), "{line} is not in\n{told}");
    }
    assert!(told.lines().all(|line| line.chars().count() <= 80), "{told}");
    let newest = ["patient", "timeline", "Patient/amina", "--json", "--reverse", "--limit", "2"];
    let newest = site.json(&newest);
    let kinds = [&newest["entries"][0]["kind"], &newest["entries"][1]["kind"]];
    assert_eq!(kinds, ["join", "change"]);
    assert!(newest["next"].is_string() && newest["entries"][2].is_null());
    let later = ["patient", "timeline", "amina", "--since", "2999-01-01"];
    assert!(site.run(&later).ok().contains("Nothing"));
    site.run(&["patient", "timeline", "nobody"]).refused(&["Patient/nobody is not known"]);
    let yesterday = site.run(&["patient", "timeline", "amina", "--since", "yesterday"]);
    assert_eq!(yesterday.code, Some(2));
}
