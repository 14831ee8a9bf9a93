//! The resources of webservices.rest in the stand-in: members and their columns.

/// What a member of a resource is.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Text,
    Day,
    Time,
    Number,
    Flag,
    /// The key of a row of another table, by its uuid.
    Of(&'static str),
    /// `{ "coded": uuid, "nonCoded": text }`, in two columns.
    Coded(&'static str),
    /// A value of an obs, in the column of its kind.
    Value,
    Allergen,
    /// What is said and has no column here.
    Nothing,
}

/// A resource: its table, its members with their columns, and what stands below it.
pub(crate) struct Resource {
    pub(crate) path: &'static str,
    pub(crate) table: &'static str,
    pub(crate) members: &'static [(&'static str, &'static str, Kind)],
    pub(crate) below: &'static [(&'static str, &'static str, &'static str)],
}

use Kind::{Allergen, Coded, Day, Flag, Nothing, Number, Of, Text, Time};

const RESOURCES: &[Resource] = &[
    Resource {
        path: "person",
        table: "person",
        members: &[
            ("gender", "gender", Text),
            ("birthdate", "birthdate", Day),
            ("birthdateEstimated", "birthdate_estimated", Flag),
            ("dead", "dead", Flag),
            ("deathDate", "death_date", Time),
        ],
        below: &[
            ("names", "name", "person_id"),
            ("addresses", "address", "person_id"),
            ("attributes", "attribute", "person_id"),
        ],
    },
    Resource {
        path: "name",
        table: "person_name",
        members: &[
            ("givenName", "given_name", Text),
            ("middleName", "middle_name", Text),
            ("familyName", "family_name", Text),
            ("preferred", "preferred", Flag),
        ],
        below: &[],
    },
    Resource {
        path: "address",
        table: "person_address",
        members: &[
            ("address1", "address1", Text),
            ("address2", "address2", Text),
            ("cityVillage", "city_village", Text),
            ("stateProvince", "state_province", Text),
            ("countyDistrict", "county_district", Text),
            ("postalCode", "postal_code", Text),
            ("country", "country", Text),
        ],
        below: &[],
    },
    Resource {
        path: "attribute",
        table: "person_attribute",
        members: &[
            ("value", "value", Text),
            ("attributeType", "person_attribute_type_id", Of("person_attribute_type")),
        ],
        below: &[],
    },
    Resource {
        path: "identifier",
        table: "patient_identifier",
        members: &[
            ("identifier", "identifier", Text),
            ("identifierType", "identifier_type", Of("patient_identifier_type")),
            ("location", "location_id", Of("location")),
            ("preferred", "preferred", Flag),
        ],
        below: &[],
    },
    Resource {
        path: "location",
        table: "location",
        members: &[
            ("name", "name", Text),
            ("description", "description", Text),
            ("cityVillage", "city_village", Text),
            ("country", "country", Text),
            ("parentLocation", "parent_location", Of("location")),
        ],
        below: &[],
    },
    Resource {
        path: "visit",
        table: "visit",
        members: &[
            ("patient", "patient_id", Of("person")),
            ("visitType", "visit_type_id", Of("visit_type")),
            ("startDatetime", "date_started", Time),
            ("stopDatetime", "date_stopped", Time),
            ("location", "location_id", Of("location")),
        ],
        below: &[],
    },
    Resource {
        path: "encounter",
        table: "encounter",
        members: &[
            ("patient", "patient_id", Of("person")),
            ("encounterType", "encounter_type", Of("encounter_type")),
            ("encounterDatetime", "encounter_datetime", Time),
            ("location", "location_id", Of("location")),
            ("visit", "visit_id", Of("visit")),
        ],
        below: &[
            ("encounterProviders", "encounterprovider", "encounter_id"),
            ("obs", "obs", "encounter_id"),
            ("orders", "order", "encounter_id"),
            ("diagnoses", "patientdiagnoses", "encounter_id"),
        ],
    },
    Resource {
        path: "encounterprovider",
        table: "encounter_provider",
        members: &[
            ("provider", "provider_id", Of("provider")),
            ("encounterRole", "encounter_role_id", Of("encounter_role")),
        ],
        below: &[],
    },
    Resource {
        path: "obs",
        table: "obs",
        members: &[
            ("person", "person_id", Of("person")),
            ("encounter", "encounter_id", Of("encounter")),
            ("concept", "concept_id", Of("concept")),
            ("obsDatetime", "obs_datetime", Time),
            ("value", "", Kind::Value),
            ("comment", "comments", Text),
            ("status", "status", Text),
            ("interpretation", "interpretation", Text),
        ],
        below: &[("groupMembers", "obs", "obs_group_id")],
    },
    Resource {
        path: "condition",
        table: "conditions",
        members: &[
            ("patient", "patient_id", Of("person")),
            ("condition", "condition", Coded("condition")),
            ("clinicalStatus", "clinical_status", Text),
            ("verificationStatus", "verification_status", Text),
            ("onsetDate", "onset_date", Time),
            ("endDate", "end_date", Time),
        ],
        below: &[],
    },
    Resource {
        path: "patientdiagnoses",
        table: "encounter_diagnosis",
        members: &[
            ("patient", "patient_id", Of("person")),
            ("encounter", "encounter_id", Of("encounter")),
            ("diagnosis", "diagnosis", Coded("diagnosis")),
            ("certainty", "certainty", Text),
            ("rank", "dx_rank", Number),
        ],
        below: &[],
    },
    Resource {
        path: "allergy",
        table: "allergy",
        members: &[
            ("allergen", "", Allergen),
            ("severity", "severity_concept_id", Of("concept")),
            ("comment", "comments", Text),
        ],
        below: &[("reactions", "reaction", "allergy_id")],
    },
    Resource {
        path: "reaction",
        table: "allergy_reaction",
        members: &[
            ("reaction", "reaction_concept_id", Of("concept")),
            ("reactionNonCoded", "reaction_non_coded", Text),
        ],
        below: &[],
    },
    Resource {
        path: "order",
        table: "orders",
        members: &[
            ("patient", "patient_id", Of("person")),
            ("encounter", "encounter_id", Of("encounter")),
            ("concept", "concept_id", Of("concept")),
            ("orderer", "orderer", Of("provider")),
            ("careSetting", "care_setting", Of("care_setting")),
            ("action", "order_action", Text),
            ("urgency", "urgency", Text),
            ("dateActivated", "date_activated", Time),
            ("previousOrder", "previous_order_id", Of("orders")),
            ("commentToFulfiller", "comment_to_fulfiller", Text),
            ("type", "", Nothing),
            ("dosingInstructions", "", Nothing),
            ("dosingType", "", Nothing),
            ("asNeeded", "", Nothing),
        ],
        below: &[],
    },
    Resource {
        path: "programenrollment",
        table: "patient_program",
        members: &[
            ("patient", "patient_id", Of("person")),
            ("program", "program_id", Of("program")),
            ("dateEnrolled", "date_enrolled", Time),
            ("dateCompleted", "date_completed", Time),
        ],
        below: &[],
    },
    Resource {
        path: "provider",
        table: "provider",
        members: &[("identifier", "identifier", Text)],
        below: &[],
    },
];

pub(crate) fn resource(path: &str) -> Option<&'static Resource> {
    RESOURCES.iter().find(|resource| resource.path == path)
}
