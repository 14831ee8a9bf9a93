//! webservices.rest of the stand-in: what is created, edited and voided goes into the tables.

use serde_json::{Map, Value, json};

use super::resources::Kind::{self, Allergen, Coded, Day, Flag, Nothing, Number, Of, Text, Time};
use super::resources::{Resource, resource};
use super::tables::{Row, table};
use super::{Answer, State, number, refused};

/// POST below `/ws/rest/v1`.
pub(crate) fn post(state: &mut State, path: &[&str], body: &Value) -> Answer {
    let Some(body) = body.as_object() else { return refused(400, "no body") };
    match path {
        ["patient"] => create_patient(state, body),
        ["patient", patient, "identifier"] => below(state, "identifier", "person", patient, body),
        ["patient", _, "identifier", uuid] => edit(state, "identifier", uuid, body),
        ["patient", patient, "allergy"] => below(state, "allergy", "person", patient, body),
        ["patient", _, "allergy", uuid] => edit(state, "allergy", uuid, body),
        ["patient", uuid] => edit_patient(state, uuid, body),
        ["person", person, kind @ ("name" | "address" | "attribute")] => {
            below(state, kind, "person", person, body)
        }
        ["person", _, kind @ ("name" | "address" | "attribute"), uuid] => {
            edit(state, kind, uuid, body)
        }
        ["encounter", encounter, "encounterprovider"] => {
            below(state, "encounterprovider", "encounter", encounter, body)
        }
        ["encounter", _, "encounterprovider", uuid] => edit(state, "encounterprovider", uuid, body),
        ["provider"] => create_provider(state, body),
        [kind] if resource(kind).is_some() => {
            let resource = resource(kind).unwrap();
            create(state, resource, body, Row::new()).map(|uuid| json!({ "uuid": uuid }))
        }
        [kind, uuid] if resource(kind).is_some() => edit(state, kind, uuid, body),
        _ => refused(404, "no such resource"),
    }
}

/// DELETE below `/ws/rest/v1`: voids.
pub(crate) fn void(state: &mut State, path: &[&str]) -> Answer {
    let (Some(kind), Some(uuid)) = (path.iter().rev().nth(1), path.last()) else {
        return refused(404, "no such resource");
    };
    let table = match *kind {
        "patient" => "person",
        kind => resource(kind).map_or("person", |resource| resource.table),
    };
    let Some(row) = state.by_uuid(table, uuid) else { return refused(404, "no such object") };
    let key = number(&row, super::tables::table(table).key);
    set_voided(state, if *kind == "patient" { "patient" } else { table }, key, true);
    Ok(Value::Null)
}

fn set_voided(state: &mut State, name: &str, key: i64, voided: bool) {
    let now = state.now();
    let columns = Row::from([
        ("voided".to_owned(), json!(i64::from(voided))),
        ("date_changed".to_owned(), json!(now)),
    ]);
    state.tables.update(name, key, columns.clone());
    // Voiding a patient voids all that is theirs; an encounter its observations and the rest.
    let inner: &[(&str, &str)] = match name {
        "patient" => &[
            ("visit", "patient_id"),
            ("encounter", "patient_id"),
            ("conditions", "patient_id"),
            ("allergy", "patient_id"),
            ("patient_identifier", "patient_id"),
        ],
        "encounter" => &[
            ("obs", "encounter_id"),
            ("orders", "encounter_id"),
            ("encounter_diagnosis", "encounter_id"),
        ],
        "obs" => &[("obs", "obs_group_id")],
        _ => &[],
    };
    for (inner, column) in inner {
        for row in state.tables.rows(inner, Some((column, &json!(key)))) {
            set_voided(state, inner, number(&row, table(inner).key), voided);
        }
    }
}

fn create_patient(state: &mut State, body: &Map<String, Value>) -> Answer {
    let Some(person) = body.get("person").and_then(Value::as_object) else {
        return refused(400, "person is required");
    };
    let mut person = person.clone();
    person.extend(body.get("uuid").map(|uuid| ("uuid".to_owned(), uuid.clone())));
    let uuid = create(state, resource("person").unwrap(), &person, Row::new())?;
    let key = number(&state.by_uuid("person", &uuid).unwrap(), "person_id");
    let mut row = Row::from([("patient_id".to_owned(), json!(key))]);
    row.insert("date_created".to_owned(), json!(state.now()));
    state.tables.insert("patient", row);
    for identifier in body.get("identifiers").and_then(Value::as_array).into_iter().flatten() {
        let parent = Row::from([("patient_id".to_owned(), json!(key))]);
        create(state, resource("identifier").unwrap(), identifier.as_object().unwrap(), parent)?;
    }
    Ok(json!({ "uuid": uuid }))
}

fn edit_patient(state: &mut State, uuid: &str, body: &Map<String, Value>) -> Answer {
    let Some(row) = state.by_uuid("person", uuid) else { return refused(404, "no such patient") };
    if body.get("deleted") == Some(&json!("false")) {
        if !state.quirks.undeletes {
            return refused(400, "undelete is not supported");
        }
        set_voided(state, "patient", number(&row, "person_id"), false);
        return Ok(json!({ "uuid": uuid }));
    }
    refused(400, "nothing of a patient is edited here")
}

