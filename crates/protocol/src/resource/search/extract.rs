//! What a resource can be found by. What cannot be understood is not indexed; nothing is refused
//! for it.

use super::{Param, SearchKey, SearchValue};
use crate::id::{RecordRef, ResourceType};
use crate::json::Json;
use crate::resource::compartment::each_at;
use crate::resource::references::record_at;

/// The most keys that one resource has in the index under one parameter.
const KEYS_EACH: usize = 100;

/// Types whose `name` is of a person.
pub(super) const PERSONS: [&str; 4] = ["Patient", "Person", "Practitioner", "RelatedPerson"];

/// By type, the elements that hold the clinical date, where it is not `date`; sorted by type.
#[rustfmt::skip]
pub(super) const DATES: [(&str, &[&str]); 60] = [
    ("Account", &["servicePeriod"]),
    ("AllergyIntolerance", &["recordedDate"]),
    ("Appointment", &["start"]),
    ("AppointmentResponse", &["start"]),
    ("AuditEvent", &["recorded"]),
    ("Basic", &["created"]),
    ("Bundle", &["timestamp"]),
    ("CarePlan", &["period"]),
    ("CareTeam", &["period"]),
    ("ChargeItem", &["occurrenceDateTime", "occurrencePeriod", "occurrenceTiming.event"]),
    ("Claim", &["created"]),
    ("ClaimResponse", &["created"]),
    ("Communication", &["sent"]),
    ("CommunicationRequest", &["authoredOn"]),
    ("Condition", &["recordedDate"]),
    ("Consent", &["dateTime"]),
    ("Contract", &["issued"]),
    ("Coverage", &["period"]),
    ("CoverageEligibilityRequest", &["created"]),
    ("CoverageEligibilityResponse", &["created"]),
    ("DetectedIssue", &["identifiedDateTime", "identifiedPeriod"]),
    ("DeviceRequest", &["authoredOn"]),
    ("DeviceUseStatement", &["recordedOn"]),
    ("DiagnosticReport", &["effectiveDateTime", "effectivePeriod"]),
    ("DocumentManifest", &["created"]),
    ("Encounter", &["period"]),
    ("EnrollmentRequest", &["created"]),
    ("EnrollmentResponse", &["created"]),
    ("EpisodeOfCare", &["period"]),
    ("ExplanationOfBenefit", &["created"]),
    ("Flag", &["period"]),
    ("Goal", &["startDate"]),
    ("GuidanceResponse", &["occurrenceDateTime"]),
    ("ImagingStudy", &["started"]),
    ("Immunization", &["occurrenceDateTime"]),
    ("Media", &["createdDateTime", "createdPeriod"]),
    ("MedicationAdministration", &["effectiveDateTime", "effectivePeriod"]),
    ("MedicationDispense", &["whenHandedOver", "whenPrepared"]),
    ("MedicationRequest", &["authoredOn"]),
    ("MedicationStatement", &["effectiveDateTime", "effectivePeriod"]),
    ("NutritionOrder", &["dateTime"]),
    ("Observation", &[
        "effectiveDateTime", "effectivePeriod", "effectiveInstant", "effectiveTiming.event",
    ]),
    ("PaymentNotice", &["created"]),
    ("PaymentReconciliation", &["created"]),
    ("PractitionerRole", &["period"]),
    ("Procedure", &["performedDateTime", "performedPeriod"]),
    ("Provenance", &["recorded"]),
    ("QuestionnaireResponse", &["authored"]),
    ("RequestGroup", &["authoredOn"]),
    ("ResearchStudy", &["period"]),
    ("ResearchSubject", &["period"]),
    ("RiskAssessment", &["occurrenceDateTime", "occurrencePeriod"]),
    ("Schedule", &["planningHorizon"]),
    ("ServiceRequest", &["authoredOn"]),
    ("Slot", &["start"]),
    ("Specimen", &["collection.collectedDateTime", "collection.collectedPeriod"]),
    ("SupplyDelivery", &["occurrenceDateTime", "occurrencePeriod", "occurrenceTiming.event"]),
    ("SupplyRequest", &["authoredOn"]),
    ("Task", &["authoredOn"]),
    ("VisionPrescription", &["dateWritten"]),
];

/// By type, the elements that the parameter `code` looks at, where it is not `code` alone;
/// sorted by type.
#[rustfmt::skip]
pub(super) const CODES: [(&str, &[&str]); 10] = [
    ("AllergyIntolerance", &["code", "reaction.substance"]),
    ("DeviceRequest", &["codeCodeableConcept"]),
    ("FamilyMemberHistory", &["condition.code"]),
    ("Immunization", &["vaccineCode"]),
    ("MedicationAdministration", &["medicationCodeableConcept"]),
    ("MedicationDispense", &["medicationCodeableConcept"]),
    ("MedicationRequest", &["medicationCodeableConcept"]),
    ("MedicationStatement", &["medicationCodeableConcept"]),
    ("Questionnaire", &["item.code"]),
    ("Substance", &["code", "ingredient.substanceCodeableConcept"]),
];

