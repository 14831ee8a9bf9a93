//! `/health`, for whoever asks.

use axum::http::Method;

use crate::harness::{TestSite, request};

/// Bytes of the store's log: grows with each write.
fn log_bytes(site: &TestSite) -> u64 {
    std::fs::metadata(site.folder().join("tributary.db-wal")).unwrap().len()
}

#[tokio::test]
async fn anybody_hears_that_a_site_lives_and_is_ready_and_nothing_else_of_it() {
    let site = TestSite::with("centre", |config| config.open_on_loopback = false);
    for (path, said) in
        [("/health", "ok\n"), ("/health/live", "ok\n"), ("/health/ready", "{\"ready\":true}")]
    {
        let asked = request(Method::GET, path, &[], "");
        let reply = site.send_from("198.51.100.7:40000", asked).await.expect(200);
        assert_eq!(reply.text(), said, "{path}");
    }
}

#[tokio::test]
async fn a_site_that_is_asked_without_end_writes_once_in_five_seconds() {
    let site = TestSite::new("centre");
    let writes = async |site: &TestSite| {
        let before = log_bytes(site);
        for _ in 0..100 {
            site.get("/health/ready").await.expect(200);
        }
        log_bytes(site) - before
    };
    let first = writes(&site).await;
    assert!(first > 0, "it is a write that shows that one can be");
    assert_eq!(writes(&site).await, 0);
    site.clock.advance(5_000);
    assert_eq!(writes(&site).await, first);
}

#[tokio::test]
async fn a_site_with_no_place_left_for_requests_says_how_it_is() {
    let site = TestSite::with("centre", |config| config.limits.requests_at_once = 0);
    site.get("/fhir/metadata").await.expect(503);
    for path in ["/health", "/health/live", "/health/ready"] {
        site.get(path).await.expect(200);
    }
}
