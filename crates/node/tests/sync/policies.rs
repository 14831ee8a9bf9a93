//! Policies are the parent's, at both ends of a link.

use std::time::Duration;

use node::demo::site::DemoSite;
use node::http::sync::status::ParentView;
use node::jobs::link::Link;
use node::jobs::{pull, round};
use protocol::Limits;
use protocol::cohort::Definition;
use protocol::reconcile::{Policies, Policy};
use protocol::stream::Lane;

use super::world::{World, patient, text};

/// A centre with policies, and a clinic that was never told any.
async fn world_with(policies: &[(&str, &str)]) -> World {
    let merge = policies.iter().map(|(key, name)| ((*key).to_owned(), (*name).to_owned()));
    let mut world = World::centre_set(|config| config.merge = merge.collect()).await;
    world.add_clinic("clinic", Definition::All {}, Limits::default()).await;
    world.centre.record("registrar", &[patient("p", "Kamau")]).await.unwrap();
    world.settle().await;
    world
}

fn born(date: &str) -> String {
    patient("p", "Kamau").replace("1984-02", date)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clinic_merges_by_the_policies_of_its_centre() {
    let world = world_with(&[("Patient.birthDate", "child")]).await;
    world.clinic().record("nurse", &[born("1984-02-17")]).await.unwrap();
    world.centre.record("registrar", &[born("1984-07-12")]).await.unwrap();
    // The clinic pulls before it pushes: it works out the merge, and by the centre's policy.
    pull_once(&world).await;
    assert_eq!(text(world.clinic(), "Patient/p"), Some(born("1984-02-17")));
    world.settle().await;
    world.assert_in_step().await;
    assert_eq!(text(&world.centre, "Patient/p"), Some(born("1984-02-17")));
}

/// The live lane of the clinic's cohort, without the push that a round begins with.
async fn pull_once(world: &World) {
    let clinic = world.clinic().site();
    let link = Link::of(clinic).unwrap();
    let view = link.status(clinic, &round::report(clinic).await.unwrap()).await.unwrap();
    let feed = view.feeds.iter().find(|feed| feed.name == "clinic").unwrap().clone();
    let markers = clinic.store().marker_list().unwrap();
    let live = markers.iter().find(|m| m.feed == feed.id && m.lane == Lane::Live).unwrap();
    pull::step(clinic, &link, &view, &feed, Lane::Live, live.position).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_centre_merges_by_its_own_policies() {
    let world = world_with(&[("Patient", "conflict"), ("Patient.name.given", "union")]).await;
    let with = |date: &str, name: &str| born(date).replace("Atieno", name);
    world.clinic().record("nurse", &[with("1984-02-17", "Achieng")]).await.unwrap();
    world.centre.record("registrar", &[with("1984-07-12", "Wanjiru")]).await.unwrap();
    world.settle().await;
    world.assert_in_step().await;
    let held = text(&world.centre, "Patient/p").unwrap();
    assert_eq!(Some(&held), text(world.clinic(), "Patient/p").as_ref());
    // Nobody decided: the date is the one of before. Names of both sides stay.
    assert!(held.contains("\"1984-02\""), "{held}");
    assert!(held.contains(r#"["Amina","Wanjiru","Achieng"]"#), "{held}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_later_change_wins_where_the_centre_says_so_and_clocks_agree() {
    let world = world_with(&[("default", "latest")]).await;
    world.centre.record("registrar", &[born("1984-07-12")]).await.unwrap();
    // Times are in milliseconds.
    tokio::time::sleep(Duration::from_millis(20)).await;
    world.clinic().record("nurse", &[born("1984-02-17")]).await.unwrap();
    world.settle().await;
    world.assert_in_step().await;
    for site in [&world.centre, world.clinic()] {
        assert_eq!(text(site, "Patient/p"), Some(born("1984-02-17")), "at {}", site.id());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clinic_keeps_what_its_centre_told_until_it_tells_otherwise() {
    let world = world_with(&[("Patient.telecom", "union")]).await;
    let told = |site: &DemoSite| site.site().store().link_get().unwrap().policies;
    assert_eq!(told(world.clinic()), world.centre.site().config().policies().with_clocks(true));
    // An older centre tells nothing: then the defaults hold.
    let old = r#"{"site":"centre","epoch":"3f3f3f3f-3f3f-4f3f-8f3f-3f3f3f3f3f3f","version":"0.1.0",
        "at":"2026-11-23T08:15:30Z","dictionary":"x","feeds":[]}"#;
    let view: ParentView = serde_json::from_str(old).unwrap();
    assert_eq!(view.policies(), Policies::default());
    // A later one may know policies that this program does not.
    let new = old.replacen('{', r#"{"merge":{"default":"child","Patient.name":"the-wisest"},"#, 1);
    let view: ParentView = serde_json::from_str(&new).unwrap();
    assert_eq!(view.policies(), Policies::all(Policy::Child));
}
