//! Children, programs and their credentials. Of secrets only their SHA-256 is kept, and they are
//! found by it: what a comparison's time could tell is of a hash, which gives nobody access.

use protocol::reconcile::Policies;
use rusqlite::{OptionalExtension, Row, params};

use super::*;
use super::{audit, lag, rows, visitors};
use crate::StoreError;

pub(super) fn child_add(store: &SqliteStore, child: &ChildDraft, now: Timestamp) -> Result<()> {
    store.write("invite a child", |step| {
        if rows::own_site(step)? == child.site {
            let site = &child.site;
            return Err(StoreError::Name(format!("the site id {site} is this site's own")));
        }
        step.prepare_cached(
            "INSERT INTO child (site, state, code_hash, code_expires, added)
             VALUES (?1, 'invited', ?2, ?3, ?4)
             ON CONFLICT (site) DO UPDATE SET code_hash = ?2, code_expires = ?3,
                added = CASE state WHEN 'joined' THEN added ELSE ?4 END,
                state = CASE state WHEN 'joined' THEN 'joined' ELSE 'invited' END",
        )?
        .execute(params![
            child.site.as_str(),
            child.code_hash,
            child.code_expires.millis(),
            now.millis()
        ])?;
        // The cohort of its visitors stays the child's.
        step.prepare_cached(
            "DELETE FROM child_cohort WHERE site = ?1
                AND feed NOT IN (SELECT feed FROM visitor_feed)",
        )?
        .execute([child.site.as_str()])?;
        for cohort in &child.cohorts {
            cohort_exists(step, cohort)?;
            visitors::refuse_owned(step, cohort.as_str())?;
            step.prepare_cached(
                "INSERT OR IGNORE INTO child_cohort (site, feed)
                 SELECT ?1, key FROM feed WHERE name = ?2",
            )?
            .execute([child.site.as_str(), cohort.as_str()])?;
        }
        let names: Vec<&str> = child.cohorts.iter().map(CohortName::as_str).collect();
        note(step, "child-add", child.site.as_str(), &names.join(" "), now)
    })
}

fn cohort_exists(conn: &Connection, cohort: &CohortName) -> Result<()> {
    let exists = conn
        .prepare_cached("SELECT 1 FROM feed WHERE name = ?1 AND kind = 'cohort'")?
        .exists([cohort.as_str()])?;
    if exists { Ok(()) } else { Err(StoreError::Name(format!("there is no cohort {cohort}"))) }
}

/// What a person at this site did is in the audit with it.
fn note(
    step: &Connection,
    action: &'static str,
    subject: &str,
    detail: &str,
    now: Timestamp,
) -> Result<()> {
    let (subject, detail) = (subject.to_owned(), detail.to_owned());
    audit::append(step, &AuditRow { actor: "operator".to_owned(), action, subject, detail }, now)
}

pub(super) fn child_list(store: &SqliteStore) -> Result<Vec<ChildInfo>> {
    store.read("list its children", list_children)
}

/// By their names.
pub(super) fn list_children(conn: &Connection) -> Result<Vec<ChildInfo>> {
    let mut statement = conn.prepare_cached(
        "SELECT site, state, last_seen, report, clock_offset, epoch, added
         FROM child ORDER BY site",
    )?;
    let found = statement.query_map([], |row| {
        Ok(ChildInfo {
            site: rows::site_id(row, 0)?,
            state: row.get(1)?,
            cohorts: Vec::new(),
            epoch: row.get::<_, Option<_>>(5)?.map(Epoch::from_bytes),
            added: rows::time(row, 6)?,
            last_seen: rows::time_option(row, 2)?,
            report: row.get(3)?,
            clock_offset: row.get(4)?,
            lag: None,
        })
    })?;
    let mut children = found.collect::<rusqlite::Result<Vec<_>>>()?;
    for child in &mut children {
        child.cohorts = child_cohorts(conn, &child.site)?;
    }
    Ok(children)
}

