//! A patient who was found: just enough to recognise a person.

use serde::{Deserialize, Serialize};

use crate::id::RecordRef;
use crate::json::Json;
use crate::resource::references::record_at;

/// Names, and identifiers, that are shown of one patient.
const SHOWN: usize = 5;
/// Characters of each text that is shown.
const TEXT_CHARS: usize = 100;

/// A patient who was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PatientHit {
    /// `Patient/ID`.
    pub patient: RecordRef,
    /// The names, as one would say them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// A FHIR code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sex: Option<String>,
    /// A FHIR date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub born: Option<String>,
    /// Whether the record says that the patient has died.
    #[serde(default)]
    pub deceased: bool,
    /// Identifiers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub identifiers: Vec<PatientIdentifier>,
    /// The managing organization, by its name where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed_by: Option<String>,
    /// The newest encounter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Seen>,
    /// Whose record replaced this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced_by: Option<RecordRef>,
    /// Whether a cohort of the child that asks holds the patient already.
    #[serde(default)]
    pub held: bool,
}

/// An identifier in its system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PatientIdentifier {
    /// Its system's URI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// Its value.
    pub value: String,
}

/// Where and when a patient was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Where: a place's name, or `Type/id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// A FHIR dateTime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
}

impl PatientHit {
    /// What a Patient resource says; nothing yet of where the patient was seen and who holds it.
    pub fn of(patient: RecordRef, resource: &Json<'_>) -> PatientHit {
        let deceased = match resource.get("deceasedBoolean") {
            Some(said) => said.as_bool().unwrap_or(false),
            None => resource.get("deceasedDateTime").is_some(),
        };
        PatientHit {
            patient,
            names: items(resource, "name").filter_map(name).take(SHOWN).collect(),
            sex: text_at(resource, "gender"),
            born: text_at(resource, "birthDate"),
            deceased,
            identifiers: items(resource, "identifier").filter_map(identifier).take(SHOWN).collect(),
            managed_by: resource.get("managingOrganization").and_then(named),
            last_seen: None,
            replaced_by: replaced_by(resource),
            held: false,
        }
    }

    /// The organization or place that is named without its name, so that it can be looked up.
    pub fn unnamed_manager(resource: &Json<'_>) -> Option<RecordRef> {
        record_at(resource.get("managingOrganization")?)
    }
}

impl Seen {
    /// What an Encounter resource says, and the place, where it is a record that may have a name.
    pub fn of(encounter: &Json<'_>) -> (Seen, Option<RecordRef>) {
        let place = items(encounter, "location").find_map(|entry| entry.get("location"));
        let place = place.or_else(|| encounter.get("serviceProvider"));
        let at = encounter.get("period").and_then(|period| text_at(period, "start"));
        (Seen { place: place.and_then(named), at }, place.and_then(record_at))
    }
}

/// Whose record replaced this Patient.
fn replaced_by(resource: &Json<'_>) -> Option<RecordRef> {
    items(resource, "link")
        .filter(|link| link.str_at("type").as_deref() == Some("replaced-by"))
        .find_map(|link| record_at(link.get("other")?))
        .filter(RecordRef::is_patient)
}

fn items<'t, 'a>(value: &'t Json<'a>, key: &str) -> impl Iterator<Item = &'t Json<'a>> {
    value.get(key).map(Json::items).unwrap_or_default().iter()
}

fn text_at(value: &Json<'_>, key: &str) -> Option<String> {
    value.str_at(key).map(|text| cut(&text)).filter(|text| !text.is_empty())
}

fn cut(text: &str) -> String {
    let text = text.trim().chars().take(TEXT_CHARS);
    text.map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// `Amina Wanjiku Juma`, as the record says it or put together from its parts.
fn name(name: &Json<'_>) -> Option<String> {
    if let Some(text) = text_at(name, "text") {
        return Some(text);
    }
    let given = items(name, "given").filter_map(Json::as_str);
    let family = name.str_at("family");
    let parts: Vec<String> = given.chain(family).map(|part| part.trim().to_owned()).collect();
    Some(cut(&parts.join(" "))).filter(|text| !text.is_empty())
}

fn identifier(identifier: &Json<'_>) -> Option<PatientIdentifier> {
    let value = text_at(identifier, "value")?;
    Some(PatientIdentifier { system: text_at(identifier, "system"), value })
}

/// A reference in words: what it displays, else which record it names.
fn named(reference: &Json<'_>) -> Option<String> {
    text_at(reference, "display").or_else(|| record_at(reference).map(|record| record.to_string()))
}
