//! The records of a world, and how they are changed: small FHIR resources whose values are
//! tokens, so that each write can be followed wherever it goes.

use serde_json::{Map, Value, json};

use crate::chance::SeededEntropy;

/// A value that is written once in the life of a world.
pub(crate) type Token = u64;

/// The types of which a patient's records are made, one as often as the other.
pub(crate) const MADE: [&str; 4] =
    ["Encounter", "Observation", "AllergyIntolerance", "MedicationRequest"];
/// The types that are edited, patients twice as often as each other one.
pub(crate) const EDITED: [&str; 6] =
    ["Patient", "Patient", "Observation", "Encounter", "AllergyIntolerance", "MedicationRequest"];

/// The token as it stands in a record.
pub(crate) fn text_of(token: Token) -> String {
    format!("tk{token:07}")
}

/// All tokens in a text, in their order.
pub(crate) fn tokens_in(text: &str) -> Vec<Token> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("tk") {
        let digits = text.get(at + 2..at + 9).filter(|d| d.bytes().all(|b| b.is_ascii_digit()));
        found.extend(digits.and_then(|digits| digits.parse::<Token>().ok()));
    }
    found
}

/// Gives the next token.
pub(crate) type Fresh<'a> = &'a mut dyn FnMut() -> Token;

/// A new patient of an organization.
pub(crate) fn patient(id: &str, place: &str, fresh: Fresh<'_>) -> Value {
    json!({
        "resourceType": "Patient", "id": id, "active": true, "gender": "unknown",
        "managingOrganization": {"reference": format!("Organization/{place}")},
        "name": [{"use": "official", "family": text_of(fresh())}],
        "identifier": [{"system": "urn:sys:a", "value": text_of(fresh())}],
        "address": [{"use": "home", "country": place, "city": text_of(fresh())}],
    })
}

/// A record of a patient, of any of a few types.
pub(crate) fn of_patient(
    kind: &str,
    id: &str,
    patient: &str,
    place: &str,
    fresh: Fresh<'_>,
) -> Value {
    let subject = json!({"reference": format!("Patient/{patient}")});
    let text = text_of(fresh());
    match kind {
        "Encounter" => json!({
            "resourceType": kind, "id": id, "status": "planned", "subject": subject,
            "class": {"code": "AMB"}, "reasonCode": [{"text": text}],
            "serviceProvider": {"reference": format!("Organization/{place}")},
        }),
        "AllergyIntolerance" => json!({
            "resourceType": kind, "id": id, "patient": subject, "code": {"text": text},
        }),
        "MedicationRequest" => json!({
            "resourceType": kind, "id": id, "status": "active", "intent": "order",
            "subject": subject, "medicationCodeableConcept": {"text": text},
        }),
        _ => json!({
            "resourceType": "Observation", "id": id, "status": "preliminary",
            "subject": subject, "code": {"text": "weight"}, "valueString": text,
        }),
    }
}

/// A reference record.
pub(crate) fn reference(kind: &str, id: &str, fresh: Fresh<'_>) -> Value {
    let text = text_of(fresh());
    match kind {
        "Practitioner" => json!({"resourceType": kind, "id": id, "name": [{"family": text}]}),
        _ => json!({"resourceType": "Location", "id": id, "name": text}),
    }
}

/// The Group of a place, with these members.
pub(crate) fn group(id: &str, members: &[String], fresh: Fresh<'_>) -> Value {
    let member = |id: &String| json!({"entity": {"reference": format!("Patient/{id}")}});
    json!({
        "resourceType": "Group", "id": id, "type": "person", "actual": true,
        "name": text_of(fresh()),
        "member": members.iter().map(member).collect::<Vec<_>>(),
    })
}

