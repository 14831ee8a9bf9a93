//! AllergyIntolerance. Pure.

use protocol::RecordRef;
use serde_json::{Value, json};

use super::element::{ciel, concept, fits, items, needed, referred, set, text};
use super::known::{Names, Stop};
use super::shape::Shape;

/// The concept that stands for an allergen without a code.
const OTHER: &str = "5622";
/// Characters of a comment (1024 in OpenMRS) and of what is not coded.
const COMMENT: usize = 1_024;
const WORDS: usize = 255;

pub(super) fn shape(record: &RecordRef, allergy: &Value, names: &Names<'_>) -> Result<Shape, Stop> {
    let patient = needed(referred(allergy, "/patient"), "a patient")?;
    let patient = names.record(&patient)?;
    let mut shape = Shape::at(&format!("patient/{patient}/allergy"), record.id());
    let kind = match items(allergy, "category").first().and_then(Value::as_str) {
        Some("food") => "FOOD",
        Some("environment") => "ENVIRONMENT",
        Some("medication" | "biologic") => "DRUG",
        _ => "OTHER",
    };
    let allergen = match concept(&allergy["code"], names)? {
        Some(coded) => json!({ "allergenType": kind, "codedAllergen": { "uuid": coded } }),
        None => {
            let words = needed(text(allergy, "/code/text"), "a code or its text")?;
            fits("the allergen", words, WORDS)?;
            json!({
                "allergenType": kind,
                "codedAllergen": { "uuid": ciel(OTHER, names)? },
                "nonCodedAllergen": words,
            })
        }
    };
    set(&mut shape.fields, "allergen", Some(allergen));
    let reaction = items(allergy, "reaction").first().unwrap_or(&Value::Null);
    let severity = match text(reaction, "/severity") {
        Some("mild") => Some(ciel("1498", names)?),
        Some("moderate") => Some(ciel("1499", names)?),
        Some("severe") => Some(ciel("1500", names)?),
        _ => None,
    };
    set(&mut shape.fields, "severity", severity.map(|uuid| json!({ "uuid": uuid })));
    let comment = allergy.pointer("/note/0").and_then(|note| text(note, "/text"));
    fits("the allergy's note", comment.unwrap_or_default(), COMMENT)?;
    set(&mut shape.fields, "comment", comment);
    shape.fields.insert("reactions".to_owned(), reactions(allergy, names)?);
    Ok(shape)
}

fn reactions(allergy: &Value, names: &Names<'_>) -> Result<Value, Stop> {
    let mut rows = Vec::new();
    for shown in items(allergy, "reaction").iter().flat_map(|one| items(one, "manifestation")) {
        rows.push(match concept(shown, names)? {
            Some(coded) => json!({ "reaction": { "uuid": coded } }),
            None => {
                let words = needed(text(shown, "/text"), "a code or text for each reaction")?;
                fits("a reaction", words, WORDS)?;
                json!({ "reaction": { "uuid": ciel(OTHER, names)? }, "reactionNonCoded": words })
            }
        });
    }
    Ok(Value::Array(rows))
}
