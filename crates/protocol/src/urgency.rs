//! How soon a change has to go: the lane that it goes up in. Pure.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::conflict;
use crate::id::{RecordRef, ResourceType};

/// The lane of what moves on a link, the most urgent first.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Urgency {
    /// Goes at any time, ahead of all else.
    Urgent,
    /// What people write day by day.
    #[default]
    Normal,
    /// What there is much of and nobody waits for: first loads, imports, what is sent again.
    Bulk,
}

impl Urgency {
    /// All, the most urgent first.
    pub const ALL: [Urgency; 3] = [Urgency::Urgent, Urgency::Normal, Urgency::Bulk];

    /// Its name, as settings and programs write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Urgency::Urgent => "urgent",
            Urgency::Normal => "normal",
            Urgency::Bulk => "bulk",
        }
    }

    /// The lane of this name.
    pub fn named(name: &str) -> Option<Urgency> {
        Urgency::ALL.into_iter().find(|lane| lane.as_str() == name)
    }

    /// The lane of a change of these records: urgent if one of them is of the types that the
    /// settings name, or is a conflict, which somebody decided or has to; `otherwise` if none is.
    /// What is bulk stays so: an import of thousands of patients is no emergency.
    pub fn of_change<'a>(
        records: impl IntoIterator<Item = &'a RecordRef>,
        urgent: &BTreeSet<ResourceType>,
        otherwise: Urgency,
    ) -> Urgency {
        let is_urgent =
            |record: &RecordRef| urgent.contains(&record.kind) || conflict::is_name(record);
        match otherwise {
            Urgency::Bulk => Urgency::Bulk,
            _ if records.into_iter().any(is_urgent) => Urgency::Urgent,
            lane => lane,
        }
    }
}

/// The types whose changes are urgent unless the settings say otherwise: who somebody is, since
/// all else is filed under it and other sites look people up by it; what may harm at the next
/// visit anywhere; and what staff flagged.
pub fn usual() -> BTreeSet<ResourceType> {
    BTreeSet::from([ResourceType::PATIENT, ResourceType::ALLERGY_INTOLERANCE, ResourceType::FLAG])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lane_of_a_change_follows_from_its_records() {
        use Urgency::{Bulk, Normal, Urgent};
        let conflict = "Basic/conflict-0c1ff9d2a7c5b1f8a0c4f2a9f7f5a77b2d1c9e10";
        for (records, otherwise, lane) in [
            (&["Observation/o", "Patient/amina"][..], Normal, Urgent),
            (&["AllergyIntolerance/a"], Normal, Urgent),
            (&[conflict], Normal, Urgent),
            (&["Basic/other", "Encounter/e"], Normal, Normal),
            (&["Observation/o"], Normal, Normal),
            (&["Patient/amina"], Bulk, Bulk),
        ] {
            let names = records.iter().map(|name| name.parse().unwrap()).collect::<Vec<_>>();
            assert_eq!(Urgency::of_change(&names, &usual(), otherwise), lane, "{records:?}");
        }
        let none = BTreeSet::new();
        let patient = ["Patient/amina".parse().unwrap()];
        assert_eq!(Urgency::of_change(&patient, &none, Normal), Normal);
    }

    #[test]
    fn lanes_are_named_as_they_are_written() {
        for lane in Urgency::ALL {
            assert_eq!(Urgency::named(lane.as_str()), Some(lane));
        }
        assert_eq!(Urgency::named("express"), None);
        assert_eq!(usual().len(), 3);
    }
}
