//! A full load: everything that is there is named, type by type, page by page.

use std::collections::BTreeMap;

use protocol::ResourceType;
use serde::{Deserialize, Serialize};

use super::follow::{Follow, names};
use super::pages::{At, List};
use super::{FhirEmr, Found, Place};
use crate::config::FhirIds;
use crate::fhir_server::Capabilities as Offered;
use crate::ports::EmrError;

/// Records of one page: whole ones, and where only their names come.
const PAGE: usize = 200;
const NAMES: usize = 500;
/// Pages in a row without anything, after which it is noted how far the load is.
const EMPTY: usize = 20;

/// How far a full load is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Load {
    /// Types that are still to be named, the next last.
    types: Vec<String>,
    /// Where it goes on with that one.
    #[serde(default)]
    at: At,
    /// When the server began with it, by its own clock: from there on changes are followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    /// Types of which something is there.
    found: Vec<String>,
    /// Types of which pages were reached by their place, where one may have been missed.
    #[serde(default)]
    doubtful: Vec<String>,
}

impl Load {
    /// Of everything that a server shows.
    pub(super) fn begin(offered: &Offered) -> Load {
        let mut types = of_records(offered).collect::<Vec<_>>();
        // Patients first, then those who are referred to; the next one is taken from the end.
        let rank = |kind: &ResourceType| match *kind {
            ResourceType::PATIENT => 1,
            ResourceType::ENCOUNTER => 2,
            kind if kind.is_reference() => 0,
            _ => 3,
        };
        types.sort_by_key(|kind| (std::cmp::Reverse(rank(kind)), std::cmp::Reverse(kind.name())));
        let types = types.iter().map(ToString::to_string).collect();
        Load { types, ..Load::default() }
    }
}

/// Types of what a server needs for itself, or keeps about itself: no records of a clinic.
const ITS_OWN: &[&str] = &[
    "AuditEvent",
    "Binary",
    "Bundle",
    "CapabilityStatement",
    "CodeSystem",
    "CompartmentDefinition",
    "ConceptMap",
    "ExampleScenario",
    "GraphDefinition",
    "ImplementationGuide",
    "MessageDefinition",
    "NamingSystem",
    "OperationDefinition",
    "OperationOutcome",
    "Parameters",
    "SearchParameter",
    "StructureDefinition",
    "StructureMap",
    "Subscription",
    "TerminologyCapabilities",
    "TestReport",
    "TestScript",
    "ValueSet",
];

/// Types that are followed from the start, though nothing of them may be there yet.
const USUAL: &[&str] = &[
    "AllergyIntolerance",
    "Condition",
    "DiagnosticReport",
    "Encounter",
    "Flag",
    "Immunization",
    "Location",
    "MedicationRequest",
    "Observation",
    "Patient",
    "Practitioner",
    "Procedure",
    "ServiceRequest",
];

/// Whether a type is one of records.
pub(super) fn is_of_records(kind: ResourceType) -> bool {
    !ITS_OWN.contains(&kind.name())
}

/// The types of records that a server shows.
pub(super) fn of_records(offered: &Offered) -> impl Iterator<Item = ResourceType> {
    let shown = offered.types.iter().filter(|(_, kind)| kind.read && kind.search);
    shown.map(|(kind, _)| *kind).filter(|kind| is_of_records(*kind))
}

impl FhirEmr {
    /// A page of a full load with something on it: of many types there is nothing.
    pub(super) async fn load(&self, mut load: Load) -> Result<Found, EmrError> {
        for _ in 1..EMPTY {
            match self.load_page(load).await? {
                Found { groups, place: Place::Load(next), more: true, .. } if groups.is_empty() => {
                    load = next;
                }
                found => return Ok(found),
            }
        }
        self.load_page(load).await
    }

    /// One page of a full load.
    async fn load_page(&self, mut load: Load) -> Result<Found, EmrError> {
        let Some(kind) = load.types.last().cloned() else {
            let since = load.since.unwrap_or_else(|| self.ways.clock.now().to_string());
            let mut types = load.found;
            let offered = self.offered().await?;
            let usual = of_records(&offered).filter(|kind| USUAL.contains(&kind.name()));
            types.extend(usual.map(|kind| kind.to_string()));
            types.sort();
            types.dedup();
            let follow = Follow::begin(since, types, self.ways.clock.now());
            let follow = follow.comparing(load.doubtful);
            return Ok(Found::names(Vec::new(), Place::Follow(follow), false));
        };
        let path = format!("{kind}?_sort=_lastUpdated");
        // With other ids there, a page says which is which, and that is all it is asked for.
        let is_whole = self.mode == FhirIds::Keep;
        let list = List {
            what: &kind,
            path,
            count: if is_whole { PAGE } else { NAMES },
            is_whole,
            by_time: true,
            exact: false,
        };
        let (page, more) = self.next_of(&list, &mut load.at).await?;
        let is_whole = is_whole && !load.at.names;
        if load.since.is_none() {
            load.since = page.at.clone();
        }
        let groups = names(&page.found).map(|(record, _)| vec![record]).collect::<Vec<_>>();
        if !groups.is_empty() && load.found.last() != Some(&kind) {
            load.found.push(kind.clone());
        }
        if !more {
            load.types.pop();
            if std::mem::take(&mut load.at).by_place {
                load.doubtful.push(kind);
            }
        }
        let shown = if is_whole { self.whole(&page, &groups) } else { BTreeMap::new() };
        Ok(Found { groups, shown, place: Place::Load(load), more: true })
    }
}
