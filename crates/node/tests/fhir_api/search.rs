//! Searches and `$everything`.

use axum::http::Method;
use serde_json::{Value, json};

use super::harness::TestSite;
use super::{ids, link, observation, patient};

async fn clinic() -> TestSite {
    let site = TestSite::new("centre");
    let patients = [
        ("a", "Otieno", "Akinyi", "female", "1990-03-01", "100GEJ"),
        ("b", "Otieno-Ochieng", "Barasa", "male", "1985", "1|00,A"),
        ("c", "Ängström", "Chebet", "female", "2001-12", "100GEJ"),
    ];
    for (id, family, given, gender, born, number) in patients {
        let system = if id == "c" { "urn:other" } else { "urn:openmrs" };
        let body = json!({
            "resourceType": "Patient", "id": id, "gender": gender, "birthDate": born,
            "name": [{"family": family, "given": [given]}],
            "identifier": [{"system": system, "value": number}],
        });
        site.put(&format!("/fhir/Patient/{id}"), &body).await.expect(201);
        site.clock.advance(60_000);
    }
    let visit = json!({"resourceType": "Encounter", "id": "v", "status": "finished",
        "subject": {"reference": "Patient/a"},
        "period": {"start": "2026-11-20T08:00:00Z", "end": "2026-11-20T09:00:00Z"}});
    site.put("/fhir/Encounter/v", &visit).await.expect(201);
    for (id, owner, value) in [("o1", "a", 120), ("o2", "a", 130), ("o3", "b", 140)] {
        let mut body = observation(id, owner, value);
        if id == "o1" {
            body["encounter"] = json!({"reference": "Encounter/v"});
        }
        site.put(&format!("/fhir/Observation/{id}"), &body).await.expect(201);
    }
    site
}

#[tokio::test]
async fn records_are_found_by_every_parameter() {
    let site = clinic().await;
    for (query, expected) in [
        ("Patient?_id=a,c", "a c"),
        ("Patient?_id=a,b&_id=b,c", "b"),
        ("Patient?name=otie", "a b"),
        ("Patient?family=Otieno", "a b"),
        ("Patient?family:exact=Otieno", "a"),
        ("Patient?family=%C3%A4ngs", "c"),
        ("Patient?given=akinyi,chebet", "a c"),
        ("Patient?name=otieno&given=barasa", "b"),
        ("Patient?gender=female", "a c"),
        ("Patient?gender=http://hl7.org/fhir/administrative-gender%7Cmale", "b"),
        ("Patient?birthdate=1990-03-01", "a"),
        ("Patient?birthdate=1990", "a"),
        ("Patient?birthdate=lt1990", "b"),
        ("Patient?birthdate=ge1990-03&birthdate=le1995", "a"),
        ("Patient?identifier=100GEJ", "a c"),
        ("Patient?identifier=urn:openmrs%7C100GEJ", "a"),
        ("Patient?identifier=urn:openmrs%7C1%5C%7C00%5C,A", "b"),
        ("Patient?identifier=%7C100GEJ", ""),
        ("Patient?_lastUpdated=ge2026-11-23T08:16:30Z", "b c"),
        ("Patient?_lastUpdated=lt2026-11-23T08:16:30Z", "a"),
        ("Encounter?patient=a&date=2026-11-20", "v"),
        ("Encounter?date=gt2026-11-20", ""),
        ("Observation?patient=a", "o1 o2"),
        ("Observation?patient=Patient/a,Patient/b", "o1 o2 o3"),
        ("Observation?subject:Patient=b", "o3"),
        ("Observation?encounter=Encounter/v", "o1"),
        ("Observation?encounter=v", "o1"),
        ("Observation?code=8480-6&subject=Patient/b", "o3"),
        ("Observation?code=http://loinc.org%7C8480-6&date=ge2026-11-20", "o1 o2 o3"),
        ("Observation?code=http://snomed.info/sct%7C8480-6", ""),
        ("Observation?patient=nobody", ""),
    ] {
        let bundle = site.get(&format!("/fhir/{query}")).await.expect(200).json();
        assert_eq!(ids(&bundle).join(" "), expected, "{query}");
        assert_eq!(bundle["total"], ids(&bundle).len(), "{query}");
    }
}

#[tokio::test]
async fn a_search_by_form_finds_the_same() {
    let site = clinic().await;
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let path = "/fhir/Patient/_search?gender=female";
    let bundle = site.ask(Method::POST, path, &form, "name=otieno").await.expect(200).json();
    assert_eq!(ids(&bundle), ["a"]);
    let json = [("content-type", "application/json")];
    site.ask(Method::POST, path, &json, "{}").await.expect(415);
}

#[tokio::test]
async fn pages_are_followed_by_their_links_in_both_orders() {
    let site = clinic().await;
    for (sort, expected) in
        [("_lastUpdated", ["o1", "o2", "o3"]), ("-_lastUpdated", ["o3", "o2", "o1"])]
    {
        let mut path = Some(format!("/fhir/Observation?code=8480-6&_count=2&_sort={sort}"));
        let (mut seen, mut pages) = (Vec::new(), 0);
        while let Some(next) = path {
            let bundle = site.get(&next).await.expect(200).json();
            assert_eq!(link(&bundle, "self").as_deref(), Some(&*next));
            seen.extend(ids(&bundle));
            path = link(&bundle, "next");
            pages += 1;
        }
        assert_eq!((seen, pages), (expected.map(str::to_owned).to_vec(), 2), "{sort}");
    }
    site.get("/fhir/Observation?_page=nonsense").await.expect(400);
}

