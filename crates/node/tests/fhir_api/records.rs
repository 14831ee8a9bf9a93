//! Creating, reading, updating and deleting.

use axum::http::Method;
use serde_json::json;

use super::harness::TestSite;
use super::{observation, patient};

#[tokio::test]
async fn a_record_is_created_read_updated_and_deleted() {
    let site = TestSite::new("centre");
    let created = site.post("/fhir/Patient", &patient("ignored", "Otieno")).await.expect(201);
    let id = created.json()["id"].as_str().unwrap().to_owned();
    assert_ne!(id, "ignored", "the server assigns the id");
    assert_eq!(id.len(), 36);
    assert_eq!(
        created.header("location"),
        format!("https://centre.example/fhir/Patient/{id}/_history/1")
    );
    assert_eq!(created.header("etag"), "W/\"1\"");
    assert_eq!(created.header("last-modified"), "Mon, 23 Nov 2026 08:15:30 GMT");
    let path = format!("/fhir/Patient/{id}");

    let read = site.get(&path).await.expect(200);
    assert_eq!(read.header("content-type"), "application/fhir+json; charset=utf-8");
    assert_eq!(read.header("etag"), "W/\"1\"");
    assert_eq!(read.json()["meta"]["versionId"], "1");
    assert_eq!(read.json()["meta"]["lastUpdated"], "2026-11-23T08:15:30Z");
    assert_eq!(read.json()["name"][0]["family"], "Otieno");

    let updated = site.put(&path, &patient(&id, "Achieng")).await.expect(200);
    assert_eq!(updated.header("etag"), "W/\"2\"");
    assert_eq!(site.get(&path).await.json()["name"][0]["family"], "Achieng");
    let old = site.get(&format!("{path}/_history/1")).await.expect(200);
    assert_eq!(old.json()["name"][0]["family"], "Otieno");

    site.delete(&path).await.expect(204);
    assert!(site.get(&path).await.expect(410).diagnostics().contains(&id));
    site.get(&format!("{path}/_history/3")).await.expect(410);
    site.get(&format!("{path}/_history/2")).await.expect(200);
    site.delete(&path).await.expect(204);
    assert_eq!(site.sequence(), 3, "deleting twice is one deletion");
}

#[tokio::test]
async fn an_update_creates_what_is_not_there() {
    let site = TestSite::new("centre");
    site.put("/fhir/Patient/p.1-A", &patient("p.1-A", "Otieno")).await.expect(201);
    site.get("/fhir/Patient/p.1-A").await.expect(200);
    site.get("/fhir/Patient/p.1-a").await.expect(404);
}

#[tokio::test]
async fn a_write_that_changes_nothing_makes_no_version() {
    let site = TestSite::new("centre");
    let body = patient("a", "Otieno");
    site.put("/fhir/Patient/a", &body).await.expect(201);
    let shown = site.get("/fhir/Patient/a").await.json();
    for same in [body, shown] {
        let again = site.put("/fhir/Patient/a", &same).await.expect(200);
        assert_eq!(again.header("etag"), "W/\"1\"");
    }
    assert_eq!(site.sequence(), 1);
}

#[tokio::test]
async fn deleting_what_never_was_is_no_change() {
    let site = TestSite::new("centre");
    site.delete("/fhir/Patient/nobody").await.expect(204);
    assert_eq!(site.sequence(), 0);
    site.get("/fhir/Patient/nobody").await.expect(404);
}

#[tokio::test]
async fn defect_20_a_deleted_record_comes_back_by_an_update() {
    let site = TestSite::new("centre");
    site.put("/fhir/Patient/a", &patient("a", "Otieno")).await.expect(201);
    site.delete("/fhir/Patient/a").await.expect(204);
    let back = site.put("/fhir/Patient/a", &patient("a", "Otieno")).await;
    assert!(back.status.is_success(), "{}", back.text());
    let read = site.get("/fhir/Patient/a").await.expect(200);
    assert_eq!(read.json()["meta"]["versionId"], "3");
    let history = site.get("/fhir/Patient/a/_history").await.expect(200).json();
    assert_eq!(history["total"], 3);
}

#[tokio::test]
async fn defect_20_retiring_and_merging_are_carried_like_any_other_element() {
    let site = TestSite::new("centre");
    let body = json!({
        "resourceType": "Patient", "id": "a", "active": false,
        "link": [{"other": {"reference": "Patient/b"}, "type": "replaced-by"}],
    });
    site.put("/fhir/Patient/a", &body).await.expect(201);
    let read = site.get("/fhir/Patient/a").await.json();
    assert_eq!((&read["active"], &read["link"]), (&body["active"], &body["link"]));
}

