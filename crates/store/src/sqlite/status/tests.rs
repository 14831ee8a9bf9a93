//! Counts and lists.

use protocol::Via;
use protocol::delivery::DeliveryState;

use super::*;
use crate::sqlite::testing::{World, gone, patient, state};

fn sql(world: &World, sql: &str) {
    world.write(|conn| Ok(conn.execute_batch(sql)?));
}

fn world() -> World {
    let world = World::new();
    world.cohort("a", &["p", "q"]);
    world.made_here(&[state("Patient/p", &["p"], 1), state("Observation/o", &["p"], 1)]);
    world.made_here(&[state("Patient/q", &["q"], 1), state("Location/l", &[], 1)]);
    world.change(&Via::Parent, &[gone("Patient/q")]);
    world.made_here(&[state("Observation/o", &["p", "q"], 2)]);
    world.leave("a", "q");
    sql(
        &world,
        "UPDATE site SET has_parent = 1;
         INSERT INTO delivery (target, sequence, state, attempts, next_at, reason, changed) VALUES
            ('parent', 1, 'done', 1, 0, NULL, 0), ('parent', 2, 'parked', 5, 0, 'no', 0),
            ('parent', 4, 'retry', 1, 77, 'busy', 0);
         INSERT INTO delivery_attempt VALUES ('parent', 2, 10, 'refused', 'no'),
            ('parent', 2, 20, 'refused', 'no'), ('parent', 1, 5, 'applied', NULL);
         UPDATE change SET author = 'tributary' WHERE sequence = 4;
         UPDATE patient SET state = 'frozen' WHERE id = 'q';
         INSERT INTO conflict (record, about_type, about_id, state) VALUES
            (2, 'Observation', 'o', 'open'), (3, 'Patient', 'q', 'decided');
         UPDATE link SET failures = 3, last_error = 'no route', wire_sent = 12;",
    );
    world
}

#[test]
fn status_counts_what_there_is() {
    let world = world();
    let status = world.store.site_status(world.now()).unwrap();
    assert_eq!((status.site.as_str(), status.sequence), ("centre", 4));
    assert_eq!((status.records, status.patients, status.changes), (3, 1, 4));
    assert_eq!((status.conflicts_open, status.merged, status.patients_left), (1, 1, 1));
    let counts: Vec<(&str, u64)> =
        status.deliveries.iter().map(|(state, count)| (state.as_str(), *count)).collect();
    assert_eq!(counts, [("done", 1), ("parked", 1), ("retry", 1)]);
    let second = world.store.record_get(&patient("q"), Some(2), &Scope::Everything).unwrap();
    assert_eq!(status.oldest_undelivered, second.map(|version| version.recorded));
    assert_eq!((status.link.failures, status.link.wire_sent), (3, 12));
    assert_eq!(status.link, world.store.link_get().unwrap());
    assert_eq!((status.cohorts, status.parked_lines), (1, 0));
    assert!(status.disk_bytes > 100_000, "{}", status.disk_bytes);
    assert!(world.store.site().unwrap().has_parent);
}

#[test]
fn a_new_store_has_a_status() {
    let world = World::new();
    let status = world.store.site_status(world.now()).unwrap();
    assert_eq!((status.records, status.oldest_undelivered), (0, None));
    assert!(status.deliveries.is_empty());
    assert_eq!(status.link, LinkInfo::default());
}

fn deliveries(world: &World, filter: DeliveryFilter) -> Vec<u64> {
    let filter = DeliveryFilter { limit: 10, ..filter };
    world.store.delivery_list(&filter).unwrap().into_iter().map(|d| d.sequence).collect()
}

