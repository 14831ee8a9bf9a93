//! A FHIR server beside a site: what the adapter notices, reads and writes there.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so what it expects")]

#[path = "../fhir_stand_in/mod.rs"]
mod fhir_stand_in;
mod lists;
mod live;
mod map;

use std::collections::BTreeSet;
use std::sync::Arc;

use node::config::{EmrConfig, FhirEmrConfig, FhirIds};
use node::emr::fhir::FhirEmr;
use node::fhir_server::Ways;
use node::ports::system::{OsEntropy, SystemClock};
use node::ports::{Emr as _, EmrError, EmrWrite, Noticed, Shown};
use node::transport::http::HttpTransport;
use protocol::resource::Record;
use protocol::{Author, Epoch, FeedId, Limits, RecordRef};
use serde_json::json;
use store::sqlite::SqliteStore;
use store::{EmrCapture, EmrDraft, EmrSeen, NewSite, OpenOptions, SharedStore};

use fhir_stand_in::{Batch, FHIR, Fault, Shared, locked};

struct Beside {
    emr: FhirEmr,
    server: Shared,
    store: SharedStore,
    _folder: tempfile::TempDir,
}

async fn beside() -> Beside {
    let server = fhir_stand_in::start().await;
    let url = locked(&server).url.clone();
    beside_at(&url, server)
}

#[allow(clippy::print_stderr, reason = "a test that is left out says so")]
fn skipped(why: &str) {
    eprintln!("SKIPPED: {why}");
}

fn beside_at(url: &str, server: Shared) -> Beside {
    beside_with(url, server, FhirIds::Keep)
}

/// Beside a server that gives ids of its own.
async fn mapping() -> Beside {
    let server = fhir_stand_in::start().await;
    let url = locked(&server).url.clone();
    (locked(&server).update_create, locked(&server).own_ids) = (false, true);
    beside_with(&url, server, FhirIds::Map)
}

fn beside_with(url: &str, server: Shared, ids: FhirIds) -> Beside {
    let folder = tempfile::tempdir().unwrap();
    let new = NewSite {
        site: "clinic".parse().unwrap(),
        epoch: Epoch::from_random([1; 16]),
        reference: FeedId::from_random([2; 16]),
    };
    let options = OpenOptions {
        limits: Limits::default(),
        merge: Default::default(),
        urgent: BTreeSet::new(),
        cache_bytes: 4 << 20,
        readers: 2,
        wal_pages: OpenOptions::WAL_PAGES,
    };
    let now = protocol::Timestamp::from_millis(1_795_421_730_000);
    let path = folder.path().join("tributary.db");
    let store: SharedStore = Arc::new(SqliteStore::create(&path, &new, options, now).unwrap());
    let fhir = FhirEmrConfig { ids, ..FhirEmrConfig::default() };
    let config = EmrConfig { url: Some(url.to_owned()), fhir, ..EmrConfig::default() };
    let ways = Ways {
        transport: Arc::new(HttpTransport::new().unwrap()),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(OsEntropy),
        idle_seconds: 10,
    };
    let emr = FhirEmr::new(&config, None, store.clone(), &Limits::default(), ways).unwrap();
    Beside { emr, server, store, _folder: folder }
}

fn patient(id: &str, family: &str) -> String {
    json!({"resourceType": "Patient", "id": id, "name": [{"family": family}]}).to_string()
}

fn observation(id: &str, patient: &str) -> String {
    json!({"resourceType": "Observation", "id": id, "status": "final", "code": {"text": "x"},
        "subject": {"reference": format!("Patient/{patient}")}})
    .to_string()
}

fn record(text: &str) -> Record {
    Record::parse(text.as_bytes(), &Limits::default()).unwrap()
}

fn name(text: &str) -> RecordRef {
    text.parse().unwrap()
}

impl Beside {
    /// Portions until there is no more; gives all names, and the cursor.
    async fn all(&self, cursor: Option<String>) -> (Vec<String>, String) {
        let (mut names, mut cursor) = (Vec::new(), cursor);
        for _ in 0..500 {
            let noticed = self.emr.changes_since(cursor.as_deref()).await.unwrap();
            let Noticed { groups, cursor: next, more, .. } = noticed;
            names.extend(groups.into_iter().flatten().map(|record| record.to_string()));
            assert!(next.len() < 64_000);
            cursor = Some(next);
            if !more {
                return (names, cursor.unwrap());
            }
        }
        panic!("it does not end");
    }

