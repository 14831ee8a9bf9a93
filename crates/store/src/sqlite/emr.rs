//! The record system beside this site. One row a record in `emr_record` says which state of ours it
//! stands for and what it showed of that (its image); what is to be written is whatever is another
//! state by now ([ADR 48](../../../../docs/adr/0048-the-emr-holds-states.md)).

mod capture;
mod due;
mod ids;
mod left;
mod link;
mod listed;
mod settle;
mod show;
mod turns;

use std::collections::BTreeSet;

use protocol::resource::Record;
use protocol::{Author, Digest, RecordRef, ResourceType, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

use super::{SqliteStore, body, check, records, rows};
use crate::{
    Captured, EmrAction, EmrCapture, EmrChoice, EmrDraft, EmrEvent, EmrId, EmrInfo, EmrListed,
    EmrSettled, EmrState, EmrStatus, EmrStore, EmrTurn, Result, Shown,
};

pub(super) use self::due::{mark, mark_patient};
pub(super) use self::left::keep as keep_left;
pub(super) use self::link::{compare_all, status};
pub(super) use self::show::of_record;

impl EmrStore for SqliteStore {
    fn emr_set(&self, draft: Option<&EmrDraft>, now: Timestamp) -> Result<()> {
        link::emr_set(self, draft, now)
    }
    fn emr_status(&self) -> Result<Option<EmrStatus>> {
        self.read("look at the record system", status)
    }
    fn emr_cursor(&self) -> Result<Option<String>> {
        self.read("look how far the record system was read", link::cursor)
    }
    fn emr_note(&self, event: &EmrEvent, now: Timestamp) -> Result<()> {
        link::emr_note(self, event, now)
    }
    fn emr_capture(
        &self,
        capture: &EmrCapture,
        author: &Author,
        now: Timestamp,
        jitter: u64,
    ) -> Result<Captured> {
        capture::emr_capture(self, capture, author, (now, jitter))
    }
    fn emr_listed(&self, shown: &[(RecordRef, Digest)]) -> Result<Vec<EmrListed>> {
        self.read("look what a list of the record system shows", |conn| {
            shown.iter().map(|(record, digest)| listed::of(conn, record, *digest)).collect()
        })
    }
    fn emr_hints(&self, now: Timestamp, limit: usize) -> Result<Vec<RecordRef>> {
        turns::emr_hints(self, now, limit)
    }
    fn emr_live(&self, kind: ResourceType) -> Result<BTreeSet<RecordRef>> {
        self.read("list what the record system showed", |conn| link::live(conn, kind))
    }
    fn emr_left(&self, kind: ResourceType) -> Result<BTreeSet<RecordRef>> {
        self.read("list what was purged here", |conn| left::of_type(conn, kind))
    }
    fn emr_witnesses(&self, absent: &[RecordRef], limit: usize) -> Result<Option<Vec<RecordRef>>> {
        self.read("look what else the record system showed", |conn| {
            link::witnesses(conn, absent, limit)
        })
    }
    fn emr_next(&self, now: Timestamp, patients: usize, records: usize) -> Result<Vec<EmrTurn>> {
        turns::emr_next(self, now, patients, records)
    }
    fn emr_settle(&self, settled: &[EmrSettled], now: Timestamp, jitter: u64) -> Result<()> {
        settle::emr_settle(self, settled, now, jitter)
    }
    fn emr_list(&self, choice: &EmrChoice, limit: usize) -> Result<Vec<EmrInfo>> {
        show::emr_list(self, choice, limit)
    }
    fn emr_act(
        &self,
        choice: &EmrChoice,
        action: &EmrAction,
        actor: &str,
        now: Timestamp,
    ) -> Result<u64> {
        show::emr_act(self, choice, action, actor, now)
    }
    fn emr_there(&self, ours: &[RecordRef]) -> Result<Vec<EmrId>> {
        ids::emr_there(self, ours)
    }
    fn emr_here(&self, theirs: &[RecordRef]) -> Result<Vec<EmrId>> {
        ids::emr_here(self, theirs)
    }
    fn emr_name(&self, names: &[(RecordRef, RecordRef)]) -> Result<()> {
        ids::emr_name(self, names)
    }
    fn emr_ids_doubt(&self) -> Result<Option<String>> {
        ids::emr_ids_doubt(self)
    }
}

/// What is known of a record there.
#[derive(Debug, Clone)]
struct Row {
    /// The state of ours that the image stands for.
    digest: Option<Digest>,
    /// What was shown last when it was there.
    image_digest: Option<Digest>,
    /// It is deleted there.
    gone: bool,
    /// It was not named, with many others, and nobody is known to have deleted it.
    lost: bool,
    attempts: u32,
}

impl Row {
    /// What is there, as far as is known, where it is there.
    fn live_image(&self) -> Option<Digest> {
        self.last_image().filter(|_| !self.lost)
    }

    /// What was shown last, unless it was deleted after that.
    fn last_image(&self) -> Option<Digest> {
        self.image_digest.filter(|_| !self.gone)
    }
}

fn row(step: &Connection, record: i64) -> Result<Option<Row>> {
    let mut statement = step.prepare_cached(
        "SELECT digest, image_digest, gone, attempts, lost FROM emr_record WHERE record = ?1",
    )?;
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Row {
            digest: rows::digest_option(row, 0)?,
            image_digest: rows::digest_option(row, 1)?,
            gone: row.get(2)?,
            attempts: row.get(3)?,
            lost: row.get(4)?,
        })
    };
    Ok(statement.query_row([record], read).optional()?)
}