const ENCOUNTERS: [&str; 4] = ["encounter", "context", "context.encounter", "item.encounter"];

/// What a resource of type `kind` can be found by: sorted, nothing twice, at most 100 values a
/// parameter.
pub fn keys(kind: ResourceType, resource: &Json<'_>) -> Vec<SearchKey> {
    let mut keys = Keys::default();
    for path in ["identifier", "masterIdentifier"] {
        each_at(resource, path, &mut |identifier| keys.identifier(identifier));
    }
    if PERSONS.contains(&kind.name()) {
        each_at(resource, "name", &mut |name| keys.person_name(name));
        each_at(resource, "birthDate", &mut |date| keys.date(Param::Birthdate, date));
        each_at(resource, "gender", &mut |gender| keys.code(Param::Gender, gender));
    } else {
        for path in ["name", "alias"] {
            each_at(resource, path, &mut |name| keys.text(Param::Name, name));
        }
    }
    for path in ENCOUNTERS {
        each_at(resource, path, &mut |element| keys.encounter(element));
    }
    for path in elements(&DATES, kind, &["date"]) {
        each_at(resource, path, &mut |date| keys.date(Param::Date, date));
    }
    for path in elements(&CODES, kind, &["code"]) {
        each_at(resource, path, &mut |code| keys.code(Param::Code, code));
    }
    keys.keys.sort_unstable();
    keys.keys.dedup();
    keys.keys
}

fn elements(
    table: &'static [(&str, &[&str])],
    kind: ResourceType,
    usual: &'static [&'static str],
) -> &'static [&'static str] {
    let index = table.binary_search_by_key(&kind.name(), |(name, _)| name);
    index.map_or(usual, |index| table[index].1)
}

#[derive(Default)]
struct Keys {
    keys: Vec<SearchKey>,
    /// How many were added, by parameter.
    counts: [usize; Param::Code as usize + 1],
}

impl Keys {
    fn add(&mut self, param: Param, value: SearchValue) {
        let count = &mut self.counts[param as usize];
        if *count < KEYS_EACH {
            *count += 1;
            self.keys.push(SearchKey { param, value });
        }
    }

    fn text(&mut self, param: Param, text: &Json<'_>) {
        if let Some(text) = text.as_str().filter(|text| !text.trim().is_empty()) {
            self.add(param, SearchValue::text(&text));
        }
    }

    fn token(&mut self, param: Param, system: Option<&str>, code: &str) {
        if !code.trim().is_empty() {
            self.add(param, SearchValue::token(system.unwrap_or_default(), code));
        }
    }

    fn identifier(&mut self, identifier: &Json<'_>) {
        if let Some(value) = identifier.str_at("value") {
            self.token(Param::Identifier, identifier.str_at("system").as_deref(), &value);
        }
    }

    /// A plain code, a Coding, or a CodeableConcept.
    fn code(&mut self, param: Param, element: &Json<'_>) {
        if let Some(code) = element.as_str() {
            self.token(param, None, &code);
        }
        for coding in element.get("coding").map_or(std::slice::from_ref(element), Json::items) {
            if let Some(code) = coding.str_at("code") {
                self.token(param, coding.str_at("system").as_deref(), &code);
            }
        }
    }

    fn person_name(&mut self, name: &Json<'_>) {
        for (key, own) in [
            ("family", Some(Param::Family)),
            ("given", Some(Param::Given)),
            ("prefix", None),
            ("suffix", None),
            ("text", None),
        ] {
            each_at(name, key, &mut |part| {
                self.text(Param::Name, part);
                if let Some(param) = own {
                    self.text(param, part);
                }
            });
        }
    }

    fn encounter(&mut self, element: &Json<'_>) {
        let is_encounter = |record: &RecordRef| record.kind == ResourceType::ENCOUNTER;
        if let Some(record) = record_at(element).filter(is_encounter) {
            self.add(Param::Encounter, SearchValue::Reference(record));
        }
    }

    /// A date, or a Period, whose missing end is open.
    fn date(&mut self, param: Param, element: &Json<'_>) {
        if let Some(text) = element.as_str() {
            if let Some(value) = SearchValue::date(&text) {
                self.add(param, value);
            }
            return;
        }
        let end = |key: &str, open: SearchValue| match element.str_at(key) {
            Some(text) => SearchValue::date(&text),
            None => Some(open),
        };
        let start = end("start", SearchValue::Date { low: i64::MIN, high: i64::MIN });
        let finish = end("end", SearchValue::Date { low: i64::MAX, high: i64::MAX });
        let (Some(SearchValue::Date { low, .. }), Some(SearchValue::Date { high, .. })) =
            (start, finish)
        else {
            return;
        };
        if low <= high && (low, high) != (i64::MIN, i64::MAX) {
            self.add(param, SearchValue::Date { low, high });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_sorted_and_name_types_of_r4() {
        for table in [&DATES[..], &CODES[..]] {
            assert!(table.is_sorted_by_key(|(name, _)| name));
            assert!(table.iter().all(|(name, _)| name.parse::<ResourceType>().is_ok()));
        }
    }
}
