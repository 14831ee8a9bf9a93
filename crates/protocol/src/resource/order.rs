//! In which order records go to who checks that what is referred to is there.

use std::collections::{BTreeMap, BTreeSet};

use super::references::{record_named, references};
use crate::id::{RecordRef, ResourceType};
use crate::json;

/// The places of records in the order in which they are to be written: who is referred to comes
/// before who refers, as far as they are among them; Patients and Encounters first where nothing
/// else decides. What is deleted (no body) comes last, the other way round by type.
pub fn dependency_order(records: &[(&RecordRef, Option<&str>)]) -> Vec<usize> {
    let places: BTreeMap<&RecordRef, usize> =
        records.iter().enumerate().map(|(place, (record, _))| (*record, place)).collect();
    let mut kept: Vec<usize> =
        (0..records.len()).filter(|place| records[*place].1.is_some()).collect();
    kept.sort_by_key(|place| (rank(records[*place].0.kind), *place));
    let mut order = Vec::with_capacity(records.len());
    let mut begun = BTreeSet::new();
    for place in kept {
        visit(place, records, &places, &mut begun, &mut order);
    }
    let mut gone: Vec<usize> =
        (0..records.len()).filter(|place| records[*place].1.is_none()).collect();
    gone.sort_by_key(|place| (std::cmp::Reverse(rank(records[*place].0.kind)), *place));
    order.extend(gone);
    order
}

/// Puts what a record refers to before it. A circle is cut where it is entered.
fn visit(
    first: usize,
    records: &[(&RecordRef, Option<&str>)],
    places: &BTreeMap<&RecordRef, usize>,
    begun: &mut BTreeSet<usize>,
    order: &mut Vec<usize>,
) {
    // By hand, and not by calling itself: a chain of records may be long.
    let mut stack = vec![(first, None::<Vec<usize>>)];
    while let Some((place, waiting)) = stack.pop() {
        let mut waiting = match waiting {
            Some(waiting) => waiting,
            None if begun.insert(place) => referred(records[place].1, places),
            None => continue,
        };
        match waiting.pop() {
            Some(next) => {
                stack.push((place, Some(waiting)));
                if records[next].1.is_some() {
                    stack.push((next, None));
                }
            }
            None => order.push(place),
        }
    }
}

fn referred(body: Option<&str>, places: &BTreeMap<&RecordRef, usize>) -> Vec<usize> {
    let Some(resource) = body.and_then(|body| json::parse(body.as_bytes(), json::DEPTH_MAX).ok())
    else {
        return Vec::new();
    };
    let found = references(&resource).into_iter().rev();
    let found = found.filter_map(|(_, text)| record_named(&text.decode()));
    found.filter_map(|record| places.get(&record).copied()).collect()
}

/// The rank of a type: what depends on others has a higher one.
pub fn rank(kind: ResourceType) -> u8 {
    match kind {
        ResourceType::PATIENT => 1,
        ResourceType::ENCOUNTER => 3,
        kind if kind.is_reference() => 0,
        // What encounters refer to, as far as they refer to any of a patient's records.
        kind if matches!(kind.name(), "RelatedPerson" | "EpisodeOfCare") => 2,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_referred_to_comes_first_and_what_is_deleted_last() {
        let record = |text: &str| text.parse::<RecordRef>().unwrap();
        let refers = |to: &str| format!(r#"{{"x":[{{"reference":"{to}"}}]}}"#);
        for (given, expected) in [
            // (record, what it refers to; "-": deleted)
            (
                vec![
                    ("Observation/o", "Encounter/e"),
                    ("Encounter/e", "Patient/p"),
                    ("Patient/p", "Organization/x"),
                ],
                "Patient/p Encounter/e Observation/o",
            ),
            (
                vec![
                    ("Observation/a", "Observation/b"),
                    ("Observation/b", "Observation/c"),
                    ("Observation/c", "Patient/other"),
                ],
                "Observation/c Observation/b Observation/a",
            ),
            (
                vec![("Encounter/part", "Encounter/whole"), ("Encounter/whole", "")],
                "Encounter/whole Encounter/part",
            ),
            (
                vec![
                    ("Patient/p", "-"),
                    ("Observation/o", "-"),
                    ("Encounter/e", "-"),
                    ("Flag/f", ""),
                ],
                "Flag/f Observation/o Encounter/e Patient/p",
            ),
            // A circle, and one who refers to itself and to what is deleted.
            (vec![("Patient/a", "Patient/b"), ("Patient/b", "Patient/a")], "Patient/b Patient/a"),
            (vec![("Patient/a", "Patient/a")], "Patient/a"),
            (vec![("Flag/f", "Patient/p"), ("Patient/p", "-")], "Flag/f Patient/p"),
        ] {
            let given: Vec<_> = given
                .into_iter()
                .map(|(name, to)| (record(name), (to != "-").then(|| refers(to))))
                .collect();
            let list: Vec<_> = given.iter().map(|(name, body)| (name, body.as_deref())).collect();
            let order = dependency_order(&list);
            let told: Vec<_> = order.iter().map(|place| list[*place].0.to_string()).collect();
            assert_eq!(told.join(" "), expected);
        }
    }

    #[test]
    fn a_long_chain_is_no_deep_call() {
        let names: Vec<RecordRef> =
            (0..2_000).map(|n| format!("Observation/o{n}").parse().unwrap()).collect();
        let bodies: Vec<String> = (0..2_000)
            .map(|n| format!(r#"{{"hasMember":[{{"reference":"Observation/o{}"}}]}}"#, n + 1))
            .collect();
        let list: Vec<_> =
            names.iter().zip(&bodies).map(|(name, body)| (name, Some(body.as_str()))).collect();
        let order = dependency_order(&list);
        assert_eq!((order[0], order[1_999]), (1_999, 0));
    }
}
