//! Reading single records, and who may.

use super::*;
use crate::sqlite::testing::{World, east, gone, patient, reader_epoch, state};

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
fn an_older_version_is_for_those_who_may_see_the_record_now() {
    let world = World::new();
    world.cohort("a", &["p"]);
    world.cohort("b", &["z"]);
    world.made_here(&[state("Observation/o", &["p"], 1)]);
    world.made_here(&[state("Observation/o", &["z"], 2)]);
    assert_eq!(get(&world, "Observation/o", Some(1), &east(&["a"])), None);
    assert!(get(&world, "Observation/o", Some(1), &east(&["b"])).is_some());
    assert!(get(&world, "Observation/o", None, &east(&["a", "b"])).is_some());
    world.made_here(&[gone("Observation/o")]);
    assert_eq!(get(&world, "Observation/o", None, &east(&["b"])).unwrap().body, None);
}

/// What a read method gives of the records named `z`, which are not the reader's.
type Reads = Vec<(&'static str, Box<dyn Fn(&World, &Scope) -> String>)>;

/// Every method by which a child can read records. A new one belongs in here.
fn all_reads() -> Reads {
    let names = || -> Vec<RecordRef> {
        ["Patient/z", "Observation/z", "Basic/z"].iter().map(|name| name.parse().unwrap()).collect()
    };
    let mut reads: Reads = Vec::new();
    let mut add = |name, read: Box<dyn Fn(&World, &Scope) -> String>| reads.push((name, read));
    add(
        "record_get",
        Box::new(move |world, scope| {
            let get = |name, version| world.store.record_get(name, version, scope).unwrap();
            let found: Vec<_> = names()
                .iter()
                .flat_map(|name| [get(name, None), get(name, Some(1))])
                .flatten()
                .collect();
            format!("{found:?}")
        }),
    );
    add(
        "record_search",
        Box::new(|world, scope| {
            let kinds = ["Patient", "Observation", "Basic"];
            let found: Vec<_> = kinds
                .iter()
                .map(|kind| {
                    let kind = kind.parse().ok();
                    let query =
                        SearchQuery { kind, limit: 10, total: true, ..SearchQuery::default() };
                    world.store.record_search(&query, scope).unwrap()
                })
                .collect();
            let patients = Some(vec![patient("z")]);
            let everything = SearchQuery { patients, limit: 10, ..SearchQuery::default() };
            format!("{found:?} {:?}", world.store.record_search(&everything, scope).unwrap())
        }),
    );
    add(
        "record_history",
        Box::new(move |world, scope| {
            let queries = names().into_iter().flat_map(|name| {
                let kind = Some(name.kind);
                [
                    HistoryQuery { record: Some(name), limit: 10, ..HistoryQuery::default() },
                    HistoryQuery { kind, limit: 10, ..HistoryQuery::default() },
                    HistoryQuery { limit: 10, ..HistoryQuery::default() },
                ]
            });
            let found: Vec<_> =
                queries.map(|query| world.store.record_history(&query, scope).unwrap()).collect();
            format!("{found:?}")
        }),
    );
    add(
        "record_digests",
        Box::new(|world, scope| {
            let digests = |feed: &str| {
                let scope = DigestScope::Published { feed: feed.into(), scope: scope.clone() };
                world.store.record_digests(&scope, None, 10).unwrap()
            };
            format!("{:?} {:?} {:?}", digests("a"), digests("other"), digests("reference"))
        }),
    );
    add(
        "feed_page",
        Box::new(|world, scope| {
            let page = |feed| world.store.feed_page(feed, None, scope).unwrap();
            format!("{:?} {:?} {:?}", page("a"), page("other"), page("reference"))
        }),
    );
    add(
        "feed_changes",
        Box::new(|world, scope| {
            let mut found = Vec::new();
            for feed in ["a", "other", "reference"] {
                for lane in [protocol::stream::Lane::Live, protocol::stream::Lane::Bulk] {
                    let feed = feed.to_owned();
                    let query = FeedQuery {
                        feed,
                        lane,
                        marker: 0,
                        after: 0,
                        epoch: None,
                        to: None,
                        bytes: 1 << 20,
                    };
                    found.push(world.store.feed_changes(&query, scope).unwrap());
                }
            }
            format!("{found:?}")
        }),
    );
    add(
        "feed_fetch",
        Box::new(move |world, scope| {
            let fetch = |feed| world.store.feed_fetch(feed, &names(), scope).unwrap();
            format!("{:?} {:?} {:?}", fetch("a"), fetch("other"), fetch("reference"))
        }),
    );
    add(
        "feed_list",
        Box::new(|world, scope| format!("{:?}", world.store.feed_list(scope).unwrap())),
    );
    reads
}

#[test]
fn defect_28_by_no_way_does_a_child_read_a_record_outside_its_cohorts() {
    let world = World::new();
    world.made_here(&[
        state("Patient/z", &["z"], 1),
        state("Observation/z", &["z"], 1),
        state("Basic/z", &[], 1),
        state("Patient/mine", &["mine"], 1),
    ]);
    world.cohort("a", &["mine"]);
    world.cohort("other", &["z"]);
    world.made_here(&[state("Observation/z", &["z"], 2), state("Patient/mine", &["mine"], 2)]);
    let of_z = ["Patient/z", "Observation/z", "Basic/z", r#""z\""#, "other"];
    for (name, read) in all_reads() {
        for cohorts in [&["a"][..], &[], &["none"]] {
            let given = read(&world, &east(cohorts));
            for text in of_z {
                assert!(!given.contains(text), "{name} with {cohorts:?} tells of {text}: {given}");
            }
        }
        let all = read(&world, &Scope::Everything);
        assert!(of_z.iter().any(|text| all.contains(text)), "{name} was not tried: {all}");
    }
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
