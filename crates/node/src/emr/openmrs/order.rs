//! MedicationRequest and ServiceRequest: orders. OpenMRS never edits an order: it can be stopped.
//! Pure.

use protocol::RecordRef;
use serde_json::{Value, json};

use super::element::{Fields, concept, fits, items, moment, needed, referred, set, text};
use super::known::{Meta, Names, Need, Stop};
use super::shape::{Call, Shape};

/// The care setting that OpenMRS has from its beginning.
const OUTPATIENT: &str = "6f0c9a92-6f24-11e3-af88-005056821db0";
/// Characters of instructions.
const WORDS: usize = 1_024;

const FIXED: &str = "OpenMRS changes no order that was given: the edit is kept here and not \
                     written there (an order can be stopped)";

pub(super) fn shape(record: &RecordRef, order: &Value, names: &Names<'_>) -> Result<Shape, Stop> {
    let mut shape = Shape::at("order", record.id());
    shape.fixed = Some(FIXED);
    let patient = names.record(&needed(referred(order, "/subject"), "a patient")?)?;
    let encounter = names.record(&needed(referred(order, "/encounter"), "an encounter")?)?;
    let orderer = names.record(&needed(referred(order, "/requester"), "a requester")?)?;
    let keys = vec!["default".to_owned(), OUTPATIENT.to_owned()];
    let setting = names.uuid(Need::Meta(Meta::CareSetting, keys))?;
    for (name, value) in [
        ("patient", patient),
        ("encounter", encounter),
        ("orderer", orderer),
        ("careSetting", setting),
    ] {
        shape.once.insert(name.to_owned(), json!(value));
    }
    shape.once.insert("action".to_owned(), json!("NEW"));
    let urgency = if text(order, "/priority") == Some("stat") { "STAT" } else { "ROUTINE" };
    set(&mut shape.fields, "urgency", Some(urgency));
    let note = order.pointer("/note/0").and_then(|note| text(note, "/text"));
    fits("the order's note", note.unwrap_or_default(), WORDS)?;
    set(&mut shape.fields, "commentToFulfiller", note);
    if let Some(when) = text(order, "/authoredOn") {
        shape.once.insert("dateActivated".to_owned(), json!(moment(when)));
    }
    if record.kind.name() == "MedicationRequest" {
        shape.once.insert("type".to_owned(), json!("drugorder"));
        medicine(order, names, &mut shape)?;
    } else {
        shape.once.insert("type".to_owned(), json!("testorder"));
        let code = concept(&order["code"], names)?;
        set(&mut shape.fields, "concept", Some(needed(code, "a code")?));
    }
    Ok(shape)
}

/// What was ordered and how it is taken; of a dispense too.
pub(super) fn medicine(order: &Value, names: &Names<'_>, shape: &mut Shape) -> Result<(), Stop> {
    let fields = &mut shape.fields;
    let coded = concept(&order["medicationCodeableConcept"], names)?;
    let drug = referred(order, "/medicationReference");
    if let Some(drug) = &drug {
        let keys = vec![drug.id().to_owned()];
        set(fields, "drug", Some(names.uuid(Need::Meta(Meta::Drug, keys))?));
    } else {
        set(fields, "concept", Some(needed(coded, "a code or a Medication")?));
    }
    let dosage = items(order, "dosageInstruction").first().unwrap_or(&Value::Null);
    let words = text(dosage, "/text");
    fits("the instructions", words.unwrap_or_default(), WORDS)?;
    set(fields, "dosingInstructions", words);
    set(fields, "asNeeded", dosage.get("asNeededBoolean").cloned());
    set(fields, "route", concept(&dosage["route"], names)?);
    let without = measure(fields, ["dose", "doseUnits"], dose(order), names)?;
    // Words say how much to take: without them there would be an order that does not.
    shape.kept = without.filter(|_| words.is_none());
    // Free text is the one way of dosing that needs nothing more of the dictionary.
    if order["resourceType"] == json!("MedicationRequest") {
        let free = "org.openmrs.FreeTextDosingInstructions";
        set(fields, "dosingType", Some(free));
        let supply = order.get("dispenseRequest").unwrap_or(&Value::Null);
        measure(fields, ["quantity", "quantityUnits"], supply.get("quantity"), names)?;
        set(fields, "numRefills", supply.get("numberOfRepeatsAllowed").cloned());
    }
    Ok(())
}

