//! The FHIR R4 patient compartment: whose record is this?
//!
//! From CompartmentDefinition/patient of FHIR 4.0.1, its search parameters resolved to the
//! elements that they look at. Beyond it, a Binary belongs to the patient that its
//! `securityContext` names.

use std::collections::BTreeSet;

use crate::conflict;
use crate::id::{RecordRef, ResourceType};
use crate::json::Json;
use crate::resource::references::record_at;

/// By type, the elements whose references to a Patient put a record into that patient's
/// compartment; sorted by type. A type that is not here has no patient.
#[rustfmt::skip]
const ELEMENTS: [(&str, &[&str]); 67] = [
    ("Account", &["subject"]),
    ("AdverseEvent", &["subject"]),
    ("AllergyIntolerance", &["patient", "recorder", "asserter"]),
    ("Appointment", &["participant.actor"]),
    ("AppointmentResponse", &["actor"]),
    ("AuditEvent", &["agent.who", "entity.what"]),
    ("Basic", &["subject", "author"]),
    ("Binary", &["securityContext"]),
    ("BodyStructure", &["patient"]),
    ("CarePlan", &["subject", "activity.detail.performer"]),
    ("CareTeam", &["subject", "participant.member"]),
    ("ChargeItem", &["subject"]),
    ("Claim", &["patient", "payee.party"]),
    ("ClaimResponse", &["patient"]),
    ("ClinicalImpression", &["subject"]),
    ("Communication", &["subject", "sender", "recipient"]),
    ("CommunicationRequest", &["subject", "sender", "recipient", "requester"]),
    ("Composition", &["subject", "author", "attester.party"]),
    ("Condition", &["subject", "asserter"]),
    ("Consent", &["patient"]),
    ("Coverage", &["policyHolder", "subscriber", "beneficiary", "payor"]),
    ("CoverageEligibilityRequest", &["patient"]),
    ("CoverageEligibilityResponse", &["patient"]),
    ("DetectedIssue", &["patient"]),
    ("DeviceRequest", &["subject", "performer"]),
    ("DeviceUseStatement", &["subject"]),
    ("DiagnosticReport", &["subject"]),
    ("DocumentManifest", &["subject", "author", "recipient"]),
    ("DocumentReference", &["subject", "author"]),
    ("Encounter", &["subject"]),
    ("EnrollmentRequest", &["candidate"]),
    ("EpisodeOfCare", &["patient"]),
    ("ExplanationOfBenefit", &["patient", "payee.party"]),
    ("FamilyMemberHistory", &["patient"]),
    ("Flag", &["subject"]),
    ("Goal", &["subject"]),
    ("Group", &["member.entity"]),
    ("ImagingStudy", &["subject"]),
    ("Immunization", &["patient"]),
    ("ImmunizationEvaluation", &["patient"]),
    ("ImmunizationRecommendation", &["patient"]),
    ("Invoice", &["subject", "recipient"]),
    ("List", &["subject", "source"]),
    ("MeasureReport", &["subject"]),
    ("Media", &["subject"]),
    ("MedicationAdministration", &["subject", "performer.actor"]),
    ("MedicationDispense", &["subject", "receiver"]),
    ("MedicationRequest", &["subject"]),
    ("MedicationStatement", &["subject"]),
    ("MolecularSequence", &["patient"]),
    ("NutritionOrder", &["patient"]),
    ("Observation", &["subject", "performer"]),
    ("Patient", &["link.other"]),
    ("Person", &["link.target"]),
    ("Procedure", &["subject", "performer.actor"]),
    ("Provenance", &["target"]),
    ("QuestionnaireResponse", &["subject", "author"]),
    ("RelatedPerson", &["patient"]),
    ("RequestGroup", &["subject", "action.participant"]),
    ("ResearchSubject", &["individual"]),
    ("RiskAssessment", &["subject"]),
    ("Schedule", &["actor"]),
    ("ServiceRequest", &["subject", "performer"]),
    ("Specimen", &["subject"]),
    ("SupplyDelivery", &["patient"]),
    ("SupplyRequest", &["deliverTo"]),
    ("VisionPrescription", &["patient"]),
];

