//! Who may read and write what.

use axum::http::Method;
use protocol::cohort::Definition;
use serde_json::json;
use store::TokenScope;

use super::harness::{Reply, TestSite, request};
use super::{ids, observation, patient};

/// A centre with two patients, one of whom the child `east` may hold.
async fn centre() -> (TestSite, String) {
    let site = TestSite::new("centre");
    for id in ["mine", "foreign"] {
        site.put(&format!("/fhir/Patient/{id}"), &patient(id, "Otieno")).await.expect(201);
        let of = observation(&format!("of-{id}"), id, 120);
        site.put(&format!("/fhir/Observation/of-{id}"), &of).await.expect(201);
    }
    let place = json!({"resourceType": "Location", "id": "ward"});
    site.put("/fhir/Location/ward", &place).await.expect(201);
    let task = json!({"resourceType": "Task", "id": "nobodys"});
    site.put("/fhir/Task/nobodys", &task).await.expect(201);
    let mine = ["Patient/mine".parse().unwrap()].into();
    site.cohort("east", Definition::Patients { patients: mine });
    let credential = site.child("east", &["east"]);
    (site, credential)
}

async fn as_child(site: &TestSite, credential: &str, method: Method, path: &str) -> Reply {
    let bearer = format!("Bearer {credential}");
    let body =
        if method == Method::PUT { patient("mine", "Achieng").to_string() } else { "".into() };
    let sent = request(method, path, &[("authorization", &bearer)], body);
    site.send_from("10.0.0.7:5000", sent).await
}

#[tokio::test]
async fn defect_28_a_child_reads_its_cohorts_and_nothing_else_on_every_route() {
    let (site, credential) = centre().await;
    let get = async |path: &str| as_child(&site, &credential, Method::GET, path).await;
    for path in [
        "/fhir/Patient/mine",
        "/fhir/Observation/of-mine",
        "/fhir/Location/ward",
        "/fhir/Patient/mine/_history",
        "/fhir/Patient/mine/_history/1",
        "/fhir/Patient/mine/$everything",
    ] {
        get(path).await.expect(200);
    }
    for path in [
        "/fhir/Patient/foreign",
        "/fhir/Observation/of-foreign",
        "/fhir/Task/nobodys",
        "/fhir/Patient/foreign/_history",
        "/fhir/Patient/foreign/_history/3",
        "/fhir/Patient/foreign/$everything",
    ] {
        let refused = get(path).await.expect(404);
        let unknown = get(&path.replace("foreign", "unknown").replace("nobodys", "unknown")).await;
        let same = |reply: &Reply| reply.text().replace("foreign", "?").replace("unknown", "?");
        assert_eq!(same(&refused).replace("nobodys", "?"), same(&unknown), "{path}");
    }
    for (path, seen) in [
        ("/fhir/Patient", "mine"),
        ("/fhir/Patient?name=otieno&_total=accurate", "mine"),
        ("/fhir/Patient?_id=foreign", ""),
        ("/fhir/Observation", "of-mine"),
        ("/fhir/Observation?patient=foreign", ""),
        ("/fhir/Observation?patient=mine,foreign&_total=accurate", "of-mine"),
        ("/fhir/Task", ""),
    ] {
        let bundle = get(path).await.expect(200).json();
        assert_eq!(ids(&bundle).join(" "), seen, "{path}");
        assert_eq!(bundle["total"], ids(&bundle).len(), "{path}");
    }
    for path in ["/fhir/_history", "/fhir/Patient/_history", "/fhir/Observation/_history"] {
        let history = get(path).await.expect(200).text();
        assert!(history.contains("mine") && !history.contains("foreign"), "{path}: {history}");
        assert!(!history.contains("nobodys"), "{path}");
    }
}

#[tokio::test]
async fn defect_28_a_record_that_moved_to_a_childs_patient_brings_nothing_from_before() {
    let (site, credential) = centre().await;
    let get = async |path: &str| as_child(&site, &credential, Method::GET, path).await;
    let before = site.put("/fhir/Observation/o", &observation("o", "foreign", 97)).await;
    let moved = site.put("/fhir/Observation/o", &observation("o", "mine", 120)).await;
    let version = |reply: Reply| {
        reply.header("etag").trim_matches(|c: char| !c.is_ascii_digit()).parse::<u64>().unwrap()
    };
    let (before, moved) = (version(before), version(moved));
    get("/fhir/Observation/o").await.expect(200);
    get(&format!("/fhir/Observation/o/_history/{moved}")).await.expect(200);
    assert!(!site.has_audited("child:east", "denied", "Observation/o"));
    let refused = get(&format!("/fhir/Observation/o/_history/{before}")).await.expect(404);
    let unknown = get("/fhir/Observation/o/_history/999").await.expect(404);
    assert_eq!(refused.text().replace(&before.to_string(), "999"), unknown.text());
    assert!(site.has_audited("child:east", "denied", "Observation/o"));
    for path in ["/fhir/Observation/o/_history", "/fhir/Observation/_history", "/fhir/_history"] {
        for path in [
            path.to_owned(),
            format!("{path}?_count=1"),
            format!("{path}?_since=2000-01-01T00:00:00Z"),
        ] {
            let history = get(&path).await.expect(200);
            let text = history.text();
            assert!(!text.contains("foreign") && !text.contains("97"), "{path}: {text}");
        }
    }
    let whole = get("/fhir/Observation/o/_history").await.json();
    assert_eq!((&whole["total"], ids(&whole).len()), (&json!(1), 1), "{whole}");
    let all = site.get("/fhir/Observation/o/_history").await.json();
    assert_eq!(all["total"], 2, "who may see both patients sees both versions: {all}");
}

