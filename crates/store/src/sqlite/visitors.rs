//! Visitors: patients whom a child may hold for some days though no cohort of its own has them.
//! Each child has at most one cohort for them, which the first fetch makes; all that holds for a
//! cohort holds for it, except that no definition says who is in it.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{RecordRef, SiteId, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::asks::{self, Ask};
use super::find::of_patient;
use super::publish::{Move, publish_move};
use super::{SqliteStore, audit, replaced, rows};
use crate::{Asked, AuditRow, Result, StoreError, Visiting, VisitorDraft, VisitorInfo};

/// Characters of a cohort's name, at the most.
const NAME_CHARS: usize = 63;
const OVER: &str = "the visit is over";

pub(super) fn visitor_add(
    store: &SqliteStore,
    draft: &VisitorDraft,
    now: Timestamp,
) -> Result<Asked<Visiting>> {
    store.write("let a patient visit a child", |step| {
        if !asks::may_ask(store, step, &draft.child, now)? {
            return Ok(Asked::TooOften);
        }
        let visiting = admit(store, step, draft, now)?;
        let (action, said) = match &visiting {
            Visiting::In { until: Some(until), .. } => ("patient-fetch", format!("until {until}")),
            Visiting::In { feed, .. } => ("patient-fetch", format!("of its cohort {feed}")),
            Visiting::Unknown => ("patient-fetch-refused", "no such patient".to_owned()),
            Visiting::Deleted => ("patient-fetch-refused", "deleted".to_owned()),
            Visiting::ReplacedBy(by) => ("patient-fetch-refused", format!("replaced by {by}")),
        };
        let detail = format!("{said}; by {}: {}", draft.author.as_str(), draft.reason);
        let subject = draft.patient.to_string();
        asks::note(step, &Ask { child: &draft.child, action, subject, detail }, now)?;
        Ok(Asked::Answered(visiting))
    })
}

fn admit(
    store: &SqliteStore,
    step: &Connection,
    draft: &VisitorDraft,
    now: Timestamp,
) -> Result<Visiting> {
    let Some(row) = rows::record_row(step, &draft.patient)? else { return Ok(Visiting::Unknown) };
    if row.deleted {
        return Ok(Visiting::Deleted);
    }
    let hit = of_patient(step, &draft.patient)?;
    if let Some(other) = hit.and_then(|hit| hit.replaced_by)
        && rows::record_row(step, &other)?.is_some_and(|row| !row.deleted)
    {
        return Ok(Visiting::ReplacedBy(other));
    }
    let patient = rows::patient_key(step, &draft.patient)?;
    if let Some(feed) = own_cohort(step, &draft.child, patient)? {
        return Ok(Visiting::In { feed, until: None });
    }
    let (feed, name) = feed_of(store, step, draft, now)?;
    step.prepare_cached(
        "INSERT INTO visitor (feed, patient, since, until, author, reason)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (feed, patient) DO UPDATE SET until = max(until, excluded.until),
            author = excluded.author, reason = excluded.reason",
    )?
    .execute(params![
        feed,
        patient,
        now.millis(),
        draft.until.millis(),
        draft.author.as_str(),
        draft.reason
    ])?;
    for patient in replaced::together(step, patient, store.options.limits.merged_patients)? {
        if !is_member(step, feed, patient)? {
            let sequence = rows::site_sequence(step)?;
            publish_move(step, &Move { feed, patient, leaves: None }, sequence, now)?;
        }
    }
    let until = step
        .prepare_cached("SELECT until FROM visitor WHERE feed = ?1 AND patient = ?2")?
        .query_row(params![feed, patient], |row| rows::time(row, 0))?;
    Ok(Visiting::In { feed: name, until: Some(until) })
}

/// The cohort of the child's that holds the patient anyway.
fn own_cohort(step: &Connection, child: &SiteId, patient: i64) -> Result<Option<String>> {
    Ok(step
        .prepare_cached(
            "SELECT f.name FROM child_cohort AS c
             CROSS JOIN cohort_patient AS m ON m.feed = c.feed AND m.patient = ?2
             CROSS JOIN feed AS f ON f.key = c.feed
             WHERE c.site = ?1 AND m.\"left\" IS NULL
                AND c.feed NOT IN (SELECT feed FROM visitor_feed) ORDER BY f.name LIMIT 1",
        )?
        .query_row(params![child.as_str(), patient], |row| row.get(0))
        .optional()?)
}

