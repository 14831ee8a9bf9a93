//! The link to the parent: becoming its child, and what happened on the way.

use std::collections::BTreeMap;

use protocol::reconcile::Policies;
use protocol::{FeedId, Timestamp, Urgency};
use rusqlite::{Connection, OptionalExtension, params};

use super::deliveries::lanes::LaneColumn;
use super::{SqliteStore, audit, rows};
use crate::{AuditRow, LinkEvent, LinkPace, MonthTraffic, Result, StoreError, Traffic};

/// Months of traffic that are told.
const MONTHS: u32 = 240;

pub(super) fn parent_set(store: &SqliteStore, now: Timestamp, feed: &FeedId) -> Result<()> {
    store.write("become a child", |step| {
        let new = step.execute("UPDATE site SET has_parent = 1 WHERE has_parent = 0", [])? > 0;
        if !new {
            return Ok(());
        }
        begin_outgoing(step, feed, store.options.limits.page_entries, now)?;
        let queued = step.execute(
            "INSERT INTO delivery (target, sequence, state, changed, lane)
             SELECT 'parent', sequence, 'ready', ?1, ?2 FROM change WHERE via <> 1",
            params![now.millis(), LaneColumn(Urgency::Bulk)],
        )?;
        let row = AuditRow {
            actor: "operator".to_owned(),
            action: "parent-set",
            subject: rows::own_site(step)?.to_string(),
            detail: format!("queued {queued}"),
        };
        audit::append(step, &row, now)
    })
}

/// The feed of what goes up, with everything that is here already.
fn begin_outgoing(
    step: &Connection,
    feed: &FeedId,
    page_entries: u32,
    now: Timestamp,
) -> Result<()> {
    step.execute(
        "INSERT INTO feed (id, name, kind, title, page_entries, created)
         VALUES (?1, 'outgoing', 'outgoing', 'Changes for the parent', ?2, ?3)",
        params![feed.as_bytes(), page_entries.max(1), now.millis()],
    )?;
    let key = step.last_insert_rowid();
    let entries = step.execute(
        "INSERT INTO feed_entry (feed, position, kind, sequence, at)
         SELECT ?1, row_number() OVER (ORDER BY sequence), 0, sequence, recorded
         FROM change WHERE via <> 1",
        [key],
    )?;
    step.execute("UPDATE feed SET head = ?2 WHERE key = ?1", params![key, entries])?;
    Ok(())
}

/// Policies as they are kept.
fn told(policies: &Policies) -> Result<String> {
    serde_json::to_string(&policies.to_settings())
        .map_err(|e| StoreError::Database { step: "keep policies", source: Box::new(e) })
}

/// The parent's policies, as it told them last; the defaults where it told none.
pub(super) fn policies(connection: &Connection) -> Result<Policies> {
    let found: Option<(Option<String>, bool)> = connection
        .prepare_cached("SELECT merge, clocks_agree FROM link WHERE target = 'parent'")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((Some(told), clocks_agree)) = found else { return Ok(Policies::default()) };
    let settings: BTreeMap<String, String> = serde_json::from_str(&told)
        .map_err(|e| StoreError::Database { step: "read policies", source: Box::new(e) })?;
    Ok(Policies::from_parent(&settings).with_clocks(clocks_agree))
}

pub(super) fn link_note(store: &SqliteStore, event: &LinkEvent, now: Timestamp) -> Result<()> {
    let now = now.millis();
    store.write("note what happened on the link", |step| {
        match event {
            LinkEvent::Contact { peer, traffic } => {
                count(step, traffic)?;
                let sql = "UPDATE link SET failures = 0, last_error = NULL, next_attempt = NULL,
                        last_attempt = ?1, last_contact = ?1, peer = coalesce(?2, peer)
                     WHERE target = 'parent'";
                step.prepare_cached(sql)?.execute(params![now, peer])?
            }
            LinkEvent::Peer(peer) => {
                step.execute("UPDATE link SET peer = ?1 WHERE target = 'parent'", [peer])?
            }
            LinkEvent::Failure { error, next } => step.execute(
                "UPDATE link SET failures = failures + 1, last_error = ?2, next_attempt = ?3,
                    last_attempt = ?1
                 WHERE target = 'parent'",
                params![now, error, next.millis()],
            )?,
            LinkEvent::Compared => {
                step.execute("UPDATE link SET compared = ?1 WHERE target = 'parent'", [now])?
            }
            LinkEvent::Policies(policies) => step.execute(
                "UPDATE link SET merge = ?1, clocks_agree = ?2 WHERE target = 'parent'",
                params![told(policies)?, policies.clocks_agree],
            )?,
            LinkEvent::Traffic(traffic, pace) => {
                if let Some(pace) = pace {
                    keep_pace(step, pace)?;
                }
                count(step, traffic)?
            }
        };
        Ok(())
    })
}

/// The months in which something moved, newest first. A clock that was ahead may have made one that
/// has not come yet.
pub(super) fn months(conn: &Connection) -> Result<Vec<MonthTraffic>> {
    let sql = "SELECT month, sent, received, lifted FROM link_month ORDER BY month DESC LIMIT ?1";
    super::status::list(conn, sql, [MONTHS], |row| {
        let (month, sent, received) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(MonthTraffic { month, sent, received, lifted: row.get(3)? })
    })
}

pub(super) fn budget_lift(
    store: &SqliteStore,
    month: u32,
    reason: &str,
    actor: &str,
    now: Timestamp,
) -> Result<()> {
    store.write("lift the budget", |step| {
        step.prepare_cached(
            "INSERT INTO link_month (month, lifted) VALUES (?1, ?2)
             ON CONFLICT (month) DO UPDATE SET lifted = ?2",
        )?
        .execute(params![month, reason])?;
        let row = AuditRow {
            actor: actor.to_owned(),
            action: "budget-lift",
            subject: month.to_string(),
            detail: reason.to_owned(),
        };
        audit::append(step, &row, now)
    })
}

fn keep_pace(step: &Connection, pace: &LinkPace) -> Result<()> {
    let text = serde_json::to_string(pace)
        .map_err(|e| StoreError::Database { step: "keep the pace", source: Box::new(e) })?;
    step.prepare_cached("UPDATE link SET pace = ?1 WHERE target = 'parent'")?.execute([text])?;
    Ok(())
}

fn count(step: &Connection, traffic: &Traffic) -> Result<usize> {
    let Traffic { wire_sent, wire_received, raw_sent, raw_received, month } = traffic;
    if let Some(month) = month {
        step.prepare_cached(
            "INSERT INTO link_month (month, sent, received) VALUES (?1, ?2, ?3)
             ON CONFLICT (month) DO UPDATE SET sent = sent + ?2, received = received + ?3",
        )?
        .execute(params![month, wire_sent, wire_received])?;
    }
    Ok(step
        .prepare_cached(
            "UPDATE link SET wire_sent = wire_sent + ?1, wire_received = wire_received + ?2,
                raw_sent = raw_sent + ?3, raw_received = raw_received + ?4
             WHERE target = 'parent'",
        )?
        .execute(params![wire_sent, wire_received, raw_sent, raw_received])?)
}
