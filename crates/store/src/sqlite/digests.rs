//! Digests of whole feeds in the order of their records' names, so that two sites can compare
//! what they hold.

use rusqlite::{OptionalExtension, params};

use super::*;
use super::{feeds, scope};

pub(super) fn record_digests(
    store: &SqliteStore,
    digest_scope: &DigestScope,
    after: Option<&RecordRef>,
    limit: usize,
) -> Result<Vec<(RecordRef, Digest)>> {
    store.read("list digests", |conn| of_scope(conn, digest_scope, after, limit))
}

pub(super) fn of_scope(
    conn: &Connection,
    digest_scope: &DigestScope,
    after: Option<&RecordRef>,
    limit: usize,
) -> Result<Vec<(RecordRef, Digest)>> {
    let Some(condition) = condition(conn, digest_scope)? else { return Ok(Vec::new()) };
    list(conn, &condition, after, limit)
}

/// What has to hold of a record `r`; `None` where there is no such feed for who asks.
fn condition(conn: &Connection, digest_scope: &DigestScope) -> Result<Option<String>> {
    match digest_scope {
        DigestScope::Published { feed, scope } => {
            Ok(feeds::find(conn, feed, scope)?.map(|feed| feed.entitled("r")))
        }
        DigestScope::Held { name, .. } if name == "reference" => Ok(Some(scope::reference("r"))),
        DigestScope::Held { feed, .. } => {
            let known: Option<i64> = conn
                .prepare_cached("SELECT 1 FROM held_patient WHERE feed = ?1 LIMIT 1")?
                .query_row([feed.as_bytes()], |row| row.get(0))
                .optional()?;
            let hex: String = feed.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
            Ok(known.map(|_| {
                // What the parent said had left is not of the feed, until somebody writes it again.
                format!(
                    "NOT EXISTS (SELECT 1 FROM left_record AS lr WHERE lr.record = r.key
                            AND lr.feed = x'{hex}' AND lr.sequence = r.sequence)
                    AND EXISTS (
                        SELECT 1 FROM record_patient AS rp
                        CROSS JOIN held_patient AS h ON h.patient = rp.patient
                        WHERE rp.record = r.key AND h.feed = x'{hex}')"
                )
            }))
        }
    }
}

fn list(
    conn: &Connection,
    condition: &str,
    after: Option<&RecordRef>,
    limit: usize,
) -> Result<Vec<(RecordRef, Digest)>> {
    let sql = format!(
        "SELECT r.type, r.id, r.digest FROM record AS r
         WHERE (r.type, r.id) > (?1, ?2) AND {condition}
         ORDER BY r.type, r.id LIMIT ?3"
    );
    let (kind, id) = after.map_or(("", ""), |after| (after.kind.name(), after.id()));
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = conn.prepare_cached(&sql)?;
    let found = statement.query_map(params![kind, id, limit], |row| {
        Ok((rows::record_ref(row, 0)?, rows::digest(row, 2)?))
    })?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

#[cfg(test)]
mod tests;
