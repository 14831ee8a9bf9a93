//! How search keys stand in the index tables: shared by who writes them and who searches.

use protocol::RecordRef;
use protocol::resource::search::{SearchKey, SearchValue};
use sha2::{Digest as _, Sha256};

/// Longest text value that an index holds, in characters; longer ones are found by their
/// beginning.
const TEXT_CHARS: usize = 200;

/// One row of one of the index tables `search_token`, `search_text`, `search_date`, without its
/// record. `param` is [`protocol::resource::search::Param`] as a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeyRow {
    /// Of `search_token`.
    Token { param: i64, value: i64 },
    /// Of `search_text`.
    Text { param: i64, value: String },
    /// Of `search_date`.
    Date { param: i64, low: i64, high: i64 },
}

/// The rows that a key has in the index: a token has one in its system and one in any system.
pub(crate) fn rows_of(key: &SearchKey) -> Vec<KeyRow> {
    let param = key.param as i64;
    match &key.value {
        SearchValue::Token { system, code } => vec![
            KeyRow::Token { param, value: token_hash(system, code) },
            KeyRow::Token { param, value: code_hash(code) },
        ],
        SearchValue::Reference(record) => {
            vec![KeyRow::Token { param, value: reference_hash(record) }]
        }
        SearchValue::Text(text) => vec![KeyRow::Text { param, value: text_value(text) }],
        SearchValue::Date { low, high } => vec![KeyRow::Date { param, low: *low, high: *high }],
    }
}

/// The index value of a code in its system (an empty one where there is none).
pub(crate) fn token_hash(system: &str, code: &str) -> i64 {
    hash(&[system, "|", code])
}

/// The index value of a code in whatever system. `*` is no system's URI.
pub(crate) fn code_hash(code: &str) -> i64 {
    hash(&["*|", code])
}

/// The index value of a reference.
pub(crate) fn reference_hash(record: &RecordRef) -> i64 {
    hash(&[record.kind.name(), "/", record.id()])
}

/// A text as the index holds it.
pub(crate) fn text_value(text: &str) -> String {
    text.chars().take(TEXT_CHARS).collect()
}

fn hash(parts: &[&str]) -> i64 {
    let mut sha = Sha256::new();
    for part in parts {
        sha.update(part.as_bytes());
    }
    let mut first = [0; 8];
    first.copy_from_slice(&sha.finalize()[..8]);
    i64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use protocol::resource::search::Param;

    use super::*;

    #[test]
    fn a_token_is_found_in_its_system_and_in_any() {
        let value = SearchValue::Token { system: "http://loinc.org".into(), code: "8480-6".into() };
        let rows = rows_of(&SearchKey { param: Param::Code, value });
        let param = Param::Code as i64;
        assert_eq!(
            rows,
            [
                KeyRow::Token { param, value: token_hash("http://loinc.org", "8480-6") },
                KeyRow::Token { param, value: code_hash("8480-6") },
            ]
        );
        assert_ne!(token_hash("", "8480-6"), code_hash("8480-6"));
    }

    #[test]
    fn an_endless_text_is_indexed_by_its_beginning() {
        let value = SearchValue::Text("ä".repeat(100_000));
        let rows = rows_of(&SearchKey { param: Param::Name, value });
        let KeyRow::Text { value, .. } = &rows[0] else { panic!("{rows:?}") };
        assert_eq!(value.chars().count(), TEXT_CHARS);
    }

    #[test]
    fn the_index_value_of_a_token_never_changes() {
        // Stores on disk hold these numbers.
        assert_eq!(token_hash("http://loinc.org", "8480-6"), hash(&["http://loinc.org|8480-6"]));
        assert_eq!(hash(&["abc"]) as u64, 0xba78_16bf_8f01_cfea);
    }
}
