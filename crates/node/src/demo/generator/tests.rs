use std::collections::{BTreeMap, BTreeSet};

use protocol::resource::Record;
use protocol::{Limits, RecordRef};

use super::*;

fn today() -> Timestamp {
    "2026-11-23T08:00:00Z".parse().unwrap()
}

fn world(seed: u64) -> World {
    World::new(seed, &clinic_names(3), today())
}

/// Every record of a small world: what belongs to no patient, then patient by patient.
fn whole_world() -> (Vec<String>, Vec<PatientFile>) {
    let world = world(7);
    let patients = (0..60).map(|number| world.patient(number, (number % 3) as usize)).collect();
    (world.reference_records(), patients)
}

fn parsed(text: &str) -> Record {
    Record::parse(text.as_bytes(), &Limits::default()).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// The values of all `reference` members.
fn references(text: &str) -> Vec<RecordRef> {
    text.split("\"reference\":\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap().parse().unwrap())
        .collect()
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_gives_others() {
    assert_eq!(world(7).patient(3, 1), world(7).patient(3, 1));
    assert_eq!(world(7).reference_records(), world(7).reference_records());
    assert_ne!(world(7).patient(3, 1), world(8).patient(3, 1));
    assert_ne!(world(7).patient(3, 1), world(7).patient(4, 1));
    assert_ne!(world(7).patient(3, 1), world(7).patient(3, 2));
}

#[test]
fn every_record_is_accepted_and_stays_as_it_was_written() {
    let (shared, patients) = whole_world();
    for text in shared.iter().chain(patients.iter().flat_map(|file| file.changes.iter().flatten()))
    {
        assert_eq!(parsed(text).body.as_deref(), Some(text.as_str()));
    }
}

#[test]
fn no_id_is_given_twice_and_every_reference_leads_to_what_came_before() {
    let (shared, patients) = whole_world();
    let mut known = BTreeSet::new();
    let changes = patients.iter().flat_map(|file| file.changes.iter());
    for text in shared.iter().chain(changes.flatten()) {
        let record = parsed(text);
        for reference in references(text) {
            assert!(known.contains(&reference), "{} names {reference}", record.reference);
        }
        assert!(known.insert(record.reference.clone()), "{} twice", record.reference);
    }
}

#[test]
fn a_patients_records_are_in_the_compartment_of_that_patient_alone() {
    let (shared, patients) = whole_world();
    for text in &shared {
        let record = parsed(text);
        assert!(record.patients.is_empty() && record.reference.kind.is_reference());
    }
    for file in &patients {
        let patient: RecordRef = format!("Patient/{}", file.patient_id).parse().unwrap();
        for text in file.changes.iter().flatten() {
            assert_eq!(parsed(text).patients, BTreeSet::from([patient.clone()]));
        }
    }
}

#[test]
fn a_file_begins_with_the_registration_and_has_two_to_four_visits() {
    let (_, patients) = whole_world();
    let mut sizes = BTreeMap::new();
    for file in &patients {
        assert_eq!(parsed(&file.changes[0][0]).reference.id(), file.patient_id);
        let visits = &file.changes[1..];
        assert!((2..=4).contains(&visits.len()));
        for visit in visits {
            assert!(visit[0].contains("\"code\":\"visit\""));
            *sizes.entry(visit.len()).or_insert(0) += 1;
        }
    }
    assert!(sizes.keys().all(|size| (8..=30).contains(size)), "{sizes:?}");
}

#[test]
fn a_known_patient_can_come_again_to_any_clinic() {
    let world = world(7);
    let patient_id = world.patient(0, 0).patient_id;
    let first = world.visit(&patient_id, 1, 0, today());
    let second = world.visit(&patient_id, 1, 1, today());
    assert_ne!(first, second);
    assert_eq!(first, world.visit(&patient_id, 1, 0, today()));
    let patient: RecordRef = format!("Patient/{patient_id}").parse().unwrap();
    for text in first.iter().chain(&second) {
        assert_eq!(parsed(text).patients, BTreeSet::from([patient.clone()]));
    }
}

#[test]
fn names_of_clinics_are_site_ids_and_never_repeat() {
    let names = clinic_names(40);
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), 40);
    for name in &names {
        name.parse::<protocol::SiteId>().unwrap();
    }
    let places: Vec<_> = World::new(1, &names, today()).clinics().collect();
    assert_eq!(places[2].address, ["Kenya", "Western", "Busia"]);
    assert_eq!(places.iter().map(|place| &place.organization).collect::<BTreeSet<_>>().len(), 40);
}

#[test]
fn some_numbers_end_in_zeros_that_a_site_must_not_lose() {
    let (_, patients) = whole_world();
    let zeros = patients.iter().flat_map(|file| file.changes.iter().flatten());
    assert!(zeros.filter(|text| text.contains("0,\"unit\"") && text.contains('.')).count() > 10);
}

#[test]
fn a_clinics_clock_shows_local_time() {
    assert_eq!(local_time(today(), 3), "2026-11-23T11:00:00+03:00");
    assert_eq!(day(today()), "2026-11-23");
}
