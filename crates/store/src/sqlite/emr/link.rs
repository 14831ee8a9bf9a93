//! Which record system there is, and how far it was read.

use std::collections::BTreeSet;

use protocol::{RecordRef, ResourceType, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

use super::due;
use crate::sqlite::{SqliteStore, audit, rows};
use crate::{AuditRow, EmrDraft, EmrEvent, EmrPlace, EmrStatus, Result, StoreError, looks_lost};

pub(super) fn emr_set(store: &SqliteStore, draft: Option<&EmrDraft>, now: Timestamp) -> Result<()> {
    store.write("note which record system there is", |step| match draft {
        Some(draft) => set(step, draft, now),
        None => {
            step.execute(
                "UPDATE emr_link SET captures = 0, applies = 0
                 WHERE captures <> 0 OR applies <> 0",
                [],
            )?;
            Ok(())
        }
    })
}

fn set(step: &Connection, draft: &EmrDraft, now: Timestamp) -> Result<()> {
    let EmrDraft { kind, url, captures, applies } = draft;
    let known: Option<EmrDraft> = step
        .prepare_cached("SELECT kind, url, captures, applies FROM emr_link")?
        .query_row([], |row| {
            let (kind, url) = (row.get(0)?, row.get(1)?);
            Ok(EmrDraft { kind, url, captures: row.get(2)?, applies: row.get(3)? })
        })
        .optional()?;
    // Nothing is written then: a site starts on a full disk, too.
    if known.as_ref() == Some(draft) {
        return Ok(());
    }
    let same = known.as_ref().is_some_and(|before| before.kind == *kind && before.url == *url);
    match &known {
        None => {
            step.execute(
                "INSERT INTO emr_link (one, kind, url, captures, applies)
                 VALUES (1, ?1, ?2, ?3, ?4)",
                params![kind, url, captures, applies],
            )?;
        }
        Some(before) => {
            step.execute(
                "UPDATE emr_link SET kind = ?1, url = ?2, captures = ?3, applies = ?4",
                params![kind, url, captures, applies],
            )?;
            if before.kind != *kind {
                // Another product shows other images.
                for sql in [
                    "DELETE FROM emr_record",
                    "DELETE FROM emr_hint",
                    "DELETE FROM emr_id",
                    "DELETE FROM emr_left",
                    "UPDATE emr_link SET capabilities = NULL",
                ] {
                    step.execute(sql, [])?;
                }
            }
            if !same {
                compare_all(step, "the record system has another address")?;
            }
        }
    }
    let applied = known.as_ref().is_some_and(|before| before.kind == *kind && before.applies);
    if *applies && !applied {
        due::mark_all(step)?;
    }
    if !same {
        let row = AuditRow {
            actor: "operator".to_owned(),
            action: "emr-set",
            subject: rows::own_site(step)?.to_string(),
            detail: format!("{kind} at {url}"),
        };
        audit::append(step, &row, now)?;
    }
    Ok(())
}

/// Everything there is to be read again and compared with what was shown before.
pub(in crate::sqlite) fn compare_all(step: &Connection, reason: &str) -> Result<()> {
    step.execute(
        "UPDATE emr_link SET cursor = NULL, loading = 1, load = load + 1, loaded = 0,
            remaining = NULL, reload_reason = ?1",
        [reason],
    )?;
    Ok(())
}

pub(super) fn cursor(conn: &Connection) -> Result<Option<String>> {
    let found: Option<Option<String>> = conn
        .prepare_cached("SELECT cursor FROM emr_link")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(found.flatten())
}

pub(super) fn emr_note(store: &SqliteStore, event: &EmrEvent, now: Timestamp) -> Result<()> {
    let at = now.millis();
    store.write("note what happened with the record system", |step| {
        match event {
            EmrEvent::Contact(capabilities) => {
                step.prepare_cached(
                    "UPDATE emr_link SET failures = 0, last_error = NULL, next_attempt = NULL,
                        away_since = NULL, last_attempt = ?1, last_contact = ?1,
                        capabilities = coalesce(?2, capabilities)",
                )?
                .execute(params![at, capabilities])?;
            }
            EmrEvent::Away { error, next } => {
                step.prepare_cached(
                    "UPDATE emr_link SET failures = failures + 1, last_error = ?2,
                        next_attempt = ?3, last_attempt = ?1,
                        away_since = coalesce(away_since, ?1)",
                )?
                .execute(params![at, error, next.millis()])?;
            }
            EmrEvent::CursorLost(reason) => {
                compare_all(step, reason)?;
                let row = AuditRow {
                    actor: "tributary".to_owned(),
                    action: "emr-compare",
                    subject: rows::own_site(step)?.to_string(),
                    detail: reason.clone(),
                };
                audit::append(step, &row, now)?;
            }
        }
        Ok(())
    })
}

/// Refuses where the cursor is not where the reader thinks: then somebody else reads too, and what
/// this one has may be older.
pub(super) fn expect(step: &Connection, place: &EmrPlace) -> Result<()> {
    if cursor(step)? == place.after { Ok(()) } else { Err(StoreError::Raced) }
}

/// Moves the cursor on, in the transaction that recorded what lies before it.
pub(super) fn advance(
    step: &Connection,
    place: &EmrPlace,
    named: usize,
    now: Timestamp,
) -> Result<()> {
    step.prepare_cached(
        "UPDATE emr_link SET cursor = ?1, remaining = ?2,
            loaded = loaded + CASE loading WHEN 1 THEN ?3 ELSE 0 END",
    )?
    .execute(params![place.cursor, place.left, named])?;
    let loading: bool =
        step.prepare_cached("SELECT loading FROM emr_link")?.query_row([], |row| row.get(0))?;
    if loading && !place.more {
        step.execute(
            "UPDATE emr_link SET loading = 0, remaining = NULL, reload_reason = NULL",
            [],
        )?;
        missing(step, now)?;
    }
    Ok(())
}

/// The records of a type that were there when they were looked at last.
pub(super) fn live(conn: &Connection, kind: ResourceType) -> Result<BTreeSet<RecordRef>> {
    let mut statement = conn.prepare_cached(
        "SELECT r.type, r.id FROM record AS r JOIN emr_record AS e ON e.record = r.key
         WHERE r.type = ?1 AND e.image_digest IS NOT NULL AND e.gone = 0 AND e.lost = 0
         UNION SELECT type, id FROM emr_left WHERE type = ?1",
    )?;
    let found = statement.query_map([kind.name()], |row| rows::record_ref(row, 0))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// Others that were there, in no order that people would delete them in; of this load only, so that
/// what it has not named bears no witness.
pub(super) fn witnesses(
    conn: &Connection,
    absent: &[RecordRef],
    limit: usize,
) -> Result<Option<Vec<RecordRef>>> {
    let mut statement = conn.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM record AS r JOIN emr_record AS e ON e.record = r.key
         WHERE r.type = ?1 AND r.id = ?2
            AND e.image_digest IS NOT NULL AND e.gone = 0 AND e.lost = 0)",
    )?;
    let mut was_there = false;
    for record in absent {
        was_there |= statement
            .query_row(params![record.kind.name(), record.id()], |row| row.get::<_, bool>(0))?;
    }
    if !was_there {
        return Ok(None);
    }
    let mut statement = conn.prepare_cached(
        "SELECT r.type, r.id FROM emr_record AS e JOIN record AS r ON r.key = e.record
         WHERE e.image_digest IS NOT NULL AND e.gone = 0 AND e.lost = 0
            AND e.load = (SELECT load FROM emr_link)
         ORDER BY e.record * 7919 % 10007, e.record LIMIT ?1",
    )?;
    let found = statement.query_map([absent.len() + limit], |row| rows::record_ref(row, 0))?;
    let mut others = found.collect::<rusqlite::Result<Vec<_>>>()?;
    others.retain(|record| !absent.contains(record));
    others.truncate(limit);
    Ok(Some(others))
}

