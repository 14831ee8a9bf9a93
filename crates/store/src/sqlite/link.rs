//! The link to the parent.
#![allow(unused_variables, clippy::todo)]

use super::*;

pub(super) fn parent_set(store: &SqliteStore, now: Timestamp, feed: &FeedId) -> Result<()> {
    todo!()
}

pub(super) fn link_note(store: &SqliteStore, event: &LinkEvent, now: Timestamp) -> Result<()> {
    todo!()
}
