//! What lists show whole, and several records by one request.

use std::collections::{BTreeMap, BTreeSet};

use node::ports::{Emr as _, EmrError, Shown};
use protocol::RecordRef;
use serde_json::json;

use crate::fhir_stand_in::{Batch, locked};
use crate::{Beside, beside, mapping, name, observation, patient, record, to_write};

impl Beside {
    /// Portions until there is no more; gives what was shown whole in each, and the cursor.
    async fn shown(&self, cursor: Option<String>) -> (Vec<BTreeMap<RecordRef, Shown>>, String) {
        let (mut shown, mut cursor) = (Vec::new(), cursor);
        for _ in 0..500 {
            let noticed = self.emr.changes_since(cursor.as_deref()).await.unwrap();
            let named = noticed.groups.concat();
            assert!(noticed.shown.keys().all(|record| named.contains(record)));
            shown.push(noticed.shown);
            cursor = Some(noticed.cursor);
            if !noticed.more {
                return (shown, cursor.unwrap());
            }
        }
        panic!("it does not end");
    }

    fn enter(&self, id: &str, family: &str) {
        locked(&self.server).edit(&format!("Patient/{id}"), Some(patient(id, family)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_load_and_a_history_show_records_as_they_are_read() {
    let beside = beside().await;
    (locked(&beside.server).history, locked(&beside.server).page) = (true, 7);
    for number in 0..30 {
        beside.enter(&format!("p{number}"), "Auma");
    }
    let (shown, cursor) = beside.shown(None).await;
    let all = shown.into_iter().flatten().collect::<BTreeMap<_, _>>();
    assert_eq!(all.len(), 30);
    locked(&beside.server).now += 20_000;
    beside.enter("p3", "Akinyi");
    beside.enter("new", "Wanjiku");
    let (shown, _) = beside.shown(Some(cursor)).await;
    let new = shown.into_iter().flatten().collect::<BTreeMap<_, _>>();
    assert_eq!(new[&name("Patient/p3")].digest(), Some(record(&patient("p3", "Akinyi")).digest));
    for (record, shown) in all.into_iter().filter(|(r, _)| *r != name("Patient/p3")).chain(new) {
        assert_eq!(beside.emr.read(&record).await.unwrap(), shown);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_20_a_history_does_not_bring_back_what_it_has_told_to_be_deleted() {
    let beside = beside().await;
    (locked(&beside.server).history, locked(&beside.server).page) = (true, 4);
    let (_, cursor) = beside.shown(None).await;
    locked(&beside.server).now += 20_000;
    for id in ["gone", "other", "twice"] {
        beside.enter(id, "Auma");
    }
    beside.enter("twice", "Akinyi");
    for id in ["a", "b", "c"] {
        beside.enter(id, "Auma");
    }
    locked(&beside.server).edit("Patient/gone", None);
    // The newest first: a deletion and three records; then those before it.
    let (shown, cursor) = beside.shown(Some(cursor)).await;
    let names = |shown: &BTreeMap<RecordRef, Shown>| {
        shown.keys().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names(&shown[0]), "Patient/a Patient/b Patient/c");
    assert!(shown[1..].iter().all(BTreeMap::is_empty), "{shown:?}");
    // Which of two states on one page is the newer one is not guessed.
    locked(&beside.server).now += 20_000;
    beside.enter("d", "Auma");
    beside.enter("d", "Akinyi");
    beside.enter("e", "Auma");
    let (shown, _) = beside.shown(Some(cursor)).await;
    assert_eq!(names(&shown[0]), "Patient/e");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_other_ids_there_lists_say_which_is_which_and_show_nothing() {
    let beside = mapping().await;
    locked(&beside.server).edit("Patient/17", Some(patient("17", "Auma")));
    let (shown, _) = beside.shown(None).await;
    assert!(shown.iter().all(BTreeMap::is_empty), "{shown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_in_part_is_not_taken_for_the_whole() {
    let beside = beside().await;
    let part = json!({"resourceType": "Patient", "id": "p", "meta": {"tag": [
        {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue",
            "code": "SUBSETTED"}]}});
    locked(&beside.server).edit("Patient/p", Some(part.to_string()));
    let (shown, _) = beside.shown(None).await;
    assert!(shown.iter().all(BTreeMap::is_empty), "{shown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_would_be_too_long_are_asked_for_with_fewer_records() {
    let beside = beside().await;
    let long = "x".repeat(1_900_000);
    for number in 0..22 {
        let id = format!("p{number}");
        let body = json!({"resourceType": "Patient", "id": id, "name": [{"family": long}]});
        locked(&beside.server).edit(&format!("Patient/{id}"), Some(body.to_string()));
    }
    let (shown, _) = beside.shown(None).await;
    assert_eq!(shown.iter().flatten().collect::<BTreeMap<_, _>>().len(), 22);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_page_cannot_be_shown_whole_its_names_are_asked_for() {
    let beside = beside().await;
    (locked(&beside.server).whole, locked(&beside.server).page) = (false, 7);
    for number in 0..30 {
        beside.enter(&format!("p{number}"), "Auma");
    }
    let (shown, _) = beside.shown(None).await;
    assert!(shown.iter().all(BTreeMap::is_empty), "names alone are no records");
    let (names, _) = beside.all(None).await;
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_records_are_read_by_one_request_and_each_for_itself() {
    for batch in [Batch::Good, Batch::Refused, Batch::Blind, Batch::None] {
        let beside = beside().await;
        locked(&beside.server).batch = batch;
        beside.emr.capabilities().await.unwrap();
        for number in 0..60 {
            beside.enter(&format!("p{number}"), "Auma");
        }
        locked(&beside.server).edit("Patient/p7", None);
        let failing = ("Patient/p8".to_owned(), (500, "a fault".to_owned()));
        locked(&beside.server).fails.extend([failing]);
        let names = (0..61).map(|number| name(&format!("Patient/p{number}"))).collect::<Vec<_>>();
        for again in [false, true] {
            locked(&beside.server).asked.clear();
            let read = beside.emr.read_several(&names).await;
            assert_eq!(read.len(), 61);
            for (name, read) in names.iter().zip(read) {
                match (name.id(), read) {
                    ("p7", Ok(Shown::Gone)) | ("p60", Ok(Shown::Absent)) => {}
                    (_, Ok(Shown::Body(body))) => assert_eq!(body.reference, *name),
                    (_, read) => panic!("{batch:?} {name}: {read:?}"),
                }
            }
            let server = locked(&beside.server);
            let count = |begins| server.asked.iter().filter(|one| one.starts_with(begins)).count();
            match (batch, again) {
                // One of which it says something else is asked for by itself.
                (Batch::Good, _) => assert_eq!((count("POST"), count("GET")), (2, 1)),
                (Batch::Refused, false) => assert_eq!((count("POST"), count("GET")), (1, 61)),
                // That it knows none of them is not believed.
                (Batch::Blind, _) => assert_eq!((count("POST"), count("GET")), (2, 61)),
                (Batch::Refused | Batch::None, _) => assert_eq!(count("GET"), 61),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_shows_something_else_parks_nothing_and_is_no_record() {
    let beside = beside().await;
    locked(&beside.server).batch = Batch::Good;
    beside.emr.capabilities().await.unwrap();
    // One that stands under the name of another.
    locked(&beside.server).edit("Patient/a", Some(patient("b", "Auma")));
    locked(&beside.server).edit("Observation/o", Some(observation("o", "a")));
    let read = beside.emr.read_several(&[name("Patient/a"), name("Observation/o")]).await;
    assert!(matches!(&read[0], Err(EmrError::Refused(why)) if why.contains("Patient/b")));
    assert!(matches!(&read[1], Ok(Shown::Body(_))), "{read:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_of_writing_is_a_few_requests() {
    let beside = beside().await;
    locked(&beside.server).batch = Batch::Good;
    // What it offers is asked for once.
    beside.enter("amina", "Auma");
    beside.emr.capabilities().await.unwrap();
    drop(beside.emr.read_several(&[name("Patient/amina"), name("Patient/x")]).await);
    locked(&beside.server).asked.clear();
    let observations = (0..40).map(|number| observation(&format!("o{number}"), "amina"));
    let writes = observations.map(|text| to_write(&text, None)).collect::<Vec<_>>();
    let done = beside.write(writes.clone()).await;
    for (done, write) in done.iter().zip(&writes) {
        let digest = done.as_ref().unwrap().digest();
        assert_eq!(digest, write.wanted.as_ref().map(|wanted| wanted.digest));
    }
    assert_eq!(locked(&beside.server).asked, ["POST "; 3], "read, written, read back");
}