fn child_cohorts(conn: &Connection, site: &SiteId) -> Result<Vec<CohortName>> {
    let mut statement = conn.prepare_cached(
        "SELECT f.name FROM child_cohort AS c CROSS JOIN feed AS f ON f.key = c.feed
         WHERE c.site = ?1 ORDER BY f.name",
    )?;
    let found = statement.query_map([site.as_str()], |row| {
        row.get_ref(0)?.as_str()?.parse().map_err(|_| rows::odd(0, "not a cohort's name"))
    })?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn child_revoke(store: &SqliteStore, site: &SiteId, now: Timestamp) -> Result<bool> {
    store.write("revoke a child", |step| {
        let changed = step
            .prepare_cached(
                "UPDATE child SET state = 'revoked', code_hash = NULL, code_expires = NULL,
                    token_hash = NULL WHERE site = ?1",
            )?
            .execute([site.as_str()])?;
        if changed > 0 {
            visitors::end_all(store, step, site, now)?;
            note(step, "child-revoke", site.as_str(), "", now)?;
        }
        Ok(changed > 0)
    })
}

pub(super) fn child_allow(
    store: &SqliteStore,
    allowance: &Allowance,
    now: Timestamp,
) -> Result<bool> {
    let Allowance { site, records, reason } = allowance;
    store.write("let a child change records", |step| {
        let known = step
            .prepare_cached("SELECT 1 FROM child WHERE site = ?1 AND state <> 'revoked'")?
            .exists([site.as_str()])?;
        for record in records.iter().filter(|_| known) {
            step.prepare_cached(
                "INSERT OR IGNORE INTO allowed_record (site, type, id) VALUES (?1, ?2, ?3)",
            )?
            .execute(params![site.as_str(), record.kind.name(), record.id()])?;
            let detail = format!("{site}: {reason}");
            note(step, "child-allow", &record.to_string(), &detail, now)?;
        }
        Ok(known)
    })
}

pub(super) fn child_redeem(
    store: &SqliteStore,
    code_hash: &[u8; 32],
    site: &SiteId,
    epoch: &Epoch,
    token_hash: &[u8; 32],
    now: Timestamp,
) -> Result<Option<Vec<CohortName>>> {
    store.write("take in a child", |step| {
        let changed = step
            .prepare_cached(
                "UPDATE child SET state = 'joined', code_hash = NULL, code_expires = NULL,
                    token_hash = ?4, epoch = ?3, last_seen = ?5
                 WHERE site = ?2 AND code_hash = ?1 AND code_expires > ?5
                    AND state <> 'revoked'",
            )?
            .execute(params![
                code_hash,
                site.as_str(),
                epoch.as_bytes(),
                token_hash,
                now.millis()
            ])?;
        if changed == 0 {
            return Ok(None);
        }
        let row = AuditRow {
            actor: format!("child:{site}"),
            action: "child-join",
            subject: site.to_string(),
            detail: format!("epoch {epoch}"),
        };
        audit::append(step, &row, now)?;
        child_cohorts(step, site).map(Some)
    })
}

pub(super) fn child_seen(
    store: &SqliteStore,
    site: &SiteId,
    epoch: &Epoch,
    report: Option<&str>,
    now: Timestamp,
) -> Result<()> {
    let its_clock = report.and_then(|report| serde_json::from_str::<ItsClock>(report).ok());
    let offset = its_clock.map(|clock| clock.at.since(now));
    store.write("note that a child was here", |step| {
        if let Some(new) = report {
            let known = step
                .prepare_cached("SELECT report FROM child WHERE site = ?1 AND state = 'joined'")?
                .query_row([site.as_str()], |row| row.get::<_, Option<String>>(0))
                .optional()?;
            if let Some(old) = known {
                lag::note_pace(step, site, (old.as_deref(), new), now)?;
            }
        }
        step.prepare_cached(
            "UPDATE child SET epoch = ?2, last_seen = ?4, report = coalesce(?3, report),
                clock_offset = coalesce(?5, clock_offset)
             WHERE site = ?1 AND state <> 'revoked'",
        )?
        .execute(params![
            site.as_str(),
            epoch.as_bytes(),
            report,
            now.millis(),
            offset
        ])?;
        Ok(())
    })
}

/// What a report says of the child's clock.
#[derive(serde::Deserialize)]
struct ItsClock {
    at: Timestamp,
}

/// The policies for what a child and this site changed.
pub(super) fn policies(store: &SqliteStore, step: &Connection, child: &SiteId) -> Result<Policies> {
    let offset: Option<i64> = step
        .prepare_cached("SELECT clock_offset FROM child WHERE site = ?1")?
        .query_row([child.as_str()], |row| row.get(0))
        .optional()?
        .flatten();
    let options = &store.options;
    let agree = offset.is_some_and(|offset| options.limits.clocks_agree(offset));
    Ok(options.merge.clone().with_clocks(agree))
}

pub(super) fn token_add(store: &SqliteStore, token: &TokenDraft, now: Timestamp) -> Result<()> {
    store.write("add a credential", |step| {
        let added = step
            .prepare_cached(
                "INSERT INTO token (name, scope, hash, created, expires)
                 VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (name) DO NOTHING",
            )?
            .execute(params![
                token.name,
                scope_name(token.scope),
                token.hash,
                now.millis(),
                token.expires.map(Timestamp::millis)
            ])?;
        if added == 0 {
            let name = &token.name;
            return Err(StoreError::Name(format!("there is a credential named {name} already")));
        }
        for child in &token.children {
            let added = step
                .prepare_cached(
                    "INSERT INTO token_child (name, site)
                     SELECT ?1, site FROM child WHERE site = ?2 ON CONFLICT DO NOTHING",
                )?
                .execute(params![token.name, child.as_str()])?;
            if added == 0 {
                return Err(StoreError::Name(format!("there is no child {child}")));
            }
        }
        let children = token.children.iter().map(|child| format!(" {child}")).collect::<String>();
        let detail = format!("{}{children}", scope_name(token.scope));
        note(step, "token-add", &token.name, &detail, now)
    })
}

fn scope_name(scope: TokenScope) -> &'static str {
    match scope {
        TokenScope::FhirRead => "fhir-read",
        TokenScope::FhirWrite => "fhir-write",
        TokenScope::Outbox => "outbox",
        TokenScope::Carry => "carry",
        TokenScope::Administer => "administer",
        TokenScope::ReadOutgoing => "read-outgoing",
        TokenScope::Metrics => "metrics",
    }
}

