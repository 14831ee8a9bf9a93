//! Records are written by REST and read back by fhir2.

use node::ports::{Emr as _, EmrError, EmrWrite, Shown};
use serde_json::{Value, json};

use crate::stand_in::StandIn;
use crate::world::*;

/// A stand-in with a location and a provider, and its adapter.
async fn clinic() -> (StandIn, node::emr::openmrs::OpenMrs) {
    let stand_in = StandIn::start().await;
    let emr = adapter(&settings(&stand_in), None);
    let written = write(&emr, &[location(), practitioner()]).await;
    assert_eq!(told(&written), ["there", "there"]);
    stand_in.writes();
    (stand_in, emr)
}

#[tokio::test]
async fn defect_23_a_patient_keeps_all_that_openmrs_holds_and_every_uuid() {
    let (stand_in, emr) = clinic().await;
    let written = write(&emr, &[patient("p1")]).await;
    assert_eq!(stand_in.writes(), ["POST ws/rest/v1/patient"]);
    let shown = body(&written[0]);
    assert_eq!(shown["name"][0]["id"], "p1-name");
    assert_eq!(shown["name"][0]["given"], json!(["Amina", "Wanjiru"]));
    assert_eq!(shown["address"][0]["id"], "p1-address");
    assert_eq!(shown["identifier"][0]["id"], "p1-identifier");
    let place = &shown["identifier"][0]["extension"][0]["valueReference"]["reference"];
    assert_eq!(place, "Location/loc-1");
    assert_eq!(shown["birthDate"], "1990-02-03");

    let mut guessed = patient("p2");
    guessed["birthDate"] = json!("1985");
    let written = write(&emr, &[guessed]).await;
    assert_eq!(body(&written[0])["birthDate"], "1985", "an estimated birth date stays one");
}

#[tokio::test]
async fn an_edit_is_one_call_and_is_shown() {
    let (stand_in, emr) = clinic().await;
    write(&emr, &[patient("p1")]).await;
    stand_in.writes();
    let mut edited = patient("p1");
    edited["address"][0]["city"] = json!("Siaya");
    let written = write(&emr, &[edited.clone()]).await;
    assert_eq!(stand_in.writes(), ["POST ws/rest/v1/person/p1/address/p1-address"]);
    assert_eq!(body(&written[0])["address"][0]["city"], "Siaya");
    // The same again is nothing.
    write(&emr, &[edited]).await;
    assert_eq!(stand_in.writes(), [""; 0]);
}

#[tokio::test]
async fn defect_14_a_whole_encounter_is_one_transaction() {
    let (stand_in, emr) = clinic().await;
    let group = json!({
        "resourceType": "Observation", "id": "group-1", "status": "final", "code": ciel("1427"),
        "subject": { "reference": "Patient/p1" }, "encounter": { "reference": "Encounter/e1" },
        "effectiveDateTime": "2026-03-01T09:10:00Z",
        "hasMember": [{ "reference": "Observation/member-1" }],
    });
    let diagnosis = json!({
        "resourceType": "Condition", "id": "diagnosis-1", "code": ciel("116128"),
        "category": [{ "coding": [{ "code": "encounter-diagnosis" }] }],
        "subject": { "reference": "Patient/p1" }, "encounter": { "reference": "Encounter/e1" },
        "verificationStatus": { "coding": [{ "code": "confirmed" }] },
    });
    let order = json!({
        "resourceType": "MedicationRequest", "id": "order-1", "status": "active",
        "intent": "order", "subject": { "reference": "Patient/p1" },
        "encounter": { "reference": "Encounter/e1" },
        "requester": { "reference": "Practitioner/prov-1" },
        "medicationCodeableConcept": ciel("71160"),
        "dosageInstruction": [{ "text": "one, three times a day" }],
    });
    let mut inside = encounter("e1", "p1");
    inside["partOf"] = json!({ "reference": "Encounter/v1" });
    let all = [
        patient("p1"),
        visit("v1", "p1"),
        inside,
        weight("weight-1", "p1", "e1", 61.5),
        weight("member-1", "p1", "e1", 62.0),
        group,
        diagnosis,
        order,
    ];
    let written = write(&emr, &all).await;
    assert_eq!(told(&written), ["there"; 8]);
    let calls = stand_in.writes();
    let expected =
        ["POST ws/rest/v1/patient", "POST ws/rest/v1/visit", "POST ws/rest/v1/encounter"];
    assert_eq!(calls, expected);
    assert_eq!(body(&written[2])["partOf"]["reference"], "Encounter/v1");
    assert_eq!(
        body(&written[2])["participant"][0]["individual"]["reference"],
        "Practitioner/prov-1"
    );
    assert_eq!(body(&written[5])["hasMember"][0]["reference"], "Observation/member-1");
    assert_eq!(body(&written[6])["encounter"]["reference"], "Encounter/e1");
    let dosage = &body(&written[7])["dosageInstruction"][0]["text"];
    assert_eq!(dosage, "one, three times a day");

    let mut stopped = all[7].clone();
    stopped["status"] = json!("stopped");
    let written = write(&emr, &[stopped]).await;
    assert_eq!(body(&written[0])["status"], "stopped");
}

