//! Versions of records.
#![allow(unused_variables, clippy::todo)]

use super::*;

pub(super) fn record_history(
    store: &SqliteStore,
    query: &HistoryQuery,
    scope: &Scope,
) -> Result<HistoryPage> {
    todo!()
}
