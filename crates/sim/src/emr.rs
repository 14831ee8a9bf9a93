//! A record system in memory, with faults: it holds a part of what it is given, rewrites what it
//! holds, refuses by rule, forgets its log, and is away. What it is asked is recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use node::ports::{Capabilities, Emr, EmrError, EmrWrite, Noticed, Shown};
use protocol::json::{self, Json, Object, Text};
use protocol::resource::Record;
use protocol::resource::references::{record_named, references};
use protocol::{Limits, RecordRef};

/// What it does to records of a type; `None` where it cannot hold such records.
type Keeps = fn(&str) -> Option<&'static [&'static str]>;

/// How it fails.
#[derive(Debug, Clone, Copy)]
pub struct Faults {
    /// Elements of a resource that it holds, by type.
    pub keeps: Option<Keeps>,
    /// Times to the second, and two given names: more it does not hold.
    pub coarse: bool,
    /// It puts an identifier of its own into each Patient.
    pub own_identifiers: bool,
    /// It takes no reference to what it does not hold.
    pub integrity: bool,
    /// Records that are named by one answer.
    pub portion: usize,
    /// What it names it shows as well: as it was when it was changed, and not as it is by now.
    pub lists: bool,
}

impl Faults {
    /// It holds everything, as it is.
    pub const NONE: Faults = Faults {
        keeps: None,
        coarse: false,
        own_identifiers: false,
        integrity: false,
        portion: 100,
        lists: false,
    };
    /// It holds what OpenMRS holds.
    pub const LIKE_OPENMRS: Faults = Faults {
        keeps: Some(like_openmrs),
        coarse: true,
        own_identifiers: true,
        integrity: true,
        portion: 100,
        lists: false,
    };
}

/// What OpenMRS has a place for. Its own words and codes are not looked at here.
#[rustfmt::skip]
const OPENMRS: &[(&str, &[&str])] = &[
    ("Patient", &[
        "identifier", "active", "name", "gender", "birthDate", "deceasedBoolean",
        "deceasedDateTime", "address", "telecom", "link",
    ]),
    ("Practitioner", &["identifier", "active", "name", "gender"]),
    ("Location", &["name", "description", "address", "partOf", "status"]),
    ("Encounter", &[
        "status", "class", "type", "subject", "participant", "period", "location", "partOf",
    ]),
    ("Observation", &[
        "status", "code", "subject", "encounter", "effectiveDateTime", "issued", "valueQuantity",
        "valueCodeableConcept", "valueString", "valueBoolean", "valueDateTime", "hasMember",
        "interpretation",
    ]),
    ("Condition", &[
        "clinicalStatus", "verificationStatus", "code", "subject", "onsetDateTime",
        "recordedDate", "abatementDateTime",
    ]),
    ("AllergyIntolerance", &[
        "clinicalStatus", "verificationStatus", "type", "category", "criticality", "code",
        "patient", "recordedDate", "reaction",
    ]),
    ("MedicationRequest", &[
        "status", "intent", "priority", "medicationCodeableConcept", "medicationReference",
        "subject", "encounter", "authoredOn", "requester", "dosageInstruction", "dispenseRequest",
    ]),
    ("ServiceRequest", &[
        "status", "intent", "priority", "code", "subject", "encounter", "occurrencePeriod",
        "requester",
    ]),
    ("Immunization", &[
        "status", "vaccineCode", "patient", "encounter", "occurrenceDateTime", "manufacturer",
        "lotNumber", "expirationDate", "performer", "note", "protocolApplied",
    ]),
];

fn like_openmrs(kind: &str) -> Option<&'static [&'static str]> {
    OPENMRS.iter().find(|(known, _)| *known == kind).map(|(_, elements)| *elements)
}

#[derive(Debug, Default)]
struct Held {
    /// What is there; `None`: deleted.
    records: BTreeMap<RecordRef, Option<String>>,
    /// Its transactions, oldest first, and how many were purged of them.
    log: Vec<Vec<(RecordRef, Option<String>)>>,
    purged: usize,
    away: bool,
    refuses: BTreeMap<RecordRef, String>,
    fails: BTreeSet<RecordRef>,
    /// Writes that it takes, and of which the answers are lost.
    lost_answers: u64,
    /// What it was given last, whole.
    given: BTreeMap<RecordRef, String>,
    /// What it was asked.
    written: Vec<RecordRef>,
    reads: u64,
}

