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
            Ok(known.map(|_| held(feed)))
        }
        DigestScope::Outside { feeds, which } => outside(conn, feeds, *which).map(Some),
    }
}

/// The record is of a feed of the parent's, as far as this site knows.
fn held(feed: &FeedId) -> String {
    let feed = literal(feed);
    // What the parent said had left is not of the feed, until somebody writes it again.
    format!(
        "NOT EXISTS (SELECT 1 FROM left_record AS lr WHERE lr.record = r.key
                AND lr.feed = {feed} AND lr.sequence = r.sequence)
            AND EXISTS (
                SELECT 1 FROM record_patient AS rp
                CROSS JOIN held_patient AS h ON h.patient = rp.patient
                WHERE rp.record = r.key AND h.feed = {feed})"
    )
}

fn literal(feed: &FeedId) -> String {
    let hex: String = feed.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("x'{hex}'")
}

/// The record is of none of these feeds, is no reference record, and does not wait to go up.
fn outside(conn: &Connection, feeds: &[FeedId], which: Outside) -> Result<String> {
    let mut statement = conn.prepare_cached("SELECT DISTINCT feed FROM left_patient")?;
    let left = statement.query_map([], |row| rows::feed_id(row, 0))?;
    let left = left.map(|feed| Ok(literal(&feed?))).collect::<Result<Vec<_>>>()?.join(", ");
    let kept = format!(
        "(EXISTS (SELECT 1 FROM left_record AS lr WHERE lr.record = r.key
                AND lr.sequence = r.sequence)
            OR EXISTS (SELECT 1 FROM record_patient AS rp CROSS JOIN left_patient AS l
                ON l.feed IN ({left}) AND l.patient = rp.patient WHERE rp.record = r.key)
            OR EXISTS (SELECT 1 FROM record_patient AS rp
                CROSS JOIN held_patient AS h ON h.patient = rp.patient WHERE rp.record = r.key))"
    );
    let taken = "r.parent_digest IS r.digest";
    let which = match which {
        Outside::Kept => kept,
        Outside::Taken => format!("NOT {kept} AND {taken}"),
        Outside::OnlyHere => format!("NOT {kept} AND NOT {taken}"),
    };
    let mut all = format!(
        "r.deleted = 0 AND NOT {} AND NOT EXISTS (SELECT 1 FROM version AS v
            CROSS JOIN delivery AS d ON d.target = 'parent' AND d.sequence = v.sequence
            WHERE v.record = r.key AND d.state <> 'done')",
        scope::reference("r")
    );
    for condition in feeds.iter().map(|feed| format!("NOT ({})", held(feed))).chain([which]) {
        all.push_str(" AND ");
        all.push_str(&condition);
    }
    Ok(all)
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
