//! Chains of audit rows between sites: our own and those of sites below, passed on upwards and kept
//! at the parent, where each can be proved.

use protocol::{Digest, SiteId, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::link;
use crate::sqlite::{SqliteStore, rows, status};
use crate::{
    AuditBatch, AuditLine, AuditPlace, AuditProof, AuditSite, AuditTaken, Result, StoreError,
};

/// Rows that go in one batch, and about how many bytes of them.
const ROWS: i64 = 1_000;
const BYTES: usize = 512 << 10;
/// Places of its chain that a site names at the most, to find the last one in common.
const PLACES: usize = 64;
/// Sites below whose chains are kept at the most.
const SITES: u64 = 10_000;

/// The rows of a chain that still stand: of a life that was followed by another only those up to
/// where that one begins.
const STANDS: &str = "NOT EXISTS (SELECT 1 FROM audit_life AS later
    WHERE later.site = c.site AND later.life > c.life AND later.base < c.key)";

/// Whether a chain is ours: it is in a table of its own.
fn is_own(conn: &Connection, site: &SiteId) -> Result<bool> {
    Ok(rows::own_site(conn)? == *site)
}

/// The newest row of a chain.
fn head(conn: &Connection, site: &SiteId) -> Result<AuditPlace> {
    let found = if is_own(conn, site)? {
        conn.prepare_cached("SELECT key, hash FROM audit ORDER BY key DESC LIMIT 1")?
            .query_row([], place)
            .optional()?
    } else {
        let sql = format!(
            "SELECT c.key, c.hash FROM audit_copy AS c WHERE c.site = ?1 AND {STANDS}
             ORDER BY c.life DESC, c.key DESC LIMIT 1"
        );
        conn.prepare_cached(&sql)?.query_row([site.as_str()], place).optional()?
    };
    Ok(found.unwrap_or(AuditPlace::BEGINNING))
}

fn place(row: &Row<'_>) -> rusqlite::Result<AuditPlace> {
    Ok(AuditPlace { key: row.get(0)?, hash: Digest(row.get(1)?) })
}

/// The hash of a row that stands.
fn hash_at(conn: &Connection, site: &SiteId, key: u64) -> Result<Option<Digest>> {
    if key == 0 {
        return Ok(Some(AuditPlace::BEGINNING.hash));
    }
    let hash: Option<[u8; 32]> = if is_own(conn, site)? {
        conn.prepare_cached("SELECT hash FROM audit WHERE key = ?1")?
            .query_row([key], |row| row.get(0))
            .optional()?
    } else {
        let sql = format!(
            "SELECT c.hash FROM audit_copy AS c WHERE c.site = ?1 AND c.key = ?2 AND {STANDS}"
        );
        let values = params![site.as_str(), key];
        conn.prepare_cached(&sql)?.query_row(values, |row| row.get(0)).optional()?
    };
    Ok(hash.map(Digest))
}

fn stands(conn: &Connection, site: &SiteId, at: &AuditPlace) -> Result<bool> {
    Ok(hash_at(conn, site, at.key)? == Some(at.hash))
}

// -- passing on -------------------------------------------------------------------------------

/// What is to be passed on next: the chain of which the parent has heard least lately, if it has
/// not heard of rows that are older than `before`, or of at least `many`.
pub(in crate::sqlite) fn audit_pending(
    store: &SqliteStore,
    before: Timestamp,
    many: u64,
) -> Result<Option<AuditBatch>> {
    store.read("find audit rows that the parent has not", |conn| {
        let own = rows::own_site(conn)?;
        let mut sites = vec![own];
        let sql = "SELECT site FROM audit_site ORDER BY site";
        sites.extend::<Vec<_>>(status::list(conn, sql, [], |row| rows::site_id(row, 0))?);
        for site in sites {
            let (marker, at) = marker(conn, &site)?;
            let head = head(conn, &site)?;
            if head == marker {
                continue;
            }
            let waiting = head.key.saturating_sub(marker.key);
            // A clock that was put back keeps nothing waiting.
            let is_due = at.is_none_or(|at| at <= before || at > before.plus_millis(DAY));
            if is_due || waiting >= many {
                return batch(conn, &site, marker).map(Some);
            }
        }
        Ok(None)
    })
}

const DAY: i64 = 86_400_000;

fn marker(conn: &Connection, site: &SiteId) -> Result<(AuditPlace, Option<Timestamp>)> {
    let found = conn
        .prepare_cached("SELECT key, hash, at FROM audit_up WHERE site = ?1")?
        .query_row([site.as_str()], |row| Ok((place(row)?, Some(rows::time(row, 2)?))))
        .optional()?;
    Ok(found.unwrap_or((AuditPlace::BEGINNING, None)))
}

