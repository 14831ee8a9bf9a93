//! `/outbox`: third parties lease the messages of this site, carry them to its parent, and say
//! what became of them. Implements `docs/protocol.md` §4.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use protocol::delivery::DeliveryState;
use protocol::message::{self, MessageId, Receipt};
use protocol::{RecordRef, Urgency, plain};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use store::{CarrierWord, DeliveryFilter, LeaseAsk, Leased, MessageState, Noted, TokenScope};

use crate::config::{Parent, Up};
use crate::http::api::{Api, Doc, Who, shapes};
use crate::http::auth::{Caller, credential_hash};
use crate::http::body;
use crate::http::error::{self, Failure, Problem};
use crate::jobs::outbox;
use crate::site::Site;

/// Messages of one lease that did not ask for a number.
const MESSAGES: usize = 50;
/// Seconds of one lease that did not ask for a time.
const SECONDS: u64 = 120;
/// The most that a word of a third party may come to, in bytes: it may hold the parent's answer.
const WORD_BYTES: usize = 1 << 20;

/// The routes below `/outbox`.
pub(super) fn api() -> Api {
    let says = |summary| Doc::of(Who::Carriers, summary);
    let waits = says("What waits or is on its way");
    let lease_them = says("Leases messages").takes::<Ask>().gives::<shapes::Leases>();
    let word = |summary| says(summary).gives::<shapes::Word>();
    Api::default()
        .get("/", list, waits.query::<Asked>().gives::<shapes::Deliveries>())
        .post("/lease", lease, lease_them)
        .get("/{id}", show, says("A message, or a change").gives::<shapes::Carried>())
        .post("/{id}/delivered", delivered, word("It was delivered").takes::<Delivered>())
        .post("/{id}/failed", failed, word("It was not delivered").takes::<NotDelivered>())
}

/// The third party that asks: a credential of the scope `outbox`, and nothing else.
async fn carrier_of(parts: &Parts, site: &Site) -> Result<String, Failure> {
    match Caller::any(parts, site).await? {
        Caller::Program { name, scope: TokenScope::Outbox, .. } => Ok(name),
        _ => {
            let detail = "this is for third parties that carry messages: `tributary token add NAME \
                          --scope outbox` makes a credential";
            Err(Failure::new(StatusCode::FORBIDDEN, "forbidden", detail))
        }
    }
}

/// The parent, where messages are carried to it.
fn carried(site: &Site) -> Result<&Parent, Failure> {
    let conflict = |detail| Failure::new(StatusCode::CONFLICT, "not-supported", detail);
    match &site.config().parent {
        Some(parent) if parent.up == Up::Carried => Ok(parent),
        Some(_) => Err(conflict(
            "this site sends its changes itself: parent.up is not \"carried\" in its settings",
        )),
        None => Err(conflict("this site has no parent, so there is nothing to carry")),
    }
}

/// What a lease asks for.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Ask {
    max: Option<usize>,
    for_seconds: Option<u64>,
    lanes: Option<Vec<String>>,
    #[serde(default, rename = "as")]
    form: Form,
}

/// In which form messages are given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Form {
    /// As JSON within the answer.
    #[default]
    FhirMessage,
    /// As text, to be posted as it is: no reader of JSON can alter a number in it.
    FhirMessageText,
}

/// `POST /outbox/lease`
async fn lease(State(site): State<Site>, request: Request) -> Result<Json<Value>, Problem> {
    let (parts, payload) = request.into_parts();
    let carrier = carrier_of(&parts, &site).await?;
    let parent = carried(&site)?.clone();
    crate::pause::refuse(&site, store::LinkName::Parent).await?;
    let ask: Ask = read(&site, &parts, payload).await?;
    let lanes = match &ask.lanes {
        None => Urgency::ALL.to_vec(),
        Some(names) => names.iter().map(|name| lane(name)).collect::<Result<_, _>>()?,
    };
    let limits = &site.config().limits;
    let seconds = ask.for_seconds.unwrap_or(SECONDS).clamp(1, limits.lease_seconds);
    let now = site.now();
    let until = now.plus_millis(i64::try_from(seconds * 1_000).unwrap_or(i64::MAX));
    let asked = LeaseAsk {
        carrier,
        max: ask.max.unwrap_or(MESSAGES).clamp(1, limits.lease_messages),
        bytes: limits.stream_bytes,
        lanes,
        until,
        lease: outbox::new_lease(&site),
        is_anew: false,
    };
    let lease = asked.lease.clone();
    let target = outbox::target(&parent);
    let mut messages = Vec::new();
    for (one, text) in outbox::lease(&site, &parent, asked).await? {
        messages.push(told(&one, &lease, until, &target, text, ask.form)?);
    }
    Ok(Json(json!({"messages": messages})))
}

