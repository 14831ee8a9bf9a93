//! What patients, providers and relations have in common: the person. Pure.

use serde_json::{Value, json};

use super::element::{EXTENSION, Fields, extension, fits, items, moment, set, text};
use super::known::{Meta, Names, Need, Stop};
use super::shape::{Item, List};

/// Columns of an address, by the element that each comes from.
const ADDRESS: [(&str, &str); 5] = [
    ("/city", "cityVillage"),
    ("/district", "countyDistrict"),
    ("/state", "stateProvince"),
    ("/postalCode", "postalCode"),
    ("/country", "country"),
];
/// Lines of an address that OpenMRS has.
const LINES: usize = 15;
/// Characters of a name, and of a line of an address.
const NAME: usize = 50;
const LINE: usize = 255;
/// What a name has beyond FHIR, as fhir2 shows it.
const NAME_EXTRAS: [&str; 5] =
    ["prefix", "familyNamePrefix", "familyName2", "familyNameSuffix", "degree"];

/// The columns of a person.
pub(super) fn columns(resource: &Value, fields: &mut Fields) {
    let gender = text(resource, "/gender").map(|gender| match gender {
        "female" => "F",
        "male" => "M",
        "other" => "O",
        _ => "U",
    });
    set(fields, "gender", gender);
    let born = text(resource, "/birthDate");
    set(fields, "birthdate", born.map(moment));
    let estimated = born.is_some_and(|date| date.len() < 10);
    fields.insert("birthdateEstimated".to_owned(), json!(estimated));
}

/// The columns that say whether a person is dead.
pub(super) fn death(resource: &Value, fields: &mut Fields) {
    let when = text(resource, "/deceasedDateTime");
    let dead = when.is_some() || resource["deceasedBoolean"] == json!(true);
    fields.insert("dead".to_owned(), json!(dead));
    set(fields, "deathDate", when.map(moment));
}

/// The names, below the person's path.
pub(super) fn names(resource: &Value, person: &str) -> Result<List, Stop> {
    let names = items(resource, "name");
    let official = names.iter().position(|name| text(name, "/use") == Some("official"));
    let mut rows = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let given = items(name, "given").iter().filter_map(Value::as_str).collect::<Vec<_>>();
        let middle = given.get(1..).filter(|rest| !rest.is_empty()).map(|rest| rest.join(" "));
        let mut fields = Fields::new();
        set(&mut fields, "givenName", given.first().copied());
        set(&mut fields, "middleName", middle);
        set(&mut fields, "familyName", text(name, "/family"));
        let extras = extension(name, &format!("{EXTENSION}/name"));
        for extra in NAME_EXTRAS {
            let url = format!("{EXTENSION}/name#{extra}");
            let value = extras.and_then(|extras| extension(extras, &url));
            set(&mut fields, extra, value.and_then(|value| text(value, "/valueString")));
        }
        for (column, value) in &fields {
            fits(&format!("the name's {column}"), value.as_str().unwrap_or_default(), NAME)?;
        }
        fields.insert("preferred".to_owned(), json!(index == official.unwrap_or(0)));
        rows.push(Item { uuid: own_id(name), fields });
    }
    Ok(List { member: "names", path: format!("{person}/name"), of_person: true, items: rows })
}

/// The addresses, below the person's path.
pub(super) fn addresses(resource: &Value, person: &str) -> Result<List, Stop> {
    let mut rows = Vec::new();
    for address in items(resource, "address") {
        let fields = address_columns(address)?;
        rows.push(Item { uuid: own_id(address), fields });
    }
    let path = format!("{person}/address");
    Ok(List { member: "addresses", path, of_person: true, items: rows })
}

/// The columns of one address, of a person or a location.
pub(super) fn address_columns(address: &Value) -> Result<Fields, Stop> {
    let mut fields = Fields::new();
    for (element, column) in ADDRESS {
        set(&mut fields, column, text(address, element));
    }
    let extras = extension(address, &format!("{EXTENSION}/address"));
    let lines = items(address, "line");
    if lines.len() > LINES {
        return Err(Stop::Refused(format!("an address has more than {LINES} lines")));
    }
    for number in 1..=LINES {
        let url = format!("{EXTENSION}/address#address{number}");
        let extra = extras.and_then(|extras| extension(extras, &url));
        let extra = extra.and_then(|one| text(one, "/valueString"));
        // fhir2 shows lines in its extension; others write them as FHIR has them.
        let line = extra.or_else(|| lines.get(number - 1).and_then(Value::as_str));
        if line.is_some() {
            set(&mut fields, &format!("address{number}"), line);
        }
    }
    for (column, value) in &fields {
        fits(&format!("the address's {column}"), value.as_str().unwrap_or_default(), LINE)?;
    }
    Ok(fields)
}

/// Telephone numbers and the like: attributes of the one type that this OpenMRS has for them.
pub(super) fn attributes(resource: &Value, person: &str, names: &Names<'_>) -> Result<List, Stop> {
    let mut rows = Vec::new();
    for contact in items(resource, "telecom") {
        let Some(value) = text(contact, "/value") else { continue };
        let system = text(contact, "/system").unwrap_or("other");
        let keys = vec![system.to_owned(), "telecom".to_owned()];
        // Without such a type the number is kept by us, and the person is written without it.
        let Some(kind) = names.perhaps(Need::Meta(Meta::AttributeType, keys))? else { continue };
        let mut fields = Fields::new();
        set(&mut fields, "attributeType", Some(kind));
        set(&mut fields, "value", Some(value));
        rows.push(Item { uuid: own_id(contact), fields });
    }
    let path = format!("{person}/attribute");
    Ok(List { member: "attributes", path, of_person: true, items: rows })
}

/// The uuid of a row, which is the id of its element.
pub(super) fn own_id(element: &Value) -> Option<String> {
    text(element, "/id").filter(|id| is_uuid(id)).map(str::to_owned)
}

/// Whether OpenMRS can take a text as a uuid: its column has 38 characters.
pub(super) fn is_uuid(id: &str) -> bool {
    (1..=38).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}