fn batch(conn: &Connection, site: &SiteId, after: AuditPlace) -> Result<AuditBatch> {
    // Where the marker is not of our chain any more, the parent will say so.
    let mut batch = AuditBatch {
        site: site.clone(),
        after,
        fork: false,
        lines: Vec::new(),
        end: after,
        more: false,
    };
    if !stands(conn, site, &after)? {
        return Ok(batch);
    }
    let sql = if is_own(conn, site)? {
        "SELECT key, at, actor, action, subject, detail, hash FROM audit
         WHERE key > ?1 AND ?2 = ?2 ORDER BY key LIMIT ?3"
            .to_owned()
    } else {
        format!(
            "SELECT c.key, c.at, c.actor, c.action, c.subject, c.detail, c.hash
             FROM audit_copy AS c WHERE c.key > ?1 AND c.site = ?2 AND {STANDS}
             ORDER BY c.key LIMIT ?3"
        )
    };
    let mut statement = conn.prepare_cached(&sql)?;
    let mut found = statement.query(params![after.key, site.as_str(), ROWS + 1])?;
    let mut bytes = 0;
    while let Some(row) = found.next()? {
        if batch.lines.len() as i64 >= ROWS || bytes >= BYTES {
            batch.more = true;
            break;
        }
        let line = line(row)?;
        bytes += line.subject.len() + line.detail.len() + line.actor.len() + 80;
        batch.end = AuditPlace { key: line.key, hash: Digest(row.get(6)?) };
        batch.lines.push(line);
    }
    Ok(batch)
}

fn line(row: &Row<'_>) -> rusqlite::Result<AuditLine> {
    Ok(AuditLine {
        key: row.get(0)?,
        at: rows::time(row, 1)?,
        actor: row.get(2)?,
        action: row.get(3)?,
        subject: row.get(4)?,
        detail: row.get(5)?,
    })
}

/// The parent says that it holds a chain up to a place. Where that is one of ours, it is the
/// marker from now on; `false` where it is not: the two have to look for the last one in common.
pub(in crate::sqlite) fn audit_passed(
    store: &SqliteStore,
    site: &SiteId,
    at: &AuditPlace,
    now: Timestamp,
) -> Result<bool> {
    store.write("note which audit rows the parent has", |step| {
        let ours = stands(step, site, at)?;
        if ours {
            step.prepare_cached(
                "INSERT INTO audit_up (site, key, hash, at) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (site) DO UPDATE SET key = ?2, hash = ?3, at = ?4",
            )?
            .execute(params![site.as_str(), at.key, at.hash.0, now.millis()])?;
        }
        Ok(ours)
    })
}

/// Places of a chain, the newest first, ever further apart: for finding the last one in common.
pub(in crate::sqlite) fn audit_places(
    store: &SqliteStore,
    site: &SiteId,
) -> Result<Vec<AuditPlace>> {
    store.read("list places of an audit", |conn| {
        let mut places = Vec::new();
        let (mut key, mut step) = (head(conn, site)?.key, 1);
        while key > 0 && places.len() < PLACES {
            if let Some(hash) = hash_at(conn, site, key)? {
                places.push(AuditPlace { key, hash });
            }
            key = key.saturating_sub(step);
            step *= 2;
        }
        places.push(AuditPlace::BEGINNING);
        Ok(places)
    })
}

/// Rows that follow a place of a chain, as the beginning of a new life of it at the parent.
pub(in crate::sqlite) fn audit_from(
    store: &SqliteStore,
    site: &SiteId,
    after: AuditPlace,
) -> Result<AuditBatch> {
    store.read("read the audit", |conn| Ok(AuditBatch { fork: true, ..batch(conn, site, after)? }))
}

// -- keeping ----------------------------------------------------------------------------------

/// Whether a child may bring rows of this chain: its own, or one of a site below it that comes no
/// other way.
fn may_bring(step: &Connection, child: &SiteId, site: &SiteId) -> Result<bool> {
    if child == site {
        return Ok(true);
    }
    let known: Option<String> = step
        .prepare_cached("SELECT via FROM audit_site WHERE site = ?1")?
        .query_row([site.as_str()], |row| row.get(0))
        .optional()?;
    let is_child =
        step.prepare_cached("SELECT 1 FROM child WHERE site = ?1")?.exists([site.as_str()])?;
    let is_parent = rows::parent_site(step)?.as_ref() == Some(site);
    let others = is_own(step, site)? || is_child || is_parent;
    Ok(!others && known.is_none_or(|via| via == child.as_str()))
}