fn lane(name: &str) -> Result<Urgency, Failure> {
    let wrong = || Failure::bad_request("lanes are `urgent`, `normal` and `bulk`");
    Urgency::named(name).ok_or_else(wrong)
}

fn broken() -> Failure {
    let detail = "a message cannot be written; its lease ends by itself";
    Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "exception", detail)
}

fn told(
    leased: &Leased,
    lease: &str,
    until: protocol::Timestamp,
    target: &str,
    text: String,
    form: Form,
) -> Result<Box<RawValue>, Failure> {
    let head = json!({
        "id": leased.id.to_string(),
        "lease": lease,
        "until": until,
        "patient": leased.patients.first(),
        "patients": leased.patients,
        "attempt": leased.attempt,
        "lane": leased.lane,
        "target": target,
    });
    let head = head.to_string();
    let message = match form {
        Form::FhirMessage => text,
        Form::FhirMessageText => Value::from(text).to_string(),
    };
    // Its numbers stay as they were written.
    let whole = format!("{},\"message\":{message}}}", head.trim_end_matches('}'));
    RawValue::from_string(whole).map_err(|_| broken())
}

/// What a third party says of a message that it delivered.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Delivered {
    lease: String,
    /// The parent's answer, as JSON or as text, if there is one.
    #[schemars(with = "Option<serde_json::Value>")]
    evidence: Option<Box<RawValue>>,
}

/// `POST /outbox/{id}/delivered`
async fn delivered(
    State(site): State<Site>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<shapes::Word>, Problem> {
    let (parts, payload) = request.into_parts();
    let carrier = carrier_of(&parts, &site).await?;
    let id = named(&id)?;
    let said: Delivered = read(&site, &parts, payload).await?;
    let mut state =
        word(&site, id, (carrier, said.lease), CarrierWord::Delivered { receipt_by: None }).await?;
    let receipt = said.evidence.as_deref().map(|evidence| receipt_in(&site, evidence));
    let note = match receipt {
        Some(Ok(Some(receipt))) if MessageId::of(&receipt.id) == id => {
            let (now, jitter) = (site.now(), site.entropy().number());
            state = site
                .write(move |store| {
                    store.outbox_answers(&[receipt], &[], now, jitter)?;
                    Ok(store.outbox_get(&id)?.map_or(state, |message| message.state))
                })
                .await?;
            "the parent's receipt"
        }
        Some(Ok(Some(_))) => "a receipt of another message",
        Some(Ok(None)) => "no receipt yet: the parent will be asked",
        Some(Err(reason)) => {
            tracing::warn!(message = %id, %reason, "a third party's evidence is not taken");
            "not taken: it is not the parent's answer to this message"
        }
        None => "none: the parent will be asked",
    };
    site.wake();
    Ok(Json(shapes::Word { id: id.to_string(), state, evidence: Some(note) }))
}

/// The receipt in the parent's answer, as a third party brings it.
fn receipt_in(site: &Site, evidence: &RawValue) -> Result<Option<Receipt>, String> {
    let text = match serde_json::from_str::<String>(evidence.get()) {
        Ok(text) => text,
        Err(_) => evidence.get().to_owned(),
    };
    let credential = site.credential().ok_or("this site has no credential for its parent")?;
    message::read_answer(&text, &credential_hash(credential)).map_err(|refusal| refusal.reason)
}

/// What a third party says of a message that it could not deliver.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NotDelivered {
    lease: String,
    error: Option<String>,
    #[serde(default = "yes")]
    retry: bool,
}

fn yes() -> bool {
    true
}

