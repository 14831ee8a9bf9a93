//! Encounter: a visit of OpenMRS, or an encounter in one. Pure.

use protocol::RecordRef;
use serde_json::{Value, json};

use super::element::{Fields, items, moment, needed, referred, set, text};
use super::known::{Meta, Names, Need, Stop};
use super::shape::{Item, List, Shape};

/// The systems that fhir2 gives the types.
const VISIT_TYPE: &str = "http://fhir.openmrs.org/code-system/visit-type";
/// The role that OpenMRS has from its beginning for who did something or other.
const UNKNOWN_ROLE: &str = "a0b03050-c99b-11e0-9572-0800200c9a66";

/// Whether it is a visit: fhir2 says so in a tag and in the type's system.
pub(super) fn is_visit(encounter: &Value) -> bool {
    let tags = encounter.pointer("/meta/tag").and_then(Value::as_array);
    let tag = tags.into_iter().flatten().find(|tag| {
        text(tag, "/system").is_some_and(|system| system.ends_with("/ext/encounter-tag"))
    });
    if let Some(code) = tag.and_then(|tag| text(tag, "/code")) {
        return code.eq_ignore_ascii_case("visit");
    }
    let mut codings = items(encounter, "type").iter().flat_map(|kind| items(kind, "coding"));
    codings.any(|coding| text(coding, "/system") == Some(VISIT_TYPE))
}

pub(super) fn shape(
    record: &RecordRef,
    encounter: &Value,
    names: &Names<'_>,
) -> Result<Shape, Stop> {
    let subject = needed(referred(encounter, "/subject"), "a patient")?;
    let subject = names.record(&subject)?;
    let place = referred(encounter, "/location/0/location");
    let place = place.map(|place| names.record(&place)).transpose()?;
    let start = text(encounter, "/period/start").or_else(|| text(encounter, "/period/end"));
    let start = start.map(moment);
    if is_visit(encounter) {
        let mut shape = Shape::at("visit", record.id());
        shape.once.insert("patient".to_owned(), json!(subject));
        let keys = type_keys(encounter);
        set(&mut shape.fields, "visitType", Some(names.uuid(Need::Meta(Meta::VisitType, keys))?));
        set(&mut shape.fields, "startDatetime", start);
        set(&mut shape.fields, "stopDatetime", text(encounter, "/period/end").map(moment));
        set(&mut shape.fields, "location", place);
        return Ok(shape);
    }
    let mut shape = Shape::at("encounter", record.id());
    shape.once.insert("patient".to_owned(), json!(subject));
    let keys = type_keys(encounter);
    let kind = names.uuid(Need::Meta(Meta::EncounterType, keys))?;
    let visit = referred(encounter, "/partOf").map(|visit| names.record(&visit)).transpose()?;
    set(&mut shape.fields, "encounterType", Some(kind));
    set(&mut shape.fields, "encounterDatetime", Some(needed(start, "a time (period.start)")?));
    set(&mut shape.fields, "location", place);
    set(&mut shape.fields, "visit", visit);
    shape.lists = vec![providers(record.id(), encounter, names)?];
    Ok(shape)
}

fn providers(id: &str, encounter: &Value, names: &Names<'_>) -> Result<List, Stop> {
    let mut rows = Vec::new();
    for participant in items(encounter, "participant") {
        let Some(who) = referred(participant, "/individual") else { continue };
        if who.kind.name() != "Practitioner" {
            continue;
        }
        let keys = vec!["participant".to_owned(), UNKNOWN_ROLE.to_owned()];
        let mut fields = Fields::new();
        set(&mut fields, "provider", Some(names.record(&who)?));
        set(&mut fields, "encounterRole", Some(names.uuid(Need::Meta(Meta::EncounterRole, keys))?));
        rows.push(Item { uuid: None, fields });
    }
    let path = format!("encounter/{id}/encounterprovider");
    Ok(List { member: "encounterProviders", path, of_person: false, items: rows })
}

/// The providers as OpenMRS has them with their uuids, which fhir2 does not show: what is not in
/// `image` any more can be taken away there only by its uuid.
pub(super) fn with_uuids(image: &mut Shape, record: &RecordRef, names: &Names<'_>) {
    let Some(list) = image.lists.iter_mut().find(|list| list.member == "encounterProviders") else {
        return;
    };
    let path = format!(
        "encounter/{}?v=custom:(encounterProviders:(uuid,voided,provider:(uuid),\
         encounterRole:(uuid)))",
        record.id()
    );
    let rows = names.rows(path);
    let rows = items(&rows, "encounterProviders").iter();
    let rows = rows.filter(|row| row["voided"] != json!(true)).filter_map(|row| {
        let mut fields = Fields::new();
        set(&mut fields, "provider", text(row, "/provider/uuid"));
        set(&mut fields, "encounterRole", text(row, "/encounterRole/uuid"));
        Some(Item { uuid: Some(text(row, "/uuid")?.to_owned()), fields })
    });
    list.items = rows.collect();
}

/// By what a type may be known: the codes of its codings, its text, or the class of the encounter
/// where it has no type.
fn type_keys(encounter: &Value) -> Vec<String> {
    let mut keys = Vec::new();
    for kind in items(encounter, "type") {
        let codes = items(kind, "coding").iter().filter_map(|coding| text(coding, "/code"));
        keys.extend(codes.map(str::to_owned));
        keys.extend(text(kind, "/text").map(str::to_owned));
    }
    if keys.is_empty() {
        let class = text(encounter, "/class/code").unwrap_or("none");
        keys.push(format!("class {class}"));
    }
    keys
}
