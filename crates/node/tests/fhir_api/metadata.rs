//! The CapabilityStatement tells the truth: whatever it claims is tried.

use axum::http::Method;
use serde_json::{Value, json};

use super::harness::TestSite;
use super::patient;

fn codes(list: &Value) -> Vec<&str> {
    let items = list.as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().map(|item| item["code"].as_str().unwrap()).collect()
}

async fn statement(site: &TestSite) -> Value {
    site.get("/fhir/metadata").await.expect(200).json()
}

#[tokio::test]
async fn the_capability_statement_is_one() {
    let site = TestSite::new("centre");
    let said = statement(&site).await;
    assert_eq!(said["resourceType"], "CapabilityStatement");
    assert_eq!(said["fhirVersion"], "4.0.1");
    assert_eq!(said["implementation"]["url"], "https://centre.example/fhir");
    assert_eq!(said["rest"][0]["resource"].as_array().unwrap().len(), 146);
}

#[tokio::test]
async fn each_claimed_interaction_of_each_type_is_there() {
    let site = TestSite::new("centre");
    let said = statement(&site).await;
    for resource in said["rest"][0]["resource"].as_array().unwrap() {
        let kind = resource["type"].as_str().unwrap();
        let body = json!({"resourceType": kind, "id": "x"});
        for code in codes(&resource["interaction"]) {
            let one = format!("/fhir/{kind}/x");
            let reply = match code {
                "create" => site.post(&format!("/fhir/{kind}"), &body).await,
                "update" => site.put(&one, &body).await,
                "read" => {
                    site.put(&one, &body).await;
                    site.get(&one).await
                }
                "vread" => {
                    let tag = site.put(&one, &body).await.header("etag").to_owned();
                    site.get(&format!("{one}/_history/{}", tag.trim_matches(['W', '/', '"']))).await
                }
                "history-instance" => {
                    site.put(&one, &body).await;
                    site.get(&format!("{one}/_history")).await
                }
                "history-type" => site.get(&format!("/fhir/{kind}/_history")).await,
                "search-type" => site.get(&format!("/fhir/{kind}")).await,
                "delete" => site.delete(&one).await,
                other => panic!("{other} is claimed and not tried here"),
            };
            assert!(reply.status.is_success(), "{code} of {kind}: {}", reply.text());
        }
    }
}

#[tokio::test]
async fn each_claimed_search_parameter_is_understood_and_no_other() {
    let site = TestSite::new("centre");
    let said = statement(&site).await;
    let every = [
        "birthdate",
        "code",
        "date",
        "encounter",
        "family",
        "gender",
        "given",
        "identifier",
        "name",
        "patient",
        "subject",
        "_id",
        "_lastUpdated",
    ];
    let mut claimed_somewhere = 0;
    for resource in said["rest"][0]["resource"].as_array().unwrap() {
        let kind = resource["type"].as_str().unwrap();
        let params = resource["searchParam"].as_array().unwrap();
        let claimed: Vec<_> = params.iter().map(|p| p["name"].as_str().unwrap()).collect();
        for name in every {
            let value = if name.contains("date") || name == "_lastUpdated" { "2026" } else { "x" };
            let status = site.get(&format!("/fhir/{kind}?{name}={value}")).await.status.as_u16();
            let expected = if claimed.contains(&name) { 200 } else { 400 };
            assert_eq!(status, expected, "{name} of {kind}");
        }
        claimed_somewhere += claimed.len();
        assert!(claimed.iter().all(|name| every.contains(name)), "{kind}");
    }
    assert!(claimed_somewhere > 146 * 3);
}

#[tokio::test]
async fn each_claim_about_conditions_and_the_whole_system_holds() {
    let site = TestSite::new("centre");
    let said = statement(&site).await;
    let rest = &said["rest"][0];
    assert_eq!(codes(&rest["interaction"]), ["transaction", "batch", "history-system"]);
    for kind in ["transaction", "batch"] {
        let bundle = json!({"resourceType": "Bundle", "type": kind});
        site.post("/fhir", &bundle).await.expect(200);
    }
    site.get("/fhir/_history").await.expect(200);

    let resources = rest["resource"].as_array().unwrap();
    let of_patients = resources.iter().find(|r| r["type"] == "Patient").unwrap();
    for (name, value) in [
        ("conditionalCreate", json!(true)),
        ("conditionalRead", json!("not-match")),
        ("conditionalUpdate", json!(true)),
        ("conditionalDelete", json!("single")),
        ("updateCreate", json!(true)),
        ("readHistory", json!(true)),
        ("versioning", json!("versioned-update")),
    ] {
        assert_eq!(of_patients[name], value, "{name}");
    }
    let body = patient("x", "Otieno").to_string();
    let found = [("if-none-exist", "name=otieno")];
    site.ask(Method::POST, "/fhir/Patient", &found, body.clone()).await.expect(201);
    site.ask(Method::POST, "/fhir/Patient", &found, body.clone()).await.expect(200);
    let stale = [("if-match", "W/\"99\"")];
    site.put("/fhir/Patient/x", &patient("x", "Achieng")).await.expect(201);
    site.ask(Method::PUT, "/fhir/Patient/x", &stale, body).await.expect(412);
    let known = [("if-none-match", "*")];
    site.ask(Method::GET, "/fhir/Patient/x", &known, "").await.expect(304);
    site.delete("/fhir/Patient?name=achieng").await.expect(204);

    assert_eq!(of_patients["operation"][0]["name"], "everything");
    site.put("/fhir/Patient/x", &patient("x", "Achieng")).await;
    site.get("/fhir/Patient/x/$everything").await.expect(200);
    let others = resources.iter().filter(|r| r.get("operation").is_some()).count();
    assert_eq!(others, 1, "no other type claims an operation");
}
