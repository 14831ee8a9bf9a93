//! Records that were purged here, since their patient left this site, and may still be in the
//! record system: what it showed of them then is no news when it is read again.

use std::collections::BTreeSet;

use protocol::{Digest, RecordRef, ResourceType};
use rusqlite::{Connection, OptionalExtension, params};

use crate::Result;
use crate::sqlite::rows;

/// Keeps what the record system showed of a record that is about to be purged.
pub(in crate::sqlite) fn keep(step: &Connection, record: i64) -> Result<()> {
    step.prepare_cached(
        "INSERT OR REPLACE INTO emr_left (type, id, image_digest)
         SELECT r.type, r.id, e.image_digest
         FROM emr_record AS e JOIN record AS r ON r.key = e.record
         WHERE e.record = ?1 AND e.image_digest IS NOT NULL AND e.gone = 0",
    )?
    .execute([record])?;
    Ok(())
}

/// What was shown of a record when it was purged.
pub(super) fn shown(step: &Connection, record: &RecordRef) -> Result<Option<Digest>> {
    Ok(step
        .prepare_cached("SELECT image_digest FROM emr_left WHERE type = ?1 AND id = ?2")?
        .query_row(params![record.kind.name(), record.id()], |row| rows::digest_option(row, 0))
        .optional()?
        .flatten())
}

/// It is not there any more, or known by its own row.
pub(super) fn forget(step: &Connection, record: &RecordRef) -> Result<()> {
    step.prepare_cached("DELETE FROM emr_left WHERE type = ?1 AND id = ?2")?
        .execute(params![record.kind.name(), record.id()])?;
    Ok(())
}

/// The records of a type that were purged here and stood there when they were looked at last.
pub(super) fn of_type(conn: &Connection, kind: ResourceType) -> Result<BTreeSet<RecordRef>> {
    let mut statement = conn.prepare_cached("SELECT type, id FROM emr_left WHERE type = ?1")?;
    let found = statement.query_map([kind.name()], |row| rows::record_ref(row, 0))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}
