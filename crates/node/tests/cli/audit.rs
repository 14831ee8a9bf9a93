//! `tributary audit`: searched, proved and exported.

use serde_json::Value;

use crate::folder::{Folder, patient};

#[test]
fn the_audit_is_searched_proved_and_exported() {
    let site = Folder::new("centre");
    site.run(&["import", &site.write("amina.json", patient("amina", "Secret"))]).ok();
    site.run(&["patient", "timeline", "amina"]).ok();
    site.run(&["why", "Observation/pulse"]);
    let told = site.run(&["audit", "search", "--patient", "amina"]).ok();
    assert_eq!(told.lines().count(), 2, "{told}");
    assert!(told.contains("import") && told.contains("timeline"), "{told}");
    let json = site.json(&["audit", "search", "--record", "Observation/pulse", "--json"]);
    assert_eq!((&json[0]["action"], &json[0]["actor"]), (&"why".into(), &"operator".into()));
    let later = site.run(&["audit", "search", "--since", "2999-01-01"]).ok();
    assert!(later.contains("Nothing in the audit"), "{later}");
    assert_eq!(site.run(&["audit", "search", "--since", "yesterday"]).code, Some(2));
    let exported = site.run(&["audit", "export"]).ok();
    let rows = exported.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let rows = rows.collect::<Vec<_>>();
    let proof = site.run(&["audit", "verify"]).ok();
    assert!(proof.contains(&format!("All {} rows", rows.len())), "{proof}");
    assert!(proof.contains(rows.last().unwrap()["hash"].as_str().unwrap()), "{proof}");
    assert!(!exported.contains("Secret"), "ids only");
    let altered = rows.iter().find(|row| row["action"] == "timeline").unwrap();
    // Somebody alters a row behind the program's back.
    let path = site.dir().join("tributary.db");
    let mut bytes = std::fs::read(&path).unwrap();
    let row = b"operatortimelinePatient/amina";
    let at = bytes.windows(row.len()).position(|window| window == row).unwrap();
    bytes[at..at + 8].copy_from_slice(b"somebody");
    std::fs::write(&path, bytes).unwrap();
    let proof = site.run(&["audit", "verify"]);
    assert_eq!(proof.code, Some(1));
    assert!(
        proof.out.contains(&format!("BROKEN row {} of the audit was altered", altered["key"])),
        "{}",
        proof.out
    );
}