fn is_member(step: &Connection, feed: i64, patient: i64) -> Result<bool> {
    Ok(step
        .prepare_cached(
            "SELECT 1 FROM cohort_patient WHERE feed = ?1 AND patient = ?2 AND \"left\" IS NULL",
        )?
        .exists(params![feed, patient])?)
}

/// The child's cohort of visitors, its key and its name; made where this is its first.
fn feed_of(
    store: &SqliteStore,
    step: &Connection,
    draft: &VisitorDraft,
    now: Timestamp,
) -> Result<(i64, String)> {
    let child = draft.child.as_str();
    let found = step
        .prepare_cached(
            "SELECT f.key, f.name FROM visitor_feed AS v CROSS JOIN feed AS f ON f.key = v.feed
             WHERE v.site = ?1",
        )?
        .query_row([child], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    if let Some(found) = found {
        return Ok(found);
    }
    let name = free_name(step, child)?;
    step.execute(
        "INSERT INTO feed (id, name, kind, title, page_entries, created)
         VALUES (?1, ?2, 'cohort', ?3, ?4, ?5)",
        params![
            draft.feed.as_bytes(),
            name,
            format!("Visitors of {child}"),
            store.options.limits.page_entries.max(1),
            now.millis()
        ],
    )?;
    let feed = step.last_insert_rowid();
    step.execute("INSERT INTO visitor_feed (feed, site) VALUES (?1, ?2)", params![feed, child])?;
    step.execute("INSERT INTO child_cohort (site, feed) VALUES (?1, ?2)", params![child, feed])?;
    Ok((feed, name))
}

/// `visitors-SITE`, cut to what a name may have and made unlike all others.
fn free_name(step: &Connection, child: &str) -> Result<String> {
    let mut number = 1_u32;
    loop {
        let tail = if number == 1 { String::new() } else { format!("-{number}") };
        let stem: String =
            format!("visitors-{child}").chars().take(NAME_CHARS - tail.len()).collect();
        let name = stem + &tail;
        let taken = step.prepare_cached("SELECT 1 FROM feed WHERE name = ?1")?.exists([&name])?;
        if !taken {
            return Ok(name);
        }
        number += 1;
    }
}

/// The feeds of visitors that have to do with a patient, and whether each is to hold it: for a
/// visit of any file of the same person. Others hold it from before. (One that is to hold it may
/// not: this site had been rid of the patient, whom a record names again.)
pub(super) fn of_files(
    step: &Connection,
    patient: i64,
    files: &BTreeSet<i64>,
) -> Result<BTreeMap<i64, bool>> {
    let list = |sql: &str, patient: i64| -> Result<Vec<i64>> {
        let mut statement = step.prepare_cached(sql)?;
        let found = statement.query_map([patient], |row| row.get(0))?;
        Ok(found.collect::<rusqlite::Result<_>>()?)
    };
    let member = "SELECT m.feed FROM cohort_patient AS m
         CROSS JOIN visitor_feed AS v ON v.feed = m.feed
         WHERE m.patient = ?1 AND m.\"left\" IS NULL";
    let mut feeds = BTreeMap::new();
    feeds.extend(list(member, patient)?.into_iter().map(|feed| (feed, false)));
    for file in files {
        let visits = list("SELECT feed FROM visitor WHERE patient = ?1", *file)?;
        feeds.extend(visits.into_iter().map(|feed| (feed, true)));
    }
    Ok(feeds)
}

/// Whether a feed is one of visitors, and whose.
pub(super) fn owner(conn: &Connection, name: &str) -> Result<Option<SiteId>> {
    Ok(conn
        .prepare_cached(
            "SELECT v.site FROM visitor_feed AS v CROSS JOIN feed AS f ON f.key = v.feed
             WHERE f.name = ?1",
        )?
        .query_row([name], |row| rows::site_id(row, 0))
        .optional()?)
}

/// Refuses what an operator may do with other cohorts only.
pub(super) fn refuse_owned(conn: &Connection, name: &str) -> Result<()> {
    match owner(conn, name)? {
        None => Ok(()),
        Some(site) => Err(StoreError::Name(format!(
            "the cohort {name} is for the visitors of {site} alone; \
             `tributary child visitors {site}` shows them"
        ))),
    }
}

const VISITORS: &str =
    "SELECT v.feed, v.patient, p.id, f.site, v.since, v.until, v.author, v.reason
     FROM visitor AS v CROSS JOIN visitor_feed AS f ON f.feed = v.feed
     CROSS JOIN patient AS p ON p.key = v.patient";

struct Visitor {
    feed: i64,
    patient: i64,
    info: VisitorInfo,
}

fn read(row: &Row<'_>) -> rusqlite::Result<Visitor> {
    let info = VisitorInfo {
        patient: rows::patient_ref(row, 2)?,
        child: rows::site_id(row, 3)?,
        since: rows::time(row, 4)?,
        until: rows::time(row, 5)?,
        author: row.get(6)?,
        reason: row.get(7)?,
    };
    Ok(Visitor { feed: row.get(0)?, patient: row.get(1)?, info })
}

pub(super) fn visitor_list(
    store: &SqliteStore,
    child: Option<&SiteId>,
) -> Result<Vec<VisitorInfo>> {
    store.read("list visitors", |conn| {
        let mut statement = conn.prepare_cached(&format!(
            "{VISITORS} WHERE ?1 IS NULL OR f.site = ?1 ORDER BY f.site, p.id"
        ))?;
        let found = statement.query_map([child.map(SiteId::as_str)], read)?;
        Ok(found.map(|row| row.map(|row| row.info)).collect::<rusqlite::Result<_>>()?)
    })
}

pub(super) fn visitor_expire(store: &SqliteStore, now: Timestamp) -> Result<u64> {
    let is_due = store.read("look for visits that are over", |conn| {
        Ok(conn
            .prepare_cached("SELECT 1 FROM visitor WHERE until <= ?1 LIMIT 1")?
            .exists([now.millis()])?)
    })?;
    if !is_due {
        return Ok(0);
    }
    store.write("end visits that are over", |step| {
        let over = select(step, "v.until <= ?1", params![now.millis()])?;
        for visitor in &over {
            end(store, step, visitor, "tributary", now)?;
        }
        Ok(over.len() as u64)
    })
}

pub(super) fn visitor_end(
    store: &SqliteStore,
    child: &SiteId,
    patient: &RecordRef,
    now: Timestamp,
) -> Result<bool> {
    store.write("end a visit", |step| {
        let found =
            select(step, "f.site = ?1 AND p.id = ?2", params![child.as_str(), patient.id()])?;
        for visitor in &found {
            end(store, step, visitor, "operator", now)?;
        }
        Ok(!found.is_empty())
    })
}

/// Ends all visits of a child that has no access any more.
pub(super) fn end_all(
    store: &SqliteStore,
    step: &Connection,
    child: &SiteId,
    now: Timestamp,
) -> Result<()> {
    let all = select(step, "f.site = ?1", params![child.as_str()])?;
    all.iter().try_for_each(|visitor| end(store, step, visitor, "operator", now))
}

fn select(step: &Connection, which: &str, values: impl rusqlite::Params) -> Result<Vec<Visitor>> {
    let sql = format!("{VISITORS} WHERE {which} ORDER BY f.site, p.id");
    let mut statement = step.prepare_cached(&sql)?;
    Ok(statement.query_map(values, read)?.collect::<rusqlite::Result<_>>()?)
}

fn end(
    store: &SqliteStore,
    step: &Connection,
    visitor: &Visitor,
    actor: &str,
    now: Timestamp,
) -> Result<()> {
    let Visitor { feed, patient, info } = visitor;
    step.prepare_cached("DELETE FROM visitor WHERE feed = ?1 AND patient = ?2")?
        .execute(params![feed, patient])?;
    let files = replaced::together(step, *patient, store.options.limits.merged_patients)?;
    let still = of_files(step, *patient, &files)?.get(feed) == Some(&true);
    for patient in files.into_iter().filter(|_| !still) {
        if is_member(step, *feed, patient)? {
            let sequence = rows::site_sequence(step)?;
            publish_move(step, &Move { feed: *feed, patient, leaves: Some(OVER) }, sequence, now)?;
        }
    }
    let row = AuditRow {
        actor: actor.to_owned(),
        action: "visitor-end",
        subject: info.patient.to_string(),
        detail: format!("of {}, until {}", info.child, info.until),
    };
    audit::append(step, &row, now)
}
