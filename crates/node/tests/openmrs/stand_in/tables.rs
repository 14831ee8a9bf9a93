//! The tables of OpenMRS that the stand-in writes, with their real names and columns, over memory
//! or over a database. One REST write is one transaction.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// A row, by its columns.
pub(crate) type Row = BTreeMap<String, Value>;

/// A table: its name, its key, its other columns.
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) key: &'static str,
    pub(crate) columns: &'static [(&'static str, &'static str)],
}

const TEXT: &str = "VARCHAR(255)";
const UUID: &str = "CHAR(38)";
const NUMBER: &str = "INT";
const DOUBLE: &str = "DOUBLE";
const FLAG: &str = "TINYINT(1) NOT NULL DEFAULT 0";
const DAY: &str = "DATE";
const TIME: &str = "DATETIME";
const LONG: &str = "LONGTEXT";

/// Columns that say when a row was made and changed, and whether it is voided.
macro_rules! table {
    ($name:literal, $key:literal, [$($column:literal: $kind:ident),* $(,)?]) => {
        Table {
            name: $name,
            key: $key,
            columns: &[
                $(($column, $kind),)*
                ("voided", FLAG), ("date_created", TIME), ("date_changed", TIME),
            ],
        }
    };
}

pub(crate) const TABLES: &[Table] = &[
    table!("person", "person_id", ["uuid": UUID, "gender": TEXT, "birthdate": DAY,
        "birthdate_estimated": FLAG, "dead": FLAG, "death_date": TIME]),
    table!("person_name", "person_name_id", ["uuid": UUID, "person_id": NUMBER,
        "given_name": TEXT, "middle_name": TEXT, "family_name": TEXT, "preferred": FLAG]),
    table!("person_address", "person_address_id", ["uuid": UUID, "person_id": NUMBER,
        "address1": TEXT, "address2": TEXT, "city_village": TEXT, "state_province": TEXT,
        "county_district": TEXT, "postal_code": TEXT, "country": TEXT]),
    table!("person_attribute", "person_attribute_id", ["uuid": UUID, "person_id": NUMBER,
        "value": TEXT, "person_attribute_type_id": NUMBER]),
    table!("patient", "patient_id", ["void_reason": TEXT]),
    table!("patient_identifier", "patient_identifier_id", ["uuid": UUID, "patient_id": NUMBER,
        "identifier": TEXT, "identifier_type": NUMBER, "location_id": NUMBER, "preferred": FLAG]),
    table!("patient_identifier_type", "patient_identifier_type_id", ["uuid": UUID, "name": TEXT]),
    table!("person_attribute_type", "person_attribute_type_id", ["uuid": UUID, "name": TEXT]),
    table!("encounter_type", "encounter_type_id", ["uuid": UUID, "name": TEXT]),
    table!("visit_type", "visit_type_id", ["uuid": UUID, "name": TEXT]),
    table!("encounter_role", "encounter_role_id", ["uuid": UUID, "name": TEXT]),
    table!("care_setting", "care_setting_id", ["uuid": UUID, "name": TEXT]),
    table!("program", "program_id", ["uuid": UUID, "name": TEXT, "concept_id": NUMBER]),
    table!("location", "location_id", ["uuid": UUID, "name": TEXT, "description": TEXT,
        "city_village": TEXT, "country": TEXT, "parent_location": NUMBER]),
    table!("provider", "provider_id", ["uuid": UUID, "person_id": NUMBER, "identifier": TEXT]),
    table!("concept", "concept_id", ["uuid": UUID, "name": TEXT, "source": TEXT, "code": TEXT]),
    Table { name: "concept_numeric", key: "concept_id", columns: &[("units", TEXT)] },
    table!("visit", "visit_id", ["uuid": UUID, "patient_id": NUMBER, "visit_type_id": NUMBER,
        "date_started": TIME, "date_stopped": TIME, "location_id": NUMBER]),
    table!("encounter", "encounter_id", ["uuid": UUID, "patient_id": NUMBER,
        "encounter_type": NUMBER, "encounter_datetime": TIME, "location_id": NUMBER,
        "visit_id": NUMBER]),
    table!("encounter_provider", "encounter_provider_id", ["uuid": UUID, "encounter_id": NUMBER,
        "provider_id": NUMBER, "encounter_role_id": NUMBER]),
    table!("encounter_diagnosis", "diagnosis_id", ["uuid": UUID, "patient_id": NUMBER,
        "encounter_id": NUMBER, "diagnosis_coded": NUMBER, "diagnosis_non_coded": TEXT,
        "certainty": TEXT, "dx_rank": NUMBER]),
    table!("conditions", "condition_id", ["uuid": UUID, "patient_id": NUMBER,
        "condition_coded": NUMBER, "condition_non_coded": TEXT, "clinical_status": TEXT,
        "verification_status": TEXT, "onset_date": TIME, "end_date": TIME]),
    table!("obs", "obs_id", ["uuid": UUID, "person_id": NUMBER, "concept_id": NUMBER,
        "encounter_id": NUMBER, "obs_datetime": TIME, "obs_group_id": NUMBER,
        "value_coded": NUMBER, "value_numeric": DOUBLE, "value_text": LONG,
        "value_datetime": TIME, "comments": TEXT, "status": TEXT, "interpretation": TEXT,
        "previous_version": NUMBER]),
    table!("orders", "order_id", ["uuid": UUID, "patient_id": NUMBER, "concept_id": NUMBER,
        "encounter_id": NUMBER, "orderer": NUMBER, "care_setting": NUMBER, "order_action": TEXT,
        "urgency": TEXT, "date_activated": TIME, "date_stopped": TIME,
        "previous_order_id": NUMBER, "comment_to_fulfiller": TEXT]),
    Table {
        name: "drug_order",
        key: "order_id",
        columns: &[("dosing_instructions", LONG), ("as_needed", FLAG)],
    },
    table!("allergy", "allergy_id", ["uuid": UUID, "patient_id": NUMBER, "allergen_type": TEXT,
        "coded_allergen": NUMBER, "non_coded_allergen": TEXT, "severity_concept_id": NUMBER,
        "comments": TEXT]),
    Table {
        name: "allergy_reaction",
        key: "allergy_reaction_id",
        columns: &[
            ("uuid", UUID),
            ("allergy_id", NUMBER),
            ("reaction_concept_id", NUMBER),
            ("reaction_non_coded", TEXT),
        ],
    },
    table!("patient_program", "patient_program_id", ["uuid": UUID, "patient_id": NUMBER,
        "program_id": NUMBER, "date_enrolled": TIME, "date_completed": TIME]),
    table!("relationship", "relationship_id", ["uuid": UUID, "person_a": NUMBER,
        "person_b": NUMBER, "relationship": NUMBER, "start_date": TIME, "end_date": TIME]),
    table!("person_merge_log", "person_merge_log_id", ["uuid": UUID, "winner_person_id": NUMBER,
        "loser_person_id": NUMBER]),
];

