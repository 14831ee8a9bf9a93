//! What a source without bases showed of its records when they were last read.

use protocol::digest::ShortDigest;
use protocol::{RecordRef, SiteId};
use rusqlite::{Connection, OptionalExtension, params};

use crate::sqlite::SqliteStore;
use crate::{Result, SourcePlace};

/// Keeps where the reader is and what it has seen, in the transaction that applied that.
pub(in crate::sqlite) fn keep(
    step: &Connection,
    source: &SiteId,
    place: &SourcePlace,
) -> Result<()> {
    step.prepare_cached("UPDATE source SET place = ?2 WHERE name = ?1")?
        .execute(params![source.as_str(), place.text])?;
    let mut statement = step.prepare_cached(
        "INSERT INTO source_image (source, type, id, digest) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (source, type, id) DO UPDATE SET digest = excluded.digest",
    )?;
    for (record, digest) in &place.seen {
        statement.execute(params![source.as_str(), record.kind.name(), record.id(), digest.0])?;
    }
    Ok(())
}

pub(in crate::sqlite) fn source_images(
    store: &SqliteStore,
    name: &SiteId,
    records: &[RecordRef],
) -> Result<Vec<Option<ShortDigest>>> {
    store.read("look at what a source showed", |conn| {
        let mut statement = conn.prepare_cached(
            "SELECT digest FROM source_image WHERE source = ?1 AND type = ?2 AND id = ?3",
        )?;
        let mut found = Vec::with_capacity(records.len());
        for record in records {
            let digest: Option<[u8; 8]> = statement
                .query_row(params![name.as_str(), record.kind.name(), record.id()], |row| {
                    row.get(0)
                })
                .optional()?;
            found.push(digest.map(ShortDigest));
        }
        Ok(found)
    })
}
