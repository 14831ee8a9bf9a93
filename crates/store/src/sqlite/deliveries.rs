//! Changes on their way to the parent.
#![allow(unused_variables, clippy::todo)]

use super::*;

pub(super) fn delivery_next(
    store: &SqliteStore,
    now: Timestamp,
    bytes: usize,
) -> Result<Vec<PushLine>> {
    todo!()
}

pub(super) fn delivery_settle(
    store: &SqliteStore,
    settled: &[Settled],
    now: Timestamp,
    jitter: u64,
) -> Result<()> {
    todo!()
}

pub(super) fn delivery_act(
    store: &SqliteStore,
    which: &DeliveryChoice,
    action: &DeliveryAction,
    now: Timestamp,
) -> Result<u64> {
    todo!()
}
