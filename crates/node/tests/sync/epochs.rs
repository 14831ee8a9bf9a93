//! Sites that move, are restored from a backup, or start from nothing: found out, never silent.

use std::path::Path;

use node::demo::site::DemoSite;
use protocol::Epoch;
use protocol::stream::Lane;
use store::sqlite::SqliteStore;
use store::{Marker, Scope};

use crate::world::*;

pub(crate) fn backup(site: &DemoSite, name: &str, folder: &Path) -> std::path::PathBuf {
    let file = folder.join(name);
    site.site().store().site_backup(&file, &mut |_, _| {}).unwrap();
    file
}

pub(crate) async fn restore(site: &mut DemoSite, file: &Path, epoch: u8) {
    let now = site.site().now();
    SqliteStore::restore_as(file, &Epoch::from_random([epoch; 16]), now).unwrap();
    let store = site.folder().join("tributary.db");
    for ending in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{ending}", store.display()));
        let _ = std::fs::rename(
            format!("{}{ending}", file.display()),
            format!("{}{ending}", store.display()),
        );
    }
    std::fs::rename(file, &store).unwrap();
    site.lose_power().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_09_a_parent_restored_from_a_backup_gets_back_what_it_lost() {
    let mut world = World::pair().await;
    world.centre.record("registrar", &[patient("before", "Kamau")]).await.unwrap();
    world.clinic().record("nurse", &[patient("early", "Akinyi")]).await.unwrap();
    world.settle().await;
    let file = backup(&world.centre, "centre.backup", world.folder.path());
    // What comes now, from both sides, the restored centre will not know of.
    world.clinic().record("nurse", &[patient("lost-up", "Adhiambo")]).await.unwrap();
    world.centre.record("registrar", &[patient("lost-down", "Muthoni")]).await.unwrap();
    let edited = patient("before", "Kamau").replace("1984-02", "1984-02-03");
    world.clinic().record("nurse", std::slice::from_ref(&edited)).await.unwrap();
    world.settle().await;
    restore(&mut world.centre, &file, 7).await;
    assert_eq!(text(&world.centre, "Patient/lost-up"), None);
    // And something new happens on both sides before they meet.
    world.centre.record("registrar", &[patient("new-down", "Wambui")]).await.unwrap();
    world.clinic().record("nurse", &[patient("new-up", "Anyango")]).await.unwrap();
    world.settle().await;
    world.assert_in_step().await;
    for record in ["before", "early", "lost-up", "lost-down", "new-up", "new-down"] {
        let record = format!("Patient/{record}");
        assert!(text(&world.centre, &record).is_some(), "{record} is lost at the centre");
        assert!(text(world.clinic(), &record).is_some(), "{record} is lost at the clinic");
    }
    assert_eq!(text(&world.centre, "Patient/before"), Some(edited));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_restored_from_a_backup_gets_back_what_it_lost_and_loses_nothing_new() {
    let mut world = World::pair().await;
    world.clinic().record("nurse", &[patient("early", "Akinyi")]).await.unwrap();
    world.settle().await;
    let file = backup(world.clinic(), "clinic.backup", world.folder.path());
    world.clinic().record("nurse", &[patient("sent", "Adhiambo")]).await.unwrap();
    world.centre.record("registrar", &[patient("down", "Muthoni")]).await.unwrap();
    world.settle().await;
    restore(&mut world.clinics[0], &file, 9).await;
    assert_eq!(text(world.clinic(), "Patient/sent"), None);
    // The new life of the store counts its changes from 1 again: they must not be taken for old.
    world.clinic().record("nurse", &[patient("new", "Anyango")]).await.unwrap();
    world.settle().await;
    world.assert_in_step().await;
    for record in ["early", "sent", "down", "new"] {
        let record = format!("Patient/{record}");
        assert!(text(&world.centre, &record).is_some(), "{record} is lost at the centre");
        assert!(text(world.clinic(), &record).is_some(), "{record} is lost at the clinic");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_missed_by_whatever_fault_comes_when_all_is_compared_once_a_day() {
    let world = World::pair().await;
    world.centre.record("registrar", &[patient("missed", "Kamau")]).await.unwrap();
    let (above, store) = (world.centre.site().store(), world.clinic().site().store());
    let epoch = above.site().unwrap().epoch;
    // The clinic's markers say that it was applied.
    for feed in above.feed_list(&Scope::Everything).unwrap() {
        let (id, name, position) = (feed.id, feed.name, feed.head);
        let markers = [Lane::Live, Lane::Bulk].map(|lane| Marker {
            feed: id,
            name: name.clone(),
            epoch,
            lane,
            position,
        });
        store.marker_set(&markers, world.clinic().site().now()).unwrap();
    }
    assert_eq!(store.link_get().unwrap().compared, None);
    world.settle().await;
    assert!(text(world.clinic(), "Patient/missed").is_some());
    world.assert_in_step().await;
    let compared = store.link_get().unwrap().compared;
    assert!(compared.is_some());
    world.clinic().round().await.unwrap();
    assert_eq!(store.link_get().unwrap().compared, compared, "once a day is enough");
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_10_a_parent_that_moves_to_another_url_is_read_on_from_the_marker() {
    let mut world = World::pair().await;
    world.centre.record("registrar", &[patient("one", "Kamau")]).await.unwrap();
    world.settle().await;
    let before = world.clinic().site().store().marker_list().unwrap();
    let port = world.centre.site().config().listen.port();
    move_parent(&mut world.clinics[0], &format!("http://localhost:{port}")).await;
    world.centre.record("registrar", &[patient("two", "Njeri")]).await.unwrap();
    let round = world.clinic().round().await.unwrap();
    assert_eq!(round.received, 1, "one change is all that is new");
    let after = world.clinic().site().store().marker_list().unwrap();
    assert_eq!(before.len(), after.len(), "new markers were made for the new URL");
    world.assert_in_step().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_beyond_the_head_or_of_another_epoch_is_answered_with_both_epochs() {
    let world = World::pair().await;
    world.settle().await;
    let epoch = world.centre.site().store().site().unwrap().epoch;
    let other = Epoch::from_random([3; 16]);
    for path in [
        format!("/sync/feeds/clinic/changes?after=99&epoch={epoch}"),
        format!("/sync/feeds/clinic/changes?after=0&epoch={other}"),
    ] {
        let (status, body) = ask(&world, world.clinic(), "GET", &path, b"").await;
        let body = String::from_utf8(body).unwrap();
        assert_eq!(status, 409, "{body}");
        assert!(body.contains(&epoch.to_string()) && body.contains("\"asked\""), "{body}");
    }
}
