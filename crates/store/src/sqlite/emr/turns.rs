//! What is to be written into the record system next, and what is to be read again.

use std::collections::{BTreeMap, BTreeSet};

use protocol::delivery::latest_due;
use protocol::resource::Record;
use protocol::resource::order::{dependency_order, rank};
use protocol::{RecordRef, Timestamp};
use rusqlite::{Connection, params};

use super::{Row, image_body, row, version_of};
use crate::sqlite::{SqliteStore, rows};
use crate::{EmrDue, EmrTurn, Result, Shown};

/// Records that are looked at to find whose turn it is.
const LOOKED_AT: usize = 5_000;
/// How many times `line_bytes` the turns of one look have together, at the most.
const LINES: usize = 4;

pub(super) fn emr_hints(
    store: &SqliteStore,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<RecordRef>> {
    let latest = latest_due(now, &store.options.limits).millis();
    store.read("look what is to be read again", |conn| {
        let mut statement = conn.prepare_cached(
            "SELECT type, id FROM emr_hint WHERE next_at <= ?1 OR next_at > ?2
             ORDER BY next_at, type, id LIMIT ?3",
        )?;
        let found = statement
            .query_map(params![now.millis(), latest, limit], |row| rows::record_ref(row, 0))?;
        Ok(found.collect::<rusqlite::Result<_>>()?)
    })
}

/// A record `e` that may be written now: its time has come, what it waits for has, and nothing of
/// it is still to be read. `?1` is now, `?2` the latest time that a pause can end.
const READY: &str = "(e.state = 'due'
        OR e.state = 'retry' AND (e.next_at <= ?1 OR e.next_at > ?2)
        OR e.state = 'waits' AND (e.next_at <= ?1 OR e.next_at > ?2 OR EXISTS
            (SELECT 1 FROM record AS t JOIN emr_record AS te ON te.record = t.key
             WHERE t.type = e.waits_type AND t.id = e.waits_id
                AND te.image_digest IS NOT NULL AND te.gone = 0 AND te.lost = 0)))
    AND NOT EXISTS (SELECT 1 FROM emr_hint AS h WHERE h.type = r.type AND h.id = r.id)";

pub(super) fn emr_next(
    store: &SqliteStore,
    now: Timestamp,
    patients: usize,
    records: usize,
) -> Result<Vec<EmrTurn>> {
    let latest = latest_due(now, &store.options.limits);
    store.read("look what the record system is to be given", |conn| {
        let ready = Ready { store, conn, now, latest };
        let mut shared = ready.of_nobody()?;
        if !shared.is_empty() {
            shared.sort_by_key(|due| due.order());
            shared.truncate(records);
            return Ok(ready.turn(None, shared)?.into_iter().collect());
        }
        let blocked = ready.blocked()?;
        let mut turns = Vec::new();
        let mut taken = BTreeSet::new();
        let mut room = store.options.limits.line_bytes.saturating_mul(LINES);
        for patient in ready.patients()? {
            if turns.len() >= patients || room == 0 {
                break;
            }
            if blocked.contains(&patient) || taken.contains(&patient) {
                continue;
            }
            let mut due = ready.of_patient(patient)?;
            let others = ready.others(&due)?;
            due.retain(|due| {
                let others = others.get(&due.record);
                !others.is_some_and(|others| others.iter().any(|p| blocked.contains(p)))
            });
            taken.insert(patient);
            // A record of several patients has its turn with the first of them.
            taken.extend(others.into_values().flatten());
            due.sort_by_key(|due| due.order());
            due.truncate(records);
            let name = rows::patient_name(conn, patient)?;
            if let Some(turn) = ready.turn(Some(name), due)? {
                room = room.saturating_sub(bytes_of(&turn));
                turns.push(turn);
            }
        }
        Ok(turns)
    })
}

/// Bytes of the bodies of a turn.
fn bytes_of(turn: &EmrTurn) -> usize {
    turn.writes.iter().filter_map(|write| Some(write.wanted.body.as_ref()?.len())).sum()
}

/// A record that may be written.
struct Due {
    record: i64,
    name: RecordRef,
    since: u64,
    deleted: bool,
}

impl Due {
    /// Deletions last, and what others refer to after them.
    fn order(&self) -> (bool, i32, u64, i64) {
        let rank = i32::from(rank(self.name.kind));
        (self.deleted, if self.deleted { -rank } else { rank }, self.since, self.record)
    }
}

struct Ready<'a> {
    store: &'a SqliteStore,
    conn: &'a Connection,
    now: Timestamp,
    latest: Timestamp,
}

