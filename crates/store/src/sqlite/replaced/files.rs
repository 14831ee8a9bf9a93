//! Files that go together: a loser is held where its winner is held, and the other way round, as
//! long as the link stands.

use std::collections::{BTreeMap, BTreeSet};

use protocol::RecordRef;
use rusqlite::{Connection, params};

use super::links::{self, Link};
use crate::Result;
use crate::sqlite::rows;

/// All links that hang together with these patients, and whether those are all: at most `limit`
/// files are looked at.
pub(super) fn around(
    step: &Connection,
    seeds: &BTreeSet<i64>,
    limit: usize,
) -> Result<(Vec<Link>, bool)> {
    let mut found: BTreeMap<(i64, i64), Link> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut next: Vec<i64> = seeds.iter().rev().copied().collect();
    // A change of many patients seeds many groups, each of which is within the limit.
    let bound = limit.saturating_add(seeds.len());
    while let Some(patient) = next.pop() {
        if !seen.insert(patient) {
            continue;
        }
        if seen.len() > bound {
            return Ok((found.into_values().collect(), false));
        }
        for link in links::of_patient(step, patient)? {
            next.extend([link.loser, link.winner]);
            found.insert((link.loser, link.winner), link);
        }
    }
    Ok((found.into_values().collect(), true))
}

/// A patient with those whose files go together with its own.
pub(in crate::sqlite) fn together(
    step: &Connection,
    patient: i64,
    limit: usize,
) -> Result<BTreeSet<i64>> {
    let mut files = BTreeSet::from([patient]);
    let mut next = vec![patient];
    while let Some(patient) = next.pop() {
        let mut statement = step.prepare_cached(
            "SELECT winner FROM replaced WHERE loser = ?1 AND trusted = 1
             UNION SELECT loser FROM replaced WHERE winner = ?1 AND trusted = 1",
        )?;
        let found = statement.query_map([patient], |row| row.get(0))?;
        for other in found.collect::<rusqlite::Result<Vec<i64>>>()? {
            if files.len() < limit && files.insert(other) {
                next.push(other);
            }
        }
    }
    Ok(files)
}

/// Patients with all whose files go together with any of theirs.
pub(in crate::sqlite) fn with_files(
    step: &Connection,
    patients: &BTreeSet<i64>,
    limit: usize,
) -> Result<BTreeSet<i64>> {
    let mut all = BTreeSet::new();
    for patient in patients {
        all.extend(together(step, *patient, limit)?);
    }
    Ok(all)
}

/// After a patient's records were taken out of this store: what it said is not known any more,
/// and nothing follows to it.
pub(in crate::sqlite) fn forget(step: &Connection, patient: i64, name: &RecordRef) -> Result<()> {
    if rows::record_row(step, name)?.is_some() {
        return Ok(());
    }
    step.prepare_cached("DELETE FROM moved_record WHERE loser = ?1 OR winner = ?1")?
        .execute([patient])?;
    step.prepare_cached("DELETE FROM replaced WHERE loser = ?1")?.execute([patient])?;
    step.prepare_cached(
        "UPDATE replaced SET state = 'waiting', reason = ?2
         WHERE winner = ?1 AND state <> 'undoing'",
    )?
    .execute(params![patient, format!("{name} is not here")])?;
    Ok(())
}
