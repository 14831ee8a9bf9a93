//! Up to where the parent's feeds have been applied, and what to do when the parent lost its
//! positions.

use std::collections::{BTreeMap, BTreeSet};

use protocol::digest::ShortDigest;
use protocol::stream::Lane;
use protocol::{Digest, Epoch, FeedId, RecordRef, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

use super::apply::with_short;
use super::rows::{self, RecordRow};
use super::{SqliteStore, digests, leaves, offer, parked, unlisted};
use crate::{DigestRange, DigestScope, Marker, Result};

/// Records of this site that are compared at once.
const COMPARED_AT_ONCE: usize = 1_000;

/// Where a lane's marker stands.
pub(super) fn position(
    step: &Connection,
    feed: &FeedId,
    epoch: &Epoch,
    lane: Lane,
) -> Result<Option<u64>> {
    Ok(step
        .prepare_cached("SELECT position FROM marker WHERE feed = ?1 AND epoch = ?2 AND lane = ?3")?
        .query_row(params![feed.as_bytes(), epoch.as_bytes(), lane.as_str()], |row| row.get(0))
        .optional()?)
}

/// Moves a marker on, in the transaction that applied the entries before it.
pub(super) fn advance(
    step: &Connection,
    (feed, epoch, lane): (&FeedId, &Epoch, Lane),
    name: &str,
    position: u64,
    now: Timestamp,
) -> Result<()> {
    step.prepare_cached(
        "INSERT INTO marker (feed, epoch, lane, position, name, moved)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (feed, epoch, lane) DO UPDATE SET
            position = max(position, excluded.position), name = excluded.name,
            moved = excluded.moved",
    )?
    .execute(params![
        feed.as_bytes(),
        epoch.as_bytes(),
        lane.as_str(),
        position,
        name,
        now.millis()
    ])?;
    Ok(())
}

pub(super) fn marker_set(store: &SqliteStore, markers: &[Marker], now: Timestamp) -> Result<()> {
    store.write("set markers", |step| {
        for marker in markers {
            let (feed, epoch) = (marker.feed.as_bytes(), marker.epoch.as_bytes());
            let others = step
                .prepare_cached("DELETE FROM marker WHERE feed = ?1 AND epoch <> ?2")?
                .execute(params![feed, epoch])?;
            if others > 0 {
                forget_positions(step, &marker.feed)?;
            }
            forget_namesakes(step, &marker.feed, &marker.name)?;
            step.prepare_cached("DELETE FROM marker WHERE feed = ?1 AND lane = ?2")?
                .execute(params![feed, marker.lane.as_str()])?;
            let key = (&marker.feed, &marker.epoch, marker.lane);
            advance(step, key, &marker.name, marker.position, now)?;
        }
        Ok(())
    })
}

/// A feed that the parent made anew under the name of one that it lost takes that one's place: who
/// is held by the old one alone is held by none, so that a leave from the new one is the last.
fn forget_namesakes(step: &Connection, feed: &FeedId, name: &str) -> Result<()> {
    let mut statement =
        step.prepare_cached("SELECT DISTINCT feed FROM marker WHERE name = ?1 AND feed <> ?2")?;
    let old = statement
        .query_map(params![name, feed.as_bytes()], |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<[u8; 16]>>>()?;
    for old in old {
        for sql in [
            "DELETE FROM held_patient WHERE feed = ?1",
            "DELETE FROM left_patient WHERE feed = ?1",
            "DELETE FROM ahead WHERE feed = ?1",
            "DELETE FROM marker WHERE feed = ?1",
        ] {
            step.prepare_cached(sql)?.execute([old])?;
        }
    }
    Ok(())
}

/// Positions and sequences of the parent's life before mean nothing in the new one.
pub(super) fn forget_positions(step: &Connection, feed: &FeedId) -> Result<()> {
    step.prepare_cached("UPDATE held_patient SET joined = 0 WHERE feed = ?1")?
        .execute([feed.as_bytes()])?;
    step.prepare_cached("DELETE FROM left_patient WHERE feed = ?1")?.execute([feed.as_bytes()])?;
    step.execute("UPDATE record SET parent_sequence = 0 WHERE parent_sequence > 0", [])?;
    step.execute("UPDATE link SET again = 0", [])?;
    step.execute("UPDATE left_record SET said = 0 WHERE feed = ?1", [feed.as_bytes()])?;
    Ok(())
}

/// What a comparison says of one record.
enum Verdict {
    /// Both hold the same.
    Agreed,
    /// The parent holds an ancestor of ours, or nothing, or what is unknown here: perhaps it has
    /// lost ours, perhaps it has gone on from it.
    Offer(Box<RecordRow>),
    /// The record is unknown here.
    Fetch,
    /// Ours is on its way already, or there is nothing to be offered.
    Nothing,
}

pub(super) fn marker_compare(
    store: &SqliteStore,
    feed: &FeedId,
    page: &[(RecordRef, ShortDigest)],
    range: &DigestRange,
    sequence: u64,
    now: Timestamp,
) -> Result<Vec<RecordRef>> {
    let theirs = page.iter().map(|(name, short)| (name.clone(), *short));
    let theirs = theirs.collect::<BTreeMap<_, _>>();
    store.write("compare with the parent", |step| {
        if range.after.is_none() && !range.stands {
            // All there is of the feed is compared and fetched now.
            parked::forget_feed(step, feed)?;
        }
        let earlier = hold_listed(step, feed, &theirs, (range, now))?;
        let names = theirs.keys().cloned().chain(held(step, feed, range)?).chain(earlier);
        let names = names.collect::<BTreeSet<_>>();
        let mut fetch = Vec::new();
        let mut offers = Vec::new();
        for name in &names {
            let theirs = theirs.get(name).copied();
            let verdict = match range.stands {
                true => look(step, feed, name, theirs, sequence)?,
                false => compare(step, feed, name, theirs, sequence)?,
            };
            match verdict {
                Verdict::Agreed | Verdict::Nothing => {}
                Verdict::Offer(row) => offers.push((name.clone(), *row)),
                Verdict::Fetch => fetch.push(name.clone()),
            }
        }
        offer::offer(store, step, offers, now)?;
        Ok(fetch)
    })
}

/// The joins of the life before are gone: what is listed tells whom the feed holds. Gives the
/// records of those who were not known to be held that would have been in an earlier range. (What
/// is another state there may be others' there.)
fn hold_listed(
    step: &Connection,
    feed: &FeedId,
    theirs: &BTreeMap<RecordRef, ShortDigest>,
    (range, now): (&DigestRange, Timestamp),
) -> Result<Vec<RecordRef>> {
    let mut earlier = Vec::new();
    for (name, short) in theirs {
        let Some(row) = rows::record_row(step, name)? else { continue };
        if !name.is_patient() && row.digest.short() != *short {
            continue;
        }
        let Some(patient) = leaves::listed(step, feed, row.key, now)? else { continue };
        let Some(after) = &range.after else { continue };
        let records = not_compared(step, patient)?;
        earlier.extend(records.into_iter().filter(|record| sorted(record, after)));
    }
    Ok(earlier)
}

/// A patient of whom it was not known that the feed has them, after all of it was compared: what
/// this site has of the patient and did not compare was not listed.
pub(super) fn compare_rest(
    store: &SqliteStore,
    step: &Connection,
    feed: &FeedId,
    patient: i64,
    (sequence, now): (u64, Timestamp),
) -> Result<()> {
    let mut offers = Vec::new();
    for name in not_compared(step, patient)? {
        if let Verdict::Offer(row) = compare(step, feed, &name, None, sequence)? {
            offers.push((name, *row));
        }
    }
    offer::offer(store, step, offers, now)
}

/// The records of a patient of which nothing was heard in this life of the parent's store.
fn not_compared(step: &Connection, patient: i64) -> Result<Vec<RecordRef>> {
    let mut statement = step.prepare_cached(
        "SELECT r.type, r.id FROM record_patient AS rp CROSS JOIN record AS r ON r.key = rp.record
         WHERE rp.patient = ?1 AND r.deleted = 0
            AND r.parent_digest IS NOT NULL AND r.parent_sequence = 0",
    )?;
    let records = statement.query_map([patient], |row| rows::record_ref(row, 0))?;
    Ok(records.collect::<rusqlite::Result<_>>()?)
}

/// The records of the range that this site holds of the feed.
fn held(step: &Connection, feed: &FeedId, range: &DigestRange) -> Result<Vec<RecordRef>> {
    let scope = DigestScope::Held { feed: *feed, name: range.name.clone() };
    let mut after = range.after.clone();
    let mut names = Vec::new();
    loop {
        let found = digests::of_scope(step, &scope, after.as_ref(), COMPARED_AT_ONCE)?;
        let end = found.len() < COMPARED_AT_ONCE;
        after = found.last().map(|(name, _)| name.clone());
        let inside = |name: &RecordRef| range.to.as_ref().is_none_or(|to| sorted(name, to));
        let count = found.len();
        names.extend(found.into_iter().map(|(name, _)| name).take_while(inside));
        if end || count == 0 || after.as_ref().is_some_and(|last| !inside(last)) {
            return Ok(names);
        }
    }
}

/// Whether `name` comes at or before `to`, by type name, then by id.
fn sorted(name: &RecordRef, to: &RecordRef) -> bool {
    (name.kind.name(), name.id()) <= (to.kind.name(), to.id())
}

fn compare(
    step: &Connection,
    feed: &FeedId,
    name: &RecordRef,
    theirs: Option<ShortDigest>,
    sequence: u64,
) -> Result<Verdict> {
    let Some(row) = rows::record_row(step, name)? else { return Ok(Verdict::Fetch) };
    let base = match theirs {
        Some(short) => with_short(step, &row, short)?,
        None => None,
    };
    if theirs.is_some() {
        leaves::record_listed(step, feed, name, sequence)?;
    }
    let agreed = base.map(|(_, digest)| digest);
    // A parent that lists another state, or none, may have gone on from ours all the same: it is
    // told what its life before held, so that it takes that for no edit of ours.
    let before = row.parent_digest.filter(|_| base.is_none());
    step.prepare_cached(
        "UPDATE record SET parent_digest = ?2, parent_sequence = ?3,
            base_below = coalesce(?4, base_below) WHERE key = ?1",
    )?
    .execute(params![
        row.key,
        agreed.map(|digest| digest.0),
        sequence,
        before.map(|digest| digest.short().0)
    ])?;
    if base.is_none() {
        unlisted::note(step, feed, name)?;
    }
    match (theirs, base) {
        (_, Some((_, digest))) if digest == row.digest => Ok(Verdict::Agreed),
        (None, _) if row.deleted => Ok(Verdict::Nothing),
        _ if offer::is_queued(step, &row)? => Ok(Verdict::Nothing),
        _ => Ok(Verdict::Offer(Box::new(row))),
    }
}

/// What a comparison says while the markers stand: what the parent lists in another state has not
/// come here, or not gone there, and a merge with it says what is to be done. What it does not
/// list is only here, perhaps: it is offered before it is let go.
fn look(
    step: &Connection,
    feed: &FeedId,
    name: &RecordRef,
    theirs: Option<ShortDigest>,
    sequence: u64,
) -> Result<Verdict> {
    let Some(row) = rows::record_row(step, name)? else {
        let deleted = theirs == Some(Digest::of_deletion(name).short());
        let waits = deleted || parked::may_have(step, feed, None)?;
        return Ok(if waits { Verdict::Nothing } else { Verdict::Fetch });
    };
    if offer::is_queued(step, &row)? || offer::is_given_up(step, &row)? {
        return Ok(Verdict::Nothing);
    }
    let Some(theirs) = theirs else { return compare(step, feed, name, None, sequence) };
    leaves::record_listed(step, feed, name, sequence)?;
    if theirs != row.digest.short() {
        let waits = parked::may_have(step, feed, Some(row.key))?;
        return Ok(if waits { Verdict::Nothing } else { Verdict::Fetch });
    }
    step.prepare_cached(
        "UPDATE record SET parent_digest = digest, parent_sequence = max(parent_sequence, ?2)
         WHERE key = ?1",
    )?
    .execute(params![row.key, sequence])?;
    Ok(Verdict::Agreed)
}
