//! The numbers of changes that a line from below covers, and when they count as received.

use protocol::Refusal;
use protocol::planted::{Fault, planted};
use protocol::stream::InLine;
use rusqlite::Connection;

use super::Run;
use crate::Result;
use crate::sqlite::{received, rows};

/// The origin and all numbers that a pushed line covers.
pub(super) fn of(step: &Connection, line: &InLine) -> Result<(i64, Vec<u64>)> {
    let id = line.id.as_ref().ok_or_else(|| Refusal::malformed("the line has no change id"))?;
    let origin = rows::origin_key(step, &id.origin, &id.epoch)?;
    let mut numbers = line.covers.clone();
    if !numbers.contains(&id.number) {
        numbers.push(id.number);
    }
    Ok((origin, numbers))
}

/// Whether all of a line has been applied with this, its last part perhaps. A line that is sent
/// counts as received only if no part of it was refused; what is read is parked, part by part.
pub(super) fn are_whole(run: &Run<'_>, from: received::From<'_>, line: &InLine) -> Result<bool> {
    let (Some((part, parts)), Some(id)) = (line.part, &line.id) else { return Ok(true) };
    let whole = match run.reading() {
        Some(_) => part >= parts,
        None => received::part_applied(run.step, from, id.number, (part, parts))?,
    };
    Ok(whole || planted(Fault::ReceivedAtFirstPart))
}