/// One record system. Clones are the same one.
#[derive(Debug, Clone)]
pub struct MemoryEmr {
    faults: Faults,
    held: Arc<Mutex<Held>>,
}

impl MemoryEmr {
    /// An empty one.
    pub fn new(faults: Faults) -> MemoryEmr {
        MemoryEmr { faults, held: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes away, or comes back.
    pub fn away(&self, away: bool) {
        self.lock().away = away;
    }

    /// Refuses a record from now on, with these words, or takes it again.
    pub fn refuse(&self, record: &RecordRef, words: Option<&str>) {
        match words {
            Some(words) => drop(self.lock().refuses.insert(record.clone(), words.to_owned())),
            None => drop(self.lock().refuses.remove(record)),
        }
    }

    /// Answers 500 for this record alone, or no more.
    pub fn fail(&self, record: &RecordRef, fails: bool) {
        match fails {
            true => drop(self.lock().fails.insert(record.clone())),
            false => drop(self.lock().fails.remove(record)),
        }
    }

    /// Takes the next writes, and the answers are lost on their way.
    pub fn lose_answers(&self, count: u64) {
        self.lock().lost_answers = count;
    }

    /// Is set up anew, with nothing in it.
    pub fn empty(&self) {
        let mut held = self.lock();
        held.records.clear();
    }

    /// Forgets its log: whoever reads it has to compare everything.
    pub fn purge(&self) {
        let mut held = self.lock();
        held.log.push(Vec::new());
        held.purged = held.log.len();
    }

    /// It is there, takes everything, and loses no answer.
    pub fn mend(&self) {
        let mut held = self.lock();
        held.away = false;
        held.refuses.clear();
        held.fails.clear();
        held.lost_answers = 0;
    }

    /// People enter or change records there, in one transaction; `None` deletes.
    pub fn enter(&self, changes: &[(RecordRef, Option<String>)]) {
        let mut held = self.lock();
        for (record, body) in changes {
            held.records.insert(record.clone(), body.clone());
        }
        held.log.push(changes.to_vec());
    }

    /// What is there; `None` where there is nothing.
    pub fn body(&self, record: &RecordRef) -> Option<String> {
        self.lock().records.get(record).cloned().flatten()
    }

    /// The records that are there.
    pub fn records(&self) -> Vec<RecordRef> {
        let held = self.lock();
        held.records
            .iter()
            .filter(|(_, body)| body.is_some())
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// The records that were there and are deleted.
    pub fn deleted(&self) -> Vec<RecordRef> {
        let held = self.lock();
        let gone = held.records.iter().filter(|(_, body)| body.is_none());
        gone.map(|(name, _)| name.clone()).collect()
    }

    /// What it was given of a record last, with what it cannot hold.
    pub fn given(&self, record: &RecordRef) -> Option<String> {
        self.lock().given.get(record).cloned()
    }

    /// What was written, in order, since this was last asked.
    pub fn take_written(&self) -> Vec<RecordRef> {
        std::mem::take(&mut self.lock().written)
    }

    /// How often it was read.
    pub fn reads(&self) -> u64 {
        self.lock().reads
    }

    /// What it would show of a record that it was given.
    pub fn would_show(&self, record: &RecordRef, body: &str) -> Option<String> {
        let keeps = match self.faults.keeps {
            Some(keeps) => Some(keeps(record.kind.name())?),
            None => None,
        };
        let Ok(Json::Object(resource)) = json::parse(body.as_bytes(), json::DEPTH_MAX) else {
            return None;
        };
        let stays = |key: &Text<'_>| {
            let plain = key.decode();
            let element = plain.trim_start_matches('_');
            matches!(element, "resourceType" | "id" | "meta")
                || keeps.is_none_or(|keeps| keeps.contains(&element))
        };
        let members = resource.into_members().into_iter().filter(|(key, _)| stays(key));
        let mut members: Vec<(Text<'_>, Json<'_>)> = match self.faults.coarse {
            true => {
                members.map(|(key, value)| (key.clone(), coarse(&key.decode(), value))).collect()
            }
            false => members.collect(),
        };
        if self.faults.keeps.is_some() {
            members.retain(|(key, _)| key != "meta" && !key.decode().starts_with('_'));
        }
        if self.faults.own_identifiers && record.is_patient() {
            own_identifier(record, &mut members);
        }
        Some(Json::Object(Object::from_members(members)).to_text())
    }

    fn show(&self, held: &Held, record: &RecordRef) -> Shown {
        match held.records.get(record) {
            None => Shown::Absent,
            Some(None) => Shown::Gone,
            Some(Some(body)) => as_shown(body),
        }
    }

    /// What it shows of these, the last word on each.
    fn list<'a>(
        &self,
        changes: impl Iterator<Item = (&'a RecordRef, Option<&'a str>)>,
    ) -> BTreeMap<RecordRef, Shown> {
        let mut shown = BTreeMap::new();
        for (record, body) in changes.filter(|_| self.faults.lists) {
            match body {
                Some(body) => drop(shown.insert(record.clone(), as_shown(body))),
                None => drop(shown.remove(record)),
            }
        }
        shown
    }

    fn there(&self, held: &Held) -> Result<(), EmrError> {
        if held.away { Err(EmrError::away("connection refused")) } else { Ok(()) }
    }

    fn notice(&self, cursor: Option<&str>) -> Result<Noticed, EmrError> {
        let held = self.lock();
        self.there(&held)?;
        // `load:PLACE:START` names records from a place on; a number is a place in the log.
        let load = match cursor {
            None => Some((0, held.log.len())),
            Some(text) => text.strip_prefix("load:").and_then(|rest| {
                let (place, start) = rest.split_once(':')?;
                Some((place.parse().ok()?, start.parse().ok()?))
            }),
        };
        if let Some((place, start)) = load {
            let there: Vec<(&RecordRef, &String)> = held
                .records
                .iter()
                .filter_map(|(name, body)| Some((name, body.as_ref()?)))
                .collect();
            let end = there.len().min(place + self.faults.portion);
            let named = &there[place.min(end)..end];
            let groups = named.iter().map(|(record, _)| vec![(*record).clone()]).collect();
            let shown =
                self.list(named.iter().map(|(record, body)| (*record, Some(body.as_str()))));
            let more = end < there.len();
            let cursor = if more { format!("load:{end}:{start}") } else { start.to_string() };
            let left = u64::try_from(there.len() - end).ok();
            return Ok(Noticed { groups, shown, cursor, more, left });
        }
        let place: usize = cursor.and_then(|text| text.parse().ok()).unwrap_or(usize::MAX);
        if place > held.log.len() || place < held.purged {
            return Err(EmrError::CursorLost("its log does not reach back so far".to_owned()));
        }
        let end = held.log.len().min(place + self.faults.portion);
        let changes = held.log[place..end].iter().flatten();
        Ok(Noticed {
            groups: held.log[place..end].iter().map(|one| names_of(one)).collect(),
            shown: self.list(changes.map(|(record, body)| (record, body.as_deref()))),
            cursor: end.to_string(),
            more: end < held.log.len(),
            left: None,
        })
    }

    fn take(&self, write: &EmrWrite) -> Result<Shown, EmrError> {
        let mut held = self.lock();
        self.there(&held)?;
        let record = &write.record;
        if held.fails.contains(record) {
            return Err(EmrError::away("it answered 500"));
        }
        if let Some(words) = held.refuses.get(record) {
            return Err(EmrError::Refused(words.clone()));
        }
        let now = self.show(&held, record);
        let as_it_was = match (&now, &write.image) {
            (Shown::Body(now), Some(Shown::Body(image))) => now.digest == image.digest,
            (Shown::Gone, Some(Shown::Gone)) => true,
            (Shown::Absent, None) => true,
            _ => false,
        };
        if !as_it_was {
            return Err(EmrError::Changed);
        }
        let body = match write.wanted.as_ref().and_then(|wanted| wanted.body.as_deref()) {
            None => None,
            Some(body) => {
                let kept = self.would_show(record, body).ok_or_else(|| {
                    EmrError::Kept(format!("it has no place for {} records", record.kind))
                })?;
                if self.faults.integrity {
                    refers(&held, &kept, record)?;
                }
                Some(kept)
            }
        };
        if let Some(whole) = write.wanted.as_ref().and_then(|wanted| wanted.body.clone()) {
            held.given.insert(record.clone(), whole);
        }
        held.records.insert(record.clone(), body.clone());
        held.log.push(vec![(record.clone(), body)]);
        held.written.push(record.clone());
        if held.lost_answers > 0 {
            held.lost_answers -= 1;
            return Err(EmrError::away("the connection was closed before an answer came"));
        }
        Ok(self.show(&held, record))
    }
}

fn as_shown(body: &str) -> Shown {
    match Record::parse(body.as_bytes(), &Limits::default()) {
        Ok(record) => Shown::Body(Box::new(record)),
        Err(_) => Shown::Absent,
    }
}

fn names_of(transaction: &[(RecordRef, Option<String>)]) -> Vec<RecordRef> {
    transaction.iter().map(|(record, _)| record.clone()).collect()
}

/// Refuses what refers to what is not there. Patients who are merged refer to each other: such
/// systems take both at once, and are not asked here which was first.
fn refers(held: &Held, body: &str, own: &RecordRef) -> Result<(), EmrError> {
    let Ok(resource) = json::parse(body.as_bytes(), json::DEPTH_MAX) else { return Ok(()) };
    for (_, text) in references(&resource) {
        let Some(target) = record_named(&text.decode()) else { continue };
        let kept = like_openmrs(target.kind.name()).is_some();
        let is_link = own.is_patient() && target.is_patient();
        if !is_link
            && target != *own
            && kept
            && held.records.get(&target).is_none_or(Option::is_none)
        {
            return Err(EmrError::Waits(target));
        }
    }
    Ok(())
}

/// A value as a system holds it that knows seconds and two given names.
fn coarse<'a>(key: &str, value: Json<'a>) -> Json<'a> {
    match value {
        Json::String(text) => {
            let plain = text.decode().into_owned();
            let is_time = plain.len() > 20 && plain.as_bytes()[10] == b'T' && plain.contains('.');
            match (is_time, plain.split_once('.')) {
                (true, Some((seconds, rest))) => {
                    let zone = rest.trim_start_matches(|c: char| c.is_ascii_digit());
                    Json::string(format!("{seconds}{zone}"))
                }
                _ => Json::String(text),
            }
        }
        Json::Array(items) => {
            let most = if key == "given" { 2 } else { usize::MAX };
            Json::Array(items.into_iter().take(most).map(|item| coarse(key, item)).collect())
        }
        Json::Object(object) => {
            let members = object.into_members().into_iter();
            let kept =
                members.filter(|(key, _)| key != "extension" && !key.decode().starts_with('_'));
            let members = kept.map(|(key, value)| {
                let value = coarse(&key.decode(), value);
                (key, value)
            });
            Json::Object(Object::from_members(members.collect()))
        }
        plain => plain,
    }
}

