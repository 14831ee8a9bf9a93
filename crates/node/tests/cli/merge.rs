//! Two files of one person: found, merged and taken apart again by command.

use crate::folder::Folder;

fn pulse(id: &str, patient: &str) -> String {
    let subject = format!(r#"{{"reference":"Patient/{patient}"}}"#);
    format!(r#"{{"resourceType":"Observation","id":"{id}","subject":{subject}}}"#)
}

fn person(id: &str) -> String {
    let card = r#"[{"system":"urn:example:card","value":"K-17"}]"#;
    format!(r#"{{"resourceType":"Patient","id":"{id}","identifier":{card}}}"#)
}

#[test]
fn defect_13_two_files_of_one_person_are_found_merged_and_taken_apart() {
    let site = Folder::new("centre");
    let file = site.beside("people.ndjson");
    let lines = [person("one"), person("two"), pulse("p1", "one"), pulse("p2", "two")];
    std::fs::write(&file, lines.join("\n")).unwrap();
    site.run(&["import", &file]).ok();
    let found = site.run(&["patient", "duplicates"]).ok();
    assert!(found.contains("Patient/one  Patient/two"), "{found}");
    site.run(&["patient", "merge", "one", "one"]).refused(&["cannot replace itself"]);
    site.run(&["patient", "merge", "one", "three"]).refused(&["Patient/three", "does not hold"]);
    site.run(&["patient", "unmerge", "one"]).refused(&["nobody replaced Patient/one"]);
    let said = site.run(&["patient", "merge", "one", "two", "--author", "registrar"]).ok();
    assert!(said.contains("1 records have followed"), "{said}");
    site.run(&["patient", "merge", "two", "one"]).refused(&["is replaced by Patient/two"]);
    let found = site.run(&["patient", "duplicates"]).ok();
    assert!(found.contains("No two patients"), "{found}");
    site.run(&["patient", "unmerge", "one"]).ok();
    let found = site.json(&["patient", "duplicates", "--json"]);
    assert_eq!(found[0]["patients"][0], "Patient/one");
}