/// A state from its name.
fn state(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<EmrState> {
    let name = row.get_ref(column)?.as_str()?;
    let known = EmrState::ALL.into_iter().find(|state| state.name() == name);
    known.ok_or_else(|| rows::odd(column, "not a state of a record in a record system"))
}

/// The body of a version of a record by its digest; `None` where it is a deletion or not here.
fn version_of(step: &Connection, record: i64, digest: Digest) -> Result<Option<String>> {
    let found = step
        .prepare_cached(
            "SELECT body FROM version WHERE record = ?1 AND digest = ?2
             ORDER BY sequence DESC LIMIT 1",
        )?
        .query_row(params![record, digest.0], |row| Ok(records::body_text(row, 0)))
        .optional()?;
    found.transpose().map(Option::flatten)
}

/// Whether a record ever was in that state here.
fn had(step: &Connection, record: i64, digest: Digest) -> Result<bool> {
    let mut statement =
        step.prepare_cached("SELECT 1 FROM version WHERE record = ?1 AND digest = ?2")?;
    Ok(statement.exists(params![record, digest.0])?)
}

/// A body that lies in a column of the row, compressed.
fn kept_body(step: &Connection, sql: &str, record: i64) -> Result<Option<String>> {
    let bytes: Option<Option<Vec<u8>>> =
        step.prepare_cached(sql)?.query_row([record], |row| row.get(0)).optional()?;
    bytes.flatten().as_deref().map(body::decode).transpose()
}

/// The body of the state of ours that the image stands for; `None` for a deletion.
fn agreed_body(step: &Connection, record: i64, digest: Digest) -> Result<Option<String>> {
    let sql = "SELECT agreed FROM emr_record WHERE record = ?1";
    match kept_body(step, sql, record)? {
        Some(body) => Ok(Some(body)),
        None => version_of(step, record, digest),
    }
}

/// The body that was shown last.
fn image_body(step: &Connection, record: i64, row: &Row) -> Result<Option<String>> {
    let Some(digest) = row.image_digest else { return Ok(None) };
    let sql = "SELECT image FROM emr_record WHERE record = ?1";
    match kept_body(step, sql, record)? {
        Some(body) => Ok(Some(body)),
        None => version_of(step, record, digest),
    }
}

/// What a record was found to be there, and which state of ours that stands for.
struct Agreed<'a> {
    record: i64,
    ours: &'a Record,
    shown: &'a Shown,
}

/// Keeps what was agreed on. What is still to be written follows from it: whatever is not that
/// state by now. Of a body that is a version of ours anyway, no second copy is kept.
fn agree(step: &Connection, agreed: &Agreed<'_>) -> Result<()> {
    let Agreed { record, ours, shown } = agreed;
    let extra = match (&ours.body, had(step, *record, ours.digest)?) {
        (Some(text), false) => Some(body::encode(text)?),
        _ => None,
    };
    let image = match shown.body() {
        Some(shown) if !had(step, *record, shown.digest)? => {
            shown.body.as_deref().map(body::encode).transpose()?
        }
        _ => None,
    };
    let image_digest = shown.digest().map(|digest| digest.0);
    step.prepare_cached(
        "INSERT INTO emr_record (record, digest, agreed, image_digest, image, gone, state, since)
         SELECT ?1, ?2, ?3, ?4, ?5, ?6, 'same', r.sequence FROM record AS r WHERE r.key = ?1
         ON CONFLICT (record) DO UPDATE SET
            digest = ?2, agreed = ?3, gone = ?6, lost = 0,
            image_digest = coalesce(?4, image_digest),
            image = CASE WHEN ?4 IS NULL THEN image ELSE ?5 END",
    )?
    .execute(params![
        record,
        ours.digest.0,
        extra,
        image_digest,
        image,
        shown.body().is_none()
    ])?;
    left::forget(step, &ours.reference)?;
    due::weigh(step, *record)
}

/// Findings about what is known of the record system.
pub(super) fn findings(conn: &Connection, findings: &mut check::Findings) -> Result<()> {
    findings.query(
        conn,
        "SELECT r.type || '/' || r.id || ' is to be the same in the record system, and is not'
         FROM emr_record AS e JOIN record AS r ON r.key = e.record
         WHERE e.state = 'same' AND (e.digest IS NOT r.digest OR e.lost = 1)
            AND (SELECT applies FROM emr_link) = 1 ORDER BY e.record",
        [],
    )?;
    findings.query(
        conn,
        "SELECT r.type || '/' || r.id || ' was agreed on with the record system in a state that \
         is not here'
         FROM emr_record AS e JOIN record AS r ON r.key = e.record
         WHERE e.digest IS NOT NULL AND e.agreed IS NULL AND NOT EXISTS
            (SELECT 1 FROM version AS v WHERE v.record = e.record AND v.digest = e.digest)
         ORDER BY e.record",
        [],
    )?;
    findings.query(
        conn,
        "SELECT 'what the record system showed of ' || r.type || '/' || r.id || ' is not here'
         FROM emr_record AS e JOIN record AS r ON r.key = e.record
         WHERE e.image_digest IS NOT NULL AND e.image IS NULL AND NOT EXISTS
            (SELECT 1 FROM version AS v WHERE v.record = e.record AND v.digest = e.image_digest)
         ORDER BY e.record",
        [],
    )
}