/// The patients in whose compartment `resource`, the record `reference`, is. A Patient is in its
/// own. Which texts of references count, and that absolute ones count by their tail, is said at
/// [`super::references::record_named`].
pub fn patients(reference: &RecordRef, resource: &Json<'_>) -> BTreeSet<RecordRef> {
    let mut found = BTreeSet::new();
    if reference.is_patient() {
        found.insert(reference.clone());
    }
    let kind = reference.kind.name();
    let Ok(index) = ELEMENTS.binary_search_by_key(&kind, |(name, _)| name) else { return found };
    for path in ELEMENTS[index].1 {
        each_at(resource, path, &mut |element| {
            found.extend(record_at(element).filter(RecordRef::is_patient));
        });
    }
    if conflict::is_name(reference) {
        // A conflict about a record of several patients is a record of all of them.
        conflict::each_patient(resource, &mut |element| {
            found.extend(record_at(element).filter(RecordRef::is_patient));
        });
    }
    found
}

/// Whether records of a type can be in a patient's compartment by what they refer to.
pub fn has_patient(kind: ResourceType) -> bool {
    ELEMENTS.binary_search_by_key(&kind.name(), |(name, _)| name).is_ok()
}

/// Visits each value at a path of keys such as `participant.actor`, through arrays.
pub(super) fn each_at<'t, 'a>(
    value: &'t Json<'a>,
    path: &str,
    visit: &mut dyn FnMut(&'t Json<'a>),
) {
    let (key, rest) = match path.split_once('.') {
        Some((key, rest)) => (key, Some(rest)),
        None => (path, None),
    };
    let Some(found) = value.get(key) else { return };
    for item in found.items() {
        match rest {
            Some(rest) => each_at(item, rest, visit),
            None => visit(item),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ResourceType;
    use crate::json::parse;

    fn patients_of(reference: &str, text: &str) -> Vec<String> {
        let json = parse(text.as_bytes(), 64).unwrap();
        let found = patients(&reference.parse().unwrap(), &json);
        found.iter().map(RecordRef::to_string).collect()
    }

    /// `{"participant":[{"actor":[{"reference":"Patient/p"}]}]}` for `participant.actor`, or the
    /// same without the lists.
    fn resource_with(path: &str, reference: &str, lists: bool) -> String {
        let (open, close) = if lists { ("[", "]") } else { ("", "") };
        path.rsplit('.').fold(format!(r#"{{"reference":"{reference}"}}"#), |inner, key| {
            format!(r#"{{"{key}":{open}{inner}{close}}}"#)
        })
    }

    #[test]
    fn every_type_of_the_compartment_finds_its_patient_at_each_of_its_elements() {
        assert!(ELEMENTS.is_sorted());
        for (kind, paths) in ELEMENTS {
            assert!(kind.parse::<ResourceType>().is_ok(), "{kind}");
            for path in paths {
                for lists in [true, false] {
                    let own = if kind == "Patient" { &["Patient/own"][..] } else { &[] };
                    let found = patients_of(
                        &format!("{kind}/own"),
                        &resource_with(path, "Patient/a", lists),
                    );
                    assert_eq!(found, [&["Patient/a"], own].concat(), "{kind}.{path}");
                    let other = resource_with(path, "Practitioner/a", lists);
                    assert_eq!(patients_of(&format!("{kind}/own"), &other), own, "{kind}.{path}");
                }
            }
        }
    }

    #[test]
    fn a_record_of_several_patients_is_in_the_compartment_of_each() {
        let text = r#"{"participant":[
            {"actor":{"reference":"Patient/b"}},{"actor":{"reference":"Practitioner/d"}},
            {"actor":{"reference":"Patient/a"}},{"actor":{"reference":"Patient/a/_history/2"}},
            {"actor":{"reference":"https://elsewhere.example/fhir/Patient/c"}}]}"#;
        assert_eq!(patients_of("Appointment/1", text), ["Patient/a", "Patient/b", "Patient/c"]);
    }

    #[test]
    fn a_reference_that_names_no_patient_puts_a_record_nowhere() {
        for reference in ["#p", "urn:uuid:1", "Group/1", "Patient/", "Patient?identifier=1"] {
            let text = resource_with("subject", reference, false);
            assert!(patients_of("Observation/1", &text).is_empty(), "{reference}");
        }
        for text in
            [r#"{"subject":"Patient/1"}"#, r#"{"subject":{"reference":["Patient/1"]}}"#, "[]"]
        {
            assert!(patients_of("Observation/1", text).is_empty(), "{text}");
        }
    }

    #[test]
    fn types_outside_of_the_compartment_have_no_patient() {
        let text = resource_with("subject", "Patient/1", false);
        for kind in ["Location", "Practitioner", "Medication", "Questionnaire", "Bundle", "Task"] {
            assert!(patients_of(&format!("{kind}/1"), &text).is_empty(), "{kind}");
        }
    }
}
