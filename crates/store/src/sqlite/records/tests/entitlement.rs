//! Every way to read, tried by a child on records that are not for it.

use protocol::stream::Lane;

use super::*;
use crate::sqlite::testing::patient;

/// What a read method gives of everything it can be asked for.
type Read = fn(&World, &Scope) -> String;

/// Every method by which a child can read records. A new one belongs in here.
const READS: [(&str, Read); 8] = [
    ("record_get", gets),
    ("record_search", searches),
    ("record_history", histories),
    ("record_digests", digests),
    ("feed_list", feeds),
    ("feed_page", pages),
    ("feed_changes", streams),
    ("feed_fetch", fetches),
];
const FEEDS: [&str; 3] = ["a", "other", "reference"];

fn names() -> Vec<RecordRef> {
    ["Patient/z", "Observation/z", "Basic/z"].iter().map(|name| name.parse().unwrap()).collect()
}

fn gets(world: &World, scope: &Scope) -> String {
    let get = |name, version| world.store.record_get(name, version, scope).unwrap();
    let found: Vec<_> =
        names().iter().flat_map(|name| [get(name, None), get(name, Some(1))]).flatten().collect();
    format!("{found:?}")
}

fn searches(world: &World, scope: &Scope) -> String {
    let mut queries: Vec<SearchQuery> = names()
        .iter()
        .map(|name| SearchQuery { kind: Some(name.kind), ..SearchQuery::default() })
        .collect();
    queries.push(SearchQuery { patients: Some(vec![patient("z")]), ..SearchQuery::default() });
    let found: Vec<_> = queries
        .into_iter()
        .map(|query| SearchQuery { limit: 10, total: true, ..query })
        .map(|query| world.store.record_search(&query, scope).unwrap())
        .collect();
    format!("{found:?}")
}

fn histories(world: &World, scope: &Scope) -> String {
    let mut queries = vec![HistoryQuery::default()];
    for name in names() {
        queries.push(HistoryQuery { kind: Some(name.kind), ..HistoryQuery::default() });
        queries.push(HistoryQuery { record: Some(name), ..HistoryQuery::default() });
    }
    let found: Vec<_> = queries
        .into_iter()
        .map(|query| HistoryQuery { limit: 10, ..query })
        .map(|query| world.store.record_history(&query, scope).unwrap())
        .collect();
    format!("{found:?}")
}

fn digests(world: &World, scope: &Scope) -> String {
    let digests = |feed: &str| {
        let scope = DigestScope::Published { feed: feed.into(), scope: scope.clone() };
        world.store.record_digests(&scope, None, 10).unwrap()
    };
    format!("{:?}", FEEDS.map(digests))
}

fn feeds(world: &World, scope: &Scope) -> String {
    format!("{:?}", world.store.feed_list(scope).unwrap())
}

fn pages(world: &World, scope: &Scope) -> String {
    format!("{:?}", FEEDS.map(|feed| world.store.feed_page(feed, None, scope).unwrap()))
}

fn streams(world: &World, scope: &Scope) -> String {
    let mut found = Vec::new();
    for feed in FEEDS {
        for lane in [Lane::Live, Lane::Bulk] {
            let query = FeedQuery {
                feed: feed.to_owned(),
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
}

fn fetches(world: &World, scope: &Scope) -> String {
    format!("{:?}", FEEDS.map(|feed| world.store.feed_fetch(feed, &names(), scope).unwrap()))
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
    let foreign = ["Patient/z", "Observation/z", "Basic/z", r#""z\""#, "other"];
    for (name, read) in READS {
        for cohorts in [&["a"][..], &[], &["none"]] {
            let given = read(&world, &east(cohorts));
            for text in foreign {
                assert!(!given.contains(text), "{name} with {cohorts:?} tells of {text}: {given}");
            }
        }
        let all = read(&world, &Scope::Everything);
        assert!(foreign.iter().any(|text| all.contains(text)), "{name} was not tried: {all}");
    }
}
