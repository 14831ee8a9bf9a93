//! The change stream over bad links: cuts, dead silence, coalescing, waiting.

use std::time::{Duration, Instant};

use node::wire::{Coding, Decoder};
use protocol::Limits;
use protocol::cohort::Definition;

use crate::world::*;

#[tokio::test(flavor = "multi_thread")]
async fn defect_42_a_transfer_that_is_cut_again_and_again_goes_on_where_it_was() {
    let world = World::pair().await;
    for number in 0..300 {
        let id = format!("p{number}");
        // Values that do not compress away: the answer has to be longer than the link holds.
        let family = format!(
            "{:x}",
            (number as u128 + 7).wrapping_pow(9).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        );
        world.centre.record("registrar", &[patient(&id, &family)]).await.unwrap();
    }
    let clinic = world.clinic();
    let held = || clinic.site().store().site_status(clinic.site().now()).unwrap().records;
    let (mut cuts, mut last) = (0, 0);
    let mut bytes = 600;
    while held() < 300 {
        clinic.switch().set(true);
        clinic.switch().cut_after(bytes);
        let _ = clinic.round().await;
        cuts += 1;
        assert!(held() >= last, "records went away");
        last = held();
        // Every length of a cut comes up in the end.
        bytes += 97;
        assert!(cuts < 500, "no progress: {last} records after {cuts} cuts");
    }
    assert!(cuts > 3, "the link was never cut");
    clinic.switch().set(true);
    world.settle().await;
    world.assert_in_step().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_loses_power_at_any_moment_goes_on_from_its_files() {
    let mut world = World::pair().await;
    for round in 0..12u64 {
        for number in 0..10 {
            let id = format!("r{round}n{number}");
            world.centre.record("registrar", &[patient(&id, "Simiyu")]).await.unwrap();
            world.clinics[0]
                .record("nurse", &[patient(&format!("c{id}"), "Naliaka")])
                .await
                .unwrap();
        }
        let some_time = Duration::from_millis(round * 4);
        let _ = tokio::time::timeout(some_time, world.clinics[0].round()).await;
        if round % 2 == 0 {
            world.clinics[0].lose_power().await.unwrap();
        } else {
            world.centre.lose_power().await.unwrap();
        }
    }
    persist(&world.clinics[0], 5).await;
    world.settle().await;
    world.assert_in_step().await;
    let held = world.centre.site().store().site_status(world.centre.site().now()).unwrap();
    assert_eq!((held.records, held.sequence), (240, 240), "something came twice or not at all");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_as_long_as_was_asked_for_and_one_line_always_comes() {
    let world = World::pair().await;
    for number in 0..40 {
        let id = format!("p{number}");
        world.centre.record("registrar", &[patient(&id, &"x".repeat(1_000))]).await.unwrap();
    }
    // What does not compress shows how much of it there is.
    let whole = 40 * 1_000;
    for (limit, least, most) in
        [(1, 1_000, 3_000), (10_000, 9_000, 14_000), (90_000, whole, 90_000)]
    {
        let path = format!("/sync/feeds/clinic/changes?after=0&limit={limit}");
        let (status, body) = ask(&world, world.clinic(), "GET", &path, b"").await;
        assert_eq!(status, 200);
        assert!((least..=most).contains(&body.len()), "limit {limit}: {} bytes", body.len());
        let more = String::from_utf8(body).unwrap().contains("\"more\":true");
        assert_eq!(more, limit < whole, "limit {limit}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_changed_often_is_sent_once_in_its_latest_state() {
    let world = World::pair().await;
    for number in 0..50 {
        world.centre.record("registrar", &[patient("p", &format!("Name{number}"))]).await.unwrap();
    }
    let (status, body) =
        ask(&world, world.clinic(), "GET", "/sync/feeds/clinic/changes?after=0", b"").await;
    let body = String::from_utf8(body).unwrap();
    assert_eq!(status, 200, "{body}");
    assert_eq!(body.matches("\"resource\":").count(), 1, "{body}");
    assert!(body.contains("Name49"));
    assert!(body.contains("\"end\":51"), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_reader_gave_itself_is_not_sent_back_to_it() {
    let world = World::pair().await;
    world.clinic().record("nurse", &[patient("mine", "Wekesa")]).await.unwrap();
    world.settle().await;
    for lane in ["live", "bulk"] {
        let path = format!("/sync/feeds/clinic/changes?after=0&lane={lane}");
        let (_, body) = ask(&world, world.clinic(), "GET", &path, b"").await;
        let body = String::from_utf8(body).unwrap();
        assert!(!body.contains("Wekesa"), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_answer_waits_for_news_and_news_end_the_wait() {
    let world = World::pair().await;
    world.settle().await;
    let head = world.centre.site().store().feed_list(&store::Scope::Everything).unwrap();
    let head = head.iter().find(|feed| feed.name == "clinic").unwrap().head;
    let path = format!("/sync/feeds/clinic/changes?after={head}&wait=30");
    let asked = Instant::now();
    let ((status, body), ()) =
        tokio::join!(ask(&world, world.clinic(), "GET", &path, b""), async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            world.centre.record("registrar", &[patient("news", "Kiplagat")]).await.unwrap();
        });
    assert_eq!(status, 200);
    assert!(String::from_utf8_lossy(&body).contains("Kiplagat"));
    assert!(asked.elapsed() < Duration::from_secs(20), "the news did not end the wait");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_coding_carries_the_same_lines() {
    let world = World::pair().await;
    world.centre.record("registrar", &[patient("p", "Rotich")]).await.unwrap();
    let path = "/sync/feeds/clinic/changes?after=0";
    let (_, plain) = ask(&world, world.clinic(), "GET", path, b"").await;
    let dictionary = node::wire::dictionary_name();
    for (accept, coding) in
        [("zstd", Coding::Zstd), ("gzip", Coding::Gzip), ("dcz, zstd", Coding::Dcz)]
    {
        let mut headers = as_child(world.clinic());
        headers.push(("accept-encoding", accept.to_owned()));
        headers.push(("available-dictionary", dictionary.clone()));
        let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let (_, body) = http(&world.centre, "GET", path, &headers, Vec::new()).await;
        assert!(body.len() < plain.len(), "{accept} is no shorter");
        let mut decoder = Decoder::new(coding, 1 << 20, "stream_bytes").unwrap();
        let mut text = decoder.push(&body).unwrap();
        text.extend(decoder.finish().unwrap());
        assert_eq!(text, plain, "{accept}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_32_ten_thousand_changes_take_a_handful_of_requests() {
    let world = World::pair().await;
    let limits = Limits::default();
    let records: Vec<String> =
        (0..10_000).map(|n| patient(&format!("p{n}"), &format!("Family{n}"))).collect();
    for change in records.chunks(100) {
        world.centre.record("registrar", change).await.unwrap();
    }
    let before = world.clinic().site().store().link_get().unwrap().wire_received;
    let round = world.clinic().round().await.unwrap();
    assert!(round.received > 0);
    world.assert_in_step().await;
    let after = world.clinic().site().store().link_get().unwrap().wire_received;
    let raw: usize = records.iter().map(String::len).sum();
    assert!(raw < limits.stream_bytes, "the test's records would need a second answer");
    // 2,000 pages and 10,000 GETs would need more for their heads alone.
    assert!(after - before < (raw / 5) as u64, "{} bytes for {raw}", after - before);
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_33_a_link_that_goes_silent_is_given_up() {
    let limits = Limits { request_seconds: 1, ..Limits::default() };
    let mut world = World::centre_with(Limits::default()).await;
    world.add_clinic("clinic", Definition::All {}, limits).await;
    // A listener that accepts and never answers takes the parent's place.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    move_parent(&mut world.clinics[0], &url).await;
    let asked = Instant::now();
    let error = failed_round(world.clinic()).await;
    assert!(error.to_string().contains("silent"), "{error}");
    assert!(asked.elapsed() < Duration::from_secs(10));
    drop(silent);
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_38_two_runs_at_once_do_nothing_twice() {
    let world = World::pair().await;
    for number in 0..50 {
        let id = format!("p{number}");
        world.clinic().record("nurse", &[patient(&id, "Jepkosgei")]).await.unwrap();
        world.centre.record("registrar", &[patient(&format!("c{id}"), "Maina")]).await.unwrap();
    }
    let clinic = world.clinic();
    let (one, two, three) = tokio::join!(clinic.round(), clinic.round(), clinic.round());
    let sent: u64 = [one, two, three].into_iter().map(|round| round.unwrap().sent).sum();
    assert_eq!(sent, 50);
    world.assert_in_step().await;
    assert_eq!(sequence(&world.centre), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_sent_once_and_not_with_each_of_its_members() {
    let world = World::pair().await;
    let members: Vec<String> =
        (0..40).map(|n| format!("{{\"entity\":{{\"reference\":\"Patient/m{n}\"}}}}")).collect();
    let group = format!(
        "{{\"resourceType\":\"Group\",\"id\":\"g\",\"type\":\"person\",\"actual\":true,\
         \"member\":[{}]}}",
        members.join(",")
    );
    for n in 0..40 {
        let id = format!("m{n}");
        world.centre.record("registrar", &[patient(&id, "Chepkoech")]).await.unwrap();
    }
    world.centre.record("registrar", std::slice::from_ref(&group)).await.unwrap();
    let path = "/sync/feeds/clinic/changes?after=0&lane=bulk";
    let (_, body) = ask(&world, world.clinic(), "GET", path, b"").await;
    let body = String::from_utf8(body).unwrap();
    assert_eq!(body.matches("\"resourceType\":\"Group\"").count(), 1);
    assert_eq!(body.matches("\"resourceType\":\"Patient\"").count(), 40);
    world.settle().await;
    world.assert_in_step().await;
    assert_eq!(text(world.clinic(), "Group/g"), Some(group));
}
