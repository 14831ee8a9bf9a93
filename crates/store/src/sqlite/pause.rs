//! Pausing and resuming links: durable, and in the audit.

use protocol::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{SqliteStore, audit, rows, status};
use crate::{AuditRow, LinkName, Pause, PauseDraft, Result, StoreError};

const COLUMNS: &str = "child, reason, actor, since, millis";

/// The record system's link in the table: no site is called so.
const EMR: &str = "@emr";

/// A link as the table names it.
fn key(link: &LinkName) -> &str {
    match link {
        LinkName::Parent => "",
        LinkName::Child(site) => site.as_str(),
        LinkName::Emr => EMR,
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<Pause> {
    let link = match row.get_ref(0)?.as_str()? {
        "" => LinkName::Parent,
        EMR => LinkName::Emr,
        _ => LinkName::Child(rows::site_id(row, 0)?),
    };
    let since = rows::time(row, 3)?;
    let millis: Option<i64> = row.get(4)?;
    Ok(Pause {
        link,
        reason: row.get(1)?,
        actor: row.get(2)?,
        since,
        until: millis.map(|millis| since.plus_millis(millis)),
    })
}

/// The pause of the link to the parent that nobody has ended; it may be over by itself.
pub(super) fn of_parent(conn: &Connection) -> Result<Option<Pause>> {
    let sql = format!("SELECT {COLUMNS} FROM link_pause WHERE child = ''");
    Ok(conn.prepare_cached(&sql)?.query_row([], read).optional()?)
}

pub(super) fn link_pause(store: &SqliteStore, draft: &PauseDraft, now: Timestamp) -> Result<()> {
    store.write("pause a link", |step| {
        let known = match &draft.link {
            LinkName::Parent => status::site_info(step)?.has_parent,
            LinkName::Child(_) if draft.is_source => true,
            LinkName::Child(site) => step
                .prepare_cached("SELECT 1 FROM child WHERE site = ?1 AND state <> 'revoked'")?
                .exists([site.as_str()])?,
            LinkName::Emr => super::emr::status(step)?.is_some(),
        };
        if !known {
            let what = match &draft.link {
                LinkName::Parent => "this site has no parent".to_owned(),
                LinkName::Child(site) => {
                    format!("there is no child {site}, and no source of that name")
                }
                LinkName::Emr => "there is no record system beside this site".to_owned(),
            };
            return Err(StoreError::Name(what));
        }
        let millis = draft.millis.map(|millis| i64::try_from(millis).unwrap_or(i64::MAX));
        step.prepare_cached(
            "INSERT INTO link_pause (child, reason, actor, since, millis)
             VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (child) DO UPDATE SET reason = ?2, actor = ?3, since = ?4, millis = ?5",
        )?
        .execute(params![
            key(&draft.link),
            draft.reason,
            draft.actor,
            now.millis(),
            millis
        ])?;
        let until = draft.millis.map_or(String::new(), |millis| {
            let end = now.plus_millis(i64::try_from(millis).unwrap_or(i64::MAX));
            format!(" (until {end})")
        });
        let row = AuditRow {
            actor: draft.actor.clone(),
            action: "link-pause",
            subject: draft.link.to_string(),
            detail: format!("{}{until}", draft.reason),
        };
        audit::append(step, &row, now)
    })
}

pub(super) fn link_resume(
    store: &SqliteStore,
    link: &LinkName,
    actor: &str,
    now: Timestamp,
) -> Result<bool> {
    store.write("resume a link", |step| {
        let was = paused(step, link, now)?.is_some();
        step.prepare_cached("DELETE FROM link_pause WHERE child = ?1")?.execute([key(link)])?;
        if was {
            let row = AuditRow {
                actor: actor.to_owned(),
                action: "link-resume",
                subject: link.to_string(),
                detail: String::new(),
            };
            audit::append(step, &row, now)?;
        }
        Ok(was)
    })
}

pub(super) fn link_paused(
    store: &SqliteStore,
    link: &LinkName,
    now: Timestamp,
) -> Result<Option<Pause>> {
    store.read("look whether a link is paused", |conn| paused(conn, link, now))
}

fn paused(conn: &Connection, link: &LinkName, now: Timestamp) -> Result<Option<Pause>> {
    let found = conn
        .prepare_cached(&format!("SELECT {COLUMNS} FROM link_pause WHERE child = ?1"))?
        .query_row([key(link)], read)
        .optional()?;
    Ok(found.filter(|pause| pause.holds(now)))
}

/// All pauses that hold, the parent's first.
pub(super) fn all(conn: &Connection, now: Timestamp) -> Result<Vec<Pause>> {
    let sql = format!("SELECT {COLUMNS} FROM link_pause ORDER BY child");
    let mut found: Vec<Pause> = status::list(conn, &sql, [], read)?;
    found.retain(|pause| pause.holds(now));
    Ok(found)
}
