//! The links themselves: what Patients say, whom we believe it of, and which can be followed.

use std::collections::BTreeSet;

use protocol::json;
use protocol::resource::Record;
use protocol::resource::replaced::{Links, Path, replaced_by};
use protocol::{RecordRef, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::files;
use crate::sqlite::{audit, rows};
use crate::{AuditRow, Result, StoreError};

/// What becomes of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It cannot be followed: nothing moves, and nothing goes back.
    Waiting,
    /// It is followed, and records that were here before it have still to move.
    Moving,
    /// It is followed: what comes for the loser moves as it comes.
    Moved,
    /// It is gone, and records have still to go back.
    Undoing,
}

/// From the column `replaced.state`.
pub(super) fn state(row: &Row<'_>, column: usize) -> rusqlite::Result<State> {
    match row.get_ref(column)?.as_str()? {
        "waiting" => Ok(State::Waiting),
        "moving" => Ok(State::Moving),
        "moved" => Ok(State::Moved),
        "undoing" => Ok(State::Undoing),
        _ => Err(rows::odd(column, "not a state of a link")),
    }
}

/// Whether a Patient's text can have such a link at all: spares most of them a second look.
pub(super) fn may_link(body: &str) -> bool {
    // An escape could hide the word.
    body.contains("replaced-by") || body.contains("\\u")
}

/// Whether a Patient's state can have to do with links: it may have one, or had to do with some.
pub(super) fn concerns(step: &Connection, record: &Record) -> Result<bool> {
    if record.body.as_deref().is_some_and(may_link) {
        return Ok(true);
    }
    Ok(step
        .prepare_cached(
            "SELECT 1 FROM patient AS p CROSS JOIN replaced AS r
                ON r.loser = p.key OR r.winner = p.key WHERE p.id = ?1",
        )?
        .exists([record.reference.id()])?)
}

/// Notes what a state of a Patient says that is, or is about to be, the one that counts. Gives the
/// patient where there is anything to be worked out anew: it is a loser or a winner, or was one.
pub(super) fn note(
    step: &Connection,
    record: &Record,
    child: Option<&str>,
    now: Timestamp,
) -> Result<Option<i64>> {
    let Some(loser) = rows::patient_known(step, &record.reference)? else { return Ok(None) };
    let known = step
        .prepare_cached("SELECT 1 FROM replaced WHERE loser = ?1 OR winner = ?1")?
        .exists([loser])?;
    // A Patient that was deleted has said who replaced it: the file of a loser is often deleted
    // after a merge, and its records are not to go back for that.
    let Some(body) = record.body.as_deref() else { return Ok(known.then_some(loser)) };
    if !known && !may_link(body) {
        return Ok(None);
    }
    let resource = json::parse(body.as_bytes(), json::DEPTH_MAX)?;
    let said = replaced_by(&record.reference, &resource);
    let mut winners = BTreeSet::new();
    for winner in &said {
        let key = rows::patient_key(step, winner)?;
        winners.insert(key);
        if stand(step, loser, key, child)? {
            let detail = format!("by {winner}");
            audit_row(step, super::AUTHOR, "patient-replaced", &record.reference, detail, now)?;
        }
    }
    for gone in winners_of(step, loser)?.difference(&winners) {
        step.prepare_cached(
            "UPDATE replaced SET state = 'undoing', reason = NULL, back = 0, stayed = 0
             WHERE loser = ?1 AND winner = ?2 AND state <> 'undoing'",
        )?
        .execute(params![loser, gone])?;
    }
    Ok((known || !said.is_empty()).then_some(loser))
}

/// Notes that a link stands; gives whether that is news.
fn stand(step: &Connection, loser: i64, winner: i64, child: Option<&str>) -> Result<bool> {
    let added = step
        .prepare_cached(
            "INSERT INTO replaced (loser, winner, child, state) VALUES (?1, ?2, ?3, 'waiting')
             ON CONFLICT (loser, winner) DO UPDATE SET state = 'waiting'
             WHERE state = 'undoing'",
        )?
        .execute(params![loser, winner, child])?;
    Ok(added > 0)
}

fn winners_of(step: &Connection, loser: i64) -> Result<BTreeSet<i64>> {
    let mut statement = step.prepare_cached("SELECT winner FROM replaced WHERE loser = ?1")?;
    let found = statement.query_map([loser], |row| row.get(0))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// A row of `replaced`, with the names.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) loser: i64,
    pub(super) winner: i64,
    pub(super) names: (RecordRef, RecordRef),
    pub(super) state: State,
    trusted: bool,
    child: Option<String>,
}

