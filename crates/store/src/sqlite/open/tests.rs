use std::io::{Seek as _, SeekFrom, Write as _};

use protocol::Limits;
use protocol::reconcile::Policies;
use tempfile::TempDir;

use super::*;
use crate::conformance::builders::{a_patient, put};
use crate::conformance::{START, site};
use crate::{Store as _, WatchStore as _};

fn options() -> OpenOptions {
    OpenOptions {
        limits: Limits::default(),
        merge: Policies::default(),
        urgent: protocol::urgency::usual(),
        cache_bytes: 1 << 20,
        readers: 2,
        wal_pages: OpenOptions::WAL_PAGES,
    }
}

/// A closed store with some patients in it.
fn a_store() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("site.db");
    let store = create(&path, &site("centre"), options(), START).unwrap();
    for number in 0..50 {
        let long = format!("\"{}\"", "x".repeat(number * 100));
        let patient = a_patient(&format!("p{number}")).with("note", &long);
        store.change_record(&put(&[patient]), START).unwrap();
    }
    drop(store);
    (folder, path)
}

#[test]
fn a_store_is_found_as_it_was_left() {
    let (_folder, path) = a_store();
    let info = open(&path, options()).unwrap().site().unwrap();
    assert_eq!((info.site.as_str(), info.sequence, info.has_parent), ("centre", 50, false));
}

#[cfg(unix)]
#[test]
fn only_its_owner_can_read_a_store() {
    use std::os::unix::fs::PermissionsExt as _;
    let (folder, _path) = a_store();
    for file in fs::read_dir(folder.path()).unwrap() {
        let mode = file.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0);
    }
}

#[test]
fn a_store_is_not_made_over_a_file_and_not_found_where_none_is() {
    let (folder, path) = a_store();
    assert!(matches!(create(&path, &site("x"), options(), START), Err(StoreError::Name(_))));
    let nowhere = folder.path().join("nowhere.db");
    assert!(matches!(open(&nowhere, options()), Err(StoreError::Name(_))));
}

#[test]
fn a_store_of_a_newer_program_is_refused_with_both_versions() {
    let (_folder, path) = a_store();
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = open(&path, options()).unwrap_err();
    let newest = u32::try_from(MIGRATIONS.len()).unwrap();
    assert!(matches!(error, StoreError::Newer { found: 99, known } if known == newest), "{error}");
    assert!(matches!(
        restore_as(&path, &Epoch::from_random([7; 16]), START),
        Err(StoreError::Newer { .. })
    ));
}

#[test]
fn a_damaged_file_is_refused_and_its_owner_told_how_to_restore() {
    let (_folder, path) = a_store();
    let size = fs::metadata(&path).unwrap().len();
    let cut = |bytes: u64| {
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(bytes).unwrap();
        open(&path, options()).unwrap_err()
    };
    for error in [cut(size - 4_096), cut(100)] {
        assert!(matches!(error, StoreError::Damaged(_)), "{error:?}");
        assert!(error.to_string().contains("tributary restore"), "{error}");
    }
}

#[test]
fn a_file_with_rubbish_in_its_pages_is_refused() {
    let (_folder, path) = a_store();
    let mut file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    for page in 2..8 {
        file.seek(SeekFrom::Start(page * 4_096)).unwrap();
        file.write_all(&[0xAB; 4_096]).unwrap();
    }
    drop(file);
    let error = open(&path, options()).unwrap_err();
    assert!(matches!(error, StoreError::Damaged(_)), "{error:?}");
}

#[test]
fn a_file_of_something_else_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text.db");
    fs::write(&text, "not a database at all, and long enough to be looked at ".repeat(40)).unwrap();
    assert!(matches!(open(&text, options()), Err(StoreError::Damaged(_))));
    let other = folder.path().join("other.db");
    Connection::open(&other).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    assert!(matches!(open(&other, options()), Err(StoreError::Damaged(_))));
}

