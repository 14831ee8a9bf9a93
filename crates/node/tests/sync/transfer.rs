//! Patients who move from one clinic to another: the history comes to the new one, the old one
//! follows its policy, and nothing that anybody wrote is lost.

use std::collections::BTreeSet;

use node::demo::site::DemoSite;
use protocol::Limits;
use protocol::cohort::{Definition, LocationBy};
use protocol::stream::Lane;
use serde_json::json;
use store::{DeliveryAction, DeliveryChoice, LeavePolicy};

use crate::visitors::set_leave;
use crate::world::*;

const POLICIES: [LeavePolicy; 3] = [LeavePolicy::Keep, LeavePolicy::Freeze, LeavePolicy::Purge];

fn by(place: &str, by: LocationBy) -> Definition {
    Definition::Location { places: [reference(place)].into(), by: [by].into() }
}

/// Two clinics, each with the patients of its organization.
async fn world(leave: LeavePolicy, limits: Limits) -> World {
    let mut world = World::centre_with(limits).await;
    for name in ["east", "west"] {
        let definition = by(&format!("Organization/{name}"), LocationBy::Managing);
        world
            .add_clinic(
                name,
                definition,
                Limits { attempts: 2, backoff_seconds: 0, ..Limits::default() },
            )
            .await;
    }
    set_leave(&mut world.clinics[0], leave).await;
    world
}

fn managed(id: &str, organization: &str) -> String {
    json!({"resourceType": "Patient", "id": id, "name": [{"family": "Juma"}],
        "managingOrganization": {"reference": format!("Organization/{organization}")}})
    .to_string()
}

fn encounter(id: &str, patient: &str, place: &str) -> String {
    json!({"resourceType": "Encounter", "id": id, "status": "finished", "class": {"code": "AMB"},
        "subject": {"reference": format!("Patient/{patient}")},
        "location": [{"location": {"reference": place}}]})
    .to_string()
}

fn has(site: &DemoSite, records: &[&str]) -> BTreeSet<String> {
    let there = records.iter().filter(|record| text(site, record).is_some());
    there.map(|record| (*record).to_owned()).collect()
}

fn all(records: &[&str]) -> BTreeSet<String> {
    records.iter().map(|record| (*record).to_owned()).collect()
}

const FILE: [&str; 4] =
    ["Patient/amina", "Encounter/visit", "Observation/pulse", "Observation/unsent"];

/// What the old clinic holds in the end by each policy.
fn left(leave: LeavePolicy) -> BTreeSet<String> {
    if leave == LeavePolicy::Purge { BTreeSet::new() } else { all(&FILE) }
}

