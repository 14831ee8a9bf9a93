//! Looks through the whole store for damage and broken rules.
#![allow(unused_variables, clippy::todo)]

use super::*;

pub(super) fn site_check(
    store: &SqliteStore,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<String>> {
    todo!()
}