#[test]
fn a_restored_store_counts_from_one_in_its_new_life() {
    let (_folder, path) = a_store();
    let epoch = Epoch::from_random([7; 16]);
    restore_as(&path, &epoch, START).unwrap();
    let store = open(&path, options()).unwrap();
    store.parent_set(START, &crate::conformance::feed_id("outgoing")).unwrap();
    let recorded = store.change_record(&put(&[a_patient("new")]), START).unwrap();
    assert_eq!(recorded.sequence, Some(51));
    assert_eq!(store.site().unwrap().epoch, epoch);
    let lines = store.delivery_next(START, usize::MAX).unwrap();
    let names = lines.iter().map(|line| line.lines[0].id.clone().unwrap()).collect::<Vec<_>>();
    // What was here before is bulk, and a new patient goes ahead of it.
    assert_eq!((names[0].epoch, names[0].number), (epoch, 1));
    assert_eq!((names[1].epoch, names[1].number), (site("centre").epoch, 1));
    assert_eq!((names[50].epoch, names[50].number), (site("centre").epoch, 50));
}

#[test]
fn defect_40_what_was_acknowledged_is_there_after_a_power_cut() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("site.db");
    let store = create(&path, &site("centre"), options(), START).unwrap();
    for number in 1..=20_u64 {
        store.change_record(&put(&[a_patient(&format!("p{number}"))]), START).unwrap();
        // What lies on the disk now, the shared memory of its readers being gone.
        let copy = folder.path().join(format!("copy-{number}.db"));
        fs::copy(&path, &copy).unwrap();
        let log = |path: &Path| PathBuf::from(format!("{}-wal", path.display()));
        fs::copy(log(&path), log(&copy)).unwrap();
        let after = open(&copy, options()).unwrap();
        assert_eq!(after.site().unwrap().sequence, number);
        assert_eq!(after.site_check(&mut |_| {}).unwrap(), Vec::<String>::new());
    }
}

#[test]
fn a_log_that_was_cut_anywhere_leaves_a_store_of_whole_changes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("site.db");
    let store = create(&path, &site("centre"), options(), START).unwrap();
    for number in 1..=20_u64 {
        store.change_record(&put(&[a_patient(&format!("p{number}"))]), START).unwrap();
    }
    let log = fs::read(format!("{}-wal", path.display())).unwrap();
    let mut before = 0;
    for part in 8..=16 {
        let copy = folder.path().join(format!("copy-{part}.db"));
        fs::copy(&path, &copy).unwrap();
        fs::write(format!("{}-wal", copy.display()), &log[..log.len() * part / 16]).unwrap();
        let after = open(&copy, options()).unwrap();
        let sequence = after.site().unwrap().sequence;
        assert!(sequence >= before);
        before = sequence;
        assert_eq!(after.site_check(&mut |_| {}).unwrap(), Vec::<String>::new());
    }
    assert_eq!(before, 20);
}

#[test]
fn a_statement_is_planned_once_whatever_its_limit_is() {
    let (_folder, path) = a_store();
    let connection = reader(&path, &options()).unwrap();
    let mut statement =
        connection.prepare("SELECT sequence FROM change ORDER BY sequence LIMIT ?1").unwrap();
    for limit in [1, 2, 1_000] {
        let found = statement.query_map([limit], |row| row.get::<_, u64>(0)).unwrap();
        let found = found.collect::<rusqlite::Result<Vec<_>>>().unwrap();
        assert!(!found.is_empty());
    }
    assert_eq!(statement.get_status(rusqlite::StatementStatus::RePrepare), 0);
}

#[test]
fn a_store_is_ready_while_it_can_be_written_and_has_our_schema() {
    let (_folder, path) = a_store();
    let store = open(&path, options()).unwrap();
    let bytes = || fs::metadata(&path).unwrap().len() + wal_size(&path);
    let size = bytes();
    store.site_ready().unwrap();
    assert!(bytes() > size, "something was written");
    let aside = Connection::open_with_flags(&path, flags()).unwrap();
    let created = |conn: &Connection| {
        conn.query_row("SELECT created FROM site", [], |row| row.get::<_, i64>(0)).unwrap()
    };
    assert_eq!(created(&aside), START.millis(), "and nothing is changed");
    let known = u32::try_from(MIGRATIONS.len()).unwrap();
    aside.pragma_update(None, "user_version", known + 1).unwrap();
    assert!(matches!(store.site_ready(), Err(StoreError::Newer { found, .. }) if found > known));
    aside.pragma_update(None, "user_version", known - 1).unwrap();
    assert!(matches!(store.site_ready(), Err(StoreError::Damaged(_))));
    aside.pragma_update(None, "user_version", known).unwrap();
    store.site_ready().unwrap();
}
