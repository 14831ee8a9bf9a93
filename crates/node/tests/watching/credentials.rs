//! Who comes without a credential.

use axum::http::Method;

use crate::harness::{TestSite, request};

#[tokio::test]
async fn who_comes_without_a_credential_is_told_which_scope_opens_that_place() {
    let site = TestSite::with("centre", |config| config.open_on_loopback = false);
    for (path, scope) in [
        ("/fhir/Patient/a", "fhir-read"),
        ("/fhir/$process-message", "carry"),
        ("/feeds", "fhir-read"),
        ("/outbox/lease", "outbox"),
        ("/admin/status", "administer"),
        ("/sync/feeds/outgoing/changes?after=0", "read-outgoing"),
        ("/sync/feeds/outgoing/report", "read-outgoing"),
        ("/metrics", "metrics"),
    ] {
        let method = match path {
            "/fhir/$process-message" | "/outbox/lease" => Method::POST,
            _ => Method::GET,
        };
        let asked = request(method, path, &[], "");
        let reply = site.send_from("198.51.100.7:40000", asked).await.expect(401);
        let words = format!("`tributary token add NAME --scope {scope}`");
        assert!(reply.text().contains(&words), "{path}: {}", reply.text());
    }
}
