//! Cohorts, their definitions, and who joins and leaves.
#![allow(unused_variables, clippy::todo)]

use super::*;

pub(super) fn cohort_set(
    store: &SqliteStore,
    cohort: &CohortDraft,
    now: Timestamp,
) -> Result<CohortChange> {
    todo!()
}