fn create_provider(state: &mut State, body: &Map<String, Value>) -> Answer {
    let person = body.get("person").and_then(Value::as_object).cloned().unwrap_or_default();
    let person = create(state, resource("person").unwrap(), &person, Row::new())?;
    let key = number(&state.by_uuid("person", &person).unwrap(), "person_id");
    let parent = Row::from([("person_id".to_owned(), json!(key))]);
    let own = body.iter().filter(|(name, _)| *name != "person");
    let own = own.map(|(name, value)| (name.clone(), value.clone())).collect();
    let uuid = create(state, resource("provider").unwrap(), &own, parent)?;
    Ok(json!({ "uuid": uuid }))
}

fn below(
    state: &mut State,
    kind: &str,
    parent: &str,
    uuid: &str,
    body: &Map<String, Value>,
) -> Answer {
    let resource = resource(kind).unwrap();
    let Some(row) = state.by_uuid(parent, uuid) else { return refused(404, "no such parent") };
    let column = match (kind, parent) {
        ("identifier" | "allergy", _) => "patient_id",
        (_, "person") => "person_id",
        _ => "encounter_id",
    };
    let key = number(&row, table(parent).key);
    let parent = Row::from([(column.to_owned(), json!(key))]);
    create(state, resource, body, parent).map(|uuid| json!({ "uuid": uuid }))
}

fn create(
    state: &mut State,
    resource: &Resource,
    body: &Map<String, Value>,
    parent: Row,
) -> Result<String, (u16, Value)> {
    let keeps = !state.quirks.drops_ids;
    let given = body.get("uuid").and_then(Value::as_str).filter(|_| keeps).map(str::to_owned);
    let uuid = given.unwrap_or_else(|| state.new_uuid());
    if state.by_uuid(resource.table, &uuid).is_some() {
        return refused(500, &format!("Duplicate entry '{uuid}' for key 'uuid'")).map(|_| uuid);
    }
    if resource.path == "identifier" {
        check_identifier(state, body, parent.get("patient_id"))?;
    }
    let mut row = parent.clone();
    row.insert("uuid".to_owned(), json!(uuid));
    if table(resource.table).columns.iter().any(|(name, _)| *name == "date_created") {
        row.insert("date_created".to_owned(), json!(state.now()));
    }
    row.extend(columns(state, resource, body)?);
    let key = state.tables.insert(resource.table, row.clone());
    if resource.path == "order" {
        let mut drug = Row::from([("order_id".to_owned(), json!(key))]);
        drug.extend(
            body.get("dosingInstructions")
                .map(|words| ("dosing_instructions".to_owned(), words.clone())),
        );
        if body.get("type") == Some(&json!("drugorder")) {
            state.tables.insert("drug_order", drug);
        }
        stop_previous(state, &row);
    }
    for (member, kind, column) in resource.below {
        for inner in body.get(*member).and_then(Value::as_array).into_iter().flatten() {
            let mut parent = Row::from([((*column).to_owned(), json!(key))]);
            let inherited: &[&str] = match (resource.path, *kind) {
                ("obs", _) => &["person_id", "encounter_id", "obs_datetime"],
                ("encounter", "patientdiagnoses" | "order") => &["patient_id"],
                _ => &[],
            };
            for name in inherited {
                parent.extend(row.get(*name).map(|value| ((*name).to_owned(), value.clone())));
            }
            if (resource.path, *kind) == ("encounter", "obs") {
                parent.insert("person_id".to_owned(), row["patient_id"].clone());
            }
            create(state, self::resource(kind).unwrap(), inner.as_object().unwrap(), parent)?;
        }
    }
    Ok(uuid)
}

/// An order that discontinues another stops it.
fn stop_previous(state: &mut State, row: &Row) {
    if row.get("order_action") == Some(&json!("DISCONTINUE"))
        && let Some(key) = row.get("previous_order_id").and_then(Value::as_i64)
    {
        let now = state.now();
        state.tables.update("orders", key, Row::from([("date_stopped".to_owned(), json!(now))]));
    }
}

fn check_identifier(
    state: &mut State,
    body: &Map<String, Value>,
    patient: Option<&Value>,
) -> Result<(), (u16, Value)> {
    let value = body.get("identifier").and_then(Value::as_str).unwrap_or_default();
    if state.quirks.check_digits && !value.contains('-') {
        return refused(400, &format!("Invalid check digit for identifier: {value}")).map(drop);
    }
    let used = state.tables.rows("patient_identifier", Some(("identifier", &json!(value))));
    let is_anothers = |row: &Row| row.get("patient_id") != patient && number(row, "voided") == 0;
    if used.iter().any(is_anothers) {
        let words = format!("Identifier {value} already in use by another patient");
        return refused(400, &words).map(drop);
    }
    Ok(())
}

