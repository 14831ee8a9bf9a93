//! FHIR messages: the line of a push, in the form that third parties carry. Implements
//! `docs/protocol.md` §4.
//!
//! A message is a Bundle of type `message`: a MessageHeader, the records as they are held, and a
//! Provenance. What a line says beside its records stands in one extension of the MessageHeader.

mod read;
mod receipt;
mod response;
#[cfg(test)]
mod tests;
mod write;

use std::fmt::{self, Write as _};
use std::str::FromStr;

pub use read::read;
pub use receipt::{GIVEN_UP, Proof, Receipt};
pub use response::{Answer, Response, Word, read_answer, read_response, write_answer};
pub use write::{write, write_proved};

use crate::change::ChangeId;
use crate::error::Refusal;
use crate::id::{Epoch, SiteId};
use crate::json::Json;
use crate::stream::InLine;
use crate::time::Timestamp;

/// What the MessageHeader names as its event.
pub const EVENT: &str = "urn:tributary:event:changes";
/// The extension of the MessageHeader that says what a push line says.
const CHANGE: &str = "urn:tributary:message:change";
/// The extension of a response's MessageHeader that has the receipt.
const RECEIPT: &str = "urn:tributary:message:receipt";
/// The part of the first of these that proves the rest of it.
const PROOF: &str = "proof";
/// What a site is called as the endpoint of a source.
const SITE: &str = "urn:tributary:site:";

/// A message's name where FHIR wants an id: the epoch and the number of the last change that it
/// covers. Epochs are of one site each, so the site need not be named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MessageId {
    /// The epoch of the change's id.
    pub epoch: Epoch,
    /// Its number.
    pub number: u64,
}

impl MessageId {
    /// The name of the message whose last change this is.
    pub fn of(id: &ChangeId) -> MessageId {
        MessageId { epoch: id.epoch, number: id.number }
    }
}

impl fmt::Display for MessageId {
    /// `{epoch}-{number}`: at most 57 characters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.number)
    }
}

impl FromStr for MessageId {
    type Err = Refusal;
    fn from_str(text: &str) -> Result<Self, Refusal> {
        let wrong = || Refusal::invalid("a message is named EPOCH-NUMBER");
        let (epoch, number) = text.rsplit_once('-').ok_or_else(wrong)?;
        let number = number.parse().map_err(|_| wrong())?;
        Ok(MessageId { epoch: epoch.parse().map_err(|_| wrong())?, number })
    }
}

/// What a message says beside its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The site that sends it.
    pub from: SiteId,
    /// The life of that site's store.
    pub epoch: Epoch,
    /// The site that it is for.
    pub to: SiteId,
    /// Counts from 1 how often a message of this name has been given to a carrier.
    pub attempt: u32,
    /// When it was put together, by the sender's clock.
    pub at: Timestamp,
}

/// The URLs that a message names for people and other programs; no site reads them.
#[derive(Debug, Clone, Copy)]
pub struct Urls<'a> {
    /// The sender's own base URL.
    pub base: &'a str,
    /// Where it is to be posted.
    pub target: &'a str,
}

/// A message that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Who sends it to whom.
    pub envelope: Envelope,
    /// Its change's id.
    pub id: ChangeId,
    /// The numbers that it covers, as in a line.
    pub covers: Vec<u64>,
    /// What it brings, or why that is refused.
    pub line: Result<Box<InLine>, Refusal>,
    /// What its proof is of.
    pub told: String,
    /// The proof that the sender wrote it, where it has one.
    pub proof: Option<Proof>,
}

/// What the extension says, by the site `from`, as one text: the same whatever the white space and
/// the order of keys. The digests in it stand for the records.
fn told(from: &SiteId, said: &Json<'_>) -> String {
    let mut text = format!("message of {from}\n");
    tell(&mut text, said);
    text
}

fn tell(text: &mut String, said: &Json<'_>) {
    for part in said.get("extension").and_then(Json::as_array).unwrap_or(&[]) {
        let url = part.str_at("url").unwrap_or_default();
        if url == PROOF {
            continue;
        }
        let strings = ["valueUri", "valueString", "valueInstant"];
        let value = strings.iter().find_map(|key| part.str_at(key)).or_else(|| {
            part.get("valueReference").and_then(|reference| reference.str_at("reference"))
        });
        let number = part.get("valuePositiveInt").and_then(Json::as_number);
        let is = part.get("valueBoolean").and_then(Json::as_bool);
        // A quoted string has no line break: no value can look like two.
        let _ = writeln!(text, "{url:?} {value:?} {number:?} {is:?}");
        if part.get("extension").is_some() {
            text.push_str("(\n");
            tell(text, part);
            text.push_str(")\n");
        }
    }
}
