//! What a resource can be found by: the search parameters of `docs/protocol.md` §3.

mod extract;
mod known;
#[cfg(test)]
mod tests;

use crate::id::RecordRef;

pub use extract::keys;
pub use known::has_param;

/// A search parameter that is kept in an index. `_id`, `_lastUpdated` and `patient`/`subject`
/// are answered from the record itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Param {
    /// Token: `system|value`.
    Identifier = 1,
    /// String: any part of any name of a person; also the name of a place or an organization.
    Name = 2,
    /// String: family names.
    Family = 3,
    /// String: given names.
    Given = 4,
    /// Date.
    Birthdate = 5,
    /// Token.
    Gender = 6,
    /// Reference.
    Encounter = 7,
    /// Date: the clinical date of the type, whichever element holds it.
    Date = 8,
    /// Token: `system|code`.
    Code = 9,
}

/// One thing that a resource can be found by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SearchKey {
    /// Under which parameter.
    pub param: Param,
    /// Which value.
    pub value: SearchValue,
}

/// A value in the form in which an index compares it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SearchValue {
    /// A code or an identifier in its system (an empty one where there is none).
    Token {
        /// The system's URI.
        system: String,
        /// The code or value.
        code: String,
    },
    /// Lower case, trimmed: compared by prefix.
    Text(String),
    /// The first and the last millisecond (since 1970, UTC) that a FHIR date, dateTime, instant
    /// or Period of any precision covers; open ends are `i64::MIN` and `i64::MAX`.
    Date {
        /// First millisecond.
        low: i64,
        /// Last millisecond.
        high: i64,
    },
    /// Another record.
    Reference(RecordRef),
}

/// Characters of a text and of a token that an index holds: what is longer is found by its
/// beginning. The record itself keeps all of it.
const VALUE_CHARS: usize = 200;

impl SearchValue {
    /// A text in the form in which it is compared: trimmed, lower case, at most 200 characters.
    pub fn text(text: &str) -> SearchValue {
        let text = text.trim();
        if text.is_ascii() {
            return SearchValue::Text(text[..text.len().min(VALUE_CHARS)].to_ascii_lowercase());
        }
        let lower = text.chars().flat_map(char::to_lowercase);
        SearchValue::Text(lower.take(VALUE_CHARS).collect())
    }
    /// A code or an identifier, its parts trimmed and at most 200 characters long.
    pub fn token(system: &str, code: &str) -> SearchValue {
        let part = |part: &str| match part.trim() {
            short if short.len() <= VALUE_CHARS => short.to_owned(),
            long => long.chars().take(VALUE_CHARS).collect(),
        };
        SearchValue::Token { system: part(system), code: part(code) }
    }
    /// The time that a FHIR date covers; `None` for what is no date.
    pub fn date(text: &str) -> Option<SearchValue> {
        super::date::span(text.trim()).map(|(low, high)| SearchValue::Date { low, high })
    }
}
