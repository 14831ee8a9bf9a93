//! Children, programs and their credentials.
#![allow(unused_variables, clippy::todo)]

use super::*;

pub(super) fn child_add(store: &SqliteStore, child: &ChildDraft, now: Timestamp) -> Result<()> {
    todo!()
}

pub(super) fn child_list(store: &SqliteStore) -> Result<Vec<ChildInfo>> {
    todo!()
}

pub(super) fn child_revoke(store: &SqliteStore, site: &SiteId, now: Timestamp) -> Result<bool> {
    todo!()
}

pub(super) fn child_redeem(
    store: &SqliteStore,
    code_hash: &[u8; 32],
    site: &SiteId,
    epoch: &Epoch,
    token_hash: &[u8; 32],
    now: Timestamp,
) -> Result<Option<Vec<CohortName>>> {
    todo!()
}

pub(super) fn child_seen(
    store: &SqliteStore,
    site: &SiteId,
    epoch: &Epoch,
    report: Option<&str>,
    now: Timestamp,
) -> Result<()> {
    todo!()
}

pub(super) fn token_add(store: &SqliteStore, token: &TokenDraft, now: Timestamp) -> Result<()> {
    todo!()
}

pub(super) fn token_list(store: &SqliteStore) -> Result<Vec<TokenInfo>> {
    todo!()
}

pub(super) fn token_revoke(store: &SqliteStore, name: &str, now: Timestamp) -> Result<bool> {
    todo!()
}

pub(super) fn credential_holder(
    store: &SqliteStore,
    hash: &[u8; 32],
    now: Timestamp,
) -> Result<Option<Holder>> {
    todo!()
}
