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

/// What a receiver that is no Tributary site answers to a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Its word on the whole message.
    pub word: Word,
    /// The OperationOutcome that it sends with that, as it stands there.
    pub outcome: Option<String>,
}

/// `MessageHeader.response.code`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// `ok`: it is taken.
    Taken,
    /// `transient-error`: it may be sent again.
    Later,
    /// `fatal-error`: it is refused, and would be again.
    Refused,
}

/// Reads the answer of a receiver that is no Tributary site to the message of this name. Refuses
/// what is no answer, or is one to another message.
pub fn read_response(text: &str, name: &MessageId) -> Result<Response, Refusal> {
    let bundle = json::parse(text.as_bytes(), json::DEPTH_MAX)?;
    let entries = super::read::entries(&bundle)?;
    let resources = || entries.iter().filter_map(|entry| entry.get("resource"));
    let is = |of: &Json<'_>, kind: &str| of.str_at("resourceType").as_deref() == Some(kind);
    let header = resources().next().filter(|first| is(first, "MessageHeader"));
    let told = header.and_then(|header| header.get("response"));
    let told = told.ok_or_else(|| Refusal::invalid("it is not the answer to a message"))?;
    if told.str_at("identifier").is_some_and(|of| of != name.to_string()) {
        return Err(Refusal::invalid("it is the answer to another message"));
    }
    let word = match told.str_at("code").as_deref() {
        Some("ok") => Word::Taken,
        Some("transient-error") => Word::Later,
        Some("fatal-error") => Word::Refused,
        _ => return Err(Refusal::invalid("it says neither ok nor what is wrong")),
    };
    let outcome = resources().find(|one| is(one, "OperationOutcome")).map(Json::to_text);
    Ok(Response { word, outcome })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_of_another_receiver_is_read_and_what_is_none_refused() {
        let name: MessageId = "01890a5d-ac96-774b-bcce-b302099a8057-7".parse().unwrap();
        let answer = |kind: &str, response: &str| {
            format!(
                r#"{{"resourceType":"Bundle","type":"{kind}","entry":[{{"resource":
                {{"resourceType":"MessageHeader"{response}}}}},{{"resource":
                {{"resourceType":"OperationOutcome","issue":[]}}}}]}}"#
            )
        };
        let said = |code: &str| format!(r#","response":{{"identifier":"{name}","code":"{code}"}}"#);
        let outcome = Some(r#"{"resourceType":"OperationOutcome","issue":[]}"#.to_owned());
        for (code, word) in
            [("ok", Word::Taken), ("transient-error", Word::Later), ("fatal-error", Word::Refused)]
        {
            let read = read_response(&answer("message", &said(code)), &name);
            assert_eq!(read, Ok(Response { word, outcome: outcome.clone() }));
        }
        for (text, words) in [
            (answer("message", &said("perhaps")), "neither ok"),
            (answer("message", ""), "not the answer"),
            (answer("collection", &said("ok")), "not a Bundle of type message"),
            (answer("message", r#","response":{"identifier":"x","code":"ok"}"#), "another message"),
            ("{".to_owned(), ""),
        ] {
            let refusal = read_response(&text, &name).unwrap_err();
            assert!(refusal.reason.contains(words), "{refusal}");
        }
    }
}
