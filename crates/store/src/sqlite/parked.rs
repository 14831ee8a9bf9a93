//! Lines that could not be applied, and those behind them.
#![allow(unused_variables, clippy::todo)]

use super::*;

pub(super) fn parked_retry(
    store: &SqliteStore,
    now: Timestamp,
    jitter: u64,
    all: bool,
) -> Result<u64> {
    todo!()
}
