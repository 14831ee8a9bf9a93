//! The version that both sides last agreed on, as far as this site's own history knows it.

use protocol::digest::ShortDigest;
use protocol::planted::{Fault, planted};
use protocol::stream::{self, InLine, InRecord};
use protocol::{Digest, RecordRef};
use rusqlite::{Connection, OptionalExtension, Params, params};

use crate::Result;
use crate::sqlite::journal::Way;
use crate::sqlite::rows::{self, RecordRow};

/// A version of a record: its sequence and digest.
pub(super) type Base = (u64, Digest);

/// The versions that the sender of a line says to have had, of its states in their order.
pub(super) fn named_in(line: &InLine) -> impl Iterator<Item = Option<stream::Base>> {
    line.records.iter().filter_map(|record| match record {
        InRecord::State { base, .. } => Some(*base),
        InRecord::Held(_) | InRecord::Left(_) => None,
    })
}

/// What a merge of the state that came with the one that is here begins from, if anything does.
pub(super) fn of(
    step: &Connection,
    way: Way,
    (known, incoming): (&RecordRow, Digest),
    named: Option<stream::Base>,
) -> Result<Option<Base>> {
    if known.digest == incoming {
        return Ok(None);
    }
    if stands(step, way, (known, incoming), named)? {
        return Ok(Some((0, incoming)));
    }
    let agreed = find(step, way, known, named)?;
    Ok(agreed.max(passed(step, known, incoming)?))
}

/// The version that the incoming state itself is, where we have gone on from it: who brings it
/// without having heard of anything newer has changed nothing. (All deletions look the same.)
fn passed(step: &Connection, known: &RecordRow, incoming: Digest) -> Result<Option<Base>> {
    let sql = "SELECT sequence, digest FROM version
               WHERE record = ?1 AND digest = ?2 AND body IS NOT NULL
               ORDER BY sequence DESC LIMIT 1";
    one(step, sql, params![known.key, incoming.0])
}

/// The newest version that the other side is known to have had: by the sender's word (`named`),
/// and by what we know ourselves. What a child brought before it let go of the record has no part
/// in what it brings after. (One that passes on the word of a site below it, and does not say
/// since when it holds the record, brought all else before.)
pub(super) fn find(
    step: &Connection,
    way: Way,
    known: &RecordRow,
    named: Option<stream::Base>,
) -> Result<Option<Base>> {
    if planted(Fault::BaseIsOurs) {
        return Ok(Some((known.sequence, known.digest)));
    }
    let by_name = match named.and_then(|base| base.digest) {
        Some(short) if way == Way::Parent => delivered_with_short(step, known, short)?,
        Some(short) => with_short(step, known, short)?,
        None => None,
    };
    let since = named.and_then(|base| base.since);
    let by_us = match way {
        Way::Child(_) if since.is_none() && named.is_some_and(|base| base.relayed) => None,
        Way::Child(origin) => newest_via_child(step, known, origin, since)?,
        Way::Parent | Way::Here => of_the_parent(step, known)?,
    };
    Ok(by_name.max(by_us))
}

/// Whether a child offers again, unchanged, what this site's life before sent it or took from it.
pub(super) fn is_again(incoming: Digest, named: Option<stream::Base>) -> bool {
    named.is_some_and(|base| base.relayed && base.digest == Some(incoming.short()))
}

/// Whether a child offers such a state, and this site has gone on from it: it has that state in
/// its history. (What a site in the middle has from its own parent says nothing: it may have been
/// restored to before it took that state from another child, and passed it on.)
pub(super) fn stands(
    step: &Connection,
    way: Way,
    (known, incoming): (&RecordRow, Digest),
    named: Option<stream::Base>,
) -> Result<bool> {
    let Way::Child(origin) = way else { return Ok(false) };
    if !is_again(incoming, named) {
        return Ok(false);
    }
    let same = with_short(step, known, incoming.short())?;
    // Who brought something since, and comes back to what was before, has changed it.
    let brought = newest_via_child(step, known, origin, named.and_then(|base| base.since))?;
    Ok(same.is_some() && brought <= same)
}

