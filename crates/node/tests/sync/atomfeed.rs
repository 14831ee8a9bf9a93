//! A centre follows the Atom feed of a record system that was not written here: a stand-in with the
//! habits of OpenMRS's atomfeed module (five entries a page, links to a retired path) and of
//! servers that mean no good.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use node::config::{SourceConfig, SourceKind};
use node::demo::site::DemoSite;
use node::jobs::sources::{self, Turn, unread};
use node::ports::LinkError;
use protocol::Limits;
use protocol::cohort::{Definition, LocationBy};
use serde_json::json;
use store::{Scope, SourceInfo};

use crate::reading::source;
use crate::world::*;

/// What the stand-in has.
#[derive(Default)]
struct Emr {
    url: String,
    /// (id, content) of each entry, oldest first, by category.
    entries: BTreeMap<String, Vec<(String, String)>>,
    /// Status, media type and body, by path; before all else.
    answers: BTreeMap<String, (u16, &'static str, String)>,
    /// Requests, by path.
    asked: Vec<String>,
    /// Where the pages of the feed are said to be; as `url` where that is empty.
    elsewhere: String,
}

type Shared = Arc<Mutex<Emr>>;

const ATOM: &str = "application/atom+xml";
const FHIR: &str = "application/fhir+json";
/// What a FHIR server says of what it has not got.
const NOT_THERE: &str = r#"{"resourceType":"OperationOutcome","issue":[{"severity":"error"}]}"#;
/// Entries a page, as the module has them.
const PAGE: usize = 5;

impl Emr {
    fn say(&mut self, record: &str, body: &str) {
        self.answers.insert(format!("/ws/fhir2/R4/{record}"), (200, FHIR, body.to_owned()));
    }

    /// Something about a record happened.
    fn tell(&mut self, category: &str, record: &str) {
        let entries = self.entries.entry(category.to_owned()).or_default();
        let id = format!("tag:{category}:{}", entries.len() + 1);
        // The form of the module: the FHIR link names a module that is no longer there.
        let content =
            json!({"rest": "/ws/rest/v1/x/y?v=full", "fhir": format!("/ws/fhir/{record}")});
        entries.push((id, content.to_string()));
    }

    fn page(&self, category: &str, number: Option<usize>) -> Option<String> {
        let entries = self.entries.get(category)?;
        let last = entries.len().div_ceil(PAGE).max(1);
        let number = number.unwrap_or(last);
        if number == 0 || number > last {
            return None;
        }
        let at = if self.elsewhere.is_empty() { &self.url } else { &self.elsewhere };
        let link = |rel: &str, number: usize| {
            format!(
                r#"<link rel="{rel}" type="{ATOM}" href="{at}/ws/atomfeed/{category}/{number}"/>"#
            )
        };
        let mut text = format!(
            r#"<?xml version="1.0" encoding="UTF-8"?><feed xmlns="http://www.w3.org/2005/Atom"><title>f</title>{}"#,
            link("via", number)
        );
        if number > 1 {
            text += &link("prev-archive", number - 1);
        }
        if number < last {
            text += &link("next-archive", number + 1);
        }
        for (id, content) in entries.iter().skip((number - 1) * PAGE).take(PAGE) {
            text += &format!(
                r#"<entry><title>t</title><id>{id}</id>
                <content type="application/vnd.atomfeed+xml"><![CDATA[{content}]]></content>
                </entry>"#
            );
        }
        Some(text + "</feed>")
    }
}

async fn answer(State(emr): State<Shared>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let mut emr = emr.lock().unwrap();
    emr.asked.push(path.clone());
    let allowed = request.headers().get("authorization").is_some_and(|value| {
        // admin and the secret of the tests.
        value.to_str().is_ok_and(|text| text.starts_with("Basic YWRtaW46"))
    });
    if !allowed {
        return (StatusCode::UNAUTHORIZED, "<html>login</html>").into_response();
    }
    if let Some((status, kind, body)) = emr.answers.get(&path) {
        let status = StatusCode::from_u16(*status).unwrap();
        return (status, [("content-type", *kind)], body.clone()).into_response();
    }
    let parts = path.trim_start_matches('/').split('/').collect::<Vec<_>>();
    let page = match parts[..] {
        ["ws", "atomfeed", category, "recent"] => emr.page(category, None),
        ["ws", "atomfeed", category, number] => {
            number.parse().ok().and_then(|number| emr.page(category, Some(number)))
        }
        _ => None,
    };
    match page {
        Some(page) => ([("content-type", ATOM)], page).into_response(),
        None => (StatusCode::NOT_FOUND, [("content-type", FHIR)], NOT_THERE).into_response(),
    }
}

async fn world() -> (World, Shared) {
    let (world, emr) = world_with(["patient", "encounter", "observation"]).await;
    world.set_cohort("everybody", Definition::All {});
    (world, emr)
}

/// A centre without cohorts that follows these feeds, in this order.
async fn world_with(feeds: [&str; 3]) -> (World, Shared) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let emr: Shared = Arc::new(Mutex::new(Emr { url: url.clone(), ..Emr::default() }));
    let router = axum::Router::new().fallback(answer).with_state(emr.clone());
    let stop = tokio_util::sync::CancellationToken::new();
    tokio::spawn(node::server::run(listener, router, stop));
    let mut world = World::centre_with(Limits::default()).await;
    let mut config = world.centre.site().config().clone();
    let id = "emr".parse().unwrap();
    let feeds = feeds.map(str::to_owned).into();
    config.sources.push(SourceConfig {
        kind: SourceKind::Atomfeed,
        user: Some("admin".to_owned()),
        feeds,
        ..source(world.centre.folder(), &id, &url)
    });
    world.centre.restart(config, None).await.unwrap();
    (world, emr)
}

