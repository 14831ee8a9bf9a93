//! Records that have another id in the record system than here.

use protocol::{RecordRef, ResourceType};
use rusqlite::{OptionalExtension, params};

use crate::sqlite::{SqliteStore, rows};
use crate::{Result, StoreError};

pub(super) fn emr_locals(
    store: &SqliteStore,
    records: &[RecordRef],
) -> Result<Vec<Option<String>>> {
    store.read("look up ids of the record system", |conn| {
        let mut statement =
            conn.prepare_cached("SELECT local FROM emr_id WHERE type = ?1 AND id = ?2")?;
        let mut found = Vec::with_capacity(records.len());
        for record in records {
            let values = params![record.kind.name(), record.id()];
            found.push(statement.query_row(values, |row| row.get(0)).optional()?);
        }
        Ok(found)
    })
}

pub(super) fn emr_named(
    store: &SqliteStore,
    kind: ResourceType,
    local: &str,
) -> Result<Option<RecordRef>> {
    store.read("look up an id of the record system", |conn| {
        Ok(conn
            .prepare_cached("SELECT type, id FROM emr_id WHERE type = ?1 AND local = ?2")?
            .query_row(params![kind.name(), local], |row| rows::record_ref(row, 0))
            .optional()?)
    })
}

pub(super) fn emr_name(store: &SqliteStore, record: &RecordRef, local: &str) -> Result<()> {
    store.write("keep an id of the record system", |step| {
        let taken: Option<String> = step
            .prepare_cached("SELECT id FROM emr_id WHERE type = ?1 AND local = ?2 AND id <> ?3")?
            .query_row(params![record.kind.name(), local, record.id()], |row| row.get(0))
            .optional()?;
        if let Some(other) = taken {
            let kind = record.kind;
            return Err(StoreError::Name(format!(
                "{kind}/{local} of the record system is {kind}/{other} here already, not {record}"
            )));
        }
        step.prepare_cached(
            "INSERT INTO emr_id (type, id, local) VALUES (?1, ?2, ?3)
             ON CONFLICT (type, id) DO UPDATE SET local = ?3",
        )?
        .execute(params![record.kind.name(), record.id(), local])?;
        Ok(())
    })
}
