//! The client against servers, proxies and logins of all kinds, over a way that is played.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, stream};
use protocol::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::config::{LoginConfig, LoginKind};
use crate::ports::system::OsEntropy;

type Answer = (u16, Vec<(&'static str, String)>, String);

/// Gives one answer after the other, and keeps what it was asked.
#[derive(Default)]
struct Played {
    answers: Mutex<VecDeque<Answer>>,
    asked: Mutex<Vec<Request>>,
}

impl Played {
    fn say(&self, status: u16, body: &str) {
        self.say_with(status, &[("content-type", FHIR_JSON)], body);
    }
    fn say_with(&self, status: u16, headers: &[(&'static str, &str)], body: &str) {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        self.answers.lock().unwrap().push_back((status, headers, body.to_owned()));
    }
    fn asked(&self) -> Vec<Request> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

impl Transport for Played {
    fn send(&self, request: Request) -> BoxFuture<'static, Result<Response, LinkError>> {
        self.asked.lock().unwrap().push(request);
        let answer = self.answers.lock().unwrap().pop_front();
        let Some((status, headers, body)) = answer else {
            return futures::future::ready(Err(LinkError("no link".to_owned()))).boxed();
        };
        let headers = headers.into_iter().map(|(name, value)| {
            (HeaderName::from_static(name), HeaderValue::try_from(value).unwrap())
        });
        futures::future::ready(Ok(Response {
            status: StatusCode::from_u16(status).unwrap(),
            headers: headers.collect::<HeaderMap>(),
            body: stream::iter([Ok(Bytes::from(body))]).boxed(),
        }))
        .boxed()
    }
}

/// A clock that a test moves, and on which nobody waits for long.
struct Hands(Mutex<i64>);

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(*self.0.lock().unwrap())
    }
    fn sleep(&self, _: u64) -> BoxFuture<'static, ()> {
        futures::future::pending().boxed()
    }
}

const NOW: i64 = 1_795_421_730_000;

fn server(login: Login) -> (FhirServer, Arc<Played>, Arc<Hands>) {
    let (played, hands) = (Arc::new(Played::default()), Arc::new(Hands(Mutex::new(NOW))));
    let ways = Ways {
        transport: played.clone(),
        clock: hands.clone(),
        entropy: Arc::new(OsEntropy),
        idle_seconds: 5,
    };
    let server = FhirServer::new("https://emr.example/fhir", login, ways, &Limits::default());
    (server.unwrap(), played, hands)
}

fn name(text: &str) -> RecordRef {
    text.parse().unwrap()
}

fn outcome(code: &str, words: &str) -> String {
    json!({"resourceType": "OperationOutcome",
        "issue": [{"severity": "error", "code": code, "diagnostics": words}]})
    .to_string()
}

fn authorization(request: &Request) -> String {
    let value = request.headers.get("authorization");
    value.map_or(String::new(), |value| value.to_str().unwrap().to_owned())
}

/// A server's own word that it has not got a record.
const NOT_THERE: &str = r#"{"resourceType":"OperationOutcome","issue":[{"severity":"error"}]}"#;

#[tokio::test]
async fn what_stands_before_a_server_deletes_nothing() {
    let (server, played, _) = server(Login::none());
    let a = name("Patient/a");
    for (status, body) in [
        (404, "404 page not found"),
        (404, r#"{"message":"no Route matched with those values"}"#),
        (410, "<html>gone</html>"),
    ] {
        played.say(status, body);
        let read = server.read(&a).await.unwrap_err();
        assert!(matches!(&read, FhirError::Away { .. }), "{body}: {read:?}");
        played.say(status, body);
        let deleted = server.delete(&a).await.unwrap_err();
        assert!(matches!(&deleted, FhirError::Away { .. }), "{body}: {deleted:?}");
    }
    // Where nothing is said at all, the server is asked who it is.
    let offers = json!({"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1",
        "rest": [{"mode": "server", "resource": [{"type": "Patient"}]}]});
    let offers = offers.to_string();
    played.say(404, "");
    played.say(404, "");
    assert!(matches!(server.read(&a).await, Err(FhirError::Away { .. })));
    played.say(404, "");
    played.say(200, &offers);
    assert_eq!(server.read(&a).await, Ok(Read::Absent));
}

#[tokio::test]
async fn of_many_records_one_may_be_answered_by_what_is_no_fhir() {
    let (server, played, _) = server(Login::none());
    let a = name("Patient/a");
    let offers = json!({"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1",
        "rest": [{"mode": "server", "resource": [{"type": "Patient"}]}]});
    let offers = offers.to_string();
    let html = [("content-type", "text/html")];
    for (status, body) in [(404, "404 page not found"), (410, "<html>gone</html>")] {
        played.say_with(status, &html, body);
        played.say(200, &offers);
        let read = server.read_one_of_many(&a).await.unwrap_err();
        let words = format!("it answers {status} with what is no OperationOutcome");
        assert_eq!(read, FhirError::Refused(words));
        // While it restarts, everything is answered so.
        played.say_with(status, &html, body);
        played.say_with(status, &html, body);
        let read = server.read_one_of_many(&a).await.unwrap_err();
        assert!(matches!(&read, FhirError::Away { .. }), "{body}: {read:?}");
    }
    for (status, body, read) in [(404, NOT_THERE, Read::Absent), (410, NOT_THERE, Read::Gone)] {
        played.say(status, body);
        assert_eq!(server.read_one_of_many(&a).await, Ok(read));
    }
    played.say_with(401, &html, "<html>login</html>");
    let read = server.read_one_of_many(&a).await.unwrap_err();
    assert!(matches!(&read, FhirError::Away { .. }), "{read:?}");
}

#[tokio::test]
async fn a_record_is_read_written_and_deleted_under_its_own_id() {
    let (server, played, _) = server(Login::basic("user", "a:b:c").unwrap());
    played.say_with(200, &[("etag", "W/\"3\"")], "{\"resourceType\":\"Patient\"}");
    played.say(410, NOT_THERE);
    played.say(404, NOT_THERE);
    played.say_with(201, &[("etag", "W/\"4\"")], "");
    played.say(412, "");
    played.say(204, "");
    played.say(404, NOT_THERE);
    let a = name("Patient/a");
    let body = b"{\"resourceType\":\"Patient\"}".to_vec();
    assert_eq!(server.read(&a).await, Ok(Read::Body(body, Some("3".to_owned()))));
    assert_eq!(server.read(&a).await, Ok(Read::Gone));
    assert_eq!(server.read(&a).await, Ok(Read::Absent));
    assert_eq!(server.put(&a, "{}", None).await, Ok(Some("4".to_owned())));
    assert_eq!(server.put(&a, "{}", Some("4")).await, Err(FhirError::Changed));
    assert_eq!(server.delete(&a).await, Ok(()));
    assert_eq!(server.delete(&a).await, Ok(()), "what is not there is deleted");
    let asked = played.asked();
    let of = |request: &Request, name: &str| {
        request.headers.get(name).map(|value| value.to_str().unwrap().to_owned())
    };
    assert!(asked.iter().all(|request| request.url == "https://emr.example/fhir/Patient/a"));
    let methods = asked.iter().map(|request| request.method.as_str()).collect::<Vec<_>>();
    assert_eq!(methods, ["GET", "GET", "GET", "PUT", "PUT", "DELETE", "DELETE"]);
    assert_eq!(of(&asked[0], "cache-control").as_deref(), Some("no-cache"));
    assert_eq!(of(&asked[3], "if-match"), None);
    assert_eq!(of(&asked[4], "if-match").as_deref(), Some("W/\"4\""));
    assert_eq!(authorization(&asked[0]), format!("Basic {}", STANDARD.encode("user:a:b:c")));
    // No URL can name these: the way would lead to somewhere else.
    for id in ["Patient/..", "Patient/."] {
        let refused = server.delete(&name(id)).await;
        assert!(matches!(refused, Err(FhirError::Refused(_))), "{refused:?}");
    }
    assert!(played.asked().is_empty());
}

#[tokio::test]
async fn a_failure_of_the_link_is_never_taken_for_the_refusal_of_a_record() {
    let (server, played, _) = server(Login::none());
    let html = [("content-type", "text/html")];
    let fhir = [("content-type", FHIR_JSON)];
    let refusal = outcome("invariant", "the name of Achieng is wrong");
    let later = [("content-type", FHIR_JSON), ("retry-after", "120")];
    let elsewhere = [("location", "https://login.example/")];
    for (status, headers, body, expected) in [
        (200, &html[..], "<html>login", "away: it answers with a page for people"),
        (200, &fhir, "  <html>", "away: it answers with a page for people"),
        (302, &elsewhere, "", "away: it sends us somewhere else"),
        (401, &html, "<html>", "away: it does not let us in (401"),
        (404, &html, "<html>", "away: it answers with a page for people"),
        (429, &later, "", "away 120: it answered 429"),
        (503, &later, "", "away 120: it answered 503"),
        (502, &html, "<html>bad gateway", "away: it answered 502"),
        (408, &fhir, "", "away: it answered 408"),
        (403, &html, "<html>", "unclear: it answered 403"),
        (500, &fhir, &refusal, "unclear: it answered 500: invariant: the name of … is wrong"),
        (400, &html, "<html>nginx", "unclear: it answered 400"),
        (400, &fhir, "", "unclear: it answered 400"),
        (400, &fhir, &refusal, "refused: the server refuses it (400): invariant: the name of …"),
        (404, &fhir, &refusal, "refused: the server refuses it (404)"),
        (409, &fhir, &refusal, "refused: the server refuses it (409)"),
        (412, &fhir, &refusal, "refused: the server refuses it (412)"),
        (422, &fhir, &refusal, "refused: the server refuses it (422)"),
        (413, &fhir, "", "too much: it answered 413"),
    ] {
        played.say_with(status, headers, body);
        let body = r#"{"resourceType":"Patient","id":"a","name":[{"family":"Achieng"}]}"#;
        let error = server.put(&name("Patient/a"), body, None).await.unwrap_err();
        let told = match &error {
            FhirError::Away { wait: None, .. } => format!("away: {error}"),
            FhirError::Away { wait: Some(wait), .. } => format!("away {wait}: {error}"),
            FhirError::Unclear(_) => format!("unclear: {error}"),
            FhirError::Refused(_) => format!("refused: {error}"),
            FhirError::TooMuch(_) => format!("too much: {error}"),
            FhirError::Changed => "changed".to_owned(),
        };
        assert!(told.starts_with(expected), "{status} {expected}: {told}");
        assert!(!told.contains("Achieng"), "{told}");
    }
    let error = server.put(&name("Patient/a"), "{}", None).await.unwrap_err();
    assert_eq!(error, LinkError("no link".to_owned()).into());
}

#[tokio::test]
async fn a_transaction_is_answered_entry_by_entry_or_not_at_all() {
    let (server, played, _) = server(Login::none());
    let (a, b) = (name("Patient/a"), name("Patient/b"));
    let body = r#"{"resourceType":"Patient","id":"a","multipleBirthInteger":1.00}"#;
    let actions = [Action::Put { record: &a, body, if_match: None }, Action::Delete { record: &b }];
    let sent = transaction(server.base(), actions);
    assert!(sent.contains("1.00"), "bodies go verbatim");
    let read: Value = serde_json::from_str(&sent).unwrap();
    assert_eq!(read["entry"][0]["fullUrl"], "https://emr.example/fhir/Patient/a");
    assert_eq!(read["entry"][0]["request"], json!({"method": "PUT", "url": "Patient/a"}));
    assert_eq!(read["entry"][1], json!({"request": {"method": "DELETE", "url": "Patient/b"}}));
    let answer = |entries: Value| {
        json!({"resourceType": "Bundle", "type": "transaction-response", "entry": entries})
            .to_string()
    };
    let ok = |status: &str| json!({"response": {"status": status, "etag": "W/\"2\""}});
    let refused = json!({"response": {"status": "422 Unprocessable", "outcome":
        {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "value"}]}}});
    played.say(200, &answer(json!([ok("201 Created"), ok("204")])));
    played.say(200, &answer(json!([refused, {"response": {"status": "404"}}])));
    let done = EntryAnswer::Done(Some("2".to_owned()));
    let private = Private::default();
    let transact = || server.transact(sent.clone(), &private, &[false, true]);
    assert_eq!(transact().await, Ok(vec![done.clone(), done]));
    let words = "the server refuses it (422): value".to_owned();
    assert_eq!(transact().await, Ok(vec![EntryAnswer::Refused(words), EntryAnswer::Done(None)]));
    // What was to be written and is not there was not written.
    let absent = || json!({"response": {"status": "404"}});
    played.say(200, &answer(json!([absent(), absent()])));
    let words = EntryAnswer::Refused("the server refuses it (404)".to_owned());
    assert_eq!(transact().await, Ok(vec![words, EntryAnswer::Done(None)]));
    for (body, words) in [
        (answer(json!([ok("200")])), "tells of 1 entries, and 2 were sent"),
        (answer(json!([ok("200"), {}])), "does not tell of each entry"),
        (sent.clone(), "is no transaction-response"),
        ("{\"resourceType\":\"Bundle\",\"ty".to_owned(), "cannot be read"),
    ] {
        played.say(200, &body);
        let error = transact().await.unwrap_err();
        assert!(matches!(&error, FhirError::Away { .. }), "{error:?}");
        assert!(error.to_string().contains(words), "{error}");
    }
    played.say(404, "");
    assert!(matches!(transact().await, Err(FhirError::Away { .. })), "it takes no Bundles there");
    played.say(404, &outcome("not-found", "what is to be deleted is not there"));
    assert!(matches!(transact().await, Err(FhirError::Refused(_))));
    assert!(played.asked().iter().all(|request| request.url == "https://emr.example/fhir"));
}

