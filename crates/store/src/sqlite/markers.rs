//! Up to where the parent's feeds have been applied.
#![allow(unused_variables, clippy::todo)]

use super::*;

pub(super) fn marker_set(store: &SqliteStore, markers: &[Marker], now: Timestamp) -> Result<()> {
    todo!()
}

pub(super) fn marker_compare(
    store: &SqliteStore,
    feed: &FeedId,
    page: &[(RecordRef, ShortDigest)],
    range: &DigestRange,
    sequence: u64,
    now: Timestamp,
) -> Result<Vec<RecordRef>> {
    todo!()
}
