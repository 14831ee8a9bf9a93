//! Observations by webservices.rest, with their versions: of an obs that was edited the old row is
//! voided, and the new one names it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::tables::Row;
use super::{StandIn, State, number};

/// Rows of a page, where nothing else is set.
const PAGE: usize = 50;

/// GET of `obs/UUID`, voided or not, or of those of an encounter, or of a patient and concept.
pub(super) fn look(
    state: &mut State,
    uuid: Option<&str>,
    query: &BTreeMap<String, String>,
) -> Option<Value> {
    let depth = query.get("v").map_or(0, |v| v.matches("previousVersion").count());
    if let Some(uuid) = uuid {
        let row = state.by_uuid("obs", uuid)?;
        return Some(told(state, &row, depth));
    }
    let mut key = |name: &str, table: &str, column: &str| {
        let row = query.get(name).and_then(|uuid| state.by_uuid(table, uuid));
        row.map(|row| row[column].clone())
    };
    let encounter = key("encounter", "encounter", "encounter_id");
    let person = key("patient", "person", "person_id");
    let concept = key("concept", "concept", "concept_id");
    let rows = state.tables.rows("obs", None).into_iter().filter(|row| {
        let fits =
            |column: &str, key: &Option<Value>| key.as_ref().is_none_or(|k| row[column] == *k);
        number(row, "voided") == 0
            && fits("encounter_id", &encounter)
            && fits("person_id", &person)
            && fits("concept_id", &concept)
    });
    let rows = rows.collect::<Vec<_>>();
    let start = query.get("startIndex").and_then(|start| start.parse().ok()).unwrap_or(0);
    let page = rows.iter().skip(start).take(PAGE);
    let found = page.map(|row| told(state, row, depth)).collect::<Vec<_>>();
    let links = (rows.len() > start + PAGE).then(|| json!([{ "rel": "next", "uri": "x" }]));
    Some(json!({ "results": found, "links": links }))
}

/// An obs, with as many of its earlier versions as were asked for.
fn told(state: &mut State, row: &Row, depth: usize) -> Value {
    let mut uuid = |table: &str, column: &str| {
        let row = state.by_key(table, &row[column]);
        row.map(|row| json!({ "uuid": row["uuid"] }))
    };
    let (person, concept) = (uuid("person", "person_id"), uuid("concept", "concept_id"));
    let encounter = uuid("encounter", "encounter_id");
    let mut told = json!({
        "uuid": row["uuid"], "voided": number(row, "voided") != 0, "person": person,
        "concept": concept, "encounter": encounter,
    });
    if depth > 0 {
        let previous = state.by_key("obs", &row["previous_version"]);
        let previous = previous.map(|previous| self::told(state, &previous, depth - 1));
        told["previousVersion"] = json!(previous);
    }
    told
}

impl StandIn {
    /// Under which uuid an obs that had this one stands now.
    pub(crate) fn present(&self, uuid: &str) -> String {
        let mut state = self.state();
        let mut row = state.by_uuid("obs", uuid).unwrap();
        while let Some(next) =
            state.tables.rows("obs", Some(("previous_version", &row["obs_id"]))).pop()
        {
            row = next;
        }
        row["uuid"].as_str().unwrap().to_owned()
    }

    /// It is as it was before an obs was edited into this one: it was restored from a backup.
    pub(crate) fn take_back(&self, uuid: &str) {
        let mut state = self.state();
        let row = state.by_uuid("obs", uuid).unwrap();
        state.tables.delete("obs", number(&row, "obs_id"));
        let before = Row::from([("voided".to_owned(), json!(0))]);
        state.tables.update("obs", number(&row, "previous_version"), before);
    }
}
