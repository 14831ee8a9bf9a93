//! Merged patients: who was replaced by whom, whose file a reference to them means, and a record
//! with its references moved there.
//!
//! A Patient says by `link` of type `replaced-by` that another Patient's file goes on in its place.
//! What refers to the *loser* then means the *winner*. Only the text of references changes; every
//! other byte stays.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Refusal;
use crate::id::{RecordRef, ResourceType};
use crate::json::{self, Json, Object, Text};
use crate::resource::references::{record_at, record_named, rewrite_references};

/// Whom references to a patient mean instead: loser to winner, at the end of every chain.
pub type Moves = BTreeMap<RecordRef, RecordRef>;

/// Types whose references to a patient stay when the patient is replaced. A Patient's or a
/// Person's links say who is who, and those who replaced somebody have to go on naming them; a
/// Provenance and an AuditEvent say what was done to which record at the time.
const STAYING: [&str; 4] = ["AuditEvent", "Patient", "Person", "Provenance"];

/// Whether the references of records of this type stay when a patient is replaced.
pub fn stays(kind: ResourceType) -> bool {
    STAYING.contains(&kind.name())
}

/// The names of the types whose references stay, sorted.
pub fn staying() -> &'static [&'static str] {
    &STAYING
}

/// By whom the Patient `own` says that it was replaced. More than one is a contradiction, which
/// [`Links::path`] does not decide. That it replaced itself is not counted.
pub fn replaced_by(own: &RecordRef, patient: &Json<'_>) -> BTreeSet<RecordRef> {
    let links = patient.get("link").map(Json::items).unwrap_or_default();
    let replaced =
        links.iter().filter(|link| link.str_at("type").as_deref() == Some("replaced-by"));
    replaced
        .filter_map(|link| record_at(link.get("other")?))
        .filter(|other| other.is_patient() && other != own)
        .collect()
}

/// A record's text with its references moved; `None` where it refers to none of the losers, or is
/// of a type whose references stay. A reference to one version of the loser becomes one to the
/// winner: no version of the winner is the one that was meant.
pub fn moved(kind: ResourceType, body: &str, moves: &Moves) -> Result<Option<String>, Refusal> {
    if moves.is_empty() || stays(kind) {
        return Ok(None);
    }
    let resource = json::parse(body.as_bytes(), json::DEPTH_MAX)?;
    let mut any = false;
    let changed = rewrite_references(&resource, &mut |text| {
        let moved = moved_text(text, moves);
        any |= moved.is_some();
        moved
    });
    Ok(any.then(|| changed.to_text()))
}

/// The text of a reference to a loser as one to its winner, on the same server.
fn moved_text(text: &str, moves: &Moves) -> Option<String> {
    let loser = record_named(text)?;
    let winner = moves.get(&loser)?;
    let unversioned = text.rsplit_once("/_history/").map_or(text, |(before, _)| before);
    let server = unversioned.strip_suffix(&loser.to_string())?;
    Some(format!("{server}{winner}"))
}

/// Who says to be replaced by whom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Links(BTreeMap<RecordRef, BTreeSet<RecordRef>>);

/// Where the links lead from one patient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Path {
    /// The winners one after the other; empty where the patient was not replaced. The last one's
    /// file is the one that counts.
    To(Vec<RecordRef>),
    /// Nowhere: two say that the other replaced them, directly or round about.
    Circle,
    /// Nowhere that is certain: this patient says to be replaced by several.
    Several(RecordRef),
}

impl Links {
    /// Adds a link; a patient cannot replace itself.
    pub fn add(&mut self, loser: RecordRef, winner: RecordRef) {
        if loser != winner {
            self.0.entry(loser).or_default().insert(winner);
        }
    }

    /// Follows the links from a patient. Takes as many steps as there are links, at the most.
    pub fn path(&self, from: &RecordRef) -> Path {
        let mut path: Vec<RecordRef> = Vec::new();
        loop {
            let here = path.last().unwrap_or(from);
            let mut winners = self.0.get(here).into_iter().flatten();
            let Some(next) = winners.next() else { return Path::To(path) };
            if winners.next().is_some() {
                return Path::Several(here.clone());
            }
            if next == from || path.contains(next) {
                return Path::Circle;
            }
            path.push(next.clone());
        }
    }

    /// Everybody to whom links lead from a patient, however unclear they are.
    pub fn reached(&self, from: &RecordRef) -> BTreeSet<RecordRef> {
        let mut reached = BTreeSet::new();
        let mut next = vec![from];
        while let Some(patient) = next.pop() {
            for winner in self.0.get(patient).into_iter().flatten() {
                if reached.insert(winner.clone()) {
                    next.push(winner);
                }
            }
        }
        reached
    }

    /// Everybody from whom links lead to a patient.
    pub fn reaching(&self, to: &RecordRef) -> BTreeSet<RecordRef> {
        let losers = self.0.keys().filter(|loser| self.reached(loser).contains(to));
        losers.cloned().collect()
    }
}

/// A Patient with a link of this type to another, and `active` as it is to be.
pub fn with_link<'a>(
    patient: &Json<'a>,
    other: &RecordRef,
    kind: &'static str,
    active: Option<bool>,
) -> Json<'a> {
    let reference = Object::from_members(vec![member("reference", other.to_string())]);
    let link = Object::from_members(vec![
        (Text::plain("other"), Json::Object(reference)),
        member("type", kind.to_owned()),
    ]);
    let mut links = links_but(patient, other, kind);
    links.push(Json::Object(link));
    with_links(patient, links, active)
}

/// A Patient without its links of this type to another.
pub fn without_link<'a>(
    patient: &Json<'a>,
    other: &RecordRef,
    kind: &'static str,
    active: Option<bool>,
) -> Json<'a> {
    with_links(patient, links_but(patient, other, kind), active)
}

fn member(key: &'static str, value: String) -> (Text<'static>, Json<'static>) {
    (Text::plain(key), Json::string(value))
}

fn links_but<'a>(patient: &Json<'a>, other: &RecordRef, kind: &str) -> Vec<Json<'a>> {
    let links = patient.get("link").map(Json::items).unwrap_or_default().iter();
    let is_it = |link: &Json<'_>| {
        let names = link.get("other").and_then(record_at);
        link.str_at("type").as_deref() == Some(kind) && names.as_ref() == Some(other)
    };
    links.filter(|link| !is_it(link)).cloned().collect()
}

fn with_links<'a>(patient: &Json<'a>, links: Vec<Json<'a>>, active: Option<bool>) -> Json<'a> {
    let Some(object) = patient.as_object() else { return patient.clone() };
    let mut object = object.clone();
    if links.is_empty() {
        object.remove("link");
    } else {
        object.set("link", Json::Array(links));
    }
    if let Some(active) = active {
        object.set("active", Json::Bool(active));
    }
    Json::Object(object)
}
