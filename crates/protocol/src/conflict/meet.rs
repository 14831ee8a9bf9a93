//! Two states of one conflict's record: which of them stands. A conflict about a conflict would
//! help nobody, so one of the two always stands as it is.

use super::{Conflict, State, read};
use crate::reconcile::{Plan, Side};

/// Decides between two states of a conflict's record that differ; `None` is a deletion. Never
/// merges and never finds a conflict. Later stands over earlier: opened again over closed, closed
/// over open; of two closings the one that changed the record, so that the conflict says what the
/// record does; of equals the parent's. What can be read stands over what cannot, and anything
/// over a deletion.
pub fn meet(local: Option<&str>, incoming: Option<&str>, incoming_side: Side) -> Plan {
    let (ours, theirs) = (progress(local), progress(incoming));
    match (ours.cmp(&theirs), incoming_side) {
        (std::cmp::Ordering::Less, _) | (std::cmp::Ordering::Equal, Side::Parent) => {
            Plan::TakeIncoming
        }
        _ => Plan::KeepLocal,
    }
}

/// How far a conflict has come: grows with each opening and closing.
fn progress(body: Option<&str>) -> (u8, u32, u8) {
    let Some(body) = body else { return (0, 0, 0) };
    match read(body) {
        Ok(Some(conflict)) => (2, conflict.round, closed(&conflict)),
        _ => (1, 0, 0),
    }
}

fn closed(conflict: &Conflict) -> u8 {
    match &conflict.state {
        State::Open(_) => 0,
        State::Confirmed(_) => 1,
        State::Decided(decision) if decision.version.digest == conflict.result.digest => 1,
        State::Decided(_) => 2,
    }
}
