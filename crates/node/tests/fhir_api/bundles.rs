//! Transactions and batches.

use axum::http::Method;
use serde_json::{Value, json};

use super::harness::TestSite;
use super::{observation, patient};

const A: &str = "urn:uuid:0b9d5b9c-6d27-4a3c-9c8e-6f5ac6b0a001";
const B: &str = "urn:uuid:0b9d5b9c-6d27-4a3c-9c8e-6f5ac6b0a002";

fn bundle(kind: &str, entries: &[Value]) -> Value {
    json!({"resourceType": "Bundle", "type": kind, "entry": entries})
}

fn entry(method: &str, url: &str, resource: Value) -> Value {
    json!({"request": {"method": method, "url": url}, "resource": resource})
}

fn named(full_url: &str, mut entry: Value) -> Value {
    entry["fullUrl"] = full_url.into();
    entry
}

fn request(method: &str, url: &str) -> Value {
    json!({"request": {"method": method, "url": url}})
}

fn statuses(response: &Value) -> Vec<String> {
    let entries = response["entry"].as_array().cloned().unwrap_or_default();
    entries.iter().map(|e| e["response"]["status"].as_str().unwrap()[..3].to_owned()).collect()
}

fn location_id(response: &Value, index: usize) -> String {
    let location = response["entry"][index]["response"]["location"].as_str().unwrap();
    location.split('/').nth(1).unwrap().to_owned()
}

#[tokio::test]
async fn a_transaction_is_one_change_with_its_links_resolved() {
    let site = TestSite::new("centre");
    let mut visit = json!({"resourceType": "Encounter", "status": "finished",
        "subject": {"reference": A}, "text": {"div": format!("<a href=\"{A}\"/>")}});
    visit["extension"] = json!([{"url": "urn:x", "valueUri": A}]);
    let mut one = observation("x", "x", 1);
    one["subject"]["reference"] = A.into();
    one["encounter"] = json!({"reference": B});
    one["identifier"] = json!([{"system": "urn:ietf:rfc:3986", "value": A}]);
    let sent = bundle(
        "transaction",
        &[
            entry("POST", "Observation", one),
            named(B, entry("POST", "Encounter", visit)),
            named(A, entry("POST", "Patient", patient("x", "Otieno"))),
            entry("PUT", "Organization/org", json!({"resourceType": "Organization", "id": "org"})),
        ],
    );
    let response = site.post("/fhir", &sent).await.expect(200).json();
    assert_eq!(response["type"], "transaction-response");
    assert_eq!(statuses(&response), ["201"; 4]);
    assert_eq!(site.sequence(), 1, "one change");
    assert_eq!(response["entry"][0]["response"]["etag"], "W/\"1\"");
    assert_eq!(response["entry"][0]["response"]["lastModified"], "2026-11-23T08:15:30Z");
    let ids: Vec<_> = (0..3).map(|index| location_id(&response, index)).collect();
    let read = site.get(&format!("/fhir/Observation/{}", ids[0])).await.expect(200).json();
    assert_eq!(read["subject"]["reference"], format!("Patient/{}", ids[2]));
    assert_eq!(read["encounter"]["reference"], format!("Encounter/{}", ids[1]));
    assert_eq!(read["identifier"][0]["value"], A, "an identifier is no link");
    let read = site.get(&format!("/fhir/Encounter/{}", ids[1])).await.expect(200).json();
    assert_eq!(read["extension"][0]["valueUri"], format!("Patient/{}", ids[2]));
    assert_eq!(read["text"]["div"], format!("<a href=\"Patient/{}\"/>", ids[2]));
    let found = site.get(&format!("/fhir/Observation?patient={}", ids[2])).await.json();
    assert_eq!(found["total"], 1);
}

