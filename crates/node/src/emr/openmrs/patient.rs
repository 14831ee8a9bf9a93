//! Patient: a person with identifiers. Pure.

use protocol::RecordRef;
use serde_json::{Value, json};

use super::element::{EXTENSION, Fields, extension, fits, items, referred, set, text};
use super::known::{Meta, Names, Need, Stop};
use super::person;
use super::shape::{Item, List, Shape};

/// Characters of an identifier.
const IDENTIFIER: usize = 50;

/// Whether a patient says that another one's file goes on in its place.
pub(super) fn is_replaced(patient: &Value) -> bool {
    items(patient, "link").iter().any(|link| text(link, "/type") == Some("replaced-by"))
}

pub(super) fn shape(record: &RecordRef, patient: &Value, names: &Names<'_>) -> Result<Shape, Stop> {
    let id = record.id();
    let path = format!("person/{id}");
    let mut shape = Shape::at("patient", id);
    shape.edit = path.clone();
    shape.person = Some("person");
    person::columns(patient, &mut shape.fields);
    person::death(patient, &mut shape.fields);
    let own = person::names(patient, &path)?;
    if own.items.is_empty() {
        return Err(Stop::Kept("OpenMRS holds no patient without a name".to_owned()));
    }
    shape.lists = vec![
        own,
        person::addresses(patient, &path)?,
        person::attributes(patient, &path, names)?,
        identifiers(id, patient, names)?,
    ];
    Ok(shape)
}

fn identifiers(id: &str, patient: &Value, names: &Names<'_>) -> Result<List, Stop> {
    let all = items(patient, "identifier");
    let official = all.iter().position(|one| text(one, "/use") == Some("official"));
    let mut rows = Vec::new();
    for (index, identifier) in all.iter().enumerate() {
        let Some(value) = text(identifier, "/value") else { continue };
        fits("an identifier", value, IDENTIFIER)?;
        let kind = names.uuid(Need::Meta(Meta::IdentifierType, type_keys(identifier)))?;
        let place = extension(identifier, &format!("{EXTENSION}/patient/identifier#location"));
        let place = place.and_then(|place| referred(place, "/valueReference"));
        let location = match place {
            Some(place) => Some(names.record(&place)?),
            None => names.perhaps(Need::Meta(Meta::Location, vec!["default".to_owned()]))?,
        };
        let mut fields = Fields::new();
        set(&mut fields, "identifier", Some(value));
        set(&mut fields, "identifierType", Some(kind));
        set(&mut fields, "location", location);
        let preferred = index == official.unwrap_or(0);
        fields.insert("preferred".to_owned(), json!(preferred));
        rows.push(Item { uuid: person::own_id(identifier), fields });
    }
    if rows.is_empty() {
        return Err(Stop::Kept("OpenMRS holds no patient without an identifier".to_owned()));
    }
    let path = format!("patient/{id}/identifier");
    Ok(List { member: "identifiers", path, of_person: false, items: rows })
}

/// By what an identifier's type may be known: the uuid that fhir2 gives as its code, its name,
/// its system.
fn type_keys(identifier: &Value) -> Vec<String> {
    let kind = &identifier["type"];
    let codes = items(kind, "coding").iter().filter_map(|coding| text(coding, "/code"));
    let mut keys = codes.map(str::to_owned).collect::<Vec<_>>();
    keys.extend(text(kind, "/text").map(str::to_owned));
    keys.extend(text(identifier, "/system").map(str::to_owned));
    if keys.is_empty() {
        keys.push("unnamed".to_owned());
    }
    keys
}
