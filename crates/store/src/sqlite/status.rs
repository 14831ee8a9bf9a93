//! Counts and lists for people. Counts come from indexes, so that a page of status costs little
//! however much is stored.

mod deliveries;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use protocol::Urgency;
use protocol::reconcile::Policies;
use protocol::stream::Lane;
use rusqlite::types::FromSql;
use rusqlite::{OptionalExtension, Params, Row, params};

use super::deliveries::lanes::LaneColumn;
use super::*;
use super::{alerts, emr, lag, link, outbox, pause, rows, sites, sources};
use crate::StoreError;

pub(super) use deliveries::{
    delivery_conditions, delivery_list, find as find_deliveries, state_name,
};

pub(super) fn site(store: &SqliteStore) -> Result<SiteInfo> {
    store.read("look at itself", site_info)
}

pub(super) fn site_info(conn: &Connection) -> Result<SiteInfo> {
    let sql = "SELECT site, epoch, sequence, has_parent, again FROM site";
    Ok(conn.prepare_cached(sql)?.query_row([], |row| {
        Ok(SiteInfo {
            site: rows::site_id(row, 0)?,
            epoch: rows::epoch(row, 1)?,
            sequence: row.get(2)?,
            has_parent: row.get(3)?,
            again: row.get(4)?,
        })
    })?)
}

/// One value.
fn one<T: FromSql>(conn: &Connection, sql: &str, values: impl Params) -> Result<T> {
    Ok(conn.prepare_cached(sql)?.query_row(values, |row| row.get(0))?)
}

pub(super) fn site_status(store: &SqliteStore, now: Timestamp) -> Result<SiteStatus> {
    store.read("count what it holds", |conn| {
        let site = site_info(conn)?;
        let count = |sql: &str| one::<u64>(conn, sql, []);
        let deleted = count("SELECT count(*) FROM record WHERE deleted = 1")?;
        let link = link_info(conn)?;
        let (deliveries, lanes) = delivery_counts(conn)?;
        let deleted_patients =
            count("SELECT count(*) FROM record WHERE deleted = 1 AND type = 'Patient'")?;
        Ok(SiteStatus {
            site: site.site,
            epoch: site.epoch.to_string(),
            sequence: site.sequence,
            records: count("SELECT count(*) FROM record")?.saturating_sub(deleted),
            patients: count("SELECT count(*) FROM record WHERE type = 'Patient'")?
                .saturating_sub(deleted_patients),
            changes: count("SELECT count(*) FROM change")?,
            conflicts_open: count("SELECT count(*) FROM conflict WHERE state = 'open'")?,
            forecast: forecast(&link.pace, &deliveries),
            deliveries,
            lanes,
            oldest_undelivered: oldest_undelivered(conn)?,
            parked_lines: count("SELECT count(*) FROM parked_line")?,
            patients_left: count(
                "SELECT count(*) FROM patient AS p WHERE p.state <> 'here' AND EXISTS
                    (SELECT 1 FROM record_patient AS rp WHERE rp.patient = p.key)",
            )?,
            cohorts: count("SELECT count(*) FROM cohort")?,
            children: children(conn)?,
            markers: list_markers(conn)?,
            link,
            paused: pause::all(conn, now)?,
            outbox: outbox::status(conn, now)?,
            read: sources::reader(conn)?,
            sources: sources::list(conn)?,
            emr: emr::status(conn)?,
            inbox: count("SELECT count(*) FROM inbox")?,
            alerts: count("SELECT count(*) FROM alert WHERE cleared IS NULL")?,
            alert_troubles: alerts::troubles(conn)?,
            audit_rows: count("SELECT coalesce(max(key), 0) FROM audit")?,
            disk_bytes: disk_bytes(&store.path),
            merged: count("SELECT count(*) FROM change WHERE via = 0 AND author = 'tributary'")?,
        })
    })
}

/// The children, with how far they are behind.
fn children(conn: &Connection) -> Result<Vec<ChildInfo>> {
    let mut children = sites::list_children(conn)?;
    for child in &mut children {
        child.lag = lag::behind(conn, &child.site, child.report.as_deref())?;
    }
    Ok(children)
}

