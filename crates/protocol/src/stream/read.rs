//! Lines to values. Members may come in any order, and unknown ones are passed over.

use std::borrow::Cow;
use std::str::FromStr;

use super::{
    Base, Differing, Header, InLine, InRecord, OUTCOMES, OutcomeLine, PROTOCOL_VERSION,
    RefusedLine, StreamLine,
};
use crate::change::{Author, ChangeId};
use crate::delivery::Outcome;
use crate::digest::{self, Digest, ShortDigest};
use crate::error::Refusal;
use crate::feed::EntryKind;
use crate::id::RecordRef;
use crate::json::{self, Json};
use crate::limits::Limits;
use crate::resource::Record;

/// What a line may have beyond its records before it is over `line_bytes`.
pub const ENVELOPE_BYTES: usize = 64 << 10;

/// The arrays and objects around a resource: the line, its records, one record.
const DEPTH_AROUND: usize = 3;

/// How deep an outcome line nests, with room for members of later versions.
const OUTCOME_DEPTH: usize = 16;

/// Reads one line without its newline. `Err` where not even the envelope can be read, or where
/// the line's stream is of a version that we do not know: the reader then counts a failure of the
/// link or the sender, and does not move its marker.
///
/// A line whose envelope can be read and whose content cannot (an unknown kind or form of record,
/// a bad record, a wrong sum) is a `StreamLine::Refused`.
pub fn read_line(line: &[u8], limits: &Limits) -> Result<StreamLine, Refusal> {
    if line.len() > limits.line_bytes.saturating_add(ENVELOPE_BYTES) {
        return Err(Refusal::over_limit("line_bytes", limits.line_bytes));
    }
    let json = match json::parse(line, limits.json_depth.saturating_add(DEPTH_AROUND)) {
        Ok(json) => json,
        Err(refusal) => return refused_by_its_records(line, refusal),
    };
    if let Some(version) = json.get("stream") {
        return header(&json, version).map(StreamLine::Header);
    }
    if json.get("end").is_some() {
        let more = json.get("more").and_then(Json::as_bool).unwrap_or(false);
        return Ok(StreamLine::End { end: required(&json, "end", number)?, more });
    }
    let envelope = Envelope::read(&json)?;
    Ok(match content(&json, &envelope, limits) {
        Ok(line) => StreamLine::Line(Box::new(line)),
        Err(refusal) => envelope.refused(refusal),
    })
}

/// One bad record must not hide whose it is: the line is read once more without its records.
fn refused_by_its_records(line: &[u8], refusal: Refusal) -> Result<StreamLine, Refusal> {
    let Some(rest) = without_records(line) else { return Err(refusal) };
    let Ok(json) = json::parse(&rest, OUTCOME_DEPTH) else { return Err(refusal) };
    match Envelope::read(&json) {
        Ok(envelope) => Ok(envelope.refused(refusal)),
        Err(_) => Err(refusal),
    }
}

