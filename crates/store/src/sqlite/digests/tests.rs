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

#[test]
fn what_is_in_none_of_the_feeds_is_told_with_why_it_is_here() {
    let world = World::new();
    world.made_here(&[
        state("Patient/held", &["held"], 1),
        state("Observation/moved", &["held"], 1),
        state("Patient/gone", &["gone"], 1),
        state("Patient/taken", &["taken"], 1),
        state("Patient/mine", &["mine"], 1),
        state("Patient/deleted", &["deleted"], 1),
        state("Location/l", &[], 1),
    ]);
    world.made_here(&[gone("Patient/deleted")]);
    world.made_here(&[state("Patient/waits", &["waits"], 1)]);
    let feed = FeedId::from_bytes([9; 16]);
    world.write(|conn| {
        for (table, name) in [("held_patient", "held"), ("left_patient", "gone")] {
            let key = rows::patient_key(conn, &patient(name))?;
            let sql = format!("INSERT INTO {table} VALUES (?1, ?2, 1)");
            conn.execute(&sql, params![feed.as_bytes(), key])?;
        }
        conn.execute_batch(
            "UPDATE record SET parent_digest = digest WHERE id = 'taken';
             UPDATE record SET parent_digest = zeroblob(32) WHERE id = 'mine';",
        )?;
        conn.execute(
            "INSERT INTO left_record (record, feed, sequence, said)
             SELECT key, ?1, sequence, 1 FROM record WHERE id = 'moved'",
            [feed.as_bytes()],
        )?;
        Ok(conn.execute(
            "INSERT INTO delivery (target, sequence, state, attempts, next_at, changed)
             SELECT 'parent', sequence, 'retry', 1, 0, 0 FROM version
             WHERE record = (SELECT key FROM record WHERE id = 'waits')",
            [],
        )?)
    });
    let outside = |feeds: &[FeedId], which| {
        names(&world, &DigestScope::Outside { feeds: feeds.to_vec(), which }, None, 9)
    };
    assert_eq!(outside(&[feed], Outside::Kept), ["Observation/moved", "Patient/gone"]);
    assert_eq!(outside(&[feed], Outside::Taken), ["Patient/taken"]);
    assert_eq!(outside(&[feed], Outside::OnlyHere), ["Patient/mine"]);
    // Of a feed that the parent does not list any more, all is kept.
    let all = ["Observation/moved", "Patient/gone", "Patient/held"];
    assert_eq!(outside(&[], Outside::Kept), all);
}
