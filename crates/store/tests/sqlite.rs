//! The suite of all backends over SQLite, and what only this backend can get wrong.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::sync::atomic::{AtomicU32, Ordering};

use protocol::Limits;
use protocol::reconcile::Policies;
use store::conformance::{Maker, START};
use store::sqlite::SqliteStore;
use store::{NewSite, OpenOptions, Store};

/// Stores in a folder that goes with it.
struct Files {
    folder: tempfile::TempDir,
    made: AtomicU32,
}

impl Files {
    fn new() -> Files {
        Files {
            folder: tempfile::tempdir().expect("a temporary folder can be made"),
            made: AtomicU32::new(0),
        }
    }
}

fn options(limits: &Limits) -> OpenOptions {
    OpenOptions {
        limits: limits.clone(),
        merge: Policies::default(),
        urgent: protocol::urgency::usual(),
        cache_bytes: 1 << 20,
        readers: 2,
        wal_pages: OpenOptions::WAL_PAGES,
    }
}

impl Maker for Files {
    fn make(&self, site: &NewSite, limits: &Limits) -> Box<dyn Store> {
        let number = self.made.fetch_add(1, Ordering::SeqCst);
        let path = self.folder.path().join(format!("{}-{number}.db", site.site));
        let store = SqliteStore::create(&path, site, options(limits), START);
        Box::new(store.expect("a store can be made in an empty folder"))
    }
}

macro_rules! tests {
    ($($module:ident: $($rule:ident),+ $(,)?;)+) => {
        $(mod $module {
            $(
                #[test]
                fn $rule() {
                    store::conformance::$module::$rule(&super::Files::new());
                }
            )+
        })+
    };
}

store::for_each_rule!(tests);

fn pulses(prefix: &str, count: u32) -> impl Iterator<Item = store::Draft> {
    use store::conformance::builders::{an_observation, put};
    (0..count).map(move |number| put(&[an_observation(&format!("{prefix}{number}"), "amina")]))
}

/// Two programs have one file open, as `serve` and a verb of the command line do.
#[test]
fn defect_38_two_programs_write_to_one_store_at_once() {
    let files = Files::new();
    let limits = Limits::default();
    let path = files.folder.path().join("shared.db");
    let site = store::conformance::site("centre");
    let first = SqliteStore::create(&path, &site, options(&limits), START).unwrap();
    let second = SqliteStore::open(&path, options(&limits)).unwrap();
    std::thread::scope(|scope| {
        for (store, prefix) in [(&first, "a"), (&second, "b")] {
            scope.spawn(move || {
                for draft in pulses(prefix, 50) {
                    store.change_record(&draft, START).unwrap();
                }
            });
        }
    });
    for store in [&first, &second] {
        assert_eq!(store.site().unwrap().sequence, 100);
        assert_eq!(store.site_check(&mut |_| {}).unwrap(), Vec::<String>::new());
    }
}

/// What one program sets, the other one keeps to at once.
#[test]
fn a_cohort_that_one_program_sets_is_asked_by_the_other() {
    use protocol::cohort::Definition;
    let files = Files::new();
    let limits = Limits::default();
    let path = files.folder.path().join("shared.db");
    let site = store::conformance::site("centre");
    let first = SqliteStore::create(&path, &site, options(&limits), START).unwrap();
    let second = SqliteStore::open(&path, options(&limits)).unwrap();
    let cohort = |definition| store::CohortDraft {
        name: "mine".parse().unwrap(),
        feed: store::conformance::feed_id("mine"),
        title: None,
        definition,
        page_entries: 100,
    };
    let nobody = Definition::Patients { patients: std::collections::BTreeSet::new() };
    first.cohort_set(&cohort(nobody), START).unwrap();
    for draft in pulses("a", 1) {
        first.change_record(&draft, START).unwrap();
    }
    second.cohort_set(&cohort(Definition::All {}), START).unwrap();
    let beno = store::conformance::builders::a_patient("beno");
    first.change_record(&store::conformance::builders::put(&[beno]), START).unwrap();
    let members = first.cohort_patients(&"mine".parse().unwrap(), None, 10).unwrap();
    assert_eq!(members.len(), 2);
}

/// The audit and what is kept of failures name ids only.
#[test]
fn defect_30_no_row_beside_the_records_has_patient_content() {
    let files = Files::new();
    let limits = Limits::default();
    let path = files.folder.path().join("audited.db");
    let site = store::conformance::site("centre");
    let store = SqliteStore::create(&path, &site, options(&limits), START).unwrap();
    let patient = store::conformance::builders::a_patient("amina").born("1980-12-24");
    store.change_record(&store::conformance::builders::put(&[patient]), START).unwrap();
    drop(store);
    let connection = rusqlite::Connection::open(&path).unwrap();
    let rows: Vec<String> = connection
        .prepare("SELECT actor || action || subject || detail FROM audit")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(rows.len(), 1);
    assert!(rows.iter().all(|row| !row.contains("1980")), "{rows:?}");
}

/// The store is put back from a backup: the record system is ahead of it. Everything there is
/// compared by images; nothing is lost, and what is as it was makes no change.
#[test]
fn a_restored_store_takes_what_its_record_system_has_and_makes_no_flood() {
    use protocol::Epoch;
    use store::conformance::beside::{Beside, married};
    use store::conformance::builders::{a_patient, put};
    let files = Files::new();
    let limits = Limits::default();
    let (path, copy) = (files.folder.path().join("a.db"), files.folder.path().join("b.db"));
    let site = store::conformance::site("clinic");
    let store = SqliteStore::create(&path, &site, options(&limits), START).unwrap();
    let mut beside = Beside::of(Box::new(store));
    beside.record(&put(&[married("amina"), married("beno"), married("cora")]));
    beside.assert_quiet();
    beside.store.site_backup(&copy, &mut |_, _| {}).unwrap();
    // After the backup one was changed here, one there, and one came new.
    beside.record(&put(&[married("amina").born("1991-01-01"), a_patient("dina")]));
    beside.edit("Patient/beno", "gender", "\"male\"");
    beside.assert_quiet();
    SqliteStore::restore_as(&copy, &Epoch::from_random([9; 16]), START).unwrap();
    beside.store = Box::new(SqliteStore::open(&copy, options(&limits)).unwrap());
    assert_eq!(beside.store.emr_cursor().unwrap(), None);
    let before = beside.store.site().unwrap().sequence;
    let done = beside.load();
    assert_eq!((done.changes, done.echoes), (3, 1));
    beside.assert_quiet();
    assert_eq!(beside.store.site().unwrap().sequence, before + 3);
    for (name, words) in [("amina", "1991"), ("beno", "male"), ("dina", "dina"), ("cora", "1990")] {
        let body = beside.body(&format!("Patient/{name}")).unwrap();
        assert!(body.contains(words), "{body}");
        assert!(name == "dina" || body.contains("maritalStatus"), "{body}");
    }
    assert_eq!(beside.store.site_status(START).unwrap().conflicts_open, 0);
}
