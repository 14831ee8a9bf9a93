//! Links that a person pauses: nothing moves, nothing is lost, and both sides show it.

use std::time::{Duration, Instant};

use node::http::sync::status::ChildReport;
use node::jobs::link::Link;
use node::jobs::{round, sources};
use protocol::Limits;
use store::{LinkName, PauseDraft};

use crate::reading::add_read_clinic;
use crate::world::{World, ask, failed_round, patient, reference, text, undelivered};

fn draft(link: LinkName, millis: Option<u64>) -> PauseDraft {
    let (reason, actor) = ("the mast is mended".to_owned(), "operator".to_owned());
    PauseDraft { link, is_source: false, reason, actor, millis }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_the_child_pauses_moves_nothing_until_it_is_resumed() {
    let world = World::pair().await;
    world.settle().await;
    let clinic = world.clinic();
    let site = clinic.site();
    let link = Link::of(site).unwrap();
    site.store().link_pause(&draft(LinkName::Parent, None), site.now()).unwrap();
    let report = round::report(site).await.unwrap();
    link.farewell(site, &report).await.unwrap();
    world.centre.record("clerk", &[patient("amina", "Otieno")]).await.unwrap();
    clinic.record("nurse", &[patient("baraka", "Mwangi")]).await.unwrap();
    let error = failed_round(clinic).await;
    assert!(error.0.contains("paused at clinic") && error.0.contains("mast"), "{error}");
    assert_eq!((text(clinic, "Patient/amina"), undelivered(clinic)), (None, 1));
    assert_eq!(site.store().link_get().unwrap().failures, 0, "it is no failure of the link");
    // The parent was told, and shows it.
    let status = world.centre.site().store().site_status(site.now()).unwrap();
    let told: ChildReport =
        serde_json::from_str(status.children[0].report.as_deref().unwrap()).unwrap();
    assert_eq!(told.paused.unwrap().reason, "the mast is mended");
    site.store().link_resume(&LinkName::Parent, "operator", site.now()).unwrap();
    world.settle().await;
    assert!(text(clinic, "Patient/amina").is_some());
    assert!(text(&world.centre, "Patient/baraka").is_some());
    world.assert_in_step().await;
    let status = world.centre.site().store().site_status(site.now()).unwrap();
    let told: ChildReport =
        serde_json::from_str(status.children[0].report.as_deref().unwrap()).unwrap();
    assert_eq!(told.paused, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_the_parent_pauses_is_told_when_to_ask_again_on_every_route() {
    let world = World::pair().await;
    let clinic = world.clinic();
    let centre = world.centre.site();
    let name = LinkName::Child(clinic.id().clone());
    centre.store().link_pause(&draft(name.clone(), Some(3_600_000)), centre.now()).unwrap();
    clinic.record("nurse", &[patient("baraka", "Mwangi")]).await.unwrap();
    let error = failed_round(clinic).await;
    assert!(error.0.contains("503") && error.0.contains("paused at centre"), "{error}");
    for (method, path) in [
        ("GET", "/sync/feeds/clinic/changes?after=0"),
        ("POST", "/sync/changes"),
        ("GET", "/fhir/Patient"),
        ("GET", "/feeds/clinic/recent"),
        ("POST", "/sync/patients/find"),
    ] {
        let (status, body) = ask(&world, clinic, method, path, b"{}").await;
        let told = String::from_utf8(body).unwrap();
        assert!(status == 503 && told.contains("the mast is mended"), "{path}: {status} {told}");
    }
    assert_eq!((undelivered(clinic), text(&world.centre, "Patient/baraka")), (1, None));
    centre.store().link_resume(&name, "operator", centre.now()).unwrap();
    world.settle().await;
    assert!(text(&world.centre, &reference("Patient/baraka").to_string()).is_some());
    world.assert_in_step().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_is_only_read_is_not_read_while_it_is_paused_and_that_is_no_failure() {
    let mut world = World::centre_with(Limits::default()).await;
    add_read_clinic(&mut world, "clinic", Limits::default()).await;
    let (centre, clinic) = (world.centre.site(), world.clinic());
    let name = LinkName::Child(clinic.id().clone());
    clinic.record("nurse", &[patient("baraka", "Mwangi")]).await.unwrap();
    let pause = PauseDraft { is_source: true, ..draft(name.clone(), None) };
    centre.store().link_pause(&pause, centre.now()).unwrap();
    let source = &centre.config().sources[0];
    let error = sources::read_now(centre, source).await.unwrap_err();
    assert!(error.0.contains("paused at centre") && error.0.contains("mast"), "{error}");
    let site = centre.clone();
    let reading = tokio::spawn(async move { sources::run(&site).await });
    // It would have been read at once, and every second.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(centre.store().source_list().unwrap(), [], "it was not tried, nor did it fail");
    assert_eq!((undelivered(clinic), text(&world.centre, "Patient/baraka")), (1, None));
    assert!(centre.store().link_resume(&name, "operator", centre.now()).unwrap());
    let begun = Instant::now();
    while text(&world.centre, "Patient/baraka").is_none() {
        assert!(begun.elapsed() < Duration::from_secs(30), "it goes on by itself");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(centre.store().source_list().unwrap()[0].failures, 0);
    reading.abort();
}
