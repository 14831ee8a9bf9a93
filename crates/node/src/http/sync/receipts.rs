//! `POST /sync/receipts`: a child asks what became of messages that third parties carry.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use protocol::ChangeId;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use store::ReceiptWord;

use crate::http::auth::Caller;
use crate::http::body;
use crate::http::error::{Failure, Problem};
use crate::http::sync::{child_of, header as header_text};
use crate::site::Site;
use crate::wire::Coding;

/// Messages that one request may ask about.
const MESSAGES: usize = 1_000;

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Asked {
    messages: Vec<Message>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Message {
    id: String,
    #[serde(default)]
    covers: Vec<u64>,
}

/// Answers with the receipts that there are, and the names of the messages that wait.
pub async fn tell(State(site): State<Site>, request: Request) -> Result<Json<Value>, Problem> {
    let (parts, payload) = request.into_parts();
    let (caller, _) = child_of(&parts, &site).await?;
    let Caller::Child { site: child, .. } = caller else {
        return Err(Failure::bad_request("this is for children").into());
    };
    if Coding::of_header(header_text(&parts.headers, "content-encoding")).is_none() {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Err(Failure::new(status, "not-supported", "the coding is not known").into());
    }
    let most = site.config().limits.body_bytes;
    let bytes = body::read(&site, &parts.headers, payload, most).await?;
    let odd = || Failure::bad_request("the body is not a list of messages with id and covers");
    let asked: Asked = serde_json::from_slice(&bytes).map_err(|_| odd())?;
    if asked.messages.len() > MESSAGES {
        let detail = format!("at most {MESSAGES} messages may be asked about at once");
        return Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "too-long", detail).into());
    }
    let parsed = asked.messages.into_iter().map(|one| Ok((one.id.parse()?, one.covers)));
    let named: Vec<(ChangeId, Vec<u64>)> = parsed.collect::<Result<_, protocol::Refusal>>()?;
    let ids: Vec<ChangeId> = named.iter().map(|(id, _)| id.clone()).collect();
    let words = site.read(move |store| store.inbox_receipts(&child, &named)).await?;
    let (mut receipts, mut waiting) = (Vec::new(), Vec::new());
    for (id, word) in ids.iter().zip(words) {
        match word {
            ReceiptWord::Receipt(receipt) => {
                receipts.push(RawValue::from_string(receipt.to_text()).map_err(|_| odd())?);
            }
            ReceiptWord::Waiting => waiting.push(id.to_string()),
            ReceiptWord::Unknown => {}
        }
    }
    Ok(Json(json!({"receipts": receipts, "waiting": waiting})))
}
