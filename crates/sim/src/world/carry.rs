//! A third party that carries a site's messages to its parent, with the habits of third parties: it
//! swallows, doubles, reorders, is late, repeats, forgets to say so, and says what is not so.

use std::io::Write as _;
use std::sync::PoisonError;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use futures::StreamExt as _;
use node::ports::Request as Sent;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::Shared;
use crate::chance::SeededEntropy;
use crate::place::{Place, Up};
use crate::template::CARRIER;

/// The most of an answer that it reads.
const ANSWER: usize = 64 << 20;
/// Messages that it keeps at the most, to bring them once more some day.
const BAG: usize = 30;
/// How often it repeats what it got no good answer for, and the pause in milliseconds.
const REPEATS: u32 = 3;
const EVERY: u64 = 10_000;

/// A message as a third party has it.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    id: String,
    lease: String,
    target: String,
    text: String,
}

/// What became of a message that was posted.
type Posted = Option<(StatusCode, String)>;

/// What it says of a message.
enum Word {
    Delivered(Option<String>),
    Failed { retry: bool },
}

impl Shared {
    /// One visit, in the way of third parties.
    pub(super) async fn carry(&self, place: &Place, up: &Up, chance: &SeededEntropy) {
        let seconds = [1, 60, 600][chance.place(3)];
        let mut messages = lease(up, chance.between(1, 20), seconds).await;
        self.log.count("messages leased", messages.len() as u64);
        // Order is the site's business and not the third party's.
        for index in (1..messages.len()).rev() {
            messages.swap(index, chance.place(index + 1));
        }
        for message in messages {
            self.carry_one(place, up, chance, message).await;
        }
        self.bring_old(place, up, chance).await;
    }

    async fn carry_one(&self, place: &Place, up: &Up, chance: &SeededEntropy, message: Message) {
        if chance.permille(150) {
            keep(place, chance, message.clone());
        }
        match chance.below(100) {
            0..=2 => {
                self.log.count("messages swallowed", 1);
                say(up, &message, &Word::Delivered(None)).await;
                return;
            }
            3..=9 => return keep(place, chance, message),
            _ => {}
        }
        let mut answer = None;
        for _ in 0..=REPEATS {
            answer = post(up, &message, chance.permille(200)).await;
            if answer.as_ref().is_some_and(|(status, _)| *status == StatusCode::OK) {
                break;
            }
            self.time.sleep(EVERY).await;
        }
        if chance.permille(100) {
            // A copy of it comes as well.
            answer = post(up, &message, false).await.or(answer);
        }
        if chance.permille(100) {
            return;
        }
        let word = word_of(answer, chance.permille(600));
        say(up, &message, &word).await;
    }

    /// What was kept comes late, and perhaps not for the last time.
    async fn bring_old(&self, place: &Place, up: &Up, chance: &SeededEntropy) {
        while chance.permille(500) {
            let old = {
                let mut bag = place.bag.lock().unwrap_or_else(PoisonError::into_inner);
                if bag.is_empty() {
                    return;
                }
                let at = chance.place(bag.len());
                bag.swap_remove(at)
            };
            self.log.count("old messages brought", 1);
            let answer = post(up, &old, false).await;
            say(up, &old, &word_of(answer, chance.permille(500))).await;
            if chance.permille(300) {
                keep(place, chance, old);
            }
        }
    }

    /// An honest one, until nothing is left; gives how many it carried.
    pub(super) async fn carry_all(&self, place: &Place, up: &Up) -> u64 {
        place.bag.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let mut count = 0;
        loop {
            let messages = lease(up, 50, 60).await;
            let some = messages.len() as u64;
            for message in messages {
                let answer = post(up, &message, false).await;
                say(up, &message, &word_of(answer, true)).await;
            }
            if some == 0 {
                return count;
            }
            self.note(&format!("{}: {some} messages are carried", place.id));
            count += some;
        }
    }
}

fn keep(place: &Place, chance: &SeededEntropy, message: Message) {
    let mut bag = place.bag.lock().unwrap_or_else(PoisonError::into_inner);
    if bag.len() < BAG {
        bag.push(message);
    } else {
        let at = chance.place(bag.len());
        bag[at] = message;
    }
}

/// What is to be said of an answer, as `docs/third-parties.md` has it.
fn word_of(answer: Posted, with_evidence: bool) -> Word {
    match answer {
        Some((StatusCode::OK, text)) => Word::Delivered(with_evidence.then_some(text)),
        Some((status, _)) => {
            let passing = [401, 403, 404, 408, 429].contains(&status.as_u16());
            Word::Failed { retry: passing || status.is_server_error() }
        }
        None => Word::Failed { retry: true },
    }
}

/// A request to the site beside it; `None` where no answer came.
async fn ask(up: &Up, path: &str, body: Value) -> Option<Value> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(header::AUTHORIZATION, format!("Bearer {CARRIER}"))
        .body(Body::from(body.to_string()))
        .ok()?;
    let answer = up.router.clone().oneshot(request).await.ok()?;
    let bytes = axum::body::to_bytes(answer.into_body(), ANSWER).await.ok()?;
    serde_json::from_slice(&bytes).ok()
}

async fn lease(up: &Up, max: u64, seconds: u64) -> Vec<Message> {
    let asked = json!({"max": max, "for_seconds": seconds, "as": "fhir-message-text"});
    let told = ask(up, "/outbox/lease", asked).await.unwrap_or_default();
    let list = told.get("messages").and_then(Value::as_array).cloned().unwrap_or_default();
    let message = |one: &Value| {
        let text = |key: &str| one.get(key).and_then(Value::as_str).map(str::to_owned);
        Some(Message {
            id: text("id")?,
            lease: text("lease")?,
            target: text("target")?,
            text: text("message")?,
        })
    };
    list.iter().filter_map(message).collect()
}

async fn say(up: &Up, message: &Message, word: &Word) {
    let (lease, id) = (&message.lease, &message.id);
    let (path, said) = match word {
        Word::Delivered(Some(evidence)) => {
            ("delivered", json!({"lease": lease, "evidence": evidence}))
        }
        Word::Delivered(None) => ("delivered", json!({"lease": lease})),
        Word::Failed { retry } => {
            ("failed", json!({"lease": lease, "error": "no good answer", "retry": retry}))
        }
    };
    // A lease that is over gets 409: the message is with somebody else.
    drop(ask(up, &format!("/outbox/{id}/{path}"), said).await);
}

/// Brings it to the parent, over the site's own link.
async fn post(up: &Up, message: &Message, packed: bool) -> Posted {
    let mut headers = HeaderMap::new();
    let bearer = format!("Bearer {}", up.site.credential()?);
    headers.insert(header::AUTHORIZATION, HeaderValue::try_from(bearer).ok()?);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/fhir+json"));
    let mut body = message.text.clone().into_bytes();
    if packed {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        writer.write_all(&body).ok()?;
        body = writer.finish().ok()?;
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    let (method, url) = (Method::POST, message.target.clone());
    let request = Sent { method, url, headers, body: body.into(), idle_seconds: 60 };
    let mut answer = up.site.transport().send(request).await.ok()?;
    let mut text = Vec::new();
    while let Some(portion) = answer.body.next().await {
        text.extend_from_slice(&portion.ok()?);
    }
    Some((answer.status, String::from_utf8(text).ok()?))
}