fn edit(state: &mut State, kind: &str, uuid: &str, body: &Map<String, Value>) -> Answer {
    let resource = resource(kind).unwrap();
    let Some(row) = state.by_uuid(resource.table, uuid) else {
        return refused(404, "no such object");
    };
    let key = number(&row, table(resource.table).key);
    if body.get("deleted") == Some(&json!("false")) {
        if !state.quirks.undeletes {
            return refused(400, "undelete is not supported");
        }
        set_voided(state, resource.table, key, false);
        return Ok(json!({ "uuid": uuid }));
    }
    let mut columns = columns(state, resource, body)?;
    if kind == "obs" {
        // An obs that is edited is voided, and another with another uuid takes its place.
        let new = state.new_uuid();
        let mut copy = row.clone();
        copy.remove("obs_id");
        copy.extend(columns);
        copy.insert("uuid".to_owned(), json!(new));
        copy.insert("previous_version".to_owned(), json!(key));
        copy.insert("date_created".to_owned(), json!(state.now()));
        state.tables.insert("obs", copy);
        set_voided(state, "obs", key, true);
        return Ok(json!({ "uuid": new }));
    }
    columns.insert("date_changed".to_owned(), json!(state.now()));
    state.tables.update(resource.table, key, columns);
    for (member, kind, column) in resource.below {
        let Some(new) = body.get(*member).and_then(Value::as_array) else { continue };
        let inner = self::resource(kind).unwrap();
        for old in state.tables.rows(inner.table, Some((column, &json!(key)))) {
            state.tables.delete(inner.table, number(&old, table(inner.table).key));
        }
        for one in new {
            let parent = Row::from([((*column).to_owned(), json!(key))]);
            create(state, inner, one.as_object().unwrap(), parent)?;
        }
    }
    Ok(json!({ "uuid": uuid }))
}

/// The columns that a body sets.
fn columns(
    state: &mut State,
    resource: &Resource,
    body: &Map<String, Value>,
) -> Result<Row, (u16, Value)> {
    let mut row = Row::new();
    let below = resource.below.iter().map(|(member, _, _)| *member).collect::<Vec<_>>();
    for (member, value) in body.iter().filter(|(name, _)| *name != "uuid") {
        if below.contains(&member.as_str()) {
            continue;
        }
        let known = resource.members.iter().find(|(name, _, _)| name == member);
        let Some((_, column, kind)) = known else {
            let words = format!("Unable to find property {member} of {}", resource.path);
            return refused(400, &words).map(|_| row);
        };
        let mut put = |column: &str, value: Value| drop(row.insert(column.to_owned(), value));
        match kind {
            Text | Number => put(column, value.clone()),
            Flag => put(column, json!(i64::from(value == &json!(true)))),
            Day => put(column, value.as_str().map_or(Value::Null, |day| json!(day[..10]))),
            Time => put(column, value.as_str().map_or(Value::Null, |time| json!(local(time)))),
            Of(other) => put(column, key_of(state, other, value)?),
            Coded(stem) => {
                let coded = value.get("coded").cloned().unwrap_or(Value::Null);
                put(&format!("{stem}_coded"), key_of(state, "concept", &coded)?);
                put(
                    &format!("{stem}_non_coded"),
                    value.get("nonCoded").cloned().unwrap_or(Value::Null),
                );
            }
            Allergen => {
                put("allergen_type", value["allergenType"].clone());
                put("coded_allergen", key_of(state, "concept", &value["codedAllergen"])?);
                put("non_coded_allergen", value["nonCodedAllergen"].clone());
            }
            Kind::Value => obs_value(state, value, &mut row)?,
            Nothing => {}
        }
    }
    Ok(row)
}

fn obs_value(state: &mut State, value: &Value, row: &mut Row) -> Result<(), (u16, Value)> {
    let text = value.as_str();
    let concept = text.and_then(|text| state.by_uuid("concept", text));
    let (column, value) = match (value, text, concept) {
        (_, _, Some(concept)) => ("value_coded", concept["concept_id"].clone()),
        (value, None, _) => ("value_numeric", value.clone()),
        (_, Some(time), _) if time.len() > 20 && time.ends_with("+0000") => {
            ("value_datetime", json!(local(time)))
        }
        (_, Some(text), _) => ("value_text", json!(text)),
    };
    for other in ["value_coded", "value_numeric", "value_datetime", "value_text"] {
        row.insert(other.to_owned(), Value::Null);
    }
    row.insert(column.to_owned(), value);
    Ok(())
}

/// The key of the row that a uuid, or an object with one, names.
fn key_of(state: &mut State, name: &str, value: &Value) -> Result<Value, (u16, Value)> {
    let uuid = value.as_str().or_else(|| value.get("uuid").and_then(|uuid| uuid.as_str()));
    let Some(uuid) = uuid else { return Ok(Value::Null) };
    match state.by_uuid(name, uuid) {
        Some(row) => Ok(row[table(name).key].clone()),
        None => refused(400, &format!("no {name} with uuid {uuid}")),
    }
}

/// A time as the database has it: whole seconds, no zone (the server's is UTC).
fn local(time: &str) -> String {
    match time.len() {
        10 => format!("{time} 00:00:00"),
        _ => time[..19].replace('T', " "),
    }
}