#[tokio::test]
async fn each_access_that_is_denied_is_in_the_audit() {
    let (site, credential) = centre().await;
    for (method, path, subject) in [
        (Method::GET, "/fhir/Patient/foreign", "Patient/foreign"),
        (Method::GET, "/fhir/Observation/of-foreign/_history", "Observation/of-foreign"),
        (Method::PUT, "/fhir/Patient/mine", "Patient/mine"),
        (Method::POST, "/fhir/Condition", "Condition"),
    ] {
        assert!(!site.has_audited("child:east", "denied", subject), "{path}");
        as_child(&site, &credential, method, path).await;
        assert!(site.has_audited("child:east", "denied", subject), "{path}");
    }
    as_child(&site, &credential, Method::GET, "/fhir/Patient/unknown").await.expect(404);
    assert!(!site.has_audited("child:east", "denied", "Patient/unknown"));
}

#[tokio::test]
async fn defect_28_a_transaction_of_reads_shows_a_child_no_more_than_reads_do() {
    let (site, credential) = centre().await;
    let sent = json!({"resourceType": "Bundle", "type": "batch", "entry": [
        {"request": {"method": "GET", "url": "Patient/mine"}},
        {"request": {"method": "GET", "url": "Patient/foreign"}},
        {"request": {"method": "GET", "url": "Patient?name=otieno"}},
        {"request": {"method": "DELETE", "url": "Patient/mine"}},
    ]});
    let bearer = format!("Bearer {credential}");
    let headers = [("authorization", &*bearer)];
    let sent = request(Method::POST, "/fhir", &headers, sent.to_string());
    let response = site.send(sent).await.expect(200).json();
    let status = |index: usize| response["entry"][index]["response"]["status"].to_string();
    assert!(status(0).contains("200") && status(1).contains("404"), "{response}");
    assert_eq!(ids(&response["entry"][2]["resource"]), ["mine"]);
    assert!(status(3).contains("403"), "{response}");
}

#[tokio::test]
async fn a_child_may_not_write_by_this_api_and_a_reading_program_neither() {
    let (site, child) = centre().await;
    let reader = site.token("dashboard", TokenScope::FhirRead);
    let writer = site.token("registry", TokenScope::FhirWrite);
    let before = site.sequence();
    for credential in [&child, &reader] {
        for (method, path) in [
            (Method::PUT, "/fhir/Patient/mine"),
            (Method::PUT, "/fhir/Patient?name=otieno"),
            (Method::DELETE, "/fhir/Patient/mine"),
            (Method::DELETE, "/fhir/Patient?name=otieno"),
            (Method::DELETE, "/fhir/Patient/foreign"),
            (Method::POST, "/fhir/Patient"),
        ] {
            as_child(&site, credential, method, path).await.expect(403).diagnostics();
        }
    }
    assert_eq!(site.sequence(), before);
    as_child(&site, &reader, Method::GET, "/fhir/Patient/foreign").await.expect(200);
    as_child(&site, &writer, Method::PUT, "/fhir/Patient/mine").await.expect(200);
    assert_eq!(site.sequence(), before + 1);
}

#[tokio::test]
async fn who_is_nobody_gets_nothing_but_the_capabilities() {
    let (site, child) = centre().await;
    let revoked = site.token("old", TokenScope::FhirWrite);
    site.store.token_revoke("old", site.now()).unwrap();
    site.store.child_revoke(&"east".parse().unwrap(), site.now()).unwrap();
    for credential in [&*revoked, &*child, "made-up"] {
        let refused = as_child(&site, credential, Method::GET, "/fhir/Patient/mine").await;
        let refused = refused.expect(401);
        assert!(refused.header("www-authenticate").starts_with("Bearer"));
        assert!(!refused.diagnostics().contains(credential));
    }
    for (address, header, status) in [
        ("10.0.0.7:5000", ("accept", "*/*"), 401),
        ("127.0.0.1:5000", ("accept", "*/*"), 200),
        ("127.0.0.1:5000", ("x-forwarded-for", "10.0.0.7"), 401),
        ("127.0.0.1:5000", ("authorization", "Basic YWRtaW46YWRtaW4="), 401),
    ] {
        let sent = request(Method::GET, "/fhir/Patient/mine", &[header], "");
        site.send_from(address, sent).await.expect(status);
    }
    let sent = request(Method::GET, "/fhir/metadata", &[], "");
    site.send_from("10.0.0.7:5000", sent).await.expect(200);
}

#[tokio::test]
async fn without_the_setting_this_machine_needs_a_credential_too() {
    let site = TestSite::with("centre", |config| config.open_on_loopback = false);
    site.get("/fhir/Patient").await.expect(401);
}

#[tokio::test]
async fn each_reading_of_a_timeline_is_in_the_audit_as_is_each_that_is_denied() {
    let (site, credential) = centre().await;
    let get = async |path: &str| as_child(&site, &credential, Method::GET, path).await;
    let noted = |action, patient: &str| {
        site.has_audited("child:east", action, &format!("Patient/{patient}"))
    };
    assert!(!noted("timeline", "mine") && !noted("denied", "foreign"));
    get("/sync/patients/mine/timeline").await.expect(200);
    assert!(noted("timeline", "mine") && !noted("denied", "mine"));
    get("/sync/patients/foreign/timeline").await.expect(404);
    assert!(noted("denied", "foreign") && !noted("timeline", "foreign"));
    get("/sync/patients/unknown/timeline").await.expect(404);
    assert!(!noted("denied", "unknown") && !noted("timeline", "unknown"));
    let token = site.token("reader", TokenScope::FhirRead);
    as_child(&site, &token, Method::GET, "/sync/patients/foreign/timeline").await.expect(200);
    assert!(site.has_audited("program:reader", "timeline", "Patient/foreign"));
}
