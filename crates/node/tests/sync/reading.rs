//! A centre reads its clinics' changes: those need nothing but their port.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use node::config::{Config, FhirParent, Parent, SourceConfig, Up};
use node::demo::site::DemoSite;
use node::http::auth::credential_hash;
use node::jobs::sources::{self, Turn};
use node::ports::LinkError;
use protocol::cohort::Definition;
use protocol::delivery::DeliveryState;
use protocol::{FeedId, Limits, SiteId};
use store::{
    DeliveryAction, DeliveryFilter, LeavePolicy, QueueChoice, QueueFilter, QueueOrder, SourceInfo,
    TokenDraft, TokenScope,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::epochs::{backup, restore};
use crate::world::*;

pub(crate) const TOKEN: &str = "the-centre-reads";

/// A clinic that can reach nobody and is read by the centre.
pub(crate) async fn add_read_clinic(world: &mut World, name: &str, limits: Limits) {
    let id: SiteId = name.parse().unwrap();
    let folder = world.folder.path().join(name);
    let clinic = DemoSite::with(&folder, &id, |config| {
        config.limits = limits;
        config.parent = Some(Parent {
            url: String::new(),
            site: "centre".parse().unwrap(),
            leave: LeavePolicy::Keep,
            up: Up::Read,
            fhir: FhirParent::default(),
        });
    });
    let clinic = clinic.await.unwrap();
    let (site, now) = (clinic.site(), clinic.site().now());
    site.store().parent_set(now, &FeedId::from_random(site.entropy().uuid_bytes())).unwrap();
    add_token(&clinic, "centre", TOKEN, TokenScope::ReadOutgoing);
    read_it(world, &id, &site.config().public_url.clone()).await;
    world.clinics.push(clinic);
}

pub(crate) fn add_token(site: &DemoSite, name: &str, secret: &str, scope: TokenScope) {
    let token = TokenDraft {
        name: name.to_owned(),
        scope,
        children: Vec::new(),
        hash: credential_hash(secret),
        expires: None,
    };
    site.site().store().token_add(&token, site.site().now()).unwrap();
}

/// The centre reads a site from now on.
pub(crate) async fn read_it(world: &mut World, id: &SiteId, url: &str) {
    let mut config = world.centre.site().config().clone();
    config.sources.push(source(world.centre.folder(), id, url));
    world.centre.restart(config, None).await.unwrap();
}

pub(crate) fn source(folder: &Path, id: &SiteId, url: &str) -> SourceConfig {
    let file = format!("{id}.token");
    std::fs::write(folder.join(&file), TOKEN).unwrap();
    let owner_only = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(folder.join(&file), owner_only).unwrap();
    let mut source = SourceConfig::of_child(id.clone(), url.to_owned());
    source.token_file = Some(file.into());
    source.every = Some("1s".to_owned());
    source
}

pub(crate) async fn world() -> World {
    let mut world = World::centre_with(Limits::default()).await;
    add_read_clinic(&mut world, "clinic", Limits::default()).await;
    world
}

pub(crate) async fn read(world: &World, name: &str) -> Result<Turn, LinkError> {
    let site = world.centre.site();
    let found = site.config().sources.iter().find(|source| source.name.as_str() == name);
    sources::read_now(site, found.unwrap()).await
}

fn info(world: &World, name: &str) -> SourceInfo {
    let sources = world.centre.site().store().source_list().unwrap();
    sources.into_iter().find(|source| source.name.as_str() == name).unwrap()
}

pub(crate) fn states(clinic: &DemoSite) -> Vec<(DeliveryState, Option<String>)> {
    let filter = DeliveryFilter { limit: 100, ..DeliveryFilter::default() };
    let listed = clinic.site().store().delivery_list(&filter).unwrap();
    listed.into_iter().map(|delivery| (delivery.state, delivery.reason)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clinic_that_can_reach_nobody_is_read_and_learns_what_arrived() {
    let world = world().await;
    let clinic = world.clinic();
    clinic.record("nurse", &[location("ward", "Ward 3")]).await.unwrap();
    clinic.record("nurse", &[patient("a", "Auma"), observation("a1", "a", "36.50")]).await.unwrap();
    clinic.record("nurse", &[observation("a1", "a", "36.60")]).await.unwrap();
    assert_eq!(undelivered(clinic), 3);
    let turn = read(&world, "clinic").await.unwrap();
    assert_eq!((turn.parked, turn.told), (0, 3));
    for record in ["Location/ward", "Patient/a", "Observation/a1"] {
        assert_eq!(text(&world.centre, record), text(clinic, record), "{record}");
    }
    assert_eq!((undelivered(clinic), states(clinic)), (0, Vec::new()));
    // Read again there is nothing; and what both changed since is merged, with the right base.
    let before = sequence(&world.centre);
    assert_eq!(read(&world, "clinic").await.unwrap().applied, 0);
    assert_eq!(sequence(&world.centre), before);
    let at_clinic = patient("a", "Auma").replace("1984-02", "1984-02-03");
    clinic.record("nurse", &[at_clinic]).await.unwrap();
    let at_centre = patient("a", "Auma").replace("female", "other");
    world.centre.record("registrar", &[at_centre]).await.unwrap();
    read(&world, "clinic").await.unwrap();
    let merged = text(&world.centre, "Patient/a").unwrap();
    assert!(merged.contains("1984-02-03") && merged.contains("other"), "{merged}");
    assert!(conflicts(&world.centre).is_empty());
    let status = clinic.site().store().site_status(clinic.site().now()).unwrap();
    assert_eq!(status.read.reader.unwrap().as_str(), "centre");
    assert_eq!((info(&world, "clinic").position, info(&world, "clinic").head), (4, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_08_what_the_centre_refuses_parks_there_and_holds_back_only_its_patient() {
    let world = world().await;
    let clinic = world.clinic();
    // Somebody of this name is at the centre, and none of the clinic's business.
    world.centre.record("registrar", &[patient("a", "Kamau")]).await.unwrap();
    clinic.record("nurse", &[patient("a", "Auma")]).await.unwrap();
    clinic.record("nurse", &[observation("a1", "a", "36.50")]).await.unwrap();
    clinic.record("nurse", &[patient("b", "Barasa")]).await.unwrap();
    let turn = read(&world, "clinic").await.unwrap();
    assert_eq!((turn.applied, turn.parked), (1, 2));
    assert!(text(&world.centre, "Patient/a").unwrap().contains("Kamau"));
    assert_eq!(text(&world.centre, "Observation/a1"), None);
    assert_eq!(text(&world.centre, "Patient/b"), text(clinic, "Patient/b"));
    let parked = world.centre.site().store().parked_list(10).unwrap();
    let reasons = parked.iter().map(|line| line.reason.as_str()).collect::<Vec<_>>();
    assert!(reasons[0].contains("is of no patient of the sender's cohorts"), "{reasons:?}");
    assert_eq!(reasons[1], "waits behind position 1");
    assert!(parked.iter().all(|line| line.feed == "clinic/outgoing"));
    // The clinic is told, and that its changes are not held yet.
    let told = states(clinic);
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[0].0, DeliveryState::Parked);
    assert!(told[0].1.as_ref().unwrap().starts_with("the parent keeps it parked: "), "{told:?}");
    // What comes later for that patient waits as well, and everything goes in in its order.
    clinic.record("nurse", &[observation("a1", "a", "36.60")]).await.unwrap();
    assert_eq!(read(&world, "clinic").await.unwrap().parked, 1);
    world.set_cohort("clinic", Definition::All {});
    let (code, _) =
        node::jobs::enrol::invite(world.centre.site(), clinic.id(), &["clinic".parse().unwrap()])
            .unwrap();
    assert!(!code.is_empty());
    let now = world.centre.site().now();
    assert_eq!(world.centre.site().store().parked_retry(now, 0, true).unwrap(), 3);
    assert_eq!(text(&world.centre, "Observation/a1"), text(clinic, "Observation/a1"));
    assert_eq!(undelivered(clinic), 3, "nobody has told it yet");
    assert_eq!(read(&world, "clinic").await.unwrap().told, 3);
    assert_eq!(undelivered(clinic), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clinic_hears_that_the_centre_gave_its_change_up() {
    let world = world().await;
    let clinic = world.clinic();
    world.centre.record("registrar", &[patient("a", "Kamau")]).await.unwrap();
    clinic.record("nurse", &[patient("a", "Auma")]).await.unwrap();
    read(&world, "clinic").await.unwrap();
    let filter = QueueFilter { state: Some(DeliveryState::Parked), ..QueueFilter::default() };
    let order = QueueOrder {
        which: QueueChoice::Matching(filter),
        action: DeliveryAction::Drop("entered under a wrong number".to_owned()),
        actor: "registrar".to_owned(),
        dry_run: false,
        after: 0,
    };
    let (centre, now) = (world.centre.site(), world.centre.site().now());
    assert_eq!(centre.store().queue_act(&order, now, 0).unwrap().lines, 1);
    assert_eq!(read(&world, "clinic").await.unwrap().told, 1);
    let reason = "the parent gave it up: entered under a wrong number";
    assert_eq!(states(clinic), [(DeliveryState::Parked, Some(reason.to_owned()))]);
    // Whoever thinks otherwise there sends it once more: it is looked at anew.
    let again = QueueOrder { action: DeliveryAction::Retry, ..order };
    let site = clinic.site();
    assert_eq!(site.store().queue_act(&again, site.now(), 0).unwrap().changes, 1);
    read(&world, "clinic").await.unwrap();
    let told = states(clinic);
    assert!(told[0].1.as_ref().unwrap().starts_with("the parent keeps it parked: "), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_09_a_centre_restored_from_a_backup_reads_again_what_it_lost() {
    let mut world = world().await;
    world.clinic().record("nurse", &[patient("early", "Akinyi")]).await.unwrap();
    read(&world, "clinic").await.unwrap();
    let file = backup(&world.centre, "centre.backup", world.folder.path());
    world.clinic().record("nurse", &[patient("lost", "Adhiambo")]).await.unwrap();
    read(&world, "clinic").await.unwrap();
    assert_eq!(undelivered(world.clinic()), 0);
    restore(&mut world.centre, &file, 7).await;
    assert_eq!(text(&world.centre, "Patient/lost"), None);
    world.clinic().record("nurse", &[patient("new", "Anyango")]).await.unwrap();
    read(&world, "clinic").await.unwrap();
    for record in ["Patient/early", "Patient/lost", "Patient/new"] {
        assert_eq!(text(&world.centre, record), text(world.clinic(), record), "{record}");
    }
    assert_eq!(undelivered(world.clinic()), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clinic_restored_from_a_backup_is_read_from_its_new_beginning_and_nothing_twice() {
    let mut world = world().await;
    world.clinic().record("nurse", &[patient("early", "Akinyi")]).await.unwrap();
    let file = backup(world.clinic(), "clinic.backup", world.folder.path());
    world.clinic().record("nurse", &[patient("sent", "Adhiambo")]).await.unwrap();
    read(&world, "clinic").await.unwrap();
    let before = text(&world.centre, "Patient/sent");
    restore(&mut world.clinics[0], &file, 9).await;
    world.clinic().record("nurse", &[patient("new", "Anyango")]).await.unwrap();
    let turn = read(&world, "clinic").await.unwrap();
    assert_eq!((turn.applied, turn.parked), (1, 0));
    assert_eq!(text(&world.centre, "Patient/sent"), before);
    assert_eq!(text(&world.centre, "Patient/new"), text(world.clinic(), "Patient/new"));
    assert_eq!(undelivered(world.clinic()), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_29_the_credential_of_a_reader_opens_nothing_else_and_no_other_opens_this() {
    let mut world = world().await;
    let changes = "/sync/feeds/outgoing/changes?after=0";
    let epoch = world.centre.site().store().site().unwrap().epoch.to_string();
    for path in ["/fhir/Patient", "/feeds", "/feeds/outgoing/recent", "/outbox", "/sync/poll"] {
        let bearer = [("authorization", &*format!("Bearer {TOKEN}"))];
        let (status, _) = http(world.clinic(), "GET", path, &bearer, Vec::new()).await;
        assert_eq!(status, 403, "{path}");
    }
    add_token(world.clinic(), "program", "program", TokenScope::FhirWrite);
    for (token, site, status) in [
        (TOKEN, "centre", 200),
        (TOKEN, "elsewhere", 403),
        ("program", "centre", 403),
        ("nobody", "centre", 401),
    ] {
        let bearer = format!("Bearer {token}");
        let headers = [
            ("authorization", bearer.as_str()),
            ("tributary-site", site),
            ("tributary-epoch", epoch.as_str()),
        ];
        let (found, _) = http(world.clinic(), "GET", changes, &headers, Vec::new()).await;
        assert_eq!(found, status, "{token} of {site}");
    }
    // Where the site sends its changes itself, nobody reads them: an older state could come last.
    let mut config = world.clinic().site().config().clone();
    let parent = config.parent.as_mut().unwrap();
    (parent.up, parent.url) = (Up::Direct, world.centre.site().config().public_url.clone());
    world.clinics[0].restart(config, None).await.unwrap();
    let error = read(&world, "clinic").await.unwrap_err().to_string();
    assert!(error.contains("this site is not read"), "{error}");
}

/// A server that does to every connection what `act` does.
pub(crate) async fn stand_in<F>(
    act: impl Fn(tokio::net::TcpStream) -> F + Send + Sync + 'static,
) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(act(stream));
        }
    });
    address
}

async fn answers(answer: &'static str) -> SocketAddr {
    stand_in(move |mut stream| async move {
        let mut head = [0; 4096];
        let _ = stream.read(&mut head).await;
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.shutdown().await;
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_33_a_source_that_hangs_or_is_none_delays_no_other_and_says_what_is_wrong() {
    let limits = Limits { request_seconds: 2, sources_at_once: 4, ..Limits::default() };
    let mut world = World::centre_with(limits).await;
    add_read_clinic(&mut world, "clinic", Limits::default()).await;
    let hanging = Arc::new(AtomicUsize::new(0));
    let count = hanging.clone();
    let hangs = stand_in(move |stream| {
        count.fetch_add(1, Ordering::Relaxed);
        async move {
            tokio::time::sleep(Duration::from_secs(600)).await;
            drop(stream);
        }
    })
    .await;
    let html = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>";
    let cut =
        "HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ncontent-length: 900\r\n\r\n{";
    let login = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n";
    let absent = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
    let broken = [
        ("cut", answers(cut).await, "the link was cut"),
        ("html", answers(html).await, "is not a Tributary site"),
        ("login", answers(login).await, "does not know our credential"),
        ("absent", answers(absent).await, "there is no outgoing feed"),
        ("hangs-1", hangs, "was silent for 2 s"),
        ("hangs-2", hangs, "was silent for 2 s"),
        ("hangs-3", hangs, "was silent for 2 s"),
        ("hangs-4", hangs, "was silent for 2 s"),
        ("hangs-5", hangs, "was silent for 2 s"),
        ("hangs-6", hangs, "was silent for 2 s"),
    ];
    for (name, address, _) in &broken {
        read_it(&mut world, &name.parse().unwrap(), &format!("http://{address}")).await;
    }
    let site = world.centre.site().clone();
    let reading = tokio::spawn(async move { sources::run(&site).await });
    // All have had their turn and failed; from now on those that hang have places of their own.
    let begun = Instant::now();
    let all_failed = || {
        let known = world.centre.site().store().source_list().unwrap();
        broken.iter().all(|(name, _, words)| {
            known.iter().any(|source| {
                let error = source.last_error.as_deref().unwrap_or("");
                source.name.as_str() == *name && error.contains(words)
            })
        })
    };
    while !all_failed() {
        let known = world.centre.site().store().source_list().unwrap();
        assert!(begun.elapsed() < Duration::from_secs(60), "{known:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for number in 0..3 {
        let id = format!("p{number}");
        world.clinic().record("nurse", &[patient(&id, "Auma")]).await.unwrap();
        let begun = Instant::now();
        while text(&world.centre, &format!("Patient/{id}")).is_none() {
            assert!(begun.elapsed() < Duration::from_secs(20), "it is not read any more");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert!(hanging.load(Ordering::Relaxed) >= 6);
    assert_eq!(info(&world, "clinic").failures, 0);
    reading.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_backlog_comes_in_turns_and_a_cut_costs_only_the_line_in_flight() {
    let mut world = World::centre_set(|config: &mut Config| {
        config.limits.source_bytes = 20_000;
    })
    .await;
    add_read_clinic(&mut world, "clinic", Limits::default()).await;
    for number in 0..60 {
        let id = format!("p{number}");
        let records = [patient(&id, "Auma"), observation(&format!("o{number}"), &id, "36.5")];
        world.clinic().record("nurse", &records).await.unwrap();
    }
    let turn = read(&world, "clinic").await.unwrap();
    assert_eq!((turn.applied, turn.told), (60, 60));
    assert_eq!(undelivered(world.clinic()), 0);
    // A marker that somebody else has moved is not moved back, and nothing is applied by it.
    let known = info(&world, "clinic").mark.unwrap();
    let stale = store::Source::Child {
        site: "clinic".parse().unwrap(),
        epoch: known.epoch,
        reading: Some(store::Reading { feed: known.feed, after: known.position - 1 }),
    };
    let end = [store::Incoming::End(known.position)];
    let raced = world.centre.site().store().change_apply(&stale, &end, world.centre.site().now());
    assert!(matches!(raced, Err(store::StoreError::Raced)), "{raced:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_others_can_read_is_refused_at_the_start() {
    let mut world = World::centre_with(Limits::default()).await;
    let mut config = world.centre.site().config().clone();
    let id: SiteId = "clinic".parse().unwrap();
    config.sources.push(source(world.centre.folder(), &id, "http://127.0.0.1:9"));
    let file = world.centre.folder().join("clinic.token");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = world.centre.restart(config, None).await.unwrap_err();
    assert!(format!("{error:#}").contains("others can read it"), "{error:#}");
}

#[test]
fn settings_of_sources_are_checked_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let config = "site = \"centre\"\nlisten = \"127.0.0.1:0\"\npublic_url = \"http://127.0.0.1\"\n\
                  [[source]]\nname = \"clinic\"\nurl = \"http://127.0.0.1:9\"\n\
                  token_file = \"clinic.token\"\n";
    let twice = "[[source]]\nname = \"clinic\"\nurl = \"http://x\"\ntoken_file = \"x\"\n";
    let itself = "[[source]]\nname = \"centre\"\nurl = \"http://x\"\ntoken_file = \"x\"\n";
    for (line, words) in [
        ("", ""),
        ("every = \"often\"\n", "source clinic: every: \"often\" is not of the form"),
        ("evry = \"1h\"\n", "evry"),
        ("windows = [\"8-9\"]\n", "is not of the form 20:00-06:00"),
        (twice, "source clinic stands twice"),
        (itself, "source centre: that is this site itself"),
        ("[parent]\nsite = \"top\"\n", "parent.url is missing"),
        ("[parent]\nsite = \"top\"\nup = \"read\"\n", ""),
    ] {
        std::fs::write(folder.path().join("tributary.toml"), format!("{config}{line}")).unwrap();
        let loaded = Config::load(folder.path()).map(|_| ()).map_err(|e| format!("{e:#}"));
        match words {
            "" => assert_eq!(loaded, Ok(())),
            words => assert!(loaded.as_ref().is_err_and(|e| e.contains(words)), "{loaded:?}"),
        }
    }
}
