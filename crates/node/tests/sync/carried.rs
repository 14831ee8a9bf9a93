//! Third parties carry a clinic's messages to its centre.

use std::io::Write as _;

use node::config::Up;
use node::demo::site::DemoSite;
use node::http::auth::credential_hash;
use protocol::cohort::Definition;
use protocol::delivery::DeliveryState;
use protocol::message::{self, Receipt};
use protocol::{Limits, SiteId};
use serde_json::{Value, json};
use store::{DeliveryFilter, TokenDraft, TokenScope};

use crate::world::*;

const POST: &str = "/fhir/$process-message";
const FHIR: (&str, &str) = ("content-type", "application/fhir+json");

/// A centre and a clinic that sends nothing itself, with a credential at each for a third party.
async fn world() -> World {
    world_with(Limits::default()).await
}

async fn world_with(limits: Limits) -> World {
    let mut world = World::centre_with(limits.clone()).await;
    world.add_clinic("clinic", Definition::All {}, limits).await;
    let clinic = &mut world.clinics[0];
    let mut config = clinic.site().config().clone();
    config.parent.as_mut().unwrap().up = Up::Carried;
    let credential = clinic.site().credential().map(str::to_owned);
    clinic.restart(config, credential).await.unwrap();
    add_token(world.clinic(), "mirth", TokenScope::Outbox, &[]);
    add_token(&world.centre, "mirth", TokenScope::Carry, &["clinic"]);
    world
}

pub(crate) fn add_token(
    site: &DemoSite,
    name: &str,
    scope: TokenScope,
    children: &[&str],
) -> String {
    let secret = format!("{name}-at-{}", site.id());
    let token = TokenDraft {
        name: name.to_owned(),
        scope,
        children: children.iter().map(|child| child.parse::<SiteId>().unwrap()).collect(),
        hash: credential_hash(&secret),
        expires: None,
    };
    site.site().store().token_add(&token, site.site().now()).unwrap();
    secret
}

async fn call(
    site: &DemoSite,
    token: &str,
    method: &str,
    path: &str,
    body: impl Into<Vec<u8>>,
) -> (u16, Value) {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), FHIR];
    let (status, body) = http(site, method, path, &headers, body.into()).await;
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

async fn lease(world: &World) -> Vec<Value> {
    let ask = json!({"max": 50, "as": "fhir-message-text"}).to_string();
    let (status, told) =
        call(world.clinic(), "mirth-at-clinic", "POST", "/outbox/lease", ask).await;
    assert_eq!(status, 200, "{told}");
    told["messages"].as_array().unwrap().clone()
}

async fn post(world: &World, message: &Value) -> (u16, Value) {
    let text = message["message"].as_str().unwrap().to_owned();
    call(&world.centre, "mirth-at-centre", "POST", POST, text).await
}

async fn say(world: &World, message: &Value, word: &str, mut said: Value) -> (u16, Value) {
    said["lease"] = message["lease"].clone();
    let path = format!("/outbox/{}/{word}", message["id"].as_str().unwrap());
    call(world.clinic(), "mirth-at-clinic", "POST", &path, said.to_string()).await
}

/// Carries until there is nothing left; gives how many messages that were.
pub(crate) async fn carry(world: &World) -> usize {
    let mut count = 0;
    loop {
        let messages = lease(world).await;
        if messages.is_empty() {
            return count;
        }
        for message in messages {
            count += 1;
            let (status, answer) = post(world, &message).await;
            assert_eq!(status, 200, "{answer}");
            let (status, told) =
                say(world, &message, "delivered", json!({"evidence": answer})).await;
            assert_eq!((status, told["state"].as_str()), (200, Some("done")), "{told}");
        }
    }
}

fn code(answer: &Value) -> &str {
    answer["entry"][0]["resource"]["response"]["code"].as_str().unwrap_or("")
}

