//! Findings.

use super::*;
use crate::sqlite::testing::{World, gone, state};

fn world() -> World {
    let world = World::new();
    world.cohort("a", &["p", "q"]);
    world.made_here(&[state("Patient/p", &["p"], 1), state("Observation/o", &["p"], 1)]);
    world.made_here(&[state("Observation/o", &["p"], 2), state("Location/l", &[], 1)]);
    world.made_here(&[gone("Observation/o")]);
    world.leave("a", "q");
    let row = |subject: &str| AuditRow {
        actor: "operator".into(),
        action: "look",
        subject: subject.into(),
        detail: String::new(),
    };
    world.store.audit_append(&row("Patient/p"), world.now()).unwrap();
    world.store.audit_append(&row("Patient/q"), world.now()).unwrap();
    world
}

fn findings(world: &World) -> Vec<String> {
    world.store.site_check(&mut |_| {}).unwrap()
}

/// What is found after one statement has broken something.
fn after(sql: &str) -> Vec<String> {
    let world = world();
    world.write(|conn| Ok(conn.execute_batch(sql)?));
    findings(&world)
}

#[test]
fn a_store_in_order_has_no_findings_and_says_how_far_the_look_is() {
    let world = world();
    let mut words = Vec::new();
    assert_eq!(
        world.store.site_check(&mut |word| words.push(word.to_owned())).unwrap(),
        Vec::<String>::new()
    );
    assert!(words.contains(&"bodies: 0 of 5".to_owned()), "{words:?}");
}

#[test]
fn each_broken_rule_is_found_and_named() {
    for (sql, expected) in [
        (
            "UPDATE version SET digest = zeroblob(32) WHERE sequence = 1 AND record = 1",
            "Patient/p is not in the state of its newest version",
        ),
        (
            "UPDATE version SET digest = zeroblob(32) WHERE sequence = 1 AND record = 2",
            "Observation/o, version 1, is not what its digest says",
        ),
        (
            "UPDATE version SET body = x'0102' WHERE sequence = 1 AND record = 2",
            "Observation/o, version 1, cannot be read",
        ),
        ("UPDATE record SET deleted = 0 WHERE key = 2", "Observation/o is not in the state"),
        (
            "UPDATE version SET previous = 1 WHERE record = 2 AND sequence = 3",
            "Observation/o, version 3, does not follow the version before it",
        ),
        ("UPDATE site SET sequence = 9", "the newest change is 3 and the site counts 9"),
        (
            "INSERT INTO change (sequence, via, author, at, recorded) VALUES (5, 0, '', 0, 0);
             UPDATE site SET sequence = 5",
            "change 5 does not follow change 3",
        ),
        (
            "DELETE FROM feed_entry WHERE feed = 2 AND position = 4",
            "position 5 of the feed a does not follow position 3",
        ),
        ("UPDATE feed SET head = 3 WHERE key = 2", "the head of the feed a is 3"),
        (
            "UPDATE feed_entry SET sequence = 0 WHERE feed = 2 AND position = 5",
            "position 5 of the feed a is older than the one before it",
        ),
        (
            "INSERT INTO former_patient SELECT key, sequence, NULL FROM record WHERE key = 1",
            "Patient/p was other patients' up to version",
        ),
        (
            "UPDATE cohort_patient SET \"left\" = NULL WHERE patient = 2",
            "Patient/q is in the feed a without the entry that says so",
        ),
        (
            "DROP TRIGGER audit_is_append_only_update;
             UPDATE audit SET subject = 'Patient/x' WHERE key = 1",
            "row 1 of the audit was altered",
        ),
        (
            "DROP TRIGGER audit_is_append_only_delete; DELETE FROM audit WHERE key = 1",
            "rows of the audit are missing before row 2",
        ),
    ] {
        let found = after(sql);
        assert!(found.iter().any(|finding| finding.starts_with(expected)), "{sql}: {found:?}");
    }
}

#[test]
fn a_row_that_refers_to_nothing_is_found() {
    let world = world();
    let path = world.dir.path().join("store.db");
    let other = Connection::open(path).unwrap();
    other.pragma_update(None, "foreign_keys", false).unwrap();
    other.execute("INSERT INTO record_patient VALUES (1, 77)", []).unwrap();
    let found = findings(&world);
    assert_eq!(found, ["row of record_patient refers to a row of patient that is gone"]);
}

#[test]
fn many_findings_of_one_kind_are_counted_and_no_finding_has_patient_content() {
    let world = World::new();
    let states: Vec<_> = (0..30).map(|n| state(&format!("Basic/b{n}"), &[], 4_711)).collect();
    world.made_here(&states);
    world.write(|conn| Ok(conn.execute("UPDATE version SET digest = zeroblob(32)", [])?));
    let found = findings(&world);
    assert!(found.contains(&"and 10 more like this".to_owned()), "{found:?}");
    assert!(found.iter().all(|finding| !finding.contains("4711")), "{found:?}");
}

#[test]
fn a_damaged_file_is_named_as_such() {
    let world = world();
    for n in 0..40 {
        let id = format!("x{n}");
        world.made_here(&[state(&format!("Observation/{id}"), &["p"], n)]);
    }
    let path = world.dir.path().join("copy.db");
    world.store.site_backup(&path, &mut |_, _| {}).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 4_096].fill(0xa5);
    std::fs::write(&path, bytes).unwrap();
    let opened = SqliteStore::open(&path, world.store.options.clone());
    let is_named = match opened {
        Err(error) => matches!(error, crate::StoreError::Damaged(_)),
        Ok(store) => match store.site_check(&mut |_| {}) {
            Ok(found) => found.iter().any(|finding| finding.starts_with("the file is damaged")),
            Err(error) => matches!(error, crate::StoreError::Damaged(_)),
        },
    };
    assert!(is_named);
}
