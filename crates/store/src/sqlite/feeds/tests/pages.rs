//! Pages for Atom.

use protocol::feed::{Action, Entry, EntryKind};

use super::*;
use crate::sqlite::testing::{gone, state};

fn page(world: &World, feed: &str, number: Option<u64>) -> Option<FeedPage> {
    world.store.feed_page(feed, number, &east(&["a", "b"])).unwrap()
}

fn entries(world: &World, number: u64) -> Vec<Entry> {
    page(world, "a", Some(number)).unwrap().entries
}

fn names(entry: &Entry) -> Vec<String> {
    entry.records.iter().map(|(name, _)| name.to_string()).collect()
}

#[test]
fn pages_are_cut_by_position_and_end_at_the_recent_one() {
    let world = World::with_page(3);
    world.cohort("a", &["p"]);
    for n in 1..=6 {
        world.made_here(&[state("Patient/p", &["p"], n)]);
    }
    let positions = |number| -> Vec<u64> {
        entries(&world, number).iter().map(|entry| entry.position).collect()
    };
    assert_eq!(positions(1), [1, 2, 3]);
    assert_eq!(positions(2), [4, 5, 6]);
    assert_eq!(positions(3), [7]);
    assert_eq!(page(&world, "a", None).unwrap().number, 3);
    for number in [0, 4, u64::MAX] {
        assert_eq!(page(&world, "a", Some(number)), None, "{number}");
    }
}

#[test]
fn a_feed_without_entries_has_one_empty_page() {
    let world = World::new();
    world.cohort("a", &[]);
    let recent = page(&world, "a", None).unwrap();
    assert_eq!((recent.number, recent.entries.len()), (1, 0));
    assert_eq!(page(&world, "a", Some(1)), Some(recent));
}

#[test]
fn an_entry_names_its_change_and_what_became_of_each_record() {
    let world = World::with_page(10);
    world.cohort("a", &["p"]);
    world.made_here(&[state("Patient/p", &["p"], 1), state("Observation/o", &["p"], 1)]);
    let place = state("Location/l", &[], 1);
    world.made_here(&[state("Patient/p", &["p"], 2), gone("Observation/o"), place]);
    world.leave("a", "p");
    let entries = entries(&world, 1);
    assert_eq!(names(&entries[2]), ["Patient/p", "Observation/o"]);
    let actions: Vec<Action> = entries[2].records.iter().map(|(_, action)| *action).collect();
    assert_eq!(actions, [Action::Updated, Action::Deleted]);
    assert_eq!(entries[1].records[0].1, Action::Created);
    assert_eq!(entries[1].change.as_ref().unwrap().number, 1);
    assert_eq!(entries[1].origin.as_str(), "centre");
    assert_eq!(entries[1].patients, ["Patient/p".parse().unwrap()]);
    assert_eq!((entries[0].kind, entries[3].kind), (EntryKind::Join, EntryKind::Leave));
    assert_eq!(entries[3].reason.as_deref(), Some("moved away"));
    let reference = page(&world, "reference", None).unwrap().entries;
    assert_eq!(reference[0].records, [("Location/l".parse().unwrap(), Action::Created)]);
    assert!(reference[0].patients.is_empty());
}

#[test]
fn of_a_change_of_two_patients_an_entry_names_the_cohorts_own() {
    let world = World::with_page(10);
    world.cohort("a", &["p"]);
    world.cohort("b", &["z"]);
    world.made_here(&[
        state("Observation/o", &["p"], 1),
        state("Observation/z", &["z"], 1),
        state("Appointment/both", &["p", "z"], 1),
    ]);
    let named = |feed| names(&page(&world, feed, None).unwrap().entries[1]);
    assert_eq!(named("a"), ["Observation/o", "Appointment/both"]);
    assert_eq!(named("b"), ["Observation/z", "Appointment/both"]);
}

#[test]
fn defect_11_a_full_page_stays_the_same_whatever_becomes_of_its_records_and_patients() {
    let world = World::with_page(3);
    world.cohort("a", &["p", "q"]);
    world.made_here(&[
        state("Observation/o", &["p"], 1),
        state("Observation/x", &["q"], 1),
        state("Observation/z", &["z"], 1),
    ]);
    let before = page(&world, "a", Some(1)).unwrap().entries;
    assert_eq!(names(&before[2]), ["Observation/o", "Observation/x"]);
    world.made_here(&[gone("Observation/o")]);
    world.made_here(&[state("Observation/x", &["z"], 2)]);
    world.leave("a", "p");
    world.join("a", "z");
    world.leave("a", "q");
    world.made_here(&[state("Observation/o", &["z"], 3)]);
    assert_eq!(page(&world, "a", Some(1)).unwrap().entries, before);
}

#[test]
fn a_change_by_which_a_patient_joins_is_told_with_its_records() {
    let world = World::with_page(10);
    world.cohort("a", &["p"]);
    world.made_here(&[state("Patient/q", &["q"], 1), state("Patient/p", &["p"], 1)]);
    // As the writer does where the change itself brings q in: the join follows in the same step.
    world.join("a", "q");
    let entry = &entries(&world, 1)[1];
    assert_eq!((entry.records.len(), entry.patients.len()), (2, 2));
}
