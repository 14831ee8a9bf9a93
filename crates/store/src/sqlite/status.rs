//! Counts and lists for people.
#![allow(unused_variables, clippy::todo)]

use super::*;

pub(super) fn site(store: &SqliteStore) -> Result<SiteInfo> {
    todo!()
}

pub(super) fn site_status(store: &SqliteStore, now: Timestamp) -> Result<SiteStatus> {
    todo!()
}

pub(super) fn parked_list(store: &SqliteStore, limit: usize) -> Result<Vec<ParkedLine>> {
    todo!()
}

pub(super) fn marker_list(store: &SqliteStore) -> Result<Vec<Marker>> {
    todo!()
}

pub(super) fn cohort_list(store: &SqliteStore) -> Result<Vec<CohortInfo>> {
    todo!()
}

pub(super) fn cohort_patients(
    store: &SqliteStore,
    name: &CohortName,
    after: Option<&RecordRef>,
    limit: usize,
) -> Result<Vec<RecordRef>> {
    todo!()
}

pub(super) fn delivery_list(
    store: &SqliteStore,
    filter: &DeliveryFilter,
) -> Result<Vec<DeliveryInfo>> {
    todo!()
}

pub(super) fn conflict_list(store: &SqliteStore, limit: usize) -> Result<Vec<ConflictInfo>> {
    todo!()
}

pub(super) fn link_get(store: &SqliteStore) -> Result<LinkInfo> {
    todo!()
}