/// The links that go out from a patient or come in to it.
pub(super) fn of_patient(step: &Connection, patient: i64) -> Result<Vec<Link>> {
    let mut statement = step.prepare_cached(
        "SELECT r.loser, r.winner, l.id, w.id, r.state, r.trusted, r.child FROM replaced AS r
         CROSS JOIN patient AS l ON l.key = r.loser CROSS JOIN patient AS w ON w.key = r.winner
         WHERE r.loser = ?1 OR r.winner = ?1 ORDER BY r.loser, r.winner",
    )?;
    let found = statement.query_map([patient], |row| {
        Ok(Link {
            loser: row.get(0)?,
            winner: row.get(1)?,
            names: (rows::patient_ref(row, 2)?, rows::patient_ref(row, 3)?),
            state: state(row, 4)?,
            trusted: row.get(5)?,
            child: row.get(6)?,
        })
    })?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// The links that stand among some.
pub(super) fn standing(links: &[Link]) -> Links {
    let mut standing = Links::default();
    for link in links.iter().filter(|link| link.state != State::Undoing) {
        standing.add(link.names.0.clone(), link.names.1.clone());
    }
    standing
}

/// Works out the state of every link around these patients; gives everybody concerned.
pub(super) fn evaluate(
    step: &Connection,
    seeds: &BTreeSet<i64>,
    limit: usize,
) -> Result<BTreeSet<i64>> {
    let (mut links, whole) = files::around(step, seeds, limit)?;
    for link in links.iter_mut().filter(|link| !link.trusted && whole) {
        if is_credible(step, link)? {
            link.trusted = true;
            step.prepare_cached(
                "UPDATE replaced SET trusted = 1 WHERE loser = ?1 AND winner = ?2",
            )?
            .execute(params![link.loser, link.winner])?;
        }
    }
    let graph = standing(&links);
    for link in links.iter().filter(|link| link.state != State::Undoing) {
        let reason = match whole {
            true => hindrance(step, link, &graph, &links)?,
            false => Some(format!("one person has more than {limit} files (merged_patients)")),
        };
        let moves = matches!(link.state, State::Moving | State::Moved);
        if moves && reason.is_none() {
            continue;
        }
        let state = if reason.is_none() { "moving" } else { "waiting" };
        step.prepare_cached(
            "UPDATE replaced SET state = ?3, reason = ?4, place = 0
             WHERE loser = ?1 AND winner = ?2",
        )?
        .execute(params![link.loser, link.winner, state, reason])?;
    }
    let ends = links.iter().flat_map(|link| [link.loser, link.winner]);
    Ok(ends.chain(seeds.iter().copied()).collect())
}

/// Why a link cannot be followed; `None` where it can.
fn hindrance(
    step: &Connection,
    link: &Link,
    graph: &Links,
    links: &[Link],
) -> Result<Option<String>> {
    let path = match graph.path(&link.names.0) {
        Path::To(path) => path,
        Path::Circle => return Ok(Some("each of them is said to replace the other".to_owned())),
        Path::Several(patient) => {
            return Ok(Some(format!("{patient} is said to be replaced by several")));
        }
    };
    for winner in &path {
        let row = rows::record_row(step, winner)?;
        if row.is_none() {
            return Ok(Some(format!("{winner} is not here")));
        }
        if row.is_some_and(|row| row.deleted) {
            return Ok(Some(format!("{winner} is deleted")));
        }
    }
    let on_path = |name: &RecordRef| *name == link.names.0 || path.contains(name);
    let doubted = links
        .iter()
        .find(|other| !other.trusted && other.state != State::Undoing && on_path(&other.names.0));
    Ok(doubted.and_then(|doubted| doubted.child.as_ref()).map(|child| {
        format!("{child} says so and does not hold both: `tributary patient merge` confirms it")
    }))
}

/// Whether a link may show one patient's records to whoever holds the other's. What a child says
/// counts only of patients that it may see, or that it made itself: else it could name anybody
/// and be given the whole record.
fn is_credible(step: &Connection, link: &Link) -> Result<bool> {
    let here = rows::record_row(step, &link.names.1)?.is_some();
    let Some(child) = link.child.as_deref().filter(|_| here) else { return Ok(here) };
    Ok(is_childs(step, child, link.loser, &link.names.0)?
        && is_childs(step, child, link.winner, &link.names.1)?)
}

fn is_childs(step: &Connection, child: &str, patient: i64, name: &RecordRef) -> Result<bool> {
    let held = step
        .prepare_cached(
            "SELECT 1 FROM child_cohort AS cc CROSS JOIN cohort_patient AS cp ON cp.feed = cc.feed
             WHERE cc.site = ?1 AND cp.patient = ?2 AND cp.\"left\" IS NULL",
        )?
        .exists(params![child, patient])?;
    if held {
        return Ok(true);
    }
    let made_by: Option<Option<String>> = step
        .prepare_cached(
            "SELECT o.site FROM record AS r CROSS JOIN version AS v ON v.record = r.key
             CROSS JOIN change AS c ON c.sequence = v.sequence
             LEFT JOIN origin AS o ON o.key = c.via_site
             WHERE r.type = 'Patient' AND r.id = ?1 ORDER BY v.sequence LIMIT 1",
        )?
        .query_row([name.id()], |row| row.get(0))
        .optional()?;
    Ok(made_by.flatten().as_deref() == Some(child))
}

/// A row in the audit about a patient.
pub(super) fn audit_row(
    step: &Connection,
    actor: &str,
    action: &'static str,
    patient: &RecordRef,
    detail: String,
    now: Timestamp,
) -> std::result::Result<(), StoreError> {
    let (actor, subject) = (actor.to_owned(), patient.to_string());
    audit::append(step, &AuditRow { actor, action, subject, detail }, now)
}
