//! Conflicts for people: in a list, and one with all that this site knows of its versions.

use std::collections::{BTreeMap, BTreeSet};

use protocol::conflict::{self, Body, Conflict};
use rusqlite::types::ToSql;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::super::apply::with_short;
use super::super::rows::{self, RecordRow};
use super::super::scope::Sight;
use super::super::{SqliteStore, records};
use super::{body_at, load, name_of};
use crate::{
    ConflictFilter, ConflictInfo, ConflictPage, ConflictView, Result, Scope, StoreError, Writer,
};

pub(in crate::sqlite) fn conflict_list(
    store: &SqliteStore,
    filter: &ConflictFilter,
    scope: &Scope,
) -> Result<ConflictPage> {
    store.read("list its conflicts", |conn| {
        let (sql, values) = query(conn, filter, scope)?;
        let values: Vec<&dyn ToSql> = values.iter().map(AsRef::as_ref).collect();
        let mut statement = conn.prepare_cached(&sql)?;
        let mut found = statement.query(values.as_slice())?;
        let mut page = ConflictPage { conflicts: Vec::new(), next: None };
        while let Some(row) = found.next()? {
            if page.conflicts.len() >= filter.limit {
                page.next = page.conflicts.last().map(|last| last.id.clone());
                break;
            }
            page.conflicts.extend(info(row)?);
        }
        Ok(page)
    })
}

/// The columns that [`info`] reads, of a conflict's record `r`.
const LISTED: &str = "r.id, v.body,
    (SELECT c.recorded FROM version AS f JOIN change AS c ON c.sequence = f.sequence
     WHERE f.record = r.key ORDER BY f.sequence LIMIT 1)";

type Values = Vec<Box<dyn ToSql>>;

fn query(conn: &Connection, filter: &ConflictFilter, scope: &Scope) -> Result<(String, Values)> {
    let mut conditions = vec![Sight::of(conn, scope)?.condition("r")];
    let mut values: Values = Vec::new();
    let mut add = |condition: &str, value: Vec<Box<dyn ToSql>>| {
        conditions.push(condition.to_owned());
        values.extend(value);
    };
    match filter.open {
        Some(true) => add("l.state = 'open'", Vec::new()),
        Some(false) => add("l.state <> 'open'", Vec::new()),
        None => {}
    }
    if let Some(patient) = &filter.patient {
        add(
            "EXISTS (SELECT 1 FROM record_patient AS fp JOIN patient AS p ON p.key = fp.patient
                WHERE fp.record = r.key AND p.id = ?)",
            vec![Box::new(patient.id().to_owned())],
        );
    }
    if let Some(record) = &filter.record {
        let id = record.id().to_owned();
        add(
            "l.about_type = ? AND l.about_id = ?",
            vec![Box::new(record.kind.name()), Box::new(id)],
        );
    }
    if let Some(id) = &filter.id {
        // No pattern of a caller's: the text is compared as it is.
        add("instr(r.id, 'conflict-' || ?) > 0", vec![Box::new(id.clone())]);
    }
    if let Some(after) = &filter.after {
        let after = after_key(conn, after)?;
        add("l.record < ?", vec![Box::new(after)]);
    }
    values.push(Box::new(i64::try_from(filter.limit).unwrap_or(i64::MAX).saturating_add(1)));
    let sql = format!(
        "SELECT {LISTED} FROM conflict AS l CROSS JOIN record AS r ON r.key = l.record
         CROSS JOIN version AS v ON v.record = r.key AND v.sequence = r.sequence
         WHERE {} ORDER BY l.record DESC LIMIT ?",
        conditions.join(" AND ")
    );
    Ok((sql, values))
}

fn after_key(conn: &Connection, id: &str) -> Result<i64> {
    let known = rows::record_row(conn, &name_of(id)?)?.map(|row| row.key);
    known.ok_or_else(|| StoreError::Name("there is no conflict to go on from".to_owned()))
}

/// `None` where it cannot be read: `doctor` says so.
fn info(row: &Row<'_>) -> Result<Option<ConflictInfo>> {
    let id: String = row.get(0)?;
    let found = records::body_text(row, 1)?.and_then(|body| conflict::read(&body).ok().flatten());
    let noted = rows::time(row, 2)?;
    Ok(found.map(|found| told(id, &found, noted)))
}