#[tokio::test]
async fn defect_21_a_birth_date_is_the_text_that_was_sent() {
    let site = TestSite::new("centre");
    for (id, date) in [("a", "1990"), ("b", "1990-03"), ("c", "1990-03-01")] {
        let body = json!({"resourceType": "Patient", "id": id, "birthDate": date});
        site.put(&format!("/fhir/Patient/{id}"), &body).await.expect(201);
        assert_eq!(site.get(&format!("/fhir/Patient/{id}")).await.json()["birthDate"], date);
        let found = site.get(&format!("/fhir/Patient?birthdate=eq{date}")).await.json();
        assert!(super::ids(&found).contains(&id.to_owned()), "{date}: {found}");
    }
    let body = json!({"resourceType": "Observation", "id": "o",
        "effectiveDateTime": "2026-11-20T23:30:00+03:00"});
    site.put("/fhir/Observation/o", &body).await.expect(201);
    let read = site.get("/fhir/Observation/o").await.json();
    assert_eq!(read["effectiveDateTime"], "2026-11-20T23:30:00+03:00");
}

#[tokio::test]
async fn defect_22_two_edits_in_one_second_are_two_versions() {
    let site = TestSite::new("centre");
    for family in ["Otieno", "Achieng", "Wanjiru"] {
        site.put("/fhir/Patient/a", &patient("a", family)).await;
    }
    let families: Vec<_> = {
        let history = site.get("/fhir/Patient/a/_history").await.json();
        let entries = history["entry"].as_array().unwrap().clone();
        entries.iter().map(|e| e["resource"]["name"][0]["family"].to_string()).collect()
    };
    assert_eq!(families, ["\"Wanjiru\"", "\"Achieng\"", "\"Otieno\""]);
}

#[tokio::test]
async fn defect_23_nothing_is_dropped_because_we_do_not_know_it() {
    let site = TestSite::new("centre");
    // Number literals, key order, escapes, unknown elements and extensions on plain values.
    let body = concat!(
        r#"{"zebra":{"b":1,"a":[null,{"x":1.00,"y":1e2,"z":-0.0}]},"resourceType":"Patient","#,
        r#""id":"a","_birthDate":{"extension":[{"url":"u","valueBoolean":true}]},"#,
        r#""name":[{"id":"n1","given":["Caf\u00e9","Én"],"_given":[null,{"id":"g"}]}],"#,
        r#""identifier":[{"value":"1","extension":[{"url":"location","valueString":"Ward 3"}]}]}"#,
    );
    site.ask(Method::PUT, "/fhir/Patient/a", &[], body).await.expect(201);
    let read = site.get("/fhir/Patient/a").await.text();
    let meta = r#""meta":{"versionId":"1","lastUpdated":"2026-11-23T08:15:30Z"},"#;
    assert!(read.contains(meta), "{read}");
    assert_eq!(read.replace(meta, ""), body);
}

#[tokio::test]
async fn defect_24_a_long_value_is_kept_whole() {
    let site = TestSite::new("centre");
    let long = "ä".repeat(500_000);
    let body = json!({"resourceType": "Patient", "id": "a",
        "name": [{"family": long}], "identifier": [{"system": "urn:x", "value": long}]});
    site.put("/fhir/Patient/a", &body).await.expect(201);
    let read = site.get("/fhir/Patient/a").await.json();
    assert_eq!(read["name"][0]["family"].as_str(), Some(&*long));
    assert_eq!(read["identifier"][0]["value"].as_str(), Some(&*long));
}

#[tokio::test]
async fn defect_25_free_text_may_hold_anything_but_nul() {
    let site = TestSite::new("centre");
    let text = "a,b|c$d\\e]]>f<g>&amp;\"'\t\r\n\u{1}\u{7f}\u{2028}\u{feff}💊";
    let body = json!({"resourceType": "Patient", "id": "a", "name": [{"text": text}]});
    site.put("/fhir/Patient/a", &body).await.expect(201);
    assert_eq!(site.get("/fhir/Patient/a").await.json()["name"][0]["text"], text);
    let history = site.get("/fhir/Patient/a/_history").await.json();
    assert_eq!(history["entry"][0]["resource"]["name"][0]["text"], text);
}