fn diagnostics(answer: &Value) -> &str {
    answer["entry"][1]["resource"]["issue"][0]["diagnostics"].as_str().unwrap_or("")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_third_party_carries_everything_and_the_site_sends_nothing_itself() {
    let world = world().await;
    let clinic = world.clinic();
    let first = [patient("a", "Auma"), observation("a1", "a", "36.50")];
    clinic.record("nurse", &first).await.unwrap();
    clinic.record("nurse", &[observation("a2", "a", "37.00")]).await.unwrap();
    clinic.record("nurse", &[patient("b", "Barasa")]).await.unwrap();
    clinic.record("nurse", &[location("ward", "Ward 3")]).await.unwrap();
    let round = clinic.round().await.unwrap();
    assert_eq!((round.sent, text(&world.centre, "Patient/a")), (0, None), "it was sent directly");
    assert_eq!(carry(&world).await, 3, "a message for each patient, and one for the ward");
    assert_eq!(text(&world.centre, "Observation/a1"), Some(first[1].clone()));
    // A deletion, and an edit from the other side.
    world.centre.record("registrar", &[patient("c", "Chege")]).await.unwrap();
    let gone = protocol::resource::Record::deleted(reference("Observation/a2"));
    clinic.record_all("nurse", vec![gone]).await.unwrap();
    carry(&world).await;
    assert_eq!(text(&world.centre, "Observation/a2"), None);
    world.settle().await;
    world.assert_in_step().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_29_a_third_partys_credential_opens_nothing_else() {
    let mut world = world().await;
    world.add_clinic("other", Definition::All {}, Limits::default()).await;
    world.clinic().record("nurse", &[patient("a", "Auma")]).await.unwrap();
    world.centre.record("registrar", &[patient("c", "Chege")]).await.unwrap();
    let message = lease(&world).await.remove(0);
    for (site, token) in [(world.clinic(), "mirth-at-clinic"), (&world.centre, "mirth-at-centre")] {
        for (method, path) in [
            ("GET", "/fhir/Patient"),
            ("GET", "/fhir/Patient/a"),
            ("GET", "/fhir/_history"),
            ("PUT", "/fhir/Patient/x"),
            ("POST", "/fhir/"),
            ("GET", "/feeds"),
            ("GET", "/feeds/reference/recent"),
            ("GET", "/sync/conflicts"),
            ("GET", "/sync/patients/a/timeline"),
            ("POST", "/sync/status"),
            ("POST", "/sync/receipts"),
            ("GET", "/sync/feeds/clinic/changes?after=0"),
        ] {
            let (status, told) = call(site, token, method, path, patient("x", "X")).await;
            assert_eq!(status, 403, "{token} {method} {path}: {told}");
        }
    }
    // Nor do others do what is a third party's.
    let writer = add_token(world.clinic(), "emr", TokenScope::FhirWrite, &[]);
    for path in ["/outbox", "/outbox/1"] {
        assert_eq!(call(world.clinic(), &writer, "GET", path, "").await.0, 403);
    }
    assert_eq!(call(world.clinic(), &writer, "POST", "/outbox/lease", "").await.0, 403);
    assert_eq!(http(world.clinic(), "POST", "/outbox/lease", &[], vec![]).await.0, 403);
    let text = message["message"].as_str().unwrap();
    let writer = add_token(&world.centre, "emr", TokenScope::FhirWrite, &[]);
    let outbox = add_token(&world.centre, "odd", TokenScope::Outbox, &[]);
    let other = add_token(&world.centre, "him", TokenScope::Carry, &["other"]);
    for token in [&writer, &outbox, &other] {
        assert_eq!(call(&world.centre, token, "POST", POST, text).await.0, 403, "{token}");
    }
    let sibling = world.clinics[1].site().credential().unwrap();
    assert_eq!(call(&world.centre, sibling, "POST", POST, text).await.0, 403);
    assert_eq!(crate::world::text(&world.centre, "Patient/a"), None, "a stranger's word counted");
    let own = world.clinic().site().credential().unwrap();
    let (status, answer) = call(&world.centre, own, "POST", POST, text).await;
    assert_eq!((status, code(&answer)), (200, "ok"), "{answer}");
    let revoked = world.clinic().site().store();
    assert!(revoked.token_revoke("mirth", world.clinic().site().now()).unwrap());
    let path = "/outbox/lease";
    assert_eq!(call(world.clinic(), "mirth-at-clinic", "POST", path, "").await.0, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_29_a_third_party_adds_nothing_to_what_it_carries() {
    let world = world().await;
    for id in ["a", "b"] {
        world.clinic().record("nurse", &[patient(id, "Auma")]).await.unwrap();
    }
    let messages = lease(&world).await;
    let text = messages[0]["message"].as_str().unwrap();
    let author = "{\"url\":\"author\",\"valueString\":\"";
    assert!(text.contains(author));
    let covers = format!("{{\"url\":\"covers\",\"valueString\":\"1 2 3 4 5 6\"}},{author}");
    let without_proof = text.replace("\"url\":\"proof\"", "\"url\":\"seal\"");
    let forged = [
        text.replace(author, &format!("{author}dr-")),
        // Numbers that it does not bring would be taken for held.
        text.replace(author, &covers),
        without_proof,
    ];
    for forged in forged {
        let (status, told) = call(&world.centre, "mirth-at-centre", "POST", POST, forged).await;
        assert_eq!(status, 403, "{told}");
        let said = told["issue"][0]["diagnostics"].as_str().unwrap_or("");
        assert!(said.contains("has no proof that clinic wrote it"), "{told}");
    }
    assert_eq!(sequence(&world.centre), 0);
    for message in &messages {
        assert_eq!(post(&world, message).await.0, 200);
    }
    for id in ["Patient/a", "Patient/b"] {
        assert!(crate::world::text(&world.centre, id).is_some(), "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_12_a_duplicate_is_answered_as_such_and_a_refusal_is_told_from_a_failure() {
    let world = world_with(Limits { message_bytes: 3 << 20, ..Limits::default() }).await;
    world.clinic().record("nurse", &[patient("a", "Auma")]).await.unwrap();
    let message = lease(&world).await.remove(0);
    let text = message["message"].as_str().unwrap();
    let carrier = "mirth-at-centre";
    let altered = text.replace("1984-02", "1984-03");
    let (status, answer) = call(&world.centre, carrier, "POST", POST, altered).await;
    assert_eq!((status, code(&answer)), (200, "fatal-error"), "{answer}");
    assert!(diagnostics(&answer).contains("Patient/a was altered on the way"), "{answer}");
    assert!(!answer.to_string().contains("1984"), "a refusal holds patient content");
    for words in ["applied", "already", "already"] {
        let (status, answer) = post(&world, &message).await;
        assert_eq!((status, code(&answer)), (200, "ok"), "{answer}");
        assert_eq!(diagnostics(&answer), words);
    }
    assert_eq!(sequence(&world.centre), 1);
    for (body, expected) in [
        ("not json".to_owned(), 400),
        ("{}".to_owned(), 422),
        (patient("x", "X"), 422),
        (text.replace("urn:tributary:message:change", "urn:x"), 400),
        (text.replace("\"valueString\":\"centre\"", "\"valueString\":\"elsewhere\""), 422),
        (format!("{text}{}", " ".repeat(3 << 20)), 413),
    ] {
        let (status, answer) = call(&world.centre, carrier, "POST", POST, body).await;
        assert_eq!(status, expected, "{answer}");
        assert_eq!(answer["resourceType"], "OperationOutcome");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_may_come_as_gzip_and_is_answered_so() {
    let world = world().await;
    world.clinic().record("nurse", &[patient("a", "Auma")]).await.unwrap();
    let message = lease(&world).await.remove(0);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(message["message"].as_str().unwrap().as_bytes()).unwrap();
    let packed = packed.finish().unwrap();
    let headers = [
        ("authorization", "Bearer mirth-at-centre"),
        FHIR,
        ("content-encoding", "gzip"),
        ("accept-encoding", "gzip"),
    ];
    let (status, body) = http(&world.centre, "POST", POST, &headers, packed).await;
    assert_eq!(status, 200);
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&body[..]), &mut text).unwrap();
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(diagnostics(&answer), "applied");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_comes_by_the_next_contact_and_none_can_be_forged() {
    let limits = Limits { receipt_seconds: 1, ..Limits::default() };
    let world = world_with(limits).await;
    let clinic = world.clinic();
    clinic.record("nurse", &[patient("a", "Auma")]).await.unwrap();
    let message = lease(&world).await.remove(0);
    // A third party that lies well: it knows how the parent answers, and not its secret.
    let id = "urn:tributary:change:clinic:".to_owned() + message["id"].as_str().unwrap();
    let (epoch, number) = id.rsplit_once('-').unwrap();
    let id: protocol::ChangeId = format!("{epoch}:{number}").parse().unwrap();
    let receipt = Receipt {
        differs: vec![],
        id: id.clone(),
        attempt: 1,
        outcome: protocol::delivery::Outcome::Applied,
        reason: None,
        sequence: 1,
        digests: Vec::new(),
    };
    let proof = message::Proof::of(&receipt.to_text(), &[0; 32]);
    let answer = message::Answer::Done(receipt, Some(proof));
    let forged = message::write_answer(&id, world.centre.id(), &answer, clinic.site().now());
    let (status, told) = say(&world, &message, "delivered", json!({"evidence": forged})).await;
    assert_eq!((status, told["state"].as_str()), (200, Some("handed-over")), "{told}");
    assert!(told["evidence"].as_str().unwrap().starts_with("not taken"), "{told}");
    clinic.round().await.unwrap();
    assert_eq!(undelivered(clinic), 1, "the site believed a third party");
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    assert_eq!(node::jobs::outbox::take_back(clinic.site()).await, 1);
    let status = clinic.site().store().site_status(clinic.site().now()).unwrap();
    assert_eq!(status.outbox.missing, 1);
    // It repents, and forgets to say so: the parent tells.
    let again = lease(&world).await.remove(0);
    assert_eq!(again["attempt"], 2);
    assert_eq!(post(&world, &again).await.0, 200);
    assert_eq!(say(&world, &again, "delivered", json!({})).await.1["state"], "handed-over");
    let round = clinic.round().await.unwrap();
    assert_eq!((round.sent, undelivered(clinic)), (1, 0));
    assert_eq!(say(&world, &again, "delivered", json!({})).await.1["state"], "done");
    world.settle().await;
    world.assert_in_step().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_stored_is_worked_off_after_a_power_failure() {
    let mut world = world().await;
    world.clinic().record("nurse", &[patient("a", "Auma")]).await.unwrap();
    let message = lease(&world).await.remove(0);
    let read = message::read(message["message"].as_str().unwrap().as_bytes(), &Limits::default());
    let read = read.unwrap();
    // What the handler stores before it answers, and nothing after.
    let post = store::Post {
        child: read.envelope.from,
        epoch: read.envelope.epoch,
        id: read.id,
        attempt: 1,
        carrier: "program:mirth".to_owned(),
        digest: [9; 32],
        body: message["message"].as_str().unwrap().to_owned(),
    };
    let centre = world.centre.site();
    let posted = centre.store().inbox_take(&post, centre.now()).unwrap();
    assert!(matches!(posted, store::Posted::Stored(_)));
    world.centre.lose_power().await.unwrap();
    assert_eq!(text(&world.centre, "Patient/a"), None);
    tokio::time::sleep(std::time::Duration::from_millis(1_050)).await;
    assert_eq!(node::jobs::messages::step(world.centre.site()).await, 1);
    assert!(text(&world.centre, "Patient/a").is_some());
    world.settle().await;
    assert_eq!(undelivered(world.clinic()), 1, "its lease lives, so the parent was not asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_outbox_shows_what_waits_and_what_happened_and_refuses_what_it_cannot_do() {
    let world = world().await;
    let clinic = world.clinic();
    for id in ["a", "b", "c"] {
        clinic.record("nurse", &[patient(id, "Auma")]).await.unwrap();
    }
    let messages = lease(&world).await;
    let token = "mirth-at-clinic";
    let (_, told) = say(&world, &messages[0], "failed", json!({"error": "no\nroute"})).await;
    assert_eq!(told["state"], "returned");
    say(&world, &messages[1], "failed", json!({"error": "422", "retry": false})).await;
    let list = async |query: &str| {
        let (status, told) = call(clinic, token, "GET", &format!("/outbox{query}"), "").await;
        assert_eq!(status, 200, "{told}");
        let list = told["deliveries"].as_array().unwrap().clone();
        list.iter().map(|one| one["state"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(list("").await, ["retry", "parked", "leased"]);
    assert_eq!(list("?state=leased").await, ["leased"]);
    assert_eq!(list("?patient=Patient/b").await, ["parked"]);
    assert_eq!(list("?after=1&limit=1").await, ["parked"]);
    let path = format!("/outbox/{}", messages[0]["id"].as_str().unwrap());
    let (_, told) = call(clinic, token, "GET", &path, "").await;
    let events = told["message"]["events"].as_array().unwrap();
    assert_eq!((events[1]["what"].as_str(), events.len()), (Some("failed"), 2));
    assert_eq!(events[1]["detail"], "no route");
    let (_, told) = call(clinic, token, "GET", "/outbox/2", "").await;
    assert_eq!(told["delivery"]["reason"], "422");
    for (method, path, body, expected) in [
        ("GET", "/outbox/99", "", 404),
        ("GET", "/outbox/nothing", "", 404),
        ("GET", "/outbox?state=lost", "", 400),
        ("POST", "/outbox/nothing/delivered", "{\"lease\":\"x\"}", 404),
        ("POST", "/outbox/lease", "{\"max\":\"many\"}", 400),
        ("POST", "/outbox/lease", "{\"unknown\":1}", 400),
        ("POST", &format!("{path}/delivered"), "{}", 400),
        ("POST", &format!("{path}/delivered"), "{\"lease\":\"x\"}", 409),
    ] {
        let (status, told) = call(clinic, token, method, path, body).await;
        assert_eq!(status, expected, "{method} {path}: {told}");
    }
    let (_, told) = call(clinic, token, "POST", "/outbox/lease", "{\"lanes\":[\"urgent\"]}").await;
    assert_eq!(told["messages"], json!([]));
    let parked = DeliveryFilter { state: Some(DeliveryState::Parked), limit: 9, ..<_>::default() };
    assert_eq!(clinic.site().store().delivery_list(&parked).unwrap().len(), 1);
    add_token(&world.centre, "odd", TokenScope::Outbox, &[]);
    let (status, told) = call(&world.centre, "odd-at-centre", "POST", "/outbox/lease", "").await;
    assert_eq!(status, 409, "{told}");
}
