//! Patients who left this site's cohorts.
#![allow(unused_variables, clippy::todo)]

use super::*;

pub(super) fn patient_purge(store: &SqliteStore, now: Timestamp) -> Result<u64> {
    todo!()
}
