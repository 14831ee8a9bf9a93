//! Up to where the parent's feeds have been applied, and what to do when the parent lost its
//! positions.

use std::collections::{BTreeMap, BTreeSet};

use protocol::digest::ShortDigest;
use protocol::resource::Record;
use protocol::stream::Lane;
use protocol::{Author, Epoch, FeedId, RecordRef, Timestamp, Urgency};
use rusqlite::{Connection, OptionalExtension, params};

use super::apply::with_short;
use super::journal::{self, NewChange, Way};
use super::prepared::{Prepared, State};
use super::rows::{self, RecordRow};
use super::{SqliteStore, body, leaves, parked, unlisted};
use crate::{DigestRange, DigestScope, Marker, Result, Store as _};

/// Who offers records again after the parent was restored.
const OFFER_AUTHOR: &str = "tributary-reconciliation";
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
    let names = theirs.keys().cloned().chain(held(store, feed, range)?);
    let names = names.collect::<BTreeSet<_>>();
    store.write("compare with the parent", |step| {
        if range.after.is_none() {
            // All there is of the feed is compared and fetched now.
            parked::forget_feed(step, feed)?;
        }
        let patients = theirs.keys().filter(|name| name.is_patient() && range.name != "reference");
        for patient in patients {
            // The joins of the life before are gone, and these are of the cohort.
            leaves::joined(step, feed, patient, 0, now)?;
        }
        let mut fetch = Vec::new();
        let mut offers = Vec::new();
        for name in &names {
            let theirs = theirs.get(name).copied();
            let verdict = compare(step, feed, name, theirs, (sequence, now))?;
            match verdict {
                Verdict::Agreed | Verdict::Nothing => {}
                Verdict::Offer(row) => offers.push((name.clone(), *row)),
                Verdict::Fetch => fetch.push(name.clone()),
            }
        }
        offer(store, step, offers, now)?;
        Ok(fetch)
    })
}

/// The records of the range that this site holds of the feed.
fn held(store: &SqliteStore, feed: &FeedId, range: &DigestRange) -> Result<Vec<RecordRef>> {
    let scope = DigestScope::Held { feed: *feed, name: range.name.clone() };
    let mut after = range.after.clone();
    let mut names = Vec::new();
    loop {
        let found = store.record_digests(&scope, after.as_ref(), COMPARED_AT_ONCE)?;
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
    (sequence, now): (u64, Timestamp),
) -> Result<Verdict> {
    let Some(row) = rows::record_row(step, name)? else { return Ok(Verdict::Fetch) };
    if theirs.is_some() {
        leaves::record_listed(step, feed, name)?;
        leaves::listed(step, feed, row.key, now)?;
    }
    let base = match theirs {
        Some(short) => with_short(step, &row, short)?,
        None => None,
    };
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
        _ if is_queued(step, &row)? => Ok(Verdict::Nothing),
        _ => Ok(Verdict::Offer(Box::new(row))),
    }
}

fn is_queued(step: &Connection, row: &RecordRow) -> Result<bool> {
    Ok(step
        .prepare_cached(
            "SELECT 1 FROM version AS v
             JOIN delivery AS d ON d.target = 'parent' AND d.sequence = v.sequence
             WHERE v.record = ?1 AND d.state <> 'done'",
        )?
        .exists([row.key])?)
}

/// Offers records again as new changes of our own, by patient, within the limits of a change.
fn offer(
    store: &SqliteStore,
    step: &Connection,
    offers: Vec<(RecordRef, RecordRow)>,
    now: Timestamp,
) -> Result<()> {
    let mut by_patient: BTreeMap<Vec<i64>, Vec<(Record, RecordRow)>> = BTreeMap::new();
    for (name, row) in offers {
        let record = current(store, step, name, &row)?;
        by_patient.entry(patients_of(step, row.key)?).or_default().push((record, row));
    }
    for group in by_patient.into_values() {
        let mut batch = Vec::new();
        let mut bytes = 0;
        for (record, row) in group {
            let size = record.body.as_ref().map_or(0, String::len);
            let limits = &store.options.limits;
            let full = batch.len() >= limits.change_records || bytes + size > limits.line_bytes;
            if full && !batch.is_empty() {
                offer_batch(store, step, std::mem::take(&mut batch), now)?;
                bytes = 0;
            }
            bytes += size;
            batch.push((record, row));
        }
        offer_batch(store, step, batch, now)?;
    }
    Ok(())
}

fn offer_batch(
    store: &SqliteStore,
    step: &Connection,
    batch: Vec<(Record, RecordRow)>,
    now: Timestamp,
) -> Result<()> {
    let (records, known): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
    let prepared = records.iter().map(Prepared::of).collect::<Result<Vec<_>>>()?;
    let states = prepared.iter().zip(known);
    let states = states
        .map(|(prepared, row)| State {
            prepared,
            known: Some(row),
            parent_sequence: None,
            patients: &[],
            since: None,
        })
        .collect::<Vec<_>>();
    let author = Author::new(OFFER_AUTHOR);
    let change = NewChange {
        id: None,
        way: Way::Here,
        author: &author,
        at: now,
        now,
        actor: OFFER_AUTHOR,
        lane: Urgency::Bulk,
    };
    journal::write(store, step, &change, &states).map(drop)
}

fn current(
    store: &SqliteStore,
    step: &Connection,
    name: RecordRef,
    row: &RecordRow,
) -> Result<Record> {
    let bytes: Option<Vec<u8>> = step
        .prepare_cached("SELECT body FROM version WHERE record = ?1 AND sequence = ?2")?
        .query_row(params![row.key, row.sequence], |found| found.get(0))?;
    match bytes {
        Some(bytes) => {
            let text = body::decode(&bytes)?;
            Ok(Record::parse(text.as_bytes(), &store.options.limits)?)
        }
        None => Ok(Record::deleted(name)),
    }
}

fn patients_of(step: &Connection, record: i64) -> Result<Vec<i64>> {
    let mut statement = step
        .prepare_cached("SELECT patient FROM record_patient WHERE record = ?1 ORDER BY patient")?;
    let found = statement.query_map([record], |row| row.get(0))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}
