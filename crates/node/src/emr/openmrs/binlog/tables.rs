//! From a row of OpenMRS's tables to the records that it is part of. Pure: what takes a look into
//! the database is named here and done by `binlog.rs`.

/// A column of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cell {
    /// A number.
    Number(i64),
    /// A text.
    Text(String),
}

/// What a row is part of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// The record of this type with this uuid.
    Uuid(&'static str, String),
    /// The person with this `person_id`: a patient, providers, relations of patients.
    Person(i64),
    /// The obs with this uuid: an Observation, or an Immunization.
    Obs(String),
    /// The obs with this `obs_id`, which an edit has replaced or a group has as a member.
    ObsNumber(i64),
    /// The order with this `order_id`.
    Order(i64),
    /// The encounter with this `encounter_id`.
    Encounter(i64),
    /// The allergy with this `allergy_id`.
    Allergy(i64),
    /// The enrolment with this `patient_program_id`.
    Enrolment(i64),
}

/// Tables whose rows are part of records.
pub(super) const TABLES: [&str; 24] = [
    "person",
    "person_name",
    "person_address",
    "person_attribute",
    "patient",
    "patient_identifier",
    "visit",
    "encounter",
    "encounter_provider",
    "encounter_diagnosis",
    "conditions",
    "obs",
    "orders",
    "drug_order",
    "test_order",
    "referral_order",
    "allergy",
    "allergy_reaction",
    "medication_dispense",
    "patient_program",
    "patient_state",
    "relationship",
    "provider",
    "location",
];

/// Tables besides that say something of records: who was merged with whom, which user is a person.
pub(super) const MORE_TABLES: [&str; 2] = ["person_merge_log", "users"];

/// What a row of `table` is part of; nothing where the table is none of ours. `column` gives a
/// column by its name.
pub(super) fn parts(table: &str, column: &dyn Fn(&str) -> Option<Cell>) -> Vec<Part> {
    let number = |name: &str| match column(name) {
        Some(Cell::Number(number)) => Some(number),
        _ => None,
    };
    let text = |name: &str| match column(name) {
        Some(Cell::Text(text)) => Some(text),
        _ => None,
    };
    let own = |kind: &'static str| text("uuid").map(|uuid| Part::Uuid(kind, uuid));
    let found: Vec<Option<Part>> = match table {
        "person" | "person_name" | "person_address" | "person_attribute" | "users" => {
            vec![number("person_id").map(Part::Person)]
        }
        "patient" | "patient_identifier" => vec![number("patient_id").map(Part::Person)],
        "visit" | "encounter" => vec![own("Encounter")],
        "encounter_provider" => vec![number("encounter_id").map(Part::Encounter)],
        "encounter_diagnosis" | "conditions" => vec![own("Condition")],
        "obs" => vec![
            text("uuid").map(Part::Obs),
            number("previous_version").map(Part::ObsNumber),
            number("obs_group_id").map(Part::ObsNumber),
        ],
        "orders" => vec![
            number("order_id").map(Part::Order),
            // A row that discontinues another changes what that one shows.
            number("previous_order_id").map(Part::Order),
        ],
        "drug_order" | "test_order" | "referral_order" => vec![number("order_id").map(Part::Order)],
        "allergy" => vec![own("AllergyIntolerance")],
        "allergy_reaction" => vec![number("allergy_id").map(Part::Allergy)],
        "medication_dispense" => vec![own("MedicationDispense")],
        "patient_program" => vec![own("EpisodeOfCare")],
        "patient_state" => vec![number("patient_program_id").map(Part::Enrolment)],
        "relationship" => vec![own("RelatedPerson")],
        "provider" => vec![own("Practitioner")],
        "location" => vec![own("Location")],
        "person_merge_log" => vec![
            number("winner_person_id").map(Part::Person),
            number("loser_person_id").map(Part::Person),
        ],
        _ => Vec::new(),
    };
    found.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_table_leads_to_its_records() {
        let uuid = |kind: &'static str| Part::Uuid(kind, "u".to_owned());
        for (table, expected) in [
            ("person", vec![Part::Person(1)]),
            ("person_name", vec![Part::Person(1)]),
            ("patient", vec![Part::Person(2)]),
            ("patient_identifier", vec![Part::Person(2)]),
            ("visit", vec![uuid("Encounter")]),
            ("encounter", vec![uuid("Encounter")]),
            ("encounter_provider", vec![Part::Encounter(3)]),
            ("encounter_diagnosis", vec![uuid("Condition")]),
            ("conditions", vec![uuid("Condition")]),
            ("obs", vec![Part::Obs("u".to_owned()), Part::ObsNumber(4)]),
            ("orders", vec![Part::Order(5), Part::Order(6)]),
            ("drug_order", vec![Part::Order(5)]),
            ("allergy", vec![uuid("AllergyIntolerance")]),
            ("allergy_reaction", vec![Part::Allergy(7)]),
            ("patient_program", vec![uuid("EpisodeOfCare")]),
            ("patient_state", vec![Part::Enrolment(8)]),
            ("relationship", vec![uuid("RelatedPerson")]),
            ("provider", vec![uuid("Practitioner")]),
            ("location", vec![uuid("Location")]),
            ("person_merge_log", vec![Part::Person(9), Part::Person(10)]),
            ("a_table_of_some_module", Vec::new()),
        ] {
            let column = |name: &str| match name {
                "uuid" => Some(Cell::Text("u".to_owned())),
                "person_id" => Some(Cell::Number(1)),
                "patient_id" => Some(Cell::Number(2)),
                "encounter_id" => Some(Cell::Number(3)),
                "previous_version" => Some(Cell::Number(4)),
                "order_id" => Some(Cell::Number(5)),
                "previous_order_id" => Some(Cell::Number(6)),
                "allergy_id" => Some(Cell::Number(7)),
                "patient_program_id" => Some(Cell::Number(8)),
                "winner_person_id" => Some(Cell::Number(9)),
                "loser_person_id" => Some(Cell::Number(10)),
                _ => None,
            };
            assert_eq!(parts(table, &column), expected, "{table}");
        }
        assert_eq!(parts("person", &|_| None), [], "a row without its key names nothing");
    }
}
