//! What bad input gets: a clear error that names what and where, nothing stored, nothing else
//! disturbed.

use axum::body::Body;
use axum::http::{Method, Request};
use bytes::Bytes;

use super::harness::{TestSite, request};
use super::patient;

const SECRET: &str = "Wanjiru-Kamau-secret";

/// A case: how it is sent, and the status and words that answer it.
struct Case {
    name: &'static str,
    method: Method,
    path: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: Vec<u8>,
    status: u16,
    says: &'static str,
}

fn case(name: &'static str, body: impl Into<Vec<u8>>, status: u16, says: &'static str) -> Case {
    let (method, path) = (Method::PUT, "/fhir/Patient/a");
    Case { name, method, path, headers: &[], body: body.into(), status, says }
}

impl Case {
    fn at(mut self, method: Method, path: &'static str) -> Case {
        (self.method, self.path) = (method, path);
        self
    }
    fn with(mut self, headers: &'static [(&'static str, &'static str)]) -> Case {
        self.headers = headers;
        self
    }
}

fn with_name(id: &str) -> String {
    patient(id, SECRET).to_string()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

fn bodies() -> Vec<Case> {
    let deep = format!(
        r#"{{"resourceType":"Patient","id":"a","x":{}{}}}"#,
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    let named = with_name("a");
    vec![
        case("nothing", "", 415, "Content-Type"),
        case("white space", " ", 400, "line 1"),
        case("not JSON", format!("{SECRET} {{"), 400, "line 1"),
        case("cut JSON", &named[..named.len() - 3], 400, "line 1"),
        case("two values", format!("{named} {named}"), 400, "line 1"),
        case("not UTF-8", b"{\"resourceType\":\"Patient\",\"id\":\"\xff\"}", 400, "UTF-8"),
        case("NUL byte", named.replace("secret", "sec\0ret"), 400, "control character"),
        case("NUL escape", named.replace("secret", "sec\\u0000ret"), 400, "u0000"),
        case("control character", named.replace("secret", "sec\u{1}ret"), 400, "control"),
        case("lone surrogate", named.replace("secret", "\\ud800"), 400, "surrogate"),
        case("key twice", named.replace("\"id\"", "\"id\":\"b\",\"id\""), 400, "twice"),
        case("depth 10,000", deep, 413, "json_depth = 64"),
        case("an array", "[]", 422, "object"),
        case("a number", "7", 422, "object"),
        case("no type", r#"{"id":"a"}"#, 422, "resourceType"),
        case("a type that is no text", r#"{"resourceType":7,"id":"a"}"#, 422, "resourceType"),
        case("an impossible type", r#"{"resourceType":"Pacient","id":"a"}"#, 422, "type"),
        case("another type", r#"{"resourceType":"Group","id":"a"}"#, 400, "Group"),
        case("no id", r#"{"resourceType":"Patient"}"#, 400, "Patient/a"),
        case("an id that is no text", r#"{"resourceType":"Patient","id":7}"#, 400, "id"),
        case("an impossible id", r#"{"resourceType":"Patient","id":"a_b"}"#, 400, "64 letters"),
        case("another id", with_name("b"), 400, "Patient/b"),
        case("an empty id", r#"{"resourceType":"Patient","id":""}"#, 400, "64 letters"),
        case("no type on create", r#"{"id":"a"}"#, 422, "resourceType")
            .at(Method::POST, "/fhir/Patient"),
        case("a Bundle that is none", named, 400, "Bundle").at(Method::POST, "/fhir"),
        case(
            "entries that are none",
            r#"{"resourceType":"Bundle","type":"batch","entry":7}"#,
            400,
            "Bundle.entry",
        )
        .at(Method::POST, "/fhir"),
    ]
}

fn transfers() -> Vec<Case> {
    let named = with_name("a");
    let packed = gzip(named.as_bytes());
    let zstd = zstd::encode_all(named.as_bytes(), 3).unwrap();
    let bomb = vec![b' '; 64 << 20];
    let gzip_headers: &[(&str, &str)] = &[("content-encoding", "gzip")];
    let zstd_headers: &[(&str, &str)] = &[("content-encoding", "zstd")];
    vec![
        case("truncated gzip", &packed[..packed.len() - 9], 400, "too early").with(gzip_headers),
        case("truncated zstd", &zstd[..zstd.len() - 4], 400, "too early").with(zstd_headers),
        case("no gzip at all", &*named, 400, "gzip").with(gzip_headers),
        case("no zstd at all", &*named, 400, "zstd").with(zstd_headers),
        case("gzip bomb", gzip(&bomb), 413, "body_bytes").with(gzip_headers),
        case("zstd bomb", zstd::encode_all(&bomb[..], 3).unwrap(), 413, "body_bytes")
            .with(zstd_headers),
        case("unknown coding", &*named, 415, "Content-Encoding")
            .with(&[("content-encoding", "br")]),
        case("wrong length", &*named, 400, "Content-Length").with(&[("content-length", "many")]),
        case("too long by its own word", &*named, 413, "body_bytes")
            .with(&[("content-length", "104857600")]),
        case("100 MB", vec![b' '; 100 << 20], 413, "body_bytes"),
        case(
            "over a record's limit",
            with_name("a").replace("secret", &"x".repeat(3 << 20)),
            413,
            "resource_bytes = 2097152",
        ),
        case("a form", &*named, 415, "Content-Type")
            .with(&[("content-type", "application/x-www-form-urlencoded")]),
        case("plain text", &*named, 415, "Content-Type").with(&[("content-type", "text/plain")]),
        case("XML", "<Patient/>", 415, "Content-Type")
            .with(&[("content-type", "application/fhir+xml")]),
        case("XML wanted", &*named, 406, "JSON").with(&[("accept", "application/fhir+xml")]),
    ]
}

fn urls() -> Vec<Case> {
    vec![
        case("unknown path", "", 404, "no such URL").at(Method::GET, "/fhir/a/b/c/d/e"),
        case("unknown type", "", 404, "type").at(Method::GET, "/fhir/Pacient/1"),
        case("impossible id", "", 400, "64 letters").at(Method::GET, "/fhir/Patient/a_b"),
        case("NUL in the URL", "", 400, "control").at(Method::GET, "/fhir/Patient/a%00b"),
        case("long id", "", 400, "64 letters").at(
            Method::GET,
            concat!(
                "/fhir/Patient/",
                "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
            ),
        ),
        case("no such version", "", 404, "no version")
            .at(Method::GET, "/fhir/Patient/there/_history/99"),
        case("a version that is no number", "", 404, "no version")
            .at(Method::GET, "/fhir/Patient/there/_history/first"),
        case("wrong method", "{}", 405, "GET, PUT, DELETE").at(Method::PATCH, "/fhir/Patient/a"),
        case("bad escape", "", 400, "URL").at(Method::GET, "/fhir/Patient?name=%zz"),
        case("XML by URL", "", 406, "JSON").at(Method::GET, "/fhir/Patient/there?_format=xml"),
        case("search of everything", "", 405, "POST").at(Method::GET, "/fhir?_type=Patient"),
    ]
}

#[tokio::test]
async fn bad_input_gets_a_clear_error_and_disturbs_nothing() {
    let site = TestSite::new("centre");
    site.put("/fhir/Patient/there", &patient("there", "Otieno")).await.expect(201);
    for case in bodies().into_iter().chain(transfers()).chain(urls()) {
        let sent = request(case.method, case.path, case.headers, case.body);
        let reply = site.send(sent).await;
        let text = reply.diagnostics();
        assert_eq!(reply.status.as_u16(), case.status, "{}: {text}", case.name);
        assert!(
            text.to_lowercase().contains(&case.says.to_lowercase()),
            "{}: says {text:?}",
            case.name
        );
        // defect 30: the error is about the record, and does not repeat it.
        assert!(!reply.text().contains("Kamau"), "{}: {text}", case.name);
        assert_eq!(site.sequence(), 1, "{}", case.name);
        site.get("/fhir/Patient/there").await.expect(200);
        site.get("/fhir/Patient/a").await.expect(404);
    }
    site.put("/fhir/Patient/a", &patient("a", "Otieno")).await.expect(201);
}

#[tokio::test]
async fn defect_30_an_error_repeats_nothing_of_the_record() {
    let site = TestSite::new("centre");
    let bodies = [
        patient("b", SECRET).to_string(),
        patient("a", SECRET).to_string().replace("\"id\"", &format!("\"{SECRET}\": x, \"id\"")),
        format!("{{\"resourceType\":\"{SECRET}\",\"id\":\"a\"}}"),
        format!("{{\"resourceType\":\"Patient\",\"id\":\"{SECRET} a\"}}"),
        format!("{{\"{SECRET}\":1,\"{SECRET}\":1}}"),
    ];
    for body in bodies {
        let reply = site.ask(Method::PUT, "/fhir/Patient/a", &[], body).await;
        assert!(reply.status.is_client_error());
        assert!(!reply.text().contains("Kamau"), "{}", reply.text());
    }
    let path = format!("/fhir/Patient?birthdate={SECRET}&identifier={SECRET}|");
    let reply = site.get(&path).await.expect(400);
    assert!(!reply.text().contains("Kamau"), "{}", reply.text());
}

#[tokio::test]
async fn a_body_that_comes_too_slowly_is_given_up() {
    let site = TestSite::new("centre");
    let drip = futures::stream::unfold((), |()| async {
        futures::future::pending::<()>().await;
        Some((Ok::<_, std::io::Error>(Bytes::from_static(b" ")), ()))
    });
    let sent = Request::put("/fhir/Patient/a")
        .header("content-type", "application/fhir+json")
        .body(Body::from_stream(drip))
        .unwrap();
    let wait = async {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        site.clock.advance(60_000);
    };
    let (reply, ()) = tokio::join!(site.send(sent), wait);
    let text = reply.expect(408).diagnostics();
    assert!(text.contains("request_seconds = 60"), "{text}");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_refused() {
    let site = TestSite::new("centre");
    let half = futures::stream::iter([
        Ok(Bytes::from(with_name("a"))),
        Err(std::io::Error::other("the link broke")),
    ]);
    let sent = Request::put("/fhir/Patient/a")
        .header("content-type", "application/fhir+json")
        .body(Body::from_stream(half))
        .unwrap();
    site.send(sent).await.expect(400);
    site.get("/fhir/Patient/a").await.expect(404);
}
