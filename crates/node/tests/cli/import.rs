//! FHIR files in and out.

use std::io::Write as _;

use crate::folder::{Folder, patient};

fn gz(text: &str) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    out.write_all(text.as_bytes()).unwrap();
    out.finish().unwrap()
}

fn bundle(entries: &[&str]) -> String {
    format!(r#"{{"resourceType":"Bundle","type":"transaction","entry":[{}]}}"#, entries.join(","))
}

/// A patient under a `urn:uuid` without an id, and an encounter that refers to it.
fn visit() -> String {
    bundle(&[
        r#"{"fullUrl":"urn:uuid:0b1c1f5e-3f5c-4c39-9f1c-0a8f5a6c2d11",
            "resource":{"resourceType":"Patient","name":[{"family":"Wanjiru"}]}}"#,
        r#"{"fullUrl":"urn:uuid:5a0e8a4b-6a3d-4f6c-8d5a-3f1f5c1d7e22",
            "resource":{"resourceType":"Encounter","status":"finished","class":{"code":"AMB"},
            "subject":{"reference":"urn:uuid:0b1c1f5e-3f5c-4c39-9f1c-0a8f5a6c2d11"}}}"#,
    ])
}

/// Files of all kinds, none with anything wrong.
fn good_files(site: &Folder) -> String {
    site.write("in/visit.json", visit());
    site.write("in/single.json", patient("single", "Achieng"));
    let lines = format!("{}\n\n{}\n", patient("l1", "Otieno"), patient("l2", "Njeri"));
    site.write("in/deeper/lines.ndjson", lines);
    site.write("in/one.json.gz", gz(&patient("gz", "Chebet")));
    let packed = zstd::encode_all(patient("zst", "Kiprop").as_bytes(), 3).unwrap();
    site.write("in/one.json.zst", packed);
    site.beside("in")
}

#[test]
fn files_of_every_kind_go_in_and_a_second_time_nothing_changes() {
    let site = Folder::new("centre");
    let files = good_files(&site);
    let first = site.json(&["import", &files, "--json"]);
    assert_eq!(first["summary"]["written"], 7, "{first}");
    assert_eq!((&first["summary"]["files"], &first["summary"]["refused"]), (&5.into(), &0.into()));
    let sequence = site.json(&["status", "--json"])["sequence"].clone();
    let second = site.json(&["import", &files, "--json"]);
    assert_eq!(second["summary"]["written"], 0, "{second}");
    assert_eq!(second["summary"]["unchanged"], 7);
    assert_eq!(site.json(&["status", "--json"])["sequence"], sequence);
    let out = site.beside("out.ndjson");
    site.run(&["export", &out]).ok();
    let text = std::fs::read_to_string(out).unwrap();
    assert!(text.contains("Patient/0b1c1f5e-3f5c-4c39-9f1c-0a8f5a6c2d11"), "{text}");
}

#[test]
fn what_cannot_go_in_is_named_and_the_rest_goes_in() {
    let site = Folder::new("centre");
    let files = good_files(&site);
    site.write("in/garbage.json", "this is no JSON");
    site.write("in/nul.json", b"{\"resourceType\":\"Patient\",\"id\":\"n\0l\"}");
    site.write("in/latin.json", b"{\"resourceType\":\"Patient\",\"id\":\"a\",\"x\":\"\xe9\"}");
    site.write("in/deep.json", format!("{}{}", "[".repeat(10_000), "]".repeat(10_000)));
    site.write("in/kind.json", r#"{"resourceType":"Patent","id":"a"}"#);
    let packed = gz(&patient("cut", "Mutua").repeat(200));
    site.write("in/cut.json.gz", &packed[..packed.len() / 2]);
    let twice = patient("twice", "Barasa");
    let dangling = r#"{"resource":{"resourceType":"Encounter","id":"dangling",
        "subject":{"reference":"urn:uuid:99999999-3f5c-4c39-9f1c-0a8f5a6c2d11"}}}"#;
    let entry = format!(r#"{{"resource":{twice}}}"#);
    site.write("in/odd.json", bundle(&[&entry, &entry, dangling]));
    let lines = format!("{}\nno line\n{}", patient("l3", "Auma"), patient("l4", "Moraa"));
    site.write("in/some.ndjson", lines);
    let said = site.run(&["import", &files, "--json"]);
    assert_eq!(said.code, Some(1), "{}", said.err);
    let summary = serde_json::from_str::<serde_json::Value>(&said.out).unwrap()["summary"].clone();
    assert_eq!(summary["refused"], 9, "{summary}");
    assert_eq!(summary["written"], 7 + 3, "{summary}");
    let told = site.run(&["import", &files]).out;
    for (place, reason) in [
        ("garbage.json", ""),
        ("nul.json", ""),
        ("latin.json", "UTF-8"),
        ("deep.json", "deep"),
        ("kind.json", "resource type"),
        ("cut.json.gz", ""),
        ("odd.json entry 2", "Patient/twice stands twice"),
        ("odd.json entry 3", "urn:uuid:99999999"),
        ("some.ndjson line 2", ""),
    ] {
        let named = told.lines().any(|line| line.contains(place) && line.contains(reason));
        assert!(named, "{place}: {told}");
    }
    assert_eq!(site.json(&["status", "--json"])["records"], 10);
}

#[test]
fn a_path_that_is_not_there_is_refused_by_name() {
    let site = Folder::new("centre");
    let said = site.run(&["import", &site.beside("nothing-here.json")]);
    assert_eq!(said.code, Some(1));
    assert!(format!("{}{}", said.out, said.err).contains("nothing-here.json"));
}

#[test]
fn what_was_exported_goes_in_elsewhere_unchanged() {
    let site = Folder::new("centre");
    site.run(&["import", &good_files(&site)]).ok();
    let sorted = |folder: &Folder, name: &str| {
        folder.run(&["export", &folder.beside(name)]).ok();
        let text = std::fs::read_to_string(folder.beside(name)).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let all = sorted(&site, "all.ndjson");
    assert_eq!(all.len(), 7);
    for ending in ["ndjson", "ndjson.gz", "ndjson.zst"] {
        let file = site.beside(&format!("copy.{ending}"));
        site.run(&["export", &file]).ok();
        let other = Folder::new("kisumu");
        other.run(&["import", &file]).ok();
        assert_eq!(sorted(&other, "all.ndjson"), all, "{ending}");
    }
}
