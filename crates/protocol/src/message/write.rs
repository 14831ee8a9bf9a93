//! A line to a message.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::Value;

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
    let mut change = Part { extension: said(line, id, envelope, &named), ..Part::named(CHANGE) };
    if let Some(key) = key {
        let proof = proof_of(envelope, &change, key)?;
        change.extension.push(Part::string(PROOF, proof.to_string()));
    }
    let header = header(change, id, envelope, urls, &named);
    entry(&mut out, &format!("urn:tributary:message:{name}"), &text(&header)?);
    for (record, named) in line.records.iter().zip(&named) {
        if let OutRecord::Resource { body, .. } = record {
            out.push(',');
            entry(&mut out, &format!("{}/fhir/{}", urls.base, named.reference), body);
        }
    }
    if !named.is_empty() {
        out.push(',');
        let provenance = text(&provenance(line, envelope, &named))?;
        entry(&mut out, &format!("urn:tributary:message:{name}:provenance"), &provenance);
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
fn proof_of(envelope: &Envelope, change: &Part, key: &[u8; 32]) -> Option<Proof> {
    let text = text(change)?;
    let said = json::parse(text.as_bytes(), json::DEPTH_MAX).ok()?;
    Some(Proof::of(&told(&envelope.from, &said), key))
}

fn text(resource: &impl Serialize) -> Option<String> {
    serde_json::to_string(resource).ok()
}

// The fields of all that follows are in the order of their names, as in every message so far.

/// An extension with one value, or with parts.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Part {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    extension: Vec<Part>,
    url: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_boolean: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_instant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_positive_int: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_reference: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_string: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_uri: Option<String>,
}

impl Part {
    fn named(url: &'static str) -> Part {
        Part { url, ..Part::default() }
    }

    fn string(url: &'static str, value: String) -> Part {
        Part { value_string: Some(value), ..Part::named(url) }
    }

    fn yes(url: &'static str) -> Part {
        Part { value_boolean: Some(true), ..Part::named(url) }
    }
}

#[derive(Serialize)]
struct Reference {
    reference: String,
}

impl Reference {
    fn to(name: &RecordRef) -> Reference {
        Reference { reference: name.to_string() }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Header<'a> {
    destination: [Endpoint<'a>; 1],
    event_uri: &'static str,
    extension: [Part; 1],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    focus: Vec<Reference>,
    id: String,
    resource_type: &'static str,
    source: Endpoint<'a>,
}

/// A `source` or a `destination`.
#[derive(Serialize)]
struct Endpoint<'a> {
    endpoint: String,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    software: Option<&'static str>,
}

fn header<'a>(
    change: Part,
    id: &ChangeId,
    envelope: &'a Envelope,
    urls: Urls<'_>,
    named: &[Named],
) -> Header<'a> {
    let held = named.iter().filter(|named| !named.deleted);
    let (to, from) = (envelope.to.as_str(), envelope.from.as_str());
    Header {
        resource_type: "MessageHeader",
        id: MessageId::of(id).to_string(),
        extension: [change],
        event_uri: EVENT,
        destination: [Endpoint { name: to, software: None, endpoint: urls.target.to_owned() }],
        source: Endpoint {
            name: from,
            software: Some("Tributary"),
            endpoint: format!("{SITE}{from}"),
        },
        focus: held.map(|named| Reference::to(&named.reference)).collect(),
    }
}

fn said(line: &OutLine, id: &ChangeId, envelope: &Envelope, named: &[Named]) -> Vec<Part> {
    let mut said = vec![
        Part { value_uri: Some(id.to_string()), ..Part::named("id") },
        Part::string("epoch", envelope.epoch.to_string()),
        Part::string("to", envelope.to.to_string()),
        Part { value_positive_int: Some(envelope.attempt), ..Part::named("attempt") },
    ];
    if !line.covers.is_empty() {
        let numbers: Vec<String> = line.covers.iter().map(u64::to_string).collect();
        said.push(Part::string("covers", numbers.join(" ")));
    }
    said.extend(line.author.as_ref().map(|author| Part::string("author", shown(author))));
    said.extend(
        line.at.map(|at| Part { value_instant: Some(at.to_string()), ..Part::named("at") }),
    );
    said.extend(line.patients.iter().map(|patient| Part {
        value_reference: Some(Reference::to(patient)),
        ..Part::named("patient")
    }));
    said.extend(
        named.iter().map(|named| Part { extension: of_record(named), ..Part::named("record") }),
    );
    said
}

fn of_record(named: &Named) -> Vec<Part> {
    let mut parts = vec![
        Part::string("reference", named.reference.to_string()),
        Part::string("digest", named.digest.short().to_string()),
    ];
    if let Some(base) = named.base {
        parts.extend(base.digest.map(|digest| Part::string("base", digest.to_string())));
        parts.extend(base.relayed.then(|| Part::yes("relayed")));
        parts.extend(base.since.map(|since| Part::string("since", since.to_string())));
    }
    parts.extend(named.deleted.then(|| Part::yes("deleted")));
    parts
}

/// FHIR has no empty strings, and no reader takes a NUL.
fn shown(author: &Author) -> String {
    let name = author.as_str().replace('\0', "\u{fffd}");
    if name.trim().is_empty() { "unknown".to_owned() } else { name }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Provenance<'a> {
    agent: [Agent<'a>; 1],
    recorded: String,
    resource_type: &'static str,
    target: Vec<Reference>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Agent<'a> {
    on_behalf_of: Display<'a>,
    who: Display<'a>,
}

#[derive(Serialize)]
struct Display<'a> {
    display: Cow<'a, str>,
}

fn provenance<'a>(line: &OutLine, envelope: &'a Envelope, named: &[Named]) -> Provenance<'a> {
    let from = envelope.from.as_str();
    let who = line.author.as_ref().map_or(Cow::Borrowed(from), |author| shown(author).into());
    Provenance {
        resource_type: "Provenance",
        target: named.iter().map(|named| Reference::to(&named.reference)).collect(),
        recorded: line.at.unwrap_or(envelope.at).to_string(),
        agent: [Agent {
            who: Display { display: who },
            on_behalf_of: Display { display: from.into() },
        }],
    }
}
