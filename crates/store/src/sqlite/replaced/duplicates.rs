//! Patients who have one identifier in common and are not merged: perhaps one person.

use std::collections::{BTreeMap, BTreeSet};

use protocol::RecordRef;
use protocol::json::{self, Json};
use protocol::resource::search::Param;
use rusqlite::{Connection, params};

use super::files::together;
use crate::sqlite::SqliteStore;
use crate::sqlite::records::body_text;
use crate::sqlite::rows;
use crate::{Duplicate, Result};

/// Index values with several Patients that one call looks at, for each that it may give: codes
/// that are equal in different systems stand there too.
const LOOKED_AT: usize = 20;

pub(in crate::sqlite) fn patient_duplicates(
    store: &SqliteStore,
    limit: usize,
) -> Result<Vec<Duplicate>> {
    store.read("look for people who are here twice", |conn| {
        let mut found = BTreeSet::new();
        for value in shared_values(conn, limit.saturating_mul(LOOKED_AT))? {
            for patients in of_value(store, conn, value)? {
                if found.len() < limit {
                    found.insert(patients);
                }
            }
        }
        Ok(found.into_iter().map(|patients| Duplicate { patients }).collect())
    })
}

fn shared_values(conn: &Connection, limit: usize) -> Result<Vec<i64>> {
    let mut statement = conn.prepare_cached(
        "SELECT t.value FROM search_token AS t CROSS JOIN record AS r ON r.key = t.record
         WHERE t.param = ?1 AND r.type = 'Patient'
         GROUP BY t.value HAVING count(*) > 1 ORDER BY t.value LIMIT ?2",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let found = statement.query_map(params![Param::Identifier as i64, limit], |row| row.get(0))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// Groups of Patients with one identifier, its system included, who are not merged.
fn of_value(store: &SqliteStore, conn: &Connection, value: i64) -> Result<Vec<Vec<RecordRef>>> {
    let limit = store.options.limits.merged_patients;
    let mut statement = conn.prepare_cached(
        "SELECT r.type, r.id, v.body, p.key FROM search_token AS t
         CROSS JOIN record AS r ON r.key = t.record
         CROSS JOIN version AS v ON v.record = r.key AND v.sequence = r.sequence
         CROSS JOIN patient AS p ON p.id = r.id
         WHERE t.param = ?1 AND t.value = ?2 AND r.type = 'Patient' ORDER BY r.id LIMIT ?3",
    )?;
    let bound = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![Param::Identifier as i64, value, bound])?;
    let mut by_identifier: BTreeMap<(String, String), Vec<(i64, RecordRef)>> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let (name, key) = (rows::record_ref(row, 0)?, row.get(3)?);
        let Some(body) = body_text(row, 2)? else { continue };
        for identifier in identifiers(&json::parse(body.as_bytes(), json::DEPTH_MAX)?) {
            by_identifier.entry(identifier).or_default().push((key, name.clone()));
        }
    }
    let mut groups = Vec::new();
    for patients in by_identifier.into_values().filter(|patients| patients.len() > 1) {
        let files = together(conn, patients[0].0, limit)?;
        if patients.iter().any(|(key, _)| !files.contains(key)) {
            groups.push(patients.into_iter().map(|(_, name)| name).collect());
        }
    }
    Ok(groups)
}

fn identifiers(patient: &Json<'_>) -> BTreeSet<(String, String)> {
    let list = patient.get("identifier").map(Json::items).unwrap_or_default();
    let pair = |identifier: &Json<'_>| {
        let system = identifier.str_at("system")?.into_owned();
        Some((system, identifier.str_at("value")?.into_owned()))
    };
    list.iter().filter_map(pair).collect()
}
