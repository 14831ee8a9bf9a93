//! A centre and a clinic, each a process of its own.

use crate::folder::{Folder, code_of, wait_until};

/// A clinic that has joined a centre, which is being served.
pub(crate) fn joined() -> (Folder, Folder, crate::folder::Serving) {
    let centre = Folder::new("centre");
    let clinic = Folder::new("clinic");
    centre.run(&["cohort", "set", "everybody", "--all"]).ok();
    let told = centre.run(&["child", "add", "clinic", "--cohort", "everybody"]).ok();
    let serving = centre.serve();
    let url = format!("http://{}", centre.address);
    let code = code_of(&told);
    clinic.run(&["join", &url, "--code", "WRONG-CODE"]).refused(&["failed to"]);
    clinic.run(&["join", &url, "--code", &code]).ok();
    clinic.run(&["join", &url, "--code", &code]).refused(&["failed to"]);
    (centre, clinic, serving)
}

#[test]
fn a_clinic_joins_syncs_and_proves_that_it_is_equal() {
    let (centre, clinic, serving) = joined();
    centre.put_patient("amina", "Odhiambo");
    let file = clinic.write("baraka.json", crate::folder::patient("baraka", "Mwangi"));
    clinic.run(&["import", &file]).ok();
    assert_eq!(clinic.run(&["verify"]).code, Some(1), "they differ so far");
    let told = clinic.run(&["sync"]).ok();
    assert!(told.contains("in step: yes"), "{told}");
    assert!(centre.holds("baraka", "Mwangi"));
    assert!(clinic.run(&["verify"]).ok().contains("2 records are equal, 0 differ"));
    assert_eq!(clinic.json(&["sync", "--json"])["in_step"], true);
    assert!(clinic.run(&["doctor"]).ok().contains("the parent centre answers"));
    drop(serving);
    let away = clinic.run(&["sync"]);
    assert_eq!(away.code, Some(1));
    assert!(away.out.contains("in step: no"), "{}", away.out);
    assert_eq!(clinic.run(&["verify"]).code, Some(1));
    assert!(clinic.run(&["doctor", "--offline"]).ok().contains("Nothing is wrong"));
    centre.run(&["sync"]).refused(&["no parent", "tributary join"]);
    centre.run(&["verify"]).refused(&["no parent"]);
}

#[test]
fn verify_names_what_is_here_and_in_no_feed_and_why() {
    let centre = Folder::new("centre");
    let clinic = Folder::new("clinic");
    let cohort = |name: &str| {
        let file = centre.write("cohort", format!("Patient/{name}\n"));
        centre.run(&["cohort", "set", "some", "--patients", &file]).ok();
    };
    cohort("amina");
    let code = code_of(&centre.run(&["child", "add", "clinic", "--cohort", "some"]).ok());
    let _serving = centre.serve();
    clinic.run(&["join", &format!("http://{}", centre.address), "--code", &code]).ok();
    centre.put_patient("amina", "Odhiambo");
    centre.put_patient("dina", "Wanjiru");
    clinic.run(&["sync"]).ok();
    let record = |id: &str| {
        let file = clinic.write(id, crate::folder::patient(id, "Mwangi"));
        clinic.run(&["import", &file]).ok();
    };
    // She leaves and is kept; the centre takes Baraka, who is in no cohort of the clinic.
    record("baraka");
    cohort("dina");
    clinic.run(&["sync"]).ok();
    let told = clinic.run(&["verify"]).ok();
    assert!(told.contains("1 records are equal, 0 differ"), "{told}");
    assert!(told.contains("Patient/amina kept here by the leave policy"), "{told}");
    assert!(told.contains("Patient/baraka the parent took it as it is here"), "{told}");
    assert!(told.contains("2 more are here"), "{told}");

    // What waits is not named; what was given up is here alone.
    record("chao");
    assert!(!clinic.run(&["verify"]).ok().contains("chao"));
    clinic.run(&["queue", "drop", "--all", "--reason", "a test record"]).ok();
    let said = clinic.run(&["verify"]);
    assert_eq!(said.code, Some(1), "{}", said.out);
    assert!(said.out.contains("Patient/chao only here: nothing says that"), "{}", said.out);
    let told = clinic.run(&["verify", "--json"]).out;
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let named = serde_json::json!([
        {"record": "Patient/chao", "why": "only-here"},
        {"record": "Patient/amina", "why": "kept"},
        {"record": "Patient/baraka", "why": "taken"}
    ]);
    assert_eq!((&told["outside"], &told["equal"]), (&named, &serde_json::json!(1)));
}

#[test]
fn a_clinic_that_was_shut_out_is_told_so() {
    let (centre, clinic, _serving) = joined();
    clinic.run(&["sync"]).ok();
    centre.run(&["child", "revoke", "clinic"]).ok();
    let said = clinic.run(&["sync"]);
    assert_eq!(said.code, Some(1));
    assert!(said.out.contains("revoked") || said.out.contains("credential"), "{}", said.out);
}

#[test]
#[cfg(unix)]
fn the_credential_for_the_parent_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_centre, clinic, _serving) = joined();
    let path = clinic.dir().join("parent.credential");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let said = clinic.run(&["doctor", "--offline"]);
    assert_eq!(said.code, Some(1));
    assert!(said.out.contains("chmod 600"), "{}", said.out);
}

#[test]
fn records_survive_when_the_power_fails_on_either_side() {
    let (centre, clinic, centre_runs) = joined();
    let clinic_runs = clinic.serve();
    clinic.put_patient("amina", "Odhiambo");
    centre.put_patient("baraka", "Mwangi");
    wait_until("both hold both", || {
        centre.holds("amina", "Odhiambo") && clinic.holds("baraka", "Mwangi")
    });
    drop(centre_runs);
    for n in 0..20 {
        clinic.put_patient(&format!("away-{n}"), "Chebet");
    }
    drop(clinic_runs);
    let _centre_runs = centre.serve();
    let clinic_runs = clinic.serve();
    assert!(clinic.holds("away-19", "Chebet"), "what was answered is there");
    // In the middle of whatever it is sending by now.
    drop(clinic_runs);
    centre.put_patient("amina", "Otieno");
    let _clinic_runs = clinic.serve();
    wait_until("all have caught up", || {
        (0..20).all(|n| centre.holds(&format!("away-{n}"), "Chebet"))
            && clinic.holds("amina", "Otieno")
    });
    assert!(clinic.run(&["verify"]).ok().contains("22 records are equal, 0 differ"));
    assert_eq!(centre.json(&["status", "--json"])["records"], 22);
}