fn read_scope(row: &Row<'_>, column: usize) -> rusqlite::Result<TokenScope> {
    match row.get_ref(column)?.as_str()? {
        "fhir-read" => Ok(TokenScope::FhirRead),
        "fhir-write" => Ok(TokenScope::FhirWrite),
        "outbox" => Ok(TokenScope::Outbox),
        "carry" => Ok(TokenScope::Carry),
        "administer" => Ok(TokenScope::Administer),
        "read-outgoing" => Ok(TokenScope::ReadOutgoing),
        "metrics" => Ok(TokenScope::Metrics),
        _ => Err(rows::odd(column, "not a scope")),
    }
}

pub(super) fn token_list(store: &SqliteStore) -> Result<Vec<TokenInfo>> {
    store.read("list its credentials", |conn| {
        let mut statement = conn.prepare_cached(
            "SELECT name, scope, created, expires, revoked FROM token ORDER BY name",
        )?;
        let found = statement.query_map([], |row| {
            Ok(TokenInfo {
                name: row.get(0)?,
                scope: read_scope(row, 1)?,
                children: Vec::new(),
                created: rows::time(row, 2)?,
                expires: rows::time_option(row, 3)?,
                revoked: rows::time_option(row, 4)?,
            })
        })?;
        let mut tokens = found.collect::<rusqlite::Result<Vec<_>>>()?;
        for token in &mut tokens {
            token.children = token_children(conn, &token.name)?;
        }
        Ok(tokens)
    })
}

/// The children whose messages a credential may bring.
fn token_children(conn: &Connection, name: &str) -> Result<Vec<SiteId>> {
    let mut statement =
        conn.prepare_cached("SELECT site FROM token_child WHERE name = ?1 ORDER BY site")?;
    let found = statement.query_map([name], |row| rows::site_id(row, 0))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn token_revoke(store: &SqliteStore, name: &str, now: Timestamp) -> Result<bool> {
    store.write("revoke a credential", |step| {
        let known = step.prepare_cached("SELECT 1 FROM token WHERE name = ?1")?.exists([name])?;
        let revoked = step
            .prepare_cached("UPDATE token SET revoked = ?2 WHERE name = ?1 AND revoked IS NULL")?
            .execute(params![name, now.millis()])?;
        if revoked > 0 {
            note(step, "token-revoke", name, "", now)?;
        }
        Ok(known)
    })
}

pub(super) fn credential_holder(
    store: &SqliteStore,
    hash: &[u8; 32],
    now: Timestamp,
) -> Result<Option<Holder>> {
    store.read("look up a credential", |conn| {
        let child = conn
            .prepare_cached("SELECT site FROM child WHERE token_hash = ?1 AND state = 'joined'")?
            .query_row([hash], |row| rows::site_id(row, 0))
            .optional()?;
        if let Some(site) = child {
            let cohorts = child_cohorts(conn, &site)?;
            return Ok(Some(Holder::Child { site, cohorts }));
        }
        let program: Option<(String, TokenScope)> = conn
            .prepare_cached(
                "SELECT name, scope FROM token WHERE hash = ?1 AND revoked IS NULL
                    AND (expires IS NULL OR expires > ?2)",
            )?
            .query_row(params![hash, now.millis()], |row| Ok((row.get(0)?, read_scope(row, 1)?)))
            .optional()?;
        let Some((name, scope)) = program else { return Ok(None) };
        let children = match scope {
            TokenScope::Carry => token_children(conn, &name)?,
            _ => Vec::new(),
        };
        Ok(Some(Holder::Program { name, scope, children }))
    })
}

#[cfg(test)]
mod tests;
