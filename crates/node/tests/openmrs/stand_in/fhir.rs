//! fhir2 of the stand-in: what the tables hold, as FHIR.

use serde_json::{Value, json};

use super::tables::{Row, table};
use super::{State, number};

/// The types, each with the table that its records come from.
pub(crate) const TYPES: [(&str, &str); 12] = [
    ("Patient", "person"),
    ("Encounter", "visit"),
    ("Encounter", "encounter"),
    ("Observation", "obs"),
    ("Condition", "conditions"),
    ("Condition", "encounter_diagnosis"),
    ("AllergyIntolerance", "allergy"),
    ("MedicationRequest", "orders"),
    ("ServiceRequest", "orders"),
    ("EpisodeOfCare", "patient_program"),
    ("Practitioner", "provider"),
    ("Location", "location"),
];

/// A record: `Ok(None)` where it is voided, `Err` where it never was.
pub(crate) fn read(state: &mut State, kind: &str, uuid: &str) -> Result<Option<Value>, ()> {
    for (_, name) in TYPES.iter().filter(|(one, _)| *one == kind) {
        let Some(row) = state.by_uuid(name, uuid) else { continue };
        if let Some(shown) = shown(state, kind, name, &row)? {
            return Ok(Some(shown));
        }
        return Ok(None);
    }
    Err(())
}

/// All records of a type that are not voided, each with the time of its last change.
pub(crate) fn all(state: &mut State, kind: &str, name: &str) -> Vec<(String, Value)> {
    let rows = state.tables.rows(name, None);
    let shown = rows.into_iter().filter_map(|row| {
        let value = shown(state, kind, name, &row).ok().flatten()?;
        Some((changed(&row), value))
    });
    shown.collect()
}

/// When a row was changed: of a person not when its names were.
fn changed(row: &Row) -> String {
    let text = |name: &str| row.get(name).and_then(Value::as_str).map(str::to_owned);
    text("date_changed").or_else(|| text("date_created")).unwrap_or_default()
}

fn shown(state: &mut State, kind: &str, name: &str, row: &Row) -> Result<Option<Value>, ()> {
    let key = row[table(name).key].clone();
    if kind == "Patient" {
        let patient = state.tables.rows("patient", Some(("patient_id", &key))).pop().ok_or(())?;
        if number(&patient, "voided") != 0 {
            return Ok(None);
        }
    }
    if name == "orders" {
        let is_drug = !state.tables.rows("drug_order", Some(("order_id", &key))).is_empty();
        if is_drug != (kind == "MedicationRequest") {
            return Err(());
        }
    }
    if number(row, "voided") != 0 {
        return Ok(None);
    }
    let mut value = match name {
        "person" => patient(state, row),
        "visit" => visit(state, row),
        "encounter" => encounter(state, row),
        "obs" => observation(state, row),
        "conditions" => condition(state, row),
        "encounter_diagnosis" => diagnosis(state, row),
        "allergy" => allergy(state, row),
        "orders" => order(state, row),
        "patient_program" => episode(state, row),
        "provider" => practitioner(state, row),
        _ => location(state, row),
    };
    value["resourceType"] = json!(kind);
    value["id"] = row["uuid"].clone();
    let time = changed(row);
    value["meta"]["lastUpdated"] = json!(instant(&time));
    value["meta"]["versionId"] = json!(time.replace(['-', ' ', ':'], ""));
    if state.quirks.older_fhir2 {
        value["contained"] = json!([{ "resourceType": "Provenance", "id": state.new_uuid() }]);
        value["text"] = json!({ "status": "generated", "div": "<div>a table</div>" });
    }
    strip(&mut value);
    Ok(Some(value))
}

/// Takes away what is null or empty.
fn strip(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.values_mut().for_each(strip);
            members.retain(|_, value| {
                !matches!(value, Value::Null) && *value != json!([]) && *value != json!({})
            });
        }
        Value::Array(items) => {
            items.iter_mut().for_each(strip);
            items.retain(|item| !item.is_null() && *item != json!({}));
        }
        _ => {}
    }
}

