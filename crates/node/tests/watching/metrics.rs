//! `/metrics`: what is documented is what is shown, and nobody sees it who is not to.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::Method;
use node::config::{FhirParent, Parent, SourceConfig, Up};
use node::jobs::rounds::Rounds;
use node::metrics::list;
use node::ports::LinkError;
use protocol::cohort::Definition;
use protocol::stream::Lane;
use protocol::{Epoch, FeedId};
use serde_json::json;
use store::{
    AlertFound, EmrDraft, EmrEvent, LeavePolicy, LinkEvent, LinkName, Marker, PauseDraft,
    ReaderSeen, SourceEvent, TokenScope, Traffic,
};

use crate::harness::{Reply, TestSite, request};

/// A metric: its type, its unit, its labels, and what it says.
type Row = (String, String, BTreeSet<String>, String);

/// The table of `docs/metrics.md`.
fn documented() -> BTreeMap<String, Row> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
    let text = std::fs::read_to_string(path).unwrap();
    let bare = |cell: &str| cell.trim().trim_matches('`').to_owned();
    let rows = text.lines().filter(|line| line.starts_with("| `tributary_"));
    rows.map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
        assert_eq!(cells.len(), 5, "{line}");
        let labels = cells[3].split(',').map(bare).filter(|label| !label.is_empty());
        let row = (bare(cells[1]), bare(cells[2]), labels.collect(), bare(cells[4]));
        (bare(cells[0]), row)
    })
    .collect()
}

