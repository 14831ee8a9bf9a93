//! Reading elements of FHIR resources, as OpenMRS's columns want them. Pure.

use chrono::{DateTime, Utc};
use protocol::RecordRef;
use protocol::resource::references::record_named;
use serde_json::{Map, Value};

use super::known::{Coding, Names, Need, Stop};

/// Columns of a row, by the names of webservices.rest.
pub type Fields = Map<String, Value>;

/// Where OpenMRS's own extensions begin.
pub(super) const EXTENSION: &str = "http://fhir.openmrs.org/ext";

/// The text at a JSON pointer.
pub(super) fn text<'v>(value: &'v Value, pointer: &str) -> Option<&'v str> {
    value.pointer(pointer)?.as_str()
}

/// The entries of a list; none where there is no list.
pub(super) fn items<'v>(value: &'v Value, member: &str) -> &'v [Value] {
    value.get(member).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The record that the Reference at a pointer names.
pub(super) fn referred(value: &Value, pointer: &str) -> Option<RecordRef> {
    record_named(text(value.pointer(pointer)?, "/reference")?)
}

/// A date or a time as OpenMRS takes it: days as they are, so that no time zone moves them, times
/// in whole seconds, in UTC.
pub(super) fn moment(text: &str) -> String {
    match text.len() {
        4 => format!("{text}-01-01"),
        7 => format!("{text}-01"),
        _ => match DateTime::parse_from_rfc3339(text) {
            Ok(time) => time.with_timezone(&Utc).format("%Y-%m-%dT%H:%M:%S.000+0000").to_string(),
            Err(_) => text.to_owned(),
        },
    }
}

/// The codings of a CodeableConcept, in their order; a coding without a system is a uuid.
pub(super) fn codings(concept: &Value) -> Vec<Coding> {
    let codings = items(concept, "coding").iter().filter_map(|coding| {
        let code = text(coding, "/code")?.to_owned();
        Some((text(coding, "/system").map(str::to_owned), code))
    });
    codings.collect()
}

/// The concept of a CodeableConcept; none where it has no coding.
pub(super) fn concept(concept: &Value, names: &Names<'_>) -> Result<Option<String>, Stop> {
    match codings(concept) {
        codings if codings.is_empty() => Ok(None),
        codings => names.uuid(Need::Concept(codings)).map(Some),
    }
}

/// The concept that a code of CIEL names, which this program has to know by itself.
pub(super) fn ciel(code: &str, names: &Names<'_>) -> Result<String, Stop> {
    let uuid = format!("{code}{}", "A".repeat(36_usize.saturating_sub(code.len())));
    names.uuid(Need::Concept(vec![(None, uuid), (Some(CIEL.to_owned()), code.to_owned())]))
}

/// The system of CIEL's codes.
pub(super) const CIEL: &str = "https://cielterminology.org";

/// The extension with a URL.
pub(super) fn extension<'v>(element: &'v Value, url: &str) -> Option<&'v Value> {
    items(element, "extension").iter().find(|one| text(one, "/url") == Some(url))
}

/// Sets a column: null where there is nothing, so that what was taken away is taken away there.
pub(super) fn set(fields: &mut Fields, name: &str, value: Option<impl Into<Value>>) {
    fields.insert(name.to_owned(), value.map_or(Value::Null, Into::into));
}

/// Refuses a text that is longer than OpenMRS's column: it is never cut.
pub(super) fn fits(what: &str, text: &str, most: usize) -> Result<(), Stop> {
    if text.chars().count() <= most {
        return Ok(());
    }
    Err(Stop::Refused(format!(
        "{what} is longer than the {most} characters that OpenMRS has for it: shorten it, or drop \
         the delivery and let it be kept here only"
    )))
}

/// A member that has to be there.
pub(super) fn needed<T>(value: Option<T>, what: &str) -> Result<T, Stop> {
    value.ok_or_else(|| Stop::Kept(format!("OpenMRS holds no such record without {what}")))
}
