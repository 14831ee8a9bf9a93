//! Sites that edit one patient apart.

use protocol::Limits;
use protocol::cohort::Definition;
use protocol::resource::Record;
use serde_json::{Value, json};

use crate::world::*;

const NAMES: [&str; 3] = ["east", "north", "west"];
const RECORDS: [&str; 2] = ["Patient/amina", "Observation/pulse"];

fn edited(text: &str, edit: impl FnOnce(&mut Value)) -> String {
    let mut value: Value = serde_json::from_str(text).unwrap();
    edit(&mut value);
    value.to_string()
}

fn add(value: &mut Value, list: &str, item: Value) {
    match &mut value[list] {
        Value::Array(items) => items.push(item),
        empty => *empty = json!([item]),
    }
}

/// Each clinic edits in its own way; nobody knows of the others.
async fn edit_apart(world: &World) {
    let [east, north, west] = &world.clinics[..] else { panic!("three clinics") };
    let amina = text(east, "Patient/amina").unwrap();
    let at_east = edited(&amina, |patient| {
        patient["birthDate"] = "1984-02-17".into();
        add(patient, "telecom", json!({"system": "phone", "value": "1", "use": "home"}));
        add(patient, "identifier", json!({"system": "urn:east", "value": "e-7"}));
    });
    let at_north = edited(&amina, |patient| {
        patient["birthDate"] = "1984-07-12".into();
        add(patient, "telecom", json!({"system": "phone", "value": "2", "use": "work"}));
        patient["name"][0]["given"] = json!(["Amina", "A."]);
    });
    let at_west = edited(&amina, |patient| {
        patient["maritalStatus"] = json!({"text": "Married"});
        add(patient, "telecom", json!({"system": "email", "value": "a@example.org"}));
        patient["name"][0]["given"] = json!(["Amina", "Fatuma"]);
        patient["telecom"][0] = json!({"system": "phone", "value": "0", "use": "mobile"});
    });
    for (clinic, edit) in [(east, at_east), (north, at_north), (west, at_west)] {
        clinic.record("nurse", &[edit]).await.unwrap();
    }
    east.record_all("nurse", vec![Record::deleted(reference("Observation/pulse"))]).await.unwrap();
    let pulse = observation("pulse", "amina", "76");
    north.record("nurse", &[pulse]).await.unwrap();
}

/// The records as all sites hold them, byte for byte.
fn everywhere(world: &World, when: &str) -> [Option<String>; 2] {
    RECORDS.map(|record| {
        let there = text(&world.centre, record);
        for clinic in &world.clinics {
            assert_eq!(text(clinic, record), there, "{record} at {} {when}", clinic.id());
        }
        there
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn three_clinics_that_edit_one_patient_apart_hold_equal_bytes_a_round_after_the_links_return()
{
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut world = World::centre_with(Limits::default()).await;
        for name in NAMES {
            world.add_clinic(name, Definition::All {}, Limits::default()).await;
        }
        let amina = edited(&patient("amina", "Juma"), |patient| {
            add(patient, "telecom", json!({"system": "phone", "value": "0"}));
        });
        let pulse = observation("pulse", "amina", "71");
        world.centre.record("registrar", &[amina, pulse]).await.unwrap();
        world.settle().await;
        for clinic in &world.clinics {
            clinic.switch().set(false);
        }
        edit_apart(&world).await;
        for clinic in &world.clinics {
            assert!(clinic.round().await.is_err(), "the link is cut");
            clinic.switch().set(true);
        }
        // The round of the return brings each one's edits up; the round after it, the others'.
        for _ in 0..2 {
            for index in order {
                world.clinics[index].round().await.unwrap();
            }
        }
        let when = format!("a round after the links returned in the order {order:?}");
        let [amina, pulse] = everywhere(&world, &when);
        let amina = amina.unwrap();
        for kept in ["urn:east", "Married", "a@example.org", "\"1\"", "\"2\"", "mobile"] {
            assert!(amina.contains(kept), "{kept} was lost {when}: {amina}");
        }
        let born = ["1984-02-17", "1984-07-12"].iter().filter(|day| amina.contains(**day)).count();
        assert_eq!(born, 1, "{amina}");
        assert!(pulse.unwrap().contains("76"), "an edit wins over a deletion");
        world.settle().await;
        world.assert_in_step().await;
        everywhere(&world, "at rest");
    }
}
