//! Condition: an entry of the problem list, or a diagnosis of an encounter. Pure.

use protocol::RecordRef;
use serde_json::{Value, json};

use super::element::{
    EXTENSION, concept, extension, fits, items, moment, needed, referred, set, text,
};
use super::known::{Names, Stop};
use super::shape::Shape;

const RANK: &str = "http://fhir.openmrs.org/R4/StructureDefinition/diagnosis-rank";
/// Characters of what is not coded.
const WORDS: usize = 255;

/// Whether it is a diagnosis.
pub(super) fn is_diagnosis(condition: &Value) -> bool {
    let mut codings =
        items(condition, "category").iter().flat_map(|category| items(category, "coding"));
    codings.any(|coding| text(coding, "/code") == Some("encounter-diagnosis"))
}

pub(super) fn shape(
    record: &RecordRef,
    condition: &Value,
    names: &Names<'_>,
) -> Result<Shape, Stop> {
    let subject = needed(referred(condition, "/subject"), "a patient")?;
    let subject = names.record(&subject)?;
    let encounter = referred(condition, "/encounter");
    let encounter = encounter.map(|encounter| names.record(&encounter)).transpose()?;
    let what = what(condition, names)?;
    let verified = condition.pointer("/verificationStatus/coding/0/code").and_then(Value::as_str);
    let confirmed = verified == Some("confirmed");
    if is_diagnosis(condition) {
        let mut shape = Shape::at("patientdiagnoses", record.id());
        shape.once.insert("patient".to_owned(), json!(subject));
        let encounter = needed(encounter, "its encounter")?;
        shape.once.insert("encounter".to_owned(), json!(encounter));
        set(&mut shape.fields, "diagnosis", Some(what));
        let certainty = if confirmed { "CONFIRMED" } else { "PROVISIONAL" };
        set(&mut shape.fields, "certainty", Some(certainty));
        let rank = extension(condition, RANK).and_then(|rank| rank["valueInteger"].as_i64());
        set(&mut shape.fields, "rank", Some(rank.unwrap_or(1)));
        return Ok(shape);
    }
    let mut shape = Shape::at("condition", record.id());
    shape.once.insert("patient".to_owned(), json!(subject));
    set(&mut shape.fields, "condition", Some(what));
    let status = condition.pointer("/clinicalStatus/coding/0/code").and_then(Value::as_str);
    let status = match status {
        Some("inactive" | "remission" | "resolved") => "INACTIVE",
        _ => "ACTIVE",
    };
    set(&mut shape.fields, "clinicalStatus", Some(status));
    let verification = verified.map(|_| if confirmed { "CONFIRMED" } else { "PROVISIONAL" });
    set(&mut shape.fields, "verificationStatus", verification);
    set(&mut shape.fields, "onsetDate", text(condition, "/onsetDateTime").map(moment));
    set(&mut shape.fields, "endDate", text(condition, "/abatementDateTime").map(moment));
    Ok(shape)
}

/// Coded where there is a code that is known here, else in words.
fn what(condition: &Value, names: &Names<'_>) -> Result<Value, Stop> {
    if let Some(coded) = concept(&condition["code"], names)? {
        return Ok(json!({ "coded": coded }));
    }
    let words = extension(condition, &format!("{EXTENSION}/non-coded-condition"));
    let words = words.and_then(|words| text(words, "/valueString"));
    let words = needed(words.or_else(|| text(condition, "/code/text")), "a code or its text")?;
    fits("the condition's text", words, WORDS)?;
    Ok(json!({ "nonCoded": words }))
}