#[tokio::test]
async fn one_that_cannot_be_written_says_nothing_of_the_others() {
    let (stand_in, emr) = clinic().await;
    let mut odd = weight("odd-1", "p1", "e1", 1.0);
    odd["code"] = json!({ "coding": [{ "system": "http://loinc.org", "code": "9999-9" }] });
    let mut ranged = weight("range-1", "p1", "e1", 1.0);
    ranged.as_object_mut().unwrap().remove("valueQuantity");
    ranged["valueRange"] = json!({ "low": { "value": 1 } });
    let lost = weight("lost-1", "p1", "never-1", 1.0);
    let basic = json!({ "resourceType": "Basic", "id": "basic-1" });
    let all = [
        patient("p1"),
        encounter("e1", "p1"),
        weight("w1", "p1", "e1", 60.0),
        odd,
        ranged,
        lost,
        basic,
    ];
    let told = told(&write(&emr, &all).await);
    assert_eq!(told[..3], ["there", "there", "there"]);
    assert!(told[3].starts_with("refused: OpenMRS has no concept http://loinc.org|9999-9: add it"));
    assert_eq!(told[4], "kept: OpenMRS has no place for valueRange");
    assert!(told[5].contains("refers to Encounter/never-1"), "{}", told[5]);
    assert_eq!(told[6], "kept: OpenMRS has no place for Basic");
    assert_eq!(stand_in.writes(), ["POST ws/rest/v1/patient", "POST ws/rest/v1/encounter"]);
}

#[tokio::test]
async fn a_value_in_another_unit_is_kept_and_undoes_nothing_there() {
    let (stand_in, emr) = clinic().await;
    let mut pounds = weight("w1", "p1", "e1", 135.0);
    pounds["valueQuantity"] = json!({
        "value": 135.0, "unit": "lb", "system": "http://unitsofmeasure.org", "code": "[lb_av]",
    });
    let mut kilograms = weight("w2", "p1", "e1", 61.5);
    kilograms["valueQuantity"]["code"] = json!("kg");
    let bare = weight("w3", "p1", "e1", 62.5);
    let all = [patient("p1"), encounter("e1", "p1"), pounds.clone(), kilograms, bare];
    let written = told(&write(&emr, &all).await);
    let kept = "kept: OpenMRS holds these observations in kg, and this value is in lb: it is kept \
                here and not written there";
    assert_eq!(written, ["there", "there", kept, "there", "there"]);
    assert_eq!(stand_in.writes(), ["POST ws/rest/v1/patient", "POST ws/rest/v1/encounter"]);
    assert_eq!(stand_in.shown("Observation", "w1"), None);
    assert_eq!(
        stand_in.shown("Observation", "w2").unwrap()["valueQuantity"],
        json!({ "value": 61.5, "unit": "kg" })
    );

    // An edit that brings another unit leaves what a person has entered there meanwhile.
    let later = stand_in.edit("obs/w2", Some(json!({ "value": 63 })))["uuid"].clone();
    let later = later.as_str().unwrap();
    pounds["id"] = json!(later);
    assert_eq!(told(&write(&emr, &[pounds]).await), [kept]);
    assert_eq!(stand_in.writes(), [""; 0]);
    assert_eq!(stand_in.shown("Observation", later).unwrap()["valueQuantity"]["value"], 63);
}

