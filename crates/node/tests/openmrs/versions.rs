//! Observations that are edited: OpenMRS gives each version a uuid of its own.

use node::emr::openmrs::OpenMrs;
use node::ports::{Emr as _, EmrError, Shown};
use serde_json::{Value, json};

use crate::stand_in::StandIn;
use crate::world::*;

/// An OpenMRS with what a clinic has, and an adapter to which these records are known.
async fn knowing(records: &[&str]) -> (StandIn, OpenMrs) {
    let stand_in = StandIn::start().await;
    let emr = adapter_knowing(&settings(&stand_in), records);
    let written = write(&emr, &[location(), practitioner()]).await;
    assert_eq!(told(&written), ["there", "there"]);
    (stand_in, emr)
}

/// The same with an observation of 60 kilograms that is known.
async fn weighed() -> (StandIn, OpenMrs) {
    let (stand_in, emr) = knowing(&["Observation/w1"]).await;
    let all = [patient("p1"), encounter("e1", "p1"), weight("w1", "p1", "e1", 60.0)];
    assert_eq!(told(&write(&emr, &all).await), ["there"; 3]);
    (stand_in, emr)
}

/// A person there edits what stands under a uuid; gives the uuid that it has then.
fn edited(stand_in: &StandIn, uuid: &str, value: f64) -> String {
    stand_in.edit(&format!("obs/{uuid}"), Some(json!({ "value": value })));
    stand_in.present(uuid)
}

/// What is shown of an observation under our id: its value.
async fn value_of(emr: &OpenMrs, record: &str) -> Value {
    let shown = emr.read(&name(record)).await;
    let shown = body(&shown);
    assert_eq!(format!("Observation/{}", shown["id"].as_str().unwrap()), record);
    shown["valueQuantity"]["value"].clone()
}

#[tokio::test]
async fn defect_24_an_observation_that_is_edited_keeps_its_id_here() {
    let (stand_in, emr) = knowing(&[]).await;
    let member = weight("m1", "p1", "e1", 62.0);
    let mut group = weight("g1", "p1", "e1", 1.0);
    group.as_object_mut().unwrap().remove("valueQuantity");
    group["code"] = ciel("1427");
    group["hasMember"] = json!([{ "reference": "Observation/m1" }]);
    let all = [patient("p1"), encounter("e1", "p1"), weight("w1", "p1", "e1", 60.0), member, group];
    assert_eq!(told(&write(&emr, &all).await), ["there"; 5]);
    stand_in.writes();
    // Twice, each time under another uuid there.
    for (value, uuid) in [(61.0, "w1".to_owned()), (61.5, stand_in.present("w1"))] {
        let present = if value > 61.0 { stand_in.present("w1") } else { uuid };
        let written = write(&emr, &[weight("w1", "p1", "e1", value)]).await;
        assert_eq!(stand_in.writes(), [format!("POST ws/rest/v1/obs/{present}")]);
        assert_eq!(body(&written[0])["id"], "w1");
        assert_eq!(value_of(&emr, "Observation/w1").await, json!(value));
        assert!(stand_in.shown("Observation", &present).is_none(), "the old one is voided");
    }
    // A member of a group: the group names it by our id.
    write(&emr, &[weight("m1", "p1", "e1", 63.0)]).await;
    let group = emr.read(&name("Observation/g1")).await;
    assert_eq!(body(&group)["hasMember"], json!([{ "reference": "Observation/m1" }]));
    // The uuid that it has there is not another record.
    let alias = name(&format!("Observation/{}", stand_in.present("w1")));
    assert_eq!(emr.read(&alias).await.unwrap(), Shown::Absent);
    // Edited by a person there, deleted here, and taken back.
    stand_in.edit(&format!("obs/{}", stand_in.present("w1")), Some(json!({ "value": 64.0 })));
    assert_eq!(value_of(&emr, "Observation/w1").await, json!(64.0));
    assert_eq!(told(&delete(&emr, &["Observation/w1"]).await), ["gone"]);
    assert_eq!(emr.read(&name("Observation/w1")).await.unwrap(), Shown::Gone);
    assert_eq!(told(&write(&emr, &[weight("w1", "p1", "e1", 64.0)]).await), ["there"]);
    assert_eq!(value_of(&emr, "Observation/w1").await, json!(64.0));
}

#[tokio::test]
async fn defect_24_an_edit_of_which_the_answer_is_lost_deletes_nothing() {
    let (stand_in, emr) = knowing(&["Observation/w1"]).await;
    let all = [patient("p1"), encounter("e1", "p1"), weight("w1", "p1", "e1", 60.0)];
    write(&emr, &all).await;
    stand_in.state().quirks.loses_answer = true;
    let told = told(&write(&emr, &[weight("w1", "p1", "e1", 61.0)]).await);
    assert_eq!(told, ["away: OpenMRS answered 502"]);
    assert_eq!(value_of(&emr, "Observation/w1").await, json!(61.0));
    // One that was voided is deleted, whatever else stands in its encounter.
    write(&emr, &[weight("w2", "p1", "e1", 70.0)]).await;
    stand_in.edit("obs/w2", None);
    assert_eq!(emr.read(&name("Observation/w2")).await.unwrap(), Shown::Gone);
}

