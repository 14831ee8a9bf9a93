//! Changes on their way to the parent: in order for each patient, coalesced when they are sent.

pub(super) mod lines;
pub(super) mod turns;

use protocol::delivery::{DeliveryState, Outcome, after_refusal, backoff_millis};
use protocol::planted::{Fault, planted};
use protocol::{Digest, RecordRef, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

use super::{SqliteStore, audit, outbox};
use crate::{AuditRow, DeliveryAction, DeliveryChoice, PushLine, Result, Settled};

/// Deliveries that are with third parties.
const AWAY: &str = "SELECT sequence FROM delivery
     WHERE target = 'parent' AND away = ?1 AND state <> 'done' ORDER BY sequence";

pub(super) fn delivery_next(
    store: &SqliteStore,
    now: Timestamp,
    bytes: usize,
) -> Result<Vec<PushLine>> {
    store.read("find what is to be sent", |conn| {
        let mut lines = Vec::new();
        let mut room = bytes;
        for turn in turns::find(conn, now, &store.options.limits)? {
            let (line, size) = lines::build(conn, &turn, &store.options.limits)?;
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
    step.prepare_cached(
        "UPDATE record SET parent_digest = ?3, parent_sequence = ?4
         WHERE type = ?1 AND id = ?2 AND parent_sequence <= ?4",
    )?
    .execute(params![name.kind.name(), name.id(), digest.0, sequence])?;
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
        state_name(state),
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

fn state_name(state: DeliveryState) -> &'static str {
    match state {
        DeliveryState::Ready => "ready",
        DeliveryState::Leased => "leased",
        DeliveryState::HandedOver => "handed-over",
        DeliveryState::Retry => "retry",
        DeliveryState::Parked => "parked",
        DeliveryState::Done => "done",
    }
}

pub(super) fn delivery_act(
    store: &SqliteStore,
    which: &DeliveryChoice,
    action: &DeliveryAction,
    now: Timestamp,
) -> Result<u64> {
    store.write("act on deliveries", |step| {
        let sequences = outbox::with_company(step, chosen(step, which)?)?;
        let mut count = 0;
        for sequence in sequences {
            count += act(step, sequence, action, now)?;
        }
        let (name, action) = match action {
            DeliveryAction::Retry => ("retry", "delivery-retry"),
            DeliveryAction::Park(_) => ("park", "delivery-park"),
        };
        let subject = match which {
            DeliveryChoice::Sequences(list) => {
                list.iter().take(20).map(u64::to_string).collect::<Vec<_>>().join(" ")
            }
            DeliveryChoice::State(state) => format!("all {}", state_name(*state)),
            DeliveryChoice::Patient(patient) => patient.to_string(),
        };
        let detail = format!("{name}: {count}");
        let actor = "operator".to_owned();
        audit::append(step, &AuditRow { actor, action, subject, detail }, now)?;
        Ok(count)
    })
}

fn chosen(step: &Connection, which: &DeliveryChoice) -> Result<Vec<u64>> {
    let list = |sql: &str, param: &dyn rusqlite::ToSql| -> Result<Vec<u64>> {
        let mut statement = step.prepare_cached(sql)?;
        let found = statement.query_map([param], |row| row.get(0))?;
        Ok(found.collect::<rusqlite::Result<_>>()?)
    };
    match which {
        DeliveryChoice::Sequences(sequences) => Ok(sequences.clone()),
        DeliveryChoice::State(DeliveryState::Leased) => list(AWAY, &1),
        DeliveryChoice::State(DeliveryState::HandedOver) => list(AWAY, &2),
        DeliveryChoice::State(state) => list(
            "SELECT sequence FROM delivery
             WHERE target = 'parent' AND state = ?1 AND state <> 'done' ORDER BY sequence",
            &state_name(*state),
        ),
        DeliveryChoice::Patient(patient) => list(
            "SELECT d.sequence FROM patient AS p
             JOIN change_patient AS cp ON cp.patient = p.key
             JOIN delivery AS d ON d.target = 'parent' AND d.sequence = cp.sequence
             WHERE p.id = ?1 AND d.state <> 'done' ORDER BY d.sequence",
            &patient.id(),
        ),
    }
}

fn act(step: &Connection, sequence: u64, action: &DeliveryAction, now: Timestamp) -> Result<u64> {
    let changed = match action {
        DeliveryAction::Retry => {
            outbox::offer_again(step, sequence)?;
            step.prepare_cached(
                "UPDATE delivery SET state = 'ready', attempts = 0, next_at = 0, changed = ?2
                 WHERE target = 'parent' AND sequence = ?1 AND state <> 'done'",
            )?
            .execute(params![sequence, now.millis()])?
        }
        DeliveryAction::Park(reason) => step
            .prepare_cached(
                "UPDATE delivery SET state = 'parked', reason = ?3, changed = ?2
                 WHERE target = 'parent' AND sequence = ?1 AND state <> 'done'",
            )?
            .execute(params![sequence, now.millis(), reason])?,
    };
    Ok(changed as u64)
}