/// What was there and a full load has not named.
const UNNAMED: &str = "FROM emr_record AS e JOIN record AS r ON r.key = e.record
     WHERE e.image_digest IS NOT NULL AND e.gone = 0 AND e.lost = 0
        AND e.load < (SELECT load FROM emr_link) AND r.type = ?1";

/// What a full load has not named and was there before: to be read, one by one. So many that the
/// record system must have lost them, of a type or of all, are written anew instead.
fn missing(step: &Connection, now: Timestamp) -> Result<()> {
    let mut statement = step.prepare(
        "SELECT r.type, count(*), sum(e.load < (SELECT load FROM emr_link))
         FROM emr_record AS e JOIN record AS r ON r.key = e.record
         WHERE e.image_digest IS NOT NULL AND e.gone = 0 AND e.lost = 0 GROUP BY r.type",
    )?;
    let types = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<Vec<(String, u64, u64)>>>()?;
    let all: u64 = types.iter().map(|(_, all, _)| all).sum();
    let gone: u64 = types.iter().map(|(_, _, gone)| gone).sum();
    let all_lost = looks_lost(all, gone) || gone * 2 > all.max(6);
    let mut lost = 0;
    for (kind, of_type, gone) in types.iter().filter(|(_, _, gone)| *gone > 0) {
        if all_lost || looks_lost(*of_type, *gone) {
            again(step, kind)?;
            lost += gone;
        } else {
            read_unnamed(step, kind, now)?;
        }
    }
    if lost == 0 {
        return Ok(());
    }
    let row = AuditRow {
        actor: "tributary".to_owned(),
        action: "emr-lost",
        subject: rows::own_site(step)?.to_string(),
        detail: format!("records {lost} of {all}"),
    };
    audit::append(step, &row, now)
}

