//! Deliveries on their way with third parties (push mode C): messages, leases, and what is said of
//! them. A message is a line of the one queue; what it brings is done by the parent's word alone.

mod lease;
mod show;
mod turns;
mod words;

use protocol::Timestamp;
use protocol::message::MessageId;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::rows;
use crate::{MessageState, Result};

pub(super) use lease::outbox_lease;
pub(super) use show::{info as message_info, message_names, outbox_get, status};
pub(super) use words::{
    offer_again, outbox_answers, outbox_return, outbox_unconfirmed, outbox_word, with_company,
};

/// `delivery.away`: with a third party that has a lease.
pub(super) const LEASED: u8 = 1;
/// `delivery.away`: said to be delivered.
const HANDED_OVER: u8 = 2;

/// The row of a message.
#[derive(Debug, Clone)]
struct Message {
    key: i64,
    state: MessageState,
    lease: String,
    carrier: String,
    attempt: u32,
    answered: u32,
    failures: u32,
    handed: Option<Timestamp>,
}

const COLUMNS: &str = "m.key, m.state, m.lease, m.carrier, m.attempt, m.answered, m.failures,
    m.handed";

fn read(row: &Row<'_>) -> rusqlite::Result<Message> {
    Ok(Message {
        key: row.get(0)?,
        state: state(row, 1)?,
        lease: row.get(2)?,
        carrier: row.get(3)?,
        attempt: row.get(4)?,
        answered: row.get(5)?,
        failures: row.get(6)?,
        handed: rows::time_option(row, 7)?,
    })
}

fn state(row: &Row<'_>, column: usize) -> rusqlite::Result<MessageState> {
    match row.get_ref(column)?.as_str()? {
        "leased" => Ok(MessageState::Leased),
        "handed-over" => Ok(MessageState::HandedOver),
        "returned" => Ok(MessageState::Returned),
        "replaced" => Ok(MessageState::Replaced),
        "done" => Ok(MessageState::Done),
        _ => Err(rows::odd(column, "not a state of a message")),
    }
}

/// The message of this name. Epochs are of one site each.
fn find(conn: &Connection, id: &MessageId) -> Result<Option<Message>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM message AS m
         WHERE m.origin IN (SELECT key FROM origin WHERE epoch = ?1) AND m.number = ?2"
    );
    Ok(conn
        .prepare_cached(&sql)?
        .query_row(params![id.epoch.as_bytes(), id.number], read)
        .optional()?)
}

/// What a message brings that is not done: the numbers in the queue.
fn open_deliveries(conn: &Connection, message: i64) -> Result<Vec<u64>> {
    let mut statement = conn.prepare_cached(
        "SELECT sequence FROM delivery WHERE message = ?1 AND state <> 'done' ORDER BY sequence",
    )?;
    let found = statement.query_map([message], |row| row.get(0))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// What happened to a message.
fn event(
    step: &Connection,
    message: &Message,
    what: &str,
    detail: Option<&str>,
    now: Timestamp,
) -> Result<()> {
    step.prepare_cached(
        "INSERT INTO message_event (message, at, attempt, what, carrier, detail)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        message.key,
        now.millis(),
        message.attempt,
        what,
        message.carrier,
        detail
    ])?;
    Ok(())
}
