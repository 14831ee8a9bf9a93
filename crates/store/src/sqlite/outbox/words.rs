//! What third parties and the parent say of messages.

use protocol::delivery::{Outcome, backoff_millis};
use protocol::message::{MessageId, Receipt};
use protocol::planted::{Fault, planted};
use protocol::{ChangeId, Limits, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

use super::{COLUMNS, HANDED_OVER, Message, event, find, open_deliveries, read};
use crate::sqlite::{SqliteStore, audit, deliveries, rows};
use crate::{AuditRow, CarrierWord, MessageState, Noted, Result, Settled, Unconfirmed};

/// What is said of a message whose receipt did not come in time.
const MISSING: &str = "the carrier says delivered, the parent does not have it";
/// Messages that one call takes back at the most.
const AT_ONCE: u32 = 10_000;
/// The first pause before the parent is asked again, and the longest, in milliseconds.
const ASK_AGAIN: i64 = 5_000;
const ASK_AGAIN_MOST: i64 = 300_000;

pub(in crate::sqlite) fn outbox_word(
    store: &SqliteStore,
    id: &MessageId,
    (carrier, lease): (&str, &str),
    word: &CarrierWord,
    now: Timestamp,
    jitter: u64,
) -> Result<Noted> {
    store.write("note what a third party says", |step| {
        let Some(message) = find(step, id)? else { return Ok(Noted::Unknown) };
        if message.lease != lease || message.carrier != carrier {
            return Ok(Noted::NotYours);
        }
        step.prepare_cached(
            "UPDATE link SET carrier = ?1, carrier_at = ?2 WHERE target = 'parent'",
        )?
        .execute(params![carrier, now.millis()])?;
        let state = match (message.state, word) {
            (MessageState::Done, _) => MessageState::Done,
            (MessageState::Replaced, _) => return Ok(Noted::Replaced),
            (MessageState::HandedOver, CarrierWord::Delivered { .. }) => MessageState::HandedOver,
            // It is here again because no receipt came: to say it once more changes nothing.
            (MessageState::Returned, CarrierWord::Delivered { .. }) if message.handed.is_some() => {
                MessageState::Returned
            }
            (_, CarrierWord::Delivered { .. }) if planted(Fault::CarrierBelieved) => {
                settle_all(
                    store,
                    step,
                    &message,
                    &believed(open_deliveries(step, message.key)?),
                    (now, jitter),
                )?;
                MessageState::Done
            }
            (_, CarrierWord::Delivered { receipt_by }) => {
                let wait = store.options.limits.receipt_seconds.saturating_mul(1_000);
                let usual = || now.plus_millis(i64::try_from(wait).unwrap_or(i64::MAX));
                delivered(step, &message, receipt_by.unwrap_or_else(usual), now)?
            }
            // Said again.
            (MessageState::Returned, CarrierWord::Failed { retry: true, .. }) => {
                MessageState::Returned
            }
            (_, CarrierWord::Failed { error, retry }) => {
                let limits = &store.options.limits;
                failed(step, &message, (error, *retry), limits, (now, jitter))?
            }
        };
        Ok(Noted::As(state))
    })
}

fn delivered(
    step: &Connection,
    message: &Message,
    until: Timestamp,
    now: Timestamp,
) -> Result<MessageState> {
    step.prepare_cached(
        "UPDATE message SET state = 'handed-over', handed = ?2, until = ?3, ask_at = ?2,
            failures = 0
         WHERE key = ?1",
    )?
    .execute(params![message.key, now.millis(), until.millis()])?;
    step.prepare_cached(
        "UPDATE delivery SET away = ?2, changed = ?3 WHERE message = ?1 AND state <> 'done'",
    )?
    .execute(params![message.key, HANDED_OVER, now.millis()])?;
    event(step, message, "delivered", None, now)?;
    Ok(MessageState::HandedOver)
}

fn failed(
    step: &Connection,
    message: &Message,
    (error, retry): (&str, bool),
    limits: &Limits,
    (now, jitter): (Timestamp, u64),
) -> Result<MessageState> {
    let failures = message.failures.saturating_add(1);
    let pause = i64::try_from(backoff_millis(failures, limits, jitter)).unwrap_or(i64::MAX);
    let (state, next) = match retry {
        true => ("retry", now.plus_millis(pause)),
        false => ("parked", now),
    };
    step.prepare_cached(
        "UPDATE message SET state = 'returned', failures = ?2, ask_at = ?3 WHERE key = ?1",
    )?
    .execute(params![message.key, failures, now.millis()])?;
    let deliveries = open_deliveries(step, message.key)?;
    // What an operator has parked meanwhile stays so.
    step.prepare_cached(
        "UPDATE delivery SET state = CASE state WHEN 'parked' THEN 'parked' ELSE ?2 END,
            away = 0, next_at = ?3, reason = ?4, changed = ?5
         WHERE message = ?1 AND state <> 'done'",
    )?
    .execute(params![message.key, state, next.millis(), error, now.millis()])?;
    event(step, message, "failed", Some(error), now)?;
    if !retry {
        for sequence in deliveries {
            let (actor, subject) = (format!("program:{}", message.carrier), sequence.to_string());
            let detail = "a third party gave it up".to_owned();
            let row = AuditRow { actor, action: "delivery-park", subject, detail };
            audit::append(step, &row, now)?;
        }
    }
    Ok(MessageState::Returned)
}

pub(in crate::sqlite) fn outbox_return(store: &SqliteStore, now: Timestamp) -> Result<u64> {
    let limits = &store.options.limits;
    let due = store.read("look for leases that are over", |conn| {
        Ok(conn
            .prepare_cached(
                "SELECT 1 FROM message WHERE state IN ('leased', 'handed-over')
                    AND (until <= ?1 OR until > ?2)",
            )?
            .exists([now.millis(), latest(limits, now)])?)
    })?;
    if !due {
        return Ok(0);
    }
    store.write("take messages back", |step| take_back(step, limits, now))
}

/// No message is away until after this. Where one says so, the clock was ahead when it went.
fn latest(limits: &Limits, now: Timestamp) -> i64 {
    let longest = limits.lease_seconds.max(limits.receipt_seconds).saturating_mul(1_000);
    now.plus_millis(i64::try_from(longest).unwrap_or(i64::MAX).max(ASK_AGAIN_MOST)).millis()
}

/// Takes back what was leased, or handed over without a receipt, for too long.
pub(super) fn take_back(step: &Connection, limits: &Limits, now: Timestamp) -> Result<u64> {
    let sql = format!(
        "SELECT {COLUMNS} FROM message AS m
         WHERE m.key IN (
            SELECT key FROM message WHERE state IN ('leased', 'handed-over') AND until <= ?1
            UNION ALL
            SELECT key FROM message WHERE state IN ('leased', 'handed-over') AND until > ?3
                AND coalesce(handed, until) > ?3)
         LIMIT ?2"
    );
    let mut statement = step.prepare_cached(&sql)?;
    let over = statement.query_map(params![now.millis(), AT_ONCE, latest(limits, now)], read)?;
    let over = over.collect::<rusqlite::Result<Vec<_>>>()?;
    for message in &over {
        take_back_one(step, message, now)?;
    }
    Ok(over.len() as u64)
}

fn take_back_one(step: &Connection, message: &Message, now: Timestamp) -> Result<()> {
    let is_missing = message.state == MessageState::HandedOver;
    step.prepare_cached(
        "UPDATE message SET state = 'returned', missing = missing + ?2,
            ask_at = min(ask_at, ?3)
         WHERE key = ?1",
    )?
    .execute(params![message.key, is_missing, now.millis()])?;
    step.prepare_cached(
        "UPDATE delivery SET away = 0, reason = coalesce(?2, reason), changed = ?3
         WHERE message = ?1 AND state <> 'done'",
    )?
    .execute(params![message.key, is_missing.then_some(MISSING), now.millis()])?;
    let what = if is_missing { "no-receipt" } else { "lease-over" };
    event(step, message, what, is_missing.then_some(MISSING), now)
}

/// Takes back all leases of a carrier that are not over: it began anew, so that nobody has what
/// they are for any more.
pub(super) fn give_up(step: &Connection, carrier: &str, now: Timestamp) -> Result<()> {
    let sql = format!(
        "SELECT {COLUMNS} FROM message AS m INDEXED BY message_until
         WHERE m.state IN ('leased', 'handed-over') AND m.until > ?1
            AND m.state = 'leased' AND m.carrier = ?2"
    );
    let mut statement = step.prepare_cached(&sql)?;
    let leased = statement.query_map(params![now.millis(), carrier], read)?;
    for message in leased.collect::<rusqlite::Result<Vec<_>>>()? {
        take_back_one(step, &message, now)?;
    }
    Ok(())
}

pub(in crate::sqlite) fn outbox_unconfirmed(
    store: &SqliteStore,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<Unconfirmed>> {
    store.read("find what the parent is to be asked about", |conn| {
        let mut statement = conn.prepare_cached(
            "SELECT o.site, o.epoch, m.number, m.key FROM message AS m
             CROSS JOIN origin AS o ON o.key = m.origin
             WHERE m.state IN ('leased', 'handed-over', 'returned')
                AND (m.ask_at <= ?1 OR m.ask_at > ?3)
             ORDER BY m.ask_at LIMIT ?2",
        )?;
        let latest = latest(&store.options.limits, now);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let found = statement.query_map(params![now.millis(), limit, latest], |row| {
            let (origin, epoch) = (rows::site_id(row, 0)?, rows::epoch(row, 1)?);
            Ok((ChangeId { origin, epoch, number: row.get(2)? }, row.get::<_, i64>(3)?))
        })?;
        let found = found.collect::<rusqlite::Result<Vec<_>>>()?;
        let with_numbers = found.into_iter().map(|(id, key)| {
            let mut statement = conn.prepare_cached(
                "SELECT c.number FROM delivery AS d CROSS JOIN change AS c
                    ON c.sequence = d.sequence
                 WHERE d.message = ?1 AND d.state <> 'done' AND c.number IS NOT NULL
                 ORDER BY c.number",
            )?;
            let covers = statement.query_map([key], |row| row.get(0))?;
            Ok(Unconfirmed { id, covers: covers.collect::<rusqlite::Result<_>>()? })
        });
        with_numbers.collect()
    })
}

pub(in crate::sqlite) fn outbox_answers(
    store: &SqliteStore,
    receipts: &[Receipt],
    asked: &[MessageId],
    now: Timestamp,
    jitter: u64,
) -> Result<u64> {
    store.write("take in receipts", |step| {
        let mut settled = 0;
        for receipt in receipts {
            settled += u64::from(take_in(store, step, receipt, (now, jitter))?);
        }
        for id in asked {
            ask_later(step, id, &store.options.limits, now)?;
        }
        Ok(settled)
    })
}

/// The longer no receipt has come, the longer until the parent is asked again.
fn ask_later(step: &Connection, id: &MessageId, limits: &Limits, now: Timestamp) -> Result<()> {
    let Some(message) = find(step, id)? else { return Ok(()) };
    let waited = message.handed.map_or(ASK_AGAIN_MOST, |handed| now.since(handed));
    let pause = waited.clamp(ASK_AGAIN, ASK_AGAIN_MOST);
    step.prepare_cached(
        "UPDATE message SET ask_at = ?2 WHERE key = ?1 AND (ask_at <= ?3 OR ask_at > ?4)",
    )?
    .execute(params![
        message.key,
        now.plus_millis(pause).millis(),
        now.millis(),
        latest(limits, now)
    ])?;
    Ok(())
}

/// Settles what a message brought; whether the receipt said anything new.
fn take_in(
    store: &SqliteStore,
    step: &Connection,
    receipt: &Receipt,
    (now, jitter): (Timestamp, u64),
) -> Result<bool> {
    let Some(message) = find(step, &MessageId::of(&receipt.id))? else { return Ok(false) };
    if matches!(message.state, MessageState::Done | MessageState::Replaced) {
        return Ok(false);
    }
    let held = receipt.outcome.is_held();
    // A refusal is of one attempt, and counts once.
    if !held && (receipt.attempt != message.attempt || message.answered >= message.attempt) {
        return Ok(false);
    }
    let word = deliveries::by_receipt(step, receipt, open_deliveries(step, message.key)?)?;
    settle_all(store, step, &message, &word, (now, jitter))?;
    event(step, &message, receipt.outcome.as_str(), receipt.reason.as_deref(), now)?;
    Ok(true)
}

/// What the parent would say, as a third party would like it.
fn believed(deliveries: Vec<u64>) -> Settled {
    Settled {
        deliveries,
        sent: Vec::new(),
        differs: Vec::new(),
        outcome: Outcome::Applied,
        reason: None,
        sequence: 0,
    }
}

/// Settles all that a message brought by one word, and the message with it.
fn settle_all(
    store: &SqliteStore,
    step: &Connection,
    message: &Message,
    word: &Settled,
    (now, jitter): (Timestamp, u64),
) -> Result<()> {
    deliveries::take_in(store, step, word, now, jitter)?;
    let state = if word.outcome.is_held() { "done" } else { "returned" };
    step.prepare_cached(
        "UPDATE message SET state = ?2, answered = attempt, missing = 0 WHERE key = ?1",
    )?
    .execute(params![message.key, state])?;
    Ok(())
}

/// All that was in one message with any of these deliveries: it is parked and freed together, so
/// that a late copy of the message never brings what a later message does not cover.
pub(in crate::sqlite) fn with_company(step: &Connection, sequences: Vec<u64>) -> Result<Vec<u64>> {
    let mut all = Vec::with_capacity(sequences.len());
    for sequence in sequences {
        let message: Option<i64> = step
            .prepare_cached(
                "SELECT message FROM delivery WHERE target = 'parent' AND sequence = ?1",
            )?
            .query_row([sequence], |row| row.get(0))
            .optional()?
            .flatten();
        all.push(sequence);
        if let Some(message) = message {
            all.extend(open_deliveries(step, message)?);
        }
    }
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

/// A person wants it to go again: what was only said to be delivered is offered again at once.
pub(in crate::sqlite) fn offer_again(step: &Connection, sequence: u64) -> Result<()> {
    step.prepare_cached(
        "UPDATE message SET state = 'returned' WHERE state = 'handed-over' AND key =
            (SELECT message FROM delivery WHERE target = 'parent' AND sequence = ?1)",
    )?
    .execute([sequence])?;
    step.prepare_cached(
        "UPDATE delivery SET away = 0 WHERE target = 'parent' AND sequence = ?1 AND away = ?2",
    )?
    .execute(params![sequence, HANDED_OVER])?;
    Ok(())
}
