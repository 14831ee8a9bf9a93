//! The audit: append only, each row's hash covers its content and the hash of the row before.

mod copies;
mod disclose;
mod events;
mod list;
mod who;

use protocol::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use sha2::{Digest as _, Sha256};

use super::SqliteStore;
use crate::{AuditRow, Result};

pub(super) use copies::{
    audit_common, audit_from, audit_passed, audit_pending, audit_places, audit_take,
    audit_verify_copy, walk_copies,
};
pub(super) use disclose::disclosed;
pub(super) use events::audit_events;
pub(super) use list::{audit_list, audit_verify};
pub(super) use who::audit_who;

pub(super) fn audit_append(store: &SqliteStore, row: &AuditRow, now: Timestamp) -> Result<()> {
    store.write("append to the audit", |step| append(step, row, now))
}

/// Appends in the caller's transaction.
pub(super) fn append(step: &Connection, row: &AuditRow, now: Timestamp) -> Result<()> {
    let last: Option<(i64, [u8; 32])> = step
        .prepare_cached("SELECT key, hash FROM audit ORDER BY key DESC LIMIT 1")?
        .query_row([], |found| Ok((found.get(0)?, found.get(1)?)))
        .optional()?;
    let (key, before) = last.unwrap_or((0, [0; 32]));
    let at = now.millis();
    let hash = link(&before, at, [&row.actor, row.action, &row.subject, &row.detail]);
    step.prepare_cached(
        "INSERT INTO audit (key, at, actor, action, subject, detail, hash)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![key + 1, at, row.actor, row.action, row.subject, row.detail, hash])?;
    Ok(())
}

/// The hash of a row: over the hash before it, the time, and each text with its length, so that
/// no two different rows have the same bytes.
fn link(before: &[u8; 32], at: i64, texts: [&str; 4]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(before);
    hash.update(at.to_be_bytes());
    for text in texts {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text.as_bytes());
    }
    hash.finalize().into()
}

/// Goes through all rows and calls `finding` with a sentence for each that does not fit; gives how
/// many there are and the last hash.
pub(super) fn walk(conn: &Connection, mut finding: impl FnMut(String)) -> Result<(u64, [u8; 32])> {
    let mut statement = conn
        .prepare("SELECT key, at, actor, action, subject, detail, hash FROM audit ORDER BY key")?;
    let mut rows = statement.query([])?;
    let (mut before, mut last, mut count) = ([0; 32], 0, 0);
    while let Some(row) = rows.next()? {
        let key: i64 = row.get(0)?;
        let text = |column| row.get_ref(column)?.as_str().map_err(rusqlite::Error::from);
        let texts = [text(2)?, text(3)?, text(4)?, text(5)?];
        let hash: [u8; 32] = row.get(6)?;
        if key != last + 1 {
            finding(format!("rows of the audit are missing before row {key}"));
        }
        if link(&before, row.get(1)?, texts) != hash {
            finding(format!("row {key} of the audit was altered, or a row before it"));
        }
        (before, last, count) = (hash, key, count + 1);
    }
    Ok((count, before))
}
