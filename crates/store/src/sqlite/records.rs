//! Single records.
#![allow(unused_variables, clippy::todo)]

use super::*;

pub(super) fn record_get(
    store: &SqliteStore,
    record: &RecordRef,
    version: Option<u64>,
    scope: &Scope,
) -> Result<Option<StoredVersion>> {
    todo!()
}
