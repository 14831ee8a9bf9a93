//! Reading single records, and who may.

mod entitlement;

use super::*;
use crate::sqlite::testing::{World, east, gone, reader_epoch, state};

fn get(world: &World, name: &str, version: Option<u64>, scope: &Scope) -> Option<StoredVersion> {
    world.store.record_get(&name.parse().unwrap(), version, scope).unwrap()
}

#[test]
fn a_record_is_read_as_it_is_and_as_it_was() {
    let world = World::new();
    let first = state("Patient/p", &["p"], 1);
    world.made_here(std::slice::from_ref(&first));
    world.made_here(&[state("Patient/p", &["p"], 2)]);
    world.made_here(&[gone("Patient/p")]);
    let all = &Scope::Everything;
    let now = get(&world, "Patient/p", None, all).unwrap();
    assert_eq!((now.sequence, now.body, now.action), (3, None, Action::Deleted));
    let then = get(&world, "Patient/p", Some(1), all).unwrap();
    assert_eq!(
        (then.sequence, then.body.as_ref(), then.action),
        (1, first.body.as_ref(), Action::Created)
    );
    assert_eq!((then.digest, then.recorded), (first.digest(), Timestamp::from_millis(2_000)));
    assert_eq!(get(&world, "Patient/p", Some(2), all).unwrap().action, Action::Updated);
    assert_eq!(get(&world, "Patient/p", Some(9), all), None);
    assert_eq!(get(&world, "Patient/x", None, all), None);
}

#[test]
fn defect_28_a_version_is_for_who_may_see_the_record_now_and_whose_it_was_then() {
    let world = World::new();
    world.cohort("a", &["p"]);
    world.cohort("b", &["z"]);
    world.made_here(&[state("Observation/o", &["p"], 1)]);
    world.made_here(&[state("Observation/o", &["z"], 2)]);
    assert_eq!(get(&world, "Observation/o", Some(1), &east(&["a"])), None);
    assert_eq!(get(&world, "Observation/o", Some(1), &east(&["b"])), None);
    assert!(get(&world, "Observation/o", Some(2), &east(&["b"])).is_some());
    for version in [None, Some(1), Some(2)] {
        assert!(get(&world, "Observation/o", version, &east(&["a", "b"])).is_some());
    }
    // Whom it may see changes what it may see of the past.
    world.leave("a", "p");
    assert_eq!(get(&world, "Observation/o", Some(1), &east(&["a", "b"])), None);
    world.made_here(&[gone("Observation/o")]);
    assert_eq!(get(&world, "Observation/o", None, &east(&["b"])).unwrap().body, None);
}

#[test]
fn defect_28_what_a_patient_takes_along_when_leaving_is_gone_for_the_reader_at_once() {
    let world = World::new();
    world.cohort("a", &["p"]);
    world.made_here(&[state("Observation/o", &["p"], 1)]);
    assert!(get(&world, "Observation/o", None, &east(&["a"])).is_some());
    world.leave("a", "p");
    assert_eq!(get(&world, "Observation/o", None, &east(&["a"])), None);
    world.join("a", "p");
    assert!(get(&world, "Observation/o", None, &east(&["a"])).is_some());
}

#[test]
fn a_reference_record_is_for_every_child_and_one_that_is_nobodys_for_none() {
    let world = World::new();
    world.made_here(&[state("Location/l", &[], 1), state("Basic/b", &[], 1)]);
    let nobody = Scope::Cohorts {
        reader: "new".parse().unwrap(),
        epoch: reader_epoch(),
        cohorts: Vec::new(),
    };
    assert!(get(&world, "Location/l", None, &nobody).is_some());
    assert_eq!(get(&world, "Basic/b", None, &nobody), None);
}
