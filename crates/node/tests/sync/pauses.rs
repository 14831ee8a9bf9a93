//! Links that a person pauses: nothing moves, nothing is lost, and both sides show it.

use node::http::sync::status::ChildReport;
use node::jobs::link::Link;
use node::jobs::round;
use store::{LinkName, PauseDraft};

use crate::world::{World, ask, failed_round, patient, reference, text, undelivered};

fn draft(link: LinkName, millis: Option<u64>) -> PauseDraft {
    let (reason, actor) = ("the mast is mended".to_owned(), "operator".to_owned());
    PauseDraft { link, reason, actor, millis }
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