pub(in crate::sqlite) fn audit_take(
    store: &SqliteStore,
    child: &SiteId,
    batch: &AuditBatch,
    now: Timestamp,
) -> Result<AuditTaken> {
    store.write("keep audit rows of a site below", |step| {
        if !may_bring(step, child, &batch.site)? {
            return Ok(AuditTaken::NotYours);
        }
        let head = head(step, &batch.site)?;
        let follows = match batch.fork {
            true => stands(step, &batch.site, &batch.after)?,
            false => head == batch.after,
        };
        if !follows {
            return Ok(AuditTaken::Elsewhere(head));
        }
        let Some(hashes) = proved(batch) else { return Ok(AuditTaken::Broken) };
        let life = life_of(step, child, batch, head, now)?;
        for (line, hash) in batch.lines.iter().zip(hashes) {
            step.prepare_cached(
                "INSERT INTO audit_copy
                    (site, life, key, at, actor, action, subject, detail, hash)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?
            .execute(params![
                batch.site.as_str(),
                life,
                line.key,
                line.at.millis(),
                line.actor,
                line.action,
                line.subject,
                line.detail,
                hash
            ])?;
        }
        Ok(AuditTaken::Held(if batch.lines.is_empty() { head } else { batch.end }))
    })
}

/// The hash of each row, if they follow from one another and come to what was said.
fn proved(batch: &AuditBatch) -> Option<Vec<[u8; 32]>> {
    let mut at = (batch.after.key, batch.after.hash.0);
    let mut hashes = Vec::with_capacity(batch.lines.len());
    for line in &batch.lines {
        if line.key != at.0 + 1 {
            return None;
        }
        let texts = [&line.actor, &line.action, &line.subject, &line.detail];
        let hash = link(&at.1, line.at.millis(), texts.map(String::as_str));
        hashes.push(hash);
        at = (line.key, hash);
    }
    (at == (batch.end.key, batch.end.hash.0)).then_some(hashes)
}

/// The life to which the rows belong; a new one where they follow a row before the last.
fn life_of(
    step: &Connection,
    child: &SiteId,
    batch: &AuditBatch,
    head: AuditPlace,
    now: Timestamp,
) -> Result<i64> {
    let site = batch.site.as_str();
    let known: Option<i64> = step
        .prepare_cached("SELECT max(life) FROM audit_life WHERE site = ?1")?
        .query_row([site], |row| row.get(0))?;
    if known.is_none() {
        let all: u64 = step
            .prepare_cached("SELECT count(*) FROM audit_site")?
            .query_row([], |row| row.get(0))?;
        if all >= SITES {
            return Err(StoreError::Refused(protocol::Refusal::over_limit(
                "audit sites",
                usize::try_from(SITES).unwrap_or(usize::MAX),
            )));
        }
    }
    step.prepare_cached(
        "INSERT INTO audit_site (site, via, heard) VALUES (?1, ?2, ?3)
         ON CONFLICT (site) DO UPDATE SET via = ?2, heard = ?3",
    )?
    .execute(params![site, child.as_str(), now.millis()])?;
    let life = match known {
        Some(life) if batch.after == head || batch.lines.is_empty() => return Ok(life),
        Some(life) => life + 1,
        None => 0,
    };
    step.prepare_cached("INSERT INTO audit_life (site, life, base, hash) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![site, life, batch.after.key, batch.after.hash.0])?;
    Ok(life)
}

/// The newest of these places that stands in what is held of a chain.
pub(in crate::sqlite) fn audit_common(
    store: &SqliteStore,
    site: &SiteId,
    places: &[AuditPlace],
) -> Result<AuditPlace> {
    store.read("look for a place in common", |conn| {
        for at in places {
            if stands(conn, site, at)? {
                return Ok(*at);
            }
        }
        Ok(AuditPlace::BEGINNING)
    })
}

// -- proving ----------------------------------------------------------------------------------

pub(in crate::sqlite) fn audit_verify_copy(
    store: &SqliteStore,
    site: &SiteId,
) -> Result<Option<AuditProof>> {
    store.read("verify the audit of a site below", |conn| {
        let known = conn
            .prepare_cached("SELECT 1 FROM audit_site WHERE site = ?1")?
            .exists([site.as_str()])?;
        if !known {
            return Ok(None);
        }
        let mut broken = None;
        let rows = walk_copy(conn, site, |finding| {
            broken.get_or_insert(finding);
        })?;
        let last = head(conn, site)?.hash.to_string();
        Ok(Some(AuditProof { rows, last, broken }))
    })
}

/// Goes through all lives of a chain; gives how many rows there are.
fn walk_copy(conn: &Connection, site: &SiteId, mut finding: impl FnMut(String)) -> Result<u64> {
    let sql = "SELECT life, base, hash FROM audit_life WHERE site = ?1 ORDER BY life";
    let lives: Vec<(i64, u64, [u8; 32])> = status::list(conn, sql, [site.as_str()], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
    })?;
    let mut count = 0;
    for (life, base, hash) in lives {
        let before: Option<[u8; 32]> = conn
            .prepare_cached(
                "SELECT hash FROM audit_copy WHERE site = ?1 AND key = ?2 AND life < ?3
                 ORDER BY life DESC LIMIT 1",
            )?
            .query_row(params![site.as_str(), base, life], |row| row.get(0))
            .optional()?;
        if before.unwrap_or([0; 32]) != hash {
            finding(format!("row {base} of the audit of {site} is not the one that others follow"));
        }
        let mut statement = conn.prepare_cached(
            "SELECT key, at, actor, action, subject, detail, hash FROM audit_copy
             WHERE site = ?1 AND life = ?2 ORDER BY key",
        )?;
        let mut found = statement.query(params![site.as_str(), life])?;
        let (mut last, mut before) = (base, hash);
        while let Some(row) = found.next()? {
            let read = line(row)?;
            let stored: [u8; 32] = row.get(6)?;
            if read.key != last + 1 {
                finding(format!("rows of the audit of {site} are missing before row {}", read.key));
            }
            let texts = [&read.actor, &read.action, &read.subject, &read.detail];
            if link(&before, read.at.millis(), texts.map(String::as_str)) != stored {
                let key = read.key;
                finding(format!("row {key} of the audit of {site} was altered, or one before it"));
            }
            (before, last, count) = (stored, read.key, count + 1);
        }
    }
    Ok(count)
}

/// The same of all chains that are kept here.
pub(in crate::sqlite) fn walk_copies(
    conn: &Connection,
    mut finding: impl FnMut(String),
) -> Result<()> {
    let sql = "SELECT site FROM audit_site ORDER BY site";
    for site in status::list(conn, sql, [], |row| rows::site_id(row, 0))? {
        walk_copy(conn, &site, &mut finding)?;
    }
    Ok(())
}

/// Whose audits are known here, our own first.
pub(in crate::sqlite) fn sites(conn: &Connection) -> Result<Vec<AuditSite>> {
    let own = rows::own_site(conn)?;
    let newest: Option<(u64, i64)> = conn
        .prepare_cached("SELECT key, at FROM audit ORDER BY key DESC LIMIT 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let mut found = vec![AuditSite {
        site: own,
        via: None,
        key: newest.map_or(0, |(key, _)| key),
        at: newest.map(|(_, at)| Timestamp::from_millis(at)),
        heard: None,
        newest_there: None,
    }];
    let sql = "SELECT s.site, s.via, s.heard, c.report FROM audit_site AS s
         LEFT JOIN child AS c ON c.site = s.site ORDER BY s.site";
    let below: Vec<(AuditSite, Option<String>)> = status::list(conn, sql, [], |row| {
        let site = AuditSite {
            site: rows::site_id(row, 0)?,
            via: Some(rows::site_id(row, 1)?),
            key: 0,
            at: None,
            heard: Some(rows::time(row, 2)?),
            newest_there: None,
        };
        Ok((site, row.get(3)?))
    })?;
    for (mut site, report) in below {
        site.key = head(conn, &site.site)?.key;
        let at: Option<i64> = conn
            .prepare_cached(
                "SELECT at FROM audit_copy WHERE site = ?1 AND key = ?2
                 ORDER BY life DESC LIMIT 1",
            )?
            .query_row(params![site.site.as_str(), site.key], |row| row.get(0))
            .optional()?;
        site.at = at.map(Timestamp::from_millis);
        let report = report.and_then(|text| serde_json::from_str::<Newest>(&text).ok());
        site.newest_there = report.and_then(|report| report.audit);
        found.push(site);
    }
    Ok(found)
}

/// What a report says of the child's audit.
#[derive(serde::Deserialize)]
struct Newest {
    audit: Option<u64>,
}
