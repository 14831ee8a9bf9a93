//! Single records, and how a version is read from its row.

use protocol::feed::Action;
use rusqlite::{OptionalExtension, Row, params};

use super::scope::Sight;
use super::*;

/// What [`stored`] reads, of a record `r`, a version `v` of it and that version's change `c`.
pub(super) const STORED: &str =
    "r.type, r.id, v.sequence, c.recorded, v.digest, v.body, v.previous";

/// A version from the columns [`STORED`].
pub(super) fn stored(row: &Row<'_>) -> Result<StoredVersion> {
    let body = body_text(row, 5)?;
    let first = row.get::<_, Option<u64>>(6)?.is_none();
    Ok(StoredVersion {
        reference: rows::record_ref(row, 0)?,
        sequence: row.get(2)?,
        recorded: rows::time(row, 3)?,
        digest: rows::digest(row, 4)?,
        action: action(body.is_none(), first),
        body,
    })
}

/// The body in a column; `None` where the version is a deletion.
pub(super) fn body_text(row: &Row<'_>, column: usize) -> Result<Option<String>> {
    match row.get_ref(column)?.as_blob_or_null().map_err(rusqlite::Error::from)? {
        Some(bytes) => body::decode(bytes).map(Some),
        None => Ok(None),
    }
}

/// What a version did to its record.
pub(super) fn action(deleted: bool, first: bool) -> Action {
    match (deleted, first) {
        (true, _) => Action::Deleted,
        (false, true) => Action::Created,
        (false, false) => Action::Updated,
    }
}

/// A version is given to who may see the record now and could have seen it in that version.
pub(super) fn record_get(
    store: &SqliteStore,
    record: &RecordRef,
    version: Option<u64>,
    scope: &Scope,
) -> Result<Option<StoredVersion>> {
    store.read("read a record", |conn| {
        let sight = Sight::of(conn, scope)?;
        let sql = get_sql(&sight);
        let mut statement = conn.prepare_cached(&sql)?;
        let found = statement
            .query_row(params![record.kind.name(), record.id(), version], |row| Ok(stored(row)))
            .optional()?;
        found.transpose()
    })
}

fn get_sql(sight: &Sight) -> String {
    format!(
        "SELECT {STORED} FROM record AS r
         CROSS JOIN version AS v ON v.record = r.key AND v.sequence = coalesce(?3, r.sequence)
         CROSS JOIN change AS c ON c.sequence = v.sequence
         WHERE r.type = ?1 AND r.id = ?2 AND {}",
        sight.version("r", "v")
    )
}

#[cfg(test)]
mod tests;
