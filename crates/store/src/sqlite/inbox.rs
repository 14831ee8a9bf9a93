//! Messages that third parties brought (at a parent): stored before they are answered, worked off
//! after, and what became of them.

use protocol::delivery::{Outcome, latest_due};
use protocol::message::{Proof, Receipt};
use protocol::{ChangeId, SiteId, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::apply::{Run, prepare};
use super::{SqliteStore, body, received, rows, sources};
use crate::{Applied, Inboxed, Incoming, Post, Posted, ReceiptWord, Result, Source, StoreError};

/// What a child is told whose access has ended.
const SHUT: &str = "the site that sends it has no access here (any more)";
const DAY: i64 = 86_400_000;
/// Milliseconds that who stored a message has to work it off before others do.
const HEAD_START: i64 = 1_000;

pub(super) fn inbox_take(store: &SqliteStore, post: &Post, now: Timestamp) -> Result<Posted> {
    let packed = body::encode(&post.body)?;
    store.write("store a message", |step| {
        if !is_joined(step, &post.child)? {
            return Ok(Posted::Shut);
        }
        let origin = rows::origin_key(step, &post.id.origin, &post.id.epoch)?;
        if let Some(receipt) = known(step, post, origin)? {
            return Ok(Posted::Known(receipt));
        }
        let waiting = step
            .prepare_cached(
                "SELECT key FROM inbox
                 WHERE child = ?1 AND origin = ?2 AND number = ?3 AND digest = ?4",
            )?
            .query_row(params![post.child.as_str(), origin, post.id.number, post.digest], |row| {
                row.get(0)
            })
            .optional()?;
        if let Some(key) = waiting {
            return Ok(Posted::Stored(key));
        }
        if is_full(step, store.options.limits.inbox_messages)? {
            return Ok(Posted::Full);
        }
        step.prepare_cached(
            "INSERT INTO inbox (child, epoch, origin, number, attempt, carrier, digest, body,
                next_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            post.child.as_str(),
            post.epoch.as_bytes(),
            origin,
            post.id.number,
            post.attempt,
            post.carrier,
            post.digest,
            packed,
            // Who stored it works it off as well; if that ends early, somebody else does.
            now.plus_millis(HEAD_START).millis()
        ])?;
        let key = u64::try_from(step.last_insert_rowid()).unwrap_or_default();
        Ok(Posted::Stored(key))
    })
}

/// The receipt of the very same message, where it was taken.
fn known(step: &Connection, post: &Post, origin: i64) -> Result<Option<Receipt>> {
    let text: Option<String> = step
        .prepare_cached(
            "SELECT text FROM receipt
             WHERE child = ?1 AND origin = ?2 AND number = ?3 AND digest = ?4 AND held = 1",
        )?
        .query_row(params![post.child.as_str(), origin, post.id.number, post.digest], |row| {
            row.get(0)
        })
        .optional()?;
    let Some(text) = text else { return Ok(None) };
    Ok(Some(Receipt { outcome: Outcome::Already, reason: None, ..read(&text)? }))
}

fn read(text: &str) -> Result<Receipt> {
    Receipt::read(text).map_err(|_| StoreError::Damaged("a receipt cannot be read".to_owned()))
}

fn is_joined(conn: &Connection, child: &SiteId) -> Result<bool> {
    Ok(conn
        .prepare_cached("SELECT 1 FROM child WHERE site = ?1 AND state = 'joined'")?
        .exists([child.as_str()])?)
}

fn is_full(step: &Connection, limit: u64) -> Result<bool> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let sql = "SELECT 1 FROM inbox LIMIT 1 OFFSET ?1";
    Ok(step.prepare_cached(sql)?.exists([(limit - 1).max(0)])?)
}

