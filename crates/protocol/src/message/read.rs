//! A message to a line. Members that are not known are passed over.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::{CHANGE, Envelope, Message, PROOF, SITE, told};
use crate::change::{Author, ChangeId};
use crate::error::Refusal;
use crate::feed::EntryKind;
use crate::id::RecordRef;
use crate::json::{self, Json};
use crate::limits::Limits;
use crate::resource::Record;
use crate::stream::{Base, InLine, InRecord};
use crate::time::Timestamp;

/// The Bundle, its entries and one entry: what stands around a resource.
const DEPTH_AROUND: usize = 3;

/// Reads a message. `Err` where it is none, or where not even who sends what can be read; what is
/// wrong with its records stands in `line`.
pub fn read(bytes: &[u8], limits: &Limits) -> Result<Message, Refusal> {
    if bytes.len() > limits.message_bytes {
        return Err(Refusal::over_limit("message_bytes", limits.message_bytes));
    }
    let bundle = json::parse(bytes, limits.json_depth.saturating_add(DEPTH_AROUND))?;
    let entries = entries(&bundle)?;
    let header = entries.first().and_then(|entry| entry.get("resource"));
    let header = header.filter(|it| it.str_at("resourceType").as_deref() == Some("MessageHeader"));
    let header = header
        .ok_or_else(|| Refusal::invalid("the first entry of a message is a MessageHeader"))?;
    let said = extension(header, CHANGE).ok_or_else(|| {
        Refusal::unknown(format!(
            "the MessageHeader has no extension {CHANGE}: this site takes messages of Tributary \
             sites only"
        ))
    })?;
    let id: ChangeId = required(said, "id", "valueUri")?;
    let at = optional(&bundle, "timestamp")?.unwrap_or(Timestamp::from_millis(0));
    let envelope = Envelope {
        from: sender(header)?,
        epoch: required(said, "epoch", "valueString")?,
        to: required(said, "to", "valueString")?,
        attempt: attempt(said)?,
        at,
    };
    let covers = covers(said)?;
    let line = line(said, entries, &id, &covers, limits).map(Box::new);
    let (told, proof) = (told(&envelope.from, said), part(said, PROOF, "valueString")?);
    Ok(Message { envelope, id, covers, line, told, proof })
}

/// The entries of a Bundle of type `message`.
pub(super) fn entries<'t, 'a>(bundle: &'t Json<'a>) -> Result<&'t [Json<'a>], Refusal> {
    let is = |key: &str, value: &str| bundle.str_at(key).as_deref() == Some(value);
    if !is("resourceType", "Bundle") || !is("type", "message") {
        return Err(Refusal::invalid("it is not a Bundle of type message"));
    }
    let entries = bundle.get("entry").and_then(Json::as_array);
    entries.ok_or_else(|| Refusal::invalid("the message has no entries"))
}

/// The extension of this URL.
pub(super) fn extension<'t, 'a>(of: &'t Json<'a>, url: &str) -> Option<&'t Json<'a>> {
    all(of, url).next()
}

fn all<'t, 'a>(of: &'t Json<'a>, url: &str) -> impl Iterator<Item = &'t Json<'a>> {
    let list = of.get("extension").and_then(Json::as_array).unwrap_or(&[]);
    list.iter().filter(move |one| one.str_at("url").as_deref() == Some(url))
}

fn optional<T: FromStr<Err = Refusal>>(of: &Json<'_>, key: &str) -> Result<Option<T>, Refusal> {
    of.str_at(key).map(|text| text.parse()).transpose().map_err(|e| within(key, &e))
}

/// The value of a part of the extension, where it is there.
fn part<T: FromStr<Err = Refusal>>(
    said: &Json<'_>,
    name: &str,
    value: &str,
) -> Result<Option<T>, Refusal> {
    let Some(found) = extension(said, name) else { return Ok(None) };
    optional(found, value).map_err(|e| within(name, &e))
}

fn required<T: FromStr<Err = Refusal>>(
    said: &Json<'_>,
    name: &str,
    value: &str,
) -> Result<T, Refusal> {
    part(said, name, value)?
        .ok_or_else(|| Refusal::malformed(format!("{name} is missing in the extension {CHANGE}")))
}

fn within(place: &str, refusal: &Refusal) -> Refusal {
    Refusal::new(refusal.kind, format!("{place}: {}", refusal.reason))
}