#[tokio::test]
async fn a_transaction_with_one_bad_entry_stores_nothing() {
    let site = TestSite::new("centre");
    site.put("/fhir/Patient/there", &patient("there", "Otieno")).await.expect(201);
    let good = || entry("PUT", "Patient/a", patient("a", "Otieno"));
    let mut dangling = observation("o", "a", 1);
    dangling["subject"]["reference"] = B.into();
    let stale = json!({"request": {"method": "PUT", "url": "Patient/there", "ifMatch": "W/\"7\""},
        "resource": patient("there", "Achieng")});
    let mut nowhere = observation("o", "a", 1);
    nowhere["subject"]["reference"] = "Patient?identifier=y".into();
    for (bad, status, says) in [
        (entry("PUT", "Observation/o", dangling), 400, "subject refers to urn:uuid:"),
        (good(), 400, "Patient/a is written by Bundle.entry[0] and by Bundle.entry[1]"),
        (entry("PUT", "Patient/b", patient("c", "x")), 400, "Bundle.entry[1]: the resource is"),
        (entry("PUT", "Patient/b", observation("b", "a", 1)), 400, "Bundle.entry[1]"),
        (entry("PUT", "Pacient/b", patient("b", "x")), 404, "Bundle.entry[1]"),
        (entry("PATCH", "Patient/b", json!({})), 400, "request.method"),
        (entry("PUT", "Observation/o", nowhere), 412, "Bundle.entry[1]: no record matches"),
        (request("PUT", "Patient/b"), 400, "Bundle.entry[1]: a PUT needs a resource"),
        (json!({"resource": patient("b", "x")}), 400, "Bundle.entry[1]: there is no request"),
        (stale, 412, "Patient/there"),
        (request("POST", "/"), 400, "Bundle.entry[1]: a transaction or batch cannot hold"),
    ] {
        let sent = bundle("transaction", &[good(), bad]);
        let refused = site.post("/fhir", &sent).await.expect(status);
        let text = refused.diagnostics();
        assert!(text.contains(says), "{says}: {text}");
        assert_eq!(site.sequence(), 1, "{says}");
    }
    site.get("/fhir/Patient/a").await.expect(404);
    site.post("/fhir", &bundle("transaction", &[good()])).await.expect(200);
}

#[tokio::test]
async fn entries_are_done_in_the_order_of_fhir_and_answered_in_their_own() {
    let site = TestSite::new("centre");
    site.put("/fhir/Patient/old", &patient("old", "Otieno")).await.expect(201);
    let sent = bundle(
        "transaction",
        &[
            request("GET", "Patient?name=otieno"),
            entry("PUT", "Patient/new", patient("new", "Otieno")),
            request("DELETE", "Patient/old"),
            request("GET", "Patient/old"),
            request("GET", "Patient/new"),
            request("DELETE", "Patient/never"),
        ],
    );
    let response = site.post("/fhir/", &sent).await.expect(200).json();
    assert_eq!(statuses(&response), ["200", "201", "204", "410", "200", "204"]);
    assert_eq!(super::ids(&response["entry"][0]["resource"]), ["new"]);
    assert_eq!(response["entry"][4]["resource"]["meta"]["versionId"], "2");
    assert_eq!(response["entry"][3]["response"]["outcome"]["resourceType"], "OperationOutcome");
    assert_eq!(site.sequence(), 2);
}

#[tokio::test]
async fn a_transaction_may_find_instead_of_create_and_refer_to_what_it_found() {
    let site = TestSite::new("centre");
    let doctor = json!({"resourceType": "Practitioner",
        "identifier": [{"system": "urn:staff", "value": "7"}]});
    let create = || {
        let mut entry = named(A, entry("POST", "Practitioner", doctor.clone()));
        entry["request"]["ifNoneExist"] = "identifier=urn:staff|7".into();
        entry
    };
    let visit = |reference: &str| {
        entry(
            "POST",
            "Encounter",
            json!({"resourceType": "Encounter", "status": "finished",
                "participant": [{"individual": {"reference": reference}}]}),
        )
    };
    let by_condition = "Practitioner?identifier=urn:staff|7";
    let first = site.post("/fhir", &bundle("transaction", &[create(), visit(A)])).await;
    let first = first.expect(200).json();
    assert_eq!(statuses(&first), ["201", "201"]);
    let sent = bundle("transaction", &[create(), visit(A), visit(by_condition)]);
    let second = site.post("/fhir", &sent).await.expect(200).json();
    assert_eq!(statuses(&second), ["200", "201", "201"]);
    let doctor = location_id(&first, 0);
    assert_eq!(location_id(&second, 0), doctor);
    for index in [1, 2] {
        let path = format!("/fhir/Encounter/{}", location_id(&second, index));
        let read = site.get(&path).await.json();
        let individual = &read["participant"][0]["individual"]["reference"];
        assert_eq!(*individual, format!("Practitioner/{doctor}"));
    }
}

#[tokio::test]
async fn what_a_transaction_deletes_matches_no_condition_of_it() {
    let site = TestSite::new("centre");
    site.put("/fhir/Patient/old", &patient("old", "Otieno")).await.expect(201);
    let mut create = entry("POST", "Patient", patient("x", "Otieno"));
    create["request"]["ifNoneExist"] = "name=otieno".into();
    let sent = bundle("transaction", &[create, request("DELETE", "Patient/old")]);
    let response = site.post("/fhir", &sent).await.expect(200).json();
    assert_eq!(statuses(&response), ["201", "204"]);
}