#[tokio::test]
async fn defect_34_reads_make_no_change() {
    let site = TestSite::new("centre");
    site.put("/fhir/Patient/a", &patient("a", "Otieno")).await.expect(201);
    site.put("/fhir/Observation/o", &observation("o", "a", 120)).await.expect(201);
    let before = site.sequence();
    for path in [
        "/fhir/metadata",
        "/fhir/Patient/a",
        "/fhir/Patient/a/_history",
        "/fhir/Patient/a/_history/1",
        "/fhir/Patient/_history",
        "/fhir/_history?_count=1",
        "/fhir/Patient?name=o&_total=accurate",
        "/fhir/Observation?patient=a&_sort=-_lastUpdated",
        "/fhir/Patient/a/$everything",
    ] {
        site.get(path).await.expect(200);
    }
    site.get("/fhir/Patient/nobody").await.expect(404);
    assert_eq!(site.sequence(), before);
    let seen = site.get("/fhir/Patient/a").await;
    assert_eq!(seen.header("etag"), "W/\"1\"");
}

#[tokio::test]
async fn head_gives_the_headers_of_get_without_its_body() {
    let site = TestSite::new("centre");
    site.put("/fhir/Patient/a", &patient("a", "Otieno")).await.expect(201);
    let get = site.get("/fhir/Patient/a").await;
    let head = site.ask(Method::HEAD, "/fhir/Patient/a", &[], "").await.expect(200);
    assert!(head.body.is_empty());
    for name in ["etag", "last-modified", "content-type", "content-length"] {
        assert_eq!(head.header(name), get.header(name), "{name}");
    }
    let gone = site.ask(Method::HEAD, "/fhir/Patient/b", &[], "").await.expect(404);
    assert!(gone.body.is_empty());
}

#[tokio::test]
async fn a_long_answer_is_compressed_where_the_caller_takes_it() {
    use std::io::Read;
    let site = TestSite::new("centre");
    let body = patient("a", &"Otieno ".repeat(1_000));
    site.put("/fhir/Patient/a", &body).await.expect(201);
    let plain = site.get("/fhir/Patient/a").await;
    assert_eq!(plain.header("content-encoding"), "");
    let packed =
        site.ask(Method::GET, "/fhir/Patient/a", &[("accept-encoding", "br, gzip")], "").await;
    assert_eq!(packed.header("content-encoding"), "gzip");
    assert!(packed.body.len() * 10 < plain.body.len());
    let mut text = String::new();
    flate2::read::GzDecoder::new(&packed.body[..]).read_to_string(&mut text).unwrap();
    assert_eq!(text, plain.text());
}

#[tokio::test]
async fn prefer_says_what_a_write_answers_with() {
    let site = TestSite::new("centre");
    let write = async |prefer: &str, family: &str| {
        let body = patient("a", family).to_string();
        site.ask(Method::PUT, "/fhir/Patient/a", &[("prefer", prefer)], body).await
    };
    assert!(write("return=minimal", "Otieno").await.expect(201).body.is_empty());
    let shown = write("respond-async, return=representation", "Achieng").await.expect(200);
    assert_eq!(shown.json()["meta"]["versionId"], "2");
    let outcome = write("return=OperationOutcome", "Wanjiru").await.expect(200);
    assert_eq!(outcome.diagnostics(), "Patient/a is stored");
    assert_eq!(outcome.header("etag"), "W/\"3\"");
}

#[tokio::test]
async fn a_compressed_body_is_read_like_a_plain_one() {
    use std::io::Write;
    let site = TestSite::new("centre");
    let text = patient("a", "Otieno").to_string();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(text.as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(text.as_bytes(), 3).unwrap();
    for (encoding, body, status) in [("gzip", gzip, 201), ("zstd", zstd, 200)] {
        let headers = [("content-encoding", encoding)];
        site.ask(Method::PUT, "/fhir/Patient/a", &headers, body).await.expect(status);
    }
}

/// A clock that breaks.
struct BrokenClock;

impl node::ports::Clock for BrokenClock {
    fn now(&self) -> protocol::Timestamp {
        panic!("the clock is broken")
    }
    fn sleep(&self, _: u64) -> futures::future::BoxFuture<'static, ()> {
        Box::pin(futures::future::pending())
    }
}

#[tokio::test]
async fn a_fault_of_ours_is_answered_like_any_other_error() {
    let mut site = TestSite::new("centre");
    let clock = std::sync::Arc::new(BrokenClock);
    let broken = site.with_clock(clock);
    let good = std::mem::replace(&mut site.site, broken);
    site.put("/fhir/Patient/a", &patient("a", "Otieno")).await.expect(500).diagnostics();
    site.site = good;
    site.put("/fhir/Patient/a", &patient("a", "Otieno")).await.expect(201);
}
