//! What the first schema noted of conflicts, made into records when the store is opened.

use protocol::conflict::Contested;
use protocol::resource::Record;
use protocol::{Author, Digest, Limits, SiteId, Timestamp, Urgency};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::super::journal::{self, NewChange, Way};
use super::super::prepared::{Prepared, State};
use super::super::{SqliteStore, records, rows};
use super::{Met, Noted, to_write};
use crate::Result;

/// Who made what a merge came to.
const AUTHOR: &str = "tributary";

/// A row as the first schema has it.
struct Row1 {
    key: i64,
    record: i64,
    /// Sequences of base, parent's, child's and resulting version.
    versions: [Option<u64>; 4],
    elements: Vec<String>,
    at: Timestamp,
}

/// Makes a record of each noted conflict, at the time at which it was noted. One whose versions
/// are gone shows nothing any more, and goes.
pub(in crate::sqlite) fn make_records(store: &SqliteStore) -> Result<()> {
    let any = store.read("look for old conflicts", |conn| {
        Ok(conn.prepare_cached("SELECT 1 FROM conflict_noted")?.exists([])?)
    })?;
    if !any {
        return Ok(());
    }
    store.write("make records of its conflicts", |step| {
        for row in rows_of(step)? {
            if let Some(record) = record_of(step, &row, &store.options.limits)? {
                write(store, step, &record, row.at)?;
            }
            step.execute("DELETE FROM conflict_noted WHERE key = ?1", [row.key])?;
        }
        Ok(())
    })
}

fn rows_of(step: &Connection) -> Result<Vec<Row1>> {
    let mut statement = step.prepare(
        "SELECT key, record, base, parent, child, result, elements, at FROM conflict_noted
         ORDER BY key",
    )?;
    let read = |row: &Row<'_>| {
        Ok(Row1 {
            key: row.get(0)?,
            record: row.get(1)?,
            versions: [row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?],
            elements: serde_json::from_str(row.get_ref(6)?.as_str()?)
                .map_err(|_| rows::odd(6, "not a list of elements"))?,
            at: rows::time(row, 7)?,
        })
    };
    let found = statement.query_map([], read)?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// The record of a conflict; `None` where a version is gone, or it is known already.
fn record_of(step: &Connection, row: &Row1, limits: &Limits) -> Result<Option<Record>> {
    let version = |sequence: Option<u64>| match sequence {
        Some(sequence) => version_at(step, row.record, sequence),
        None => Ok(None),
    };
    let [base, parent, child, result] = row.versions;
    let (Some(parent), Some(child)) = (version(parent)?, version(child)?) else { return Ok(None) };
    let Some((_, Some(result))) = version(result)? else { return Ok(None) };
    let elements = row.elements.iter().map(|path| {
        let deletion = path == protocol::reconcile::DELETED;
        let rule = if deletion { protocol::reconcile::EDITS_STAY } else { "parent" };
        Contested { path: path.clone(), rule: rule.to_owned() }
    });
    let met = Met {
        sites: sites(step, row)?,
        base: version(base)?,
        parent,
        child,
        elements: elements.collect(),
    };
    let result = Record::parse(result.as_bytes(), limits)?;
    to_write(step, &Noted::of(met, &result, limits)?, limits)
}

fn version_at(
    step: &Connection,
    record: i64,
    sequence: u64,
) -> Result<Option<(Digest, Option<String>)>> {
    let mut statement = step
        .prepare_cached("SELECT digest, body FROM version WHERE record = ?1 AND sequence = ?2")?;
    let found = statement
        .query_row(params![record, sequence], |row| {
            Ok((rows::digest(row, 0)?, records::body_text(row, 1)))
        })
        .optional()?;
    found.map(|(digest, body)| Ok((digest, body?))).transpose()
}

/// The sites at the ends of the link: the child that brought its side, or this site, which got
/// the other side from its parent.
fn sites(step: &Connection, row: &Row1) -> Result<(SiteId, SiteId)> {
    let own = rows::own_site(step)?;
    let one = |sql: &str, sequence: Option<u64>| -> Result<Option<SiteId>> {
        let mut statement = step.prepare_cached(sql)?;
        Ok(statement.query_row([sequence], |row| rows::site_id(row, 0)).optional()?)
    };
    let [_, parent, child, _] = row.versions;
    let brought = "SELECT o.site FROM change AS c JOIN origin AS o ON o.key = c.via_site
                   WHERE c.sequence = ?1 AND c.via = 2";
    if let Some(child) = one(brought, child)? {
        return Ok((own, child));
    }
    // Where the parent has not said who it is, who made its side is the best that is known.
    let made = "SELECT o.site FROM change AS c JOIN origin AS o ON o.key = c.origin
                WHERE c.sequence = ?1 AND c.via = 1";
    let known = match rows::parent_site(step)? {
        Some(site) => Some(site),
        None => one(made, parent)?,
    };
    Ok((known.unwrap_or_else(|| own.clone()), own))
}

fn write(store: &SqliteStore, step: &Connection, record: &Record, at: Timestamp) -> Result<()> {
    let prepared = Prepared::of(record)?;
    let known = rows::record_row(step, &record.reference)?;
    let state =
        State { prepared: &prepared, known, parent_sequence: None, patients: &[], since: None };
    let author = Author::new(AUTHOR);
    let change = NewChange {
        id: None,
        way: Way::Here,
        author: &author,
        at,
        now: at,
        actor: AUTHOR,
        lane: Urgency::Normal,
    };
    journal::write(store, step, &change, &[state]).map(drop)
}
