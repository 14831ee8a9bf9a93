//! MedicationDispense, Immunization, RelatedPerson, EpisodeOfCare, Practitioner, Location. Pure.

use protocol::RecordRef;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::element::{ciel, concept, fits, items, moment, needed, referred, set, text};
use super::known::{Meta, Names, Need, Stop};
use super::shape::{Item, List, Shape};
use super::{order, person};

/// Characters of a location's name, and of its description.
const NAME: usize = 255;

pub(super) fn dispense(
    record: &RecordRef,
    given: &Value,
    names: &Names<'_>,
) -> Result<Shape, Stop> {
    let mut shape = Shape::at("medicationdispense", record.id());
    let patient = names.record(&needed(referred(given, "/subject"), "a patient")?)?;
    shape.once.insert("patient".to_owned(), json!(patient));
    for (member, pointer) in [
        ("encounter", "/context"),
        ("drugOrder", "/authorizingPrescription/0"),
        ("location", "/location"),
        ("dispenser", "/performer/0/actor"),
    ] {
        let named = referred(given, pointer).map(|named| names.record(&named)).transpose()?;
        set(&mut shape.fields, member, named);
    }
    let status = needed(text(given, "/status"), "a status")?.to_owned();
    let system = "http://terminology.hl7.org/CodeSystem/medicationdispense-status".to_owned();
    let status = names.uuid(Need::Concept(vec![(Some(system), status)]))?;
    set(&mut shape.fields, "status", Some(status));
    order::medicine(given, names, &mut shape)?;
    let quantity = given.get("quantity");
    order::measure(&mut shape.fields, ["quantity", "quantityUnits"], quantity, names)?;
    set(&mut shape.fields, "datePrepared", text(given, "/whenPrepared").map(moment));
    set(&mut shape.fields, "dateHandedOver", text(given, "/whenHandedOver").map(moment));
    let substituted = given.pointer("/substitution/wasSubstituted").cloned();
    set(&mut shape.fields, "wasSubstituted", substituted);
    Ok(shape)
}

const IMMUNIZATION_FIXED: &str = "OpenMRS holds an immunization as observations, which get new \
                                  ids when they are edited: the edit is kept here and not \
                                  written there";

/// An immunization is a group of observations by concepts of CIEL.
pub(super) fn immunization(
    record: &RecordRef,
    given: &Value,
    names: &Names<'_>,
) -> Result<Shape, Stop> {
    let mut shape = Shape::at("obs", record.id());
    shape.fixed = Some(IMMUNIZATION_FIXED);
    let patient = names.record(&needed(referred(given, "/patient"), "a patient")?)?;
    let encounter = names.record(&needed(referred(given, "/encounter"), "an encounter")?)?;
    let when = moment(needed(text(given, "/occurrenceDateTime"), "a time")?);
    shape.once.insert("person".to_owned(), json!(patient));
    shape.once.insert("encounter".to_owned(), json!(encounter));
    shape.once.insert("obsDatetime".to_owned(), json!(when));
    shape.once.insert("concept".to_owned(), json!(ciel("1421", names)?));
    let vaccine = needed(concept(&given["vaccineCode"], names)?, "a vaccine's code")?;
    let dose = given.pointer("/protocolApplied/0/doseNumberPositiveInt").cloned();
    let members = [
        ("984", Some(json!(vaccine))),
        ("1410", Some(json!(when))),
        ("1418", dose),
        ("1419", text(given, "/manufacturer/display").map(|maker| json!(maker))),
        ("1420", text(given, "/lotNumber").map(|lot| json!(lot))),
        ("165907", text(given, "/expirationDate").map(|day| json!(moment(day)))),
    ];
    let mut rows = Vec::new();
    for (code, value) in members {
        let Some(value) = value else { continue };
        rows.push(json!({
            "person": patient, "encounter": encounter, "obsDatetime": when,
            "concept": ciel(code, names)?, "value": value,
        }));
    }
    shape.fields.insert("groupMembers".to_owned(), Value::Array(rows));
    Ok(shape)
}