async fn read(world: &World) -> Result<Turn, LinkError> {
    let site = world.centre.site();
    sources::read_now(site, &site.config().sources[0]).await
}

fn info(world: &World) -> SourceInfo {
    world.centre.site().store().source_list().unwrap().remove(0)
}

fn troubles(world: &World) -> Vec<(String, String)> {
    unread(info(world).place.as_deref().unwrap_or(""))
}

fn encounter(id: &str, patient: &str) -> String {
    json!({"resourceType": "Encounter", "id": id, "status": "finished",
        "class": {"code": "AMB"}, "subject": {"reference": format!("Patient/{patient}")}})
    .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_of_another_system_is_followed_page_by_page_and_each_record_fetched_once() {
    let (world, emr) = world().await;
    {
        let mut emr = emr.lock().unwrap();
        for number in 0..12 {
            let id = format!("p{number}");
            emr.say(&format!("Patient/{id}"), &patient(&id, "Auma"));
            emr.tell("patient", &format!("Patient/{id}"));
        }
        // Told three times, read once.
        for _ in 0..3 {
            emr.tell("encounter", "Encounter/e");
        }
        emr.say("Encounter/e", &encounter("e", "p1"));
        emr.say("Observation/o", &observation("o", "p1", "36.50"));
        emr.tell("observation", "Observation/o");
    }
    let turn = read(&world).await.unwrap();
    assert_eq!((turn.applied, turn.parked), (12, 0), "a line a patient");
    for number in 0..12 {
        let record = format!("Patient/p{number}");
        assert!(text(&world.centre, &record).is_some(), "{record}");
    }
    assert_eq!(text(&world.centre, "Observation/o"), Some(observation("o", "p1", "36.50")));
    assert!(text(&world.centre, "Encounter/e").is_some());
    let fetched = |emr: &Shared, path: &str| {
        emr.lock().unwrap().asked.iter().filter(|asked| *asked == path).count()
    };
    assert_eq!(fetched(&emr, "/ws/fhir2/R4/Encounter/e"), 1);
    assert_eq!(fetched(&emr, "/ws/atomfeed/patient/2"), 1, "the way is not walked back");
    // Nothing new: three pages are looked at, and no record.
    emr.lock().unwrap().asked.clear();
    let before = sequence(&world.centre);
    assert_eq!(read(&world).await.unwrap().applied, 0);
    let asked = emr.lock().unwrap().asked.clone();
    let pages = ["patient/3", "encounter/1", "observation/1"];
    assert_eq!(asked, pages.map(|page| format!("/ws/atomfeed/{page}")));
    // Told again and unchanged, or changed in what servers write anew: nothing happens.
    {
        let mut emr = emr.lock().unwrap();
        emr.tell("patient", "Patient/p1");
        let mut again: serde_json::Value = serde_json::from_str(&patient("p3", "Auma")).unwrap();
        again["meta"] = json!({"versionId": "9", "lastUpdated": "2026-01-01T00:00:00Z"});
        emr.say("Patient/p3", &again.to_string());
        emr.tell("patient", "Patient/p3");
    }
    read(&world).await.unwrap();
    assert_eq!(sequence(&world.centre), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_19_an_edit_here_is_merged_with_what_the_other_system_changed_since() {
    let (world, emr) = world().await;
    emr.lock().unwrap().say("Patient/a", &patient("a", "Auma"));
    emr.lock().unwrap().tell("patient", "Patient/a");
    read(&world).await.unwrap();
    let here = patient("a", "Auma").replace("female", "other");
    world.centre.record("registrar", std::slice::from_ref(&here)).await.unwrap();
    // The system tells of it again, and shows what it had: our edit stays.
    emr.lock().unwrap().tell("patient", "Patient/a");
    read(&world).await.unwrap();
    assert_eq!(text(&world.centre, "Patient/a"), Some(here));
    // And then it changes something else.
    let there = patient("a", "Auma").replace("1984-02", "1984-02-03");
    emr.lock().unwrap().say("Patient/a", &there);
    emr.lock().unwrap().tell("patient", "Patient/a");
    read(&world).await.unwrap();
    let both = text(&world.centre, "Patient/a").unwrap();
    assert!(both.contains("other") && both.contains("1984-02-03"), "{both}");
    assert!(conflicts(&world.centre).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_gone_is_deleted_and_what_cannot_be_read_waits_and_holds_nobody_up() {
    let (world, emr) = world().await;
    let records = ["gone", "absent", "broken", "other", "html", "lost"];
    {
        let mut emr = emr.lock().unwrap();
        for id in records.iter().chain(&["well"]) {
            emr.say(&format!("Patient/{id}"), &patient(id, "Auma"));
            emr.tell("patient", &format!("Patient/{id}"));
        }
        emr.tell("patient", "Patient/never");
    }
    read(&world).await.unwrap();
    assert_eq!(troubles(&world), [], "a person who is no patient is none of ours");
    {
        let mut emr = emr.lock().unwrap();
        let path = |id: &str| format!("/ws/fhir2/R4/Patient/{id}");
        emr.answers.insert(path("gone"), (410, FHIR, NOT_THERE.to_owned()));
        emr.answers.remove(&path("absent"));
        emr.answers.insert(path("broken"), (500, FHIR, "{}".to_owned()));
        // A page for people of a server that is up: of this record nobody knows anything.
        let offers = json!({"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1",
            "rest": [{"mode": "server", "resource": [{"type": "Patient"}]}]});
        emr.answers.insert("/ws/fhir2/R4/metadata".to_owned(), (200, FHIR, offers.to_string()));
        emr.answers.insert(path("lost"), (410, "text/html", "<html>Gone</html>".to_owned()));
        emr.say("Patient/other", &patient("somebody-else", "Auma"));
        emr.say("Patient/html", "<html>");
        emr.say("Patient/well", &patient("well", "Akinyi"));
        for id in records.iter().chain(&["well"]) {
            emr.tell("patient", &format!("Patient/{id}"));
        }
    }
    read(&world).await.unwrap();
    assert!(text(&world.centre, "Patient/well").unwrap().contains("Akinyi"));
    assert_eq!(text(&world.centre, "Patient/gone"), None, "410 says that it was deleted");
    for id in ["absent", "broken", "other", "html", "lost"] {
        let held = text(&world.centre, &format!("Patient/{id}"));
        assert_eq!(held, Some(patient(id, "Auma")), "nothing is lost by it");
    }
    assert_eq!(text(&world.centre, "Patient/somebody-else"), None);
    let why = troubles(&world);
    let why = why.iter().map(|(record, why)| format!("{record}: {why}")).collect::<Vec<_>>();
    for (line, words) in why.iter().zip([
        "Patient/absent: it is not there any more (404)",
        "Patient/broken: it answered 500",
        "Patient/html: ",
        "Patient/lost: it answers 410 with what is no OperationOutcome",
        "Patient/other: Patient/somebody-else came where it was asked for",
    ]) {
        assert!(line.starts_with(words), "{line}");
    }
    assert_eq!(why.len(), 5);
    // When it can be read it is, without another word of the feed.
    for id in ["absent", "broken", "other", "html", "lost"] {
        emr.lock().unwrap().say(&format!("Patient/{id}"), &patient(id, "Wanjiku"));
    }
    read(&world).await.unwrap();
    assert_eq!(troubles(&world), []);
    assert!(text(&world.centre, "Patient/broken").unwrap().contains("Wanjiku"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_that_means_no_good_is_a_state_of_its_source_and_nothing_is_taken() {
    let (world, emr) = world().await;
    let head = r#"<feed xmlns="http://www.w3.org/2005/Atom"><title>f</title>"#;
    let url = emr.lock().unwrap().url.clone();
    let recent = "/ws/atomfeed/patient/recent";
    let looped = format!(
        r#"{head}<link rel="via" href="{url}/ws/atomfeed/patient/x"/>
        <link rel="prev-archive" href="{url}{recent}"/></feed>"#
    );
    let foreign = format!(r#"{head}<link rel="via" href="http://elsewhere.example/1"/></feed>"#);
    let named = format!(
        r#"{head}<entry><id>1</id><content>http://elsewhere.example/ws/fhir/Patient/a</content></entry></feed>"#
    );
    for (status, kind, body, words) in [
        (200, ATOM, "this is no feed".to_owned(), "cannot be read"),
        (200, ATOM, r#"<rss version="2.0"></rss>"#.to_owned(), "not an Atom feed"),
        (200, "text/html", "<html>login</html>".to_owned(), "a page for people"),
        (200, ATOM, looped, "its pages loop"),
        (200, ATOM, foreign, "it names URLs of another host (elsewhere.example)"),
        (200, ATOM, named, "it names URLs of another host (elsewhere.example)"),
        (500, ATOM, String::new(), "it answered 500"),
        (302, ATOM, String::new(), "it sends us somewhere else"),
        (401, "text/html", "<html>".to_owned(), "it does not let us in (401"),
    ] {
        emr.lock().unwrap().answers.insert(recent.to_owned(), (status, kind, body));
        let error = read(&world).await.unwrap_err().0;
        assert!(error.contains(words), "{words}: {error}");
        assert_eq!(info(&world).last_error, Some(error));
    }
    assert_eq!(sequence(&world.centre), 0);
    assert!(emr.lock().unwrap().asked.iter().all(|path| !path.contains("fhir2")));
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_09_a_page_that_changed_is_noticed_and_the_feed_can_be_read_again() {
    let (world, emr) = world().await;
    {
        let mut emr = emr.lock().unwrap();
        for id in ["a", "b", "c"] {
            emr.say(&format!("Patient/{id}"), &patient(id, "Auma"));
            emr.tell("patient", &format!("Patient/{id}"));
        }
    }
    read(&world).await.unwrap();
    {
        let mut emr = emr.lock().unwrap();
        emr.entries.get_mut("patient").unwrap().clear();
        emr.say("Patient/d", &patient("d", "Auma"));
        for id in ["a", "d"] {
            emr.tell("patient", &format!("Patient/{id}"));
        }
    }
    let error = read(&world).await.unwrap_err().0;
    assert!(error.contains("has not the entry any more that was read last"), "{error}");
    assert_eq!(text(&world.centre, "Patient/d"), None);
    let (site, name) = (world.centre.site(), "emr".parse().unwrap());
    let before = sequence(&world.centre);
    site.store().source_note(&name, &store::SourceEvent::Again, site.now()).unwrap();
    read(&world).await.unwrap();
    assert!(text(&world.centre, "Patient/d").is_some());
    assert_eq!(sequence(&world.centre), before + 1, "what was known is nothing");
}

/// A patient of the stand-in with an encounter at a clinic of their own and two observations of it.
fn visit(emr: &mut Emr, number: usize, clinic: &str) -> [String; 4] {
    let [p, e] = [format!("p{number}"), format!("e{number}")];
    emr.say(&format!("Patient/{p}"), &patient(&p, "Auma"));
    let mut visit: serde_json::Value = serde_json::from_str(&encounter(&e, &p)).unwrap();
    visit["serviceProvider"] = json!({"reference": format!("Organization/{clinic}")});
    emr.say(&format!("Encounter/{e}"), &visit.to_string());
    let observations = ["a", "b"].map(|which| {
        let id = format!("o{number}{which}");
        let mut seen: serde_json::Value =
            serde_json::from_str(&observation(&id, &p, "36.5")).unwrap();
        seen["encounter"] = json!({"reference": format!("Encounter/{e}")});
        emr.say(&format!("Observation/{id}"), &seen.to_string());
        format!("Observation/{id}")
    });
    let [first, second] = observations;
    [format!("Patient/{p}"), format!("Encounter/{e}"), first, second]
}

/// The sequences by which a site has records; each is there, and no later than what follows it.
fn assert_in_order(site: &DemoSite, records: &[String; 4]) {
    let sequence = |record: &String| {
        let found = site.site().store().record_get(&reference(record), None, &Scope::Everything);
        found.unwrap().unwrap_or_else(|| panic!("{record} is not at {}", site.id())).sequence
    };
    let [patient, encounter, first, second] = records.each_ref().map(sequence);
    assert!(patient <= encounter && encounter <= first.min(second), "{records:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_15_records_come_after_those_they_refer_to_whatever_the_order_of_their_feeds() {
    let east = Definition::Location {
        places: [reference("Organization/east")].into(),
        by: [LocationBy::Encounter].into(),
    };
    for (definition, has_all) in [(Definition::All {}, true), (east, false)] {
        let (mut world, emr) = world_with(["observation", "encounter", "patient"]).await;
        world.add_clinic("clinic", definition, Limits::default()).await;
        let place = |number: usize| if number.is_multiple_of(2) { "east" } else { "west" };
        let mut visits = Vec::new();
        {
            let mut emr = emr.lock().unwrap();
            visits.extend((0..110).map(|number| visit(&mut emr, number, place(number))));
            for record in visits.iter().flatten() {
                emr.tell(&record.split('/').next().unwrap().to_lowercase(), record);
            }
        }
        assert_eq!(read(&world).await.unwrap().parked, 0);
        world.settle().await;
        // Of the next the system has told only what refers to the others, when it is read.
        {
            let mut emr = emr.lock().unwrap();
            visits.extend((110..113).map(|number| visit(&mut emr, number, place(number))));
            for record in visits[110..].iter().flat_map(|visit| &visit[2..]) {
                emr.tell("observation", record);
            }
        }
        assert_eq!(read(&world).await.unwrap().parked, 0);
        world.settle().await;
        let before = sequence(&world.centre);
        {
            let mut emr = emr.lock().unwrap();
            for visit in &visits[110..] {
                emr.tell("encounter", &visit[1]);
                emr.tell("patient", &visit[0]);
            }
        }
        assert_eq!(read(&world).await.unwrap().applied, 0, "it is all here");
        assert_eq!(sequence(&world.centre), before);
        for (number, visit) in visits.iter().enumerate() {
            assert_in_order(&world.centre, visit);
            if has_all || place(number) == "east" {
                assert_in_order(world.clinic(), visit);
            } else {
                assert!(visit.iter().all(|record| text(world.clinic(), record).is_none()));
            }
        }
        assert_eq!(troubles(&world), []);
        world.assert_in_step().await;
    }
}
