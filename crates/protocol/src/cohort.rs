//! Cohorts: which patients a child may hold. Membership is a pure function of the definition and
//! of what the records say about where a patient belongs.

mod area;
mod place;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::id::RecordRef;

pub use area::Area;
pub use place::{Place, places};

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

impl Definition {
    /// Whether the cohort holds `patient`, of whom the records say `places`.
    pub fn holds(&self, patient: &RecordRef, places: &BTreeSet<Place>) -> bool {
        match self {
            Definition::All {} => patient.is_patient(),
            Definition::Patients { patients } => patients.contains(patient),
            Definition::Location { places: wanted, by } => places.iter().any(|place| {
                let (found, element) = match place {
                    Place::Managing(found) => (found, LocationBy::Managing),
                    Place::Encounter(found) => (found, LocationBy::Encounter),
                    Place::Identifier(found) => (found, LocationBy::Identifier),
                    Place::Address(_) | Place::Member(_) => return false,
                };
                (by.is_empty() || by.contains(&element)) && wanted.contains(found)
            }),
            Definition::Address { areas } => places.iter().any(|place| match place {
                Place::Address(parts) => areas.iter().any(|area| area.holds(parts)),
                _ => false,
            }),
            Definition::Group { groups } => places.iter().any(|place| match place {
                Place::Member(group) => groups.contains(group),
                _ => false,
            }),
        }
    }
}