#[tokio::test]
async fn ids_of_another_server_are_replaced_where_records_get_new_ones() {
    let site = TestSite::new("centre");
    let elsewhere = "http://elsewhere.example/fhir/Patient/77";
    let mut by_url = observation("x", "x", 1);
    by_url["subject"]["reference"] = elsewhere.into();
    let sent = bundle(
        "transaction",
        &[
            named(elsewhere, entry("POST", "Patient", patient("77", "Otieno"))),
            entry("POST", "Observation", observation("x", "77", 2)),
            entry("POST", "Observation", by_url),
        ],
    );
    let response = site.post("/fhir", &sent).await.expect(200).json();
    let patient = location_id(&response, 0);
    let found = site.get(&format!("/fhir/Observation?patient={patient}")).await.json();
    assert_eq!(found["total"], 2);
}

#[tokio::test]
async fn a_batch_does_each_entry_for_itself() {
    let site = TestSite::new("centre");
    let mut dangling = observation("o", "a", 1);
    dangling["subject"]["reference"] = A.into();
    let sent = bundle(
        "batch",
        &[
            request("GET", "Patient/a"),
            entry("PUT", "Patient/a", patient("a", "Otieno")),
            entry("PUT", "Observation/o", dangling),
            request("GET", "Nonsense"),
            json!("no entry"),
            entry("POST", "Patient", patient("x", "Achieng")),
        ],
    );
    let response = site.post("/fhir", &sent).await.expect(200).json();
    assert_eq!(response["type"], "batch-response");
    assert_eq!(statuses(&response), ["200", "201", "400", "404", "400", "201"]);
    assert_eq!(site.sequence(), 2);
    let said = &response["entry"][2]["response"]["outcome"]["issue"][0]["diagnostics"];
    assert!(said.as_str().unwrap().contains("Bundle.entry[2]"), "{said}");
}

#[tokio::test]
async fn a_batch_says_which_entries_it_did_not_reach_in_time() {
    let site = TestSite::with("centre", |config| config.limits.request_seconds = 0);
    let sent = entry("PUT", "Patient/a", patient("a", "Otieno"));
    // The body itself has come by then: it is there at once.
    let response = site.post("/fhir", &bundle("batch", &[sent])).await.expect(200).json();
    assert_eq!(statuses(&response), ["503"]);
    assert_eq!(site.sequence(), 0);
}

#[tokio::test]
async fn a_bundle_that_is_no_transaction_is_stored_only_as_a_record() {
    let site = TestSite::new("centre");
    let document = json!({"resourceType": "Bundle", "id": "d", "type": "document",
        "entry": [{"fullUrl": A, "resource": {"resourceType": "Composition",
            "subject": {"reference": B}}}]});
    let refused = site.post("/fhir", &document).await.expect(400);
    assert!(refused.diagnostics().contains("Bundle.type"), "{}", refused.text());
    site.post("/fhir", &patient("a", "x")).await.expect(400);
    site.put("/fhir/Bundle/d", &document).await.expect(201);
    let in_transaction = bundle("transaction", &[entry("POST", "Bundle", document.clone())]);
    site.post("/fhir", &in_transaction).await.expect(200);
    let read = site.get("/fhir/Bundle/d").await.expect(200).json();
    assert_eq!(read["entry"], document["entry"]);
    let nothing = site.post("/fhir", &bundle("transaction", &[])).await.expect(200).json();
    assert!(nothing.get("entry").is_none());
}

#[tokio::test]
async fn a_transaction_over_the_limit_of_a_change_is_refused_by_the_limits_name() {
    let site = TestSite::with("centre", |config| config.limits.change_records = 3);
    let entries = |count: usize| -> Vec<Value> {
        (0..count)
            .map(|n| entry("PUT", &format!("Patient/p{n}"), patient(&format!("p{n}"), "x")))
            .collect()
    };
    let refused = site.post("/fhir", &bundle("transaction", &entries(4))).await.expect(413);
    assert!(refused.diagnostics().contains("change_records = 3"), "{}", refused.text());
    assert_eq!(site.sequence(), 0);
    site.post("/fhir", &bundle("transaction", &entries(3))).await.expect(200);
    site.post("/fhir", &bundle("batch", &entries(5))).await.expect(200);
}

#[tokio::test]
async fn a_bundles_answer_holds_the_records_where_that_is_preferred() {
    let site = TestSite::new("centre");
    let sent = bundle("transaction", &[entry("PUT", "Patient/a", patient("a", "Otieno"))]);
    let send = async |prefer: &'static str| {
        let headers = [("prefer", prefer)];
        let body = sent.to_string();
        site.ask(Method::POST, "/fhir", &headers, body).await.expect(200).json()
    };
    let shown = send("return=representation").await;
    assert_eq!(shown["entry"][0]["resource"]["meta"]["versionId"], "1");
    let plain = send("return=minimal").await;
    assert!(plain["entry"][0].get("resource").is_none());
    let said = send("return=OperationOutcome").await;
    let issue = &said["entry"][0]["response"]["outcome"]["issue"][0];
    assert_eq!(issue["diagnostics"], "Patient/a was so already");
}
