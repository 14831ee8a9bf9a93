//! Merged patients at three sites: whoever says so, and whoever has not heard of it, they come to
//! the same and to rest.

use protocol::Limits;
use protocol::cohort::Definition;

use crate::world::*;

async fn three_sites() -> World {
    let mut world = World::centre_with(Limits::default()).await;
    let only =
        |id: &str| Definition::Patients { patients: [reference(&format!("Patient/{id}"))].into() };
    // One clinic knows the one file, the other the other.
    world.add_clinic("east", only("loser"), Limits::default()).await;
    world.add_clinic("west", only("winner"), Limits::default()).await;
    for id in ["loser", "winner"] {
        let file = [patient(id, "Otieno"), observation(&format!("of-{id}"), id, "37.0")];
        world.centre.record("registrar", &file).await.unwrap();
    }
    world.settle().await;
    world
}

fn replaced() -> String {
    let link = r#","link":[{"other":{"reference":"Patient/winner"},"type":"replaced-by"}]}"#;
    let text = patient("loser", "Otieno");
    format!("{}{link}", text.trim_end_matches('}'))
}

fn sequences(world: &World) -> Vec<u64> {
    let clinics = world.clinics.iter().map(sequence);
    std::iter::once(sequence(&world.centre)).chain(clinics).collect()
}

/// All sites at rest, each with what the centre has for it (a clinic that a patient left keeps what
/// it had), and the records with this patient.
async fn agree(world: &World, records: &[&str], patient: &str) {
    world.settle().await;
    world.assert_in_step().await;
    let rest = sequences(world);
    world.settle().await;
    assert_eq!(sequences(world), rest, "something goes to and fro");
    let named = format!("\"Patient/{patient}\"");
    for record in records {
        let here = text(&world.centre, record);
        assert!(here.as_ref().unwrap().contains(&named), "{record}: {here:?}");
    }
    for site in world.clinics.iter().chain([&world.centre]) {
        assert_eq!(site.site().store().site_check(&mut |_| {}).unwrap(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_apart_for_a_replaced_patient_comes_together_at_three_sites() {
    let world = three_sites().await;
    let (east, west) = (&world.clinics[0], &world.clinics[1]);
    assert_eq!(text(east, "Patient/winner"), None);
    // All at once, while nobody hears of the others.
    world.centre.record("registrar", &[replaced()]).await.unwrap();
    east.record("nurse", &[observation("east", "loser", "38.1")]).await.unwrap();
    east.record("nurse", &[observation("of-loser", "loser", "37.50")]).await.unwrap();
    west.record("nurse", &[observation("west", "winner", "36.6")]).await.unwrap();
    let all =
        ["Observation/of-loser", "Observation/of-winner", "Observation/east", "Observation/west"];
    agree(&world, &all, "winner").await;
    for clinic in &world.clinics {
        for record in all.iter().chain(&["Patient/loser", "Patient/winner"]) {
            assert!(text(clinic, record).is_some(), "{record} is not at {}", clinic.id());
        }
    }
    assert!(text(west, "Observation/of-loser").unwrap().contains("37.50"));
    // A clinic takes it back, while another one writes to what followed.
    west.record("nurse", &[observation("of-loser", "winner", "37.75")]).await.unwrap();
    east.record("nurse", &[patient("loser", "Otieno")]).await.unwrap();
    agree(&world, &["Observation/of-loser", "Observation/east"], "loser").await;
    agree(&world, &["Observation/of-winner", "Observation/west"], "winner").await;
    assert!(text(&world.centre, "Observation/of-loser").unwrap().contains("37.75"));
    let held = |name: &str| {
        let name = name.parse().unwrap();
        world.centre.site().store().cohort_patients(&name, None, 9).unwrap()
    };
    assert_eq!(held("east"), [reference("Patient/loser")]);
    assert_eq!(held("west"), [reference("Patient/winner")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sites_that_merge_each_into_the_other_come_to_rest() {
    let mut world = World::pair().await;
    world.add_clinic("west", Definition::All {}, Limits::default()).await;
    for id in ["loser", "winner"] {
        let file = [patient(id, "Otieno"), observation(&format!("of-{id}"), id, "37.0")];
        world.centre.record("registrar", &file).await.unwrap();
    }
    world.settle().await;
    let (one, other) = (replaced(), replaced().replace("winner", "x").replace("loser", "winner"));
    world.clinics[0].record("nurse", &[one]).await.unwrap();
    world.clinics[1].record("nurse", &[other.replace("Patient/x", "Patient/loser")]).await.unwrap();
    agree(&world, &[], "").await;
    let links = world.centre.site().store().patient_replaced(9).unwrap();
    assert!(links.iter().all(|link| link.state == "waiting" && link.reason.is_some()), "{links:?}");
    // A person opens the circle.
    world.centre.record("registrar", &[patient("winner", "Otieno")]).await.unwrap();
    agree(&world, &["Observation/of-loser", "Observation/of-winner"], "winner").await;
}
