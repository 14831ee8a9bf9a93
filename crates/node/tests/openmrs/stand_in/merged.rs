//! Patients who are merged, as OpenMRS does it: what is the loser's becomes the winner's, and the
//! loser is voided, with a reason.

use serde_json::{Value, json};

use super::tables::{Row, table};
use super::{StandIn, State, number, tell};

/// GET of `patient/UUID`, voided or not.
pub(super) fn look(state: &mut State, uuid: &str) -> Option<Value> {
    let person = state.by_uuid("person", uuid)?;
    let row = state.by_key("patient", &person["person_id"])?;
    let reason = json!({ "voidReason": row["void_reason"] });
    Some(json!({ "uuid": uuid, "voided": number(&row, "voided") != 0, "auditInfo": reason }))
}

impl StandIn {
    /// Somebody merges two patients.
    pub(crate) fn merge(&self, winner: &str, loser: &str) {
        let mut state = self.state();
        let mut key = |uuid: &str| state.by_uuid("person", uuid).unwrap()["person_id"].clone();
        let (winner_key, loser_key) = (key(winner), key(loser));
        let now = json!(state.now());
        state.tables.begin();
        let mut moved = Vec::new();
        for (name, column) in [
            ("visit", "patient_id"),
            ("encounter", "patient_id"),
            ("conditions", "patient_id"),
            ("obs", "person_id"),
        ] {
            for row in state.tables.rows(name, Some((column, &loser_key))) {
                let changed = Row::from([
                    (column.to_owned(), winner_key.clone()),
                    ("date_changed".to_owned(), now.clone()),
                ]);
                state.tables.update(name, number(&row, table(name).key), changed);
                moved.push((name, row["uuid"].as_str().unwrap().to_owned()));
            }
        }
        for mut row in state.tables.rows("patient_identifier", Some(("patient_id", &loser_key))) {
            let own = row.remove("patient_identifier_id").unwrap().as_i64().unwrap();
            let voided = Row::from([("voided".to_owned(), json!(1))]);
            state.tables.update("patient_identifier", own, voided);
            let uuid = json!(state.new_uuid());
            row.extend([
                ("patient_id".to_owned(), winner_key.clone()),
                ("preferred".to_owned(), json!(0)),
                ("uuid".to_owned(), uuid),
            ]);
            state.tables.insert("patient_identifier", row);
        }
        let voided = Row::from([
            ("voided".to_owned(), json!(1)),
            ("void_reason".to_owned(), json!(format!("Merged with patient #{winner_key}"))),
        ]);
        state.tables.update("patient", loser_key.as_i64().unwrap(), voided);
        let uuid = json!(state.new_uuid());
        let log = Row::from([
            ("uuid".to_owned(), uuid),
            ("winner_person_id".to_owned(), winner_key),
            ("loser_person_id".to_owned(), loser_key),
        ]);
        state.tables.insert("person_merge_log", log);
        state.tables.end(true);
        for (name, uuid) in &moved {
            tell(&mut state, &[name, uuid], &Value::Null);
        }
        for uuid in [winner, loser] {
            tell(&mut state, &["patient", uuid], &Value::Null);
        }
    }
}
