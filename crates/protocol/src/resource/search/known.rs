//! Which search parameters a type has: those whose elements it has in R4.

use super::Param;
use super::extract::{CODES, DATES, PERSONS};
use crate::id::ResourceType;

/// Types other than persons that have a name; sorted.
#[rustfmt::skip]
const NAMED: [&str; 38] = [
    "Account", "ActivityDefinition", "CapabilityStatement", "CareTeam", "CodeSystem",
    "CompartmentDefinition", "ConceptMap", "Contract", "EffectEvidenceSynthesis", "Endpoint",
    "EventDefinition", "Evidence", "EvidenceVariable", "ExampleScenario", "GraphDefinition",
    "Group", "HealthcareService", "ImplementationGuide", "InsurancePlan", "Library", "Location",
    "Measure", "MessageDefinition", "NamingSystem", "OperationDefinition", "Organization",
    "PlanDefinition", "Questionnaire", "ResearchDefinition", "ResearchElementDefinition",
    "RiskEvidenceSynthesis", "SearchParameter", "StructureDefinition", "StructureMap",
    "TerminologyCapabilities", "TestReport", "TestScript", "ValueSet",
];

/// Types that name an encounter; sorted.
#[rustfmt::skip]
const WITH_ENCOUNTER: [&str; 33] = [
    "AdverseEvent", "CarePlan", "CareTeam", "ChargeItem", "Claim", "ClinicalImpression",
    "Communication", "CommunicationRequest", "Composition", "Condition", "DeviceRequest",
    "DiagnosticReport", "DocumentReference", "ExplanationOfBenefit", "Flag", "GuidanceResponse",
    "ImagingStudy", "Immunization", "List", "Media", "MedicationAdministration",
    "MedicationDispense", "MedicationRequest", "MedicationStatement", "NutritionOrder",
    "Observation", "Procedure", "QuestionnaireResponse", "RequestGroup", "RiskAssessment",
    "ServiceRequest", "Task", "VisionPrescription",
];

/// Types whose date is in an element of that name; sorted.
#[rustfmt::skip]
const DATED: [&str; 39] = [
    "ActivityDefinition", "AdverseEvent", "CapabilityStatement", "ChargeItemDefinition",
    "ClinicalImpression", "CodeSystem", "CompartmentDefinition", "Composition", "ConceptMap",
    "DocumentReference", "EffectEvidenceSynthesis", "EventDefinition", "Evidence",
    "EvidenceVariable", "ExampleScenario", "FamilyMemberHistory", "GraphDefinition",
    "ImmunizationEvaluation", "ImmunizationRecommendation", "ImplementationGuide", "Invoice",
    "Library", "List", "Measure", "MeasureReport", "MessageDefinition", "NamingSystem",
    "OperationDefinition", "PlanDefinition", "Questionnaire", "ResearchDefinition",
    "ResearchElementDefinition", "RiskEvidenceSynthesis", "SearchParameter", "StructureDefinition",
    "StructureMap", "TerminologyCapabilities", "TestScript", "ValueSet",
];

/// Types whose code is in an element of that name; sorted.
#[rustfmt::skip]
const CODED: [&str; 21] = [
    "ActivityDefinition", "Basic", "ChargeItem", "ChargeItemDefinition", "ClinicalImpression",
    "Condition", "DetectedIssue", "DiagnosticReport", "Flag", "Group", "List", "Medication",
    "MedicationKnowledge", "Observation", "ObservationDefinition", "OperationDefinition",
    "PractitionerRole", "Procedure", "RequestGroup", "ServiceRequest", "Task",
];

/// Types without any identifier; sorted.
#[rustfmt::skip]
const WITHOUT_IDENTIFIER: [&str; 27] = [
    "AuditEvent", "Binary", "CapabilityStatement", "CompartmentDefinition", "GraphDefinition",
    "ImplementationGuide", "Linkage", "MedicationKnowledge", "MedicinalProductContraindication",
    "MedicinalProductIndication", "MedicinalProductInteraction", "MedicinalProductManufactured",
    "MedicinalProductUndesirableEffect", "MessageHeader", "NamingSystem", "OperationDefinition",
    "OperationOutcome", "Parameters", "Provenance", "SearchParameter", "Subscription",
    "SubstanceNucleicAcid", "SubstancePolymer", "SubstanceProtein", "SubstanceReferenceInformation",
    "TerminologyCapabilities", "VerificationResult",
];

/// Whether records of a type can be found by a parameter.
pub fn has_param(kind: ResourceType, param: Param) -> bool {
    let name = kind.name();
    let in_list = |list: &[&str]| list.binary_search(&name).is_ok();
    let in_table =
        |table: &[(&str, &[&str])]| table.binary_search_by_key(&name, |row| row.0).is_ok();
    match param {
        Param::Identifier => !in_list(&WITHOUT_IDENTIFIER),
        Param::Name => PERSONS.contains(&name) || in_list(&NAMED),
        Param::Family | Param::Given | Param::Birthdate | Param::Gender => PERSONS.contains(&name),
        Param::Encounter => in_list(&WITH_ENCOUNTER),
        Param::Date => in_table(&DATES) || in_list(&DATED),
        Param::Code => in_table(&CODES) || in_list(&CODED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_sorted_and_name_types_of_r4() {
        for list in [&NAMED[..], &WITH_ENCOUNTER, &DATED, &CODED, &WITHOUT_IDENTIFIER] {
            assert!(list.is_sorted());
            assert!(list.iter().all(|name| name.parse::<ResourceType>().is_ok()));
        }
    }

    #[test]
    fn a_type_has_the_parameters_whose_elements_it_has() {
        let has = |name: &str, param| has_param(name.parse().unwrap(), param);
        assert!(has("Patient", Param::Birthdate) && !has("Observation", Param::Birthdate));
        assert!(has("Observation", Param::Code) && has("Immunization", Param::Code));
        assert!(has("Encounter", Param::Date) && has("List", Param::Date));
        assert!(!has("Patient", Param::Encounter) && has("Condition", Param::Encounter));
        assert!(has("Location", Param::Name) && has("Location", Param::Identifier));
        assert!(!has("Binary", Param::Identifier));
    }
}
