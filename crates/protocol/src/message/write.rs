//! A line to a message.

use serde_json::{Value, json};

use super::{CHANGE, EVENT, Envelope, MessageId, PROOF, Proof, SITE, Urls, told};
use crate::change::{Author, ChangeId};
use crate::digest::Digest;
use crate::id::RecordRef;
use crate::json;
use crate::stream::{Base, OutLine, OutRecord};

/// The whole message of a line that has an id and is not in parts; `None` for any other.
pub fn write(line: &OutLine, envelope: &Envelope, urls: Urls<'_>) -> Option<String> {
    written(line, envelope, urls, None)
}

/// The same with the sender's proof, under the hash of its credential: whoever carries it can
/// change nothing in it.
pub fn write_proved(
    line: &OutLine,
    envelope: &Envelope,
    urls: Urls<'_>,
    credential_hash: &[u8; 32],
) -> Option<String> {
    written(line, envelope, urls, Some(credential_hash))
}

fn written(
    line: &OutLine,
    envelope: &Envelope,
    urls: Urls<'_>,
    key: Option<&[u8; 32]>,
) -> Option<String> {
    let id = line.id.as_ref().filter(|_| line.part.is_none())?;
    let name = MessageId::of(id);
    let bodies = line.records.iter().map(|record| match record {
        OutRecord::Resource { body, .. } => body.len() + 256,
        _ => 256,
    });
    let mut out = String::with_capacity(4_096 + bodies.sum::<usize>());
    out.push_str(&format!(
        "{{\"resourceType\":\"Bundle\",\"id\":\"{name}\",\"identifier\":{{\"system\":\
         \"urn:ietf:rfc:3986\",\"value\":\"{id}\"}},\"type\":\"message\",\"timestamp\":\"{}\",\
         \"entry\":[",
        envelope.at
    ));
    let named = named(line);
    let mut said = said(line, id, envelope, &named);
    if let Some(key) = key {
        let proof = proof_of(envelope, &said, key)?;
        said.push(json!({"url": PROOF, "valueString": proof.to_string()}));
    }
    let header = header(said, id, envelope, urls, &named);
    entry(&mut out, &format!("urn:tributary:message:{name}"), &header.to_string());
    for (record, named) in line.records.iter().zip(&named) {
        if let OutRecord::Resource { body, .. } = record {
            out.push(',');
            entry(&mut out, &format!("{}/fhir/{}", urls.base, named.reference), body);
        }
    }
    if !named.is_empty() {
        out.push(',');
        let provenance = provenance(line, envelope, &named);
        let url = format!("urn:tributary:message:{name}:provenance");
        entry(&mut out, &url, &provenance.to_string());
    }
    out.push_str("]}");
    Some(out)
}

/// What the extension says of one record.
struct Named {
    reference: RecordRef,
    digest: Digest,
    base: Option<Base>,
    deleted: bool,
}

fn named(line: &OutLine) -> Vec<Named> {
    let named = line.records.iter().filter_map(|record| match record {
        OutRecord::Resource { reference, digest, base, .. } => Some(Named {
            reference: reference.clone(),
            digest: *digest,
            base: *base,
            deleted: false,
        }),
        OutRecord::Deleted { reference, base } => Some(Named {
            reference: reference.clone(),
            digest: Digest::of_deletion(reference),
            base: *base,
            deleted: true,
        }),
        OutRecord::Held(_) | OutRecord::Left(_) => None,
    });
    named.collect()
}

fn entry(out: &mut String, url: &str, resource: &str) {
    out.push_str("{\"fullUrl\":");
    out.push_str(&Value::from(url).to_string());
    out.push_str(",\"resource\":");
    out.push_str(resource);
    out.push('}');
}

/// From the text that a reader will see: there is one way to tell it.
fn proof_of(envelope: &Envelope, said: &[Value], key: &[u8; 32]) -> Option<Proof> {
    let text = json!({ "extension": said }).to_string();
    let said = json::parse(text.as_bytes(), json::DEPTH_MAX).ok()?;
    Some(Proof::of(&told(&envelope.from, &said), key))
}

fn header(
    said: Vec<Value>,
    id: &ChangeId,
    envelope: &Envelope,
    urls: Urls<'_>,
    named: &[Named],
) -> Value {
    let mut header = json!({
        "resourceType": "MessageHeader",
        "id": MessageId::of(id).to_string(),
        "extension": [{"url": CHANGE, "extension": said}],
        "eventUri": EVENT,
        "destination": [{"name": envelope.to.as_str(), "endpoint": urls.target}],
        "source": {
            "name": envelope.from.as_str(),
            "software": "Tributary",
            "endpoint": format!("{SITE}{}", envelope.from),
        },
    });
    let focus: Vec<Value> = named
        .iter()
        .filter(|named| !named.deleted)
        .map(|named| reference(&named.reference))
        .collect();
    if !focus.is_empty() {
        header["focus"] = focus.into();
    }
    header
}

fn reference(name: &RecordRef) -> Value {
    json!({"reference": name.to_string()})
}

fn said(line: &OutLine, id: &ChangeId, envelope: &Envelope, named: &[Named]) -> Vec<Value> {
    let mut said = vec![
        json!({"url": "id", "valueUri": id.to_string()}),
        json!({"url": "epoch", "valueString": envelope.epoch.to_string()}),
        json!({"url": "to", "valueString": envelope.to.as_str()}),
        json!({"url": "attempt", "valuePositiveInt": envelope.attempt}),
    ];
    if !line.covers.is_empty() {
        let numbers: Vec<String> = line.covers.iter().map(u64::to_string).collect();
        said.push(json!({"url": "covers", "valueString": numbers.join(" ")}));
    }
    if let Some(author) = &line.author {
        said.push(json!({"url": "author", "valueString": shown(author)}));
    }
    if let Some(at) = line.at {
        said.push(json!({"url": "at", "valueInstant": at.to_string()}));
    }
    said.extend(
        line.patients
            .iter()
            .map(|patient| json!({"url": "patient", "valueReference": reference(patient)})),
    );
    said.extend(named.iter().map(|named| {
        let mut parts = vec![
            json!({"url": "reference", "valueString": named.reference.to_string()}),
            json!({"url": "digest", "valueString": named.digest.short().to_string()}),
        ];
        if let Some(base) = named.base {
            if let Some(digest) = base.digest {
                parts.push(json!({"url": "base", "valueString": digest.to_string()}));
            }
            if base.relayed {
                parts.push(json!({"url": "relayed", "valueBoolean": true}));
            }
            if let Some(since) = base.since {
                parts.push(json!({"url": "since", "valueString": since.to_string()}));
            }
        }
        if named.deleted {
            parts.push(json!({"url": "deleted", "valueBoolean": true}));
        }
        json!({"url": "record", "extension": parts})
    }));
    said
}

/// FHIR has no empty strings, and no reader takes a NUL.
fn shown(author: &Author) -> String {
    let name = author.as_str().replace('\0', "\u{fffd}");
    if name.trim().is_empty() { "unknown".to_owned() } else { name }
}

fn provenance(line: &OutLine, envelope: &Envelope, named: &[Named]) -> Value {
    let targets: Vec<Value> = named.iter().map(|named| reference(&named.reference)).collect();
    let who = line.author.as_ref().map_or_else(|| envelope.from.to_string(), shown);
    json!({
        "resourceType": "Provenance",
        "target": targets,
        "recorded": line.at.unwrap_or(envelope.at).to_string(),
        "agent": [{
            "who": {"display": who},
            "onBehalfOf": {"display": envelope.from.as_str()},
        }],
    })
}
