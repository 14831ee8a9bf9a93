//! A patient walks in whom the clinic does not hold.

use crate::folder::{Folder, Serving, code_of, wait_until};

/// A clinic with no patient of its own, and a centre that is being served.
fn joined() -> (Folder, Folder, Serving) {
    let centre = Folder::new("centre");
    let clinic = Folder::new("clinic");
    let nobody = centre.write("nobody.txt", "");
    centre.run(&["cohort", "set", "mine", "--patients", &nobody]).ok();
    let told = centre.run(&["child", "add", "clinic", "--cohort", "mine"]).ok();
    let serving = centre.serve();
    let url = format!("http://{}", centre.address);
    clinic.run(&["join", &url, "--code", &code_of(&told), "--leave", "purge"]).ok();
    (centre, clinic, serving)
}

const AMINA: &str = r#"{"resourceType":"Patient","id":"amina","gender":"female",
    "birthDate":"1984-02-28","name":[{"family":"Juma","given":["Amina"]}],
    "identifier":[{"system":"urn:national","value":"K-104"}]}"#;

#[test]
fn a_patient_who_walks_in_is_found_fetched_and_gone_again_beside_a_running_site() {
    let (centre, clinic, centre_runs) = joined();
    assert!(matches!(centre.ask("PUT /fhir/Patient/amina", None, AMINA).0, 200 | 201));
    let _clinic_runs = clinic.serve();
    let told = clinic.run(&["patient", "find", "--identifier", "urn:national|K-104"]).ok();
    assert!(told.contains("Patient/amina") && told.contains("Amina Juma, female"), "{told}");
    let person = ["patient", "find", "--name", "amina", "--sex", "female", "--born", "1984"];
    assert!(clinic.run(&person).ok().contains("urn:national|K-104"));
    let none = clinic.run(&["patient", "find", "--identifier", "none"]).ok();
    assert!(none.contains("centre has nobody like this"), "{none}");
    let why = ["--reason", "walked in", "--days", "3"];
    let fetch = |patient: &str| clinic.run(&[&["patient", "fetch", patient][..], &why].concat());
    fetch("Patient/nobody").refused(&["centre has no Patient/nobody"]);
    let told = fetch("Patient/amina").ok();
    // The running clinic may have been quicker than the command.
    assert!(told.contains("records came") && told.contains("As a visitor until"), "{told}");
    assert!(clinic.holds("amina", "Juma"));
    clinic
        .run(&["patient", "fetch", "amina", "--reason", "x", "--days", "99"])
        .refused(&["too short"]);
    clinic
        .run(&["patient", "fetch", "amina", "--reason", "ill", "--days", "99"])
        .refused(&["30 days"]);
    let told = centre.run(&["child", "visitors", "clinic"]).ok();
    assert!(told.contains("Patient/amina") && told.contains("walked in"), "{told}");
    centre.run(&["child", "visitors", "other"]).refused(&["no such child"]);
    centre.run(&["child", "visitors", "clinic", "--end", "Patient/x"]).refused(&["no visitor"]);
    centre.run(&["child", "visitors", "clinic", "--end", "Patient/amina"]).ok();
    assert!(centre.run(&["child", "visitors", "clinic"]).ok().contains("Nobody visits"));
    wait_until("the record is gone", || !clinic.holds("amina", "Juma"));
    centre.run(&["patient", "find", "--identifier", "7"]).refused(&["no parent"]);
    drop(centre_runs);
    fetch("Patient/amina").refused(&["run the same command again"]);
    clinic.run(&["patient", "find", "--identifier", "7"]).refused(&["when the link is back"]);
    assert!(clinic.run(&["doctor", "--offline"]).ok().contains("Nothing is wrong"));
}
