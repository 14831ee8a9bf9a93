//! What is merged as a whole: values whose parts say something only together. Mixing the parts of
//! two sides would make a value that nobody stated, so both having changed one is a conflict.
//! In doubt an element is in here: a conflict too many is looked at, a mixed value is believed.

use crate::json::{Json, Object};

/// A FHIR datatype that is known by the members it has.
struct Datatype {
    /// Its members whose values are scalars (or lists of scalars).
    scalars: &'static [&'static str],
    /// Its members whose values are objects or lists of objects.
    objects: &'static [&'static str],
    /// One of these is there, else it is something else.
    needs: &'static [&'static str],
}

const DATATYPES: &[Datatype] = &[
    // Quantity, Money, Age, Duration, Count, Distance: 70 of one side with the other's `lb` is a
    // dose or a weight that nobody measured.
    Datatype {
        scalars: &["value", "comparator", "unit", "system", "code", "currency"],
        objects: &[],
        needs: &["value", "unit", "currency"],
    },
    // Coding: a code with the other side's display.
    Datatype {
        scalars: &["system", "version", "code", "display", "userSelected"],
        objects: &[],
        needs: &["code"],
    },
    // Period: the start of one stay with the end of another.
    Datatype { scalars: &["start", "end"], objects: &[], needs: &["start", "end"] },
    // Range and Ratio: limits, or the two halves of a strength, that belong together.
    Datatype { scalars: &[], objects: &["low", "high"], needs: &["low", "high"] },
    Datatype { scalars: &[], objects: &["numerator", "denominator"], needs: &["numerator"] },
    // Reference: one side's reference with the other's display names the wrong person.
    Datatype {
        scalars: &["reference", "type", "display"],
        objects: &["identifier"],
        needs: &["reference", "display", "identifier"],
    },
    // Attachment: a content type, size or hash that is not that of the data.
    Datatype {
        scalars: &["contentType", "language", "data", "url", "size", "hash", "title", "creation"],
        objects: &[],
        needs: &["contentType", "data", "url"],
    },
    // Narrative: a status is said of its own text.
    Datatype { scalars: &["status", "div"], objects: &[], needs: &["div"] },
    // Annotation: a text under the other side's author.
    Datatype {
        scalars: &["authorString", "time", "text"],
        objects: &["authorReference"],
        needs: &["authorString", "authorReference", "time"],
    },
    // SampledData: a series read with the other side's period or factor.
    Datatype {
        scalars: &["period", "factor", "lowerLimit", "upperLimit", "dimensions", "data"],
        objects: &["origin"],
        needs: &["origin"],
    },
    // Signature: signed by one, at the other's time.
    Datatype {
        scalars: &["when", "targetFormat", "sigFormat", "data"],
        objects: &["type", "who", "onBehalfOf"],
        needs: &["sigFormat", "who"],
    },
    // Timing: three times a day of one side, for the days of the other.
    Datatype { scalars: &["event"], objects: &["repeat", "code"], needs: &["event", "repeat"] },
];

/// Elements that are merged as a whole whatever they look like, lists included.
const ELEMENTS: &[&str] = &[
    // The steps of a regimen add up to one: two instructions side by side are a double dose.
    "dosage",
    "dosageInstruction",
    "doseAndRate",
    "repeat",
    "timing",
    // High and low are two answers to one question.
    "interpretation",
    // What a value was judged by.
    "referenceRange",
    // Latitude of one place with the longitude of another.
    "position",
    // A remark is its author's.
    "note",
];

/// Lists among `ELEMENTS` whose items are whole, and which are merged item by item all the same.
const LISTS_BY_ITEM: &[&str] = &["note"];

/// How many codings of a concept are compared one by one; a concept with more is a whole.
const CODINGS: usize = 200;

/// Extensions whose nested extensions are one value.
const EXTENSIONS: &[&str] = &["http://hl7.org/fhir/StructureDefinition/geolocation"];

