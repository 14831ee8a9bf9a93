//! Who was heard, and who was not: receipts that a portal swallows, sources and children that do
//! not come, and what is parked where nobody calls.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use node::http::auth::credential_hash;
use protocol::cohort::Definition;
use protocol::{Limits, SiteId};
use store::{TokenDraft, TokenScope};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::reading::{add_read_clinic, read, read_it, stand_in, states, world};
use crate::world::*;

/// A whole request, made the last of its connection.
async fn request_of(stream: &mut tokio::net::TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let read = stream.read_buf(&mut all).await.unwrap_or(0);
        let text = String::from_utf8_lossy(&all).to_ascii_lowercase();
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
            if all.len() >= head.len() + 4 + length {
                let end = head.find("\r\n").unwrap();
                all.splice(end..end, *b"\r\nconnection: close");
                return all;
            }
        }
        if read == 0 {
            return all;
        }
    }
}

/// What a portal does to what is told (POST): lets it through (0), answers it itself (1), or loses
/// the answer (2).
async fn portal(clinic: SocketAddr, does: Arc<AtomicUsize>) -> SocketAddr {
    stand_in(move |mut stream| {
        let does = does.clone();
        async move {
            let asked = request_of(&mut stream).await;
            let does = if asked.starts_with(b"POST") { does.load(Ordering::Relaxed) } else { 0 };
            if does == 1 {
                let html = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 17\r\n\
                            connection: close\r\n\r\n<p>Please pay</p>";
                let _ = stream.write_all(html.as_bytes()).await;
                return;
            }
            let mut there = tokio::net::TcpStream::connect(clinic).await.unwrap();
            there.write_all(&asked).await.unwrap();
            let mut answer = Vec::new();
            there.read_to_end(&mut answer).await.unwrap();
            if does == 0 {
                let _ = stream.write_all(&answer).await;
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_portal_swallowed_of_the_receipts_or_their_answer_is_told_again() {
    let mut world = world().await;
    let swallows = Arc::new(AtomicUsize::new(1));
    let mut config = world.centre.site().config().clone();
    let clinic = world.clinic().site().config().listen;
    config.sources[0].url = format!("http://{}", portal(clinic, swallows.clone()).await);
    world.centre.restart(config, None).await.unwrap();
    world.clinic().record("nurse", &[patient("a", "Auma")]).await.unwrap();
    let error = read(&world, "clinic").await.unwrap_err().to_string();
    assert!(error.contains("no answer of a Tributary site"), "{error}");
    assert!(text(&world.centre, "Patient/a").is_some());
    assert_eq!(undelivered(world.clinic()), 1, "it has heard nothing");
    // What it heard while the answer was lost does no harm when it comes again.
    swallows.store(2, Ordering::Relaxed);
    read(&world, "clinic").await.unwrap_err();
    assert_eq!(undelivered(world.clinic()), 0);
    swallows.store(0, Ordering::Relaxed);
    assert_eq!(read(&world, "clinic").await.unwrap().told, 1);
    assert_eq!((undelivered(world.clinic()), states(world.clinic())), (0, Vec::new()));
    assert_eq!(read(&world, "clinic").await.unwrap().told, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_centre_without_a_parent_tries_again_what_it_parked_of_a_source() {
    let limits = Limits { backoff_seconds: 1, ..Limits::default() };
    let mut world = World::centre_with(limits).await;
    add_read_clinic(&mut world, "clinic", Limits::default()).await;
    // The patient of another is none of the clinic's business, until its cohort says so.
    world.centre.record("registrar", &[patient("a", "Kamau")]).await.unwrap();
    world.clinic().record("nurse", &[patient("a", "Auma")]).await.unwrap();
    assert_eq!(read(&world, "clinic").await.unwrap().parked, 1);
    let parked = || world.centre.site().store().site_status(world.centre.site().now()).unwrap();
    assert_eq!(parked().parked_lines, 1);
    world.set_cohort("clinic", Definition::All {});
    let id = world.clinic().id();
    node::jobs::enrol::invite(world.centre.site(), id, &["clinic".parse().unwrap()]).unwrap();
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let stop = tokio_util::sync::CancellationToken::new();
    let jobs = tokio::spawn(node::jobs::run(world.centre.site().clone(), stop.clone()));
    let begun = Instant::now();
    while parked().parked_lines > 0 {
        assert!(begun.elapsed() < Duration::from_secs(30), "it is not tried again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stop.cancel();
    jobs.await.unwrap();
    // The clinic hears of it now, if the job has not told it before.
    read(&world, "clinic").await.unwrap();
    assert_eq!(undelivered(world.clinic()), 0);
}

/// What the rules find at the centre in so many hours, of one of them.
fn found(world: &World, rule: &str, hours: i64) -> Vec<(String, String)> {
    let site = world.centre.site();
    let now = site.now().plus_millis(hours * 3_600_000);
    let known = node::alerts::Known {
        config: site.config(),
        status: &site.store().site_status(site.now()).unwrap(),
        facts: site.store().alert_facts().unwrap(),
        tokens: &site.store().token_list().unwrap(),
        disk_free: None,
        audit_broken: None,
        now,
    };
    let all = node::alerts::found(&known).into_iter().filter(|alert| alert.rule == rule);
    all.map(|alert| (alert.subject, alert.text)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_names_sources_that_are_not_heard_and_children_that_never_came() {
    let mut world = world().await;
    read_it(&mut world, &"never".parse().unwrap(), "http://127.0.0.1:9").await;
    world.set_cohort("all", Definition::All {});
    for name in ["clinic", "invited"] {
        let id: SiteId = name.parse().unwrap();
        node::jobs::enrol::invite(world.centre.site(), &id, &["all".parse().unwrap()]).unwrap();
    }
    read(&world, "clinic").await.unwrap();
    read(&world, "never").await.unwrap_err();
    assert_eq!(found(&world, "silent", 23), []);
    let names = |hours| found(&world, "silent", hours).into_iter().map(|(name, _)| name);
    assert_eq!(names(25).collect::<Vec<_>>(), ["invited", "clinic", "never"]);
    let told = found(&world, "silent", 25);
    assert!(told[0].1.starts_with("invited has not come; it was invited 25 h ago"), "{told:?}");
    assert!(told[1].1.starts_with("clinic was read last 25 h ago"), "{told:?}");
    assert!(told[2].1.starts_with("never could not be read since 25 h ago: "), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_alert_of_a_credential_that_has_ended_stays() {
    let world = World::centre_with(Limits::default()).await;
    let site = world.centre.site();
    let token = TokenDraft {
        name: "lab".to_owned(),
        scope: TokenScope::FhirWrite,
        children: Vec::new(),
        hash: credential_hash("lab"),
        expires: Some(site.now().plus_millis(30 * 24 * 3_600_000)),
    };
    site.store().token_add(&token, site.now()).unwrap();
    assert_eq!(found(&world, "credential", 24), []);
    let told = |days: i64| found(&world, "credential", days * 24).remove(0).1;
    assert!(told(20).starts_with("the credential lab ends in "), "{}", told(20));
    assert!(told(40).starts_with("the credential lab ended 10 days ago"), "{}", told(40));
}
