//! Records into changes: those of one patient together, each change within its limits.

use std::collections::BTreeMap;

use protocol::resource::Record;
use protocol::{Limits, RecordRef};

/// What a line needs besides its bodies.
const ENVELOPE: usize = 16 << 10;

/// Groups records by patient (with those of no patient first, in changes of their own where the
/// document has several patients, else in the patient's), in dependency order, and splits what is
/// over a limit. A record that is there twice is taken once, as it was last.
pub fn changes(records: Vec<Record>, limits: &Limits) -> Vec<Vec<Record>> {
    let mut patients: Vec<RecordRef> =
        records.iter().flat_map(|record| record.patients.iter().cloned()).collect();
    patients.sort();
    patients.dedup();
    let mut groups: BTreeMap<Option<RecordRef>, Vec<Record>> = BTreeMap::new();
    for record in records {
        let patient = match patients.as_slice() {
            [one] => Some(one.clone()),
            _ => record.patients.iter().next().cloned(),
        };
        groups.entry(patient).or_default().push(record);
    }
    groups.into_values().flat_map(|group| split(latest(group), limits)).collect()
}

fn latest(group: Vec<Record>) -> Vec<Record> {
    let mut last: BTreeMap<RecordRef, usize> = BTreeMap::new();
    for (index, record) in group.iter().enumerate() {
        last.insert(record.reference.clone(), index);
    }
    let mut kept: Vec<Record> = group
        .into_iter()
        .enumerate()
        .filter(|(index, record)| last.get(&record.reference) == Some(index))
        .map(|(_, record)| record)
        .collect();
    // What others refer to goes first; within a rank the document's order stays.
    kept.sort_by_key(rank);
    kept
}

fn rank(record: &Record) -> u8 {
    match record.reference.kind.name() {
        _ if record.patients.is_empty() => 0,
        "Patient" => 1,
        "Encounter" => 2,
        _ => 3,
    }
}

fn split(records: Vec<Record>, limits: &Limits) -> Vec<Vec<Record>> {
    let room = limits.line_bytes.saturating_sub(ENVELOPE);
    let mut changes: Vec<Vec<Record>> = Vec::new();
    let mut bytes = 0;
    for record in records {
        let size = record.body.as_ref().map_or(0, String::len) + 100;
        let fits = changes
            .last()
            .is_some_and(|change| change.len() < limits.change_records && bytes + size <= room);
        if !fits {
            changes.push(Vec::new());
            bytes = 0;
        }
        bytes += size;
        if let Some(change) = changes.last_mut() {
            change.push(record);
        }
    }
    changes
}
