//! Histories.

use serde_json::Value;

use super::harness::TestSite;
use super::{link, observation, patient};

fn versions(bundle: &Value) -> Vec<String> {
    let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
    entries
        .iter()
        .map(|entry| {
            let method = entry["request"]["method"].as_str().unwrap();
            let url = entry["request"]["url"].as_str().unwrap();
            format!("{method} {url} {}", entry["response"]["etag"].as_str().unwrap())
        })
        .collect()
}

async fn lived(site: &TestSite) {
    site.put("/fhir/Patient/a", &patient("a", "Otieno")).await.expect(201);
    site.clock.advance(60_000);
    site.put("/fhir/Observation/o", &observation("o", "a", 120)).await.expect(201);
    site.clock.advance(60_000);
    site.put("/fhir/Patient/a", &patient("a", "Achieng")).await.expect(200);
    site.clock.advance(60_000);
    site.delete("/fhir/Patient/a").await.expect(204);
}

#[tokio::test]
async fn histories_are_of_a_record_of_a_type_and_of_everything() {
    let site = TestSite::new("centre");
    lived(&site).await;
    let of_a =
        ["DELETE Patient/a W/\"4\"", "PUT Patient/a W/\"3\"", "PUT Patient/a W/\"1\""].to_vec();
    for path in ["/fhir/Patient/a/_history", "/fhir/Patient/_history"] {
        let bundle = site.get(path).await.expect(200).json();
        assert_eq!(bundle["type"], "history");
        assert_eq!(bundle["total"], 3);
        assert_eq!(versions(&bundle), of_a);
        assert!(bundle["entry"][0].get("resource").is_none(), "a deletion has no body");
        assert_eq!(bundle["entry"][0]["response"]["status"], "204 No Content");
        assert_eq!(bundle["entry"][2]["response"]["status"], "201 Created");
        assert_eq!(bundle["entry"][2]["response"]["lastModified"], "2026-11-23T08:15:30Z");
        assert_eq!(bundle["entry"][2]["resource"]["meta"]["versionId"], "1");
        assert_eq!(bundle["entry"][2]["fullUrl"], "https://centre.example/fhir/Patient/a");
    }
    let all = site.get("/fhir/_history").await.expect(200).json();
    assert_eq!(all["total"], 4);
    site.get("/fhir/Patient/nobody/_history").await.expect(404);
}

#[tokio::test]
async fn a_history_is_read_since_a_time_and_page_by_page() {
    let site = TestSite::new("centre");
    lived(&site).await;
    let since = site.get("/fhir/_history?_since=2026-11-23T08:17:30Z").await.expect(200).json();
    assert_eq!(versions(&since), ["DELETE Patient/a W/\"4\"", "PUT Patient/a W/\"3\""]);
    site.get("/fhir/_history?_since=yesterday").await.expect(400);
    site.get("/fhir/_history?_at=2026").await.expect(400);

    let mut seen = Vec::new();
    let mut path = Some("/fhir/_history?_count=1".to_owned());
    while let Some(next) = path {
        let bundle = site.get(&next).await.expect(200).json();
        assert!(bundle["entry"].as_array().is_none_or(|entries| entries.len() <= 1));
        seen.extend(versions(&bundle));
        path = link(&bundle, "next");
    }
    let whole = site.get("/fhir/_history").await.json();
    assert_eq!(seen, versions(&whole));
    assert_eq!(seen.len(), 4);
}
