//! Pages of a feed, for Atom.
//!
//! A full page has to have the same bytes for ever, so an entry is made only of what no later
//! change can touch: the entries of the feed (joins and leaves among them), the change with its
//! patients, and the versions that it made. Whether a patient is still in the cohort does not
//! count: the page has ids only, and the records behind them are entitled where they are read.
//! (Only a purge takes names out of a page: what is purged is to be forgotten.)

use protocol::Limits;
use protocol::feed::{Action, Entry, EntryKind};
use rusqlite::{OptionalExtension, params};

use super::entries::{self, EntryRow, change_patients, patients_then};
use super::*;
use crate::sqlite::records::action;

pub(in crate::sqlite) fn feed_page(
    store: &SqliteStore,
    feed: &str,
    number: Option<u64>,
    scope: &Scope,
) -> Result<Option<FeedPage>> {
    store.read("read a page of a feed", |conn| {
        let Some(feed) = find(conn, feed, scope)? else { return Ok(None) };
        let number = number.unwrap_or_else(|| feed.info.recent());
        if number > feed.info.recent() {
            return Ok(None);
        }
        let Some((first, last)) = feed.info.positions_of(number) else { return Ok(None) };
        let site = rows::own_site(conn)?;
        let reader = PageReader { conn, feed: &feed, site: &site, limits: &store.options.limits };
        let mut entries = Vec::new();
        let mut statement = entries::all(conn)?;
        for row in statement.query_map(params![feed.key, first - 1, last], EntryRow::read)? {
            entries.push(reader.entry(row?)?);
        }
        Ok(Some(FeedPage { feed: feed.info, site, number, entries }))
    })
}

/// Patients, and records with what became of them.
type Told = (Vec<RecordRef>, Vec<(RecordRef, Action)>);

struct PageReader<'a> {
    conn: &'a Connection,
    feed: &'a Feed,
    site: &'a SiteId,
    limits: &'a Limits,
}

impl PageReader<'_> {
    fn entry(&self, row: EntryRow) -> Result<Entry> {
        let (patients, records) = match (row.kind, &row.patient) {
            (EntryKind::Change, _) => self.change(&row)?,
            (_, patient) => {
                (patient.iter().map(|(_, patient)| patient.clone()).collect(), Vec::new())
            }
        };
        Ok(Entry {
            position: row.position,
            kind: row.kind,
            change: row.id,
            at: row.at,
            origin: row.origin.unwrap_or_else(|| self.site.clone()),
            author: row.author,
            patients,
            records,
            reason: row.reason,
        })
    }

    /// The patients and records that the feed tells of.
    fn change(&self, row: &EntryRow) -> Result<Told> {
        let all = change_patients(self.conn, row.sequence)?;
        let mut patients = Vec::with_capacity(all.len());
        for (key, patient) in &all {
            let told = match self.feed.kind {
                Kind::Cohort => self.was_member(*key, row)?,
                Kind::Reference => false,
                Kind::Outgoing => true,
            };
            if told {
                patients.push(patient.clone());
            }
        }
        let mut records = Vec::new();
        let mut statement = self.conn.prepare_cached(
            "SELECT r.type, r.id, v.body IS NULL, v.previous IS NULL, r.key
             FROM version AS v CROSS JOIN record AS r ON r.key = v.record
             WHERE v.sequence = ?1 ORDER BY v.key",
        )?;
        let mut found = statement.query([row.sequence])?;
        while let Some(version) = found.next()? {
            let reference = rows::record_ref(version, 0)?;
            let key = version.get(4)?;
            if self.tells_of(&reference, key, row.sequence, &patients, all.len())? {
                records.push((reference, action(version.get(2)?, version.get(3)?)));
            }
        }
        Ok((patients, records))
    }

    /// Whether a patient was in the cohort before the entry, or joined by its change.
    fn was_member(&self, patient: i64, row: &EntryRow) -> Result<bool> {
        let before: Option<u8> = self
            .conn
            .prepare_cached(
                "SELECT kind FROM feed_entry INDEXED BY feed_entry_patient
                 WHERE feed = ?1 AND patient = ?2 AND position < ?3 AND kind <> 0
                 ORDER BY position DESC LIMIT 1",
            )?
            .query_row(params![self.feed.key, patient, row.position], |row| row.get(0))
            .optional()?;
        if before == Some(1) {
            return Ok(true);
        }
        Ok(self
            .conn
            .prepare_cached(
                "SELECT 1 FROM feed_entry INDEXED BY feed_entry_patient
                 WHERE feed = ?1 AND patient = ?2 AND position > ?3 AND kind <> 0
                    AND kind = 1 AND sequence = ?4 LIMIT 1",
            )?
            .exists(params![self.feed.key, patient, row.position, row.sequence])?)
    }

    /// `patients`: those of the change that the feed tells of; `all`: how many the change has.
    fn tells_of(
        &self,
        record: &RecordRef,
        key: i64,
        sequence: u64,
        patients: &[RecordRef],
        all: usize,
    ) -> Result<bool> {
        match self.feed.kind {
            Kind::Outgoing => Ok(true),
            // No reference record is in FHIR's patient compartment.
            Kind::Reference => Ok(record.is_reference()),
            Kind::Cohort if record.is_reference() || patients.is_empty() => Ok(false),
            Kind::Cohort if patients.len() == all => Ok(true),
            Kind::Cohort => {
                // The state before counts too: a record that moved away is told of once more.
                let then = patients_then(self.conn, key, sequence, 2, self.limits)?;
                Ok(patients.iter().any(|patient| then.contains(patient)))
            }
        }
    }
}
