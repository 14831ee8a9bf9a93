//! A conflict as people see and decide it, at both sites.

use crate::folder::Folder;
use crate::pair::joined;

fn born(date: &str, gender: &str) -> String {
    format!(
        r#"{{"resourceType":"Patient","id":"amina","name":[{{"use":"official","family":"Odhiambo",
        "given":["Amina"]}}],"birthDate":"{date}","gender":"{gender}"}}"#
    )
}

fn write(site: &Folder, name: &str, text: &str) {
    let file = site.write(name, text);
    site.run(&["import", &file]).ok();
}

/// The id of the only open conflict, as the list shows it.
fn listed(site: &Folder) -> String {
    let told = site.run(&["conflict", "list"]).ok();
    told.split_whitespace().next().unwrap().to_owned()
}

/// The patient as the site has it now.
fn now(site: &Folder) -> String {
    let file = site.beside("now.ndjson");
    site.run(&["export", &file]).ok();
    let all = std::fs::read_to_string(file).unwrap();
    let patient = all.lines().find(|line| line.contains(r#""resourceType":"Patient","id""#));
    patient.unwrap().to_owned()
}

#[test]
fn a_conflict_is_seen_at_both_sites_decided_at_one_and_taken_back_at_the_other() {
    let (centre, clinic, _serving) = joined();
    write(&centre, "first.json", &born("1984-02-01", "unknown"));
    clinic.run(&["sync"]).ok();
    assert!(clinic.run(&["conflict", "list"]).ok().contains("nothing to decide"));
    write(&centre, "here.json", &born("1984-07-12", "unknown"));
    write(&clinic, "there.json", &born("1984-02-17", "female"));
    clinic.run(&["sync"]).ok();
    let id = listed(&centre);
    assert_eq!(id, listed(&clinic));
    for site in [&centre, &clinic] {
        let shown = site.run(&["conflict", "show", &id]).ok();
        for word in [
            "centre (parent)",
            "clinic (child)",
            "* 1984-07-12",
            "1984-02-17",
            "before: 1984-02-01",
            "rule: parent",
            "only one side",
            "female",
            "conflict resolve",
        ] {
            assert!(shown.contains(word), "{word}: {shown}");
        }
        assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
        assert!(site.run(&["queue"]).ok().contains("conflict: Patient/amina on birthDate"));
    }
    let told = clinic.json(&["conflict", "show", &id, "--json"]);
    assert_eq!(told["versions"]["base"]["body"].as_str().unwrap().matches("1984-02-01").count(), 1);
    let resolve = |args: &[&str]| clinic.run(&[&["conflict", "resolve", &id], args].concat());
    resolve(&["--take", "moon"]).refused(&["moon", "parent (centre)"]);
    resolve(&["--take", "gender=ours"]).refused(&["gender", "birthDate"]);
    clinic.run(&["conflict", "show", "zzz"]).refused(&["zzz", "conflict list"]);
    let why = ["--author", "dr-otieno", "--why", "her card says so"];
    let said = resolve(&[&["--take", "birthDate=ours"][..], &why].concat()).ok();
    assert!(said.contains("Patient/amina has been changed"), "{said}");
    clinic.run(&["sync"]).ok();
    assert!(now(&centre).contains("1984-02-17") && now(&centre).contains("female"));
    assert!(centre.run(&["conflict", "list"]).ok().contains("nothing to decide"));
    let shown = centre.run(&["conflict", "show", &id]).ok();
    assert!(shown.contains("dr-otieno at clinic") && shown.contains("her card says so"), "{shown}");
    centre.run(&["conflict", "confirm", &id]).refused(&["decided by dr-otieno at clinic"]);
    let said = centre.run(&["conflict", "reopen", &id, "--author", "registrar"]).ok();
    assert!(said.contains("open again"), "{said}");
    clinic.run(&["sync"]).ok();
    assert_eq!(listed(&clinic), id);
    assert!(now(&clinic).contains("1984-07-12") && now(&clinic).contains("female"));
    let wanted = clinic.write("wanted.json", born("1984-02-18", "female"));
    let done = clinic.json(&["conflict", "resolve", &id, "--edit", &wanted, "--json"]);
    assert_eq!((&done["state"], &done["changed"]), (&"decided".into(), &true.into()));
    clinic.run(&["sync"]).ok();
    assert!(now(&centre).contains("1984-02-18"));
    assert!(clinic.run(&["verify"]).ok().contains("0 differ"));
    assert!(clinic.run(&["doctor", "--offline"]).ok().contains("Nothing is wrong"));
}
