//! Records by what they can be found by.
#![allow(unused_variables, clippy::todo)]

use super::*;

pub(super) fn record_search(
    store: &SqliteStore,
    query: &SearchQuery,
    scope: &Scope,
) -> Result<SearchPage> {
    todo!()
}
