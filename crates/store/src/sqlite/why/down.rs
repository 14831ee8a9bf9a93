//! Which children get a record, by which feed, and whether they have passed it.

use rusqlite::{Connection, Row, params};
use serde_json::Value;

use super::super::rows::{self, RecordRow};
use super::super::status::list;
use crate::{ChildPlace, FeedPlace, Here, Result};

/// The columns that [`read`] reads first, of a child `c`.
const CHILD: &str = "c.site, c.state, c.last_seen, c.report";

/// The children whose feeds the record is in, or was.
pub(super) fn readers(conn: &Connection, row: &RecordRow, here: &Here) -> Result<Vec<ChildPlace>> {
    let cohorts = format!(
        "SELECT {CHILD}, f.name, f.head, f.head_join, e.position,
            min(CASE WHEN m.\"left\" IS NULL THEN m.joined END), max(m.\"left\")
         FROM record_patient AS rp CROSS JOIN cohort_patient AS m ON m.patient = rp.patient
         CROSS JOIN feed AS f ON f.key = m.feed
         CROSS JOIN child_cohort AS cc ON cc.feed = m.feed
         CROSS JOIN child AS c ON c.site = cc.site AND c.state <> 'revoked'
         LEFT JOIN feed_entry AS e ON e.feed = f.key AND e.sequence = ?2 AND e.kind = 0
         WHERE rp.record = ?1 GROUP BY c.site, f.name ORDER BY c.site, f.name"
    );
    // Only what stands in the feed: not every record without a patient is a reference record.
    let reference = format!(
        "SELECT {CHILD}, f.name, f.head, f.head_join, e.position, NULL, NULL
         FROM feed AS f CROSS JOIN feed_entry AS e
            ON e.feed = f.key AND e.sequence = ?2 AND e.kind = 0
         CROSS JOIN child AS c
         WHERE f.kind = 'reference' AND c.state <> 'revoked'
            AND NOT EXISTS (SELECT 1 FROM record_patient WHERE record = ?1) ORDER BY c.site"
    );
    let mut children = Vec::new();
    for sql in [cohorts, reference] {
        let values = params![row.key, row.sequence];
        children.extend(list(conn, &sql, values, |row| read(row, here))?);
    }
    Ok(children)
}

/// All children, of a record that is not here.
pub(super) fn all(conn: &Connection) -> Result<Vec<ChildPlace>> {
    let sql = format!("SELECT {CHILD} FROM child AS c WHERE c.state <> 'revoked' ORDER BY c.site");
    list(conn, &sql, [], |row| {
        let report = report(row)?;
        child(row, &report)
    })
}

fn report(row: &Row<'_>) -> rusqlite::Result<Value> {
    let text: Option<String> = row.get(3)?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
}

fn child(row: &Row<'_>, report: &Value) -> rusqlite::Result<ChildPlace> {
    Ok(ChildPlace {
        child: rows::site_id(row, 0)?,
        state: row.get(1)?,
        last_seen: rows::time_option(row, 2)?,
        undelivered: report["undelivered"].as_u64(),
        feed: None,
        brought: false,
    })
}

fn read(row: &Row<'_>, here: &Here) -> rusqlite::Result<ChildPlace> {
    let report = report(row)?;
    let place = child(row, &report)?;
    let name: String = row.get(4)?;
    let (head, head_join): (u64, u64) = (row.get(5)?, row.get(6)?);
    // A position after the end is of another life of this store, and says nothing here.
    let at = |lane: &str, end: u64| report[lane][&name].as_u64().filter(|at| *at <= end);
    let (live, bulk) = (at("markers", head), at("bulk_markers", head_join));
    let joined: Option<u64> = row.get(8)?;
    let feed = FeedPlace {
        entry: row.get(7)?,
        joined,
        left: row.get::<_, Option<u64>>(9)?.filter(|_| joined.is_none()),
        live,
        bulk,
        name,
    };
    let brought = here.child.as_ref() == Some(&place.child);
    Ok(ChildPlace { feed: Some(feed), brought, ..place })
}
