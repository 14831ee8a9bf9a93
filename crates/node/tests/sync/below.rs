//! A clinic that is read tells its centre how it is, and rows of its audit, when it is asked.

use protocol::cohort::Definition;
use protocol::{Limits, SiteId};
use serde_json::Value;
use store::{AuditFilter, ChildInfo};

use crate::epochs::{backup, restore};
use crate::reading::{TOKEN, add_read_clinic, read};
use crate::world::*;

/// A centre that has taken in a clinic which it reads.
async fn world() -> World {
    let limits = Limits { audit_seconds: 0, ..Limits::default() };
    let mut world = World::centre_with(limits.clone()).await;
    add_read_clinic(&mut world, "clinic", limits).await;
    world.set_cohort("clinic", Definition::All {});
    let id = world.clinic().id().clone();
    node::jobs::enrol::invite(world.centre.site(), &id, &["clinic".parse().unwrap()]).unwrap();
    world
}

fn child(world: &World) -> ChildInfo {
    let centre = world.centre.site();
    let status = centre.store().site_status(centre.now()).unwrap();
    status.children.into_iter().find(|child| child.site.as_str() == "clinic").unwrap()
}

async fn look_at(world: &World, record: &str) {
    let path = format!("/fhir/{record}");
    assert_eq!(http(world.clinic(), "GET", &path, &[], Vec::new()).await.0, 200);
}

/// The clinic's own audit, and what the centre holds of it, to the same row.
fn assert_same_audit(world: &World) -> u64 {
    let id: SiteId = "clinic".parse().unwrap();
    let copy = world.centre.site().store().audit_verify_copy(&id).unwrap().unwrap();
    let own = world.clinic().site().store().audit_verify().unwrap();
    assert_eq!((copy.last, copy.broken), (own.last, None));
    copy.rows
}

#[tokio::test(flavor = "multi_thread")]
async fn the_centre_hears_how_a_clinic_is_that_it_reads_and_who_saw_whom_there() {
    let world = world().await;
    world.clinic().record("nurse", &[patient("amina", "Otieno")]).await.unwrap();
    look_at(&world, "Patient/amina").await;
    assert_eq!(child(&world).report, None);
    read(&world, "clinic").await.unwrap();

    let known = child(&world);
    let report: Value = serde_json::from_str(known.report.as_deref().unwrap()).unwrap();
    assert_eq!(report["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((&report["records"], &report["one_way"]), (&1.into(), &true.into()));
    assert!(known.last_seen.is_some() && known.clock_offset.is_some(), "{known:?}");
    assert_eq!(known.epoch, Some(world.clinic().site().store().site().unwrap().epoch));
    assert_eq!(known.lag, None, "nothing goes down to it");
    assert_same_audit(&world);
    let who = world.centre.site().store().audit_who(&reference("Patient/amina")).unwrap();
    let told: Vec<String> =
        who.seen.iter().map(|one| format!("{} {} {}", one.site, one.actor, one.how)).collect();
    assert!(told.contains(&"clinic program:local read".to_owned()), "{told:?}");

    // More of it comes with the next reading, and nothing twice.
    look_at(&world, "Patient/amina").await;
    let before = rows_held(&world);
    read(&world, "clinic").await.unwrap();
    assert_eq!(assert_same_audit(&world), before + 1);
    read(&world, "clinic").await.unwrap();
    assert_eq!(assert_same_audit(&world), before + 1);
}

fn rows_held(world: &World) -> u64 {
    let id: SiteId = "clinic".parse().unwrap();
    world.centre.site().store().audit_verify_copy(&id).unwrap().unwrap().rows
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_of_a_restored_clinic_goes_on_from_the_last_row_in_common() {
    let mut world = world().await;
    world.clinic().record("nurse", &[patient("amina", "Otieno")]).await.unwrap();
    read(&world, "clinic").await.unwrap();
    let file = backup(world.clinic(), "clinic.backup", world.folder.path());
    for _ in 0..3 {
        look_at(&world, "Patient/amina").await;
    }
    read(&world, "clinic").await.unwrap();
    let lost = assert_same_audit(&world);
    restore(&mut world.clinics[0], &file, 9).await;
    look_at(&world, "Patient/amina").await;
    read(&world, "clinic").await.unwrap();
    // The rows of the life before stay beside those of the new one.
    let filter = AuditFilter { limit: 100, ..AuditFilter::default() };
    let rows = world.clinic().site().store().audit_list(&filter).unwrap();
    let new = rows.iter().skip_while(|row| row.action != "restore").count() as u64;
    // (The place in common that is found may be a little before the last one.)
    assert!(assert_same_audit(&world) >= lost + new, "{rows:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_parent_hears_it_and_odd_words_are_refused() {
    let world = world().await;
    let clinic = world.clinic();
    let epoch = "2b1f6c1e-8c7a-4c55-9a55-0f4ed0a0a0a0";
    let bearer = format!("Bearer {TOKEN}");
    let ask = async |method: &str, path: &str, site: &str, body: &str| {
        let headers = [
            ("authorization", bearer.as_str()),
            ("tributary-site", site),
            ("tributary-epoch", epoch),
        ];
        let path = format!("/sync/feeds/outgoing/{path}");
        http(clinic, method, &path, &headers, body.as_bytes().to_vec()).await.0
    };
    assert_eq!(ask("GET", "report", "centre", "").await, 200);
    assert_eq!(ask("GET", "report", "elsewhere", "").await, 403);
    assert_eq!(ask("POST", "audit", "elsewhere", "{}").await, 403);
    for (body, status) in [("{}", 200), ("", 400), ("7", 400), ("{\"chain\":7}", 400)] {
        assert_eq!(ask("POST", "audit", "centre", body).await, status, "{body}");
    }
    let (status, _) = http(clinic, "GET", "/sync/feeds/outgoing/report", &[], Vec::new()).await;
    assert_eq!(status, 403, "who has no credential is a program of this machine");
}