/// Deliveries by state, and those that wait by lane. Open ones by their index; the rest of all is
/// done.
#[allow(clippy::type_complexity)] // Two counts of the same rows.
fn delivery_counts(conn: &Connection) -> Result<(BTreeMap<String, u64>, BTreeMap<Urgency, u64>)> {
    let (mut counts, mut lanes) = (BTreeMap::<String, u64>::new(), BTreeMap::new());
    let mut open = 0;
    let mut statement = conn.prepare_cached(
        "SELECT CASE WHEN state = 'parked' OR away = 0 THEN state
                WHEN away = 1 THEN 'leased' ELSE 'handed-over' END AS told, count(*), lane
         FROM delivery INDEXED BY delivery_open
         WHERE target = 'parent' AND state <> 'done' GROUP BY told, lane",
    )?;
    let read = |row: &Row<'_>| -> rusqlite::Result<(String, u64, LaneColumn)> {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
    };
    for found in statement.query_map([], read)? {
        let (state, count, LaneColumn(lane)) = found?;
        open += count;
        if ["ready", "retry"].contains(&state.as_str()) {
            *lanes.entry(lane).or_default() += count;
        }
        *counts.entry(state).or_default() += count;
    }
    let all: u64 = one(conn, "SELECT count(*) FROM delivery", [])?;
    let dropped: u64 = one(
        conn,
        "SELECT count(*) FROM delivery INDEXED BY delivery_dropped WHERE outcome = 'dropped'",
        [],
    )?;
    if dropped > 0 {
        counts.insert("dropped".to_owned(), dropped);
    }
    if all > open + dropped {
        counts.insert("done".to_owned(), all - open - dropped);
    }
    Ok((counts, lanes))
}

/// What is still to move: what is parked, or away with a third party, does not.
fn forecast(pace: &LinkPace, deliveries: &BTreeMap<String, u64>) -> Forecast {
    let count = |state: &str| deliveries.get(state).copied().unwrap_or(0);
    Forecast {
        up: pace.up.left(count("ready") + count("retry")),
        down: pace.live.left(pace.live_ahead).and(pace.bulk.left(pace.bulk_ahead)),
    }
}

fn oldest_undelivered(conn: &Connection) -> Result<Option<Timestamp>> {
    Ok(conn
        .prepare_cached(
            "SELECT c.recorded FROM delivery AS d INDEXED BY delivery_open
             CROSS JOIN change AS c ON c.sequence = d.sequence
             WHERE d.target = 'parent' AND d.state <> 'done' ORDER BY d.sequence LIMIT 1",
        )?
        .query_row([], |row| rows::time(row, 0))
        .optional()?)
}

/// The file and its log; what cannot be looked at counts as nothing.
fn disk_bytes(path: &Path) -> u64 {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
    size(path) + size(Path::new(&log))
}

pub(super) fn marker_list(store: &SqliteStore) -> Result<Vec<Marker>> {
    store.read("list its markers", list_markers)
}