#[tokio::test]
async fn concepts_are_found_by_mapping_and_by_the_settings() {
    let stand_in = StandIn::start().await;
    let mut config = settings(&stand_in);
    config.map.insert("encounter-type class AMB".to_owned(), "enctype-consult".to_owned());
    config.map.insert("concept http://loinc.org|x-1".to_owned(), "concept-glucose".to_owned());
    let emr = adapter(&config, None);
    let mut foreign = encounter("e1", "p1");
    foreign.as_object_mut().unwrap().remove("type");
    let mut mapped = weight("w1", "p1", "e1", 5.5);
    mapped["code"] = json!({ "coding": [{ "system": "http://loinc.org", "code": "2339-0" }] });
    let mut set = weight("w2", "p1", "e1", 5.6);
    set["code"] = json!({ "coding": [{ "system": "http://loinc.org", "code": "x-1" }] });
    let all = [location(), practitioner(), patient("p1"), foreign, mapped, set];
    let written = write(&emr, &all).await;
    assert_eq!(told(&written), ["there"; 6]);
    for shown in &written[4..] {
        let codes = body(shown)["code"]["coding"].as_array().unwrap().clone();
        assert!(codes.iter().any(|coding| coding["code"] == "2339-0"), "{codes:?}");
    }
}

#[tokio::test]
async fn defect_20_what_is_deleted_is_voided_and_comes_back() {
    let (stand_in, emr) = clinic().await;
    let all = [patient("p1"), encounter("e1", "p1"), weight("w1", "p1", "e1", 60.0)];
    write(&emr, &all).await;
    stand_in.writes();
    assert_eq!(told(&delete(&emr, &["Observation/w1"]).await), ["gone"]);
    assert_eq!(stand_in.writes(), ["DELETE ws/rest/v1/obs/w1"]);
    assert_eq!(
        told(&delete(&emr, &["Observation/w1", "Observation/never"]).await),
        ["gone", "absent"]
    );
    assert_eq!(stand_in.writes(), [""; 0]);
    assert_eq!(told(&write(&emr, &all[2..]).await), ["there"]);
    assert_eq!(stand_in.writes(), ["POST ws/rest/v1/obs/w1"]);

    stand_in.state().quirks.undeletes = false;
    delete(&emr, &["Encounter/e1"]).await;
    let told = told(&write(&emr, &all[1..2]).await);
    assert!(told[0].starts_with("refused: OpenMRS refuses encounter (400"), "{told:?}");
}

#[tokio::test]
async fn defect_19_what_was_edited_there_meanwhile_is_not_overwritten() {
    let (stand_in, emr) = clinic().await;
    write(&emr, &[patient("p1")]).await;
    let image = emr.read(&name("Patient/p1")).await.unwrap();
    stand_in.edit("person/p1/name/p1-name", Some(json!({ "familyName": "Odhiambo" })));
    let mut wanted = patient("p1");
    wanted["gender"] = json!("other");
    let record = record(&wanted);
    let one = |image: Option<Shown>| EmrWrite {
        record: name("Patient/p1"),
        wanted: Some(record.clone()),
        image,
    };
    stand_in.writes();
    for image in [Some(image), None] {
        let written = emr.write(&[one(image)]).await;
        assert!(matches!(written[0], Err(EmrError::Changed)), "{written:?}");
    }
    assert_eq!(stand_in.writes(), [""; 0]);
}

