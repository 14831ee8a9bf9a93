//! Stores of the first schema open in every later program and lose nothing on the way.
//!
//! `fixtures/schema-1-*.db.zst` are a centre and its clinic as version 0.1.0 wrote them: invented
//! records with their history, conflicts, deliveries that wait, lines that were parked, a patient
//! who left. The `.txt` beside each lists its versions. These files are never written anew.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::path::{Path, PathBuf};

use protocol::Limits;
use protocol::reconcile::Policies;
use store::conformance::START;
use store::conformance::builders::{an_observation, named, put};
use store::sqlite::SqliteStore;
use store::{HistoryQuery, OpenOptions, Scope, Store as _};

/// A copy of the store of this name, opened by this program.
fn opened(name: &str) -> (tempfile::TempDir, SqliteStore) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("site.db");
    let packed = std::fs::read(fixture(&format!("schema-1-{name}.db.zst"))).unwrap();
    std::fs::write(&path, zstd::decode_all(&packed[..]).unwrap()).unwrap();
    let options = OpenOptions {
        limits: Limits::default(),
        merge: Policies::default(),
        urgent: protocol::urgency::usual(),
        cache_bytes: 1 << 20,
        readers: 1,
        wal_pages: OpenOptions::WAL_PAGES,
    };
    let store = SqliteStore::open(&path, options).unwrap();
    (folder, store)
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// Every version, newest first, as the list beside the fixture has them.
fn versions(store: &SqliteStore) -> String {
    let query = HistoryQuery { limit: 500, ..HistoryQuery::default() };
    let page = store.record_history(&query, &Scope::Everything).unwrap();
    let line = |version: store::StoredVersion| {
        format!("{} {} {}\n", version.sequence, version.reference, version.digest.short())
    };
    page.versions.into_iter().map(line).collect()
}

#[test]
fn a_store_of_the_first_schema_keeps_every_version() {
    for name in ["centre", "clinic"] {
        let (_folder, store) = opened(name);
        let listed = std::fs::read_to_string(fixture(&format!("schema-1-{name}.txt"))).unwrap();
        let (conflicts, others): (Vec<String>, Vec<String>) = versions(&store)
            .lines()
            .map(|line| format!("{line}\n"))
            .partition(|line| line.contains(" Basic/conflict-"));
        assert_eq!(others.concat(), listed, "{name}");
        assert_eq!(conflicts.len(), 1, "{name}: {conflicts:?}");
        assert_eq!(store.site_check(&mut |_| {}).unwrap(), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn a_store_of_the_first_schema_keeps_its_queues_conflicts_and_markers() {
    let (_folder, store) = opened("clinic");
    let status = store.site_status(START).unwrap();
    let count = |state: &str| status.deliveries.get(state).copied();
    assert_eq!((count("ready"), count("parked"), count("done")), (Some(2), Some(1), Some(6)));
    // One record and one change more than there were: the conflict.
    assert_eq!((status.sequence, status.records, status.patients), (17, 10, 4));
    assert_eq!((status.conflicts_open, status.parked_lines, status.patients_left), (1, 2, 1));
    let positions = status.markers.iter().map(|marker| (marker.name.as_str(), marker.position));
    assert_eq!(positions.collect::<Vec<_>>(), [("all", 21), ("all", 19), ("reference", 1)]);
    let parked = store.parked_list(10).unwrap();
    assert!(parked.iter().all(|line| line.patients == [named("Patient/dalia")]), "{parked:?}");

    let (_folder, store) = opened("centre");
    let status = store.site_status(START).unwrap();
    assert_eq!((status.sequence, status.conflicts_open), (19, 1));
    assert_eq!((status.children.len(), status.cohorts), (1, 1));
    assert_eq!(store.token_list().unwrap().len(), 1);
}

/// The first schema noted a conflict where it was found; now it is a record.
#[test]
fn a_conflict_of_the_first_schema_can_be_seen_and_decided() {
    use store::{ConflictAction, ConflictFilter, ConflictOrder};
    for name in ["centre", "clinic"] {
        let (_folder, store) = opened(name);
        let filter = ConflictFilter { limit: 10, ..ConflictFilter::default() };
        let page = store.conflict_list(&filter, &Scope::Everything).unwrap();
        let conflict = &page.conflicts[0];
        assert_eq!((conflict.parent.as_str(), conflict.child.as_str()), ("centre", "clinic"));
        let view = store.conflict_get(&conflict.id, &Scope::Everything).unwrap().unwrap();
        assert!(view.conflict.versions().all(|(_, version)| version.body.text().is_some()));
        let order = ConflictOrder {
            id: conflict.id.clone(),
            action: ConflictAction::Close(protocol::conflict::Choice::Confirm),
            author: protocol::Author::new("dr-otieno"),
            why: None,
            actor: "dr-otieno".to_owned(),
        };
        assert_eq!(store.conflict_decide(&order, START).unwrap().state, "confirmed");
        assert_eq!(store.site_status(START).unwrap().conflicts_open, 0);
    }
}

#[test]
fn a_store_of_the_first_schema_goes_on_working() {
    let (_folder, store) = opened("clinic");
    assert_eq!(store.parked_retry(START, 0, true).unwrap(), 2);
    let late = store.record_get(&named("Observation/late"), None, &Scope::Everything).unwrap();
    assert!(late.is_some_and(|version| version.body.is_some()));
    let recorded = store.change_record(&put(&[an_observation("new", "amina")]), START).unwrap();
    let lines = store.delivery_next(START, 1 << 20).unwrap();
    let sent = lines.iter().flat_map(|line| &line.deliveries).copied().collect::<Vec<_>>();
    assert!(sent.contains(&15) && sent.contains(&recorded.sequence.unwrap()), "{sent:?}");
    assert!(!sent.contains(&16), "what was parked by hand was sent: {sent:?}");
}