fn person(state: &mut State, row: &Row) -> Value {
    let key = row["person_id"].clone();
    let live = |rows: Vec<Row>| {
        rows.into_iter().filter(|row| number(row, "voided") == 0).collect::<Vec<_>>()
    };
    let names = live(state.tables.rows("person_name", Some(("person_id", &key))));
    let names = names.iter().map(|name| {
        json!({
            "id": name["uuid"], "family": name["family_name"],
            "given": [name["given_name"], name["middle_name"]],
        })
    });
    let names = names.collect::<Vec<_>>();
    let addresses = live(state.tables.rows("person_address", Some(("person_id", &key))));
    let addresses = addresses.iter().map(|address| {
        let line = |number: u8| {
            let value = address[&format!("address{number}")].clone();
            (!value.is_null()).then(|| {
                json!({ "url": format!("http://fhir.openmrs.org/ext/address#address{number}"),
                    "valueString": value })
            })
        };
        let lines = [line(1), line(2)].into_iter().flatten().collect::<Vec<_>>();
        let lines = (!lines.is_empty())
            .then(|| json!([{ "url": "http://fhir.openmrs.org/ext/address", "extension": lines }]));
        json!({
            "id": address["uuid"], "use": "home", "city": address["city_village"],
            "district": address["county_district"], "state": address["state_province"],
            "postalCode": address["postal_code"], "country": address["country"],
            "extension": lines,
        })
    });
    let addresses = addresses.collect::<Vec<_>>();
    let gender = match row["gender"].as_str() {
        Some("F") => "female",
        Some("M") => "male",
        Some("O") => "other",
        _ => "unknown",
    };
    let born = row["birthdate"].as_str().map(|day| match number(row, "birthdate_estimated") {
        0 => day.to_owned(),
        _ => day[..4].to_owned(),
    });
    json!({ "name": names, "address": addresses, "gender": gender, "birthDate": born })
}

fn patient(state: &mut State, row: &Row) -> Value {
    let key = row["person_id"].clone();
    let mut value = person(state, row);
    value["active"] = json!(true);
    match row["death_date"].as_str() {
        Some(time) => value["deceasedDateTime"] = json!(instant(time)),
        None => value["deceasedBoolean"] = json!(number(row, "dead") != 0),
    }
    let mut identifiers = Vec::new();
    for one in state.tables.rows("patient_identifier", Some(("patient_id", &key))) {
        if number(&one, "voided") != 0 {
            continue;
        }
        let kind = state.by_key("patient_identifier_type", &one["identifier_type"]).unwrap();
        let place = state.by_key("location", &one["location_id"]);
        let place = place.map(|place| {
            json!([{ "url": "http://fhir.openmrs.org/ext/patient/identifier#location",
                "valueReference": {
                    "reference": format!("Location/{}", place["uuid"].as_str().unwrap()),
                } }])
        });
        identifiers.push(json!({
            "id": one["uuid"], "value": one["identifier"], "extension": place,
            "use": if number(&one, "preferred") != 0 { "official" } else { "usual" },
            "type": { "coding": [{ "code": kind["uuid"] }], "text": kind["name"] },
        }));
    }
    value["identifier"] = json!(identifiers);
    value
}

fn visit(state: &mut State, row: &Row) -> Value {
    let kind = state.by_key("visit_type", &row["visit_type_id"]);
    json!({
        "meta": { "tag": [{ "system": "http://fhir.openmrs.org/ext/encounter-tag",
            "code": "visit", "display": "Visit" }] },
        "status": "unknown", "class": class(), "subject": subject(state, &row["patient_id"]),
        "type": kind.map(|kind| json!([{ "coding": [{
            "system": "http://fhir.openmrs.org/code-system/visit-type", "code": kind["uuid"],
            "display": kind["name"],
        }] }])),
        "period": { "start": time(&row["date_started"]), "end": time(&row["date_stopped"]) },
        "location": place(state, &row["location_id"]),
    })
}

fn encounter(state: &mut State, row: &Row) -> Value {
    let kind = state.by_key("encounter_type", &row["encounter_type"]);
    let visit = state.by_key("visit", &row["visit_id"]);
    let mut participants = Vec::new();
    for one in state.tables.rows("encounter_provider", Some(("encounter_id", &row["encounter_id"])))
    {
        if number(&one, "voided") == 0 {
            participants.push(json!({
                "individual": reference(state, "Practitioner", "provider", &one["provider_id"]),
            }));
        }
    }
    json!({
        "meta": { "tag": [{ "system": "http://fhir.openmrs.org/ext/encounter-tag",
            "code": "encounter", "display": "Encounter" }] },
        "status": "unknown", "class": class(), "subject": subject(state, &row["patient_id"]),
        "type": kind.map(|kind| json!([{ "coding": [{
            "system": "http://fhir.openmrs.org/code-system/encounter-type",
            "code": kind["uuid"], "display": kind["name"],
        }] }])),
        "partOf": visit.map(|visit| json!({
            "reference": format!("Encounter/{}", visit["uuid"].as_str().unwrap()),
        })),
        "period": { "start": time(&row["encounter_datetime"]) },
        "participant": participants, "location": place(state, &row["location_id"]),
    })
}

