//! What is in one file: a head, the proof that the sender wrote it, and lines.

use age::DecryptError;
use age::x25519::Recipient;
use anyhow::Context as _;
use protocol::message::Proof;
use protocol::{Epoch, FeedId, Refusal, SiteId, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::key::Key;
use crate::wire::{self, Coding, Decoder};

/// The version of the form.
const VERSION: u32 = 1;

/// What the lines are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    /// FHIR messages for the parent.
    Messages,
    /// The parent's answers to them.
    Receipts,
    /// Lines of a feed, for a child.
    Feed,
}

impl Kind {
    /// How the names of its files end.
    pub(super) fn ending(self) -> &'static str {
        match self {
            Kind::Messages => ".messages.age",
            Kind::Receipts => ".receipts.age",
            Kind::Feed => ".feed.age",
        }
    }
}

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    packet: u32,
    pub(super) kind: Kind,
    pub(super) from: SiteId,
    pub(super) to: SiteId,
    /// When it was written, by the sender's clock.
    pub(super) at: Timestamp,
    /// How many lines follow, and the SHA-256 of them.
    lines: usize,
    sum: String,
    /// Of receipts: the packet that they answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) of: Option<String>,
    /// Of lines of a feed: which they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) feed: Option<FeedPart>,
}

/// A stretch of a feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FeedPart {
    pub(super) name: String,
    pub(super) id: FeedId,
    pub(super) epoch: Epoch,
    pub(super) lane: String,
    /// It begins after this position, and says everything up to `end`.
    pub(super) after: u64,
    pub(super) end: u64,
}

impl Head {
    /// The head of these lines, each of which ends with a line feed.
    pub(super) fn of(kind: Kind, from: &SiteId, to: &SiteId, at: Timestamp, body: &str) -> Head {
        Head {
            packet: VERSION,
            kind,
            from: from.clone(),
            to: to.clone(),
            at,
            lines: body.matches('\n').count(),
            sum: sum(body),
            of: None,
            feed: None,
        }
    }
}

fn sum(body: &str) -> String {
    Sha256::digest(body.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of a packet that only the holder of the key `to` can read.
pub(super) fn write(
    head: &Head,
    body: &str,
    to: &str,
    prove: impl FnOnce(&str) -> anyhow::Result<Proof>,
) -> anyhow::Result<Vec<u8>> {
    let told = serde_json::to_string(head)?;
    let text = format!("{told}\n{}\n{body}", prove(&told)?);
    let packed = wire::encode(Coding::Dcz, text.as_bytes()).context("failed to compress")?;
    let recipient: Recipient =
        to.parse().map_err(|_| anyhow::anyhow!("the other site's courier key cannot be read"))?;
    age::encrypt(&recipient, &packed).context("failed to encrypt")
}

/// A packet that was opened. Nothing in it is to be believed before its proof was looked at.
#[derive(Debug)]
pub(super) struct Packet {
    pub(super) head: Head,
    pub(super) body: String,
    /// The head as it was proved.
    pub(super) told: String,
    pub(super) proof: Proof,
}

/// Opens a packet. `limit` bounds what it comes to.
pub(super) fn open(bytes: &[u8], key: &Key, limit: u64) -> Result<Packet, Refusal> {
    let packed = age::decrypt(key.identity(), bytes).map_err(|error| match error {
        DecryptError::NoMatchingKeys => Refusal::invalid(
            "it is encrypted for another site, or for this one before its folder was made anew",
        ),
        _ if !bytes.starts_with(b"age-encryption.org/") => {
            Refusal::malformed("it is not a courier's packet")
        }
        _ => Refusal::malformed("it is cut short or was altered"),
    })?;
    let mut decoder = Decoder::new(Coding::Dcz, limit, "packet_bytes")?;
    let mut text = decoder.push(&packed)?;
    text.extend(decoder.finish()?);
    let odd = || Refusal::malformed("what it holds is not in the form of a packet");
    let text = String::from_utf8(text).map_err(|_| odd())?;
    let mut parts = text.splitn(3, '\n');
    let (Some(told), Some(proof), Some(body)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(odd());
    };
    let head: Head = serde_json::from_str(told).map_err(|_| odd())?;
    if head.packet != VERSION {
        let version = head.packet;
        return Err(Refusal::invalid(format!(
            "it is of version {version}, and this program reads version {VERSION}: update it"
        )));
    }
    if head.sum != sum(body) || head.lines != body.matches('\n').count() {
        return Err(Refusal::malformed("it is cut short or was altered"));
    }
    let (told, body, proof) = (told.to_owned(), body.to_owned(), proof.parse()?);
    Ok(Packet { head, body, told, proof })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: [u8; 32] = [7; 32];

    fn site(name: &str) -> SiteId {
        name.parse().unwrap()
    }

    fn packet(key: &Key) -> Vec<u8> {
        let body = "\"one\"\n\"two\"\n";
        let at = Timestamp::from_millis(1_795_421_730_000);
        let head = Head::of(Kind::Messages, &site("east"), &site("centre"), at, body);
        write(&head, body, &key.public(), |told| Ok(Proof::of(told, &SECRET))).unwrap()
    }

    #[test]
    fn a_packet_comes_back_as_it_was_and_is_proved() {
        let key = Key::make();
        let packet = open(&packet(&key), &key, 1_000).unwrap();
        assert_eq!(packet.body, "\"one\"\n\"two\"\n");
        assert_eq!((packet.head.kind, packet.head.from.as_str()), (Kind::Messages, "east"));
        assert!(packet.proof.fits(&packet.told, &SECRET));
        assert!(!packet.proof.fits(&packet.told, &[8; 32]));
    }

    #[test]
    fn a_key_is_read_as_it_was_written() {
        let key = Key::make();
        let again = Key::read(&format!("{}\n", key.secret())).unwrap();
        assert_eq!(again.public(), key.public());
        assert!(Key::read("AGE-SECRET-KEY-1").is_none());
    }

    #[test]
    fn what_is_cut_altered_or_for_another_is_refused_with_the_reason() {
        let (key, other) = (Key::make(), Key::make());
        let whole = packet(&key);
        let mut altered = whole.clone();
        let last = altered.len() - 3;
        altered[last] ^= 1;
        let mut head_altered = whole.clone();
        head_altered[60] ^= 1;
        let long = open(&whole, &key, 100).unwrap_err().to_string();
        assert!(long.contains("packet_bytes = 100"), "{long}");
        for (bytes, key, expected) in [
            (&whole[..whole.len() - 5], &key, "cut short"),
            (&whole[..whole.len() / 2], &key, "cut short"),
            (&altered[..], &key, "altered"),
            (&head_altered[..], &key, ""),
            (&whole[..], &other, "another site"),
            (&b"PK\x03\x04 a zip file"[..], &key, "not a courier's packet"),
            (&b""[..], &key, "not a courier's packet"),
        ] {
            let reason = open(bytes, key, 1_000).unwrap_err().to_string();
            assert!(reason.contains(expected), "{reason} / {expected}");
        }
    }
}
