//! Several writers and readers at once.

use std::sync::atomic::{AtomicBool, Ordering};

use protocol::Limits;
use protocol::cohort::Definition;

use super::builders::{a_patient, put};
use super::{Maker, START, feed_id, site};
use crate::{CohortDraft, HistoryQuery, Scope, Store};

const WRITERS: u64 = 4;
const CHANGES: u64 = 40;

fn write_from_many_threads(store: &dyn Store, beside: impl Fn() + Sync) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                beside();
            }
        });
        let writers = (0..WRITERS).map(|writer| {
            scope.spawn(move || {
                for change in 0..CHANGES {
                    let patient = a_patient(&format!("p-{writer}-{change}"));
                    store.change_record(&put(&[patient]), START).unwrap();
                }
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.join().unwrap();
        }
        done.store(true, Ordering::SeqCst);
        reader.join().unwrap();
    });
}

/// All sequences, newest first, as a reader sees them in one look.
fn sequences(store: &dyn Store) -> Vec<u64> {
    let query = HistoryQuery { limit: 10_000, ..HistoryQuery::default() };
    let history = store.record_history(&query, &Scope::Everything).unwrap();
    history.versions.iter().map(|version| version.sequence).collect()
}

pub fn defect_01_a_reader_never_sees_a_hole_in_the_sequences(maker: &dyn Maker) {
    let store = maker.make(&site("centre"), &Limits::default());
    let store = &*store;
    write_from_many_threads(store, || {
        let seen = sequences(store);
        let expected = (1..=seen.len() as u64).rev().collect::<Vec<_>>();
        assert_eq!(seen, expected);
    });
    assert_eq!(sequences(store).len() as u64, WRITERS * CHANGES);
}

pub fn defect_02_concurrent_writers_fill_a_feed_in_commit_order(maker: &dyn Maker) {
    let store = maker.make(&site("centre"), &Limits::default());
    let cohort = CohortDraft {
        name: "all".parse().unwrap(),
        feed: feed_id("all"),
        title: None,
        definition: Definition::All {},
        page_entries: 10_000,
    };
    store.cohort_set(&cohort, START).unwrap();
    let store = &*store;
    let positions = || {
        let page = store.feed_page("all", None, &Scope::Everything).unwrap().unwrap();
        let entries = page.entries.iter().enumerate();
        entries.for_each(|(index, entry)| assert_eq!(entry.position, index as u64 + 1));
        let numbers = page.entries.iter().filter_map(|entry| entry.change.as_ref());
        let numbers = numbers.map(|change| change.number).collect::<Vec<_>>();
        assert!(numbers.is_sorted(), "{numbers:?}");
        numbers.len() as u64
    };
    write_from_many_threads(store, || {
        positions();
    });
    assert_eq!(positions(), WRITERS * CHANGES);
}
