//! Backups.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::sqlite::testing::{World, state};

fn everything(store: &SqliteStore) -> (u64, Vec<String>) {
    let site = store.site().unwrap();
    let mut progress = |_: &str| {};
    (site.sequence, store.site_check(&mut progress).unwrap())
}

#[test]
fn a_backup_is_a_whole_store_of_one_moment_while_others_write() {
    let world = World::new();
    world.cohort("a", &["p"]);
    for n in 0..50 {
        let states: Vec<_> =
            (0..20).map(|i| state(&format!("Observation/o{n}-{i}"), &["p"], n)).collect();
        world.made_here(&states);
    }
    let path = world.dir.path().join("backup.db");
    let stop = AtomicBool::new(false);
    let copied = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                let add = "INSERT INTO place (text) VALUES (hex(randomblob(500)))";
                world.store.write("write", |conn| Ok(conn.execute(add, [])?)).unwrap();
            }
        });
        let mut words = Vec::new();
        world.store.site_backup(&path, &mut |done, all| words.push((done, all))).unwrap();
        stop.store(true, Ordering::SeqCst);
        words
    });
    let (done, all) = *copied.last().unwrap();
    assert!(done == all && all > 10, "{copied:?}");
    let copy = SqliteStore::open(&path, world.store.options.clone()).unwrap();
    assert_eq!(everything(&copy), (50, Vec::new()));
    assert_eq!(copy.site().unwrap(), world.store.site().unwrap());
}

#[test]
fn a_backup_goes_nowhere_where_something_is() {
    let world = World::new();
    let path = world.dir.path().join("precious");
    fs::write(&path, "precious").unwrap();
    let error = world.store.site_backup(&path, &mut |_, _| {}).unwrap_err();
    assert!(matches!(error, StoreError::Name(_)), "{error:?}");
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    let nowhere = world.dir.path().join("none").join("backup.db");
    assert!(world.store.site_backup(&nowhere, &mut |_, _| {}).is_err());
}

#[test]
fn nothing_is_left_beside_a_backup() {
    let world = World::new();
    let path = world.dir.path().join("backup.db");
    fs::write(world.dir.path().join("backup.db.part"), "left by a power cut").unwrap();
    world.store.site_backup(&path, &mut |_, _| {}).unwrap();
    let mut names: Vec<_> = fs::read_dir(world.dir.path())
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with("store.db"))
        .collect();
    names.sort();
    assert_eq!(names, ["backup.db"]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn a_restored_backup_is_a_new_life_of_the_site() {
    let world = World::new();
    world.made_here(&[state("Patient/p", &["p"], 1)]);
    let path = world.dir.path().join("backup.db");
    world.store.site_backup(&path, &mut |_, _| {}).unwrap();
    let epoch = Epoch::from_bytes([9; 16]);
    SqliteStore::restore_as(&path, &epoch, world.now()).unwrap();
    let copy = SqliteStore::open(&path, world.store.options.clone()).unwrap();
    assert_eq!(copy.site().unwrap().epoch, epoch);
    assert_eq!(everything(&copy), (1, Vec::new()));
}