fn list_markers(conn: &Connection) -> Result<Vec<Marker>> {
    let mut statement = conn.prepare_cached(
        "SELECT feed, name, epoch, lane, position FROM marker
         ORDER BY name, feed, epoch, lane DESC",
    )?;
    let found = statement.query_map([], |row| {
        Ok(Marker {
            feed: rows::feed_id(row, 0)?,
            name: row.get(1)?,
            epoch: rows::epoch(row, 2)?,
            lane: Lane::named(row.get_ref(3)?.as_str()?)
                .ok_or_else(|| rows::odd(3, "not a lane"))?,
            position: row.get(4)?,
        })
    })?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn link_get(store: &SqliteStore) -> Result<LinkInfo> {
    store.read("look at its link", link_info)
}

pub(super) fn link_info(conn: &Connection) -> Result<LinkInfo> {
    let found = conn
        .prepare_cached(
            "SELECT failures, last_error, last_attempt, last_contact, next_attempt, wire_sent,
                wire_received, raw_sent, raw_received, peer, pace, again, compared
             FROM link WHERE target = 'parent'",
        )?
        .query_row([], |row| {
            Ok(LinkInfo {
                failures: row.get(0)?,
                last_error: row.get(1)?,
                last_attempt: rows::time_option(row, 2)?,
                last_contact: rows::time_option(row, 3)?,
                next_attempt: rows::time_option(row, 4)?,
                wire_sent: row.get(5)?,
                wire_received: row.get(6)?,
                raw_sent: row.get(7)?,
                raw_received: row.get(8)?,
                peer: row.get(9)?,
                policies: Policies::default(),
                // Of another version of the program: it is measured anew.
                pace: row
                    .get::<_, Option<String>>(10)?
                    .and_then(|text| serde_json::from_str(&text).ok())
                    .unwrap_or_default(),
                months: Vec::new(),
                again: row.get(11)?,
                compared: rows::time_option(row, 12)?,
            })
        })
        .optional()?;
    let policies = link::policies(conn)?;
    let months = link::months(conn)?;
    Ok(LinkInfo { policies, months, ..found.unwrap_or_default() })
}

pub(super) fn parked_list(store: &SqliteStore, limit: usize) -> Result<Vec<ParkedLine>> {
    store.read("list parked lines", |conn| {
        let sql = "SELECT key FROM parked_line ORDER BY key LIMIT ?1";
        let keys: Vec<i64> = list(conn, sql, [bound(limit)], |row| row.get(0))?;
        keys.into_iter().map(|key| parked_line(conn, key)).collect()
    })
}

/// A parked line for people.
pub(super) fn parked_line(conn: &Connection, key: i64) -> Result<ParkedLine> {
    let mut statement = conn.prepare_cached(
        "SELECT l.key, l.feed, l.position, l.reason, l.attempts, l.next_at, l.parked,
            coalesce(l.source || '/outgoing',
                (SELECT m.name FROM marker AS m WHERE m.feed = l.feed LIMIT 1)), l.held
         FROM parked_line AS l WHERE l.key = ?1",
    )?;
    let line = statement.query_row([key], |row| {
        let name: Option<String> = row.get(7)?;
        Ok(ParkedLine {
            key: row.get(0)?,
            feed: match name {
                Some(name) => name,
                None => rows::feed_id(row, 1)?.to_string(),
            },
            position: row.get(2)?,
            patients: Vec::new(),
            reason: row.get(3)?,
            attempts: row.get(4)?,
            next_at: rows::time(row, 5)?,
            parked: rows::time(row, 6)?,
            held: row.get(8)?,
        })
    })?;
    let sql = "SELECT p.id FROM parked_line_patient AS lp
         CROSS JOIN patient AS p ON p.key = lp.patient WHERE lp.line = ?1 ORDER BY p.id";
    let patients = list(conn, sql, [key], |row| rows::patient_ref(row, 0))?;
    Ok(ParkedLine { patients, ..line })
}

fn bound(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// All rows of a query.
pub(super) fn list<T>(
    conn: &Connection,
    sql: &str,
    values: impl Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>> {
    let mut statement = conn.prepare_cached(sql)?;
    Ok(statement.query_map(values, read)?.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn cohort_list(store: &SqliteStore) -> Result<Vec<CohortInfo>> {
    store.read("list its cohorts", |conn| {
        let sql = "SELECT f.name, f.title, c.definition, f.head,
                (SELECT count(*) FROM cohort_patient AS m
                    WHERE m.feed = f.key AND m.\"left\" IS NULL)
             FROM cohort AS c CROSS JOIN feed AS f ON f.key = c.feed ORDER BY f.name";
        list(conn, sql, [], |row| {
            let name = row.get_ref(0)?.as_str()?;
            Ok(CohortInfo {
                name: name.parse().map_err(|_| rows::odd(0, "not a cohort's name"))?,
                title: row.get(1)?,
                definition: serde_json::from_str(row.get_ref(2)?.as_str()?)
                    .map_err(|_| rows::odd(2, "not a cohort's definition"))?,
                head: row.get(3)?,
                patients: row.get(4)?,
            })
        })
    })
}

pub(super) fn cohort_patients(
    store: &SqliteStore,
    name: &CohortName,
    after: Option<&RecordRef>,
    limit: usize,
) -> Result<Vec<RecordRef>> {
    store.read("list the patients of a cohort", |conn| {
        let feed: Option<i64> = conn
            .prepare_cached("SELECT key FROM feed WHERE name = ?1 AND kind = 'cohort'")?
            .query_row([name.as_str()], |row| row.get(0))
            .optional()?;
        let Some(feed) = feed else {
            return Err(StoreError::Name(format!("there is no cohort {name}")));
        };
        let sql = "SELECT p.id FROM patient AS p
             CROSS JOIN cohort_patient AS m ON m.feed = ?1 AND m.patient = p.key
             WHERE p.id > ?2 AND m.\"left\" IS NULL ORDER BY p.id LIMIT ?3";
        let after = after.map_or("", |after| after.id());
        list(conn, sql, params![feed, after, bound(limit)], |row| rows::patient_ref(row, 0))
    })
}
