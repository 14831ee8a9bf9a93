//! Merges of a record whose patient was replaced: where it would be in conflict, all three states
//! are read as if they had moved, so that to have moved it is nobody's edit.

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

/// `reconcile`, which sees through merged patients where both sides contradict each other.
pub(in crate::sqlite) fn reconcile_through(
    store: &SqliteStore,
    step: &Connection,
    meeting: &Meeting<'_>,
    policies: &Policies,
) -> Result<Through> {
    let Meeting { name, base, local, incoming, side } = meeting;
    let plain = reconcile::reconcile(*base, Some(*local), *incoming, *side, policies)?;
    // Most often the references are all that the parent's side changed, and a merge says so to
    // whoever has not heard of the link as well.
    if !matches!(plain, Plan::Conflict { .. }) {
        return Ok(Through::Plan(plain));
    }
    let moves = moves_of(store, step, meeting)?;
    if moves.is_empty() {
        return Ok(Through::Plan(plain));
    }
    let base = base.map(|base| Moved::of(name, &base, &moves)).transpose()?;
    let ours = Moved::of(name, local, &moves)?;
    let theirs = Moved::of(name, incoming, &moves)?;
    let base = base.as_ref().map(Moved::state);
    let plan = reconcile::reconcile(base, Some(ours.state()), theirs.state(), *side, policies)?;
    Ok(match plan {
        // The parent's word, of a record that nobody has changed otherwise.
        Plan::AlreadyHave if *side == Side::Parent => Through::Plan(Plan::TakeIncoming),
        // What is to stay has to be said again: the other side holds what it sent.
        Plan::AlreadyHave | Plan::KeepLocal => match ours.body {
            Some(body) => Through::Plan(Plan::Merged { body }),
            None => Through::StaysDeleted,
        },
        Plan::TakeIncoming if theirs.digest != incoming.digest => match theirs.body {
            Some(body) => Through::Plan(Plan::Merged { body }),
            None => Through::Plan(Plan::TakeIncoming),
        },
        other => Through::Plan(other),
    })
}

/// The moves that the parent's side has made, as far as this site knows of them: what that side
/// still says of a loser is its word, whatever the links here say.
fn moves_of(store: &SqliteStore, step: &Connection, meeting: &Meeting<'_>) -> Result<Moves> {
    let Meeting { name, base, local, incoming, side } = meeting;
    let above = match side {
        Side::Parent => incoming,
        Side::Child => local,
    };
    let Some(above) = above.body else { return Ok(Moves::new()) };
    if !step.prepare_cached("SELECT 1 FROM replaced LIMIT 1")?.exists([])? {
        return Ok(Moves::new());
    }
    let above = patients_of(name, above)?;
    let limit = store.options.limits.merged_patients;
    let mut moves = Moves::new();
    let base = base.and_then(|base| base.body);
    for text in [base, local.body, incoming.body].into_iter().flatten() {
        moves.extend(moves_among(step, &patients_of(name, text)?, limit)?);
    }
    moves.retain(|loser, winner| !above.contains(loser) && above.contains(winner));
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
