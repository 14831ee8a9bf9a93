//! A server that gives ids of its own (`ids = "map"`).

use node::ports::{Emr as _, EmrError, EmrWrite, Shown};
use serde_json::{Value, json};

use crate::fhir_stand_in::{Fault, locked};
use crate::{Beside, mapping, name, observation, patient, record, to_write};

impl Beside {
    /// What the server itself holds.
    fn held(&self, record: &str) -> Value {
        let server = locked(&self.server);
        serde_json::from_str(server.body(record).unwrap_or("null")).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_made_here_stands_there_under_another_id_with_all_that_refers_to_it() {
    let beside = mapping().await;
    assert_eq!(beside.emr.capabilities().await.unwrap().missing, [""; 0]);
    let (_, cursor) = beside.all(None).await;
    // What it refers to is not there yet.
    let early = beside.write(vec![to_write(&observation("o", "amina"), None)]).await;
    assert!(matches!(&early[0], Err(EmrError::Waits(target)) if *target == name("Patient/amina")));
    let texts = [patient("amina", "Auma"), observation("o", "amina")];
    let done = beside.write(texts.iter().map(|text| to_write(text, None)).collect()).await;
    let images = done.into_iter().map(Result::unwrap).collect::<Vec<_>>();
    for (image, text) in images.iter().zip(&texts) {
        assert_eq!(image.digest(), Some(record(text).digest), "as it is here");
    }
    assert_eq!(beside.held("Observation/1002")["subject"]["reference"], "Patient/1001");
    assert_eq!(beside.held("Patient/1001")["meta"]["tag"][0]["code"], "amina");
    // They are named as they are called here.
    let (mut names, cursor) = beside.all(Some(cursor)).await;
    names.sort();
    assert_eq!(names, ["Observation/o", "Patient/amina"]);
    // Edited there.
    let mut edited = beside.held("Patient/1001");
    edited["name"][0]["family"] = json!("Akinyi");
    locked(&beside.server).now += 20_000;
    locked(&beside.server).edit("Patient/1001", Some(edited.to_string()));
    assert_eq!(beside.all(Some(cursor)).await.0, ["Patient/amina"]);
    let shown = beside.emr.read(&name("Patient/amina")).await.unwrap();
    assert_eq!(shown.digest(), Some(record(&patient("amina", "Akinyi")).digest));
    // Edited here: it stays what it is there.
    let write = to_write(&patient("amina", "Wanjiku"), Some(shown));
    let done = beside.write(vec![write]).await.remove(0).unwrap();
    let held = beside.held("Patient/1001");
    assert_eq!((&held["name"][0]["family"], &held["id"]), (&json!("Wanjiku"), &json!("1001")));
    assert_eq!(held["meta"]["tag"][0]["code"], "amina");
    // Deleted here.
    let gone = |record: &str, image: &Shown| EmrWrite {
        record: name(record),
        wanted: None,
        image: Some(image.clone()),
    };
    let writes = vec![gone("Observation/o", &images[1]), gone("Patient/amina", &done)];
    let done = beside.write(writes).await;
    assert!(done.iter().all(|one| matches!(one, Ok(Shown::Gone))), "{done:?}");
    assert_eq!(beside.held("Patient/1001"), Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_24_what_is_made_there_gets_an_id_that_no_other_server_gives() {
    let (one, other) = (mapping().await, mapping().await);
    for beside in [&one, &other] {
        locked(&beside.server).edit("Patient/17", Some(patient("17", "Auma")));
        locked(&beside.server).edit("Observation/18", Some(observation("18", "17")));
        let unique = "0b6f5e0c-93a4-4c0e-8d7a-000000000001";
        locked(&beside.server).edit(&format!("Patient/{unique}"), Some(patient(unique, "Auma")));
        let (mut names, _) = beside.all(None).await;
        assert!(names.contains(&format!("Patient/{unique}")), "its own is unique: {names:?}");
        let ours = names.iter().find(|name| name.starts_with("Observation/")).unwrap();
        assert_ne!(ours, "Observation/18");
        let shown = beside.emr.read(&name(ours)).await.unwrap();
        let body: Value =
            serde_json::from_str(shown.body().unwrap().body.as_ref().unwrap()).unwrap();
        let subject = body["subject"]["reference"].as_str().unwrap().to_owned();
        assert!(names.contains(&subject) && subject != "Patient/17", "{subject}");
        // Edited here, it is the same there.
        let id = subject.strip_prefix("Patient/").unwrap();
        let shown = beside.emr.read(&name(&subject)).await.unwrap();
        let done = beside.write(vec![to_write(&patient(id, "Akinyi"), Some(shown))]).await;
        assert!(done[0].is_ok(), "{done:?}");
        assert_eq!(beside.held("Patient/17")["name"][0]["family"], "Akinyi");
        // The same the next time.
        let (mut again, _) = beside.all(None).await;
        again.sort();
        names.sort();
        assert_eq!(again, names);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_12_one_whose_answer_was_lost_is_not_made_twice() {
    let beside = mapping().await;
    let (_, cursor) = beside.all(None).await;
    locked(&beside.server).faults.push_back(Fault::LoseAnswer);
    let lost = beside.write(vec![to_write(&patient("amina", "Auma"), None)]).await;
    assert!(matches!(lost[0], Err(EmrError::Away(_))), "{lost:?}");
    // Whether it is written again first, or noticed.
    let again = beside.write(vec![to_write(&patient("amina", "Auma"), None)]).await;
    assert!(matches!(again[0], Err(EmrError::Changed)), "{again:?}");
    let shown = beside.emr.read(&name("Patient/amina")).await.unwrap();
    assert_eq!(shown.digest(), Some(record(&patient("amina", "Auma")).digest));
    locked(&beside.server).faults.push_back(Fault::LoseAnswer);
    drop(beside.write(vec![to_write(&patient("beno", "Otieno"), None)]).await);
    let (mut names, _) = beside.all(Some(cursor)).await;
    names.sort();
    assert_eq!(names, ["Patient/amina", "Patient/beno"]);
    assert_eq!(locked(&beside.server).records.len(), 2);
    // One that is copied there, tag and all, is another patient.
    let copy = beside.held("Patient/1001").to_string().replace("1001", "copy");
    locked(&beside.server).edit("Patient/copy", Some(copy));
    let (names, _) = beside.all(None).await;
    assert_eq!(names.iter().collect::<std::collections::BTreeSet<_>>().len(), 3, "{names:?}");
    // A server that comes back empty is filled again.
    locked(&beside.server).records.clear();
    locked(&beside.server).edit("Patient/1001", Some(patient("1001", "somebody else")));
    locked(&beside.server).records.clear();
    let done = beside.write(vec![to_write(&patient("amina", "Auma"), None)]).await;
    assert!(done[0].is_ok(), "{done:?}");
    assert_eq!(locked(&beside.server).records.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_under_an_id_that_was_given_before_is_nobody_of_ours() {
    let beside = mapping().await;
    let made = beside.write(vec![to_write(&patient("amina", "Auma"), None)]).await.remove(0);
    let image = made.unwrap();
    locked(&beside.server).records.clear();
    locked(&beside.server).edit("Patient/1001", Some(patient("1001", "somebody else")));
    let read = beside.emr.read(&name("Patient/amina")).await;
    let Err(EmrError::Refused(why)) = read else { panic!("{read:?}") };
    assert!(why.contains("it is another record"), "{why}");
    let write = to_write(&patient("amina", "Akinyi"), Some(image));
    let done = beside.write(vec![write]).await;
    assert!(matches!(&done[0], Err(EmrError::Refused(_))), "{done:?}");
    assert_eq!(beside.held("Patient/1001")["name"][0]["family"], "somebody else");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_loss_nothing_is_read_or_written_until_a_person_has_looked() {
    let beside = mapping().await;
    locked(&beside.server).edit("Patient/17", Some(patient("17", "Auma")));
    let (names, _) = beside.all(None).await;
    beside.capture(&names).await;
    let now = protocol::Timestamp::from_millis(1_795_421_730_000);
    let lost = store::EmrEvent::CursorLost("it was emptied".to_owned());
    beside.store.emr_note(&lost, now).unwrap();
    locked(&beside.server).records.clear();
    locked(&beside.server).edit("Patient/17", Some(patient("17", "somebody else")));
    let noticed = beside.emr.changes_since(None).await.unwrap_err();
    let read = beside.emr.read(&name(&names[0])).await.unwrap_err();
    let write = beside.write(vec![to_write(&patient("amina", "Auma"), None)]).await.remove(0);
    for error in [noticed, read, write.unwrap_err()] {
        assert!(matches!(error, EmrError::Away(_)), "{error:?}");
        let words = error.to_string();
        assert!(words.contains("it was emptied") && words.contains("same_ids"), "{words}");
    }
    assert_eq!(locked(&beside.server).records.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reference_to_what_is_not_there_never_points_at_a_stranger() {
    let beside = mapping().await;
    locked(&beside.server).edit("Patient/17", Some(patient("17", "somebody else")));
    let done = beside.write(vec![to_write(&observation("o", "17"), None)]).await;
    assert!(matches!(&done[0], Err(EmrError::Waits(t)) if *t == name("Patient/17")), "{done:?}");
    assert_eq!(locked(&beside.server).records.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_tags_are_dropped_or_not_searched_by_nothing_is_made_twice() {
    for tags in [(false, true), (true, false)] {
        let beside = mapping().await;
        locked(&beside.server).tags = tags;
        locked(&beside.server).edit("Patient/17", Some(patient("17", "Auma")));
        let made = if tags.0 { 1 } else { 2 };
        for _ in 0..3 {
            let texts = [patient("amina", "Auma"), patient("beno", "Otieno")];
            let writes = texts.iter().map(|text| to_write(text, None)).collect();
            for done in beside.write(writes).await {
                let Err(EmrError::Refused(why)) = done else { panic!("{done:?}") };
                assert!(why.contains("tag"), "{why}");
            }
            assert_eq!(locked(&beside.server).records.len(), made, "{tags:?}");
        }
    }
}
