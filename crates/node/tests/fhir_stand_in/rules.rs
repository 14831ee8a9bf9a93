//! What the stand-in takes: HAPI's rules, and what is posted to get an id of its own.

use std::collections::BTreeSet;

use axum::response::Response;
use serde_json::{Value, json};

use super::small::{ok, outcome, references, refusal, with_meta};
use super::{Batch, Held, Refused, Server};

impl Server {
    pub(super) fn create(&mut self, kind: &str, body: &[u8]) -> Response {
        let mut body: Value = serde_json::from_slice(body).unwrap();
        let id = (1_001 + self.records.len()).to_string();
        body["id"] = json!(id);
        let record = format!("{kind}/{id}");
        // Only its references can be wrong.
        let text = body.to_string();
        if let Err((status, code, words)) = self.refers(kind, &text, &BTreeSet::new()) {
            return refusal(status, code, &words);
        }
        self.store(&record, Some(text));
        let mut answer = ok(201, &json!({"resourceType": "OperationOutcome"}));
        let place = format!("{}/{record}/_history/1", self.url);
        answer.headers_mut().insert("location", place.parse().unwrap());
        answer
    }

    /// Whether a body can stand under this name: HAPI's rules.
    pub(super) fn check(
        &self,
        record: &str,
        text: &str,
        beside: &BTreeSet<String>,
    ) -> Result<(), Refused> {
        let body: Value = serde_json::from_str(text)
            .map_err(|_| (400, "structure", "this is no JSON".to_owned()))?;
        let (kind, id) = record.split_once('/').unwrap_or((record, ""));
        if body["resourceType"] != kind || body["id"] != id {
            let words = format!("the body is not {record}");
            return Err((400, "invalid", words));
        }
        let is_new = !self.records.contains_key(record);
        if is_new && !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()) {
            let words = format!(
                "HAPI-0960: Can not create resource with ID[{id}], no resource with this ID \
                 exists and clients may only assign IDs which contain at least one non-numeric \
                 character"
            );
            return Err((400, "processing", words));
        }
        self.refers(kind, text, beside)
    }

    fn refers(&self, kind: &str, text: &str, beside: &BTreeSet<String>) -> Result<(), Refused> {
        for target in references(&serde_json::from_str(text).unwrap()) {
            let there = self.body(&target).is_some() || beside.contains(&target);
            if !there {
                let words = format!("HAPI-1094: Resource {target} not found, specified in {kind}");
                return Err((400, "processing", words));
            }
        }
        Ok(())
    }

    /// Who refers to a record, but for those that go too.
    pub(super) fn referring(&self, record: &str, going: &BTreeSet<String>) -> Option<&str> {
        let others = self.records.iter().filter(|(name, _)| !going.contains(*name));
        let mut found = others.filter_map(|(name, held)| Some((name, held.body.as_ref()?)));
        let refers = |body: &str| {
            references(&serde_json::from_str(body).unwrap()).iter().any(|target| target == record)
        };
        found.find(|(_, body)| refers(body)).map(|(name, _)| name.as_str())
    }

    /// A batch of reads, each for itself.
    pub(super) fn answer_batch(&mut self, body: &[u8]) -> Response {
        match self.batch {
            Batch::None | Batch::Refused => {
                return refusal(400, "not-supported", "no batches are taken here");
            }
            Batch::Good | Batch::Blind => {}
        }
        let bundle: Value = serde_json::from_slice(body).unwrap();
        let entries = bundle["entry"].as_array().unwrap().iter().map(|entry| {
            let record = entry["request"]["url"].as_str().unwrap();
            assert_eq!(entry["request"]["method"], "GET");
            let held = self.records.get(record).filter(|_| self.batch == Batch::Good);
            if let Some((status, words)) = self.fails.get(record) {
                return json!({"response": {"status": status.to_string(),
                    "outcome": outcome("processing", words)}});
            }
            let (status, words) = match held {
                None => ("404 Not Found", "not known"),
                Some(Held { body: None, .. }) => ("410 Gone", "gone"),
                Some(Held { body: Some(body), version, changed }) => {
                    let etag = format!("W/\"{version}\"");
                    return json!({"resource": with_meta(body, *changed, *version),
                        "response": {"status": "200 OK", "etag": etag}});
                }
            };
            json!({"response": {"status": status, "outcome": outcome("not-found", words)}})
        });
        let entries = entries.collect::<Vec<_>>();
        ok(200, &json!({"resourceType": "Bundle", "type": "batch-response", "entry": entries}))
    }

    pub(super) fn process(&mut self, body: &[u8]) -> Response {
        let bundle: Value = serde_json::from_slice(body).unwrap();
        let header = &bundle["entry"][0]["resource"];
        if bundle["type"] != "message" || header["resourceType"] != "MessageHeader" {
            return refusal(400, "invalid", "this is no message");
        }
        let name = header["id"].clone();
        let records = bundle["entry"].as_array().unwrap().iter().skip(1);
        let named = records.clone().filter_map(|entry| {
            let resource = &entry["resource"];
            Some(format!("{}/{}", resource["resourceType"].as_str()?, resource["id"].as_str()?))
        });
        let failing = named.clone().find_map(|record| self.fails.get(&record).cloned());
        let (code, words) = match &failing {
            Some((_, words)) => ("fatal-error", words.clone()),
            None => self.answers.clone(),
        };
        if code == "ok" {
            for entry in records.filter(|entry| entry["resource"]["resourceType"] != "Provenance") {
                let resource = &entry["resource"];
                let (kind, id) = (&resource["resourceType"], &resource["id"]);
                let name = format!("{}/{}", kind.as_str().unwrap(), id.as_str().unwrap());
                self.store(&name, Some(resource.to_string()));
            }
            self.messages.push(bundle.clone());
        }
        let answer = json!({
            "resourceType": "Bundle", "type": "message",
            "entry": [
                {"resource": {"resourceType": "MessageHeader", "eventUri": "urn:x",
                    "source": {"endpoint": "urn:x"},
                    "response": {"identifier": name, "code": code}}},
                {"resource": outcome("processing", &words)},
            ],
        });
        ok(200, &answer)
    }
}

/// Whether a Bundle is a batch.
pub(super) fn is_batch(body: &[u8]) -> bool {
    serde_json::from_slice::<Value>(body).is_ok_and(|bundle| bundle["type"] == "batch")
}
