//! What a plan of writes has to know of an OpenMRS before it can be made: which concepts,
//! types and records are there. A plan asks, the adapter looks up, the plan is made again. Pure.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use protocol::RecordRef;
use serde_json::Value;

/// Metadata of OpenMRS besides concepts; its words are those of `[emr.map]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Meta {
    /// Of patients' identifiers.
    IdentifierType,
    /// Of persons' attributes.
    AttributeType,
    /// Of encounters.
    EncounterType,
    /// Of visits.
    VisitType,
    /// What a provider did in an encounter.
    EncounterRole,
    /// What one person is to another.
    RelationshipType,
    /// What patients are enrolled in.
    Program,
    /// Where an order is carried out.
    CareSetting,
    /// A drug of the formulary.
    Drug,
    /// Where an identifier is given that names no place.
    Location,
}

impl Meta {
    /// All of them.
    pub const ALL: [Meta; 10] = [
        Meta::IdentifierType,
        Meta::AttributeType,
        Meta::EncounterType,
        Meta::VisitType,
        Meta::EncounterRole,
        Meta::RelationshipType,
        Meta::Program,
        Meta::CareSetting,
        Meta::Drug,
        Meta::Location,
    ];

    /// Its word in `[emr.map]`.
    pub fn word(self) -> &'static str {
        match self {
            Meta::IdentifierType => "identifier-type",
            Meta::AttributeType => "attribute-type",
            Meta::EncounterType => "encounter-type",
            Meta::VisitType => "visit-type",
            Meta::EncounterRole => "encounter-role",
            Meta::RelationshipType => "relationship-type",
            Meta::Program => "program",
            Meta::CareSetting => "care-setting",
            Meta::Drug => "drug",
            Meta::Location => "location",
        }
    }

    /// Its resource below `/ws/rest/v1`.
    pub fn path(self) -> &'static str {
        match self {
            Meta::IdentifierType => "patientidentifiertype",
            Meta::AttributeType => "personattributetype",
            Meta::EncounterType => "encountertype",
            Meta::VisitType => "visittype",
            Meta::EncounterRole => "encounterrole",
            Meta::RelationshipType => "relationshiptype",
            Meta::Program => "program",
            Meta::CareSetting => "caresetting",
            Meta::Drug => "drug",
            Meta::Location => "location",
        }
    }
}

/// A coding: its system, or none for a concept's own uuid; its code.
pub type Coding = (Option<String>, String);

/// One thing that a plan has to know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// The concept that one of these codings names, the first that is known.
    Concept(Vec<Coding>),
    /// Other metadata, by the uuids and names that it may have.
    Meta(Meta, Vec<String>),
    /// Whether a record is there.
    Record(RecordRef),
    /// What the FHIR API does not show of a row: the path below `/ws/rest/v1` that does.
    Rows(String),
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Need::Concept(codings) => {
                let names = codings.iter().map(|(system, code)| match system {
                    Some(system) => format!("{system}|{code}"),
                    None => format!("uuid {code}"),
                });
                write!(f, "concept {}", names.collect::<Vec<_>>().join(" or "))
            }
            Need::Meta(kind, keys) => {
                write!(f, "{} {}", kind.word().replace('-', " "), keys.join(" or "))
            }
            Need::Record(record) => write!(f, "{record}"),
            Need::Rows(path) => f.write_str(path),
        }
    }
}

impl Need {
    /// The keys under which `[emr.map]` may answer it.
    pub fn keys(&self) -> Vec<String> {
        match self {
            Need::Concept(codings) => {
                let keys = codings.iter().map(|(system, code)| match system {
                    Some(system) => format!("concept {system}|{code}"),
                    None => format!("concept {code}"),
                });
                keys.collect()
            }
            Need::Meta(kind, keys) => {
                keys.iter().map(|key| format!("{} {key}", kind.word())).collect()
            }
            Need::Record(_) | Need::Rows(_) => Vec::new(),
        }
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Its uuid there.
    Uuid(String),
    /// What the rows are.
    Rows(Value),
    /// It is not there.
    Missing,
}

/// What was found so far.
pub type Known = BTreeMap<Need, Answer>;

/// Why a record cannot be written now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// These have to be looked up first.
    Ask(BTreeSet<Need>),
    /// OpenMRS would refuse it, and why.
    Refused(String),
    /// It refers to what is not there yet.
    Waits(RecordRef),
    /// OpenMRS has no place for it, and for what.
    Kept(String),
}

/// Looks things up in what is known, and notes what is not.
pub struct Names<'k> {
    known: &'k Known,
    asked: RefCell<BTreeSet<Need>>,
    planned: BTreeSet<RecordRef>,
}

impl<'k> Names<'k> {
    /// Over what is known; `planned` is what the same batch writes before.
    pub fn new(known: &'k Known, planned: BTreeSet<RecordRef>) -> Names<'k> {
        Names { known, asked: RefCell::default(), planned }
    }

    /// The uuid of what is needed: an empty text while it is not looked up yet.
    pub(super) fn uuid(&self, need: Need) -> Result<String, Stop> {
        match self.known.get(&need) {
            Some(Answer::Uuid(uuid)) => Ok(uuid.clone()),
            Some(_) => Err(Stop::Refused(missing(&need))),
            None => {
                self.asked.borrow_mut().insert(need);
                Ok(String::new())
            }
        }
    }

    /// As `uuid`, and `None` where it is not there.
    pub(super) fn perhaps(&self, need: Need) -> Result<Option<String>, Stop> {
        match self.known.get(&need) {
            Some(Answer::Missing) => Ok(None),
            _ => self.uuid(need).map(Some),
        }
    }

    /// The id of a record that has to be there.
    pub(super) fn record(&self, record: &RecordRef) -> Result<String, Stop> {
        let id = record.id().to_owned();
        if self.planned.contains(record) {
            return Ok(id);
        }
        let need = Need::Record(record.clone());
        match self.known.get(&need) {
            Some(Answer::Missing) => Err(Stop::Waits(record.clone())),
            Some(Answer::Uuid(uuid)) => Ok(uuid.clone()),
            Some(Answer::Rows(_)) => Ok(id),
            None => {
                self.asked.borrow_mut().insert(need);
                Ok(id)
            }
        }
    }

    /// What the FHIR API does not show; null while it is not looked up yet.
    pub(super) fn rows(&self, path: String) -> Value {
        let need = Need::Rows(path);
        match self.known.get(&need) {
            Some(Answer::Rows(rows)) => rows.clone(),
            Some(_) => Value::Null,
            None => {
                self.asked.borrow_mut().insert(need);
                Value::Null
            }
        }
    }

    /// What was asked and not known.
    pub(super) fn unanswered(self) -> BTreeSet<Need> {
        self.asked.into_inner()
    }
}

fn missing(need: &Need) -> String {
    let key = need.keys().into_iter().next().unwrap_or_default();
    format!(
        "OpenMRS has no {need}: add it on this site, or map it in [emr.map] (\"{key}\" = \"its \
         uuid\")"
    )
}
