//! A site that is made beside a record system: `tributary init --emr`.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::admin::{administrator, get, post};
use crate::folder::{Folder, Said, tributary, wait_until};
use crate::stand_in::{PASSWORD, StandIn, USER};

/// Runs the program with these variables and this input.
fn with(args: &[&str], variables: &[(&str, &str)], input: &str) -> Said {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tributary"))
        .args(args)
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// Nobody but its owner can read a file of the site.
fn assert_secret(dir: &Path, file: &str, secret: &str) {
    let path = dir.join(file);
    assert_eq!(std::fs::read_to_string(&path).unwrap().trim(), secret);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let settings = std::fs::read_to_string(dir.join("tributary.toml")).unwrap();
    assert!(settings.contains(file) && !settings.contains(secret), "{settings}");
}

#[test]
fn a_site_beside_openmrs_is_made_asked_and_told_what_is_to_be_mended() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let openmrs = runtime.block_on(StandIn::start());
    let temporary = tempfile::tempdir().unwrap();
    let password = temporary.path().join("password");
    std::fs::write(&password, format!("{PASSWORD}\n")).unwrap();
    let password = password.to_str().unwrap();
    let dir = |name: &str| temporary.path().join(name);
    let init = |name: &str, more: &[&str], variables: &[(&str, &str)], input: &str| {
        let dir = dir(name);
        let mut args = vec!["init", "--site", "clinic", "--dir", dir.to_str().unwrap()];
        args.extend(["--emr", "openmrs", "--emr-url", &openmrs.url, "--emr-user", USER]);
        args.extend(["--emr-notice", "atomfeed"]);
        args.extend(more);
        with(&args, variables, input)
    };

    let told = init("by-file", &["--emr-password-file", password], &[], "").ok();
    for words in ["OpenMRS 2.6.1 answers", "It lacks nothing", "tributary serve --dir"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert_secret(&dir("by-file"), "emr.secret", PASSWORD);
    init("by-input", &["--emr-password-file", "-"], &[], &format!("{PASSWORD}\n")).ok();
    assert_secret(&dir("by-input"), "emr.secret", PASSWORD);

    // It is made all the same, and says what is to be done.
    let wrong = init("wrong", &[], &[("TRIBUTARY_EMR_PASSWORD", "another")], "");
    assert_eq!(wrong.code, Some(1), "{}", wrong.out);
    let again = format!("tributary emr check --dir {}", dir("wrong").display());
    for words in ["check `user` and the password", "The site is made", &again] {
        assert!(wrong.out.contains(words), "{words}: {}", wrong.out);
    }
    std::fs::write(dir("wrong").join("emr.secret"), PASSWORD).unwrap();
    let check = ["emr", "check", "--dir", dir("wrong").to_str().unwrap()].map(str::to_owned);
    tributary(&check.each_ref().map(String::as_str)).ok();
    init("wrong", &["--emr-password-file", password], &[], "").refused(&["there is one already"]);

    // Nobody is at a terminal: what is missing is named, and nothing is made.
    init("none", &[], &[], "").refused(&["--emr-password-file", "TRIBUTARY_EMR_PASSWORD"]);
    let more = ["--emr-password-file", password, "--emr-notice", "binlog"];
    init("none", &more, &[], "").refused(&["--emr-database is missing"]);
    assert!(!dir("none").exists());
}

#[test]
fn what_the_record_system_refuses_is_shown_and_acted_on_by_both_ways_alike() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let openmrs = runtime.block_on(StandIn::start());
    let temporary = tempfile::tempdir().unwrap();
    let password = temporary.path().join("password");
    std::fs::write(&password, PASSWORD).unwrap();
    let beside = ["--emr", "openmrs", "--emr-url", &openmrs.url, "--emr-user", USER];
    let more = ["--emr-notice", "atomfeed", "--emr-password-file", password.to_str().unwrap()];
    let clinic = Folder::with("clinic", &[&["--open-on-loopback"], &beside[..], &more].concat());
    let _running = clinic.serve();
    let desk = administrator(&clinic);
    for id in ["amina", "baraka"] {
        let unknown = json!({"value": format!("{id}-8"), "type": {"text": "a type of elsewhere"}});
        let patient = json!({"resourceType": "Patient", "id": id, "gender": "female",
            "name": [{"family": "Otieno", "given": ["A"]}], "identifier": [unknown]});
        let put = clinic.ask(&format!("PUT /fhir/Patient/{id}"), None, &patient.to_string());
        assert_eq!(put.0, 201, "{}", put.1);
    }
    let listed = || clinic.json(&["emr", "list", "--state", "parked", "--json"]);
    wait_until("both are parked", || listed().as_array().is_some_and(|all| all.len() == 2));
    let all = get(&clinic, "/admin/emr/records?state=parked", &desk);
    assert_eq!(all, listed());
    assert_eq!(clinic.json(&["queue", "--json"])["emr"], all);
    assert_eq!(get(&clinic, "/admin/queue?patient=Patient/amina", &desk)["emr"][0], all[0]);
    assert!(clinic.run(&["queue"]).ok().contains("record system: parked  Patient/amina"));
    let one = get(&clinic, "/admin/emr/records/Patient/amina", &desk);
    assert!(
        one == all[0] && one["reason"].as_str().unwrap().contains("has no identifier type"),
        "{one}"
    );
    let status = get(&clinic, "/admin/emr", &desk);
    assert_eq!((&status["kind"], &status["parked"]), (&json!("openmrs"), &json!(2)));

    let amina = json!({"record": "Patient/amina", "reason": "a test record"});
    let dropped = post(&clinic, "/admin/emr/drop", &desk, &amina);
    assert_eq!(dropped, (200, json!({"records": 1})));
    let baraka = ["emr", "park", "Patient/baraka", "--reason", "room 4"];
    clinic.run(&baraka).refused(&[]);
    let retried = post(&clinic, "/admin/emr/retry", &desk, &json!({"state": "parked"}));
    assert_eq!(retried, (200, json!({"records": 1})));
    let asked = json!({"patient": "Patient/baraka", "reason": "room 4"});
    wait_until("it is parked again, by either", || {
        post(&clinic, "/admin/emr/park", &desk, &asked).0 == 200
            && listed().as_array().is_some_and(|all| all.len() == 1)
    });
    let why = clinic.run(&["why", "Patient/amina"]).ok();
    assert!(why.contains("given up by hand for the record system: a test record"), "{why}");
    let audit = clinic.json(&["audit", "search", "--action", "emr-drop", "--json"]);
    assert_eq!(
        (&audit[0]["subject"], &audit[0]["actor"]),
        (&one["record"], &json!("program:desk"))
    );

    refuse(&clinic, &desk);
    let centre = Folder::new("centre");
    let _running = centre.serve();
    let desk = administrator(&centre);
    assert_eq!(centre.ask("GET /admin/emr", Some(&desk), "").0, 404, "there is none");
}

/// What is asked wrongly, or by who may not.
fn refuse(clinic: &Folder, desk: &str) {
    for (path, asked, status) in [
        ("/admin/emr/drop", json!({"record": "Patient/amina"}), 400),
        ("/admin/emr/park", json!({"reason": "everything?"}), 400),
        ("/admin/emr/park", json!({"reason": "everything", "all": true}), 400),
        ("/admin/emr/retry", json!({}), 400),
        ("/admin/emr/retry", json!({"state": "same"}), 400),
        ("/admin/emr/retry", json!({"record": "Patient/amina", "all": true}), 400),
    ] {
        assert_eq!(post(clinic, path, desk, &asked).0, status, "{path} {asked}");
    }
    for (path, bearer, status) in [
        ("/admin/emr/records/Patient/chebet", Some(desk), 404),
        ("/admin/emr/records/Pet/amina", Some(desk), 404),
        ("/admin/emr/records?state=same", Some(desk), 400),
        ("/admin/emr", None, 403),
        ("/admin/emr/records", None, 403),
    ] {
        assert_eq!(clinic.ask(&format!("GET {path}"), bearer, "").0, status, "{path}");
    }
}
