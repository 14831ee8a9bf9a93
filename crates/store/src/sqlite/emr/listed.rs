//! What a list of the record system has shown of a record, by what is known of that.

use std::collections::BTreeSet;

use protocol::{Digest, RecordRef};
use rusqlite::{Connection, params};

use super::{left, row};
use crate::sqlite::rows;
use crate::{EmrListed, EmrSeen, Result};

/// Why what a list has shown is read again.
pub(super) const UNSURE: &str = "it was changed after a list had shown it";

/// What a record is that a list has shown with this digest.
pub(super) fn of(conn: &Connection, record: &RecordRef, shown: Digest) -> Result<EmrListed> {
    let is_to_be_read = conn
        .prepare_cached("SELECT 1 FROM emr_hint WHERE type = ?1 AND id = ?2")?
        .exists(params![record.kind.name(), record.id()])?;
    if is_to_be_read {
        return Ok(EmrListed::Unsure);
    }
    let seen = match rows::record_row(conn, record)? {
        Some(known) => row(conn, known.key)?,
        None => None,
    };
    Ok(match seen {
        Some(seen) if seen.gone || seen.lost => EmrListed::Unsure,
        Some(seen) if seen.image_digest == Some(shown) => EmrListed::Known,
        Some(seen) if seen.image_digest.is_some() => EmrListed::Unsure,
        _ if left::shown(conn, record)?.is_some() => EmrListed::Unsure,
        _ => EmrListed::New,
    })
}

/// What a list has shown and is no word on the record as it is now.
pub(super) fn unsure<'a>(
    step: &Connection,
    group: &'a [(RecordRef, EmrSeen)],
) -> Result<BTreeSet<&'a RecordRef>> {
    let mut unsure = BTreeSet::new();
    for (record, seen) in group {
        let EmrSeen::Listed(shown) = seen else { continue };
        let digest = shown.digest();
        let found = digest.map(|digest| of(step, record, digest)).transpose()?;
        if found.is_none_or(|found| found == EmrListed::Unsure) {
            unsure.insert(record);
        }
    }
    Ok(unsure)
}
