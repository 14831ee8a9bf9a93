//! Stores and settings that a site must not start with.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};

use crate::folder::Folder;

/// A site with some records, and nobody at work on it.
fn filled() -> (Folder, u64) {
    let site = Folder::new("centre");
    let lines: Vec<String> =
        (0..200).map(|n| crate::folder::patient(&format!("p{n}"), "Odhiambo")).collect();
    site.run(&["import", &site.write("patients.ndjson", lines.join("\n"))]).ok();
    let length = std::fs::metadata(site.dir().join("tributary.db")).unwrap().len();
    (site, length)
}

fn store_of(site: &Folder) -> File {
    OpenOptions::new().read(true).write(true).open(site.dir().join("tributary.db")).unwrap()
}

#[test]
fn a_store_that_was_overwritten_in_the_middle_is_not_served() {
    let (site, length) = filled();
    let mut store = store_of(&site);
    store.seek(SeekFrom::Start(length / 4)).unwrap();
    store.write_all(&vec![0xA5; usize::try_from(length / 2).unwrap()]).unwrap();
    drop(store);
    for verb in ["serve", "status", "doctor"] {
        site.run(&[verb]).refused(&["damaged", "tributary restore"]);
    }
}

#[test]
fn a_store_that_was_cut_short_is_not_served() {
    let (site, length) = filled();
    store_of(&site).set_len(length / 2).unwrap();
    site.run(&["serve"]).refused(&["damaged", "tributary restore"]);
}

#[test]
fn a_damaged_store_is_replaced_by_its_backup() {
    let (site, length) = filled();
    let backup = site.beside("backup.db");
    site.run(&["backup", &backup]).ok();
    store_of(&site).set_len(length / 2).unwrap();
    site.run(&["restore", &backup, "--replace"]).ok();
    assert_eq!(site.json(&["status", "--json"])["records"], 200);
}

#[test]
fn a_store_of_a_newer_program_asks_for_that_program() {
    let (site, _) = filled();
    let mut store = store_of(&site);
    // The header's user version, big-endian: the number of migrations that made the store.
    let mut version = [0; 4];
    store.seek(SeekFrom::Start(60)).unwrap();
    store.read_exact(&mut version).unwrap();
    assert_ne!(u32::from_be_bytes(version), 0);
    store.seek(SeekFrom::Start(60)).unwrap();
    store.write_all(&9_999_u32.to_be_bytes()).unwrap();
    drop(store);
    site.run(&["serve"]).refused(&["9999", "install the newer version"]);
    assert!(!site.run(&["status"]).err.contains("restore"), "a restore would not help");
}

#[test]
fn settings_that_nobody_reads_are_refused_by_name() {
    let site = Folder::new("centre");
    let path = site.dir().join("tributary.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("listne = \"127.0.0.1:1\"\n{text}")).unwrap();
    site.run(&["serve"]).refused(&["tributary.toml", "listne"]);
    std::fs::write(&path, text.replace("127.0.0.1", "0.0.0.0")).unwrap();
    site.run(&["serve"]).refused(&["0.0.0.0", "insecure_http"]);
}

#[test]
fn a_policy_for_what_does_not_exist_is_refused_with_the_nearest_name() {
    let site = Folder::new("centre");
    let path = site.dir().join("tributary.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let with = |rule: &str| std::fs::write(&path, format!("{text}\n[merge]\n{rule}\n")).unwrap();
    with(r#""Patient.brithDate" = "parent""#);
    site.run(&["serve"]).refused(&["tributary.toml", "[merge]", "did you mean Patient.birthDate?"]);
    with(r#""Patient.birthDate" = "union""#);
    site.run(&["serve"]).refused(&["tributary.toml", "\"Patient.birthDate\"", "is for lists"]);
    with(r#""Patient.telecom" = "union""#);
    assert!(site.run(&["status"]).err.is_empty());
}

#[test]
fn a_folder_without_a_site_says_how_to_make_one() {
    let site = Folder::new("centre");
    let nowhere = site.beside("nowhere");
    for verb in ["serve", "status", "queue", "sync", "verify", "doctor"] {
        crate::folder::tributary(&[verb, "--dir", &nowhere]).refused(&["tributary init"]);
    }
}
