//! Histories.

use super::*;
use crate::sqlite::testing::{World, east, gone, state};

fn all_pages(world: &World, query: &HistoryQuery, scope: &Scope) -> (Vec<String>, u64) {
    let mut query = query.clone();
    let (mut found, mut total) = (Vec::new(), 0);
    loop {
        let page = world.store.record_history(&query, scope).unwrap();
        assert!(page.versions.len() <= query.limit as usize);
        total = total.max(page.total);
        found.extend(page.versions.iter().map(|v| format!("{} {}", v.reference.id(), v.sequence)));
        query.after = page.next;
        if query.after.is_none() {
            return (found, total);
        }
    }
}

fn world() -> World {
    let world = World::new();
    world.made_here(&[state("Patient/p", &["p"], 1), state("Observation/o", &["p"], 1)]);
    world.made_here(&[state("Observation/o", &["p"], 2), state("Observation/x", &["z"], 1)]);
    world.made_here(&[gone("Observation/o")]);
    world
}

#[test]
fn a_history_is_newest_first_and_paged_without_gaps() {
    let world = world();
    let query = HistoryQuery { limit: 2, ..HistoryQuery::default() };
    let everything = all_pages(&world, &query, &Scope::Everything);
    assert_eq!(
        everything,
        (vec!["o 3".into(), "x 2".into(), "o 2".into(), "o 1".into(), "p 1".into()], 5)
    );
    let kind = "Observation".parse().ok();
    let of_type = HistoryQuery { kind, ..query.clone() };
    let found = all_pages(&world, &of_type, &Scope::Everything);
    assert_eq!(found, (vec!["o 3".into(), "x 2".into(), "o 2".into(), "o 1".into()], 4));
    let record = "Observation/o".parse().ok();
    let of_one = HistoryQuery { record, ..query };
    let found = all_pages(&world, &of_one, &Scope::Everything);
    assert_eq!(found, (vec!["o 3".into(), "o 2".into(), "o 1".into()], 3));
}

#[test]
fn a_history_since_a_time_has_what_was_recorded_from_then_on() {
    let world = world();
    let since = |at| {
        let since = Some(Timestamp::from_millis(at));
        all_pages(
            &world,
            &HistoryQuery { since, limit: 1, ..HistoryQuery::default() },
            &Scope::Everything,
        )
    };
    assert_eq!(since(3_000), (vec!["o 3".into(), "x 2".into(), "o 2".into()], 3));
    assert_eq!(since(3_001), (vec!["o 3".into()], 1));
    assert_eq!(since(9_000), (vec![], 0));
}

#[test]
fn a_childs_history_has_only_the_records_of_its_cohorts() {
    let world = world();
    world.cohort("a", &["p"]);
    let query = HistoryQuery { limit: 2, ..HistoryQuery::default() };
    let found = all_pages(&world, &query, &east(&["a"]));
    assert_eq!(found, (vec!["o 3".into(), "o 2".into(), "o 1".into(), "p 1".into()], 4));
}

#[test]
fn a_place_to_go_on_is_read_as_it_was_given() {
    assert_eq!(read_cursor(&cursor(7, 12)).unwrap(), (7, 12));
    for bad in ["", ".", "7", "-1.2", "a.b", "7.1.2"] {
        assert!(read_cursor(bad).is_err(), "{bad}");
    }
}
