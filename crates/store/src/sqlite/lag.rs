//! How far children are behind in their feeds, by where they said that they are, and how fast they
//! have caught up lately.

use protocol::{SiteId, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::{Map, Value, json};

use super::{SqliteStore, rows};
use crate::{ChildLag, FeedPosition, Result};

/// Joins are counted so far and no further.
const COUNTED: u64 = 10_000;
/// A child that says nothing for longer was away: that time is not what its work takes.
const AWAY_MILLIS: i64 = 15 * 60 * 1_000;

/// Milliseconds after which a poll that says nothing new counts as being here: each is a write.
const SEEN_EVERY: i64 = 3 * 60 * 1_000;

/// A feed of a child's.
struct Feed {
    key: i64,
    name: String,
    head: u64,
    head_join: u64,
}

fn feeds(conn: &Connection, child: &SiteId) -> Result<Vec<Feed>> {
    let mut statement = conn.prepare_cached(
        "SELECT key, name, head, head_join FROM feed
         WHERE kind = 'reference' OR key IN (SELECT feed FROM child_cohort WHERE site = ?1)",
    )?;
    let found = statement.query_map([child.as_str()], |row| {
        Ok(Feed { key: row.get(0)?, name: row.get(1)?, head: row.get(2)?, head_join: row.get(3)? })
    })?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// Where a report says that the child is in a feed: at its beginning where it has not begun. `None`
/// where the report does not speak of such places, or says what cannot be: a position after the end
/// is of another life of this store.
fn position(report: &Value, feed: &Feed) -> Option<(u64, u64)> {
    let at = |lane: &str, end: u64| match report.get(lane)?.get(&feed.name) {
        Some(position) => position.as_u64().filter(|at| *at <= end),
        None => Some(0),
    };
    let live = at("markers", feed.head)?;
    // A child of an older version does not tell of the bulk lane.
    let bulk = if feed.head_join == 0 { 0 } else { at("bulk_markers", feed.head_join)? };
    Some((live, bulk))
}

/// How far a child is behind what its feeds hold; `None` where it has not said.
pub(super) fn behind(
    conn: &Connection,
    child: &SiteId,
    report: Option<&str>,
) -> Result<Option<ChildLag>> {
    let Some(report) = report.and_then(|text| serde_json::from_str::<Value>(text).ok()) else {
        return Ok(None);
    };
    // Nothing comes down to it.
    if report.get("one_way") == Some(&Value::Bool(true)) {
        return Ok(None);
    }
    let mut lag = ChildLag { changes: 0, joins: 0, since: None, catch_up_millis: None };
    for feed in feeds(conn, child)? {
        let Some((live, bulk)) = position(&report, &feed) else { return Ok(None) };
        lag.changes += feed.head - live;
        lag.joins += joins(conn, feed.key, (bulk, feed.head_join))?;
        for (after, kind) in [(live, "kind >= 0"), (bulk, "kind = 1")] {
            let sql = format!(
                "SELECT at FROM feed_entry WHERE feed = ?1 AND position > ?2 AND {kind}
                 ORDER BY position LIMIT 1"
            );
            let oldest = conn
                .prepare_cached(&sql)?
                .query_row(params![feed.key, after], |row| rows::time(row, 0))
                .optional()?;
            lag.since = [lag.since, oldest].into_iter().flatten().min();
        }
    }
    lag.catch_up_millis = catch_up(conn, child, lag.changes + lag.joins)?;
    Ok(Some(lag))
}

/// Joins from after `from` up to `to`, counted up to a bound.
fn joins(conn: &Connection, feed: i64, (from, to): (u64, u64)) -> Result<u64> {
    Ok(conn
        .prepare_cached(
            "SELECT count(*) FROM (SELECT 1 FROM feed_entry
                WHERE feed = ?1 AND kind = 1 AND position > ?2 AND position <= ?3 LIMIT ?4)",
        )?
        .query_row(params![feed, from, to, COUNTED], |row| row.get(0))?)
}

/// Milliseconds that `entries` will take at the pace of lately; `None` where it has none.
fn catch_up(conn: &Connection, child: &SiteId, entries: u64) -> Result<Option<u64>> {
    if entries == 0 {
        return Ok(Some(0));
    }
    let pace: Option<(u64, u64)> = conn
        .prepare_cached("SELECT took, took_millis FROM child WHERE site = ?1")?
        .query_row([child.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let millis = pace.filter(|(took, _)| *took > 0).map(|(took, millis)| {
        let millis = u128::from(entries) * u128::from(millis) / u128::from(took);
        u64::try_from(millis).unwrap_or(u64::MAX)
    });
    Ok(millis)
}

/// Notes how far a child has come since it was last heard, before its new report is kept: what was
/// longer ago counts for less.
pub(super) fn note_pace(
    step: &Connection,
    child: &SiteId,
    (old, new): (Option<&str>, &str),
    now: Timestamp,
) -> Result<()> {
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    let (old, new) = (old.map(parse).unwrap_or_default(), parse(new));
    let (mut took, mut behind) = (0, false);
    for feed in feeds(step, child)? {
        let Some((live, bulk)) = position(&new, &feed) else { continue };
        behind |= live < feed.head || bulk < feed.head_join;
        // Where it begins a feed, its live lane begins at the end: that is no work.
        let begun = old["markers"].get(&feed.name).is_some();
        if let Some((live_before, bulk_before)) = position(&old, &feed).filter(|_| begun) {
            took += live.saturating_sub(live_before);
            took += joins(step, feed.key, (bulk_before, bulk))?;
        }
    }
    let from: Option<i64> = step
        .prepare_cached("SELECT pace_from FROM child WHERE site = ?1")?
        .query_row([child.as_str()], |row| row.get(0))?;
    let spent =
        from.map(|from| now.millis() - from).filter(|spent| (1..=AWAY_MILLIS).contains(spent));
    if let Some(spent) = spent {
        step.prepare_cached(
            "UPDATE child SET took = took / 2 + ?2, took_millis = took_millis / 2 + ?3
             WHERE site = ?1",
        )?
        .execute(params![child.as_str(), took, spent])?;
    }
    step.prepare_cached("UPDATE child SET pace_from = ?2 WHERE site = ?1")?
        .execute(params![child.as_str(), behind.then_some(now.millis())])?;
    Ok(())
}

/// Notes where a child is, from a request that says no more of it. Writes only what is new.
pub(super) fn child_at(
    store: &SqliteStore,
    child: &SiteId,
    positions: &[FeedPosition],
    now: Timestamp,
) -> Result<()> {
    let (known, feeds, seen) = store.read("see where a child is", |conn| {
        Ok((report_of(conn, child)?, feeds(conn, child)?, last_seen(conn, child)?))
    })?;
    // Of its own feeds only: what else it names is kept by nobody.
    let own = |at: &&FeedPosition| feeds.iter().any(|feed| feed.name == at.feed);
    let positions = &positions.iter().filter(own).cloned().collect::<Vec<_>>();
    if known.as_deref().and_then(|report| moved(report, positions)).is_none() {
        if seen.is_none_or(|at| now.since(at) < SEEN_EVERY) {
            return Ok(());
        }
        return store.write("note that a child was here", |step| {
            step.prepare_cached(
                "UPDATE child SET last_seen = ?2 WHERE site = ?1 AND state = 'joined'",
            )?
            .execute(params![child.as_str(), now.millis()])?;
            Ok(())
        });
    }
    store.write("note where a child is", |step| {
        let Some(known) = report_of(step, child)? else { return Ok(()) };
        let Some(report) = moved(&known, positions) else { return Ok(()) };
        note_pace(step, child, (Some(&known), &report), now)?;
        step.prepare_cached("UPDATE child SET report = ?2, last_seen = ?3 WHERE site = ?1")?
            .execute(params![child.as_str(), report, now.millis()])?;
        Ok(())
    })
}

fn last_seen(conn: &Connection, child: &SiteId) -> Result<Option<Timestamp>> {
    Ok(conn
        .prepare_cached("SELECT last_seen FROM child WHERE site = ?1 AND state = 'joined'")?
        .query_row([child.as_str()], |row| rows::time_option(row, 0))
        .optional()?
        .flatten())
}

fn report_of(conn: &Connection, child: &SiteId) -> Result<Option<String>> {
    Ok(conn
        .prepare_cached("SELECT report FROM child WHERE site = ?1 AND state = 'joined'")?
        .query_row([child.as_str()], |row| row.get(0))
        .optional()?
        .flatten())
}

/// The report with these positions; `None` where it has them already.
fn moved(report: &str, positions: &[FeedPosition]) -> Option<String> {
    let before: Value = serde_json::from_str(report).ok()?;
    let mut after = before.clone();
    let members = after.as_object_mut()?;
    for (name, at) in [("markers", 0), ("bulk_markers", 1)] {
        let lane = members.entry(name).or_insert_with(|| Value::Object(Map::new()));
        let lane = lane.as_object_mut()?;
        for FeedPosition { feed, live, bulk } in positions {
            // `reference` has no bulk lane, and so has nothing to say of it.
            if at == 0 || *bulk > 0 || lane.contains_key(feed) {
                lane.insert(feed.clone(), json!(if at == 0 { live } else { bulk }));
            }
        }
    }
    (after != before).then(|| after.to_string())
}
