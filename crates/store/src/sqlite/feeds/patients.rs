//! Whole records of patients by name, as the bulk lane would bring them with their joins, for a
//! reader who cannot wait for that lane.

use std::collections::BTreeSet;

use super::entries::{self, EntryRow};
use super::lines::LineMaker;
use super::*;

pub(in crate::sqlite) fn feed_patients(
    store: &SqliteStore,
    feed: &str,
    patients: &[RecordRef],
    scope: &Scope,
) -> Result<Option<FeedSlice>> {
    store.read("read patients of a feed", |conn| {
        let Some(feed) = find(conn, feed, scope)? else { return Ok(None) };
        let sequence = rows::site_sequence(conn)?;
        let limits = &store.options.limits;
        let reader = stream::reader(conn, scope)?;
        let maker = LineMaker::new(conn, &feed, 0, reader, limits);
        let (mut lines, mut bytes, mut more) = (Vec::new(), 0, false);
        let mut seen = BTreeSet::new();
        for patient in patients.iter().filter(|patient| seen.insert(*patient)) {
            let Some(join) = join_of(conn, &feed, patient)? else { continue };
            if bytes >= limits.stream_bytes {
                more = true;
                break;
            }
            bytes += maker.whole(join, &mut lines)?;
        }
        Ok(Some(FeedSlice {
            sequence,
            head: feed.info.head,
            behind: 0,
            oldest: None,
            lines,
            end: 0,
            more,
            feed: feed.info,
        }))
    })
}

/// The join by which a patient is in a feed now.
fn join_of(conn: &Connection, feed: &Feed, patient: &RecordRef) -> Result<Option<EntryRow>> {
    let joined: Option<u64> = conn
        .prepare_cached(
            "SELECT m.joined FROM patient AS p
             CROSS JOIN cohort_patient AS m ON m.feed = ?1 AND m.patient = p.key
             WHERE p.id = ?2 AND m.\"left\" IS NULL",
        )?
        .query_row(params![feed.key, patient.id()], |row| row.get(0))
        .optional()?;
    let Some(joined) = joined else { return Ok(None) };
    let mut statement = entries::joins(conn)?;
    Ok(statement
        .query_row(params![feed.key, joined.saturating_sub(1), joined], EntryRow::read)
        .optional()?)
}
