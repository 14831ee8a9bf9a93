//! Changes on their way to the parent: in order for each patient, coalesced when they are sent.

pub(super) mod lanes;
pub(super) mod lines;
pub(super) mod turns;

use protocol::delivery::{DeliveryState, Outcome, after_refusal, backoff_millis};
use protocol::digest::ShortDigest;
use protocol::message::Receipt;
use protocol::planted::{Fault, planted};
use protocol::stream::Differing;
use protocol::{Digest, RecordRef, Timestamp, Urgency};
use rusqlite::{Connection, OptionalExtension, params};

use super::apply::with_short;
use super::rows::RecordRow;
use super::{SqliteStore, audit, leaves, offer, rows, unlisted};
use crate::{AuditRow, PushLine, Result, Settled};

/// Numbers that are passed over where they were given out before; each time a hundred times more.
const LEAP: u64 = 1_000;
/// How often a state is offered that the parent says it has nothing of.
const PRESSED: u32 = 4;

pub(super) fn delivery_next(
    store: &SqliteStore,
    now: Timestamp,
    bytes: usize,
    lanes: &[Urgency],
) -> Result<Vec<PushLine>> {
    store.read("find what is to be sent", |conn| {
        let mut lines = Vec::new();
        let mut room = bytes;
        for turn in turns::find(conn, now, &store.options.limits, lanes)? {
            let (line, size) = lines::build_within(conn, &turn, &store.options.limits, bytes)?;
            if size > room && !lines.is_empty() {
                break;
            }
            room = room.saturating_sub(size);
            lines.push(line);
        }
        Ok(lines)
    })
}

pub(super) fn delivery_settle(
    store: &SqliteStore,
    settled: &[Settled],
    now: Timestamp,
    jitter: u64,
) -> Result<()> {
    store.write("note what the parent said", |step| {
        for word in settled {
            take_in(store, step, word, now, jitter)?;
        }
        Ok(())
    })
}

/// Notes what the parent holds by its word, and moves the deliveries on that it is about.
pub(super) fn take_in(
    store: &SqliteStore,
    step: &Connection,
    word: &Settled,
    now: Timestamp,
    jitter: u64,
) -> Result<()> {
    if word.outcome.is_held() {
        hear(step, word)?;
    }
    for sequence in &word.deliveries {
        settle(store, step, *sequence, word, now, jitter)?;
    }
    if word.outcome.is_held() { offer_unseen(store, step, word, now) } else { Ok(()) }
}

/// What a receipt says of these deliveries.
pub(super) fn by_receipt(
    step: &Connection,
    receipt: &Receipt,
    deliveries: Vec<u64>,
) -> Result<Settled> {
    let mut sent = Vec::new();
    for (name, short) in &receipt.digests {
        let Some(row) = rows::record_row(step, name)? else { continue };
        sent.extend(with_short(step, &row, *short)?.map(|(_, digest)| (name.clone(), digest)));
    }
    let differs = receipt.differs.iter().map(|(record, digest)| Differing {
        record: record.clone(),
        digest: *digest,
        had: receipt.digests.iter().any(|(name, _)| name == record),
    });
    Ok(Settled {
        deliveries,
        sent,
        differs: differs.collect(),
        outcome: receipt.outcome,
        reason: receipt.reason.clone(),
        sequence: receipt.sequence,
    })
}

fn hear(step: &Connection, word: &Settled) -> Result<()> {
    for (name, digest) in &word.sent {
        match word.differs.iter().find(|other| other.record == *name) {
            None => {
                if let Some(record) = agree(step, name, *digest, word.sequence)? {
                    leaves::came_back(step, record)?;
                }
            }
            Some(other) if other.had => stands(step, (name, *digest), other.digest, word.sequence)?,
            // It held the changes before, and has not looked at later bodies.
            Some(_) => {}
        }
    }
    for other in &word.differs {
        unlisted::doubt(step, &other.record)?;
    }
    Ok(())
}

/// The parent has had what was `sent`, and stands by another state. Where that is not what stands
/// here it is asked for: no feed may bring it. It may have gone up from here, and count as held;
/// it may have been heard already; and a line with it that is on its way was read before this word,
/// and counts for less.
fn stands(
    step: &Connection,
    (name, sent): (&RecordRef, Digest),
    theirs: ShortDigest,
    sequence: u64,
) -> Result<()> {
    let Some(row) = rows::record_row(step, name)? else { return Ok(()) };
    if row.digest == sent && sent.short() == theirs {
        // In another order of elements: the parent's bytes stand.
        agree(step, name, sent, sequence)?;
        return unlisted::ask(step, row.key);
    }
    // Of what was said to have left the feeds, no feed says more.
    let heard = row.parent_digest.map(|digest| digest.short()) == Some(theirs)
        || leaves::was_said_to_leave(step, row.key)?;
    match (heard, row.digest.short() == theirs) {
        (true, true) => Ok(()),
        (true, false) => gone_on(step, &row, sent),
        (false, true) => agree(step, name, sent, sequence).map(drop),
        (false, false) => {
            agree(step, name, sent, sequence)?;
            unlisted::ask(step, row.key)
        }
    }
}