pub(super) fn inbox_next(
    store: &SqliteStore,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<Inboxed>> {
    store.read("find messages that wait", |conn| {
        let mut statement = conn.prepare_cached(
            "SELECT i.key, i.child, i.epoch, o.site, o.epoch, i.number, i.body
             FROM inbox AS i CROSS JOIN origin AS o ON o.key = i.origin
             WHERE i.next_at <= ?1 OR i.next_at > ?3 ORDER BY i.next_at, i.key LIMIT ?2",
        )?;
        let latest = latest_due(now, &store.options.limits).millis();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut rows = statement.query(params![now.millis(), limit, latest])?;
        let mut waiting = Vec::new();
        while let Some(row) = rows.next()? {
            waiting.push(inboxed(row)?);
        }
        Ok(waiting)
    })
}

pub(super) fn inbox_get(store: &SqliteStore, key: u64) -> Result<Option<Inboxed>> {
    store.read("find a message that waits", |conn| {
        let mut statement = conn.prepare_cached(
            "SELECT i.key, i.child, i.epoch, o.site, o.epoch, i.number, i.body
             FROM inbox AS i CROSS JOIN origin AS o ON o.key = i.origin WHERE i.key = ?1",
        )?;
        let mut rows = statement.query([key])?;
        rows.next()?.map(inboxed).transpose()
    })
}

fn inboxed(row: &Row<'_>) -> Result<Inboxed> {
    Ok(Inboxed {
        key: row.get(0)?,
        child: rows::site_id(row, 1)?,
        epoch: rows::epoch(row, 2)?,
        id: ChangeId {
            origin: rows::site_id(row, 3)?,
            epoch: rows::epoch(row, 4)?,
            number: row.get(5)?,
        },
        body: body::decode(&row.get::<_, Vec<u8>>(6)?)?,
    })
}

/// The row of a message that waits.
struct Waiting {
    child: SiteId,
    epoch: protocol::Epoch,
    id: ChangeId,
    origin: i64,
    attempt: u32,
    digest: [u8; 32],
}

pub(super) fn inbox_apply(
    store: &SqliteStore,
    key: u64,
    incoming: &Incoming,
    now: Timestamp,
) -> Result<Option<Receipt>> {
    let states = prepare(incoming)?;
    store.write("work off a message", |step| {
        let Some(waiting) = waiting(step, key)? else { return Ok(None) };
        let receipt = if is_joined(step, &waiting.child)? {
            let source =
                Source::Child { site: waiting.child.clone(), epoch: waiting.epoch, reading: None };
            let mut run = Run::begin(store, step, &source, now)?;
            let applied = run.incoming(incoming, &states)?;
            receipt(&waiting, incoming, applied)
        } else {
            let sequence = rows::site_sequence(step)?;
            let (id, attempt) = (waiting.id.clone(), waiting.attempt);
            let (outcome, reason) = (Outcome::Refused, Some(SHUT.to_owned()));
            Receipt {
                id,
                attempt,
                outcome,
                reason,
                sequence,
                digests: Vec::new(),
                differs: Vec::new(),
            }
        };
        step.prepare_cached(
            "INSERT INTO receipt (child, origin, number, digest, held, text, at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT (child, origin, number) DO UPDATE SET digest = ?4, held = ?5, text = ?6,
                at = ?7",
        )?
        .execute(params![
            waiting.child.as_str(),
            waiting.origin,
            waiting.id.number,
            waiting.digest,
            receipt.outcome.is_held(),
            receipt.to_text(),
            now.millis()
        ])?;
        step.prepare_cached("DELETE FROM inbox WHERE key = ?1")?.execute([key])?;
        Ok(Some(receipt))
    })
}

fn waiting(step: &Connection, key: u64) -> Result<Option<Waiting>> {
    Ok(step
        .prepare_cached(
            "SELECT i.child, i.epoch, o.site, o.epoch, i.number, i.origin, i.attempt, i.digest
             FROM inbox AS i CROSS JOIN origin AS o ON o.key = i.origin WHERE i.key = ?1",
        )?
        .query_row([key], |row| {
            Ok(Waiting {
                child: rows::site_id(row, 0)?,
                epoch: rows::epoch(row, 1)?,
                id: ChangeId {
                    origin: rows::site_id(row, 2)?,
                    epoch: rows::epoch(row, 3)?,
                    number: row.get(4)?,
                },
                origin: row.get(5)?,
                attempt: row.get(6)?,
                digest: row.get(7)?,
            })
        })
        .optional()?)
}

/// What is said of a line: which of its states are held, and why what was refused is.
fn receipt(waiting: &Waiting, incoming: &Incoming, applied: Applied) -> Receipt {
    let told = matches!(applied.outcome, Outcome::Refused | Outcome::Later | Outcome::Conflict);
    let digests = match incoming {
        Incoming::Line { line, .. } => sources::words::digests_of(line, &applied),
        _ => Vec::new(),
    };
    let differs = sources::words::differs_of(&applied);
    Receipt {
        id: waiting.id.clone(),
        attempt: waiting.attempt,
        outcome: applied.outcome,
        reason: applied.reason.filter(|_| told),
        sequence: applied.sequence,
        digests,
        differs,
    }
}

/// What failed by no fault of the message is tried again, behind all others.
pub(super) fn inbox_defer(store: &SqliteStore, key: u64, next: Timestamp) -> Result<()> {
    store.write("put a message off", |step| {
        step.prepare_cached("UPDATE inbox SET next_at = ?2, tries = tries + 1 WHERE key = ?1")?
            .execute(params![key, next.millis()])?;
        Ok(())
    })
}

pub(super) fn inbox_receipts(
    store: &SqliteStore,
    child: &SiteId,
    asked: &[(ChangeId, Vec<u64>)],
) -> Result<Vec<ReceiptWord>> {
    store.read("look for receipts", |conn| {
        let sequence = rows::site_sequence(conn)?;
        asked.iter().map(|(id, covers)| word(conn, child, (id, covers), sequence)).collect()
    })
}

fn word(
    conn: &Connection,
    child: &SiteId,
    (id, covers): (&ChangeId, &[u64]),
    sequence: u64,
) -> Result<ReceiptWord> {
    let origin: Option<i64> = conn
        .prepare_cached("SELECT key FROM origin WHERE site = ?1 AND epoch = ?2")?
        .query_row(params![id.origin.as_str(), id.epoch.as_bytes()], |row| row.get(0))
        .optional()?;
    let Some(origin) = origin else { return Ok(ReceiptWord::Unknown) };
    let name = params![child.as_str(), origin, id.number];
    let waits = "SELECT 1 FROM inbox WHERE child = ?1 AND origin = ?2 AND number = ?3";
    if conn.prepare_cached(waits)?.exists(name)? {
        return Ok(ReceiptWord::Waiting);
    }
    let text: Option<String> = conn
        .prepare_cached(
            "SELECT text FROM receipt WHERE child = ?1 AND origin = ?2 AND number = ?3",
        )?
        .query_row(params![child.as_str(), origin, id.number], |row| row.get(0))
        .optional()?;
    let receipt = text.as_deref().map(read).transpose()?;
    if receipt.as_ref().is_some_and(|receipt| receipt.outcome.is_held()) {
        return Ok(receipt.map_or(ReceiptWord::Unknown, ReceiptWord::Receipt));
    }
    // Receipts end; what was received is known for ever, by whatever way it came.
    let numbers = if covers.is_empty() { std::slice::from_ref(&id.number) } else { covers };
    let from = (child, origin);
    if received::holds_all(conn, from, numbers)? && !received::are_asked_again(conn, from, numbers)?
    {
        return Ok(ReceiptWord::Receipt(Receipt {
            id: id.clone(),
            attempt: 0,
            outcome: Outcome::Already,
            reason: None,
            sequence,
            digests: Vec::new(),
            differs: Vec::new(),
        }));
    }
    Ok(receipt.map_or(ReceiptWord::Unknown, ReceiptWord::Receipt))
}

pub(super) fn inbox_prove(
    store: &SqliteStore,
    child: &SiteId,
    text: &str,
) -> Result<Option<Proof>> {
    store.read("prove a receipt", |conn| {
        let hash: Option<[u8; 32]> = conn
            .prepare_cached("SELECT token_hash FROM child WHERE site = ?1 AND state = 'joined'")?
            .query_row([child.as_str()], |row| row.get(0))
            .optional()?
            .flatten();
        Ok(hash.map(|hash| Proof::of(text, &hash)))
    })
}

pub(super) fn inbox_expire(store: &SqliteStore, now: Timestamp) -> Result<u64> {
    let days = i64::from(store.options.limits.receipt_days);
    let before = now.plus_millis(-days.saturating_mul(DAY)).millis();
    store.write("let go of old receipts", |step| {
        let gone = step.prepare_cached("DELETE FROM receipt WHERE at < ?1")?.execute([before])?;
        Ok(gone as u64)
    })
}