async fn amina_at_east(world: &World) {
    let file = [
        managed("amina", "east"),
        encounter("visit", "amina", "Location/ward"),
        observation("pulse", "amina", "36.6"),
    ];
    world.clinics[0].record("nurse", &file).await.unwrap();
    world.settle().await;
    assert_eq!(has(&world.clinics[1], &FILE), BTreeSet::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_27_a_patient_moved_at_the_centre_comes_whole_to_the_new_clinic() {
    for leave in POLICIES {
        let world = world(leave, Limits::default()).await;
        amina_at_east(&world).await;
        // The old clinic writes on while it is cut off, and hears of the move when it is back.
        let (east, west) = (&world.clinics[0], &world.clinics[1]);
        east.switch().set(false);
        east.record("nurse", &[observation("unsent", "amina", "38.2")]).await.unwrap();
        world.centre.record("registrar", &[managed("amina", "west")]).await.unwrap();
        west.round().await.unwrap();
        assert_eq!(has(west, &FILE), all(&FILE[..3]), "{leave:?}");
        east.switch().set(true);
        world.settle().await;
        assert_eq!(has(&world.centre, &FILE), all(&FILE), "{leave:?}");
        assert_eq!(has(west, &FILE), all(&FILE), "{leave:?}");
        assert_eq!(has(east, &FILE), left(leave), "{leave:?}");
        world.assert_in_step().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_27_a_clinic_that_hands_a_patient_over_itself_loses_nothing_of_it() {
    for leave in POLICIES {
        let world = world(leave, Limits::default()).await;
        amina_at_east(&world).await;
        let (east, west) = (&world.clinics[0], &world.clinics[1]);
        // The link breaks in the middle of the push, and of what follows.
        let file = [managed("amina", "west"), observation("unsent", "amina", "38.2")];
        east.record("nurse", &file).await.unwrap();
        for bytes in [300, 700, 1_100] {
            east.switch().set(true);
            east.switch().cut_after(bytes);
            let _ = east.round().await;
        }
        east.switch().set(true);
        world.settle().await;
        assert_eq!(has(&world.centre, &FILE), all(&FILE), "{leave:?}");
        assert_eq!(has(west, &FILE), all(&FILE), "{leave:?}");
        assert_eq!(has(east, &FILE), left(leave), "{leave:?}");
        world.assert_in_step().await;
        // And back again: whole, with what the other clinic wrote.
        west.record("nurse", &[observation("there", "amina", "36.9")]).await.unwrap();
        west.record("nurse", &[managed("amina", "east")]).await.unwrap();
        world.settle().await;
        let records = [&FILE[..], &["Observation/there"]].concat();
        assert_eq!(has(east, &records), all(&records), "{leave:?}");
        let again = observation("after", "amina", "36.5");
        east.record("nurse", &[again]).await.unwrap();
        world.settle().await;
        assert!(text(&world.centre, "Observation/after").is_some(), "{leave:?}: it can be written");
        world.assert_in_step().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_27_a_patient_is_of_each_clinic_where_an_encounter_is() {
    let mut world = World::centre_with(Limits::default()).await;
    for name in ["east", "west"] {
        let definition = by(&format!("Location/{name}"), LocationBy::Encounter);
        world.add_clinic(name, definition, Limits::default()).await;
        set_leave(world.clinics.last_mut().unwrap(), LeavePolicy::Purge).await;
    }
    let (east, west) = (&world.clinics[0], &world.clinics[1]);
    let file = [patient("amina", "Juma"), encounter("first", "amina", "Location/east")];
    east.record("nurse", &file).await.unwrap();
    world.settle().await;
    assert_eq!(text(west, "Patient/amina"), None);
    // An encounter at the other clinic, entered at the centre: both hold her now.
    let second = encounter("second", "amina", "Location/west");
    world.centre.record("registrar", &[second]).await.unwrap();
    world.settle().await;
    assert!(text(west, "Encounter/first").is_some() && text(east, "Encounter/second").is_some());
    // The encounter moves: it was the only one that held her at the first.
    let moved = encounter("first", "amina", "Location/west");
    east.record("nurse", &[moved, observation("pulse", "amina", "36")]).await.unwrap();
    world.settle().await;
    assert_eq!(text(east, "Patient/amina"), None);
    assert!(text(west, "Observation/pulse").is_some());
    world.assert_in_step().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_27_what_the_parent_refuses_keeps_a_leaving_patient_here() {
    for leave in POLICIES {
        let limits = Limits { resource_bytes: 2_000, ..Limits::default() };
        let world = world(leave, limits).await;
        amina_at_east(&world).await;
        let (east, west) = (&world.clinics[0], &world.clinics[1]);
        let long = observation("unsent", "amina", "38.2")
            .replace("\"unit\":\"Cel\"", &format!("\"unit\":\"{}\"", "C".repeat(3_000)));
        east.record("nurse", &[long]).await.unwrap();
        for _ in 0..4 {
            east.round().await.unwrap();
        }
        let status = east.site().store().site_status(east.site().now()).unwrap();
        assert_eq!(status.deliveries.get("parked"), Some(&1), "{leave:?}");
        world.centre.record("registrar", &[managed("amina", "west")]).await.unwrap();
        world.settle().await;
        assert_eq!(has(east, &FILE), all(&FILE), "{leave:?}: not a record goes before it is sent");
        assert_eq!(has(west, &FILE), all(&FILE[..3]), "{leave:?}");
        // Somebody gives the parent more room, and the change goes on its way.
        let mut world = world;
        let mut config = world.centre.site().config().clone();
        config.limits = Limits::default();
        world.centre.restart(config, None).await.unwrap();
        let (east, west) = (&world.clinics[0], &world.clinics[1]);
        let parked = DeliveryChoice::State(protocol::delivery::DeliveryState::Parked);
        let now = east.site().now();
        east.site().store().delivery_act(&parked, &DeliveryAction::Retry, now).unwrap();
        world.settle().await;
        assert_eq!(has(&world.centre, &FILE), all(&FILE), "{leave:?}");
        assert_eq!(has(west, &FILE), all(&FILE), "{leave:?}");
        assert_eq!(has(east, &FILE), left(leave), "{leave:?}");
    }
}

/// Text that does not compress well.
fn noise(seed: u64) -> String {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut text = String::new();
    while text.len() < 2_000 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.push_str(&format!("{state:016x}"));
    }
    text
}

fn bulk(clinic: &DemoSite) -> u64 {
    let markers = clinic.site().store().marker_list().unwrap();
    let bulk =
        markers.iter().filter(|marker| marker.lane == Lane::Bulk && marker.name != "reference");
    bulk.map(|marker| marker.position).max().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_who_joins_does_not_wait_behind_a_first_load() {
    let limits = Limits { stream_bytes: 40_000, ..Limits::default() };
    let mut world = World::centre_with(limits).await;
    world.add_clinic("east", Definition::All {}, Limits::default()).await;
    for n in 0..40_u64 {
        let some = (0..10).map(|m| patient(&format!("p{n}-{m}"), &noise(n * 10 + m)));
        world.centre.record("registrar", &some.collect::<Vec<_>>()).await.unwrap();
    }
    let east = &world.clinics[0];
    let joins = 400;
    east.switch().cut_after(200_000);
    failed_round(east).await;
    assert!((1..joins).contains(&bulk(east)), "the load is under way: {}", bulk(east));
    let file = [patient("amina", "Juma"), observation("pulse", "amina", "36.6")];
    world.centre.record("registrar", &file).await.unwrap();
    east.switch().set(true);
    east.switch().cut_after(50_000);
    failed_round(east).await;
    assert!(bulk(east) < joins, "the load is under way: {}", bulk(east));
    for record in ["Patient/amina", "Observation/pulse"] {
        assert_eq!(text(east, record), text(&world.centre, record), "{record}");
    }
    east.switch().set(true);
    world.settle().await;
    world.assert_in_step().await;
}
