//! Cohorts: which patients a child may hold. Membership is a pure function of the definition and
//! of what the records say about where a patient belongs.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Refusal;
use crate::id::RecordRef;

/// Which patients a cohort holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Definition {
    /// Every patient.
    All {},
    /// An explicit list.
    Patients {
        /// The patients' records.
        patients: BTreeSet<RecordRef>,
    },
    /// By where they are looked after: Location or Organization records.
    Location {
        /// Any of these.
        places: BTreeSet<RecordRef>,
        /// Which elements count; all of them where none is named.
        #[serde(default)]
        by: BTreeSet<LocationBy>,
    },
    /// By where they live: the beginning of an address, from the country downwards.
    Address {
        /// Any of these.
        areas: BTreeSet<Area>,
    },
    /// The members of a FHIR Group.
    Group {
        /// Any of these Groups.
        groups: BTreeSet<RecordRef>,
    },
}

/// Which element says where a patient is looked after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LocationBy {
    /// `Patient.managingOrganization`.
    Managing,
    /// `Encounter.location.location` or `Encounter.serviceProvider`.
    Encounter,
    /// The location of an identifier (OpenMRS: an extension of `Patient.identifier`).
    Identifier,
}

/// The beginning of an address: country, state, district, city, as far as it goes; compared
/// without regard to case and outer white space. Written `Kenya > Kisumu > Kisumu East`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Area(Vec<String>);

/// What one record says of where a patient belongs. As text (`Display`, `FromStr`) it is what a
/// store keeps and compares.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// `Patient.managingOrganization`.
    Managing(RecordRef),
    /// An encounter's location or service provider.
    Encounter(RecordRef),
    /// The location of an identifier.
    Identifier(RecordRef),
    /// Country, state, district, city; lower case, empty where unknown.
    Address([String; 4]),
    /// A Group names the patient as its member.
    Member(RecordRef),
}

impl Definition {
    /// Whether the cohort holds `patient`, of whom the records say `places`.
    pub fn holds(&self, patient: &RecordRef, places: &BTreeSet<Place>) -> bool {
        let _ = (patient, places);
        todo!()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!()
    }
}

impl FromStr for Place {
    type Err = Refusal;
    fn from_str(_text: &str) -> Result<Self, Refusal> {
        todo!()
    }
}

impl Serialize for Area {
    fn serialize<S: serde::Serializer>(&self, _serializer: S) -> Result<S::Ok, S::Error> {
        todo!()
    }
}

impl<'de> Deserialize<'de> for Area {
    fn deserialize<D: serde::Deserializer<'de>>(_deserializer: D) -> Result<Self, D::Error> {
        todo!()
    }
}
