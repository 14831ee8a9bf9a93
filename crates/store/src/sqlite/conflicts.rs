//! Conflicts. Each is a record of its own (`protocol::conflict`); the table `conflict` is what
//! they are found by, kept in line with their records by [`index`].

mod decide;
mod list;
mod note;
mod noted;
#[cfg(test)]
mod tests;

use protocol::RecordRef;
use protocol::conflict::{self, Conflict};
use protocol::resource::Record;
use rusqlite::{Connection, params};

pub(super) use self::decide::conflict_decide;
pub(super) use self::list::{conflict_get, conflict_list};
pub(super) use self::note::{Met, Noted, to_write};
pub(super) use self::noted::make_records;
use super::rows::{self, RecordRow};
use super::{check, records};
use crate::{Result, StoreError};

/// Brings the row of a conflict into line with its record's new state. Other records have none.
pub(super) fn index(step: &Connection, key: i64, record: &Record) -> Result<()> {
    if !conflict::is_name(&record.reference) {
        return Ok(());
    }
    // What only claims to be a conflict is a record as any other.
    let found = record.body.as_deref().and_then(|body| conflict::read(body).ok().flatten());
    let Some(found) = found else {
        step.prepare_cached("DELETE FROM conflict WHERE record = ?1")?.execute([key])?;
        return Ok(());
    };
    let about = &found.record;
    step.prepare_cached(
        "INSERT INTO conflict (record, about_type, about_id, state) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (record) DO UPDATE SET
            about_type = excluded.about_type, about_id = excluded.about_id,
            state = excluded.state",
    )?
    .execute(params![key, about.kind.name(), about.id(), found.state.name()])?;
    Ok(())
}

/// The body of a version of a record.
fn body_at(step: &Connection, key: i64, sequence: u64) -> Result<Option<String>> {
    let sql = "SELECT body FROM version WHERE record = ?1 AND sequence = ?2";
    let mut statement = step.prepare_cached(sql)?;
    statement.query_row(params![key, sequence], |row| Ok(records::body_text(row, 0)))?
}

/// A conflict as its own record has it now; `None` where there is none of that name.
fn load(step: &Connection, name: &RecordRef) -> Result<Option<(RecordRow, Conflict)>> {
    let Some(row) = rows::record_row(step, name)? else { return Ok(None) };
    let Some(body) = body_at(step, row.key, row.sequence)? else { return Ok(None) };
    Ok(conflict::read(&body)?.map(|found| (row, found)))
}

/// Findings about conflicts and what they are found by.
pub(super) fn check(conn: &Connection, findings: &mut check::Findings) -> Result<()> {
    let mut statement = conn.prepare(
        "SELECT r.type, r.id, v.body, c.state FROM record AS r
         CROSS JOIN version AS v ON v.record = r.key AND v.sequence = r.sequence
         LEFT JOIN conflict AS c ON c.record = r.key
         WHERE r.type = 'Basic' ORDER BY r.key",
    )?;
    let mut found = statement.query([])?;
    let mut kind = check::Kind::default();
    while let Some(row) = found.next()? {
        let name = rows::record_ref(row, 0)?;
        let listed: Option<String> = row.get(3)?;
        let body = if conflict::is_name(&name) { records::body_text(row, 2)? } else { None };
        let stands = body.and_then(|body| conflict::read(&body).ok().flatten());
        let stands = stands.map(|conflict| conflict.state.name());
        if listed.as_deref() != stands {
            let word = |state: Option<&str>| state.unwrap_or("no conflict").to_owned();
            let (is, said) = (word(stands), word(listed.as_deref()));
            kind.add(findings, format!("{name} is {is} and is listed as {said}"));
        }
    }
    kind.end(findings);
    Ok(())
}

/// The name of a conflict's record, from its id.
fn name_of(id: &str) -> Result<RecordRef> {
    let name = RecordRef::new(protocol::ResourceType::BASIC, id);
    let known = name.ok().filter(conflict::is_name);
    known.ok_or_else(|| StoreError::Name("there is no such conflict".to_owned()))
}