fn class() -> Value {
    json!({ "system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB" })
}

fn observation(state: &mut State, row: &Row) -> Value {
    let members = state.tables.rows("obs", Some(("obs_group_id", &row["obs_id"])));
    let members = members.iter().filter(|one| number(one, "voided") == 0);
    let members = members.map(
        |one| json!({ "reference": format!("Observation/{}", one["uuid"].as_str().unwrap()) }),
    );
    let members = members.collect::<Vec<_>>();
    let coded = (!row["value_coded"].is_null()).then(|| concept(state, &row["value_coded"]));
    let number = (!row["value_numeric"].is_null()).then(|| {
        let numeric = state.by_key("concept_numeric", &row["concept_id"]);
        match numeric.map(|numeric| numeric["units"].clone()) {
            Some(units) => json!({ "value": row["value_numeric"], "unit": units }),
            None => json!({ "value": row["value_numeric"] }),
        }
    });
    json!({
        "status": row["status"].as_str().map_or("final".to_owned(), str::to_ascii_lowercase),
        "code": concept(state, &row["concept_id"]), "subject": subject(state, &row["person_id"]),
        "encounter": reference(state, "Encounter", "encounter", &row["encounter_id"]),
        "effectiveDateTime": time(&row["obs_datetime"]), "hasMember": members,
        "valueCodeableConcept": coded, "valueQuantity": number, "valueString": row["value_text"],
        "valueDateTime": time(&row["value_datetime"]),
        "note": row["comments"].as_str().map(|text| json!([{ "text": text }])),
        "issued": time(&row["date_created"]),
    })
}

fn condition(state: &mut State, row: &Row) -> Value {
    let code = |system: &str, code: Option<&str>| {
        code.map(|code| json!({ "coding": [{ "system": system, "code": code }] }))
    };
    let lower = |name: &str| row[name].as_str().map(str::to_ascii_lowercase);
    json!({
        "category": [{ "coding": [{ "code": "problem-list-item" }] }],
        "subject": subject(state, &row["patient_id"]),
        "code": concept(state, &row["condition_coded"]),
        "extension": non_coded(&row["condition_non_coded"]),
        "clinicalStatus": code(
            "http://terminology.hl7.org/CodeSystem/condition-clinical",
            lower("clinical_status").as_deref(),
        ),
        "verificationStatus": code(
            "http://terminology.hl7.org/CodeSystem/condition-ver-status",
            lower("verification_status").as_deref(),
        ),
        "onsetDateTime": time(&row["onset_date"]), "abatementDateTime": time(&row["end_date"]),
    })
}

fn diagnosis(state: &mut State, row: &Row) -> Value {
    let certainty = row["certainty"].as_str().map(str::to_ascii_lowercase);
    json!({
        "category": [{ "coding": [{ "code": "encounter-diagnosis" }] }],
        "subject": subject(state, &row["patient_id"]),
        "encounter": reference(state, "Encounter", "encounter", &row["encounter_id"]),
        "code": concept(state, &row["diagnosis_coded"]),
        "clinicalStatus": { "coding": [{ "code": "unknown" }] },
        "verificationStatus": { "coding": [{ "code": certainty }] },
        "extension": [{
            "url": "http://fhir.openmrs.org/R4/StructureDefinition/diagnosis-rank",
            "valueInteger": row["dx_rank"],
        }],
    })
}