/// What is shown: each metric by the name under which its samples are found.
fn shown(text: &str) -> BTreeMap<String, Row> {
    let mut found: BTreeMap<String, Row> = BTreeMap::new();
    let mut family = String::new();
    let mut kind = String::new();
    let (mut unit, mut help) = (String::new(), String::new());
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(rest) = line.strip_prefix("# ") {
            let mut words = rest.splitn(3, ' ');
            let (what, name, value) =
                (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
            match what {
                "HELP" => {
                    (family, help) = (name.to_owned(), value.to_owned());
                    unit.clear();
                }
                "TYPE" => kind = value.to_owned(),
                "UNIT" => unit = value.to_owned(),
                other => panic!("{other}"),
            }
            continue;
        }
        let end = line.find(['{', ' ']).unwrap();
        let suffixes: &[&str] = match kind.as_str() {
            "counter" => &["_total"],
            "info" => &["_info"],
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        let of = |suffix: &&&str| line[..end] == format!("{family}{suffix}");
        let suffix = suffixes.iter().find(of).unwrap_or_else(|| panic!("{line} in {family}"));
        let name = if kind == "histogram" { family.clone() } else { format!("{family}{suffix}") };
        let labels =
            line[end..].strip_prefix('{').map_or("", |rest| rest.rsplit_once("} ").unwrap().0);
        let labels = labels.split(',').filter_map(|label| label.split_once('='));
        let labels = labels.map(|(label, _)| label.to_owned()).filter(|label| label != "le");
        let row = (kind.clone(), unit.clone(), labels.collect(), help.clone());
        let known = found.entry(name).or_insert_with(|| row.clone());
        assert_eq!(*known, row, "{line}");
    }
    found
}

fn the_centre() -> Parent {
    Parent {
        url: "https://centre.example".to_owned(),
        site: "centre".parse().unwrap(),
        leave: LeavePolicy::Keep,
        up: Up::Direct,
        fhir: FhirParent::default(),
    }
}

/// A site in the middle, of which everything is known that can be.
/// A record system that answers.
fn beside(site: &TestSite) {
    let draft = EmrDraft {
        kind: "fhir".to_owned(),
        url: "http://127.0.0.1:1/fhir".to_owned(),
        captures: true,
        applies: true,
    };
    site.store.emr_set(Some(&draft), site.site.now()).unwrap();
    site.store.emr_note(&EmrEvent::Contact(None), site.site.now()).unwrap();
}

async fn a_site_with_everything() -> TestSite {
    let site = TestSite::with("district", |config| {
        config.parent = Some(the_centre());
        config.sources = vec![SourceConfig::of_child(
            "north".parse().unwrap(),
            "https://north.example".to_owned(),
        )];
    });
    let (store, now) = (&site.store, site.now());
    let id = |byte| [byte; 16];
    store.parent_set(now, &FeedId::from_random(id(1))).unwrap();
    site.put("/fhir/Patient/amina", &json!({"resourceType": "Patient", "id": "amina"})).await;
    site.cohort("all", Definition::All {});
    let secret = site.child("east", &["all"]);
    let epoch = Epoch::from_random(id(2));
    let report = json!({
        "version": "0.1.0", "at": now, "undelivered": 3, "oldest_undelivered": now, "parked": 1,
        "conflicts": 2, "records": 5, "disk_bytes": 1_000_000, "markers": {"all": 0},
        "bulk_markers": {"all": 0},
    });
    let headers = [
        ("authorization", format!("Bearer {secret}")),
        ("tributary-protocol", "1".to_owned()),
        ("tributary-epoch", epoch.to_string()),
    ];
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let told = report.to_string();
    site.ask(Method::POST, "/sync/status", &headers, told).await.expect(200);
    let traffic = Traffic { wire_sent: 7, wire_received: 11, ..Traffic::default() };
    store.link_note(&LinkEvent::Contact { peer: None, traffic }, now).unwrap();
    let feed = FeedId::from_random(id(3));
    let marker =
        Marker { feed, name: "reference".to_owned(), epoch, lane: Lane::Live, position: 4 };
    store.marker_set(&[marker], now).unwrap();
    let source = "north".parse().unwrap();
    store.source_note(&source, &SourceEvent::Begin { feed, epoch }, now).unwrap();
    let contact = SourceEvent::Contact { head: 9, oldest: Some(now), next: now };
    store.source_note(&source, &contact, now).unwrap();
    let reader = ReaderSeen { site: "centre".parse().unwrap(), epoch, position: 0 };
    store.outgoing_read(&reader, now).unwrap();
    beside(&site);
    let pause = PauseDraft {
        link: LinkName::Child("east".parse().unwrap()),
        is_source: false,
        reason: "the mast is mended".to_owned(),
        actor: "desk".to_owned(),
        millis: None,
    };
    store.link_pause(&pause, now).unwrap();
    let alert = |rule: &str| AlertFound {
        rule: rule.to_owned(),
        subject: "east".to_owned(),
        text: "it is silent".to_owned(),
    };
    store.alert_update(&[alert("silent")], &[], now).unwrap();
    let rounds = Rounds::default();
    rounds.begin();
    site.site.metrics().round_ended(&rounds.end(&Err(LinkError("cut".to_owned())), now));
    site.site.metrics().message(protocol::delivery::Outcome::Applied);
    site
}

async fn text(site: &TestSite) -> String {
    let reply = site.get("/metrics").await.expect(200);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(reply.header("content-type"), kind);
    reply.text()
}

#[tokio::test]
async fn what_is_documented_is_what_is_shown() {
    let site = a_site_with_everything().await;
    let text = text(&site).await;
    let (documented, shown) = (documented(), shown(&text));
    // What needs a carrier and a folder is seen where the running program is asked.
    let elsewhere = [
        "tributary_carrier_last_contact_timestamp_seconds",
        "tributary_disk_free_bytes",
        "tributary_disk_size_bytes",
        "tributary_child_catch_up_seconds",
    ];
    for (name, row) in &documented {
        if !elsewhere.contains(&name.as_str()) {
            assert_eq!(shown.get(name), Some(row), "{name}");
        }
    }
    for name in shown.keys() {
        assert!(documented.contains_key(name), "{name} is not in docs/metrics.md");
    }
    let listed = list::ALL.iter().map(|metric| {
        let labels = metric.labels.iter().map(|label| (*label).to_owned()).collect();
        let (kind, unit) = (metric.kind.name().to_owned(), metric.unit().to_owned());
        (metric.name.to_owned(), (kind, unit, labels, metric.help.to_owned()))
    });
    assert_eq!(listed.collect::<BTreeMap<_, Row>>(), documented);
}

#[tokio::test]
async fn the_numbers_are_those_of_the_site() {
    let site = a_site_with_everything().await;
    site.clock.advance(60_000);
    let text = text(&site).await;
    for line in [
        "tributary_patients 1.0",
        "tributary_queue_changes{state=\"ready\"} 1.0",
        "tributary_oldest_undelivered_age_seconds 60.0",
        "tributary_child_undelivered_changes{child=\"east\"} 3.0",
        "tributary_child_lag_changes{child=\"east\"} 1.0",
        "tributary_child_last_contact_timestamp_seconds{child=\"east\"} 1795421730.0",
        "tributary_source_lag_changes{source=\"north\"} 9.0",
        "tributary_link_bytes_total{link=\"parent\",direction=\"sent\"} 7",
        "tributary_link_paused{link=\"east\"} 1.0",
        "tributary_link_paused{link=\"parent\"} 0.0",
        "tributary_emr_records{state=\"due\"} 1.0",
        "tributary_emr_oldest_due_age_seconds 60.0",
        "tributary_alerts_firing{rule=\"silent\"} 1.0",
        "tributary_alerts_firing{rule=\"audit\"} 0.0",
        "tributary_rounds_total{outcome=\"failed\"} 1",
        "tributary_applied_lines_total{from=\"message\",outcome=\"applied\"} 1",
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line} is not in {text}");
    }
    let received = text.lines().find_map(|line| {
        line.strip_prefix("tributary_link_bytes_total{link=\"east\",direction=\"received\"} ")
    });
    assert!(received.unwrap().parse::<u64>().unwrap() > 100, "{received:?}");
    assert!(!text.contains("amina"), "{text}");
}