/// Changes one element of a record.
pub(crate) fn edit(record: &mut Value, chance: &SeededEntropy, fresh: Fresh<'_>) {
    let kind = record.get("resourceType").and_then(Value::as_str).unwrap_or("").to_owned();
    let Some(object) = record.as_object_mut() else { return };
    let token = text_of(fresh());
    match (kind.as_str(), chance.below(8)) {
        ("Patient", 0) => set_first(object, "name", "family", token),
        ("Patient", 1) => {
            append(object, "telecom", json!({"system": "phone", "value": token}));
        }
        ("Patient", 2) => set_first(object, "address", "city", token),
        ("Patient", 3) => {
            append(object, "identifier", json!({"system": "urn:sys:b", "value": token}));
        }
        ("Patient", 4) => {
            append(object, "contact", json!({"name": {"text": token}, "gender": "other"}));
        }
        ("Patient", 5) => {
            let name = format!("urn:x:{}", chance.below(3));
            extend(object, &name, &token);
        }
        ("Patient", 6) => {
            let gender = ["male", "female", "other", "unknown"][chance.place(4)];
            object.insert("gender".to_owned(), json!(gender));
            object.insert("language".to_owned(), json!(token));
        }
        ("Encounter", 0..=2) => append(object, "reasonCode", json!({"text": token})),
        ("Encounter", 3) => {
            let status = ["arrived", "in-progress", "finished"][chance.place(3)];
            object.insert("status".to_owned(), json!(status));
            object.insert("priority".to_owned(), json!({"text": token}));
        }
        ("AllergyIntolerance", 0..=2) => {
            append(object, "reaction", json!({"description": token}));
        }
        ("AllergyIntolerance", 3 | 4) => {
            object.insert("code".to_owned(), json!({"text": token}));
        }
        ("MedicationRequest", 0..=2) => {
            append(object, "dosageInstruction", json!({"text": token}));
        }
        ("Observation", 0..=2) => {
            object.insert("valueString".to_owned(), json!(token));
        }
        ("Location" | "Group", 0..=5) => {
            object.insert("name".to_owned(), json!(token));
        }
        ("Practitioner", 0..=3) => set_first(object, "name", "family", token),
        (_, 7) if chance.permille(400) => remove(object, chance, token),
        ("Patient" | "Practitioner" | "Location" | "Group", _) => {
            extend(object, &format!("urn:x:{}", chance.below(3)), &token);
        }
        _ => append(object, "note", json!({"text": token})),
    }
}

fn set_first(object: &mut Map<String, Value>, list: &str, name: &str, token: String) {
    let first = object.entry(list).or_insert_with(|| json!([{}]));
    if let Some(item) = first.get_mut(0).and_then(Value::as_object_mut) {
        item.insert(name.to_owned(), json!(token));
    } else {
        *first = json!([{name: token}]);
    }
}

fn append(object: &mut Map<String, Value>, list: &str, item: Value) {
    match object.entry(list).or_insert_with(|| json!([])) {
        Value::Array(items) => items.push(item),
        other => *other = json!([item]),
    }
}

/// An extension of this URL, once.
fn extend(object: &mut Map<String, Value>, url: &str, token: &str) {
    let list = object.entry("extension").or_insert_with(|| json!([]));
    let Some(items) = list.as_array_mut() else { return };
    items.retain(|item| item.get("url").and_then(Value::as_str) != Some(url));
    items.push(json!({"url": url, "valueString": token}));
}

/// Takes an item out of a list, and says so in an element of its own.
fn remove(object: &mut Map<String, Value>, chance: &SeededEntropy, token: String) {
    let lists = ["telecom", "identifier", "contact", "note", "reaction", "reasonCode"];
    let name = lists[chance.place(lists.len())];
    if let Some(items) = object.get_mut(name).and_then(Value::as_array_mut) {
        if !items.is_empty() {
            items.remove(chance.place(items.len()));
        }
        if items.is_empty() {
            object.remove(name);
        }
    }
    object.insert("implicitRules".to_owned(), json!(token));
}

/// Where each token of a record stands: the name of its outermost element.
pub(crate) fn elements(record: &Value) -> Vec<(Token, String)> {
    let Some(object) = record.as_object() else { return Vec::new() };
    let mut found = Vec::new();
    for (name, value) in object {
        found.extend(tokens_in(&value.to_string()).into_iter().map(|token| (token, name.clone())));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_edit_writes_its_token_once() {
        let mut next = 0;
        let mut fresh = || {
            next += 1;
            next
        };
        let kinds = ["Encounter", "AllergyIntolerance", "MedicationRequest", "Observation"];
        let mut records = kinds.map(|kind| of_patient(kind, "x", "p", "east", &mut fresh)).to_vec();
        records.push(patient("p", "east", &mut fresh));
        records.push(reference("Location", "l", &mut fresh));
        records.push(reference("Practitioner", "l", &mut fresh));
        records.push(group("g", &["p".to_owned()], &mut fresh));
        let chance = SeededEntropy::new(1, "edit");
        for record in &mut records {
            for _ in 0..100 {
                let before = fresh();
                edit(record, &chance, &mut || before);
                let found = tokens_in(&record.to_string());
                assert_eq!(found.iter().filter(|token| **token == before).count(), 1, "{record}");
            }
        }
    }
}
