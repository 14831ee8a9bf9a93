//! What readers of this site's feeds get.
#![allow(unused_variables, clippy::todo)]

use super::*;

pub(super) fn feed_list(store: &SqliteStore, scope: &Scope) -> Result<Vec<FeedInfo>> {
    todo!()
}

pub(super) fn feed_page(
    store: &SqliteStore,
    feed: &str,
    number: Option<u64>,
    scope: &Scope,
) -> Result<Option<FeedPage>> {
    todo!()
}

pub(super) fn feed_changes(
    store: &SqliteStore,
    query: &FeedQuery,
    scope: &Scope,
) -> Result<Option<FeedSlice>> {
    todo!()
}

pub(super) fn feed_fetch(
    store: &SqliteStore,
    feed: &str,
    records: &[RecordRef],
    scope: &Scope,
) -> Result<Option<Vec<StoredVersion>>> {
    todo!()
}
