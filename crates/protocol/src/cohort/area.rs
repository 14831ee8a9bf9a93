//! Areas: the beginning of an address, and how `>` stands between its parts.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::Refusal;

/// Characters of one part of an address that are compared; more would make an index unwieldy.
const PART_CHARS: usize = 200;

/// The beginning of an address: country, state, district, city, as far as it goes; compared
/// without regard to case and outer white space. Written `Kenya > Kisumu > Kisumu East`; a `>` or
/// a `\` within a name has a `\` before it. A part between two others may be empty
/// (`Kenya > > Kisumu East`): it fits addresses in which that part is unknown.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Area(Vec<String>);

impl Area {
    /// Whether the area holds an address of these parts (as `part` makes them).
    pub(super) fn holds(&self, address: &[String; 4]) -> bool {
        self.0.iter().zip(address).all(|(wanted, found)| part(wanted) == *found)
    }
}

/// A part of an address in the form in which it is compared.
pub(super) fn part(name: &str) -> String {
    name.trim().chars().flat_map(char::to_lowercase).take(PART_CHARS).collect()
}

/// Appends a part so that no `>` of its own can be taken for a separator.
pub(super) fn write_part(part: &str, out: &mut String) {
    for character in part.chars() {
        if matches!(character, '>' | '\\') {
            out.push('\\');
        }
        out.push(character);
    }
}

/// The parts of a text that `write_part` and `>` made; `None` where a `\` stands alone.
pub(super) fn split_parts(text: &str) -> Option<Vec<String>> {
    let mut parts = vec![String::new()];
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        let last = parts.last_mut()?;
        match character {
            '\\' => last.push(characters.next().filter(|c| matches!(c, '>' | '\\'))?),
            '>' => parts.push(String::new()),
            other => last.push(other),
        }
    }
    Some(parts)
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::new();
        for (index, part) in self.0.iter().enumerate() {
            if index > 0 {
                out.push_str(" > ");
            }
            write_part(part, &mut out);
        }
        f.write_str(&out)
    }
}

impl FromStr for Area {
    type Err = Refusal;
    fn from_str(text: &str) -> Result<Self, Refusal> {
        let wrong = |why: &str| Refusal::invalid(format!("an area {why}"));
        let parts = split_parts(text)
            .ok_or_else(|| wrong("has a '\\' that does not stand before '>' or '\\'"))?;
        let parts: Vec<String> = parts.iter().map(|part| part.trim().to_owned()).collect();
        let blank = |part: Option<&String>| part.is_none_or(String::is_empty);
        if parts.len() > 4 {
            return Err(wrong("has at most four parts: country > state > district > city"));
        }
        if blank(parts.first()) || blank(parts.last()) {
            return Err(wrong("begins with a country and ends with a name"));
        }
        if parts.iter().any(|part| part.chars().count() > PART_CHARS) {
            return Err(wrong("has a name of more than 200 characters"));
        }
        Ok(Area(parts))
    }
}

impl Serialize for Area {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Area {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