/// To be read, one by one: people may have deleted them.
fn read_unnamed(step: &Connection, kind: &str, now: Timestamp) -> Result<()> {
    step.execute(
        &format!(
            "INSERT INTO emr_hint (type, id, noticed) SELECT r.type, r.id, ?2 {UNNAMED}
             ON CONFLICT (type, id) DO NOTHING"
        ),
        params![kind, now.millis()],
    )?;
    Ok(())
}

/// To be written anew, for which they are read first. What they showed stays known: where one is
/// there all the same, an edit of it is told from that.
fn again(step: &Connection, kind: &str) -> Result<()> {
    step.execute(
        &format!(
            "UPDATE emr_record SET lost = 1, attempts = 0, next_at = 0, reason = NULL,
                waits_type = NULL, waits_id = NULL,
                state = CASE WHEN (SELECT applies FROM emr_link) = 1 THEN 'due' ELSE state END
             WHERE record IN (SELECT e.record {UNNAMED})"
        ),
        [kind],
    )?;
    step.execute(
        "DELETE FROM emr_hint WHERE type = ?1 AND EXISTS (SELECT 1 FROM record AS r
            JOIN emr_record AS e ON e.record = r.key
            WHERE r.type = emr_hint.type AND r.id = emr_hint.id AND e.lost = 1)",
        [kind],
    )?;
    Ok(())
}

pub(in crate::sqlite) fn status(conn: &Connection) -> Result<Option<EmrStatus>> {
    let mut counts = std::collections::BTreeMap::<String, u64>::new();
    let mut statement = conn.prepare_cached(
        "SELECT state, count(*) FROM emr_record INDEXED BY emr_record_open
         WHERE state <> 'same' GROUP BY state",
    )?;
    for found in statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))? {
        let (state, count) = found?;
        counts.insert(state, count);
    }
    let count = |state: &str| counts.get(state).copied().unwrap_or(0);
    let hints =
        conn.prepare_cached("SELECT count(*) FROM emr_hint")?.query_row([], |row| row.get(0))?;
    let oldest_due = conn
        .prepare_cached(
            "SELECT c.recorded FROM emr_record AS e INDEXED BY emr_record_open
             CROSS JOIN change AS c ON c.sequence = e.since
             WHERE e.state <> 'same' AND e.state = 'due' ORDER BY e.since LIMIT 1",
        )?
        .query_row([], |row| rows::time(row, 0))
        .optional()?;
    let mut statement = conn.prepare_cached(
        "SELECT kind, url, captures, applies, loading, loaded, remaining, reload_reason,
            captured, applied, capabilities, failures, last_error, last_attempt, last_contact,
            away_since, next_attempt
         FROM emr_link WHERE captures = 1 OR applies = 1",
    )?;
    let read = |row: &rusqlite::Row<'_>| {
        Ok(EmrStatus {
            kind: row.get(0)?,
            url: row.get(1)?,
            captures: row.get(2)?,
            applies: row.get(3)?,
            loading: row.get(4)?,
            loaded: row.get(5)?,
            remaining: row.get(6)?,
            reload_reason: row.get(7)?,
            captured: row.get(8)?,
            applied: row.get(9)?,
            due: count("due"),
            retry: count("retry"),
            waits: count("waits"),
            parked: count("parked"),
            kept: count("kept"),
            dropped: count("dropped"),
            hints,
            oldest_due,
            capabilities: row.get(10)?,
            failures: row.get(11)?,
            last_error: row.get(12)?,
            last_attempt: rows::time_option(row, 13)?,
            last_contact: rows::time_option(row, 14)?,
            away_since: rows::time_option(row, 15)?,
            next_attempt: rows::time_option(row, 16)?,
        })
    };
    Ok(statement.query_row([], read).optional()?)
}
