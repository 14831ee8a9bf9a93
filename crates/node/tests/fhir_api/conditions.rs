//! Preconditions: If-Match, If-None-Match, If-None-Exist and conditional updates and deletions.

use axum::http::Method;
use serde_json::{Value, json};

use super::harness::{Reply, TestSite};
use super::patient;

async fn put(site: &TestSite, headers: &[(&str, &str)], body: &Value) -> Reply {
    site.ask(Method::PUT, "/fhir/Patient/a", headers, body.to_string()).await
}

fn numbered(number: &str, family: &str) -> Value {
    json!({
        "resourceType": "Patient",
        "identifier": [{"system": "urn:openmrs", "value": number}],
        "name": [{"family": family}],
    })
}

#[tokio::test]
async fn a_reader_who_has_the_version_gets_no_body() {
    let site = TestSite::new("centre");
    site.put("/fhir/Patient/a", &patient("a", "Otieno")).await.expect(201);
    let read = async |tag: &str| {
        site.ask(Method::GET, "/fhir/Patient/a", &[("if-none-match", tag)], "").await
    };
    let same = read("W/\"1\"").await.expect(304);
    assert!(same.body.is_empty());
    assert_eq!(same.header("etag"), "W/\"1\"");
    read("W/\"9\", W/\"1\"").await.expect(304);
    read("W/\"2\"").await.expect(200);
}

#[tokio::test]
async fn an_update_of_another_version_than_expected_is_refused() {
    let site = TestSite::new("centre");
    put(&site, &[], &patient("a", "Otieno")).await.expect(201);
    put(&site, &[("if-match", "W/\"1\"")], &patient("a", "Achieng")).await.expect(200);
    let stale = put(&site, &[("if-match", "W/\"1\"")], &patient("a", "Wanjiru")).await.expect(412);
    assert!(stale.diagnostics().contains("Patient/a"), "{}", stale.text());
    put(&site, &[("if-match", "last one")], &patient("a", "Wanjiru")).await.expect(400);
    let headers = [("if-match", "W/\"1\"")];
    site.ask(Method::DELETE, "/fhir/Patient/a", &headers, "").await.expect(412);
    assert_eq!(site.get("/fhir/Patient/a").await.json()["name"][0]["family"], "Achieng");
    site.ask(Method::DELETE, "/fhir/Patient/a", &[("if-match", "W/\"2\"")], "").await.expect(204);
    put(&site, &[("if-match", "*")], &patient("a", "Otieno")).await.expect(412);
}

#[tokio::test]
async fn a_create_only_update_leaves_what_is_there() {
    let site = TestSite::new("centre");
    put(&site, &[("if-none-match", "*")], &patient("a", "Otieno")).await.expect(201);
    put(&site, &[("if-none-match", "*")], &patient("a", "Achieng")).await.expect(412);
    assert_eq!(site.sequence(), 1);
}

#[tokio::test]
async fn a_record_is_created_once_where_that_is_the_condition() {
    let site = TestSite::new("centre");
    let create = async |criteria: &str, number: &str| {
        let body = numbered(number, "Otieno").to_string();
        site.ask(Method::POST, "/fhir/Patient", &[("if-none-exist", criteria)], body).await
    };
    let first = create("identifier=urn:openmrs|10", "10").await.expect(201);
    let second = create("identifier=urn%3Aopenmrs%7C10", "10").await.expect(200);
    assert_eq!(second.json()["id"], first.json()["id"]);
    assert_eq!(site.sequence(), 1);
    create("Patient?identifier=urn:openmrs|11", "11").await.expect(201);
    create("name=Otieno", "12").await.expect(412);
    create("nome=Otieno", "12").await.expect(400);
    create("", "12").await.expect(412);
    assert_eq!(site.sequence(), 2);
}

#[tokio::test]
async fn of_many_who_create_at_once_under_one_condition_one_does() {
    let site = TestSite::new("centre");
    let create = async |_| {
        let headers = [("if-none-exist", "identifier=urn:openmrs|10")];
        let body = numbered("10", "Otieno").to_string();
        site.ask(Method::POST, "/fhir/Patient", &headers, body).await.status.as_u16()
    };
    let mut statuses = futures::future::join_all((0..8).map(create)).await;
    statuses.sort_unstable();
    assert_eq!(statuses.pop(), Some(201));
    assert!(statuses.iter().all(|status| matches!(status, 200 | 409)), "{statuses:?}");
    assert_eq!(site.sequence(), 1);
}

#[tokio::test]
async fn a_record_is_updated_and_deleted_by_what_it_matches() {
    let site = TestSite::new("centre");
    let path = "/fhir/Patient?identifier=urn:openmrs%7C10";
    let created = site.put(path, &numbered("10", "Otieno")).await.expect(201);
    let id = created.json()["id"].clone();
    let updated = site.put(path, &numbered("10", "Achieng")).await.expect(200);
    assert_eq!(updated.json()["id"], id);
    let mut other = numbered("10", "Wanjiru");
    other["id"] = "other".into();
    site.put(path, &other).await.expect(400);
    site.put("/fhir/Patient", &other).await.expect(412);
    site.put("/fhir/Patient/second", &{
        let mut second = numbered("10", "Wanjiru");
        second["id"] = "second".into();
        second
    })
    .await
    .expect(201);
    site.put(path, &numbered("10", "Achieng")).await.expect(412);
    site.delete(path).await.expect(412);
    site.delete("/fhir/Patient/second").await.expect(204);
    site.delete(path).await.expect(204);
    site.delete(path).await.expect(204);
    site.get(&format!("/fhir/Patient/{}", id.as_str().unwrap())).await.expect(410);
    site.delete("/fhir/Patient").await.expect(412);
    site.delete("/fhir/Patient?_lastUpdated=ge2000").await.expect(412);
}
