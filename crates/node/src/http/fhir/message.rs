//! `POST $process-message`: a third party brings a child's message. It is stored durably before
//! it is answered; mostly it is worked off by then as well, and the answer has the receipt.
//! Implements `docs/protocol.md` §4.

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::request::Parts;
use protocol::SiteId;
use protocol::message::{self, Answer as Told};
use store::{AuditRow, Posted, StoreError, TokenScope};

use super::answer::Answer;
use super::conditions::check_content_type;
use crate::http::auth::Caller;
use crate::http::body;
use crate::http::error::Failure;
use crate::jobs::messages;
use crate::site::Site;

/// Milliseconds that an answer waits for the outcome. A third party that waits longer sends again.
const PATIENCE: u64 = 700;

pub(super) async fn process(site: &Site, parts: &Parts, payload: Body) -> Result<Answer, Failure> {
    let caller = Caller::any(parts, site).await?;
    check_content_type(&parts.headers, &["application/fhir+json", "application/json"])?;
    if !matches!(&caller, Caller::Child { .. } | Caller::Program { scope: TokenScope::Carry, .. }) {
        return Err(forbidden(
            "posting messages needs the credential of the child that sends them, or one of the \
             scope `carry` for that child",
        ));
    }
    let limit = site.config().limits.message_bytes;
    let bytes = body::read_named(site, &parts.headers, payload, "message_bytes", limit).await?;
    let come = messages::read(site, bytes.clone()).await?;
    check(site, &caller, &come).await?;
    let (envelope, id) = (come.envelope, come.id);
    let posted = messages::store(site, caller.author().as_str(), (&envelope, &id), bytes).await?;
    let told = match posted {
        Posted::Stored(key) => worked_off(site, key).await?,
        Posted::Known(receipt) => Some(receipt),
        Posted::Full => {
            let limit = site.config().limits.inbox_messages;
            let detail = format!("inbox_messages = {limit} wait already: send it again later");
            return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, "throttled", detail));
        }
        Posted::Shut => return Err(forbidden("the site that sends it has no access here")),
    };
    let told = match told {
        Some(receipt) => {
            let (child, text) = (envelope.from, receipt.to_text());
            let proof = site.read(move |store| store.inbox_prove(&child, &text)).await?;
            Told::Done(receipt, proof)
        }
        None => Told::Stored,
    };
    Ok(Answer::of(message::write_answer(&id, site.id(), &told, site.now())))
}

fn forbidden(detail: &str) -> Failure {
    Failure::new(StatusCode::FORBIDDEN, "forbidden", detail)
}

/// Whether the message is for this site, and whether the caller may bring it.
async fn check(site: &Site, caller: &Caller, come: &messages::Come) -> Result<(), Failure> {
    let envelope = &come.envelope;
    if envelope.to != *site.id() {
        let (to, here) = (&envelope.to, site.id());
        let detail = format!("the message is for the site {to}, and this is {here}");
        return Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail));
    }
    let may = match caller {
        Caller::Child { site: child, .. } => *child == envelope.from,
        Caller::Program { children, .. } => children.contains(&envelope.from),
    };
    let from = &envelope.from;
    if !may {
        let detail = "a message of a site that the caller may not carry for";
        note_denied(site, caller, from, detail).await?;
        return Err(forbidden(
            "this credential may not bring messages of the site that sends this one",
        ));
    }
    if matches!(caller, Caller::Program { .. }) && !messages::is_proved(site, come).await? {
        note_denied(site, caller, from, "a message without its sender's proof").await?;
        return Err(forbidden(&format!(
            "the message has no proof that {from} wrote it as it is: it was altered on the way, \
             or written before {from} got the credential that it has now. {from} gives it out \
             again once it is said to have failed there"
        )));
    }
    crate::pause::refuse(site, store::LinkName::Child(from.clone())).await
}

async fn note_denied(
    site: &Site,
    caller: &Caller,
    from: &SiteId,
    detail: &str,
) -> Result<(), StoreError> {
    let row = AuditRow {
        actor: caller.author().as_str().to_owned(),
        action: "denied",
        subject: from.to_string(),
        detail: detail.to_owned(),
    };
    let now = site.now();
    site.read(move |store| store.audit_append(&row, now)).await
}

/// The receipt, if it is there in time. If not, the work goes on, here or in the job.
async fn worked_off(site: &Site, key: u64) -> Result<Option<message::Receipt>, Failure> {
    let late = site.clock().sleep(PATIENCE);
    tokio::select! {
        biased;
        receipt = messages::work_off(site, key) => Ok(receipt),
        () = late => Ok(None),
    }
}
