//! Places: what records say of where patients belong.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::area::{part, split_parts, write_part};
use crate::error::Refusal;
use crate::id::{RecordRef, ResourceType};
use crate::json::Json;
use crate::resource::references::record_at;

/// The extension in which OpenMRS keeps the location of an identifier.
const IDENTIFIER_LOCATION: &str = "http://fhir.openmrs.org/ext/patient/identifier#location";

/// The parts of an address that count, from the largest.
const ADDRESS_PARTS: [&str; 4] = ["country", "state", "district", "city"];

/// What one record says of where a patient belongs. As text (`Display`, `FromStr`) it is what a
/// store keeps and compares: `managing Organization/7`, `encounter Location/7`,
/// `identifier Location/7`, `member Group/7`, `address kenya>kisumu>kisumu east>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// `Patient.managingOrganization`.
    Managing(RecordRef),
    /// An encounter's location or service provider.
    Encounter(RecordRef),
    /// The location of an identifier.
    Identifier(RecordRef),
    /// Country, state, district, city; lower case, empty where unknown.
    Address([String; 4]),
    /// A Group names the patient as its member.
    Member(RecordRef),
}

/// What `resource`, the record `reference`, says of where which patients belong; sorted, nothing
/// twice. Only a Patient, an Encounter and a Group say anything.
pub fn places(reference: &RecordRef, resource: &Json<'_>) -> Vec<(RecordRef, Place)> {
    let found: BTreeSet<(RecordRef, Place)> = match reference.kind {
        ResourceType::PATIENT => {
            patient_places(resource).into_iter().map(|place| (reference.clone(), place)).collect()
        }
        ResourceType::ENCOUNTER => encounter_places(resource),
        ResourceType::GROUP => items(resource, "member")
            .filter_map(|member| record_at(member.get("entity")?))
            .filter(RecordRef::is_patient)
            .map(|patient| (patient, Place::Member(reference.clone())))
            .collect(),
        _ => BTreeSet::new(),
    };
    found.into_iter().collect()
}

fn items<'t, 'a>(value: &'t Json<'a>, key: &str) -> impl Iterator<Item = &'t Json<'a>> {
    value.get(key).map(Json::items).unwrap_or_default().iter()
}

fn patient_places(patient: &Json<'_>) -> Vec<Place> {
    let managing = patient.get("managingOrganization").and_then(record_at).map(Place::Managing);
    let of_identifiers = items(patient, "identifier")
        .flat_map(|identifier| items(identifier, "extension"))
        .filter(|extension| extension.str_at("url").as_deref() == Some(IDENTIFIER_LOCATION))
        .filter_map(|extension| record_at(extension.get("valueReference")?))
        .map(Place::Identifier);
    let addresses = items(patient, "address").filter_map(address);
    managing.into_iter().chain(of_identifiers).chain(addresses).collect()
}

/// `None` where an address names none of the parts that count.
fn address(address: &Json<'_>) -> Option<Place> {
    let parts = ADDRESS_PARTS.map(|key| part(&address.str_at(key).unwrap_or_default()));
    parts.iter().any(|part| !part.is_empty()).then_some(Place::Address(parts))
}

fn encounter_places(encounter: &Json<'_>) -> BTreeSet<(RecordRef, Place)> {
    let subject = encounter.get("subject").and_then(record_at).filter(RecordRef::is_patient);
    let Some(patient) = subject else { return BTreeSet::new() };
    let locations = items(encounter, "location").filter_map(|entry| entry.get("location"));
    locations
        .chain(encounter.get("serviceProvider"))
        .filter_map(record_at)
        .map(|place| (patient.clone(), Place::Encounter(place)))
        .collect()
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Managing(record) => write!(f, "managing {record}"),
            Place::Encounter(record) => write!(f, "encounter {record}"),
            Place::Identifier(record) => write!(f, "identifier {record}"),
            Place::Member(record) => write!(f, "member {record}"),
            Place::Address(parts) => {
                let mut out = String::from("address ");
                for (index, part) in parts.iter().enumerate() {
                    if index > 0 {
                        out.push('>');
                    }
                    write_part(part, &mut out);
                }
                f.write_str(&out)
            }
        }
    }
}

impl FromStr for Place {
    type Err = Refusal;
    fn from_str(text: &str) -> Result<Self, Refusal> {
        let wrong = || Refusal::malformed("a place is not of a form that this program writes");
        let (kind, rest) = text.split_once(' ').ok_or_else(wrong)?;
        Ok(match kind {
            "managing" => Place::Managing(rest.parse()?),
            "encounter" => Place::Encounter(rest.parse()?),
            "identifier" => Place::Identifier(rest.parse()?),
            "member" => Place::Member(rest.parse()?),
            "address" => {
                let parts = split_parts(rest).ok_or_else(wrong)?;
                Place::Address(parts.try_into().map_err(|_| wrong())?)
            }
            _ => return Err(wrong()),
        })
    }
}
