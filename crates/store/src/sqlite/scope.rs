//! Who may see what, as a condition inside the queries: no row that a reader may not have ever
//! leaves the database.

use std::fmt::Write as _;

use protocol::planted::{Fault, planted};
use protocol::{CohortName, RecordRef, ResourceType};
use rusqlite::{Connection, OptionalExtension, params};

use crate::{Result, Scope};

/// A [`Scope`] with the keys of its cohorts' feeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sight {
    /// Everything.
    Everything,
    /// What is in one of these feeds now, and the reference records.
    Feeds(Vec<i64>),
}

impl Sight {
    /// Names that no cohort has are of no use to anybody, and no error.
    pub(super) fn of(conn: &Connection, scope: &Scope) -> Result<Sight> {
        let Scope::Cohorts { cohorts, .. } = scope else { return Ok(Sight::Everything) };
        let mut keys = Vec::with_capacity(cohorts.len());
        for cohort in cohorts {
            keys.extend(cohort_key(conn, cohort)?);
        }
        keys.sort_unstable();
        Ok(Sight::Feeds(keys))
    }

    /// Whether it reaches a patient: one of the cohorts holds the patient now.
    pub(super) fn sees(&self, conn: &Connection, patient: &RecordRef) -> Result<bool> {
        let Sight::Feeds(feeds) = self else { return Ok(true) };
        let mut statement = conn.prepare_cached(
            "SELECT 1 FROM patient AS p CROSS JOIN cohort_patient AS cp ON cp.patient = p.key
             WHERE p.id = ?1 AND cp.feed = ?2 AND cp.\"left\" IS NULL",
        )?;
        for feed in feeds {
            if statement.exists(params![patient.id(), feed])? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The condition on a version: on the row of `version` that is named `version`, of the row of
    /// `record` that is named `record`. The record is to be seen now, and one of the patients whose
    /// it was in that version is, too: what it said of somebody else before it came to a patient
    /// is no business of those who may see that patient.
    pub(super) fn version(&self, record: &str, version: &str) -> String {
        let Sight::Feeds(feeds) = self else { return "TRUE".to_owned() };
        let now = self.condition(record);
        if planted(Fault::HistoryForAnyone) {
            return now;
        }
        let feeds = list(feeds);
        let since = format!("fp.record = {record}.key AND fp.upto >= {version}.sequence");
        format!(
            "({now} AND (NOT EXISTS (SELECT 1 FROM former_patient AS fp WHERE {since})
                OR EXISTS (SELECT 1 FROM former_patient AS was
                    CROSS JOIN cohort_patient AS cp ON cp.patient = was.patient
                    WHERE was.record = {record}.key
                        AND was.upto = (SELECT min(fp.upto) FROM former_patient AS fp WHERE {since})
                        AND cp.feed IN ({feeds}) AND cp.\"left\" IS NULL)))"
        )
    }

    /// The condition on a row of `record` that is named `alias`; only numbers and constants go
    /// into the text.
    pub(super) fn condition(&self, alias: &str) -> String {
        match self {
            Sight::Everything => "TRUE".to_owned(),
            Sight::Feeds(feeds) => {
                let member = member(alias, feeds);
                format!("({member} OR {})", reference(alias))
            }
        }
    }
}

fn list(feeds: &[i64]) -> String {
    feeds.iter().map(i64::to_string).collect::<Vec<_>>().join(", ")
}

/// One of the record's patients is in one of these feeds now.
pub(super) fn member(alias: &str, feeds: &[i64]) -> String {
    let feeds = list(feeds);
    format!(
        "EXISTS (SELECT 1 FROM record_patient AS rp
            CROSS JOIN cohort_patient AS cp ON cp.patient = rp.patient
            WHERE rp.record = {alias}.key AND cp.feed IN ({feeds}) AND cp.\"left\" IS NULL)"
    )
}

/// The record is a reference record: of such a type, or a conflict about one, and no patient's.
pub(super) fn reference(alias: &str) -> String {
    let mut types = String::new();
    for kind in ResourceType::all().filter(|kind| kind.is_reference()) {
        let comma = if types.is_empty() { "" } else { ", " };
        let _ = write!(types, "{comma}'{kind}'");
    }
    let (from, to) = protocol::resource::types::REFERENCE_CONFLICTS;
    format!(
        "(({alias}.type IN ({types})
                OR {alias}.type = 'Basic' AND {alias}.id >= '{from}' AND {alias}.id < '{to}')
            AND NOT EXISTS (SELECT 1 FROM record_patient AS np WHERE np.record = {alias}.key))"
    )
}

fn cohort_key(conn: &Connection, name: &CohortName) -> Result<Option<i64>> {
    Ok(conn
        .prepare_cached("SELECT key FROM feed WHERE name = ?1 AND kind = 'cohort'")?
        .query_row([name.as_str()], |row| row.get(0))
        .optional()?)
}
