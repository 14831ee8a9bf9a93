//! Observation: an obs, or a group of them. Pure.

use protocol::RecordRef;
use serde_json::{Value, json};

use super::element::{concept, fits, items, moment, needed, referred, set, text};
use super::known::{Names, Stop};
use super::shape::Shape;

/// Characters of a comment.
const COMMENT: usize = 255;
/// Characters of a text.
const TEXT: usize = 65_535;
/// Codes of interpretations, and what OpenMRS calls them.
const INTERPRETATIONS: [(&str, &str); 14] = [
    ("N", "NORMAL"),
    ("A", "ABNORMAL"),
    ("AA", "CRITICALLY_ABNORMAL"),
    ("<", "OFF_SCALE_LOW"),
    (">", "OFF_SCALE_HIGH"),
    ("L", "LOW"),
    ("LL", "CRITICALLY_LOW"),
    ("H", "HIGH"),
    ("HH", "CRITICALLY_HIGH"),
    ("NEG", "NEGATIVE"),
    ("POS", "POSITIVE"),
    ("S", "SUSCEPTIBLE"),
    ("R", "RESISTANT"),
    ("I", "INTERMEDIATE"),
];

/// Why a group is not edited: of an obs by itself it is known which one took its place.
const FIXED: &str = "OpenMRS makes a group of observations anew, with all its members, when it is \
                     edited: the edit is kept here and not written there";

/// Of what OpenMRS itself shows (`image`) the unit is its own.
pub(super) fn shape(
    record: &RecordRef,
    obs: &Value,
    image: bool,
    names: &Names<'_>,
) -> Result<Shape, Stop> {
    if obs.get("component").is_some() {
        let what = "OpenMRS has no place for components of an observation (members of a group are \
                    observations of their own there)";
        return Err(Stop::Kept(what.to_owned()));
    }
    let mut shape = Shape::at("obs", record.id());
    shape.fixed = Some(FIXED).filter(|_| !items(obs, "hasMember").is_empty());
    let subject = needed(referred(obs, "/subject"), "a patient")?;
    shape.once.insert("person".to_owned(), json!(names.record(&subject)?));
    if let Some(encounter) = referred(obs, "/encounter") {
        shape.once.insert("encounter".to_owned(), json!(names.record(&encounter)?));
    }
    let code = needed(concept(&obs["code"], names)?, "a coded question (code.coding)")?;
    if !image {
        same_unit(obs, &code, names)?;
    }
    set(&mut shape.fields, "concept", Some(code));
    let when = ["/effectiveDateTime", "/effectiveInstant", "/effectivePeriod/start", "/issued"];
    let when = when.iter().find_map(|at| text(obs, at));
    set(&mut shape.fields, "obsDatetime", Some(moment(needed(when, "a time")?)));
    let status = text(obs, "/status").map(|status| match status {
        "preliminary" | "registered" => "PRELIMINARY",
        "amended" | "corrected" => "AMENDED",
        _ => "FINAL",
    });
    set(&mut shape.fields, "status", status);
    if let Some(value) = value(obs, names)? {
        shape.fields.insert("value".to_owned(), value);
    } else if items(obs, "hasMember").is_empty() {
        return Err(Stop::Kept("OpenMRS holds no observation without a value".to_owned()));
    }
    let comment = obs.pointer("/note/0").and_then(|note| text(note, "/text"));
    fits("the observation's note", comment.unwrap_or_default(), COMMENT)?;
    set(&mut shape.fields, "comment", comment);
    let codes = items(obs, "interpretation").first().map(|one| items(one, "coding"));
    let code = codes.and_then(|codes| codes.iter().find_map(|coding| text(coding, "/code")));
    let known = INTERPRETATIONS.iter().find(|(known, _)| Some(*known) == code);
    set(&mut shape.fields, "interpretation", known.map(|(_, word)| *word));
    Ok(shape)
}

/// Keeps a number that was measured in another unit than the one in which OpenMRS holds numbers of
/// this concept: it takes the number alone, and shows it in its own unit.
fn same_unit(obs: &Value, concept: &str, names: &Names<'_>) -> Result<(), Stop> {
    let given = ["/valueQuantity/unit", "/valueQuantity/code"].iter();
    let given = given.filter_map(|at| text(obs, at)).map(str::trim);
    let given = given.filter(|unit| !unit.is_empty()).collect::<Vec<_>>();
    let Some(named) = given.first() else { return Ok(()) };
    // Empty while the concept itself is looked up.
    if concept.is_empty() {
        return Ok(());
    }
    // In full, since a concept that is not numeric has no such member to ask for by name.
    let row = names.rows(format!("concept/{concept}?v=full"));
    match text(&row, "/units").map(str::trim).filter(|units| !units.is_empty()) {
        Some(units) if !given.contains(&units) => Err(Stop::Kept(format!(
            "OpenMRS holds these observations in {units}, and this value is in {named}: it is \
             kept here and not written there"
        ))),
        _ => Ok(()),
    }
}

/// The value in OpenMRS's one member for all kinds.
fn value(obs: &Value, names: &Names<'_>) -> Result<Option<Value>, Stop> {
    if let Some(quantity) = obs.get("valueQuantity") {
        if quantity.get("comparator").is_some() {
            return Err(Stop::Kept("OpenMRS has no place for a comparator (< or >)".to_owned()));
        }
        return Ok(quantity.get("value").cloned());
    }
    if let Some(coded) = obs.get("valueCodeableConcept") {
        let uuid = concept(coded, names)?;
        return Ok(Some(json!(needed(uuid, "a code in its value")?)));
    }
    if let Some(words) = text(obs, "/valueString") {
        fits("the observation's text", words, TEXT)?;
        return Ok(Some(json!(words)));
    }
    if let Some(time) = text(obs, "/valueDateTime") {
        return Ok(Some(json!(moment(time))));
    }
    for member in ["valueBoolean", "valueInteger"] {
        if let Some(value) = obs.get(member) {
            return Ok(Some(value.clone()));
        }
    }
    let others = ["valueRange", "valueRatio", "valueSampledData", "valueTime", "valuePeriod"];
    match others.iter().find(|member| obs.get(**member).is_some()) {
        Some(member) => Err(Stop::Kept(format!("OpenMRS has no place for {member}"))),
        None => Ok(None),
    }
}

/// The members of a group, in their order.
pub(super) fn members(obs: &Value) -> Vec<RecordRef> {
    items(obs, "hasMember").iter().filter_map(|member| referred(member, "")).collect()
}
