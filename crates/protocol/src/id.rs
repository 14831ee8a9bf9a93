//! Names of things, each checked when it is made, so that no other code has to check again.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::error::Refusal;
use crate::resource::types::RESOURCE_TYPES;

/// A short name of a site or a cohort: a lower-case letter or digit, then up to 62 of those
/// and `-`.
fn slug(what: &str, text: &str) -> Result<String, Refusal> {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let fits = (1..=63).contains(&bytes.len())
        && good(bytes[0])
        && bytes.iter().all(|b| good(*b) || *b == b'-');
    if fits {
        return Ok(text.to_owned());
    }
    Err(Refusal::invalid(format!(
        "{what} must be 1 to 63 lower-case letters, digits and '-', \
         and begin with a letter or digit"
    )))
}

macro_rules! text_newtype {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);
        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl FromStr for $name {
            type Err = Refusal;
            fn from_str(text: &str) -> Result<Self, Refusal> {
                $check(text).map($name)
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

text_newtype!(
    /// A site's id: a short slug, for example `kisumu-east`.
    SiteId,
    |text| slug("a site id", text)
);
text_newtype!(
    /// A cohort's name, which is also the name of its feed.
    CohortName,
    cohort_name
);

/// Feed names that are not cohorts.
pub const RESERVED_FEEDS: [&str; 2] = ["reference", "outgoing"];

fn cohort_name(text: &str) -> Result<String, Refusal> {
    if RESERVED_FEEDS.contains(&text) {
        return Err(Refusal::invalid(format!("the name {text} is kept for the feed of that name")));
    }
    slug("a cohort's name", text)
}

macro_rules! uuid_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);
        impl $name {
            /// From 16 random bytes, as a version 4 UUID: randomness is the caller's.
            pub fn from_random(bytes: [u8; 16]) -> Self {
                $name(uuid::Builder::from_random_bytes(bytes).into_uuid())
            }
            /// The 16 bytes, for a store.
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
            /// From the 16 bytes that a store kept.
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                $name(Uuid::from_bytes(bytes))
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
        impl FromStr for $name {
            type Err = Refusal;
            fn from_str(text: &str) -> Result<Self, Refusal> {
                Uuid::parse_str(text)
                    .map($name)
                    .map_err(|_| Refusal::invalid(concat!(stringify!($name), " is not a UUID")))
            }
        }
    };
}

uuid_newtype!(
    /// One life of a site's store; new whenever the store is restored or rebuilt.
    Epoch
);
uuid_newtype!(
    /// A feed, whatever its name and URL are at the moment.
    FeedId
);

/// One of the resource types of FHIR R4, as its place in the sorted list of their names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceType(u8);

impl ResourceType {
    /// `Patient`, which so much turns on.
    pub const PATIENT: ResourceType = ResourceType::named("Patient");
    /// `Encounter`.
    pub const ENCOUNTER: ResourceType = ResourceType::named("Encounter");
    /// `Group`.
    pub const GROUP: ResourceType = ResourceType::named("Group");
    /// `Basic`, which is also what a conflict is.
    pub const BASIC: ResourceType = ResourceType::named("Basic");
    /// `AllergyIntolerance`.
    pub const ALLERGY_INTOLERANCE: ResourceType = ResourceType::named("AllergyIntolerance");
    /// `Flag`.
    pub const FLAG: ResourceType = ResourceType::named("Flag");
    /// `Binary`.
    pub const BINARY: ResourceType = ResourceType::named("Binary");

    /// For constants: fails to compile for a name that R4 does not have.
    #[expect(clippy::panic, reason = "it is evaluated by the compiler only")]
    const fn named(name: &str) -> ResourceType {
        let mut index = 0;
        while index < RESOURCE_TYPES.len() {
            if same_bytes(RESOURCE_TYPES[index].as_bytes(), name.as_bytes()) {
                return ResourceType(index as u8);
            }
            index += 1;
        }
        panic!("no such resource type in FHIR R4")
    }
    /// The type's name, as FHIR writes it.
    pub fn name(self) -> &'static str {
        RESOURCE_TYPES[usize::from(self.0)]
    }
    /// All types of R4, sorted by name.
    pub fn all() -> impl Iterator<Item = ResourceType> {
        (0..RESOURCE_TYPES.len()).map(|index| ResourceType(index as u8))
    }
}

const fn same_bytes(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut index = 0;
    while index < a.len() {
        if a[index] != b[index] {
            return false;
        }
        index += 1;
    }
    true
}

impl fmt::Display for ResourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for ResourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ResourceType {
    type Err = Refusal;
    fn from_str(text: &str) -> Result<Self, Refusal> {
        RESOURCE_TYPES
            .binary_search(&text)
            .map(|index| ResourceType(index as u8))
            .map_err(|_| Refusal::invalid("the resource type is not one of FHIR R4"))
    }
}

/// Which record: `Type/id`. The id is FHIR's: 1 to 64 letters, digits, `-` and `.`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordRef {
    /// The resource's type.
    pub kind: ResourceType,
    id: String,
}

impl RecordRef {
    /// Checks the id.
    pub fn new(kind: ResourceType, id: &str) -> Result<Self, Refusal> {
        let good = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
        if (1..=64).contains(&id.len()) && id.bytes().all(good) {
            return Ok(RecordRef { kind, id: id.to_owned() });
        }
        Err(Refusal::invalid(format!(
            "the id of a {kind} must be 1 to 64 letters, digits, '-' and '.'"
        )))
    }
    /// The logical id.
    pub fn id(&self) -> &str {
        &self.id
    }
    /// Whether this names a Patient.
    pub fn is_patient(&self) -> bool {
        self.kind == ResourceType::PATIENT
    }
}

impl fmt::Display for RecordRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.id)
    }
}

impl fmt::Debug for RecordRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for RecordRef {
    type Err = Refusal;
    fn from_str(text: &str) -> Result<Self, Refusal> {
        let (kind, id) = text
            .split_once('/')
            .ok_or_else(|| Refusal::invalid("a record is named in the form Type/id"))?;
        RecordRef::new(kind.parse()?, id)
    }
}

impl Serialize for RecordRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RecordRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_checked_when_it_is_made() {
        for good in ["a", "kisumu-east", "7", &"x".repeat(63)] {
            assert_eq!(good.parse::<SiteId>().unwrap().as_str(), good);
        }
        for bad in ["", "-a", "A", "a b", "a,b", "ä", "a/b", &"x".repeat(64)] {
            assert!(bad.parse::<SiteId>().is_err(), "{bad}");
        }
        assert!("reference".parse::<CohortName>().is_err());
        assert!("outgoing".parse::<CohortName>().is_err());
    }

    #[test]
    fn a_record_is_named_by_a_type_of_r4_and_an_id_of_fhir() {
        for good in ["Patient/1", "Patient/a.b-C", "VisionPrescription/x", "Account/x"] {
            assert_eq!(good.parse::<RecordRef>().unwrap().to_string(), good);
        }
        for bad in ["Patient", "Patient/", "Patient/a_b", "Pacient/1", "Patient/a/b", "Patient/a\0"]
        {
            assert!(bad.parse::<RecordRef>().is_err(), "{bad}");
        }
        assert!(RecordRef::new(ResourceType::PATIENT, &"x".repeat(65)).is_err());
    }
}