/// `POST /outbox/{id}/failed`
async fn failed(
    State(site): State<Site>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<shapes::Word>, Problem> {
    let (parts, payload) = request.into_parts();
    let carrier = carrier_of(&parts, &site).await?;
    let id = named(&id)?;
    let said: NotDelivered = read(&site, &parts, payload).await?;
    let most = site.config().limits.reason_chars;
    let error = match plain::line(&said.error.unwrap_or_default(), most) {
        words if words.is_empty() => format!("{carrier} gave no reason"),
        words => words,
    };
    let failed = CarrierWord::Failed { error, retry: said.retry };
    let state = word(&site, id, (carrier, said.lease), failed).await?;
    Ok(Json(shapes::Word { id: id.to_string(), state, evidence: None }))
}

fn named(id: &str) -> Result<MessageId, Failure> {
    id.parse().map_err(|_| no_such_message())
}

fn no_such_message() -> Failure {
    Failure::not_found("there is no such message in this outbox")
}

async fn word(
    site: &Site,
    id: MessageId,
    (carrier, lease): (String, String),
    word: CarrierWord,
) -> Result<MessageState, Failure> {
    let (now, jitter) = (site.now(), site.entropy().number());
    let noted = site
        .read(move |store| store.outbox_word(&id, (&carrier, &lease), &word, now, jitter))
        .await?;
    let conflict = |detail| Failure::new(StatusCode::CONFLICT, "conflict", detail);
    match noted {
        Noted::As(state) => Ok(state),
        Noted::Unknown => Err(no_such_message()),
        Noted::NotYours => Err(conflict(
            "the lease is not yours, or it is over and the message is with somebody else",
        )),
        Noted::Replaced => Err(conflict(
            "the lease is over, and the message has been offered again with later changes under \
             another id: carry that one",
        )),
    }
}

/// The query of a list.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Asked {
    #[schemars(with = "Option<shapes::State>")]
    state: Option<DeliveryState>,
    #[schemars(with = "Option<shapes::Reference>")]
    patient: Option<RecordRef>,
    after: Option<u64>,
    limit: Option<u32>,
}

/// `GET /outbox`: what waits or is on its way, oldest first.
async fn list(
    State(site): State<Site>,
    asked: Result<Query<Asked>, QueryRejection>,
    request: Request,
) -> Result<Json<shapes::Deliveries>, Problem> {
    let (parts, _) = request.into_parts();
    carrier_of(&parts, &site).await?;
    let asked = error::query(asked)?;
    let limits = &site.config().limits;
    let limit = asked.limit.unwrap_or(limits.search_page).clamp(1, limits.search_page_max) as usize;
    let filter = DeliveryFilter {
        state: asked.state,
        patient: asked.patient,
        sequence: None,
        after: asked.after.unwrap_or(0),
        limit,
        ..DeliveryFilter::default()
    };
    let deliveries = site.read(move |store| store.delivery_list(&filter)).await?;
    let next = deliveries.last().filter(|_| deliveries.len() == limit).map(|last| last.sequence);
    Ok(Json(shapes::Deliveries { deliveries, next }))
}

/// `GET /outbox/{id}`: a message by its id, or a change by its number in the queue.
async fn show(
    State(site): State<Site>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<shapes::Carried>, Problem> {
    let (parts, _) = request.into_parts();
    carrier_of(&parts, &site).await?;
    let told = site
        .read(move |store| {
            let number = id.parse().ok();
            let filter = number.map(|sequence| DeliveryFilter {
                sequence: Some(sequence),
                limit: 1,
                ..DeliveryFilter::default()
            });
            let delivery = filter.map(|filter| store.delivery_list(&filter)).transpose()?;
            let delivery = delivery.and_then(|found| found.into_iter().next());
            let name = delivery.as_ref().map_or(Some(&id), |found| found.message.as_ref());
            let name = name.and_then(|name| name.parse().ok());
            let message = name.map(|name| store.outbox_get(&name)).transpose()?.flatten();
            Ok((delivery, message))
        })
        .await?;
    match told {
        (None, None) => Err(no_such_message().into()),
        (delivery, message) => Ok(Json(shapes::Carried { delivery, message })),
    }
}

/// The body of a request; an empty one says nothing.
async fn read<T: DeserializeOwned>(
    site: &Site,
    parts: &Parts,
    payload: axum::body::Body,
) -> Result<T, Failure> {
    let bytes = body::read(site, &parts.headers, payload, WORD_BYTES).await?;
    let bytes = if bytes.is_empty() { &b"{}"[..] } else { &bytes[..] };
    serde_json::from_slice(bytes).map_err(|error| {
        // The parser's own words may repeat what stands there.
        let (line, column) = (error.line(), error.column());
        Failure::bad_request(format!(
            "the body is not understood at line {line}, column {column}: docs/third-parties.md \
             says what it may hold"
        ))
    })
}
