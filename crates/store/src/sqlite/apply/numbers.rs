//! The numbers of changes that a line from below covers, and when they count as received.

use protocol::planted::{Fault, planted};
use protocol::stream::InLine;
use protocol::{ChangeId, Refusal};
use rusqlite::Connection;

use super::Run;
use crate::Result;
use crate::sqlite::{received, rows};

/// The origin and all numbers that a pushed line covers.
pub(super) fn of(step: &Connection, line: &InLine) -> Result<(i64, Vec<u64>)> {
    let id = line.id.as_ref().ok_or_else(|| Refusal::malformed("the line has no change id"))?;
    if id.origin == rows::own_site(step)? {
        // What was made here nobody below passes on: to take the name would take a number of ours.
        let reason = format!("the change is named as one of {}, which it is sent to", id.origin);
        return Err(Refusal::invalid(reason).into());
    }
    let origin = rows::origin_key(step, &id.origin, &id.epoch)?;
    let mut numbers = line.covers.clone();
    if !numbers.contains(&id.number) {
        numbers.push(id.number);
    }
    Ok((origin, numbers))
}

/// Whether all numbers of a line that is read were received before it came: it has later states.
pub(super) fn were_held(run: &Run<'_>, id: Option<&ChangeId>, covers: &[u64]) -> Result<bool> {
    let (Some((site, _)), Some(id)) = (run.reading(), id) else { return Ok(false) };
    let origin = rows::origin_key(run.step, &id.origin, &id.epoch)?;
    let numbers = if covers.is_empty() { std::slice::from_ref(&id.number) } else { covers };
    received::holds_all(run.step, (site, origin), numbers)
}

/// Whether all of a line has been applied with this, its last part perhaps. A line that is sent
/// counts as received only if no part of it was refused; what is read is parked, part by part.
pub(super) fn are_whole(run: &Run<'_>, from: received::From<'_>, line: &InLine) -> Result<bool> {
    let (Some((part, parts)), Some(id)) = (line.part, &line.id) else { return Ok(true) };
    let whole = match line.position {
        Some(_) => part >= parts,
        None => received::part_applied(run.step, from, id.number, (part, parts))?,
    };
    Ok(whole || planted(Fault::ReceivedAtFirstPart))
}
