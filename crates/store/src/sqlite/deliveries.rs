//! Changes on their way to the parent: in order for each patient, coalesced when they are sent.

pub(super) mod lanes;
pub(super) mod lines;
pub(super) mod turns;

use protocol::delivery::{DeliveryState, Outcome, after_refusal, backoff_millis};
use protocol::planted::{Fault, planted};
use protocol::{Digest, RecordRef, Timestamp, Urgency};
use rusqlite::{Connection, OptionalExtension, params};

use super::{SqliteStore, audit, leaves, unlisted};
use crate::{AuditRow, PushLine, Result, Settled};

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
            if word.outcome.is_held() {
                for (name, digest) in &word.sent {
                    agree(step, name, *digest, word.sequence)?;
                }
                for name in &word.differs {
                    unlisted::doubt(step, name)?;
                }
            }
            for sequence in &word.deliveries {
                settle(store, step, *sequence, word, now, jitter)?;
            }
        }
        Ok(())
    })
}

/// Notes that the parent holds a state, unless something newer is known of it.
pub(super) fn agree(
    step: &Connection,
    name: &RecordRef,
    digest: Digest,
    sequence: u64,
) -> Result<()> {
    let record: Option<i64> = step
        .prepare_cached(
            "UPDATE record SET parent_digest = ?3, parent_sequence = ?4
             WHERE type = ?1 AND id = ?2 AND parent_sequence <= ?4 RETURNING key",
        )?
        .query_row(params![name.kind.name(), name.id(), digest.0, sequence], |row| row.get(0))
        .optional()?;
    if let Some(record) = record {
        leaves::came_back(step, record)?;
    }
    Ok(())
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
            outcome_name(word.outcome),
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
    .execute(params![sequence, now.millis(), outcome_name(word.outcome), word.reason])?;
    Ok(())
}

pub(super) fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Applied => "applied",
        Outcome::Merged => "merged",
        Outcome::Conflict => "conflict",
        Outcome::Already => "already",
        Outcome::Refused => "refused",
        Outcome::Later => "later",
    }
}