/// Where rows are.
pub(crate) trait Tables: Send {
    /// Rows with a value in a column, in the order of their keys; all where none is named.
    fn rows(&mut self, table: &str, by: Option<(&str, &Value)>) -> Vec<Row>;
    /// A new row; gives its key (given, or the next).
    fn insert(&mut self, table: &str, row: Row) -> i64;
    /// Changes columns of a row.
    fn update(&mut self, table: &str, key: i64, columns: Row);
    /// Removes a row.
    fn delete(&mut self, table: &str, key: i64);
    /// Begins a transaction.
    fn begin(&mut self);
    /// Ends it, or takes all of it back.
    fn end(&mut self, commit: bool);
}

/// The definition of a table.
pub(crate) fn table(name: &str) -> &'static Table {
    TABLES.iter().find(|table| table.name == name).unwrap_or_else(|| panic!("no table {name}"))
}

/// Rows in memory.
#[derive(Default, Clone)]
pub(crate) struct Memory {
    tables: BTreeMap<String, BTreeMap<i64, Row>>,
    before: Option<Box<Memory>>,
}

impl Tables for Memory {
    fn rows(&mut self, name: &str, by: Option<(&str, &Value)>) -> Vec<Row> {
        table(name);
        let rows = self.tables.get(name).into_iter().flat_map(BTreeMap::values);
        let fits = |row: &&Row| by.is_none_or(|(column, value)| row.get(column) == Some(value));
        rows.filter(fits).cloned().collect()
    }

    fn insert(&mut self, name: &str, mut row: Row) -> i64 {
        let definition = table(name);
        let rows = self.tables.entry(name.to_owned()).or_default();
        let next = rows.keys().next_back().copied().unwrap_or(0) + 1;
        let key = row.get(definition.key).and_then(Value::as_i64).unwrap_or(next);
        row.insert(definition.key.to_owned(), json!(key));
        for (column, kind) in definition.columns {
            let empty = if *kind == FLAG { json!(0) } else { Value::Null };
            row.entry((*column).to_owned()).or_insert(empty);
        }
        rows.insert(key, row);
        key
    }

    fn update(&mut self, name: &str, key: i64, columns: Row) {
        if let Some(row) = self.tables.get_mut(name).and_then(|rows| rows.get_mut(&key)) {
            row.extend(columns);
        }
    }

    fn delete(&mut self, name: &str, key: i64) {
        self.tables.get_mut(name).map(|rows| rows.remove(&key));
    }

    fn begin(&mut self) {
        self.before = Some(Box::new(Memory { tables: self.tables.clone(), before: None }));
    }

    fn end(&mut self, commit: bool) {
        if let Some(before) = self.before.take().filter(|_| !commit) {
            self.tables = before.tables;
        }
    }
}