/// A relation is a person of its own and a relationship to the patient.
pub(super) fn related(record: &RecordRef, who: &Value, names: &Names<'_>) -> Result<Shape, Stop> {
    let patient = names.record(&needed(referred(who, "/patient"), "a patient")?)?;
    let own = items(who, "identifier").iter().find_map(|identifier| {
        text(identifier, "/value")?.strip_prefix("Person/").map(str::to_owned)
    });
    let own = own.filter(|id| person::is_uuid(id)).unwrap_or_else(|| person_of(record));
    let kind = &who["relationship"];
    let kind = kind.as_array().into_iter().flatten().flat_map(|kind| {
        let codes = items(kind, "coding").iter().filter_map(|coding| text(coding, "/code"));
        codes.chain(text(kind, "/text")).map(str::to_owned).collect::<Vec<_>>()
    });
    let mut keys = kind.collect::<Vec<_>>();
    keys.push("default".to_owned());
    let mut shape = Shape::at("relationship", record.id());
    let kind = names.uuid(Need::Meta(Meta::RelationshipType, keys))?;
    for (name, value) in [("personA", &own), ("personB", &patient), ("relationshipType", &kind)] {
        shape.once.insert(name.to_owned(), json!(value));
    }
    set(&mut shape.fields, "startDate", text(who, "/period/start").map(moment));
    set(&mut shape.fields, "endDate", text(who, "/period/end").map(moment));
    let mut being = Shape::at("person", &own);
    person::columns(who, &mut being.fields);
    let path = format!("person/{own}");
    being.lists = vec![
        person::names(who, &path)?,
        person::addresses(who, &path)?,
        person::attributes(who, &path, names)?,
    ];
    if being.lists[0].items.is_empty() {
        return Err(Stop::Kept("OpenMRS holds no person without a name".to_owned()));
    }
    shape.before = vec![being];
    Ok(shape)
}

/// The uuid of the person of a relation that has none: the same at all sites.
fn person_of(record: &RecordRef) -> String {
    let hash = Sha256::digest(format!("the person of {record}"));
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}

pub(super) fn episode(record: &RecordRef, care: &Value, names: &Names<'_>) -> Result<Shape, Stop> {
    let mut shape = Shape::at("programenrollment", record.id());
    let patient = names.record(&needed(referred(care, "/patient"), "a patient")?)?;
    let kind = items(care, "type").first().unwrap_or(&Value::Null);
    let codes = items(kind, "coding").iter().filter_map(|coding| text(coding, "/code"));
    let keys = codes.chain(text(kind, "/text")).map(str::to_owned).collect::<Vec<_>>();
    let keys = needed((!keys.is_empty()).then_some(keys), "a type (its program)")?;
    let program = names.uuid(Need::Meta(Meta::Program, keys))?;
    shape.once.insert("patient".to_owned(), json!(patient));
    shape.once.insert("program".to_owned(), json!(program));
    let start = needed(text(care, "/period/start"), "a beginning (period.start)")?;
    set(&mut shape.fields, "dateEnrolled", Some(moment(start)));
    set(&mut shape.fields, "dateCompleted", text(care, "/period/end").map(moment));
    Ok(shape)
}

pub(super) fn practitioner(
    record: &RecordRef,
    who: &Value,
    names: &Names<'_>,
    image: bool,
) -> Result<Shape, Stop> {
    let id = record.id();
    let mut shape = Shape::at("provider", id);
    let identifier = items(who, "identifier").iter().find_map(|one| text(one, "/value"));
    shape.once.extend(identifier.map(|value| ("identifier".to_owned(), json!(value))));
    // fhir2 does not show whose row the names are in.
    let being = match image {
        true => names.rows(format!("provider/{id}?v=custom:(person:(uuid))")),
        false => Value::Null,
    };
    let path = format!("person/{}", text(&being, "/person/uuid").unwrap_or_default());
    shape.person = Some("person");
    shape.edit = path.clone();
    person::columns(who, &mut shape.fields);
    shape.lists = vec![
        person::names(who, &path)?,
        person::addresses(who, &path)?,
        List { member: "attributes", path, of_person: true, items: Vec::<Item>::new() },
    ];
    if shape.lists[0].items.is_empty() {
        return Err(Stop::Kept("OpenMRS holds no provider without a name".to_owned()));
    }
    Ok(shape)
}

pub(super) fn location(
    record: &RecordRef,
    place: &Value,
    names: &Names<'_>,
) -> Result<Shape, Stop> {
    let mut shape = Shape::at("location", record.id());
    let name = needed(text(place, "/name"), "a name")?;
    fits("the location's name", name, NAME)?;
    fits("the location's description", text(place, "/description").unwrap_or_default(), NAME)?;
    set(&mut shape.fields, "name", Some(name));
    set(&mut shape.fields, "description", text(place, "/description"));
    shape.fields.extend(person::address_columns(&place["address"])?);
    for axis in ["latitude", "longitude"] {
        let degrees = place.pointer(&format!("/position/{axis}")).map(Value::to_string);
        set(&mut shape.fields, axis, degrees);
    }
    let parent = referred(place, "/partOf").map(|parent| names.record(&parent)).transpose()?;
    set(&mut shape.fields, "parentLocation", parent);
    Ok(shape)
}
