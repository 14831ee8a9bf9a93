//! Lines that came in: decided by `reconcile`, applied each in a savepoint of its own.
#![allow(unused_variables, clippy::todo)]

use super::*;

pub(super) fn change_apply(
    store: &SqliteStore,
    source: &Source,
    lines: &[Incoming],
    now: Timestamp,
) -> Result<Vec<Applied>> {
    todo!()
}