    /// Whether the server has a history of everything.
    async fn has_history(&self) -> bool {
        let notes = self.emr.capabilities().await.unwrap().notes;
        notes.iter().any(|note| note.contains("by the history"))
    }

    async fn write(&self, writes: Vec<EmrWrite>) -> Vec<Result<Shown, EmrError>> {
        self.emr.write(&writes).await
    }
}

fn to_write(text: &str, image: Option<Shown>) -> EmrWrite {
    let wanted = record(text);
    EmrWrite { record: wanted.reference.clone(), wanted: Some(wanted), image }
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_39_what_is_there_and_what_changes_is_noticed_in_each_of_the_ways() {
    for (history, elements) in [(true, true), (false, true), (true, false), (false, false)] {
        let beside = beside().await;
        {
            let mut server = locked(&beside.server);
            (server.history, server.page, server.elements) = (history, 7, elements);
            for number in 0..30 {
                let id = format!("p{number}");
                server.edit(&format!("Patient/{id}"), Some(patient(&id, "Auma")));
                let o = format!("o{number}");
                server.edit(&format!("Observation/{o}"), Some(observation(&o, &id)));
            }
        }
        let (names, cursor) = beside.all(None).await;
        let first = names.iter().position(|name| name.starts_with("Observation")).unwrap();
        assert!(names[..first].iter().all(|name| name.starts_with("Patient")), "patients first");
        let unique = names.iter().collect::<BTreeSet<_>>();
        assert_eq!(unique.len(), 60, "history: {history}");
        // What is near the edge may be named once more, and then nothing is.
        let (_, cursor) = beside.all(Some(cursor)).await;
        let (again, cursor) = beside.all(Some(cursor)).await;
        assert_eq!(again, Vec::<String>::new());
        {
            let mut server = locked(&beside.server);
            server.edit("Patient/p3", Some(patient("p3", "Akinyi")));
            server.edit("Patient/new", Some(patient("new", "Akinyi")));
            // In one transaction, and in the same second as the one before.
            server.now += 1;
            let now = server.now;
            for number in 0..20 {
                server.now = now - 1_000;
                let o = format!("o{number}");
                server.edit(&format!("Observation/{o}"), Some(observation(&o, "p1")));
            }
        }
        let (names, cursor) = beside.all(Some(cursor)).await;
        let names = names.into_iter().collect::<BTreeSet<_>>();
        assert!(names.contains("Patient/p3") && names.contains("Patient/new"));
        assert_eq!(names.len(), 22);
        if history {
            locked(&beside.server).edit("Patient/p3", None);
            let (names, _) = beside.all(Some(cursor)).await;
            assert_eq!(names, ["Patient/p3"], "a deletion");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_read_written_and_deleted_and_an_edit_there_is_not_overwritten() {
    for (transaction, if_match, batch) in [
        (true, true, Batch::None),
        (false, true, Batch::None),
        (false, false, Batch::None),
        (true, true, Batch::Good),
        (false, false, Batch::Good),
        (true, true, Batch::Refused),
        (true, true, Batch::Blind),
    ] {
        let beside = beside().await;
        {
            let mut server = locked(&beside.server);
            (server.transaction, server.if_match) = (transaction, if_match);
            server.batch = batch;
        }
        let texts = [patient("a", "Auma"), observation("o", "a")];
        let done = beside.write(texts.iter().map(|text| to_write(text, None)).collect()).await;
        let images = done.into_iter().map(Result::unwrap).collect::<Vec<_>>();
        for (image, text) in images.iter().zip(&texts) {
            assert_eq!(image.digest(), Some(record(text).digest));
        }
        assert_eq!(beside.emr.read(&name("Patient/a")).await.unwrap(), images[0]);
        // Somebody edits it there meanwhile.
        locked(&beside.server).edit("Patient/a", Some(patient("a", "Akinyi")));
        let edit = to_write(&patient("a", "Wanjiku"), Some(images[0].clone()));
        let done = beside.write(vec![edit]).await;
        assert!(matches!(done[0], Err(EmrError::Changed)), "{done:?}");
        let shown = beside.emr.read(&name("Patient/a")).await.unwrap();
        let edit = to_write(&patient("a", "Wanjiku"), Some(shown));
        let done = beside.write(vec![edit]).await.remove(0).unwrap();
        // Deletions: what refers goes before what it refers to.
        let gone = |record: &str, image: &Shown| EmrWrite {
            record: name(record),
            wanted: None,
            image: Some(image.clone()),
        };
        let writes = vec![gone("Observation/o", &images[1]), gone("Patient/a", &done)];
        let done = beside.write(writes).await;
        assert!(done.iter().all(|one| matches!(one, Ok(Shown::Gone))), "{done:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_refused_says_why_and_what_is_lacking_is_waited_for() {
    let beside = beside().await;
    let writes = vec![
        to_write(&patient("a", "Auma"), None),
        to_write(&patient("1234", "Auma"), None),
        to_write(&observation("o", "b"), None),
    ];
    let done = beside.write(writes.clone()).await;
    assert!(done[0].is_ok(), "{done:?}");
    let Err(EmrError::Refused(why)) = &done[1] else { panic!("{done:?}") };
    assert!(why.contains("HAPI-0960"), "{why}");
    assert!(matches!(&done[2], Err(EmrError::Waits(target)) if *target == name("Patient/b")));
    // It is away: nothing is said of any record.
    locked(&beside.server).faults =
        std::iter::repeat_n(Fault::Say(503, FHIR, String::new()), 9).collect();
    let done = beside.write(vec![to_write(&patient("c", "Auma"), None)]).await;
    assert!(matches!(done[0], Err(EmrError::Away(_))), "{done:?}");
    locked(&beside.server).faults.clear();
    // A server with ids of its own cannot hold what was made here.
    let beside = self::beside().await;
    locked(&beside.server).update_create = false;
    let done = beside.write(vec![to_write(&patient("c", "Auma"), None)]).await;
    assert!(matches!(&done[0], Err(EmrError::Kept(_))), "{done:?}");
    assert!(!beside.emr.capabilities().await.unwrap().missing.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_of_something_else_is_lost_and_not_misread() {
    let beside = beside().await;
    let lost = beside.emr.changes_since(Some("mysql-bin.000003:4")).await;
    assert!(matches!(lost, Err(EmrError::CursorLost(_))), "{lost:?}");
}

/// A cursor that has types to compare.
fn comparing(cursor: &str, types: &[&str]) -> String {
    let mut place: serde_json::Value = serde_json::from_str(cursor).unwrap();
    place["follow"]["compare"] = json!(types);
    place.to_string()
}

impl Beside {
    /// Records what was named, as it is there.
    async fn capture(&self, names: &[String]) {
        let mut groups = Vec::new();
        for one in names {
            let shown = self.emr.read(&name(one)).await.unwrap();
            groups.push(vec![(name(one), EmrSeen::Shown(shown))]);
        }
        let now = protocol::Timestamp::from_millis(1_795_421_730_000);
        let draft = EmrDraft {
            kind: "fhir".to_owned(),
            url: "http://there/fhir".to_owned(),
            captures: true,
            applies: true,
        };
        self.store.emr_set(Some(&draft), now).unwrap();
        let capture = EmrCapture { groups, place: None };
        self.store.emr_capture(&capture, &Author::new("emr"), now, 0).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_39_an_emptied_server_deletes_nothing_and_one_deletion_is_noticed() {
    let beside = beside().await;
    for number in 0..5 {
        let id = format!("p{number}");
        locked(&beside.server).edit(&format!("Patient/{id}"), Some(patient(&id, "Auma")));
    }
    let (names, cursor) = beside.all(None).await;
    beside.capture(&names).await;
    let cursor = comparing(&cursor, &["Patient"]);
    locked(&beside.server).records.remove("Patient/p3");
    locked(&beside.server).log.clear();
    let noticed = beside.emr.changes_since(Some(&cursor)).await.unwrap();
    assert_eq!(noticed.groups, [[name("Patient/p3")]]);
    // Another one stands there that is not here.
    locked(&beside.server).edit("Patient/new", Some(patient("new", "Auma")));
    let noticed = beside.emr.changes_since(Some(&cursor)).await.unwrap();
    assert_eq!(noticed.groups, [[name("Patient/new")], [name("Patient/p3")]]);
    locked(&beside.server).records.clear();
    let lost = beside.emr.changes_since(Some(&cursor)).await;
    let Err(EmrError::CursorLost(why)) = lost else { panic!("{lost:?}") };
    assert_eq!(why, "of 5 Patient that were there it lists 5 no more");
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_39_a_server_with_a_history_that_comes_back_empty_is_noticed() {
    let beside = beside().await;
    locked(&beside.server).history = true;
    for number in 0..5 {
        let id = format!("p{number}");
        locked(&beside.server).edit(&format!("Patient/{id}"), Some(patient(&id, "Auma")));
    }
    let (names, cursor) = beside.all(None).await;
    beside.capture(&names).await;
    // By its history, as soon as that showed something once.
    locked(&beside.server).now += 20_000;
    locked(&beside.server).edit("Patient/p3", Some(patient("p3", "Akinyi")));
    let (names, followed) = beside.all(Some(cursor.clone())).await;
    assert!(names.contains(&"Patient/p3".to_owned()), "{names:?}");
    // That it is edited again, or deleted, is no other history.
    locked(&beside.server).edit("Patient/p3", None);
    let (names, followed) = beside.all(Some(followed)).await;
    assert_eq!(names, ["Patient/p3"]);
    locked(&beside.server).records.clear();
    locked(&beside.server).log.clear();
    let lost = beside.emr.changes_since(Some(&followed)).await;
    assert!(matches!(lost, Err(EmrError::CursorLost(_))), "{lost:?}");
    // And by the ids, some time later.
    let noticed = beside.emr.changes_since(Some(&cursor)).await.unwrap();
    let mut place: serde_json::Value = serde_json::from_str(&noticed.cursor).unwrap();
    place["follow"]["compared"] = json!(0);
    let mut cursor = place.to_string();
    let why = loop {
        match beside.emr.changes_since(Some(&cursor)).await {
            Ok(noticed) => {
                assert!(noticed.more, "it is never noticed");
                cursor = noticed.cursor;
            }
            Err(error) => break error.to_string(),
        }
    };
    assert!(why.contains("of 5 Patient that were there it lists 5 no more"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_39_nothing_is_missed_where_the_order_shifts_while_pages_are_read() {
    for (history, at_once) in [(false, false), (false, true), (true, false), (true, true)] {
        let beside = beside().await;
        (locked(&beside.server).history, locked(&beside.server).page) = (history, 7);
        let enter = |number: usize, family: &str| {
            let mut server = locked(&beside.server);
            let (id, now) = (format!("p{number:02}"), server.now);
            server.edit(&format!("Patient/{id}"), Some(patient(&id, family)));
            server.now = if at_once { now } else { server.now };
        };
        let shift = |family: &str| {
            let between = (0..3).map(|n| {
                let id = format!("p{n:02}");
                let body = (n != 1).then(|| patient(&id, family));
                (format!("Patient/{id}"), body)
            });
            let mut server = locked(&beside.server);
            server.now += 5_000;
            server.between = between.collect();
        };
        (0..30).for_each(|number| enter(number, "Auma"));
        shift("Akinyi");
        // A load, and what follows it.
        let (loaded, cursor) = beside.all(None).await;
        beside.capture(&loaded).await;
        let (after, cursor) = beside.all(Some(cursor)).await;
        let names = loaded.iter().chain(&after).collect::<BTreeSet<_>>();
        assert_eq!(names.len(), 30, "history {history}, at once {at_once}");
        // Many changes, while more are made.
        locked(&beside.server).now += 60_000;
        (0..30).for_each(|number| enter(number, "Wanjiku"));
        shift("Atieno");
        let (names, cursor) = beside.all(Some(cursor)).await;
        let (more, _) = beside.all(Some(cursor)).await;
        let names = names.iter().chain(&more).collect::<BTreeSet<_>>();
        assert_eq!(names.len(), 30, "history {history}, at once {at_once}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_page_that_fails_names_its_type() {
    let beside = beside().await;
    let (_, cursor) = beside.all(None).await;
    locked(&beside.server)
        .fails
        .insert("Observation".to_owned(), (500, "out of memory".to_owned()));
    for cursor in [None, Some(cursor)] {
        let mut cursor = cursor;
        let error = loop {
            match beside.emr.changes_since(cursor.as_deref()).await {
                Ok(noticed) => cursor = Some(noticed.cursor),
                Err(error) => break error.to_string(),
            }
        };
        assert!(error.contains("Observation cannot be read"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn very_many_changes_in_one_moment_do_not_swell_the_cursor() {
    for history in [true, false] {
        let beside = beside().await;
        locked(&beside.server).history = history;
        let (_, cursor) = beside.all(None).await;
        {
            let mut server = locked(&beside.server);
            let now = server.now + 20_000;
            for number in 0..1_000 {
                let id = format!("0b6f5e0c-93a4-4c0e-8d7a-{number:012}");
                server.now = now;
                server.edit(&format!("Observation/{id}"), Some(observation(&id, "p")));
            }
        }
        // `all` looks at the length of each cursor.
        let (names, cursor) = beside.all(Some(cursor)).await;
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), 1_000);
        let (again, _) = beside.all(Some(cursor)).await;
        assert!(again.iter().collect::<BTreeSet<_>>().len() < 1_000, "some are known");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_cannot_be_read_do_not_begin_again_for_ever() {
    let ways = [(true, 500), (false, 500), (true, 410), (false, 200), (false, 201), (true, 201)];
    for (history, status) in ways {
        let beside = beside().await;
        (locked(&beside.server).history, locked(&beside.server).page) = (history, 7);
        let (_, followed) = beside.all(None).await;
        let now = locked(&beside.server).now;
        for number in 0..30 {
            // At once: what has other times is asked for by them.
            locked(&beside.server).now = now;
            let id = format!("p{number}");
            locked(&beside.server).edit(&format!("Patient/{id}"), Some(patient(&id, "Auma")));
        }
        for begin in [None, Some(followed)] {
            locked(&beside.server).later = Some(status);
            let mut cursor = begin.clone();
            let mut asked = 0;
            let error = loop {
                asked += 1;
                assert!(asked < 20, "it goes on for ever");
                match beside.emr.changes_since(cursor.as_deref()).await {
                    Ok(noticed) => cursor = Some(noticed.cursor),
                    Err(error) => break error,
                }
            };
            assert!(matches!(error, EmrError::Away(_)), "{error:?}");
            let what = if history && begin.is_some() { "its history" } else { "Patient" };
            assert!(error.to_string().contains(what), "{error}");
            // It goes on where it was as soon as the page is there.
            locked(&beside.server).later = None;
            let (rest, _) = beside.all(cursor).await;
            let read = if status == 201 { 21 } else { 7 };
            assert!(rest.len() >= 30 - read, "{rest:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_that_cannot_be_compared_does_not_hold_back_the_others() {
    let beside = beside().await;
    locked(&beside.server).page = 7;
    let (_, cursor) = beside.all(None).await;
    for number in 0..30 {
        let id = format!("p{number}");
        locked(&beside.server).edit(&format!("Patient/{id}"), Some(patient(&id, "Auma")));
    }
    locked(&beside.server).edit("Observation/o", Some(observation("o", "p1")));
    locked(&beside.server).later = Some(500);
    let cursor = comparing(&cursor, &["Observation", "Patient"]);
    let noticed = beside.emr.changes_since(Some(&cursor)).await.unwrap();
    assert!(noticed.groups.is_empty() && noticed.more, "{noticed:?}");
    let noticed = beside.emr.changes_since(Some(&noticed.cursor)).await.unwrap();
    assert_eq!(noticed.groups, [[name("Observation/o")]]);
}