/// What the parent has never had of records: no line of ours brings it any more. It says that a
/// record is deleted, too, where we have no right to it: that is not pressed for ever.
fn offer_unseen(
    store: &SqliteStore,
    step: &Connection,
    word: &Settled,
    now: Timestamp,
) -> Result<()> {
    let (mut unseen, mut most) = (Vec::new(), 0);
    for Differing { record, digest, .. } in word.differs.iter().filter(|other| !other.had) {
        let row = rows::record_row(step, record)?.filter(|row| row.digest.short() != *digest);
        let Some(row) = row else { continue };
        let offered = offer::times(step, &row)?;
        // What that fault loses would come up again by this, and nobody would see the fault.
        let pressed = if planted(Fault::ReceivedAtFirstPart) { 0 } else { PRESSED };
        if *digest != Digest::of_deletion(record).short() || offered < pressed {
            most = most.max(offered.min(PRESSED));
            unseen.push((record.clone(), row));
        }
    }
    if most > 0 && word.outcome == Outcome::Already {
        // Known by a number of its own: this store was rolled back, by a copy of its files
        // perhaps, and gives out numbers that were given out before.
        let leap = LEAP * 100_u64.pow(most - 1);
        step.execute("UPDATE site SET number = number + ?1", [leap])?;
    }
    offer::unless_on_its_way(store, step, unseen, now)
}

/// Notes that the parent has had a state, as of its `sequence`. Where it was heard since that it
/// holds another one, which is not what stands here, it has gone on from ours: that state was taken
/// for older, and nothing would bring it again. Gives the record, where that was new.
fn agree(
    step: &Connection,
    name: &RecordRef,
    digest: Digest,
    sequence: u64,
) -> Result<Option<i64>> {
    let Some(row) = rows::record_row(step, name)? else { return Ok(None) };
    let heard = row.parent_digest.filter(|theirs| *theirs != digest);
    match heard {
        Some(theirs) if row.parent_sequence >= sequence => {
            if theirs != row.digest {
                gone_on(step, &row, digest)?;
            }
            Ok(None)
        }
        None if row.parent_sequence > sequence => Ok(None),
        _ => {
            step.prepare_cached(
                "UPDATE record SET parent_digest = ?2, parent_sequence = ?3 WHERE key = ?1",
            )?
            .execute(params![row.key, digest.0, sequence])?;
            Ok(Some(row.key))
        }
    }
}

/// The parent has gone on from `had` to a state that was heard: it is asked for that once more.
fn gone_on(step: &Connection, row: &RecordRow, had: Digest) -> Result<()> {
    step.prepare_cached("UPDATE record SET parent_digest = ?2 WHERE key = ?1")?
        .execute(params![row.key, had.0])?;
    unlisted::ask(step, row.key)
}

/// Moves one delivery on. One that is done, or gone, stays so.
pub(super) fn settle(
    store: &SqliteStore,
    step: &Connection,
    sequence: u64,
    word: &Settled,
    now: Timestamp,
    jitter: u64,
) -> Result<()> {
    let attempts: Option<u32> = step
        .prepare_cached(
            "SELECT attempts FROM delivery
             WHERE target = 'parent' AND sequence = ?1 AND state <> 'done'",
        )?
        .query_row([sequence], |row| row.get(0))
        .optional()?;
    let Some(attempts) = attempts else { return Ok(()) };
    if word.outcome.is_held() {
        if attempts > 0 {
            note_attempt(step, sequence, word, now)?;
        }
        let from = if planted(Fault::SettledTooMuch) { 0 } else { sequence };
        step.prepare_cached(
            "UPDATE delivery SET state = 'done', away = 0, outcome = ?2, reason = ?3, changed = ?4
             WHERE target = 'parent' AND sequence BETWEEN ?5 AND ?1",
        )?
        .execute(params![
            sequence,
            word.outcome.as_str(),
            word.reason,
            now.millis(),
            from
        ])?;
        return Ok(());
    }
    note_attempt(step, sequence, word, now)?;
    let limits = &store.options.limits;
    let failures = attempts.saturating_add(1);
    // To be asked to come later is no refusal: it never parks.
    let (state, counted) = match word.outcome {
        Outcome::Refused => (after_refusal(failures, limits), failures),
        _ => (DeliveryState::Retry, attempts),
    };
    let pause = i64::try_from(backoff_millis(failures, limits, jitter)).unwrap_or(i64::MAX);
    step.prepare_cached(
        "UPDATE delivery SET state = ?2, attempts = ?3, next_at = ?4, reason = ?5, changed = ?6,
            away = 0
         WHERE target = 'parent' AND sequence = ?1",
    )?
    .execute(params![
        sequence,
        super::status::state_name(state),
        counted,
        now.plus_millis(pause).millis(),
        word.reason,
        now.millis()
    ])?;
    if state == DeliveryState::Parked {
        let subject = sequence.to_string();
        let detail = format!("after {counted} refusals");
        let actor = "parent".to_owned();
        audit::append(step, &AuditRow { actor, action: "delivery-park", subject, detail }, now)?;
    }
    Ok(())
}

fn note_attempt(step: &Connection, sequence: u64, word: &Settled, now: Timestamp) -> Result<()> {
    step.prepare_cached(
        "INSERT INTO delivery_attempt (target, sequence, at, outcome, reason)
         VALUES ('parent', ?1, ?2, ?3, ?4)",
    )?
    .execute(params![sequence, now.millis(), word.outcome.as_str(), word.reason])?;
    Ok(())
}