fn allergy(state: &mut State, row: &Row) -> Value {
    let mut shown = Vec::new();
    for one in state.tables.rows("allergy_reaction", Some(("allergy_id", &row["allergy_id"]))) {
        shown.push(concept(state, &one["reaction_concept_id"]));
    }
    let category = match row["allergen_type"].as_str() {
        Some("DRUG") => Some("medication"),
        Some("FOOD") => Some("food"),
        Some("ENVIRONMENT") => Some("environment"),
        _ => None,
    };
    let severity = state.by_key("concept", &row["severity_concept_id"]);
    let severity = severity.and_then(|concept| match concept["code"].as_str() {
        Some("1498") => Some("mild"),
        Some("1499") => Some("moderate"),
        Some("1500") => Some("severe"),
        _ => None,
    });
    json!({
        "category": [category], "patient": subject(state, &row["patient_id"]),
        "code": concept(state, &row["coded_allergen"]),
        "reaction": [{ "severity": severity, "manifestation": shown }],
        "note": row["comments"].as_str().map(|text| json!([{ "text": text }])),
    })
}

fn order(state: &mut State, row: &Row) -> Value {
    let drug = state.tables.rows("drug_order", Some(("order_id", &row["order_id"]))).pop();
    let code = concept(state, &row["concept_id"]);
    let dosage = drug.as_ref().map(|drug| json!([{ "text": drug["dosing_instructions"] }]));
    let member = if drug.is_some() { "medicationCodeableConcept" } else { "code" };
    let status = if row["date_stopped"].is_null() { "active" } else { "stopped" };
    let mut value = json!({
        "status": status, "intent": "order", "subject": subject(state, &row["patient_id"]),
        "encounter": reference(state, "Encounter", "encounter", &row["encounter_id"]),
        "requester": reference(state, "Practitioner", "provider", &row["orderer"]),
        "authoredOn": time(&row["date_activated"]), "dosageInstruction": dosage,
        "priority": row["urgency"].as_str().map(str::to_ascii_lowercase),
    });
    value[member] = code;
    value
}

fn episode(state: &mut State, row: &Row) -> Value {
    let program = state.by_key("program", &row["program_id"]).unwrap();
    let status = if row["date_completed"].is_null() { "active" } else { "finished" };
    json!({
        "status": status, "patient": subject(state, &row["patient_id"]),
        "type": [concept(state, &program["concept_id"])],
        "period": { "start": time(&row["date_enrolled"]), "end": time(&row["date_completed"]) },
    })
}

fn practitioner(state: &mut State, row: &Row) -> Value {
    let own = state.by_key("person", &row["person_id"]);
    let mut value = own.map_or_else(|| json!({}), |own| person(state, &own));
    value["identifier"] = json!([{ "value": row["identifier"] }]);
    value["active"] = json!(true);
    value
}

fn location(state: &mut State, row: &Row) -> Value {
    json!({
        "status": "active", "name": row["name"], "description": row["description"],
        "address": { "city": row["city_village"], "country": row["country"] },
        "partOf": reference(state, "Location", "location", &row["parent_location"]),
    })
}

fn subject(state: &mut State, key: &Value) -> Value {
    reference(state, "Patient", "person", key)
}

fn place(state: &mut State, key: &Value) -> Value {
    match reference(state, "Location", "location", key) {
        Value::Null => Value::Null,
        place => json!([{ "location": place }]),
    }
}

fn reference(state: &mut State, kind: &str, name: &str, key: &Value) -> Value {
    match state.by_key(name, key) {
        Some(row) => {
            let uuid = row["uuid"].as_str().unwrap();
            json!({ "reference": format!("{kind}/{uuid}"), "type": kind })
        }
        None => Value::Null,
    }
}

/// A concept with its own uuid and its code in its source.
fn concept(state: &mut State, key: &Value) -> Value {
    let Some(row) = state.by_key("concept", key) else { return Value::Null };
    let mut codings = vec![json!({ "code": row["uuid"], "display": row["name"] })];
    if let Some(source) = row["source"].as_str() {
        let system = match source {
            "LOINC" => "http://loinc.org",
            _ => "https://cielterminology.org",
        };
        codings.push(json!({ "system": system, "code": row["code"] }));
    }
    json!({ "coding": codings, "text": row["name"] })
}

fn non_coded(value: &Value) -> Value {
    match value {
        Value::Null => Value::Null,
        text => json!([{ "url": "http://fhir.openmrs.org/ext/non-coded-condition",
            "valueString": text }]),
    }
}

fn time(value: &Value) -> Option<String> {
    value.as_str().map(instant)
}

/// A time of the database as fhir2 writes it.
fn instant(time: &str) -> String {
    format!("{}+00:00", time.replace(' ', "T"))
}
