//! Lanes of a link: what is urgent goes at once, what is held waits, and nothing is lost by it.

use bytes::Bytes;
use chrono::{Local, TimeDelta};
use node::alerts::Known;
use node::config::LinkConfig;
use node::config::link::LaneConfig;
use node::jobs::gate::{Why, month_of};
use node::jobs::link::Link;
use node::jobs::round;
use node::jobs::speed::Way;
use node::wire::Coding;
use node::{queue, told};
use protocol::cohort::Definition;
use protocol::resource::Record;
use protocol::{Author, Limits, Urgency};
use store::{Draft, Expect, LinkEvent, QueueFilter, Traffic, Write};
use tokio::net::TcpListener;

use crate::world::*;

/// A window that opens in two hours.
fn later() -> LaneConfig {
    let at = |hours| (Local::now() + TimeDelta::hours(hours)).format("%H:%M").to_string();
    let windows = vec![format!("{}-{}", at(2), at(4))];
    LaneConfig { windows, ..LaneConfig::default() }
}

async fn set(world: &mut World, link: LinkConfig) {
    let clinic = &mut world.clinics[0];
    let mut config = clinic.site().config().clone();
    config.link = link;
    let credential = clinic.site().credential().map(str::to_owned);
    clinic.restart(config, credential).await.unwrap();
}