/// The line with `[]` for its records, whatever is in them as long as its brackets match; `None`
/// where there are no records.
fn without_records(line: &[u8]) -> Option<Vec<u8>> {
    const KEY: &[u8] = b"\"records\":[";
    let (mut depth, mut at, mut begin) = (0usize, 0, None);
    while let Some(byte) = line.get(at) {
        match byte {
            b'"' => {
                if depth == 1 && begin.is_none() && line[at..].starts_with(KEY) {
                    begin = Some(at + KEY.len());
                }
                at = string_end(line, at)?;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        at += 1;
        if let Some(begin) = begin.filter(|begin| at > *begin && depth == 1) {
            return Some([&line[..begin], &line[at - 1..]].concat());
        }
    }
    None
}

/// The place of the quote that ends the string that begins at `at`.
fn string_end(line: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        match line.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

fn header(json: &Json<'_>, version: &Json<'_>) -> Result<Header, Refusal> {
    if version.as_number() != Some(&PROTOCOL_VERSION.to_string()) {
        return Err(Refusal::unknown(format!(
            "the stream's version is not one that this program knows; it knows {PROTOCOL_VERSION}"
        )));
    }
    let behind = json.get("behind");
    Ok(Header {
        feed: required(json, "feed", parsed)?,
        epoch: required(json, "epoch", parsed)?,
        sequence: required(json, "sequence", number)?,
        after: required(json, "after", number)?,
        head: required(json, "head", number)?,
        behind: behind.map_or(Ok(None), |b| optional(b, "changes", number))?.unwrap_or(0),
        oldest: behind.map_or(Ok(None), |b| optional(b, "oldest", parsed))?,
    })
}

/// What has to be readable for a line to be told apart from all others and parked.
struct Envelope {
    position: Option<u64>,
    id: Option<ChangeId>,
    covers: Vec<u64>,
    part: Option<(u32, u32)>,
    patients: Vec<RecordRef>,
}

impl Envelope {
    fn read(json: &Json<'_>) -> Result<Envelope, Refusal> {
        let envelope = Envelope {
            position: optional(json, "position", number)?,
            id: optional(json, "id", change_id)?,
            covers: optional(json, "covers", |list| each(list, number))?.unwrap_or_default(),
            part: part(json)?,
            patients: optional(json, "patients", |list| each(list, parsed))?.unwrap_or_default(),
        };
        if envelope.position.is_none() && envelope.id.is_none() {
            return Err(Refusal::malformed("the line has neither a position nor an id"));
        }
        Ok(envelope)
    }

    fn refused(self, refusal: Refusal) -> StreamLine {
        let Envelope { position, id, covers, part, patients } = self;
        StreamLine::Refused(Box::new(RefusedLine { position, id, covers, part, patients, refusal }))
    }
}

/// The rest of the line, and its sum.
fn content(json: &Json<'_>, envelope: &Envelope, limits: &Limits) -> Result<InLine, Refusal> {
    let kind = match optional(json, "kind", string)? {
        None => EntryKind::Change,
        Some(name) => EntryKind::named(&name).ok_or_else(|| {
            Refusal::unknown("the line is of a kind that this program does not know")
        })?,
    };
    let list = json.get("records").map_or(Ok(&[][..]), |list| {
        list.as_array().ok_or_else(|| member("records", "is not a list"))
    })?;
    let mut records = Vec::with_capacity(list.len());
    for (index, item) in list.iter().enumerate() {
        records.push(record(item, limits).map_err(|r| within(&format!("records.{index}"), r))?);
    }
    let sum = optional(json, "sum", parsed)?;
    if sum != sum_of(&records) {
        return Err(Refusal::malformed("the line's sum is not that of its records"));
    }
    Ok(InLine {
        position: envelope.position,
        kind,
        id: envelope.id.clone(),
        covers: envelope.covers.clone(),
        part: envelope.part,
        author: optional(json, "author", string)?.map(|name| Author::new(&name)),
        at: optional(json, "at", parsed)?,
        patients: envelope.patients.clone(),
        reason: optional(json, "reason", string)?.map(Cow::into_owned),
        records,
    })
}

/// Over resources and deletions; `None` where there are none.
fn sum_of(records: &[InRecord]) -> Option<ShortDigest> {
    let digest = |record: &InRecord| match record {
        InRecord::State { record, .. } => Some(record.digest),
        InRecord::Held(_) | InRecord::Left(_) => None,
    };
    let digests: Vec<Digest> = records.iter().filter_map(digest).collect();
    (!digests.is_empty()).then(|| digest::sum(&digests))
}

fn record(json: &Json<'_>, limits: &Limits) -> Result<InRecord, Refusal> {
    let form = |key: &'static str| json.get(key).map(|value| (key, value));
    let mut forms = ["resource", "deleted", "held", "left"].into_iter().filter_map(form);
    let (Some((form, value)), None) = (forms.next(), forms.next()) else {
        return Err(Refusal::unknown("it is of a form that this program does not know"));
    };
    let relayed = json.get("relayed").and_then(Json::as_bool) == Some(true);
    let digest = optional(json, "base", parsed)?;
    let since = optional(json, "since", number)?;
    let base = (digest.is_some() || since.is_some()).then_some(Base { digest, relayed, since });
    let reference = || parsed::<RecordRef>(value).map_err(|refusal| within(form, refusal));
    Ok(match form {
        "resource" => InRecord::State { record: Record::from_json(value, limits)?, base },
        "deleted" => InRecord::State { record: Record::deleted(reference()?), base },
        "held" => InRecord::Held(reference()?),
        _ => InRecord::Left(reference()?),
    })
}

/// Reads one outcome line without its newline.
pub fn read_outcome(line: &[u8]) -> Result<OutcomeLine, Refusal> {
    let json = json::parse(line, OUTCOME_DEPTH)?;
    let name = required(&json, "outcome", string)?;
    let known = OUTCOMES.into_iter().find(|outcome| outcome.as_str() == name);
    // A parent that does not say so has looked at all that it took.
    let looked = known != Some(Outcome::Already);
    let differs = optional(&json, "differs", |list| each(list, |one| differing(one, looked)))?;
    Ok(OutcomeLine {
        id: required(&json, "id", change_id)?,
        part: part(&json)?,
        outcome: known.ok_or_else(|| {
            Refusal::unknown("the outcome is one that this program does not know")
        })?,
        reason: optional(&json, "reason", string)?.map(Cow::into_owned),
        sequence: required(&json, "sequence", number)?,
        differs: differs.unwrap_or_default(),
    })
}

/// `looked`: what holds where nothing is said of whether the sender had what was sent.
fn differing(json: &Json<'_>, looked: bool) -> Result<Differing, Refusal> {
    match json.as_array() {
        Some([record, digest, rest @ ..]) => {
            let had = rest.first().and_then(Json::as_bool).unwrap_or(looked);
            Ok(Differing { record: parsed(record)?, digest: parsed(digest)?, had })
        }
        _ => Err(Refusal::malformed("it is not a record and its digest")),
    }
}

fn member(key: &str, what: &str) -> Refusal {
    Refusal::malformed(format!("{key} {what}"))
}

fn within(place: &str, refusal: Refusal) -> Refusal {
    Refusal::new(refusal.kind, format!("{place}: {}", refusal.reason))
}

/// `null` counts as absent.
fn optional<'j, T>(
    json: &'j Json<'_>,
    key: &str,
    read: impl FnOnce(&'j Json<'_>) -> Result<T, Refusal>,
) -> Result<Option<T>, Refusal> {
    match json.get(key).filter(|value| !value.is_null()) {
        None => Ok(None),
        Some(value) => read(value).map(Some).map_err(|refusal| within(key, refusal)),
    }
}

fn required<'j, T>(
    json: &'j Json<'_>,
    key: &str,
    read: impl FnOnce(&'j Json<'_>) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    optional(json, key, read)?.ok_or_else(|| member(key, "is missing"))
}

fn each<T>(
    json: &Json<'_>,
    read: impl Fn(&Json<'_>) -> Result<T, Refusal>,
) -> Result<Vec<T>, Refusal> {
    let list = json.as_array().ok_or_else(|| Refusal::malformed("it is not a list"))?;
    list.iter().map(read).collect()
}

fn number<T: FromStr>(json: &Json<'_>) -> Result<T, Refusal> {
    let value = json.as_number().and_then(|literal| literal.parse().ok());
    value.ok_or_else(|| Refusal::malformed("it is not a whole number in range"))
}

fn string<'j>(json: &'j Json<'_>) -> Result<Cow<'j, str>, Refusal> {
    json.as_str().ok_or_else(|| Refusal::malformed("it is not a string"))
}

fn parsed<T: FromStr<Err = Refusal>>(json: &Json<'_>) -> Result<T, Refusal> {
    string(json)?.parse()
}

fn change_id(json: &Json<'_>) -> Result<ChangeId, Refusal> {
    match json.as_array() {
        Some([origin, epoch, count]) => {
            Ok(ChangeId { origin: parsed(origin)?, epoch: parsed(epoch)?, number: number(count)? })
        }
        _ => Err(Refusal::malformed("a change is named [site, epoch, number]")),
    }
}

fn part(json: &Json<'_>) -> Result<Option<(u32, u32)>, Refusal> {
    match (optional(json, "part", number)?, optional(json, "parts", number)?) {
        (None, None) => Ok(None),
        (Some(part), Some(parts)) if 1 <= part && part <= parts => Ok(Some((part, parts))),
        _ => Err(Refusal::malformed("part is not one of parts")),
    }
}
