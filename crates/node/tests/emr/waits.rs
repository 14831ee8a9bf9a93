//! What refers to a record that people have deleted in the record system, while nobody has read so.

use node::jobs::apply;
use store::EmrState;

use crate::jobs::{AMINA, Clinic, block, named, observation};
use crate::memory::Faults;

/// Turns in which a record is written that has to wait.
const TURNS: usize = 5;

#[test]
fn what_waits_for_a_record_that_was_deleted_there_is_not_tried_without_end() {
    let clinic = Clinic::new(Faults::LIKE_OPENMRS);
    clinic.put(&[AMINA]);
    clinic.settle();
    clinic.emr.enter(&[(named("Patient/amina"), None)]);
    clinic.put(&[&observation("o", 70)]);
    let turns = block(async {
        let mut turns = 0;
        while turns < TURNS && apply::step(&clinic.site, &clinic.beside).await.unwrap() {
            turns += 1;
        }
        turns
    });
    assert!(turns < TURNS, "it is asked again and again");
    let state = clinic.site.store().record_why(&named("Observation/o")).unwrap().emr.unwrap();
    assert_eq!(state.state, EmrState::Waits);
    // Once that is read, it is known: here as well the patient is deleted.
    clinic.settle();
    assert_eq!(clinic.body("Patient/amina"), None);
    assert_eq!(clinic.status().hints, 0);
}
