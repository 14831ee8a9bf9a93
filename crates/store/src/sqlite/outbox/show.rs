//! Messages, for people and for third parties.

use std::collections::BTreeMap;

use protocol::message::MessageId;
use protocol::{ChangeId, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

use super::find;
use crate::sqlite::{SqliteStore, rows};
use crate::{MessageEvent, MessageInfo, OutboxStatus, Result};

pub(in crate::sqlite) fn outbox_get(
    store: &SqliteStore,
    id: &MessageId,
) -> Result<Option<MessageInfo>> {
    store.read("look at a message", |conn| info(conn, id))
}

/// As `outbox_get`, in the caller's snapshot.
pub(in crate::sqlite) fn info(conn: &Connection, id: &MessageId) -> Result<Option<MessageInfo>> {
    let Some(message) = find(conn, id)? else { return Ok(None) };
    let (change, missing, until) = conn
        .prepare_cached(
            "SELECT o.site, o.epoch, m.number, m.missing, m.until FROM message AS m
                 CROSS JOIN origin AS o ON o.key = m.origin WHERE m.key = ?1",
        )?
        .query_row([message.key], |row| {
            let (origin, epoch) = (rows::site_id(row, 0)?, rows::epoch(row, 1)?);
            let change = ChangeId { origin, epoch, number: row.get(2)? };
            Ok((change, row.get(3)?, rows::time(row, 4)?))
        })?;
    let mut statement =
        conn.prepare_cached("SELECT sequence FROM delivery WHERE message = ?1 ORDER BY sequence")?;
    let deliveries = statement.query_map([message.key], |row| row.get(0))?;
    Ok(Some(MessageInfo {
        id: id.to_string(),
        change: change.to_string(),
        state: message.state,
        carrier: message.carrier,
        attempt: message.attempt,
        failures: message.failures,
        missing,
        until,
        handed: message.handed,
        deliveries: deliveries.collect::<rusqlite::Result<_>>()?,
        events: events(conn, message.key)?,
    }))
}

fn events(conn: &Connection, message: i64) -> Result<Vec<MessageEvent>> {
    let mut statement = conn.prepare_cached(
        "SELECT at, attempt, what, carrier, detail FROM message_event
         WHERE message = ?1 ORDER BY rowid",
    )?;
    let found = statement.query_map([message], |row| {
        Ok(MessageEvent {
            at: rows::time(row, 0)?,
            attempt: row.get(1)?,
            what: row.get(2)?,
            carrier: row.get(3)?,
            detail: row.get(4)?,
        })
    })?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// The names of messages by their keys.
pub(in crate::sqlite) fn message_names(
    conn: &Connection,
    keys: impl Iterator<Item = i64>,
) -> Result<BTreeMap<i64, String>> {
    let mut names = BTreeMap::new();
    for key in keys {
        let name = conn
            .prepare_cached(
                "SELECT o.epoch, m.number FROM message AS m
                 CROSS JOIN origin AS o ON o.key = m.origin WHERE m.key = ?1",
            )?
            .query_row([key], |row| {
                Ok(MessageId { epoch: rows::epoch(row, 0)?, number: row.get(1)? })
            })
            .optional()?;
        names.extend(name.map(|name| (key, name.to_string())));
    }
    Ok(names)
}

/// How it stands with those who carry messages.
pub(in crate::sqlite) fn status(conn: &Connection, now: Timestamp) -> Result<OutboxStatus> {
    let (carrier, carrier_at) = conn
        .prepare_cached("SELECT carrier, carrier_at FROM link WHERE target = 'parent'")?
        .query_row([], |row| Ok((row.get(0)?, rows::time_option(row, 1)?)))
        .optional()?
        .unwrap_or_default();
    let returned: u64 = conn
        .prepare_cached(
            "SELECT count(*) FROM message WHERE missing > 0
                AND state IN ('leased', 'handed-over', 'returned')",
        )?
        .query_row([], |row| row.get(0))?;
    // Not taken back yet.
    let late: u64 = conn
        .prepare_cached(
            "SELECT count(*) FROM message WHERE state IN ('leased', 'handed-over')
                AND until <= ?1 AND state = 'handed-over' AND missing = 0",
        )?
        .query_row(params![now.millis()], |row| row.get(0))?;
    Ok(OutboxStatus { carrier, carrier_at, missing: returned + late })
}
