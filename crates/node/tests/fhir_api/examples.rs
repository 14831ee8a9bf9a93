//! Every example of HL7's FHIR R4 goes in and comes out as it was.

use axum::http::Method;
use protocol::digest::canonical;
use protocol::json::{self, DEPTH_MAX};
use serde_json::Value;

use super::harness::{REFUSED_EXAMPLES, TestSite, test_data};

fn canonical_of(text: &[u8]) -> String {
    canonical(&json::parse(text, DEPTH_MAX).unwrap())
}

#[tokio::test]
async fn every_example_of_r4_comes_out_as_it_went_in_or_is_skipped_without_test_data() {
    let Some(data) = test_data() else { return };
    let site = TestSite::new("centre");
    let mut names: Vec<_> = std::fs::read_dir(data.join("hl7-r4-examples"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    names.sort();
    let (mut refused, mut kept) = (Vec::new(), 0);
    for path in names {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read(&path).unwrap();
        let resource: Value = serde_json::from_slice(&text).unwrap();
        let (kind, id) = (&resource["resourceType"], &resource["id"]);
        let url = format!("/fhir/{}/{}", kind.as_str().unwrap(), id.as_str().unwrap());
        let reply = site.ask(Method::PUT, &url, &[], text.clone()).await;
        if !reply.status.is_success() {
            refused.push((name, reply.diagnostics()));
            continue;
        }
        let read = site.get(&url).await.expect(200);
        assert_eq!(canonical_of(&read.body), canonical_of(&text), "{name}");
        kept += 1;
    }
    let names: Vec<_> = refused.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, REFUSED_EXAMPLES.map(|(name, _)| name), "{refused:?}");
    assert!(kept > 0);
}