/// How much is taken at a time.
pub(super) fn dose(order: &Value) -> Option<&Value> {
    order.pointer("/dosageInstruction/0/doseAndRate/0/doseQuantity")
}

/// How much is supplied, by an order or at once.
fn supplied(order: &Value) -> Option<&Value> {
    order.pointer("/dispenseRequest/quantity").or_else(|| order.get("quantity"))
}

/// Keeps an edit whose number was left out where OpenMRS holds another one: a person may have
/// entered that there, and it would be taken away for nothing.
pub(super) fn spares(shape: &Shape, old: &Shape, wanted: &Value) -> Result<(), Stop> {
    let holds = |shape: &Shape, number| shape.fields.get(number).is_some_and(|v| !v.is_null());
    for (number, quantity) in [("dose", dose(wanted)), ("quantity", supplied(wanted))] {
        let has_value = quantity.is_some_and(|quantity| quantity.get("value").is_some());
        if has_value && !holds(shape, number) && holds(old, number) {
            return Err(Stop::Kept(format!(
                "OpenMRS holds another {number}, and has no concept for the unit of this one: the \
                 edit is kept here and not written there"
            )));
        }
    }
    Ok(())
}

/// A number and its unit, or neither: OpenMRS shows a number alone as if it were of any unit.
/// Gives why a number was left out.
pub(super) fn measure(
    fields: &mut Fields,
    [number, units]: [&str; 2],
    quantity: Option<&Value>,
    names: &Names<'_>,
) -> Result<Option<String>, Stop> {
    let value = quantity.and_then(|quantity| quantity.get("value"));
    let unit = quantity.map(|quantity| unit(quantity, names)).transpose()?.flatten();
    let named = quantity.and_then(|one| text(one, "/code").or_else(|| text(one, "/unit")));
    let without = value.filter(|_| unit.is_none()).map(|_| {
        format!(
            "OpenMRS holds no {number} without its unit, and has no concept for the unit {}: add \
             it on this site, or map it in [emr.map]",
            named.unwrap_or("(none)")
        )
    });
    let (value, unit) = value.cloned().zip(unit).unzip();
    set(fields, number, value);
    set(fields, units, unit);
    Ok(without)
}

fn unit(quantity: &Value, names: &Names<'_>) -> Result<Option<String>, Stop> {
    let Some(code) = text(quantity, "/code") else { return Ok(None) };
    let system = text(quantity, "/system").map(str::to_owned);
    names.perhaps(Need::Concept(vec![(system, code.to_owned())]))
}

/// Whether an order does not hold any more.
pub(super) fn is_over(order: &Value) -> bool {
    matches!(text(order, "/status"), Some("stopped" | "cancelled" | "revoked" | "completed"))
}

/// The calls that lead from `image` to `order`: one that stops it, if it is to be stopped.
pub(super) fn stop(shape: &Shape, order: &Value, image: &Value) -> Option<Vec<Call>> {
    if !is_over(order) || is_over(image) {
        return None;
    }
    let mut body = shape.once.clone();
    body.insert("action".to_owned(), json!("DISCONTINUE"));
    body.insert("previousOrder".to_owned(), body["uuid"].clone());
    body.remove("uuid");
    body.remove("dateActivated");
    for name in ["concept", "drug"] {
        body.extend(shape.fields.get(name).map(|value| (name.to_owned(), value.clone())));
    }
    Some(vec![Call::post("order", Value::Object(body))])
}
