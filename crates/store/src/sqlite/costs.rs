//! What reading costs, in steps of the database's machine: the same however much is stored.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use protocol::resource::search::{Param, SearchKey, SearchValue};
use protocol::stream::Lane;

use super::testing::{State, World, east, state};
use super::*;

/// Changes that a reader has not seen yet.
const NEW: u64 = 10;

struct Counted {
    world: World,
    steps: Arc<AtomicU64>,
    changes: u64,
}

impl Counted {
    /// A store with so many changes of two records each, of one patient in fifty.
    fn of(changes: u64) -> Counted {
        let world = World::with_page(10);
        let patients: Vec<String> = (0..50).map(|n| format!("p{n}")).collect();
        world.cohort("a", &patients.iter().map(String::as_str).collect::<Vec<_>>());
        world.made_here(&[state("Location/l", &[], 1)]);
        for n in 0..changes {
            let who = patients[usize::try_from(n).unwrap() % 50].as_str();
            world.made_here(&[
                numbered(&format!("Encounter/e{n}"), who, n),
                numbered(&format!("Observation/o{n}"), who, n),
            ]);
        }
        let steps = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&steps);
        let count = move || {
            counter.fetch_add(1, Ordering::Relaxed);
            false
        };
        // The pool gives the same connection again to a caller that is alone.
        let install = |conn: &Connection| Ok(conn.progress_handler(1, Some(count))?);
        world.store.read("count steps", install).unwrap();
        Counted { world, steps, changes }
    }

    /// The steps of reading the second time, when its statements are prepared.
    fn cost(&self, read: Read) -> u64 {
        read(&self.world.store, self.changes);
        self.steps.store(0, Ordering::Relaxed);
        read(&self.world.store, self.changes);
        self.steps.load(Ordering::Relaxed)
    }
}

fn numbered(name: &str, who: &str, n: u64) -> State {
    let code = |code: String| SearchValue::Token { system: String::new(), code };
    let date = SearchValue::Date { low: n.cast_signed(), high: n.cast_signed() };
    state(name, &[who], n).with_keys([
        SearchKey { param: Param::Identifier, value: code(format!("i{n}")) },
        SearchKey { param: Param::Code, value: code("common".into()) },
        SearchKey { param: Param::Date, value: date },
    ])
}

fn everything() -> Scope {
    Scope::Everything
}

fn search(param: Param, code: &str, limit: u32) -> SearchQuery {
    let any = vec![SearchTest::Code(code.into())];
    SearchQuery {
        kind: Some("Observation".parse().unwrap()),
        filters: vec![SearchFilter { param, any }],
        limit,
        ..SearchQuery::default()
    }
}

/// Reads of a store that has so many changes.
type Read = fn(&SqliteStore, u64);

/// What a site reads all day.
const READS: [(&str, Read); 14] = [
    ("a catch-up of ten changes", |store, changes| {
        let marker = 50 + changes - NEW;
        let feed = "a".to_owned();
        let lane = Lane::Live;
        let query =
            FeedQuery { feed, lane, marker, after: marker, epoch: None, to: None, bytes: 1 << 20 };
        let slice = store.feed_changes(&query, &east(&["a"])).unwrap().unwrap();
        assert_eq!(slice.lines.len() as u64, NEW);
    }),
    ("an idle poll", |store, changes| {
        let marker = 50 + changes;
        let feed = "a".to_owned();
        let lane = Lane::Bulk;
        let query =
            FeedQuery { feed, lane, marker, after: marker, epoch: None, to: None, bytes: 1 << 20 };
        assert!(store.feed_changes(&query, &east(&["a"])).unwrap().unwrap().lines.is_empty());
    }),
    ("the recent page", |store, _| {
        let page = store.feed_page("a", None, &east(&["a"])).unwrap().unwrap();
        assert_eq!(page.entries.len(), 10);
    }),
    ("an archived page", |store, _| {
        let page = store.feed_page("a", Some(7), &east(&["a"])).unwrap().unwrap();
        assert_eq!(page.entries.len(), 10);
    }),
    ("a record", |store, _| {
        let name = "Observation/o5".parse().unwrap();
        assert!(store.record_get(&name, None, &east(&["a"])).unwrap().is_some());
    }),
    ("a record's history", |store, _| {
        let record = Some("Observation/o5".parse().unwrap());
        let query = HistoryQuery { record, limit: 10, ..HistoryQuery::default() };
        assert_eq!(store.record_history(&query, &east(&["a"])).unwrap().total, 1);
    }),
    ("the history of a rare type", |store, _| {
        let kind = Some("Location".parse().unwrap());
        let query = HistoryQuery { kind, limit: 10, ..HistoryQuery::default() };
        assert_eq!(store.record_history(&query, &east(&["a"])).unwrap().total, 1);
    }),
    ("a search for what is rare", |store, _| {
        let page =
            store.record_search(&search(Param::Identifier, "i5", 10), &east(&["a"])).unwrap();
        assert_eq!(page.records.len(), 1);
    }),
    ("the first page of what is common", |store, _| {
        let page = store.record_search(&search(Param::Code, "common", 10), &everything()).unwrap();
        assert_eq!(page.records.len(), 10);
    }),
    ("a page of a type from the middle", |store, changes| {
        let after = Some(format!("{}.0", changes / 2));
        let kind = Some("Encounter".parse().unwrap());
        let query = SearchQuery { kind, after, limit: 10, ..SearchQuery::default() };
        assert_eq!(store.record_search(&query, &everything()).unwrap().records.len(), 10);
    }),
    ("a page of digests", |store, _| {
        let scope = DigestScope::Published { feed: "a".into(), scope: east(&["a"]) };
        let after = "Observation/o1".parse().unwrap();
        assert_eq!(store.record_digests(&scope, Some(&after), 10).unwrap().len(), 10);
    }),
    ("status", |store, _| {
        assert!(store.site_status(Timestamp::from_millis(0)).unwrap().records > 0);
    }),
    ("a page of a cohort", |store, _| {
        let name = "a".parse().unwrap();
        assert_eq!(store.cohort_patients(&name, None, 10).unwrap().len(), 10);
    }),
    ("whose credential it is", |store, _| {
        assert!(store.credential_holder(&[1; 32], Timestamp::from_millis(0)).unwrap().is_none());
    }),
];

#[test]
fn defect_31_reading_costs_the_same_whatever_the_store_has_lived_through() {
    // Both have more than what is counted to find the rarest part of a search.
    let (young, old) = (Counted::of(2_100), Counted::of(4_200));
    for (name, read) in READS {
        let (before, after) = (young.cost(read), old.cost(read));
        assert!(before > 0, "{name} was not counted");
        assert!(after <= before + before / 10, "{name} took {before} steps, and later {after}");
    }
}
