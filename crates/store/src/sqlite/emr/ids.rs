//! Records that have another id in the record system than here.

use protocol::RecordRef;
use rusqlite::{Connection, OptionalExtension, params};

use super::left;
use crate::sqlite::{SqliteStore, rows};
use crate::{EmrId, Result, StoreError};

pub(super) fn emr_there(store: &SqliteStore, ours: &[RecordRef]) -> Result<Vec<EmrId>> {
    store.read("look up ids of the record system", |conn| {
        ours.iter().map(|record| there(conn, record)).collect()
    })
}

fn there(conn: &Connection, record: &RecordRef) -> Result<EmrId> {
    let values = params![record.kind.name(), record.id()];
    let other = conn
        .prepare_cached("SELECT type, local FROM emr_id WHERE type = ?1 AND id = ?2")?
        .query_row(values, |row| rows::record_ref(row, 0))
        .optional()?;
    if let Some(other) = other {
        return Ok(EmrId::Other(other));
    }
    let known: Option<(bool, bool)> = conn
        .prepare_cached(
            "SELECT e.image_digest IS NOT NULL AND e.lost = 0,
                e.state IN ('due', 'retry', 'waits', 'parked')
             FROM record AS r JOIN emr_record AS e ON e.record = r.key
             WHERE r.type = ?1 AND r.id = ?2",
        )?
        .query_row(values, |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(match known {
        Some((true, _)) => EmrId::Same,
        // Purged here, and not there.
        _ if left::shown(conn, record)?.is_some() => EmrId::Same,
        Some((false, true)) => EmrId::Due,
        _ => EmrId::Unknown,
    })
}

pub(super) fn emr_here(store: &SqliteStore, theirs: &[RecordRef]) -> Result<Vec<EmrId>> {
    store.read("look up ids of the record system", |conn| {
        theirs.iter().map(|name| here(conn, name)).collect()
    })
}

fn here(conn: &Connection, name: &RecordRef) -> Result<EmrId> {
    let other = conn
        .prepare_cached("SELECT type, id FROM emr_id WHERE type = ?1 AND local = ?2")?
        .query_row(params![name.kind.name(), name.id()], |row| rows::record_ref(row, 0))
        .optional()?;
    match other {
        Some(other) if other == *name => Ok(EmrId::Same),
        Some(other) => Ok(EmrId::Other(other)),
        // Where ours of that name stands under another one, this is none of ours.
        None => Ok(match there(conn, name)? {
            EmrId::Same => EmrId::Same,
            EmrId::Other(_) | EmrId::Due | EmrId::Unknown => EmrId::Unknown,
        }),
    }
}

pub(super) fn emr_name(store: &SqliteStore, names: &[(RecordRef, RecordRef)]) -> Result<()> {
    store.write("keep ids of the record system", |step| {
        for (record, there) in names {
            name(step, record, there)?;
        }
        Ok(())
    })
}

fn name(step: &Connection, record: &RecordRef, there: &RecordRef) -> Result<()> {
    let (kind, local) = (record.kind, there.id());
    let taken: Option<String> = step
        .prepare_cached("SELECT id FROM emr_id WHERE type = ?1 AND local = ?2 AND id <> ?3")?
        .query_row(params![kind.name(), local, record.id()], |row| row.get(0))
        .optional()?;
    if let Some(other) = taken {
        return Err(StoreError::Name(format!(
            "{kind}/{local} of the record system is {kind}/{other} here already, not {record}"
        )));
    }
    step.prepare_cached(
        "INSERT INTO emr_id (type, id, local) VALUES (?1, ?2, ?3)
         ON CONFLICT (type, id) DO UPDATE SET local = ?3",
    )?
    .execute(params![kind.name(), record.id(), local])?;
    Ok(())
}

/// The shape of a UUID, which no server gives twice.
const UUID: &str = "________-____-____-____-____________";

pub(super) fn emr_ids_doubt(store: &SqliteStore) -> Result<Option<String>> {
    store.read("look whether ids of the record system hold", |conn| {
        let why = conn
            .prepare_cached(
                "SELECT reload_reason FROM emr_link
                 WHERE loading = 1 AND reload_reason IS NOT NULL AND (captures = 1 OR applies = 1)
                    AND EXISTS (SELECT 1 FROM emr_id WHERE local NOT LIKE ?1)",
            )?
            .query_row([UUID], |row| row.get(0))
            .optional()?;
        Ok(why)
    })
}
