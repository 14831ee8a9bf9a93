//! Each cohort holds whom its definition says, by what the parent's records say in the end: it is
//! worked out here from the records alone.

use std::collections::{BTreeMap, BTreeSet};

use protocol::cohort::{Definition, Place};
use protocol::resource::Record;
use protocol::{Limits, RecordRef};
use store::{CohortInfo, Store};

use super::Rest;
use crate::op::{Op, Step};
use crate::world::Violation;

/// Patients of a cohort that are looked at.
const PATIENTS: usize = 10_000;
/// Patients that are named in one finding.
const NAMED: usize = 5;

pub(super) fn check(rest: &Rest<'_>) -> anyhow::Result<Vec<Violation>> {
    let mut found = Vec::new();
    // Files of one person are held together, and visitors by their parent's word.
    let of_people = |step: &Step| matches!(step.op, Op::Merge | Op::Unmerge | Op::Visit { .. });
    if rest.shared.plan.steps.iter().any(of_people) {
        return Ok(found);
    }
    for (up, records) in rest.sites.iter().zip(&rest.records) {
        let store = up.site.store();
        let cohorts = store.cohort_list()?;
        if cohorts.is_empty() {
            continue;
        }
        let places = places(records);
        for cohort in cohorts {
            let wrong = wrong(store, &cohort, records, &places)?;
            if !wrong.is_empty() {
                let named = wrong.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
                let what = format!("{} of {}: {named}", cohort.name, up.site.id());
                found.push(Violation { checker: "members", what });
            }
        }
    }
    Ok(found)
}

/// What the records say of where each patient belongs.
fn places(records: &BTreeMap<RecordRef, String>) -> BTreeMap<RecordRef, BTreeSet<Place>> {
    let mut places: BTreeMap<RecordRef, BTreeSet<Place>> = BTreeMap::new();
    for body in records.values() {
        let record = Record::parse(body.as_bytes(), &Limits::default());
        for (patient, place) in record.into_iter().flat_map(|record| record.places) {
            places.entry(patient).or_default().insert(place);
        }
    }
    places
}

fn wrong(
    store: &dyn Store,
    cohort: &CohortInfo,
    records: &BTreeMap<RecordRef, String>,
    places: &BTreeMap<RecordRef, BTreeSet<Place>>,
) -> anyhow::Result<Vec<String>> {
    let nowhere = BTreeSet::new();
    let is_held = |definition: &Definition, patient: &RecordRef| {
        definition.holds(patient, places.get(patient).unwrap_or(&nowhere))
    };
    let members = store.cohort_patients(&cohort.name, None, PATIENTS)?;
    let members = members.into_iter().collect::<BTreeSet<_>>();
    let strangers = members.iter().filter(|patient| !is_held(&cohort.definition, patient));
    let mut wrong =
        strangers.map(|patient| format!("{patient} does not belong there")).collect::<Vec<_>>();
    let patients = records.keys().filter(|record| record.is_patient());
    let missing = patients
        .filter(|patient| is_held(&cohort.definition, patient) && !members.contains(*patient));
    wrong.extend(missing.map(|patient| format!("{patient} is missing")));
    Ok(wrong)
}
