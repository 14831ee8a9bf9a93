//! Working off the messages that third parties brought: each is applied as its sender's own push
//! would be. A message that is not worked off when the site is killed is when it starts again.

use bytes::Bytes;
use protocol::delivery::backoff_millis;
use protocol::message::{self, Envelope, Message, Proof, Receipt};
use protocol::stream::RefusedLine;
use protocol::{ChangeId, Refusal};
use sha2::{Digest as _, Sha256};
use store::{Inboxed, Incoming, Post, Posted, StoreError};

use crate::site::Site;

/// Milliseconds between two looks.
const EVERY: u64 = 1_000;
/// Messages that are read at a time.
const AT_ONCE: usize = 16;
/// Looks between two clearings of old receipts.
const CLEAR_EVERY: u32 = 3_600;

/// Looks again and again, for ever.
pub async fn run(site: &Site) {
    let mut looks = 0u32;
    loop {
        while step(site).await > 0 {}
        if looks.is_multiple_of(CLEAR_EVERY) {
            let now = site.now();
            if let Err(error) = site.read(move |store| store.inbox_expire(now)).await {
                tracing::warn!(%error, "failed to let go of old receipts");
            }
        }
        looks = looks.wrapping_add(1);
        site.clock().sleep(EVERY).await;
    }
}

/// A message that has come: whose it says to be, and what shows that.
#[derive(Debug)]
pub struct Come {
    /// Who sends it to whom.
    pub envelope: Envelope,
    /// Its change.
    pub id: ChangeId,
    told: String,
    proof: Option<Proof>,
}

/// Who sends a message, and its change. What is wrong with its records is told once it is stored.
pub async fn read(site: &Site, bytes: Bytes) -> Result<Come, StoreError> {
    let limits = site.config().limits.clone();
    site.read(move |_| {
        let message = message::read(&bytes, &limits)?;
        let Message { envelope, id, told, proof, .. } = message;
        Ok(Come { envelope, id, told, proof })
    })
    .await
}

/// Whether the site that a message names as its sender wrote it, all that it says of its records
/// included: known by a proof under that site's credential, which nobody who carries it has.
pub async fn is_proved(site: &Site, come: &Come) -> Result<bool, StoreError> {
    let (Some(proof), from, told) = (come.proof, come.envelope.from.clone(), come.told.clone())
    else {
        return Ok(false);
    };
    let due = site.read(move |store| store.inbox_prove(&from, &told)).await?;
    Ok(due == Some(proof))
}

/// Stores a message durably; `carrier` is who brought it.
pub async fn store(
    site: &Site,
    carrier: &str,
    (envelope, id): (&Envelope, &ChangeId),
    bytes: Bytes,
) -> Result<Posted, StoreError> {
    let digest = Sha256::digest(&bytes).into();
    let post = Post {
        child: envelope.from.clone(),
        epoch: envelope.epoch,
        id: id.clone(),
        attempt: envelope.attempt,
        carrier: carrier.to_owned(),
        digest,
        body: String::from_utf8(bytes.into())
            .map_err(|_| Refusal::malformed("the message is not UTF-8"))?,
    };
    let now = site.now();
    site.read(move |store| store.inbox_take(&post, now)).await
}

/// Works off some of the messages that wait; gives how many.
pub async fn step(site: &Site) -> usize {
    let now = site.now();
    let waiting = match site.read(move |store| store.inbox_next(now, AT_ONCE)).await {
        Ok(waiting) => waiting,
        Err(error) => {
            tracing::warn!(%error, "failed to look for messages that wait");
            return 0;
        }
    };
    let mut done = 0;
    for message in waiting {
        done += usize::from(one(site, message).await.is_some());
    }
    done
}

/// Works off the message of this key, if it waits; `None` also where it has to wait longer.
pub async fn work_off(site: &Site, key: u64) -> Option<Receipt> {
    let found = site.read(move |store| store.inbox_get(key)).await;
    match found {
        Ok(message) => one(site, message?).await,
        Err(error) => {
            tracing::warn!(%error, "failed to look for a message that waits");
            None
        }
    }
}

async fn one(site: &Site, message: Inboxed) -> Option<Receipt> {
    let (key, id, child) = (message.key, message.id.clone(), message.child.clone());
    let (now, limits) = (site.now(), site.config().limits.clone());
    let applied = site.write(move |store| {
        let incoming = incoming(message, &limits)?;
        store.inbox_apply(key, &incoming, now)
    });
    match applied.await {
        Ok(receipt) => {
            if let Some(receipt) = &receipt {
                site.metrics().message(receipt.outcome);
            }
            receipt
        }
        Err(error) => {
            tracing::warn!(%error, %child, change = %id, "failed to work off a message");
            let limits = &site.config().limits;
            let pause = backoff_millis(3, limits, site.entropy().number());
            let next = site.now().plus_millis(i64::try_from(pause).unwrap_or(i64::MAX));
            if let Err(error) = site.read(move |store| store.inbox_defer(key, next)).await {
                tracing::warn!(%error, "failed to put a message off");
            }
            None
        }
    }
}

/// What a message brings, or why it is refused.
fn incoming(waiting: Inboxed, limits: &protocol::Limits) -> Result<Incoming, StoreError> {
    let (id, covers, line) = match message::read(waiting.body.as_bytes(), limits) {
        Ok(message) => (message.id, message.covers, message.line),
        // It could be read when it was stored: a limit has been lowered since.
        Err(refusal) => (waiting.id, Vec::new(), Err(refusal)),
    };
    Ok(match line {
        Ok(line) => Incoming::Line { line, raw: Vec::new() },
        Err(refusal) => {
            let line = RefusedLine {
                position: None,
                id: Some(id),
                covers,
                part: None,
                patients: Vec::new(),
                refusal,
            };
            Incoming::Refused { line: Box::new(line), raw: Vec::new() }
        }
    })
}