fn sender(header: &Json<'_>) -> Result<crate::id::SiteId, Refusal> {
    let endpoint = header.get("source").and_then(|source| source.str_at("endpoint"));
    let wrong = || Refusal::invalid(format!("source.endpoint is not {SITE} and a site's id"));
    endpoint.as_deref().and_then(|url| url.strip_prefix(SITE)).ok_or_else(wrong)?.parse()
}

fn attempt(said: &Json<'_>) -> Result<u32, Refusal> {
    let Some(found) = extension(said, "attempt") else { return Ok(1) };
    let value = found.get("valuePositiveInt").and_then(Json::as_number);
    value
        .and_then(|literal| literal.parse().ok())
        .ok_or_else(|| Refusal::malformed("attempt: it is not a whole number in range"))
}

fn covers(said: &Json<'_>) -> Result<Vec<u64>, Refusal> {
    let Some(found) = extension(said, "covers") else { return Ok(Vec::new()) };
    let text = found.str_at("valueString").unwrap_or_default();
    let numbers = text.split_ascii_whitespace().map(str::parse).collect::<Result<_, _>>();
    numbers.map_err(|_| Refusal::malformed("covers: it is not a list of whole numbers"))
}

/// The line that the message stands for.
fn line(
    said: &Json<'_>,
    entries: &[Json<'_>],
    id: &ChangeId,
    covers: &[u64],
    limits: &Limits,
) -> Result<InLine, Refusal> {
    let patients = all(said, "patient").map(|patient| {
        let reference = patient.get("valueReference").and_then(|value| value.str_at("reference"));
        let text = reference.ok_or_else(|| Refusal::malformed("patient: it has no reference"))?;
        text.parse().map_err(|e| within("patient", &e))
    });
    let patients = patients.collect::<Result<Vec<RecordRef>, Refusal>>()?;
    let resources = resources(entries);
    let records = all(said, "record").map(|named| record(named, &resources, limits));
    Ok(InLine {
        position: None,
        kind: EntryKind::Change,
        id: Some(id.clone()),
        covers: covers.to_vec(),
        part: None,
        author: extension(said, "author")
            .and_then(|author| author.str_at("valueString"))
            .map(|name| Author::new(&name)),
        at: part(said, "at", "valueInstant")?,
        patients,
        reason: None,
        records: records.collect::<Result<_, _>>()?,
    })
}

type Resources<'t, 'a> = BTreeMap<String, &'t Json<'a>>;

/// The resources after the MessageHeader, by name. What no record of the change names, as the
/// Provenance of the message itself, is not looked at.
fn resources<'t, 'a>(entries: &'t [Json<'a>]) -> Resources<'t, 'a> {
    let mut resources = Resources::new();
    for resource in entries.iter().skip(1).filter_map(|entry| entry.get("resource")) {
        if let (Some(kind), Some(id)) = (resource.str_at("resourceType"), resource.str_at("id")) {
            resources.entry(format!("{kind}/{id}")).or_insert(resource);
        }
    }
    resources
}

fn record(
    named: &Json<'_>,
    resources: &Resources<'_, '_>,
    limits: &Limits,
) -> Result<InRecord, Refusal> {
    let name: RecordRef = required(named, "reference", "valueString")?;
    let says = |url: &str| {
        let said = extension(named, url).and_then(|it| it.get("valueBoolean")?.as_bool());
        said == Some(true)
    };
    let relayed = says("relayed");
    let digest = part(named, "base", "valueString")?;
    let since = extension(named, "since").and_then(|it| it.str_at("valueString"));
    let unreadable = |_| Refusal::malformed("since is not a whole number in range");
    let since = since.map(|text| text.parse::<u64>().map_err(unreadable)).transpose()?;
    let base = (digest.is_some() || since.is_some()).then_some(Base { digest, relayed, since });
    if says("deleted") {
        return Ok(InRecord::State { record: Record::deleted(name), base });
    }
    let Some(resource) = resources.get(&name.to_string()) else {
        return Err(Refusal::malformed(format!("{name} is named, and is not in the message")));
    };
    let record = Record::from_json(resource, limits).map_err(|e| within(&name.to_string(), &e))?;
    let digest: crate::digest::ShortDigest = required(named, "digest", "valueString")?;
    if record.digest.short() != digest {
        return Err(Refusal::malformed(format!(
            "{name} was altered on the way: its digest is not the one that was sent"
        )));
    }
    Ok(InRecord::State { record, base })
}
