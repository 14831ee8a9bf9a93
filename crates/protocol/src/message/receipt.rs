//! The receiver's own word on a message, and the proof that it is the receiver's.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::change::ChangeId;
use crate::delivery::Outcome;
use crate::digest::ShortDigest;
use crate::error::Refusal;
use crate::id::RecordRef;

/// What became of a message, as the site says that it was for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The message's change.
    pub id: ChangeId,
    /// Which attempt it is about.
    pub attempt: u32,
    /// What became of it.
    pub outcome: Outcome,
    /// Why, for a refusal; which elements, for a conflict. Ids only.
    pub reason: Option<String>,
    /// The receiver's sequence after it.
    pub sequence: u64,
    /// The states that the receiver has taken in or held before: of records whose state is not
    /// among these, the receipt says nothing.
    pub digests: Vec<(RecordRef, ShortDigest)>,
    /// Records whose state at the receiver is another one than came, and that state's digest.
    pub differs: Vec<(RecordRef, ShortDigest)>,
}

/// How the reason of a refusal begins where a person gave the change up that the receiver had set
/// aside.
pub const GIVEN_UP: &str = "it was given up there: ";

/// A receipt as JSON.
#[derive(Serialize, Deserialize)]
struct Told {
    id: String,
    attempt: u32,
    outcome: Outcome,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    sequence: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    digests: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    differs: Vec<(String, String)>,
}

/// Records and digests as they are written.
fn written(list: &[(RecordRef, ShortDigest)]) -> Vec<(String, String)> {
    list.iter().map(|(name, it)| (name.to_string(), it.to_string())).collect()
}

/// Reads what [`written`] wrote.
fn parsed(list: &[(String, String)]) -> Result<Vec<(RecordRef, ShortDigest)>, Refusal> {
    list.iter().map(|(name, it)| Ok((name.parse()?, it.parse()?))).collect()
}

impl Receipt {
    /// The receipt as one line of JSON.
    pub fn to_text(&self) -> String {
        let told = Told {
            id: self.id.to_string(),
            attempt: self.attempt,
            outcome: self.outcome,
            reason: self.reason.clone(),
            sequence: self.sequence,
            digests: written(&self.digests),
            differs: written(&self.differs),
        };
        serde_json::to_string(&told).unwrap_or_default()
    }
    /// Reads what `to_text` wrote. Refuses what is none.
    pub fn read(text: &str) -> Result<Receipt, Refusal> {
        let told: Told =
            serde_json::from_str(text).map_err(|_| Refusal::malformed("it is not a receipt"))?;
        Ok(Receipt {
            id: told.id.parse()?,
            attempt: told.attempt,
            outcome: told.outcome,
            reason: told.reason,
            sequence: told.sequence,
            digests: parsed(&told.digests)?,
            differs: parsed(&told.differs)?,
        })
    }
}

/// HMAC-SHA256 over a receipt's text, under the hash of the child's credential: both ends of the
/// link know that, and a third party that carries messages does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof([u8; 32]);

impl Proof {
    /// The proof of a text.
    pub fn of(text: &str, credential_hash: &[u8; 32]) -> Proof {
        Proof(mac(text, credential_hash).finalize().into_bytes().into())
    }
    /// Whether this is the proof of that text.
    pub fn fits(&self, text: &str, credential_hash: &[u8; 32]) -> bool {
        mac(text, credential_hash).verify_slice(&self.0).is_ok()
    }
}

fn mac(text: &str, key: &[u8; 32]) -> Hmac<Sha256> {
    // A key of 32 bytes is as good as any: the constructor for fixed lengths cannot fail.
    let mut block = [0; 64];
    block[..32].copy_from_slice(key);
    let mut mac = Hmac::<Sha256>::new(&block.into());
    mac.update(text.as_bytes());
    mac
}

impl fmt::Display for Proof {
    /// 43 characters of unpadded base64url.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl FromStr for Proof {
    type Err = Refusal;
    fn from_str(text: &str) -> Result<Self, Refusal> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Proof).ok_or_else(|| Refusal::malformed("it is not a proof"))
    }
}