/// What the parent is known to hold; where that never was a version of ours, the last one that it
/// sent. Where nothing is known of it while something is on its way up, a restored parent has lost
/// what it had: to begin from what it sent in its life before would take all that for removed.
fn of_the_parent(step: &Connection, known: &RecordRow) -> Result<Option<Base>> {
    let Some(digest) = known.parent_digest else {
        let sql = "SELECT v.sequence, v.digest FROM version AS v
                   JOIN change AS c ON c.sequence = v.sequence
                   WHERE v.record = ?1 AND c.via = 1 AND NOT EXISTS
                        (SELECT 1 FROM version AS own
                         JOIN delivery AS d ON d.target = 'parent' AND d.sequence = own.sequence
                         WHERE own.record = ?1 AND d.state <> 'done')
                   ORDER BY v.sequence DESC LIMIT 1";
        return one(step, sql, params![known.key]);
    };
    if digest == known.digest {
        return Ok(Some((known.sequence, digest)));
    }
    let sql = "SELECT sequence, digest FROM version WHERE record = ?1 AND digest = ?2
               ORDER BY sequence DESC LIMIT 1";
    if let Some(base) = one(step, sql, params![known.key, digest.0])? {
        return Ok(Some(base));
    }
    let sql = "SELECT v.sequence, v.digest FROM version AS v
               JOIN change AS c ON c.sequence = v.sequence
               WHERE v.record = ?1 AND c.via = 1 ORDER BY v.sequence DESC LIMIT 1";
    one(step, sql, params![known.key])
}

/// The newest version that a child brought, of those that it has held without a break `since`.
/// (What it brought by an older program, it did not say of.)
fn newest_via_child(
    step: &Connection,
    known: &RecordRow,
    origin: i64,
    since: Option<u64>,
) -> Result<Option<Base>> {
    let sql = "SELECT v.sequence, v.digest FROM version AS v
               JOIN change AS c ON c.sequence = v.sequence
               WHERE v.record = ?1 AND c.via = 2 AND c.via_site = ?2
                    AND coalesce(v.since = ?3, TRUE)
               ORDER BY v.sequence DESC LIMIT 1";
    one(step, sql, params![known.key, origin, since])
}

/// The version that the parent means by what came to it through us. Where we have come back to
/// the same state since, and that has not been delivered, it means the earlier one: to take the
/// later one for it would lose our edit. Where there is none delivered, our last word is on its
/// way or its outcome was lost.
fn delivered_with_short(
    step: &Connection,
    known: &RecordRow,
    short: ShortDigest,
) -> Result<Option<Base>> {
    let sql = "SELECT sequence, digest FROM version AS v
               WHERE record = ?1 AND substr(digest, 1, 8) = ?2 AND NOT EXISTS
                    (SELECT 1 FROM delivery AS d
                     WHERE d.target = 'parent' AND d.sequence = v.sequence AND d.state <> 'done')
               ORDER BY sequence DESC LIMIT 1";
    match one(step, sql, params![known.key, short.0])? {
        Some(base) => Ok(Some(base)),
        None => with_short(step, known, short),
    }
}

/// The newest version of a record whose digest begins so.
pub(in crate::sqlite) fn with_short(
    step: &Connection,
    known: &RecordRow,
    short: ShortDigest,
) -> Result<Option<Base>> {
    if known.digest.short() == short {
        return Ok(Some((known.sequence, known.digest)));
    }
    let sql = "SELECT sequence, digest FROM version
               WHERE record = ?1 AND substr(digest, 1, 8) = ?2
               ORDER BY sequence DESC LIMIT 1";
    one(step, sql, params![known.key, short.0])
}

/// Notes from which version a site below made a state of a record that was not here, for the
/// parent to be told.
pub(super) fn note_below(step: &Connection, name: &RecordRef, base: ShortDigest) -> Result<()> {
    let mut statement =
        step.prepare_cached("UPDATE record SET base_below = ?3 WHERE type = ?1 AND id = ?2")?;
    statement.execute(params![name.kind.name(), name.id(), base.0])?;
    Ok(())
}

fn one(step: &Connection, sql: &str, params: impl Params) -> Result<Option<Base>> {
    Ok(step
        .prepare_cached(sql)?
        .query_row(params, |row| Ok((row.get(0)?, rows::digest(row, 1)?)))
        .optional()?)
}