fn told(id: String, conflict: &Conflict, noted: protocol::Timestamp) -> ConflictInfo {
    ConflictInfo {
        id,
        state: conflict.state.name(),
        record: conflict.record.clone(),
        patients: conflict.patients.iter().cloned().collect(),
        elements: conflict.elements.clone(),
        parent: conflict.parent_site.clone(),
        child: conflict.child_site.clone(),
        noted,
        by: conflict.state.mark().cloned(),
    }
}

pub(in crate::sqlite) fn conflict_get(
    store: &SqliteStore,
    id: &str,
    scope: &Scope,
) -> Result<Option<ConflictView>> {
    store.read("read a conflict", |conn| {
        let Ok(name) = name_of(id) else { return Ok(None) };
        let sight = Sight::of(conn, scope)?;
        let Some((row, mut conflict)) = load(conn, &name)? else { return Ok(None) };
        if !sees(conn, &sight, row.key)? {
            return Ok(None);
        }
        let noted = conn
            .prepare_cached(
                "SELECT c.recorded FROM version AS f JOIN change AS c ON c.sequence = f.sequence
                 WHERE f.record = ?1 ORDER BY f.sequence LIMIT 1",
            )?
            .query_row([row.key], |row| rows::time(row, 0))?;
        let info = told(id.to_owned(), &conflict, noted);
        let about = rows::record_row(conn, &conflict.record)?;
        let mut writers = BTreeMap::new();
        if let (Some(about), Scope::Everything) = (&about, scope) {
            fill(conn, about, &mut conflict)?;
            writers = writers_of(conn, about, &conflict)?;
        }
        let now = match &about {
            Some(about) if sees(conn, &sight, about.key)? => now(conn, about)?,
            _ => None,
        };
        Ok(Some(ConflictView { info, conflict, now, writers }))
    })
}

fn sees(conn: &Connection, sight: &Sight, key: i64) -> Result<bool> {
    let sql = format!("SELECT 1 FROM record AS r WHERE r.key = ?1 AND {}", sight.condition("r"));
    Ok(conn.prepare_cached(&sql)?.exists([key])?)
}

fn now(conn: &Connection, about: &RecordRow) -> Result<Option<crate::StoredVersion>> {
    let sql = format!(
        "SELECT {} FROM record AS r
         CROSS JOIN version AS v ON v.record = r.key AND v.sequence = r.sequence
         CROSS JOIN change AS c ON c.sequence = v.sequence WHERE r.key = ?1",
        records::STORED
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let found = statement.query_row([about.key], |row| Ok(records::stored(row))).optional()?;
    found.transpose()
}

/// Puts in what the conflict does not carry and this site has in the record's history.
pub(super) fn fill(conn: &Connection, about: &RecordRow, conflict: &mut Conflict) -> Result<()> {
    for version in conflict.versions_mut().filter(|version| version.body == Body::LeftOut) {
        if let Some((sequence, _)) = with_short(conn, about, version.digest)? {
            version.body = body_at(conn, about.key, sequence)?.map_or(Body::Deleted, Body::Whole);
        }
    }
    Ok(())
}

fn writers_of(
    conn: &Connection,
    about: &RecordRow,
    conflict: &Conflict,
) -> Result<BTreeMap<&'static str, Writer>> {
    let mut writers = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (name, version) in conflict.versions().filter(|(name, _)| *name != conflict::DECIDED) {
        let Some((sequence, _)) = first_with_short(conn, about, version)? else { continue };
        let writer = conn
            .prepare_cached(
                "SELECT c.author, c.at, o.site FROM change AS c
                 LEFT JOIN origin AS o ON o.key = c.origin WHERE c.sequence = ?1",
            )?
            .query_row([sequence], |row| {
                let site: Option<String> = row.get(2)?;
                let (by, at) = (row.get(0)?, rows::time(row, 1)?);
                Ok(Writer { by, site: site.and_then(|site| site.parse().ok()), at })
            })?;
        seen.insert(name);
        writers.insert(name, writer);
    }
    Ok(writers)
}

/// The oldest version of a record that has this digest: whoever made it first is its author.
fn first_with_short(
    conn: &Connection,
    about: &RecordRow,
    version: &conflict::Version,
) -> Result<Option<(u64, i64)>> {
    Ok(conn
        .prepare_cached(
            "SELECT sequence, key FROM version WHERE record = ?1 AND substr(digest, 1, 8) = ?2
             ORDER BY sequence LIMIT 1",
        )?
        .query_row(params![about.key, version.digest.0], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?)
}
