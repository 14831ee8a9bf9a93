//! Who is in a cohort, and what its feed tells of it.

use std::collections::BTreeSet;

use protocol::cohort::Definition;
use protocol::feed::EntryKind;

use super::Maker;
use super::builders::{a_patient, an_observation, delete, named, put};
use super::pair::Pair;
use crate::{Scope, Store};

/// Kinds and patients of all entries of a feed.
fn entries(store: &dyn Store, feed: &str) -> Vec<(EntryKind, String)> {
    let page = store.feed_page(feed, None, &Scope::Everything).unwrap().unwrap();
    let told = page.entries.iter().map(|entry| {
        let patients = entry.patients.iter().map(|patient| patient.id().to_owned());
        (entry.kind, patients.collect::<Vec<_>>().join(" "))
    });
    told.collect()
}

fn members(store: &dyn Store, cohort: &str) -> Vec<String> {
    let patients = store.cohort_patients(&cohort.parse().unwrap(), None, 100).unwrap();
    patients.iter().map(|patient| patient.id().to_owned()).collect()
}

fn managed_by(organizations: &[&str]) -> Definition {
    let places = organizations.iter().map(|id| named(&format!("Organization/{id}")));
    Definition::Location { places: places.collect(), by: BTreeSet::new() }
}

fn told(kind: EntryKind, patient: &str) -> (EntryKind, String) {
    (kind, patient.to_owned())
}

pub fn a_cohorts_feed_begins_with_its_patients(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    pair.at_parent(&put(&[a_patient("amina"), a_patient("beno")]));
    let change = pair.cohort("later", Definition::All {});
    assert_eq!((change.created, change.joined, change.patients), (true, 2, 2));
    let expected = [told(EntryKind::Join, "amina"), told(EntryKind::Join, "beno")];
    assert_eq!(entries(&*pair.parent, "later"), expected);
}

pub fn a_patient_joins_and_leaves_as_its_records_say(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    pair.cohort("east", managed_by(&["east"]));
    pair.at_parent(&put(&[a_patient("amina").managed_by("west")]));
    assert_eq!(entries(&*pair.parent, "east"), []);
    pair.at_parent(&put(&[a_patient("amina").managed_by("east")]));
    pair.at_parent(&put(&[an_observation("pulse", "amina")]));
    pair.at_parent(&put(&[a_patient("amina").managed_by("west")]));
    pair.at_parent(&put(&[an_observation("weight", "amina")]));
    let kinds = entries(&*pair.parent, "east").into_iter().map(|(kind, _)| kind);
    let expected = [EntryKind::Change, EntryKind::Join, EntryKind::Change, EntryKind::Change];
    assert_eq!(kinds.collect::<Vec<_>>(), [&expected[..], &[EntryKind::Leave]].concat());
    assert_eq!(members(&*pair.parent, "east"), [""; 0]);
}

pub fn a_deleted_patient_stays_in_its_cohort(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    pair.cohort("east", managed_by(&["east"]));
    pair.at_parent(&put(&[a_patient("amina").managed_by("east")]));
    pair.at_parent(&delete("Patient/amina"));
    assert_eq!(members(&*pair.parent, "east"), ["amina"]);
    assert_eq!(entries(&*pair.parent, "east").len(), 3);
    pair.quiet();
    pair.assert_in_step();
}

pub fn defect_44_a_new_definition_tells_only_who_moved(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    for (id, place) in [("amina", "east"), ("beno", "west"), ("chao", "north")] {
        pair.at_parent(&put(&[a_patient(id).managed_by(place)]));
    }
    pair.cohort("mine", managed_by(&["east", "west"]));
    let change = pair.cohort("mine", managed_by(&["west", "north"]));
    assert_eq!((change.created, change.joined, change.left), (false, 1, 1));
    assert_eq!(change.patients, 2);
    assert_eq!(members(&*pair.parent, "mine"), ["beno", "chao"]);
    let expected = [
        told(EntryKind::Join, "amina"),
        told(EntryKind::Join, "beno"),
        told(EntryKind::Leave, "amina"),
        told(EntryKind::Join, "chao"),
    ];
    assert_eq!(entries(&*pair.parent, "mine"), expected);
}

pub fn a_patient_who_is_named_before_its_record_comes_joins_when_it_comes(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    pair.cohort("east", managed_by(&["east"]));
    let list = [named("Patient/amina")].into_iter().collect();
    pair.cohort("list", Definition::Patients { patients: list });
    assert_eq!(members(&*pair.parent, "list"), [""; 0]);
    pair.at_parent(&put(&[an_observation("pulse", "amina")]));
    assert_eq!(members(&*pair.parent, "list"), ["amina"]);
    assert_eq!(members(&*pair.parent, "east"), [""; 0]);
    pair.at_parent(&put(&[a_patient("amina").managed_by("east")]));
    assert_eq!(members(&*pair.parent, "east"), ["amina"]);
}