#[tokio::test]
async fn requests_are_measured_by_route_and_show_nothing_of_what_was_asked() {
    let site = TestSite::new("centre");
    site.get("/fhir/Patient/amina").await.expect(404);
    site.get("/fhir/Patient?family=Otieno").await.expect(200);
    site.get("/feeds/secret-name/recent").await.expect(404);
    site.get("/nowhere/amina").await.expect(404);
    site.ask("BREW".parse().unwrap(), "/health", &[], "").await.expect(405);
    let text = text(&site).await;
    for (route, method, status) in [
        ("/fhir/{type}/{id}", "GET", "4xx"),
        ("/fhir/{type}", "GET", "2xx"),
        ("/feeds/{feed}/recent", "GET", "4xx"),
        ("none", "GET", "4xx"),
        ("/health", "other", "4xx"),
    ] {
        let labels = format!("{{route=\"{route}\",method=\"{method}\",status=\"{status}\"}} 1");
        let line = format!("tributary_http_requests_total{labels}");
        assert!(text.lines().any(|shown| shown == line), "{line} is not in {text}");
    }
    // The long ones are by route alone, whatever methods and answers there were.
    let line = "tributary_http_request_duration_seconds_count{route=\"/fhir/{type}/{id}\"} 1";
    assert!(text.lines().any(|shown| shown == line), "{line} is not in {text}");
    for word in ["amina", "Otieno", "secret-name", "BREW"] {
        assert!(!text.contains(word), "{word}");
    }
}

#[tokio::test]
async fn only_who_monitors_sees_metrics_and_sees_nothing_else() {
    let site = TestSite::new("centre");
    let ask = async |path: &str, bearer: Option<&str>| -> Reply {
        let bearer = bearer.map(|secret| format!("Bearer {secret}"));
        let headers: Vec<_> =
            bearer.iter().map(|value| ("authorization", value.as_str())).collect();
        site.send_from("198.51.100.7:40000", request(Method::GET, path, &headers, "")).await
    };
    ask("/metrics", None).await.expect(401);
    for (name, scope, status) in [
        ("reads", TokenScope::FhirRead, 403),
        ("writes", TokenScope::FhirWrite, 403),
        ("carries", TokenScope::Outbox, 403),
        ("desk", TokenScope::Administer, 200),
        ("prometheus", TokenScope::Metrics, 200),
    ] {
        let secret = site.token(name, scope);
        ask("/metrics", Some(&secret)).await.expect(status);
    }
    let child = site.child("east", &[]);
    ask("/metrics", Some(&child)).await.expect(403);
    for path in
        ["/fhir/Patient", "/feeds", "/admin/status", "/outbox", "/sync/why?record=Patient/1"]
    {
        ask(path, Some("secret-of-prometheus")).await.expect(403);
    }
}
