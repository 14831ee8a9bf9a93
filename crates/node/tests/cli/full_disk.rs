//! A site on a disk that is full: a small file system of its own, where one can be mounted.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::folder::{Folder, Serving, patient, wait_until};

/// A file system of a few megabytes, in memory.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` where nothing can be mounted: that takes rights that most accounts have not.
    fn mount() -> Option<SmallDisk> {
        let at = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"]).arg(at.path());
        match mount.output() {
            Ok(done) if done.status.success() => Some(SmallDisk(at)),
            _ => None,
        }
    }

    fn ballast(&self) -> PathBuf {
        self.0.path().join("ballast")
    }

    /// Takes all that is left.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.ballast()).unwrap();
        while file.write_all(&[7; 4_096]).is_ok() {}
        assert_eq!(free(self.0.path()), 0);
    }

    fn make_room(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

fn free(folder: &Path) -> u64 {
    node::disk::Disk::of(folder).unwrap().free
}

/// Writes to the site until it is killed on a full disk, with its log beside it.
fn fill_and_kill(disk: &SmallDisk, site: &Folder) {
    let running = site.serve();
    site.put_patient("amina", "Odhiambo");
    disk.fill();
    assert_eq!(site.ask("PUT /fhir/Patient/x", None, &patient("x", "Mwangi")).0, 507);
    drop(running);
}

fn set(site: &Folder, more: &str) {
    let path = site.dir().join("tributary.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    // Tables come after the settings that are in none.
    std::fs::write(path, format!("{text}\n{more}")).unwrap();
}

/// It comes up on the full disk, says so, and takes writes again when there is room.
fn comes_up(disk: &SmallDisk, site: &Folder) -> Serving {
    let running = site.serve();
    assert!(site.holds("amina", "Odhiambo"));
    assert_eq!(site.ask("PUT /fhir/Patient/baraka", None, &patient("baraka", "M")).0, 507);
    assert_eq!(site.ask("GET /health/live", None, "").0, 200);
    assert_eq!(site.ask("GET /health/ready", None, "").0, 503);
    let told = site.run(&["status"]).ok();
    assert!(told.contains("0 B of the disk that holds the store are free"), "{told}");
    assert_eq!(site.json(&["status", "--json"])["disk_free_bytes"], 0);
    disk.make_room();
    site.put_patient("baraka", "Mwangi");
    running
}

fn starts_on_a_full_disk(settings: &str, is_noted: impl Fn(&Folder) -> bool) {
    let Some(disk) = SmallDisk::mount() else { return };
    let site = Folder::below(disk.0.path(), "clinic", &["--open-on-loopback"]);
    fill_and_kill(&disk, &site);
    set(&site, settings);
    let running = comes_up(&disk, &site);
    // What the settings say is noted late, and holds for all that was here before.
    wait_until("the settings are noted", || is_noted(&site));
    drop(running);
    // Once noted it is not written again.
    fill_and_kill(&disk, &site);
    drop(comes_up(&disk, &site));
}

fn is_queued(site: &Folder) -> bool {
    let waiting = site.json(&["queue", "--json"])["deliveries"].clone();
    waiting.as_array().is_some_and(|all| all.len() == 2)
}

#[test]
fn a_site_that_its_parent_reads_starts_on_a_full_disk() {
    starts_on_a_full_disk("[parent]\nsite = \"centre\"\nup = \"read\"\n", is_queued);
}

#[test]
fn a_site_below_a_fhir_server_starts_on_a_full_disk() {
    let settings = "[parent]\nsite = \"registry\"\nurl = \"http://127.0.0.1:9\"\nup = \"fhir\"\n";
    starts_on_a_full_disk(settings, is_queued);
}

#[test]
fn a_site_beside_a_record_system_starts_on_a_full_disk() {
    let settings = "[emr]\nkind = \"fhir\"\nurl = \"http://127.0.0.1:9\"\n";
    starts_on_a_full_disk(settings, |site| {
        let known = site.json(&["emr", "list", "--json"]);
        known.as_array().is_some_and(|all| all.len() == 2)
    });
}

#[test]
fn a_full_disk_keeps_no_backup_from_another_one() {
    let Some(disk) = SmallDisk::mount() else { return };
    let site = Folder::below(disk.0.path(), "clinic", &["--open-on-loopback"]);
    fill_and_kill(&disk, &site);
    let elsewhere = tempfile::tempdir().unwrap();
    let path = |name: &str| elsewhere.path().join(name).display().to_string();
    let _running = site.serve();
    let said = site.run(&["backup", &path("copy.db")]);
    assert!(said.err.contains("the audit has no row of this"), "{}", said.err);
    assert!(said.ok().contains("holds everything up to now"));
    site.run(&["export", &path("all.ndjson")]).ok();
    assert!(std::fs::read_to_string(path("all.ndjson")).unwrap().contains("Odhiambo"));
    let own = site.beside("copy.db");
    site.run(&["backup", &own]).refused(&["is full"]);
    assert!(!Path::new(&own).exists());

    // The copy is a store that can be used.
    disk.make_room();
    let other = Folder::new("clinic");
    other.run(&["restore", &path("copy.db"), "--replace"]).ok();
    let _other = other.serve();
    assert!(other.holds("amina", "Odhiambo"));
}

#[test]
fn a_site_starts_on_a_disk_that_others_have_filled_while_it_was_down() {
    let Some(disk) = SmallDisk::mount() else { return };
    let site = Folder::below(disk.0.path(), "clinic", &["--open-on-loopback"]);
    let running = site.serve();
    site.put_patient("amina", "Odhiambo");
    // It leaves nothing open behind.
    assert_eq!(running.stop().0, Some(0));
    for _ in 0..2 {
        disk.fill();
        assert!(site.run(&["status"]).ok().contains("1 of 1 patients"));
        let running = site.serve();
        assert!(site.holds("amina", "Odhiambo"));
        disk.make_room();
        site.put_patient("amina", "Odhiambo");
        assert_eq!(running.stop().0, Some(0));
        // The next who opens it finds room to keep for the next time.
        site.run(&["status"]).ok();
    }
}