#[tokio::test]
async fn defect_24_what_cannot_be_asked_for_a_later_version_is_not_deleted() {
    let (stand_in, emr) = weighed().await;
    edited(&stand_in, "w1", 61.0);
    for (status, is_away) in [(500, false), (401, true), (403, true), (503, true)] {
        stand_in.state().quirks.breaks = Some("ws/rest/v1/obs".to_owned());
        stand_in.state().quirks.breaks_with = Some(status);
        let read = emr.read(&name("Observation/w1")).await;
        assert!(read.is_err(), "{status}: {read:?}");
        assert_eq!(matches!(read, Err(EmrError::Away(_))), is_away, "{status}: {read:?}");
    }
    stand_in.state().quirks.breaks = None;
    assert_eq!(value_of(&emr, "Observation/w1").await, json!(61.0));
}

#[tokio::test]
async fn defect_24_nobody_is_deleted_whose_voiding_cannot_be_asked_for() {
    let (stand_in, emr) = knowing(&[]).await;
    write(&emr, &[patient("p1")]).await;
    stand_in.edit("patient/p1", None);
    assert_eq!(emr.read(&name("Patient/p1")).await.unwrap(), Shown::Gone);
    for status in [500, 403] {
        stand_in.state().quirks.breaks = Some("ws/rest/v1/patient".to_owned());
        stand_in.state().quirks.breaks_with = Some(status);
        let read = emr.read(&name("Patient/p1")).await;
        assert!(read.is_err(), "{status}: {read:?}");
    }
}

#[tokio::test]
async fn defect_39_an_openmrs_that_is_restored_from_a_backup_deletes_no_edited_observation() {
    let (stand_in, emr) = weighed().await;
    let first = edited(&stand_in, "w1", 61.0);
    assert_eq!(value_of(&emr, "Observation/w1").await, json!(61.0));
    let second = edited(&stand_in, &first, 62.0);
    // Not known by the second uuid alone, when it is taken back.
    assert_eq!(value_of(&emr, "Observation/w1").await, json!(62.0));
    stand_in.take_back(&second);
    assert_eq!(value_of(&emr, "Observation/w1").await, json!(61.0));
    stand_in.take_back(&first);
    assert_eq!(value_of(&emr, "Observation/w1").await, json!(60.0));
    // It goes on from there.
    edited(&stand_in, "w1", 63.0);
    assert_eq!(value_of(&emr, "Observation/w1").await, json!(63.0));
    stand_in.edit(&format!("obs/{}", stand_in.present("w1")), None);
    assert_eq!(emr.read(&name("Observation/w1")).await.unwrap(), Shown::Gone);
}

#[tokio::test]
async fn defect_24_a_version_that_came_and_went_is_no_record() {
    for is_read_first in [true, false] {
        let (stand_in, emr) = weighed().await;
        let first = edited(&stand_in, "w1", 61.0);
        edited(&stand_in, &first, 62.0);
        let between = name(&format!("Observation/{first}"));
        if is_read_first {
            assert_eq!(emr.read(&between).await.unwrap(), Shown::Gone);
        }
        assert_eq!(value_of(&emr, "Observation/w1").await, json!(62.0));
        assert_eq!(emr.read(&between).await.unwrap(), Shown::Gone);
        assert_eq!(value_of(&emr, "Observation/w1").await, json!(62.0));
    }
}

#[tokio::test]
async fn defect_24_what_is_a_record_of_its_own_takes_no_others_place() {
    let (stand_in, emr) = weighed().await;
    let later = name(&format!("Observation/{}", edited(&stand_in, "w1", 61.0)));
    let emr_too = adapter_knowing(&settings(&stand_in), &["Observation/w1", &later.to_string()]);
    assert_eq!(emr_too.read(&name("Observation/w1")).await.unwrap(), Shown::Gone);
    assert_eq!(value_of(&emr_too, &later.to_string()).await, json!(61.0));
    assert_eq!(value_of(&emr, "Observation/w1").await, json!(61.0));
}

#[tokio::test]
async fn defect_24_a_later_version_is_found_among_many_and_after_many() {
    let (stand_in, emr) = weighed().await;
    let others = (0..120).map(|n| weight(&format!("o{n}"), "p1", "e1", 50.0)).collect::<Vec<_>>();
    write(&emr, &others).await;
    let mut at = "w1".to_owned();
    for value in 61..=69 {
        at = edited(&stand_in, &at, f64::from(value));
    }
    assert_eq!(value_of(&emr, "Observation/w1").await, json!(69.0));
}