/// Puts the system's own identifier first.
fn own_identifier<'a>(record: &RecordRef, members: &mut Vec<(Text<'a>, Json<'a>)>) {
    let member = |key: &'static str, value: String| (Text::plain(key), Json::string(value));
    let own = Json::Object(Object::from_members(vec![
        member("system", "urn:emr:number".to_owned()),
        member("value", format!("N-{}", record.id())),
    ]));
    let is_own = |item: &Json<'_>| item.str_at("system").as_deref() == Some("urn:emr:number");
    match members.iter_mut().find(|(key, _)| key == "identifier") {
        Some((_, Json::Array(items))) => {
            if !items.iter().any(is_own) {
                items.insert(0, own);
            }
        }
        _ => members.push((Text::plain("identifier"), Json::Array(vec![own]))),
    }
}

impl Emr for MemoryEmr {
    fn capabilities(&self) -> BoxFuture<'_, Result<Capabilities, EmrError>> {
        let held = self.lock();
        let there = self.there(&held);
        drop(held);
        let said = Capabilities { product: "memory".to_owned(), ..Capabilities::default() };
        futures::future::ready(there.map(|()| said)).boxed()
    }

    fn changes_since<'a>(
        &'a self,
        cursor: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Noticed, EmrError>> {
        futures::future::ready(self.notice(cursor)).boxed()
    }

    fn read<'a>(&'a self, record: &'a RecordRef) -> BoxFuture<'a, Result<Shown, EmrError>> {
        let mut held = self.lock();
        held.reads += 1;
        let shown = match self.there(&held) {
            Ok(()) if held.fails.contains(record) => Err(EmrError::away("it answered 500")),
            Ok(()) => Ok(self.show(&held, record)),
            Err(away) => Err(away),
        };
        drop(held);
        futures::future::ready(shown).boxed()
    }

    fn write<'a>(&'a self, writes: &'a [EmrWrite]) -> BoxFuture<'a, Vec<Result<Shown, EmrError>>> {
        let results = writes.iter().map(|write| self.take(write)).collect();
        futures::future::ready(results).boxed()
    }
}