impl Ready<'_> {
    fn found(&self, sql: &str, third: i64) -> Result<Vec<Due>> {
        let mut statement = self.conn.prepare_cached(sql)?;
        let values = params![self.now.millis(), self.latest.millis(), third];
        let found = statement.query_map(values, |row| {
            Ok(Due {
                record: row.get(0)?,
                name: rows::record_ref(row, 1)?,
                since: row.get(3)?,
                deleted: row.get(4)?,
            })
        })?;
        Ok(found.collect::<rusqlite::Result<_>>()?)
    }

    /// Records of no patient.
    fn of_nobody(&self) -> Result<Vec<Due>> {
        let sql = format!(
            "SELECT e.record, r.type, r.id, e.since, r.deleted
             FROM emr_record AS e INDEXED BY emr_record_open
             CROSS JOIN record AS r ON r.key = e.record
             WHERE e.state <> 'same' AND e.state IN ('due', 'retry', 'waits')
                AND {READY}
                AND NOT EXISTS (SELECT 1 FROM record_patient AS rp WHERE rp.record = e.record)
             ORDER BY e.since, e.record LIMIT ?3"
        );
        self.found(&sql, i64::try_from(LOOKED_AT).unwrap_or(i64::MAX))
    }

    /// Patients who have something that may be written, those who wait longest first.
    fn patients(&self) -> Result<Vec<i64>> {
        let sql = format!(
            "SELECT rp.patient FROM emr_record AS e INDEXED BY emr_record_open
             CROSS JOIN record AS r ON r.key = e.record
             CROSS JOIN record_patient AS rp ON rp.record = e.record
             WHERE e.state <> 'same' AND e.state IN ('due', 'retry', 'waits')
                AND {READY}
             ORDER BY e.since, e.record, rp.patient LIMIT ?3"
        );
        let mut statement = self.conn.prepare_cached(&sql)?;
        let values = params![self.now.millis(), self.latest.millis(), LOOKED_AT];
        let found = statement.query_map(values, |row| row.get(0))?;
        Ok(found.collect::<rusqlite::Result<_>>()?)
    }

    /// Patients of whom something is parked, or failed and is not due again: the rest waits.
    fn blocked(&self) -> Result<BTreeSet<i64>> {
        let mut statement = self.conn.prepare_cached(
            "SELECT DISTINCT rp.patient FROM emr_record AS e INDEXED BY emr_record_open
             CROSS JOIN record_patient AS rp ON rp.record = e.record
             WHERE e.state <> 'same' AND e.state IN ('parked', 'retry')
                AND (e.state = 'parked' OR NOT (e.next_at <= ?1 OR e.next_at > ?2))",
        )?;
        let found = statement
            .query_map(params![self.now.millis(), self.latest.millis()], |row| row.get(0))?;
        Ok(found.collect::<rusqlite::Result<_>>()?)
    }

    fn of_patient(&self, patient: i64) -> Result<Vec<Due>> {
        let sql = format!(
            "SELECT e.record, r.type, r.id, e.since, r.deleted
             FROM record_patient AS rp
             CROSS JOIN emr_record AS e ON e.record = rp.record
             CROSS JOIN record AS r ON r.key = e.record
             WHERE rp.patient = ?3 AND {READY}"
        );
        self.found(&sql, patient)
    }

    /// Whose records of several patients are.
    fn others(&self, due: &[Due]) -> Result<BTreeMap<i64, Vec<i64>>> {
        let mut statement =
            self.conn.prepare_cached("SELECT patient FROM record_patient WHERE record = ?1")?;
        let mut others = BTreeMap::new();
        for Due { record, .. } in due {
            let found = statement.query_map([record], |row| row.get(0))?;
            let found = found.collect::<rusqlite::Result<Vec<i64>>>()?;
            if found.len() > 1 {
                others.insert(*record, found);
            }
        }
        Ok(others)
    }

    fn turn(&self, patient: Option<RecordRef>, due: Vec<Due>) -> Result<Option<EmrTurn>> {
        let mut writes: Vec<EmrDue> = Vec::new();
        let mut bytes = 0;
        for one in due {
            let Some(write) = self.write(&one)? else { continue };
            bytes += write.wanted.body.as_ref().map_or(0, String::len);
            if bytes > self.store.options.limits.line_bytes && !writes.is_empty() {
                break;
            }
            writes.push(write);
        }
        let bodies: Vec<(&RecordRef, Option<&str>)> = writes
            .iter()
            .map(|write| (&write.wanted.reference, write.wanted.body.as_deref()))
            .collect();
        let order = dependency_order(&bodies);
        let mut places: Vec<Option<EmrDue>> = writes.into_iter().map(Some).collect();
        let writes: Vec<EmrDue> =
            order.into_iter().filter_map(|place| places[place].take()).collect();
        Ok((!writes.is_empty()).then_some(EmrTurn { patient, writes }))
    }

    fn write(&self, due: &Due) -> Result<Option<EmrDue>> {
        let Some(known) = rows::record_row(self.conn, &due.name)? else { return Ok(None) };
        let Some(seen) = row(self.conn, due.record)? else { return Ok(None) };
        let limits = &self.store.options.limits;
        let wanted = match version_of(self.conn, known.key, known.digest)? {
            Some(body) => Record::parse(body.as_bytes(), limits)?,
            None => Record::deleted(due.name.clone()),
        };
        Ok(Some(EmrDue { wanted, image: self.image(due.record, &seen)? }))
    }

    fn image(&self, record: i64, seen: &Row) -> Result<Option<Shown>> {
        if seen.gone {
            return Ok(Some(Shown::Gone));
        }
        if seen.lost {
            // What is there all the same is read before it is written over.
            return Ok(None);
        }
        let Some(body) = image_body(self.conn, record, seen)? else { return Ok(None) };
        let image = Record::parse(body.as_bytes(), &self.store.options.limits)?;
        Ok(Some(Shown::Body(Box::new(image))))
    }
}
