//! Rubbish at the doors of `/sync`: a clear error, nothing stored, nothing else disturbed.

use protocol::Limits;
use protocol::cohort::Definition;

use crate::world::*;

/// A push line that is right but for what a test does to it.
fn line(world: &World, record: &str, sum: &str) -> String {
    let me = world.clinic().site().store().site().unwrap();
    format!(
        "{{\"id\":[\"{}\",\"{}\",1],\"records\":[{record}],\"sum\":\"{sum}\"}}\n",
        me.site, me.epoch
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_a_push_is_refused_and_disturbs_nothing() {
    let mut world = World::centre_with(Limits { body_bytes: 1 << 20, ..Limits::default() }).await;
    world.add_clinic("clinic", Definition::All {}, Limits::default()).await;
    let resource = format!("{{\"resource\":{}}}", patient("p", "Secretname"));
    let deep = format!("{{\"resource\":{}1{}}}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
    let bad_type = resource.replace("Patient", "Pacient");
    let bad_id = resource.replace("\"id\":\"p\"", "\"id\":\"p p\"");
    let nul = resource.replace("Secretname", "Secret\\u0000name");
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("not JSON", b"hello\n".to_vec()),
        ("not UTF-8", b"{\"id\":\"\xff\xfe\"}\n".to_vec()),
        ("no id", b"{\"records\":[]}\n".to_vec()),
        ("a header", b"{\"stream\":1}\n".to_vec()),
        ("wrong sum", line(&world, &resource, "AAAAAAAAAAA").into()),
        ("no sum", line(&world, &resource, "").into()),
        ("deep", line(&world, &deep, "AAAAAAAAAAA").into()),
        ("unknown type", line(&world, &bad_type, "AAAAAAAAAAA").into()),
        ("impossible id", line(&world, &bad_id, "AAAAAAAAAAA").into()),
        ("NUL", line(&world, &nul, "AAAAAAAAAAA").into()),
        ("unknown record form", line(&world, "{\"merged\":1}", "AAAAAAAAAAA").into()),
        ("cut in half", line(&world, &resource, "AAAAAAAAAAA").into_bytes()[..80].to_vec()),
        ("long line", vec![b'x'; 2 << 20]),
    ];
    for (what, body) in cases {
        let (status, answer) = ask(&world, world.clinic(), "POST", "/sync/changes", &body).await;
        let answer = String::from_utf8(answer).unwrap();
        let refused = status >= 400
            || answer.is_empty()
            || answer.contains("\"refused\"")
            || answer.contains("\"problem\"");
        assert!(refused, "{what}: {status} {answer}");
        assert!(!answer.contains("Secret"), "{what}: the error repeats patient content");
        assert_eq!(sequence(&world.centre), 0, "{what} was stored");
    }
    world.clinic().record("nurse", &[patient("ok", "Fine")]).await.unwrap();
    world.settle().await;
    assert!(text(&world.centre, "Patient/ok").is_some(), "the site was disturbed");
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_and_bottomless_compression_is_refused() {
    let mut world = World::centre_with(Limits { body_bytes: 1 << 20, ..Limits::default() }).await;
    world.add_clinic("clinic", Definition::All {}, Limits::default()).await;
    let bomb = vec![b' '; 64 << 20];
    let codings = [
        ("dcz", node::wire::Coding::Dcz),
        ("zstd", node::wire::Coding::Zstd),
        ("gzip", node::wire::Coding::Gzip),
    ];
    for (name, coding) in codings {
        let whole = node::wire::encode(coding, b"{}\n").unwrap();
        let bomb = node::wire::encode(coding, &bomb).unwrap();
        for (what, body) in [
            ("cut", whole[..whole.len() - 3].to_vec()),
            ("bomb", bomb.to_vec()),
            ("rubbish", vec![9; 200]),
        ] {
            let mut headers = as_child(world.clinic());
            headers.push(("content-encoding", name.to_owned()));
            let headers: Vec<(&str, &str)> =
                headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
            let (status, answer) =
                http(&world.centre, "POST", "/sync/changes", &headers, body).await;
            let answer = String::from_utf8_lossy(&answer).into_owned();
            assert!(
                status >= 400 || answer.contains("problem"),
                "{name} {what}: {status} {answer}"
            );
        }
    }
    let mut headers = as_child(world.clinic());
    headers.push(("content-encoding", "br".to_owned()));
    let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
    let (status, _) = http(&world.centre, "POST", "/sync/changes", &headers, vec![1]).await;
    assert_eq!(status, 415);
    assert_eq!(sequence(&world.centre), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_questions_get_clear_answers() {
    let world = World::pair().await;
    let long = format!("/feeds/{}/recent", "x".repeat(3_000));
    for (path, expected, says) in [
        ("/sync/feeds/clinic/changes?after=x", 400, "after"),
        ("/sync/feeds/clinic/changes", 400, "after"),
        ("/sync/feeds/clinic/changes?after=0&lane=fast", 400, "lane"),
        ("/sync/feeds/clinic/changes?after=0&epoch=7", 422, "UUID"),
        ("/sync/feeds/clinic/changes?after=0&odd=1", 400, "odd"),
        ("/sync/poll?epoch=1&at=&wait=0", 400, ""),
        (
            "/sync/poll?epoch=3f3f3f3f-3f3f-4f3f-8f3f-3f3f3f3f3f3f&at=&wait=0&lane=fast",
            400,
            "lane must be `live`",
        ),
        ("/feeds/clinic/0", 404, "no such"),
        ("/feeds/clinic/99999999999999999999999", 404, "no such"),
        ("/feeds/clinic/-1", 404, "no such"),
        ("/feeds/clinic/18446744073709551615", 404, "no such"),
        ("/nowhere", 404, "nothing"),
        (long.as_str(), 404, "no such"),
    ] {
        let (status, body) = ask(&world, world.clinic(), "GET", path, b"").await;
        let body = String::from_utf8_lossy(&body).into_owned();
        let shown = &path[..path.len().min(60)];
        assert_eq!(status, expected, "{shown}: {body}");
        assert!(body.contains(says), "{shown}: {body}");
    }
    let mut headers = as_child(world.clinic());
    headers[1].1 = "2".to_owned();
    let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
    let path = "/sync/feeds/clinic/changes?after=0";
    let (status, body) = http(&world.centre, "GET", path, &headers, Vec::new()).await;
    assert_eq!(status, 400);
    assert!(String::from_utf8_lossy(&body).contains("Tributary-Protocol 1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_35_fields_that_a_site_does_not_know_do_not_trouble_it() {
    let world = World::pair().await;
    let report = br#"{"version":"9.9","at":"2030-01-01T00:00:00Z","undelivered":0,"parked":0,
        "conflicts":0,"records":0,"disk_bytes":0,"markers":{},"moon":"full"}"#;
    let (status, body) = ask(&world, world.clinic(), "POST", "/sync/status", report).await;
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    let children = world.centre.site().store().child_list().unwrap();
    assert!(children[0].report.as_deref().unwrap().contains("moon"), "unknown fields are kept");
    let me = world.clinic().site().store().site().unwrap();
    let line = format!("{{\"id\":[\"{}\",\"{}\",1],\"mood\":\"good\"}}\n", me.site, me.epoch);
    let (status, body) =
        ask(&world, world.clinic(), "POST", "/sync/changes", line.as_bytes()).await;
    let body = String::from_utf8(body).unwrap();
    assert!(status == 200 && body.contains("\"already\""), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_who_never_finish_their_request_leave_room_for_everybody_else() {
    use std::io::Write as _;
    let world = World::pair_with(Limits { requests_at_once: 8, ..Limits::default() }).await;
    let address = world.centre.site().config().listen;
    let head = format!(
        "POST /sync/join HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         content-length: 500\r\n\r\n{{"
    );
    let strangers: Vec<std::net::TcpStream> = (0..60)
        .map(|_| {
            let mut stranger = std::net::TcpStream::connect(address).unwrap();
            stranger.write_all(head.as_bytes()).unwrap();
            stranger
        })
        .collect();
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    world.clinic().record("nurse", &[patient("p", "Mutua")]).await.unwrap();
    world.settle().await;
    assert!(text(&world.centre, "Patient/p").is_some());
    drop(strangers);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_credential_that_never_finishes_its_requests_leaves_room_for_the_others() {
    use std::io::Write as _;
    let mut world = World::centre_with(Limits { requests_at_once: 16, ..Limits::default() }).await;
    for name in ["slow", "clinic"] {
        world.add_clinic(name, Definition::All {}, Limits::default()).await;
    }
    let address = world.centre.site().config().listen;
    let (slow, clinic) = (&world.clinics[0], &world.clinics[1]);
    let secret = slow.site().credential().unwrap();
    let me = slow.site().store().site().unwrap();
    let head = format!(
        "POST /sync/changes HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {secret}\r\n\
         tributary-protocol: 1\r\ntributary-site: {}\r\ntributary-epoch: {}\r\n\
         content-length: 500\r\n\r\n{{",
        me.site, me.epoch
    );
    let drips: Vec<std::net::TcpStream> = (0..60)
        .map(|_| {
            let mut drip = std::net::TcpStream::connect(address).unwrap();
            drip.write_all(head.as_bytes()).unwrap();
            drip
        })
        .collect();
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let (status, body) = ask(&world, slow, "POST", "/sync/changes", b"").await;
    let body = String::from_utf8(body).unwrap();
    assert!(status == 503 && body.contains("this credential has"), "{status} {body}");
    clinic.record("nurse", &[patient("p", "Mutua")]).await.unwrap();
    clinic.round().await.unwrap();
    assert!(text(&world.centre, "Patient/p").is_some());
    drop(drips);
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    slow.round().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_child_says_of_itself_moves_no_terminal_and_fits_into_the_store() {
    let world = World::pair().await;
    let report = |markers: &str| {
        format!(
            r#"{{"version":"1\u001b[2J\r\n2","at":"2026-11-23T08:15:30.000Z","undelivered":0,
            "parked":0,"conflicts":0,"records":1,"disk_bytes":1,"markers":{{{markers}}},
            "paused":{{"since":"2026-11-23T08:15:30.000Z","reason":"\u009bx\u202ey"}}}}"#
        )
    };
    let clinic = world.clinic();
    let said = report("");
    let (status, body) = ask(&world, clinic, "POST", "/sync/status", said.as_bytes()).await;
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    let children = world.centre.site().store().child_list().unwrap();
    let kept: serde_json::Value =
        serde_json::from_str(children[0].report.as_deref().unwrap()).unwrap();
    assert_eq!(kept["version"], "1 [2J  2");
    assert_eq!(kept["paused"]["reason"], "x y");
    for number in [u64::MAX, 1 << 63] {
        let me = clinic.site().store().site().unwrap();
        let line = format!("{{\"id\":[\"{}\",\"{}\",{number}]}}\n", me.site, me.epoch);
        let (status, body) = ask(&world, clinic, "POST", "/sync/changes", line.as_bytes()).await;
        let body = String::from_utf8_lossy(&body).into_owned();
        assert!(status < 500 && !body.contains("the store failed"), "{status} {body}");
        let said = report(&format!(r#""clinic":{number}"#));
        let (status, body) = ask(&world, clinic, "POST", "/sync/status", said.as_bytes()).await;
        assert!(status < 500, "{status} {}", String::from_utf8_lossy(&body));
        let path = format!("/sync/feeds/clinic/changes?after={number}&limit=10");
        let (status, body) = ask(&world, clinic, "GET", &path, b"").await;
        assert!(status < 500, "{status} {}", String::from_utf8_lossy(&body));
    }
}
