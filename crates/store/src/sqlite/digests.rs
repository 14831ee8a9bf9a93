//! Digests of whole feeds, to compare sites.
#![allow(unused_variables, clippy::todo)]

use super::*;

pub(super) fn record_digests(
    store: &SqliteStore,
    scope: &DigestScope,
    after: Option<&RecordRef>,
    limit: usize,
) -> Result<Vec<(RecordRef, Digest)>> {
    todo!()
}
