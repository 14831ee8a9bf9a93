//! What this backend keeps beside the records of conflicts.

use protocol::conflict::{Conflict, Version};
use protocol::resource::Record;
use protocol::{Limits, RecordRef};

use crate::conformance::builders::{an_observation, draft};
use crate::sqlite::testing::World;
use crate::{ConflictFilter, Scope, Store};

/// An open conflict about a record that this site need not hold.
fn a_conflict() -> Record {
    let about: RecordRef = "Observation/pulse".parse().unwrap();
    let state = |value| an_observation("pulse", "amina").with("valueInteger", value).record();
    let [parent, child] = ["71", "72"].map(state);
    let version = |record: &Record| Version::new(record.digest, record.body.clone());
    let conflict = Conflict {
        record: about.clone(),
        parent_site: "centre".parse().unwrap(),
        child_site: "clinic".parse().unwrap(),
        base: None,
        parent: version(&parent),
        child: version(&child),
        result: version(&parent),
        elements: Vec::new(),
        patients: ["Patient/amina".parse().unwrap()].into(),
        round: 0,
        state: protocol::conflict::State::Open(None),
        others: Vec::new(),
    };
    let name = Conflict::name(&about, parent.digest, child.digest).unwrap();
    Record::parse(conflict.to_body(&name).as_bytes(), &Limits::default()).unwrap()
}

fn listed(world: &World) -> usize {
    let filter = ConflictFilter { limit: 10, ..ConflictFilter::default() };
    world.store.conflict_list(&filter, &Scope::Everything).unwrap().conflicts.len()
}

#[test]
fn a_conflict_is_listed_from_when_its_record_comes_until_it_goes() {
    let world = World::new();
    let record = a_conflict();
    world.store.change_record(&draft(std::slice::from_ref(&record)), world.now()).unwrap();
    assert_eq!(listed(&world), 1);
    let gone = Record::deleted(record.reference.clone());
    world.store.change_record(&draft(&[gone]), world.now()).unwrap();
    assert_eq!(listed(&world), 0);
    world.store.change_record(&draft(&[record]), world.now()).unwrap();
    assert_eq!(listed(&world), 1);
    assert_eq!(world.store.site_check(&mut |_| {}).unwrap(), Vec::<String>::new());
}

#[test]
fn what_only_claims_to_be_a_conflict_is_a_record_as_any_other() {
    let world = World::new();
    for text in [
        r#"{"resourceType":"Basic","id":"conflict-1"}"#,
        r#"{"resourceType":"Basic","id":"conflict-2",
            "code":{"coding":[{"system":"urn:tributary","code":"conflict"}]}}"#,
        r#"{"resourceType":"Basic","id":"other",
            "code":{"coding":[{"system":"urn:tributary","code":"conflict"}]}}"#,
    ] {
        let record = Record::parse(text.as_bytes(), &Limits::default()).unwrap();
        world.store.change_record(&draft(&[record]), world.now()).unwrap();
    }
    assert_eq!(listed(&world), 0);
    assert_eq!(world.store.site_check(&mut |_| {}).unwrap(), Vec::<String>::new());
}

#[test]
fn a_conflict_that_is_listed_otherwise_than_it_stands_is_found() {
    let world = World::new();
    world.store.change_record(&draft(&[a_conflict()]), world.now()).unwrap();
    for (sql, word) in [
        ("UPDATE conflict SET state = 'decided'", "is open and is listed as decided"),
        ("DELETE FROM conflict", "is open and is listed as no conflict"),
    ] {
        world.write(|conn| Ok(conn.execute_batch(sql)?));
        let findings = world.store.site_check(&mut |_| {}).unwrap();
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].contains(word), "{findings:?}");
    }
}
