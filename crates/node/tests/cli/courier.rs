//! A stick that a person carries between sites, as the commands write and read it.

use std::path::PathBuf;

use protocol::{Limits, Urgency};
use store::sqlite::SqliteStore;
use store::{LeaseAsk, OpenOptions, Store as _};

use crate::folder::{Folder, Serving, code_of, wait_until};

/// A folder that stands for a stick, and the names of what is on it.
struct Stick(tempfile::TempDir);

impl Stick {
    fn new() -> Stick {
        Stick(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &str {
        self.0.path().to_str().unwrap()
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<_> =
            std::fs::read_dir(self.0.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }

    /// What it has for a site, by the names.
    fn has_for(&self, site: &str) -> Vec<String> {
        let names = self
            .files()
            .into_iter()
            .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
        names.filter(|name| name.split('_').nth(1) == Some(site)).collect()
    }
}

/// A clinic that has joined this centre and told it its key. (It has fetched what was there.)
fn clinic_of(centre: &Folder, name: &str, cohorts: &[&str]) -> Folder {
    let clinic = Folder::new(name);
    let mut add = vec!["child", "add", name];
    for cohort in cohorts {
        add.extend(["--cohort", cohort]);
    }
    let code = code_of(&centre.run(&add).ok());
    clinic.run(&["join", &format!("http://{}", centre.address), "--code", &code]).ok();
    clinic.run(&["sync"]).ok();
    clinic
}

/// A centre with two cohorts: `everybody`, and `coast`, whose only patient is `baraka`.
fn centre() -> (Folder, Serving) {
    let centre = Folder::new("centre");
    let file = centre.write("coast", "Patient/baraka\n");
    centre.run(&["cohort", "set", "everybody", "--all"]).ok();
    centre.run(&["cohort", "set", "coast", "--patients", &file]).ok();
    let serving = centre.serve();
    (centre, serving)
}

#[test]
fn a_cohort_is_written_for_each_child_that_follows_it_and_for_nobody_else() {
    let (centre, serving) = centre();
    let mombasa = clinic_of(&centre, "mombasa", &["coast"]);
    let both = clinic_of(&centre, "both", &["coast", "everybody"]);
    let _inland = clinic_of(&centre, "inland", &["everybody"]);
    centre.run(&["child", "add", "malindi", "--cohort", "coast"]).ok();
    centre.run(&["child", "add", "lamu", "--cohort", "coast"]).ok();
    centre.run(&["child", "revoke", "lamu"]).ok();
    centre.put_patient("amina", "Odhiambo");
    centre.put_patient("baraka", "Mwangi");
    let place = r#"{"resourceType":"Location","id":"port","name":"Port Clinic"}"#;
    assert_eq!(centre.ask("PUT /fhir/Location/port", None, place).0, 201);
    drop(serving);

    let stick = Stick::new();
    let export = ["courier", "export", stick.path(), "--cohort", "coast"];
    let said = centre.run(&export);
    assert_eq!(said.code, Some(1), "one of them could not be written for: {}", said.out);
    assert!(said.out.contains("for 2 children"), "{}", said.out);
    assert!(said.out.contains("malindi: not written: malindi is invited"), "{}", said.out);
    assert!(!said.out.contains("lamu"), "who was shut out follows nothing: {}", said.out);
    for (site, files) in [("mombasa", 2), ("both", 2), ("inland", 0), ("malindi", 0)] {
        let found = stick.has_for(site);
        assert_eq!(found.len(), files, "{site}: {found:?}");
        assert!(!found.iter().any(|name| name.contains("everybody")), "{found:?}");
    }

    // Each reads its own, and of the cohort only.
    for clinic in [&mombasa, &both] {
        clinic.run(&["courier", "import", stick.path()]).ok();
        let _serving = clinic.serve();
        assert!(clinic.holds("baraka", "Mwangi"));
        assert_eq!(clinic.ask("GET /fhir/Location/port", None, "").0, 200);
        assert_ne!(clinic.ask("GET /fhir/Patient/amina", None, "").0, 200);
    }
    let sent = centre.json(&["audit", "search", "--action", "courier-export", "--json"]);
    let mut subjects: Vec<&str> =
        sent.as_array().unwrap().iter().map(|row| row["subject"].as_str().unwrap()).collect();
    subjects.sort_unstable();
    assert_eq!(subjects, ["both", "mombasa"]);

    // The link goes on where the stick ended.
    let _serving = centre.serve();
    both.run(&["sync"]).ok();
    assert!(both.run(&["verify"]).ok().contains("0 differ"));
    let _running = both.serve();
    wait_until("the link has brought the rest", || both.holds("amina", "Odhiambo"));
}

#[test]
fn a_child_and_a_cohort_together_choose_both_and_what_is_wrong_is_named() {
    let (centre, serving) = centre();
    let _mombasa = clinic_of(&centre, "mombasa", &["coast"]);
    let _both = clinic_of(&centre, "both", &["coast", "everybody"]);
    centre.put_patient("baraka", "Mwangi");
    drop(serving);
    let stick = Stick::new();
    let export = ["courier", "export", stick.path()];
    let with = |more: &[&str]| centre.run(&[&export[..], more].concat());
    with(&["--child", "both", "--cohort", "everybody"]).ok();
    let names = stick.has_for("both");
    assert!(names.len() == 1 && names[0].contains("_everybody-bulk-"), "{names:?}");
    assert_eq!(stick.files().len(), 1, "nothing for anybody else");
    with(&["--child", "mombasa", "--cohort", "everybody"]).refused(&["does not follow"]);
    with(&["--cohort", "hills"]).refused(&["there is no cohort hills"]);
    centre.run(&["cohort", "set", "hills", "--all"]).ok();
    with(&["--cohort", "hills"]).refused(&["no child follows the cohort hills"]);
    with(&["--cohort", "coast", "--days", "3"]).refused(&["cannot be used with"]);
}

/// What an export leases that is killed before it has written it.
fn lease_and_die(clinic: &Folder) -> usize {
    let options = OpenOptions {
        limits: Limits::default(),
        merge: protocol::reconcile::Policies::default(),
        urgent: protocol::urgency::usual(),
        cache_bytes: 1 << 20,
        readers: 1,
        wal_pages: OpenOptions::WAL_PAGES,
    };
    let store = SqliteStore::open(&clinic.dir().join("tributary.db"), options).unwrap();
    let now = node::ports::Clock::now(&node::ports::system::SystemClock);
    let ask = LeaseAsk {
        carrier: node::courier::CARRIER.to_owned(),
        max: 100,
        bytes: 1 << 20,
        lanes: Urgency::ALL.to_vec(),
        until: now.plus_millis(600_000),
        lease: "killed".to_owned(),
        is_anew: false,
    };
    store.outbox_lease(&ask, now).unwrap().len()
}

#[test]
fn what_a_killed_export_had_leased_is_on_the_next_stick_at_once() {
    let (centre, serving) = centre();
    let clinic = Folder::new("clinic");
    let code = code_of(&centre.run(&["child", "add", "clinic", "--cohort", "everybody"]).ok());
    let url = format!("http://{}", centre.address);
    clinic.run(&["join", &url, "--code", &code, "--up", "carried"]).ok();
    clinic.run(&["sync"]).ok();
    drop(serving);
    for id in ["amina", "baraka"] {
        let file = clinic.write(id, crate::folder::patient(id, "Odhiambo"));
        clinic.run(&["import", &file]).ok();
    }
    assert_eq!(lease_and_die(&clinic), 2);

    let stick = Stick::new();
    let export = ["courier", "export", stick.path()];
    let lock = std::fs::File::create(clinic.dir().join("courier.lock")).unwrap();
    lock.lock().unwrap();
    clinic.run(&export).refused(&["another `tributary courier export` runs"]);
    drop(lock);
    let told = clinic.run(&export).ok();
    assert!(told.starts_with("2 messages in 1 files"), "{told}");
    let told = clinic.run(&export).ok();
    assert!(told.starts_with("0 messages"), "what is on a stick is not offered again: {told}");
    let told = centre.run(&["courier", "import", stick.path()]).ok();
    assert!(told.starts_with("2 messages taken, 0 were here already"), "{told}");
    clinic.run(&["courier", "receipts", stick.path()]).ok();
    assert_eq!(clinic.json(&["status", "--json"])["deliveries"]["done"], 2);
    clinic.run(&["token", "add", "courier", "--scope", "outbox"]).refused(&["another name"]);
}

#[test]
fn a_site_whose_changes_go_up_in_another_way_is_told_in_which() {
    let stick = Stick::new();
    for (parent, words) in [
        ("", "this site has no parent"),
        ("site = \"centre\"\nurl = \"http://127.0.0.1:9\"", "sends its changes itself"),
        ("site = \"centre\"\nup = \"read\"", "the parent centre reads this site's changes itself"),
        (
            "site = \"registry\"\nurl = \"http://127.0.0.1:9\"\nup = \"fhir\"",
            "the parent registry is a FHIR server of another make",
        ),
    ] {
        let clinic = Folder::new("clinic");
        let path = clinic.dir().join("tributary.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        let section = if parent.is_empty() { "" } else { "[parent]" };
        std::fs::write(path, format!("{text}\n{section}\n{parent}\n")).unwrap();
        clinic.run(&["courier", "export", stick.path()]).refused(&[words]);
    }
}
