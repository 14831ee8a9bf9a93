//! Changes made here, whole or not at all.
#![allow(unused_variables, clippy::todo)]

use super::*;

pub(super) fn change_record(
    store: &SqliteStore,
    draft: &Draft,
    now: Timestamp,
) -> Result<Recorded> {
    todo!()
}
