//! What does not work: each gets a state with its reason, and that record waits alone.

use node::emr::openmrs::OpenMrs;
use node::ports::{Emr as _, EmrError};
use protocol::Limits;
use serde_json::json;

use crate::stand_in::{PASSWORD, StandIn};
use crate::world::*;

async fn away(emr: &OpenMrs) -> String {
    match emr.capabilities().await {
        Err(EmrError::Away(error)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn who_is_not_let_in_or_somewhere_else_is_told_so() {
    let stand_in = StandIn::start().await;
    let config = settings(&stand_in);
    // A password with a colon is nothing special.
    assert!(PASSWORD.contains(':'));
    assert!(adapter(&config, None).capabilities().await.is_ok());
    let limits = Limits::default();
    let wrong = OpenMrs::new(&config, (Some("wrong"), None), store(), ways(), &limits).unwrap();
    let told = away(&wrong).await;
    assert!(told.contains("check `user` and the password"), "{told}");
    match wrong.read(&name("Patient/p1")).await {
        Err(EmrError::Away(error)) => assert!(error.0.contains("does not let us in"), "{error}"),
        other => panic!("{other:?}"),
    }
    let mut elsewhere = config.clone();
    elsewhere.url = Some(stand_in.url.replace("/openmrs", "/other"));
    let told = away(&adapter(&elsewhere, None)).await;
    assert!(told.contains("check `url`"), "{told}");
    elsewhere.url = Some("http://127.0.0.1:1/openmrs".to_owned());
    away(&adapter(&elsewhere, None)).await;
    stand_in.state().quirks.html = true;
    let told = away(&adapter(&config, None)).await;
    assert!(told.contains("a page for people"), "{told}");
    // Nothing of this is about a record.
    let written = told_of(&adapter(&config, None)).await;
    assert!(written.starts_with("away: "), "{written}");
}

async fn told_of(emr: &OpenMrs) -> String {
    use node::ports::EmrWrite;
    let record = record(&patient("p1"));
    let write = EmrWrite { record: record.reference.clone(), wanted: Some(record), image: None };
    told(&emr.write(&[write]).await).remove(0)
}

#[tokio::test]
async fn a_right_that_is_missing_is_named() {
    let stand_in = StandIn::start().await;
    stand_in.state().quirks.lacks = Some("Add Patients".to_owned());
    let emr = adapter(&settings(&stand_in), None);
    let missing = emr.capabilities().await.unwrap().missing.join("; ");
    assert!(missing.contains("lacks these privileges: Get People"), "{missing}");
    assert!(missing.contains("Add Patients"), "{missing}");
    let told = told(&write(&emr, &[location()]).await);
    assert!(told[0].contains("the privilege Add Patients"), "{told:?}");
}

#[tokio::test]
async fn a_500_for_one_patient_is_about_that_one_only() {
    let stand_in = StandIn::start().await;
    let emr = adapter(&settings(&stand_in), None);
    write(&emr, &[location(), patient("p1"), patient("p2")]).await;
    stand_in.state().quirks.breaks = Some("Patient/p1".to_owned());
    match emr.read(&name("Patient/p1")).await {
        Err(EmrError::Refused(why)) => assert!(why.contains("500"), "{why}"),
        other => panic!("{other:?}"),
    }
    assert!(emr.read(&name("Patient/p2")).await.unwrap().body().is_some());
}

#[tokio::test]
async fn a_500_for_everything_is_about_no_record() {
    let stand_in = StandIn::start().await;
    let emr = adapter(&settings(&stand_in), None);
    write(&emr, &[location(), patient("p1")]).await;
    stand_in.state().quirks.breaks = Some("ws/".to_owned());
    assert!(matches!(emr.read(&name("Patient/p1")).await, Err(EmrError::Away(_))));
    let whole = told_of(&emr).await;
    assert!(whole.starts_with("away: "), "{whole}");
    // A question that is not answered does not mean that it is not there.
    stand_in.state().quirks.breaks = Some("rest/v1/patientidentifiertype".to_owned());
    let fresh = adapter(&settings(&stand_in), None);
    let told = told(&write(&fresh, &[patient("p2")]).await);
    assert!(told[0].starts_with("away: "), "{told:?}");
    stand_in.state().quirks.breaks = None;
    assert_eq!(told_of_new(&emr).await, "there");
}

#[tokio::test]
async fn a_404_of_what_stands_in_between_deletes_nothing() {
    use node::ports::{EmrWrite, Shown};
    let stand_in = StandIn::start().await;
    let emr = adapter(&settings(&stand_in), None);
    write(&emr, &[location(), patient("p1")]).await;
    let record = name("Patient/p1");
    let image = Some(emr.read(&record).await.unwrap());
    let deletion = [EmrWrite { record: record.clone(), wanted: None, image }];
    let unknown = r#"{"resourceType":"OperationOutcome",
        "issue":[{"diagnostics":"HAPI-0302: Unknown resource type 'Patient'"}]}"#;
    for body in ["no backend", "", "{}", r#"{"error":"not found"}"#, unknown] {
        stand_in.state().quirks.between = Some(("ws/", body));
        assert!(matches!(emr.read(&record).await, Err(EmrError::Away(_))), "{body}");
        let told = told(&emr.write(&deletion).await);
        assert!(told[0].starts_with("away: "), "{body}: {told:?}");
    }
    // One API is there, and what voids is not.
    stand_in.state().quirks.between = Some(("ws/rest", "{}"));
    let done = told(&emr.write(&deletion).await);
    assert!(done[0].starts_with("away: "), "{done:?}");
    stand_in.state().quirks.between = None;
    assert!(emr.read(&record).await.unwrap().body().is_some());
    assert_eq!(told(&emr.write(&deletion).await), ["gone"]);
    assert_eq!(emr.read(&name("Patient/never")).await.unwrap(), Shown::Absent);
}

#[tokio::test]
async fn a_type_that_is_not_offered_says_nothing_of_its_records() {
    use node::ports::Shown;
    let stand_in = StandIn::start().await;
    stand_in.state().quirks.older_fhir2 = true;
    let emr = adapter(&settings(&stand_in), None);
    match emr.read(&name("EpisodeOfCare/care-1")).await {
        Err(EmrError::Refused(why)) => assert!(why.contains("not offer EpisodeOfCare"), "{why}"),
        other => panic!("{other:?}"),
    }
    stand_in.state().quirks.older_fhir2 = false;
    assert_eq!(emr.read(&name("EpisodeOfCare/care-1")).await.unwrap(), Shown::Absent);
}

async fn told_of_new(emr: &OpenMrs) -> String {
    told(&write(emr, &[patient("p3")]).await).remove(0)
}

#[tokio::test]
async fn defect_13_identifiers_that_are_refused_or_taken_are_told_apart() {
    let stand_in = StandIn::start().await;
    let emr = adapter(&settings(&stand_in), None);
    write(&emr, &[location(), patient("p1")]).await;
    stand_in.state().quirks.check_digits = true;
    let mut odd = patient("p2");
    odd["identifier"][0]["value"] = json!("1008");
    let mut twin = patient("p3");
    twin["identifier"][0]["value"] = json!("p1-8");
    let told = told(&write(&emr, &[odd, twin, patient("p4")]).await);
    assert!(told[0].contains("does not pass the check"), "{told:?}");
    assert!(told[1].contains("another patient there has one of its identifiers"), "{told:?}");
    assert_eq!(told[2], "there");
    assert!(!told.join(" ").contains("1008"), "defect 30: {told:?}");
    assert!(stand_in.shown("Patient", "p2").is_none(), "nothing of it is left");
}

#[tokio::test]
async fn an_openmrs_that_drops_ids_is_found_out() {
    let stand_in = StandIn::start().await;
    stand_in.state().quirks.drops_ids = true;
    let emr = adapter(&settings(&stand_in), None);
    let told = told(&write(&emr, &[location()]).await);
    assert!(told[0].contains("webservices.rest 2.24 or newer"), "{told:?}");
}

#[tokio::test]
async fn defect_37_a_cursor_that_cannot_be_read_means_that_all_is_compared() {
    let stand_in = StandIn::start().await;
    let emr = adapter(&settings(&stand_in), None);
    for cursor in ["", "{", "nonsense", "{\"other\":1}"] {
        let noticed = emr.changes_since(Some(cursor)).await;
        assert!(matches!(noticed, Err(EmrError::CursorLost(_))), "{cursor}: {noticed:?}");
    }
}
