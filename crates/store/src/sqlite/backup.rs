//! A consistent copy of the running store.
#![allow(unused_variables, clippy::todo)]

use super::*;

pub(super) fn site_backup(
    store: &SqliteStore,
    path: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<()> {
    todo!()
}
