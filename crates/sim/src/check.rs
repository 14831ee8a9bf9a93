//! What must be true of a world that has come to rest: one checker a file.

mod beside;
mod conflicts;
mod converged;
mod drained;
mod duplicate;
mod lost;
mod markers;
mod members;
mod order;
mod whole;

use std::collections::BTreeMap;

use protocol::{RecordRef, ResourceType};
use store::{HistoryQuery, Scope, SearchQuery, Store};

use crate::place::Up;
use crate::world::{Shared, Violation};

/// Records that are read at a time.
const PAGE: u32 = 500;
/// Links between patients of one site that are told.
const LINKS: usize = 1_000;

/// A world that has come to rest, as the checkers see it.
pub(crate) struct Rest<'a> {
    pub(crate) shared: &'a Shared,
    /// The sites, in their order.
    pub(crate) sites: Vec<Up>,
    /// The current records of each site that are not deleted.
    pub(crate) records: Vec<BTreeMap<RecordRef, String>>,
}

/// Looks at everything.
pub(crate) fn all(shared: &Shared) -> anyhow::Result<Vec<Violation>> {
    let sites = shared.places.iter().map(|place| place.up());
    let Some(sites) = sites.collect::<Option<Vec<_>>>() else {
        let what = "a site is not up in the end".to_owned();
        return Ok(vec![Violation { checker: "start", what }]);
    };
    let records = sites.iter().map(|up| current(up.site.store()));
    let records = records.collect::<anyhow::Result<Vec<_>>>()?;
    let rest = Rest { shared, sites, records };
    let mut found = Vec::new();
    found.extend(drained::check(&rest)?);
    found.extend(converged::check(&rest)?);
    found.extend(conflicts::check(&rest)?);
    found.extend(lost::check(&rest)?);
    found.extend(duplicate::check(&rest));
    found.extend(order::check(&rest)?);
    found.extend(markers::check(&rest)?);
    found.extend(members::check(&rest)?);
    found.extend(whole::check(&rest)?);
    found.extend(beside::check(&rest)?);
    Ok(found)
}

fn current(store: &dyn Store) -> anyhow::Result<BTreeMap<RecordRef, String>> {
    let mut records = BTreeMap::new();
    for kind in ResourceType::all().filter(|kind| USED.contains(&kind.name())) {
        let mut query = SearchQuery { kind: Some(kind), limit: PAGE, ..SearchQuery::default() };
        loop {
            let page = store.record_search(&query, &Scope::Everything)?;
            let bodies = page.records.into_iter();
            records.extend(bodies.filter_map(|one| Some((one.reference, one.body?))));
            query.after = page.next;
            if query.after.is_none() {
                break;
            }
        }
    }
    Ok(records)
}

/// The types of record that a world has.
const USED: [&str; 9] = [
    "AllergyIntolerance",
    "Basic",
    "Encounter",
    "Group",
    "Location",
    "MedicationRequest",
    "Observation",
    "Patient",
    "Practitioner",
];

/// How a record came to its state at each site: for people who look for the cause.
pub(crate) fn explain(shared: &Shared, record: &RecordRef) -> Vec<String> {
    let mut lines = Vec::new();
    for place in shared.places.iter() {
        let Some(up) = place.up() else { continue };
        let query =
            HistoryQuery { record: Some(record.clone()), limit: PAGE, ..HistoryQuery::default() };
        let Ok(page) = up.site.store().record_history(&query, &Scope::Everything) else { continue };
        for version in page.versions.iter().rev() {
            lines.push(format!(
                "{} {} {} {}: {}",
                place.id,
                version.sequence,
                version.recorded,
                version.digest.short(),
                version.body.as_deref().unwrap_or("deleted")
            ));
        }
    }
    lines
}

/// What each site knows of merged patients: likewise.
pub(crate) fn explain_links(shared: &Shared) -> Vec<String> {
    let mut lines = Vec::new();
    for place in shared.places.iter() {
        let Some(up) = place.up() else { continue };
        for link in up.site.store().patient_replaced(LINKS).unwrap_or_default() {
            let reason = link.reason.unwrap_or_default();
            let (loser, winner, state) = (link.loser, link.winner, link.state);
            lines.push(format!("{} {loser} -> {winner}: {state} {reason}", place.id));
        }
    }
    lines
}