/// A change that an import makes.
fn import(world: &World, text: &str) {
    let record = Record::parse(text.as_bytes(), &Limits::default()).unwrap();
    let draft = Draft {
        author: Author::new("import"),
        writes: vec![Write { record, expect: Expect::Any }],
        expect: Vec::new(),
        again: false,
        lane: Urgency::Bulk,
    };
    let site = world.clinic().site();
    site.store().change_record(&draft, site.now()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_waits_and_what_is_urgent_goes() {
    let mut world = World::pair().await;
    set(&mut world, LinkConfig { normal: later(), ..LinkConfig::default() }).await;
    let clinic = world.clinic();
    clinic.record("nurse", &[observation("o1", "amina", "1")]).await.unwrap();
    clinic.record("nurse", &[observation("o2", "beno", "1")]).await.unwrap();
    clinic.record("nurse", &[patient("amina", "Auma")]).await.unwrap();
    import(&world, &patient("old", "Chebet"));
    world.centre.record("registrar", &[location("ward", "Ward 3")]).await.unwrap();
    clinic.round().await.unwrap();
    for (record, there) in [
        ("Patient/amina", true),
        ("Observation/o1", true),
        ("Observation/o2", false),
        ("Patient/old", true),
    ] {
        assert_eq!(text(&world.centre, record).is_some(), there, "{record}");
    }
    assert_eq!(text(clinic, "Location/ward"), None, "the live lane is held too");
    assert_eq!(undelivered(clinic), 1);
    let link = Link::of(clinic.site()).unwrap();
    assert!(!round::has_news_for_parent(clinic.site(), &link).await, "it would never rest");
    set(&mut world, LinkConfig::default()).await;
    world.settle().await;
    world.assert_in_step().await;
    assert!(text(&world.centre, "Observation/o2").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_day_goes_on_while_whole_patients_wait_for_the_night() {
    let limits = Limits { poll_seconds: 1, ..Limits::default() };
    let mut world = World::centre_with(limits.clone()).await;
    world.centre.record("registrar", &[patient("old", "Mwangi")]).await.unwrap();
    world.add_clinic("clinic", Definition::All {}, limits).await;
    set(&mut world, LinkConfig { bulk: later(), ..LinkConfig::default() }).await;
    let clinic = world.clinic();
    import(&world, &patient("imported", "Chebet"));
    let site = clinic.site();
    let link = Link::of(site).unwrap();
    round::run(site, &link).await.unwrap();
    world.centre.record("registrar", &[location("ward", "Ward 3")]).await.unwrap();
    clinic.record("nurse", &[observation("o1", "old", "1")]).await.unwrap();
    round::run(site, &link).await.unwrap();
    // The parent's feed has what we sent ourselves: that is passed, too.
    let held = round::run(site, &link).await.unwrap();
    assert!(text(clinic, "Location/ward").is_some());
    assert!(text(&world.centre, "Observation/o1").is_some());
    assert_eq!(text(clinic, "Patient/old"), None);
    assert_eq!(text(&world.centre, "Patient/imported"), None);
    assert!(!round::has_more(&link, &held, site.now()), "it would never rest");
    // The parent has news all the time of what is held: it is not asked for that.
    assert!(link.poll(site, &held.view, &held.markers, false).await.unwrap());
    assert!(!link.poll(site, &held.view, &held.markers, true).await.unwrap());
    world.centre.record("registrar", &[location("ward", "Ward 4")]).await.unwrap();
    assert!(link.poll(site, &held.view, &held.markers, true).await.unwrap());
    set(&mut world, LinkConfig::default()).await;
    world.settle().await;
    world.assert_in_step().await;
    assert!(text(world.clinic(), "Patient/old").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_with_a_rate_rests_and_the_others_go_on() {
    let mut world = World::pair().await;
    let rate = Some("100 B/s".to_owned());
    let bulk = LaneConfig { rate, ..LaneConfig::default() };
    set(&mut world, LinkConfig { bulk, ..LinkConfig::default() }).await;
    let clinic = world.clinic();
    import(&world, &patient("old1", "Chebet"));
    let site = clinic.site();
    let link = Link::of(site).unwrap();
    round::run(site, &link).await.unwrap();
    assert!(text(&world.centre, "Patient/old1").is_some());
    let closed = link.gate().closed(Urgency::Bulk, site.now()).unwrap();
    assert_eq!(closed.why, Why::Rate);
    let rest = closed.until.unwrap().since(site.now());
    assert!((1_000..60_000).contains(&rest), "{rest} ms for a few hundred bytes");
    import(&world, &patient("old2", "Chebet"));
    clinic.record("nurse", &[observation("o1", "beno", "1")]).await.unwrap();
    round::run(site, &link).await.unwrap();
    assert!(text(&world.centre, "Observation/o1").is_some());
    assert_eq!(text(&world.centre, "Patient/old2"), None);
    assert_eq!(undelivered(clinic), 1);
    // What one request is made for follows from the rate before anything was measured.
    assert_eq!(link.portion(site, (Way::Up, Urgency::Bulk)), 16 << 10);
    assert_eq!(link.portion(site, (Way::Up, Urgency::Normal)), 1 << 20);
    // A start does not end its rest, and people see it at any time.
    let settings = site.config().link.clone();
    set(&mut world, settings).await;
    let site = world.clinic().site();
    let now = site.now();
    let held = told::held(site.config(), &site.store().link_get().unwrap(), now);
    assert_eq!(held, [closed]);
    let again = Link::of(site).unwrap();
    assert_eq!(again.gate().open(now), [Urgency::Urgent, Urgency::Normal]);
    let filter = QueueFilter::default();
    let queue = queue::list(site.store(), (site.config(), now), &filter, 0, 9).unwrap();
    assert_eq!((queue.deliveries.len(), queue.held), (1, vec![closed]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_counts_for_the_budget_before_it_goes() {
    let mut world = World::pair().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let clinic = &mut world.clinics[0];
    let mut config = clinic.site().config().clone();
    config.link.monthly_budget = Some("1 MB".to_owned());
    config.parent.as_mut().unwrap().url = format!("http://{}", silent.local_addr().unwrap());
    let credential = clinic.site().credential().map(str::to_owned);
    clinic.restart(config, credential).await.unwrap();
    let site = clinic.site();
    let sent = || {
        let months = site.store().link_get().unwrap().months;
        months.first().map_or(0, |month| month.sent)
    };
    let (link, before) = (Link::of(site).unwrap(), sent());
    let text = Bytes::from(vec![b'x'; 5_000]);
    let came = async {
        let (stream, _) = silent.accept().await.unwrap();
        stream.readable().await.unwrap();
    };
    // It goes, nobody answers, and the site is killed.
    tokio::select! {
        _ = link.post(site, "/sync/changes", text, Coding::Identity) => panic!("nobody answers"),
        () = came => {}
    }
    assert!(sent() >= before + 5_000, "{} before, then {}", before, sent());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_bulk_stops_when_the_budget_is_spent_and_goes_on_when_it_is_lifted() {
    let mut world = World::pair().await;
    let link = LinkConfig { monthly_budget: Some("1 MB".to_owned()), ..LinkConfig::default() };
    set(&mut world, link.clone()).await;
    let alerts = |world: &World| {
        let site = world.clinic().site();
        let status = site.store().site_status(site.now()).unwrap();
        let known = Known {
            config: site.config(),
            status: &status,
            facts: site.store().alert_facts().unwrap(),
            tokens: &[],
            disk_free: None,
            audit_broken: None,
            now: site.now(),
        };
        let found = node::alerts::found(&known).into_iter();
        found.filter(|alert| alert.rule == "budget").map(|alert| alert.subject).collect::<Vec<_>>()
    };
    import(&world, &patient("old1", "Chebet"));
    world.clinic().round().await.unwrap();
    assert!(text(&world.centre, "Patient/old1").is_some(), "little has moved so far");
    assert_eq!(alerts(&world), Vec::<String>::new());
    let counted = |bytes: u64| {
        let site = world.clinic().site();
        let month = month_of(site.now());
        let traffic = Traffic { wire_received: bytes, month, ..Traffic::default() };
        site.store().link_note(&LinkEvent::Traffic(traffic, None), site.now()).unwrap();
    };
    counted(850_000);
    assert_eq!(alerts(&world), ["warning"]);
    counted(150_000);
    assert_eq!(alerts(&world), ["spent"]);
    // It holds through a restart, and what is urgent goes.
    set(&mut world, link).await;
    import(&world, &patient("old2", "Chebet"));
    world.clinic().record("nurse", &[patient("new", "Auma")]).await.unwrap();
    let site = world.clinic().site();
    let link = Link::of(site).unwrap();
    round::run(site, &link).await.unwrap();
    assert!(text(&world.centre, "Patient/new").is_some());
    assert_eq!(text(&world.centre, "Patient/old2"), None);
    let closed = link.gate().closed(Urgency::Bulk, site.now()).unwrap();
    assert_eq!(closed.why, Why::Budget);
    assert_ne!(month_of(closed.until.unwrap()), month_of(site.now()));
    let month = month_of(site.now()).unwrap();
    site.store().budget_lift(month, "paid for more", "operator", site.now()).unwrap();
    round::run(site, &link).await.unwrap();
    assert!(text(&world.centre, "Patient/old2").is_some());
    assert_eq!(alerts(&world), ["warning"], "more than all is spent, and nothing stops");
}
