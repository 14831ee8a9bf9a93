//! Merges of a record whose patient was replaced: all three states are read as if they had moved,
//! so that to have moved it is nobody's edit.

use protocol::reconcile::{self, Plan, Policies, Side};
use protocol::resource::replaced::{Moves, moved};
use protocol::{Digest, RecordRef, json};
use rusqlite::Connection;

use super::moving::{moves_among, patients_of};
use crate::Result;
use crate::sqlite::SqliteStore;

/// What is to be done with an incoming state.
pub(in crate::sqlite) enum Through {
    /// As `reconcile` says.
    Plan(Plan),
    /// It only moved a record that is deleted here: it is written as it came, and deleted again,
    /// so that the other side hears of it.
    StaysDeleted,
}

/// The states of one record that meet.
pub(in crate::sqlite) struct Meeting<'a> {
    pub(in crate::sqlite) name: &'a RecordRef,
    pub(in crate::sqlite) base: Option<reconcile::State<'a>>,
    pub(in crate::sqlite) local: reconcile::State<'a>,
    pub(in crate::sqlite) incoming: reconcile::State<'a>,
    pub(in crate::sqlite) side: Side,
}

/// `reconcile`, which sees through merged patients.
pub(in crate::sqlite) fn reconcile_through(
    store: &SqliteStore,
    step: &Connection,
    meeting: &Meeting<'_>,
    policies: &Policies,
) -> Result<Through> {
    let Meeting { name, base, local, incoming, side } = meeting;
    let moves = moves_of(store, step, meeting)?;
    if moves.is_empty() {
        let plan = reconcile::reconcile(*base, Some(*local), *incoming, *side, policies)?;
        return Ok(Through::Plan(plan));
    }
    let base_moved = base.map(|base| Moved::of(name, &base, &moves)).transpose()?;
    let local_moved = Moved::of(name, local, &moves)?;
    let incoming_moved = Moved::of(name, incoming, &moves)?;
    let base = base_moved.as_ref().map(Moved::state);
    let (ours, theirs) = (local_moved.state(), incoming_moved.state());
    let plan = reconcile::reconcile(base, Some(ours), theirs, *side, policies)?;
    Ok(match plan {
        // What is to stay has to be said again: the other side holds what it sent.
        Plan::AlreadyHave if ours.digest != local.digest => Through::Plan(Plan::TakeIncoming),
        Plan::AlreadyHave | Plan::KeepLocal => match local_moved.body {
            Some(body) => Through::Plan(Plan::Merged { body }),
            None => Through::StaysDeleted,
        },
        // What it has not moved itself follows after it.
        other => Through::Plan(other),
    })
}

fn moves_of(store: &SqliteStore, step: &Connection, meeting: &Meeting<'_>) -> Result<Moves> {
    let mut moves = Moves::new();
    if !step.prepare_cached("SELECT 1 FROM replaced LIMIT 1")?.exists([])? {
        return Ok(moves);
    }
    let limit = store.options.limits.merged_patients;
    let base = meeting.base.and_then(|base| base.body);
    for text in [base, meeting.local.body, meeting.incoming.body].into_iter().flatten() {
        moves.extend(moves_among(step, &patients_of(meeting.name, text)?, limit)?);
    }
    Ok(moves)
}

/// A state as if it had moved.
struct Moved {
    digest: Digest,
    body: Option<String>,
    at: Option<protocol::Timestamp>,
}

impl Moved {
    fn of(name: &RecordRef, state: &reconcile::State<'_>, moves: &Moves) -> Result<Moved> {
        let text = state.body.map(|body| moved(name.kind, body, moves)).transpose()?.flatten();
        let digest = match &text {
            Some(text) => Digest::of(&json::parse(text.as_bytes(), json::DEPTH_MAX)?),
            None => state.digest,
        };
        Ok(Moved { digest, body: text.or_else(|| state.body.map(str::to_owned)), at: state.at })
    }

    fn state(&self) -> reconcile::State<'_> {
        reconcile::State { digest: self.digest, body: self.body.as_deref(), at: self.at }
    }
}