/// Whether an object at the element `name` is merged as a whole. `others` are its other states.
pub(super) fn object(name: &str, states: [Option<&Object<'_>>; 3]) -> bool {
    let plain = name.trim_start_matches('_');
    match plain {
        // By key, with system and value as one element (see `units`).
        "identifier" | "telecom" => return false,
        "extension" | "modifierExtension" => return states.into_iter().flatten().any(one_value),
        "contained" => return !same_resource(states),
        _ => {}
    }
    ELEMENTS.contains(&plain) || states.into_iter().flatten().any(is_datatype)
}

/// Whether a list at the element `name` is merged as a whole: lists of scalars are.
pub(super) fn list(name: &str, states: [&[Json<'_>]; 3]) -> bool {
    (ELEMENTS.contains(&name) && !LISTS_BY_ITEM.contains(&name))
        || states.iter().any(|items| items.iter().any(|item| item.as_object().is_none()))
}

/// Whether the nested parts of an extension are one value.
fn one_value(extension: &Object<'_>) -> bool {
    let url = extension.get("url").and_then(Json::as_str);
    url.is_some_and(|url| EXTENSIONS.contains(&&*url))
}

/// Whether contained resources are states of one, and not two that came to the same local id.
fn same_resource(states: [Option<&Object<'_>>; 3]) -> bool {
    let kind = |state: Option<&Object<'_>>| {
        state.and_then(|object| object.get("resourceType")?.as_str().map(|kind| kind.into_owned()))
    };
    let [base, parent, child] = states.map(kind);
    base.is_some() && base == parent && base == child
}

/// Whether an object has the look of one of `DATATYPES`.
pub(super) fn is_datatype(object: &Object<'_>) -> bool {
    DATATYPES.iter().any(|datatype| {
        object.iter().any(|(key, _)| datatype.needs.iter().any(|need| key == *need))
            && object.iter().all(|(key, value)| {
                let key = key.decode();
                let plain = key.trim_start_matches('_');
                matches!(plain, "id" | "extension")
                    || key.starts_with('_') && datatype.scalars.contains(&plain)
                    || match is_scalar(value) {
                        true => datatype.scalars.contains(&plain),
                        // A Reference has one identifier; what has a list of them is no Reference.
                        false if plain == "identifier" => {
                            datatype.objects.contains(&plain) && value.as_object().is_some()
                        }
                        false => datatype.objects.contains(&plain),
                    }
            })
    })
}

fn is_scalar(value: &Json<'_>) -> bool {
    match value {
        Json::Object(_) => false,
        Json::Array(items) => items.iter().all(|item| item.as_object().is_none()),
        _ => true,
    }
}

/// Whether two sides' changes to a CodeableConcept can stand together: both kept every coding of
/// base (or, where it had none, share one), and neither added a code of a system for which the
/// other added another. Else one of them says something else, and codings side by side would
/// claim that the two are the same thing.
pub(super) fn is_one_concept(states: [Option<&Object<'_>>; 3]) -> bool {
    let [base, parent, child] = states.map(codings);
    if parent.len().max(child.len()) > CODINGS {
        return false;
    }
    let kept = |side: &[(String, String)]| base.iter().all(|coding| side.contains(coding));
    let moved = parent != child;
    let common = !base.is_empty()
        || parent.is_empty()
        || child.is_empty()
        || parent.iter().any(|coding| child.contains(coding));
    let rival = parent
        .iter()
        .filter(|coding| !child.contains(coding))
        .any(|ours| child.iter().any(|theirs| theirs.0 == ours.0 && !parent.contains(theirs)));
    !moved || kept(&parent) && kept(&child) && common && !rival
}

/// Whether an object is a CodeableConcept by its look.
pub(super) fn is_concept(object: &Object<'_>) -> bool {
    object.get("coding").is_some_and(|coding| coding.as_array().is_some())
}

/// System and code of each coding.
fn codings(concept: Option<&Object<'_>>) -> Vec<(String, String)> {
    let list = concept.and_then(|concept| concept.get("coding")?.as_array()).unwrap_or(&[]);
    let part = |coding: &Json<'_>, key| coding.str_at(key).unwrap_or_default().into_owned();
    list.iter().map(|coding| (part(coding, "system"), part(coding, "code"))).collect()
}