#[tokio::test]
async fn defect_22_two_edits_in_one_second_are_two_states() {
    let (stand_in, emr) = clinic().await;
    write(&emr, &[patient("p1")]).await;
    let mut digests = Vec::new();
    for family in ["Odhiambo", "Akinyi"] {
        stand_in.edit("person/p1/name/p1-name", Some(json!({ "familyName": family })));
        digests.push(emr.read(&name("Patient/p1")).await.unwrap().digest());
    }
    assert_ne!(digests[0], digests[1]);
}

#[tokio::test]
async fn defect_26_what_fhir2_makes_up_is_no_edit() {
    let (stand_in, emr) = clinic().await;
    write(&emr, &[patient("p1")]).await;
    stand_in.state().quirks.older_fhir2 = true;
    let first = emr.read(&name("Patient/p1")).await.unwrap();
    let again = emr.read(&name("Patient/p1")).await.unwrap();
    assert_eq!(first.digest(), again.digest());
    assert!(!first.body().unwrap().body.as_ref().unwrap().contains("Provenance"));
}

#[tokio::test]
async fn an_answer_that_is_lost_is_found_to_be_done_the_next_time() {
    let (stand_in, emr) = clinic().await;
    stand_in.state().quirks.loses_answer = true;
    let told_first = told(&write(&emr, &[patient("p1")]).await);
    assert_eq!(told_first, ["away: OpenMRS answered 502"]);
    assert!(stand_in.shown("Patient", "p1").is_some(), "it was done");
    // What is there without an image of it is captured first, and then nothing is left to write.
    assert_eq!(told(&write(&emr, &[patient("p1")]).await), ["there"]);
    assert_eq!(stand_in.writes(), ["POST ws/rest/v1/patient"]);
}

#[tokio::test]
async fn an_immunization_is_one_record_and_its_parts_are_no_observations() {
    let (stand_in, emr) = clinic().await;
    for (key, code) in [(30, "1421"), (31, "984"), (32, "1410"), (33, "1420"), (34, "783")] {
        let uuid = format!("{code}{}", "A".repeat(36 - code.len()));
        let row = [
            ("concept_id", json!(key)),
            ("uuid", json!(uuid)),
            ("name", json!(code)),
            ("source", json!("CIEL")),
            ("code", json!(code)),
        ];
        let row = row.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        stand_in.state().tables.insert("concept", row);
    }
    let shot = json!({
        "resourceType": "Immunization", "id": "shot-1", "status": "completed",
        "patient": { "reference": "Patient/p1" }, "encounter": { "reference": "Encounter/e1" },
        "occurrenceDateTime": "2026-03-01T09:20:00Z", "lotNumber": "L-7",
        "vaccineCode": ciel("783"),
    });
    write(&emr, &[patient("p1"), encounter("e1", "p1")]).await;
    stand_in.writes();
    // This stand-in's fhir2 does not show immunizations: what was written is not shown.
    let written = told(&write(&emr, &[shot]).await);
    assert!(written[0].contains("does not show it under its id"), "{written:?}");
    assert_eq!(stand_in.writes(), ["POST ws/rest/v1/obs"]);
    let group = emr.read(&name("Observation/shot-1")).await.unwrap();
    assert_eq!(group, Shown::Absent);
}

#[tokio::test]
async fn what_the_records_need_and_this_openmrs_lacks_is_listed_once() {
    let (stand_in, emr) = clinic().await;
    let mut odd = patient("p1");
    odd["identifier"][0]["type"]["text"] = json!("Passport");
    let mut other = patient("p2");
    other["identifier"][0]["type"]["text"] = json!("Passport");
    let records = [odd, other, encounter("e1", "p1")].map(|value: Value| record(&value));
    let lacks = emr.lacks(&records).await.unwrap();
    assert_eq!(lacks.len(), 1, "{lacks:?}");
    assert!(lacks[0].contains("no identifier type Passport"), "{lacks:?}");
    assert_eq!(stand_in.writes(), [""; 0]);
}
