//! Giving messages to a third party, for a time.

use protocol::delivery::latest_due;
use protocol::message::MessageId;
use protocol::stream::OutLine;
use protocol::{Limits, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

use super::turns::{Finder, Found};
use super::{LEASED, Message, event};
use crate::sqlite::deliveries::lines;
use crate::sqlite::{SqliteStore, audit};
use crate::{AuditRow, LeaseAsk, Leased, MessageState, PushLine, Result};

pub(in crate::sqlite) fn outbox_lease(
    store: &SqliteStore,
    ask: &LeaseAsk,
    now: Timestamp,
) -> Result<Vec<Leased>> {
    // A message is never in parts.
    let limits = Limits { line_bytes: usize::MAX, ..store.options.limits.clone() };
    store.write("lease messages", |step| {
        super::words::take_back(step, &store.options.limits, now)?;
        if ask.is_anew {
            super::words::give_up(step, &ask.carrier, now)?;
        }
        step.prepare_cached(
            "UPDATE link SET carrier = ?1, carrier_at = ?2 WHERE target = 'parent'",
        )?
        .execute(params![ask.carrier, now.millis()])?;
        step.prepare_cached(
            "UPDATE delivery INDEXED BY delivery_due SET state = 'ready'
             WHERE state = 'retry' AND (next_at <= ?1 OR next_at > ?2) AND target = 'parent'",
        )?
        .execute([now.millis(), latest_due(now, &limits).millis()])?;
        let mut finder = Finder::new(step, limits.change_records, &ask.lanes)?;
        let (mut leased, mut room) = (Vec::new(), ask.bytes);
        while leased.len() < ask.max {
            let Some(mut found) = finder.next()? else { break };
            let (line, size) = fitting(step, &mut found, &store.options.limits, &limits)?;
            if size > limits.message_bytes {
                park(step, &found, limits.message_bytes, now)?;
                continue;
            }
            if size > room && !leased.is_empty() {
                break;
            }
            room = room.saturating_sub(size);
            leased.extend(give(step, &found, line, ask, now)?);
        }
        audit_lease(step, ask, &leased, now)?;
        Ok(leased)
    })
}

/// Records leave the site with it: the audit says with whom.
fn audit_lease(step: &Connection, ask: &LeaseAsk, leased: &[Leased], now: Timestamp) -> Result<()> {
    let Some(first) = leased.first() else { return Ok(()) };
    let row = AuditRow {
        actor: format!("program:{}", ask.carrier),
        action: "outbox-lease",
        subject: first.id.to_string(),
        detail: format!("messages {}", leased.len()),
    };
    audit::append(step, &row, now)
}

/// The line of a turn. What need not go together is left for later where it would be long.
fn fitting(
    step: &Connection,
    found: &mut Found,
    limits: &Limits,
    whole: &Limits,
) -> Result<(PushLine, usize)> {
    let (line, size) = lines::build(step, &found.turn, whole)?;
    if size <= limits.line_bytes || found.turn.changes.len() == found.together {
        return Ok((line, size));
    }
    found.turn.changes.truncate(found.together);
    lines::build(step, &found.turn, whole)
}

/// Nothing can carry it, and nothing of it is lost: it waits for a person, visibly.
fn park(step: &Connection, found: &Found, limit: usize, now: Timestamp) -> Result<()> {
    let reason = format!(
        "one change is over the limit message_bytes = {limit}: raise it at both ends, or send \
         directly (parent.up = \"direct\")"
    );
    for (sequence, _) in &found.turn.changes {
        step.prepare_cached(
            "UPDATE delivery SET state = 'parked', reason = ?2, changed = ?3
             WHERE target = 'parent' AND sequence = ?1",
        )?
        .execute(params![sequence, reason, now.millis()])?;
        let (actor, subject) = ("tributary".to_owned(), sequence.to_string());
        let detail = "over message_bytes".to_owned();
        audit::append(step, &AuditRow { actor, action: "delivery-park", subject, detail }, now)?;
    }
    Ok(())
}

fn give(
    step: &Connection,
    found: &Found,
    line: PushLine,
    ask: &LeaseAsk,
    now: Timestamp,
) -> Result<Option<Leased>> {
    let number = found.turn.changes.last().map_or(0, |(_, number)| *number);
    let Some(line) = line.lines.into_iter().next() else { return Ok(None) };
    let Some(id) = line.id.as_ref().map(MessageId::of) else { return Ok(None) };
    let (failures, missing) = found.before.map_or(Ok((0, 0)), |before| failed(step, before))?;
    let (key, attempt): (i64, u32) = step
        .prepare_cached(
            "INSERT INTO message (origin, number, state, lease, until, carrier, attempt, failures,
                missing, ask_at)
             VALUES (?1, ?2, 'leased', ?3, ?4, ?5, 1, ?6, ?7, ?4)
             ON CONFLICT (origin, number) DO UPDATE SET state = 'leased', lease = ?3, until = ?4,
                carrier = ?5, attempt = attempt + 1, handed = NULL, ask_at = ?4
             RETURNING key, attempt",
        )?
        .query_row(
            params![
                found.turn.origin,
                number,
                ask.lease,
                ask.until.millis(),
                ask.carrier,
                failures,
                missing
            ],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
    if let Some(before) = found.before.filter(|before| *before != key) {
        step.prepare_cached(
            "UPDATE message SET state = 'replaced' WHERE key = ?1 AND state <> 'done'",
        )?
        .execute([before])?;
    }
    send_away(step, found, key, now)?;
    note(step, (key, attempt), ask, now)?;
    let patients = line.patients.clone();
    let line = OutLine { part: None, ..line };
    Ok(Some(Leased { id, patients, attempt, lane: found.turn.lane, line }))
}

/// A failure of the message before counts on, where this one is its successor: how often it failed,
/// and how often it was missing.
fn failed(step: &Connection, before: i64) -> Result<(u32, u32)> {
    let found = step
        .prepare_cached("SELECT failures, missing FROM message WHERE key = ?1")?
        .query_row([before], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(found.unwrap_or_default())
}

/// Notes what went with a message.
fn send_away(step: &Connection, found: &Found, message: i64, now: Timestamp) -> Result<()> {
    let sequences: Vec<u64> = found.turn.changes.iter().map(|(sequence, _)| *sequence).collect();
    let list = format!("{sequences:?}");
    step.prepare_cached(
        "UPDATE delivery SET away = ?2, message = ?3, changed = ?4
         WHERE target = 'parent' AND sequence IN (SELECT value FROM json_each(?1))",
    )?
    .execute(params![list, LEASED, message, now.millis()])?;
    if found.before.is_some() {
        // All others are ready: to set that again would write to every index of the queue.
        step.prepare_cached(
            "UPDATE delivery SET state = 'ready'
             WHERE message = ?1 AND away = ?2 AND state IN ('retry', 'parked')",
        )?
        .execute(params![message, LEASED])?;
    }
    Ok(())
}

fn note(
    step: &Connection,
    (key, attempt): (i64, u32),
    ask: &LeaseAsk,
    now: Timestamp,
) -> Result<()> {
    let message = Message {
        key,
        state: MessageState::Leased,
        lease: ask.lease.clone(),
        carrier: ask.carrier.clone(),
        attempt,
        answered: 0,
        failures: 0,
        handed: None,
    };
    event(step, &message, "leased", None, now)
}
