//! Digests of feeds.

use super::*;
use crate::sqlite::testing::{World, east, gone, patient, state};

fn names(world: &World, scope: &DigestScope, after: Option<&str>, limit: usize) -> Vec<String> {
    let after = after.map(|name| name.parse().unwrap());
    let found = world.store.record_digests(scope, after.as_ref(), limit).unwrap();
    found.into_iter().map(|(name, _)| name.to_string()).collect()
}

#[test]
fn digests_of_a_feed_come_in_the_order_of_names_with_the_deleted() {
    let world = World::new();
    world.cohort("a", &["p"]);
    let observation = state("Observation/o", &["p"], 1);
    world.made_here(&[
        state("Patient/p", &["p"], 1),
        observation.clone(),
        state("Observation/a", &["p"], 1),
        state("Observation/z", &["z"], 1),
        state("Location/l", &[], 1),
    ]);
    world.made_here(&[gone("Observation/a")]);
    let published = |feed: &str| DigestScope::Published { feed: feed.into(), scope: east(&["a"]) };
    let a = published("a");
    assert_eq!(names(&world, &a, None, 9), ["Observation/a", "Observation/o", "Patient/p"]);
    assert_eq!(names(&world, &a, Some("Observation/a"), 1), ["Observation/o"]);
    assert_eq!(names(&world, &a, Some("Observation/o"), 9), ["Patient/p"]);
    assert!(names(&world, &a, Some("Patient/p"), 9).is_empty());
    assert_eq!(names(&world, &published("reference"), None, 9), ["Location/l"]);
    assert!(names(&world, &published("none"), None, 9).is_empty());
    let digests = world.store.record_digests(&a, None, 9).unwrap();
    let deleted = Digest::of_deletion(&"Observation/a".parse().unwrap());
    assert_eq!((digests[0].1, digests[1].1), (deleted, observation.digest()));
}

#[test]
fn digests_of_what_is_held_are_of_the_patients_who_came_by_that_feed() {
    let world = World::new();
    world.made_here(&[
        state("Patient/p", &["p"], 1),
        state("Patient/q", &["q"], 1),
        state("Location/l", &[], 1),
    ]);
    let feed = FeedId::from_bytes([9; 16]);
    let held = |name: &str| DigestScope::Held { feed, name: name.into() };
    assert!(names(&world, &held("a"), None, 9).is_empty());
    world.write(|conn| {
        let key = rows::patient_key(conn, &patient("q"))?;
        let sql = "INSERT INTO held_patient (feed, patient, joined) VALUES (?1, ?2, 1)";
        Ok(conn.execute(sql, params![feed.as_bytes(), key])?)
    });
    assert_eq!(names(&world, &held("a"), None, 9), ["Patient/q"]);
    assert_eq!(names(&world, &held("reference"), None, 9), ["Location/l"]);
    let other = DigestScope::Held { feed: FeedId::from_bytes([8; 16]), name: "a".into() };
    assert!(names(&world, &other, None, 9).is_empty());
}