#[tokio::test]
async fn matches_are_counted_where_that_is_asked_for() {
    let site = clinic().await;
    let counted = site.get("/fhir/Observation?_count=1&_total=accurate").await.json();
    assert_eq!((counted["total"].as_u64(), ids(&counted).len()), (Some(3), 1));
    let uncounted = site.get("/fhir/Observation?_count=1").await.json();
    assert!(uncounted.get("total").is_none());
    for path in ["/fhir/Observation?_summary=count", "/fhir/Observation?_count=0"] {
        let count = site.get(path).await.expect(200).json();
        assert_eq!((count["total"].as_u64(), ids(&count).len()), (Some(3), 0), "{path}");
        assert!(link(&count, "next").is_none());
    }
}

#[tokio::test]
async fn what_is_not_understood_is_refused_by_its_name_unless_the_caller_is_lenient() {
    let site = clinic().await;
    for (query, named) in [
        ("Patient?nome=x", "nome"),
        ("Observation?birthdate=1990", "birthdate"),
        ("Patient?name:contains=x", "name"),
        ("Observation?patient.name=x", "patient.name"),
        ("Patient?family:missing=true", "family"),
        ("Patient?_sort=name", "_sort"),
        ("Patient?_count=many", "_count"),
        ("Patient?_include=Patient:organization", "_include"),
        ("Patient?_revinclude=Observation:subject", "_revinclude"),
        ("Patient?_has:Observation:patient:code=1", "_has"),
        ("Patient?_summary=text", "_summary"),
        ("Patient?_elements=name", "_elements"),
        ("Patient?birthdate=yesterday", "birthdate"),
        ("Patient?birthdate=sa1990", "birthdate"),
        ("Patient?identifier=urn:x%7C", "identifier"),
        ("Observation?patient=Group/1", "patient"),
        ("Observation?patient=a_b", "patient"),
        ("Patient?name=", "name"),
        ("Patient?name=%FF", "URL"),
        ("Patient?name=a%00b", "URL"),
    ] {
        let refused = site.get(&format!("/fhir/{query}")).await.expect(400);
        let text = refused.diagnostics();
        assert!(text.contains(named), "{query}: {text}");
    }
    let lenient = [("prefer", "handling=lenient")];
    let path = "/fhir/Patient?nome=x&gender=male";
    let bundle = site.ask(Method::GET, path, &lenient, "").await.expect(200).json();
    assert_eq!(ids(&bundle), ["b"]);
    let path = "/fhir/Patient?_include=Patient:organization";
    site.ask(Method::GET, path, &lenient, "").await.expect(400);
}

#[tokio::test]
async fn a_search_for_too_many_values_is_refused_by_the_limits_name() {
    let site = clinic().await;
    for (name, value) in [("_id", "x"), ("name", "x"), ("birthdate", "2001"), ("identifier", "x")] {
        let many = |count: usize| vec![value; count].join(",");
        let repeated = |count: usize| vec![format!("{name}={value}"); count].join("&");
        for (few, more) in [
            (format!("{name}={}", many(200)), format!("{name}={}", many(201))),
            (repeated(200), repeated(201)),
        ] {
            site.get(&format!("/fhir/Patient?{few}")).await.expect(200);
            let refused = site.get(&format!("/fhir/Patient?{more}")).await.expect(413);
            assert!(refused.diagnostics().contains("search_values = 200"), "{}", refused.text());
        }
    }
}

#[tokio::test]
async fn everything_of_a_patient_comes_in_pages() {
    let site = clinic().await;
    let mut path = Some("/fhir/Patient/a/$everything?_count=2".to_owned());
    let mut seen = Vec::new();
    while let Some(next) = path {
        let bundle = site.get(&next).await.expect(200).json();
        seen.extend(ids(&bundle));
        path = link(&bundle, "next");
    }
    assert_eq!(seen, ["a", "v", "o1", "o2"]);
    site.get("/fhir/Patient/nobody/$everything").await.expect(404);
    site.get("/fhir/Patient/a/$everything?_type=Encounter").await.expect(400);
    let since = "/fhir/Patient/a/$everything?_since=2026-11-23T08:18:30Z";
    let bundle = site.get(since).await.expect(200).json();
    assert_eq!(ids(&bundle), ["v", "o1", "o2"]);
}

#[tokio::test]
async fn a_deleted_record_is_found_no_more_and_a_changed_one_by_what_it_says_now() {
    let site = clinic().await;
    site.delete("/fhir/Patient/c").await.expect(204);
    site.put("/fhir/Patient/a", &patient("a", "Wanjiru")).await.expect(200);
    let found = async |query: &str| {
        let bundle: Value = site.get(&format!("/fhir/Patient?{query}")).await.expect(200).json();
        ids(&bundle).join(" ")
    };
    assert_eq!(found("name=otieno").await, "b");
    assert_eq!(found("name=wanjiru").await, "a");
    assert_eq!(found("gender=female").await, "");
    assert_eq!(found("").await, "b a");
}