#[test]
fn deliveries_are_listed_by_state_and_patient_and_one_with_its_history() {
    let world = world();
    let none = DeliveryFilter::default();
    assert_eq!(deliveries(&world, none.clone()), [2, 4]);
    let state = |state| deliveries(&world, DeliveryFilter { state: Some(state), ..none.clone() });
    assert_eq!(state(DeliveryState::Done), [1]);
    assert_eq!(state(DeliveryState::Parked), [2]);
    assert!(state(DeliveryState::Ready).is_empty());
    let of = |id| deliveries(&world, DeliveryFilter { patient: Some(patient(id)), ..none.clone() });
    assert_eq!((of("p"), of("q"), of("nobody")), (vec![4], vec![2, 4], vec![]));
    let reason = |words: &str| {
        deliveries(&world, DeliveryFilter { reason: Some(words.to_owned()), ..none.clone() })
    };
    assert_eq!((reason("us"), reason("n"), reason("%")), (vec![4], vec![2], vec![]));
    let fourth = Scope::Everything;
    let fourth = world.store.record_get(&"Observation/o".parse().unwrap(), Some(4), &fourth);
    let before = fourth.unwrap().map(|version| version.recorded);
    assert_eq!(deliveries(&world, DeliveryFilter { before, ..none.clone() }), [2]);
    let one = DeliveryFilter { sequence: Some(2), limit: 1, ..none.clone() };
    let one = world.store.delivery_list(&one).unwrap().remove(0);
    assert_eq!(one.history.len(), 2);
    assert_eq!(one.history[1].0, Timestamp::from_millis(20));
    assert_eq!(one.records, ["Patient/q".parse().unwrap(), "Location/l".parse().unwrap()]);
    assert_eq!((one.patients, one.next_at, one.attempts), (vec![patient("q")], None, 5));
    let all = world.store.delivery_list(&DeliveryFilter { limit: 9, ..none }).unwrap();
    assert_eq!(all[1].next_at, Some(Timestamp::from_millis(77)));
    assert!(all.iter().all(|delivery| delivery.history.is_empty()));
}

#[test]
fn cohorts_are_listed_with_those_who_are_in_them_now() {
    let world = world();
    let cohort = world.store.cohort_list().unwrap().remove(0);
    assert_eq!((cohort.name.as_str(), cohort.patients, cohort.head), ("a", 1, 7));
    let name: CohortName = "a".parse().unwrap();
    let patients = |after: Option<&RecordRef>, limit| {
        world.store.cohort_patients(&name, after, limit).unwrap()
    };
    assert_eq!(patients(None, 9), [patient("p")]);
    world.join("a", "q");
    world.join("a", "b");
    assert_eq!(patients(None, 2), [patient("b"), patient("p")]);
    assert_eq!(patients(Some(&patient("p")), 2), [patient("q")]);
    let none = world.store.cohort_patients(&"none".parse().unwrap(), None, 9);
    assert!(matches!(none, Err(StoreError::Name(_))));
}

#[test]
fn defect_10_markers_are_of_a_feed_whatever_it_is_called() {
    let world = World::new();
    let columns = "(feed, epoch, lane, position, name, moved)";
    let insert = |name: &str, position: u64| {
        let upsert = format!(
            "INSERT INTO marker {columns} VALUES (zeroblob(16), zeroblob(16), 'live', {position},
                '{name}', 0)
             ON CONFLICT (feed, epoch, lane) DO UPDATE SET position = excluded.position,
                name = excluded.name"
        );
        sql(&world, &upsert);
    };
    insert("east", 5);
    insert("https://elsewhere/feeds/kisumu-east", 6);
    let markers = world.store.marker_list().unwrap();
    assert_eq!((markers.len(), markers[0].position, markers[0].lane), (1, 6, Lane::Live));
}

#[test]
fn parked_lines_are_listed_with_their_patients_and_the_name_of_their_feed() {
    let world = world();
    // A later schema may ask for how to leave, too.
    let more = world.write(|conn| {
        let sql = "SELECT 1 FROM pragma_table_info('parked_line') WHERE name = 'leave'";
        Ok(if conn.prepare(sql)?.exists([])? { (", leave", ", 'keep'") } else { ("", "") })
    });
    let insert = |key: u64, feed: u8| {
        sql(
            &world,
            &format!(
                "INSERT INTO parked_line (key, feed, epoch, lane, position, sequence, line, reason,
                    attempts, next_at, parked{}) VALUES ({key}, unhex(printf('%032x', {feed})),
                    zeroblob(16), 'live', 9, 1, x'00', 'too long', 2, 50, 40{})",
                more.0, more.1
            ),
        );
    };
    insert(1, 0);
    insert(2, 3);
    sql(
        &world,
        "INSERT INTO marker VALUES (zeroblob(16), zeroblob(16), 'live', 9, 'east', 0);
         INSERT INTO parked_line_patient SELECT 1, key FROM patient;",
    );
    let lines = world.store.parked_list(9).unwrap();
    assert_eq!((lines[0].feed.as_str(), lines[0].patients.len()), ("east", 2));
    assert_eq!(lines[1].feed, "00000000-0000-0000-0000-000000000003");
    assert_eq!((lines[0].position, lines[0].attempts), (9, 2));
    assert_eq!(world.store.parked_list(1).unwrap().len(), 1);
}
