//! What became of the changes that were read from a source, until it has been told.

use protocol::delivery::Outcome;
use protocol::digest::ShortDigest;
use protocol::message::{GIVEN_UP, Receipt};
use protocol::stream::{self, InLine, InRecord, StreamLine};
use protocol::{ChangeId, RecordRef, SiteId};
use rusqlite::{Connection, OptionalExtension, params};

use crate::sqlite::{SqliteStore, rows, status};
use crate::{Applied, Result, StoreError};

/// Keeps what is to be said of a change. Of a line in parts, all that was said before of its
/// records stands beside it.
pub(in crate::sqlite) fn keep(
    step: &Connection,
    source: &SiteId,
    (id, part): (&ChangeId, Option<(u32, u32)>),
    applied: &Applied,
    digests: Vec<(RecordRef, ShortDigest)>,
) -> Result<()> {
    let origin = rows::origin_key(step, &id.origin, &id.epoch)?;
    let told = !applied.outcome.is_held() || applied.outcome == Outcome::Conflict;
    let mut word = Receipt {
        id: id.clone(),
        attempt: 0,
        outcome: applied.outcome,
        reason: applied.reason.clone().filter(|_| told),
        sequence: applied.sequence,
        digests,
        differs: differs_of(applied),
    };
    if part.is_some_and(|(part, _)| part > 1)
        && let Some(before) = find(step, source, (origin, id.number))?
        && word.outcome.is_held()
    {
        word.digests.splice(0..0, before.digests);
        word.differs.splice(0..0, before.differs);
    }
    if part.is_some_and(|(part, of)| part < of) && word.outcome.is_held() {
        // It is not taken before its last part is.
        word.outcome = Outcome::Later;
        word.reason = Some("its last part has not come".to_owned());
    }
    write(step, source, &word)
}

/// A person gave up what was read from a source and stuck here: it hears of that, as far as the
/// line can be read.
pub(in crate::sqlite) fn given_up(
    store: &SqliteStore,
    step: &Connection,
    (source, line): (&SiteId, &[u8]),
    because: &str,
) -> Result<()> {
    // Of a line in parts, all are given up by any: they have one id.
    let id = match stream::read_line(line, &store.options.limits) {
        Ok(StreamLine::Line(line)) => line.id,
        Ok(StreamLine::Refused(line)) => line.id,
        Ok(StreamLine::Header(_) | StreamLine::End { .. }) | Err(_) => None,
    };
    let Some(id) = id else { return Ok(()) };
    let word = Receipt {
        id,
        attempt: 0,
        outcome: Outcome::Refused,
        reason: Some(format!("{GIVEN_UP}{because}")),
        sequence: status::site_info(step)?.sequence,
        digests: Vec::new(),
        differs: Vec::new(),
    };
    write(step, source, &word)
}

fn write(step: &Connection, source: &SiteId, word: &Receipt) -> Result<()> {
    let origin = rows::origin_key(step, &word.id.origin, &word.id.epoch)?;
    step.prepare_cached(
        "INSERT INTO source_word (source, origin, number, text) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (source, origin, number) DO UPDATE SET text = excluded.text",
    )?
    .execute(params![source.as_str(), origin, word.id.number, word.to_text()])?;
    Ok(())
}

/// The states of a line that this site has taken in or held before. Where its numbers were held
/// already, nobody looked at later bodies.
pub(in crate::sqlite) fn digests_of(
    line: &InLine,
    applied: &Applied,
) -> Vec<(RecordRef, ShortDigest)> {
    let mut digests = Vec::new();
    for record in line.records.iter().filter(|_| applied.outcome.is_held()) {
        let InRecord::State { record, .. } = record else { continue };
        let name = &record.reference;
        if !applied.differs.iter().any(|other| other.record == *name && !other.had) {
            digests.push((name.clone(), record.digest.short()));
        }
    }
    digests
}

/// The states that stand here of records that came in another one.
pub(in crate::sqlite) fn differs_of(applied: &Applied) -> Vec<(RecordRef, ShortDigest)> {
    let differs = applied.differs.iter().filter(|_| applied.outcome.is_held());
    differs.map(|other| (other.record.clone(), other.digest)).collect()
}

fn find(
    step: &Connection,
    source: &SiteId,
    (origin, number): (i64, u64),
) -> Result<Option<Receipt>> {
    let text: Option<String> = step
        .prepare_cached(
            "SELECT text FROM source_word WHERE source = ?1 AND origin = ?2 AND number = ?3",
        )?
        .query_row(params![source.as_str(), origin, number], |row| row.get(0))
        .optional()?;
    text.as_deref().map(read).transpose()
}

fn read(text: &str) -> Result<Receipt> {
    Receipt::read(text)
        .map_err(|error| StoreError::Database { step: "read a receipt", source: Box::new(error) })
}

pub(in crate::sqlite) fn source_words(
    store: &SqliteStore,
    name: &SiteId,
    limit: usize,
) -> Result<Vec<Receipt>> {
    store.read("look for what a source is to be told", |conn| {
        let sql = "SELECT text FROM source_word WHERE source = ?1 LIMIT ?2";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let texts: Vec<String> =
            status::list(conn, sql, params![name.as_str(), limit], |row| row.get(0))?;
        texts.iter().map(|text| read(text)).collect()
    })
}

/// A word that was said anew meanwhile stays.
pub(in crate::sqlite) fn source_told(
    store: &SqliteStore,
    name: &SiteId,
    words: &[Receipt],
) -> Result<()> {
    store.write("note what a source was told", |step| {
        for word in words {
            let origin = rows::origin_key(step, &word.id.origin, &word.id.epoch)?;
            step.prepare_cached(
                "DELETE FROM source_word
                 WHERE source = ?1 AND origin = ?2 AND number = ?3 AND text = ?4",
            )?
            .execute(params![
                name.as_str(),
                origin,
                word.id.number,
                word.to_text()
            ])?;
        }
        Ok(())
    })
}
