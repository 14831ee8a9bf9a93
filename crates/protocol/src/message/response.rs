//! The answer to a message: itself a message, with the receipt where there is one already.

use serde_json::{Value, json};

use super::{EVENT, MessageId, Proof, RECEIPT, Receipt, SITE};
use crate::change::ChangeId;
use crate::delivery::Outcome;
use crate::error::Refusal;
use crate::id::SiteId;
use crate::json::{self, Json};
use crate::time::Timestamp;

/// How deep an answer nests, with room for what a third party wraps around it.
const DEPTH: usize = 32;

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is stored durably and will be worked off.
    Stored,
    /// It has been worked off: the receipt and its proof.
    Done(Receipt, Option<Proof>),
}

impl Answer {
    /// As `MessageHeader.response.code`, and an issue's severity, code and words.
    fn told(&self) -> (&'static str, &'static str, &'static str, String) {
        match self {
            Answer::Stored => {
                let words = "stored durably; what became of it is told to the site that sent it";
                ("ok", "information", "informational", words.to_owned())
            }
            Answer::Done(receipt, _) => {
                let reason = receipt.reason.as_deref();
                let with = |word: &str| match reason {
                    Some(reason) => format!("{word}: {reason}"),
                    None => word.to_owned(),
                };
                match receipt.outcome {
                    Outcome::Applied => ("ok", "information", "informational", with("applied")),
                    Outcome::Merged => ("ok", "information", "informational", with("merged")),
                    Outcome::Conflict => ("ok", "warning", "conflict", with("conflict")),
                    Outcome::Already => ("ok", "information", "duplicate", with("already")),
                    Outcome::Refused => ("fatal-error", "error", "processing", with("refused")),
                    Outcome::Later => ("transient-error", "error", "transient", with("later")),
                }
            }
        }
    }
}

/// The whole answer to the message of a change.
pub fn write_answer(id: &ChangeId, from: &SiteId, answer: &Answer, at: Timestamp) -> String {
    let name = MessageId::of(id);
    let (code, severity, issue, words) = answer.told();
    let mut header = json!({
        "resourceType": "MessageHeader",
        "eventUri": EVENT,
        "source": {
            "name": from.as_str(), "software": "Tributary", "endpoint": format!("{SITE}{from}"),
        },
        "response": {
            "identifier": name.to_string(),
            "code": code,
            "details": {"reference": "OperationOutcome/outcome"},
        },
    });
    if let Answer::Done(receipt, proof) = answer {
        let mut parts = vec![json!({"url": "text", "valueString": receipt.to_text()})];
        if let Some(proof) = proof {
            parts.push(json!({"url": "proof", "valueString": proof.to_string()}));
        }
        header["extension"] = json!([{"url": RECEIPT, "extension": parts}]);
    }
    let outcome = json!({
        "resourceType": "OperationOutcome",
        "id": "outcome",
        "issue": [{"severity": severity, "code": issue, "diagnostics": words}],
    });
    let url = format!("urn:tributary:message:{name}:response");
    let bundle: Value = json!({
        "resourceType": "Bundle",
        "type": "message",
        "timestamp": at.to_string(),
        "entry": [
            {"fullUrl": url, "resource": header},
            {"fullUrl": format!("{url}:outcome"), "resource": outcome},
        ],
    });
    bundle.to_string()
}

/// The receipt in an answer, if it has one and `credential_hash` proves it; refuses what is no
/// answer. An answer without a receipt (stored, not worked off yet) gives `None`.
pub fn read_answer(text: &str, credential_hash: &[u8; 32]) -> Result<Option<Receipt>, Refusal> {
    let bundle = json::parse(text.as_bytes(), DEPTH)?;
    let entries = super::read::entries(&bundle)?;
    let header = entries.first().and_then(|entry| entry.get("resource"));
    let header = header.filter(|header| header.get("response").is_some());
    let header = header.ok_or_else(|| Refusal::invalid("it is not the answer to a message"))?;
    let Some(told) = super::read::extension(header, RECEIPT) else { return Ok(None) };
    let part = |name: &str| -> Option<_> {
        super::read::extension(told, name).and_then(|part: &Json<'_>| part.str_at("valueString"))
    };
    let (Some(text), Some(proof)) = (part("text"), part("proof")) else { return Ok(None) };
    if !proof.parse::<Proof>()?.fits(&text, credential_hash) {
        return Err(Refusal::invalid("its receipt is not proved to be the parent's"));
    }
    Receipt::read(&text).map(Some)
}