#[tokio::test]
async fn pages_that_loop_never_end_or_lead_elsewhere_are_given_up() {
    let (server, played, _) = server(Login::none());
    let page = |next: &str, entries: Value| {
        json!({"resourceType": "Bundle", "type": "searchset", "entry": entries,
            "link": [{"relation": "next", "url": next}]})
        .to_string()
    };
    let entries = json!([{"resource": {"resourceType": "Patient", "id": "a"}}]);
    played.say(200, &page("http://10.0.0.1:8080/fhir/Patient?page=2", entries.clone()));
    played.say(200, r#"{"resourceType":"Bundle","entry":[]}"#);
    let mut pages = server.pages("Patient?_count=100").unwrap();
    let first = pages.next().await.unwrap().unwrap();
    assert_eq!(first.found[0].record, Some(name("Patient/a")));
    assert_eq!(first.next.as_deref(), Some("/fhir/Patient?page=2"));
    assert_eq!(pages.next().await.unwrap().unwrap().next, None);
    assert_eq!(pages.next().await, Ok(None));
    let asked = played.asked();
    assert_eq!(asked[1].url, "https://emr.example/fhir/Patient?page=2");

    played.say(200, &page("Patient?page=1", entries.clone()));
    let mut pages = server.pages("Patient?page=1").unwrap();
    pages.next().await.unwrap();
    assert!(pages.next().await.unwrap_err().to_string().contains("loop"));

    let mut pages = server.pages("Patient?page=1").unwrap();
    for number in 2..100 {
        played.say(200, &page(&format!("Patient?page={number}"), json!([])));
    }
    let error = loop {
        if let Err(error) = pages.next().await {
            break error;
        }
    };
    assert!(error.to_string().contains("in a row are empty"), "{error}");
    assert!(played.asked().len() < 30);
    *played.answers.lock().unwrap() = VecDeque::new();

    played.say(200, &page("https://elsewhere.example/x", entries));
    played.say(200, "{\"resourceType\":\"Patient\"}");
    for words in ["not below `url` (it is at elsewhere.example)", "is no Bundle"] {
        let error = server.pages("Patient").unwrap().next().await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    assert!(played.asked().iter().all(|request| request.url.starts_with("https://emr.example/")));
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_given_up() {
    let (server, played, _) = server(Login::none());
    played.say(200, &" ".repeat(3 << 20));
    let error = server.read(&name("Patient/a")).await.unwrap_err();
    assert!(matches!(&error, FhirError::Away { .. }), "{error:?}");
    assert!(error.to_string().contains("longer than"), "{error}");
}

fn token(value: &str) -> String {
    json!({"access_token": value, "token_type": "bearer", "expires_in": 600}).to_string()
}

#[tokio::test]
async fn a_client_gets_a_token_keeps_it_and_gets_another_one_in_time() {
    let config = LoginConfig {
        kind: LoginKind::ClientCredentials,
        client_id: Some("our site".to_owned()),
        token_url: Some("https://login.example/token".to_owned()),
        ..LoginConfig::default()
    };
    let (server, played, hands) = server(Login::of(&config, Some("s:e&cret")).unwrap());
    let a = name("Patient/a");
    let read = || async { server.read(&a).await };
    played.say(200, &token("one"));
    played.say(404, NOT_THERE);
    played.say(404, NOT_THERE);
    read().await.unwrap();
    read().await.unwrap();
    *hands.0.lock().unwrap() += 571_000;
    played.say(200, &token("two"));
    played.say(404, NOT_THERE);
    read().await.unwrap();
    // It was revoked there: one other is asked for, and not a third.
    played.say(401, "");
    played.say(200, &token("three"));
    played.say(401, "");
    assert!(read().await.unwrap_err().to_string().contains("does not let us in"));
    let asked = played.asked();
    let told = asked.iter().map(|request| match request.url.as_str() {
        "https://login.example/token" => "token".to_owned(),
        _ => authorization(request),
    });
    let told = told.collect::<Vec<_>>();
    assert_eq!(
        told,
        [
            "token",
            "Bearer one",
            "Bearer one",
            "token",
            "Bearer two",
            "Bearer two",
            "token",
            "Bearer three"
        ]
    );
    assert_eq!(
        authorization(&asked[0]),
        format!("Basic {}", STANDARD.encode("our+site:s%3Ae%26cret"))
    );
    assert_eq!(asked[0].body, "grant_type=client_credentials");
    played.say(400, r#"{"error":"invalid_client","error_description":"Achieng"}"#);
    let error = read().await.unwrap_err();
    assert!(matches!(&error, FhirError::Away { .. }));
    assert!(error.to_string().contains("no token (400, invalid_client)"), "{error}");
    played.say(200, "<html>");
    assert!(read().await.unwrap_err().to_string().contains("gives no token: check token_url"));
}

#[tokio::test]
async fn a_client_of_smart_backend_services_signs_for_the_place_that_the_server_names() {
    let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
    let der = pair.to_pkcs8v1().unwrap();
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        STANDARD.encode(der.as_ref())
    );
    let config = LoginConfig {
        kind: LoginKind::Smart,
        client_id: Some("site".to_owned()),
        key_id: Some("k1".to_owned()),
        ..LoginConfig::default()
    };
    let (server, played, _) = server(Login::of(&config, Some(&pem)).unwrap());
    let place = json!({"token_endpoint": "https://login.example/token"}).to_string();
    played.say(200, &place);
    played.say(200, &token("one"));
    played.say(404, NOT_THERE);
    assert_eq!(server.read(&name("Patient/a")).await, Ok(Read::Absent));
    let asked = played.asked();
    assert_eq!(asked[0].url, "https://emr.example/fhir/.well-known/smart-configuration");
    assert_eq!(authorization(&asked[2]), "Bearer one");
    let form = String::from_utf8(asked[1].body.to_vec()).unwrap();
    let form = Url::parse(&format!("http://localhost/?{form}")).unwrap();
    let form = form.query_pairs().into_owned().collect::<std::collections::BTreeMap<_, _>>();
    assert_eq!(form["scope"], "system/*.cruds");
    assert_eq!(
        form["client_assertion_type"],
        "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    );
    let public = jsonwebtoken::DecodingKey::from_ec_der(pair.public_key().as_ref());
    let mut rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::ES384);
    rules.set_audience(&["https://login.example/token"]);
    rules.validate_exp = false;
    let said = jsonwebtoken::decode::<Value>(&form["client_assertion"], &public, &rules).unwrap();
    assert_eq!(said.header.kid.as_deref(), Some("k1"));
    let claims = said.claims;
    assert_eq!((&claims["iss"], &claims["sub"]), (&json!("site"), &json!("site")));
    assert_eq!(claims["exp"], json!(NOW / 1_000 + 300));
    assert_eq!(claims["jti"].as_str().unwrap().len(), 36);

    for (answer, words) in [
        ("{}", "does not say where tokens are given out"),
        (r#"{"token_endpoint":"http://login.example/token"}"#, "does not say where"),
    ] {
        played.say(200, answer);
        server.login.forget();
        let error = server.read(&name("Patient/a")).await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    let error = Login::of(&config, Some("no key")).err().unwrap();
    assert!(error.0.contains("no private key in PEM for ES384"), "{error}");
}
