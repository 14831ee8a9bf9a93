//! A store that tests fill row by row, as the writer does: so that reading can be tested against
//! states that would take the writer many steps to reach.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::Path;

use protocol::reconcile::Policies;
use protocol::resource::search::SearchKey;
use protocol::{Via, json};
use rusqlite::{OptionalExtension, Params, Row, params};
use tempfile::TempDir;

use super::keys::{KeyRow, rows_of};
use super::*;

/// A store in memory where there is a file system for that, with a reader named `east`.
pub(super) struct World {
    pub(super) store: SqliteStore,
    pub(super) dir: TempDir,
    clock: Cell<i64>,
}

/// One record's state in a change.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) reference: RecordRef,
    pub(super) body: Option<String>,
    pub(super) patients: BTreeSet<RecordRef>,
    pub(super) keys: Vec<SearchKey>,
}

/// `Observation/x` of some patients, in its `n`th state; of `Patient/a` itself, or of none.
pub(super) fn state(reference: &str, patients: &[&str], n: u64) -> State {
    let reference: RecordRef = reference.parse().unwrap();
    let (kind, id) = (reference.kind, reference.id());
    let refers = |id: &&str| format!(r#"{{"reference":"Patient/{id}"}}"#);
    let about = match patients {
        [] => String::new(),
        [_] if reference.is_patient() => String::new(),
        [patient] => format!(r#""subject":{},"#, refers(patient)),
        // Several patients: an Appointment, whose participants count.
        many => {
            let actors = many.iter().map(|id| format!(r#"{{"actor":{}}}"#, refers(id)));
            format!(r#""participant":[{}],"#, actors.collect::<Vec<_>>().join(","))
        }
    };
    let body = format!(r#"{{"resourceType":"{kind}","id":"{id}",{about}"n":{n}}}"#);
    let patients = patients.iter().map(|id| patient(id)).collect();
    State { reference, body: Some(body), patients, keys: Vec::new() }
}

/// The record deleted.
pub(super) fn gone(reference: &str) -> State {
    let reference = reference.parse().unwrap();
    State { reference, body: None, patients: BTreeSet::new(), keys: Vec::new() }
}

pub(super) fn patient(id: &str) -> RecordRef {
    RecordRef::new(protocol::ResourceType::PATIENT, id).unwrap()
}

pub(super) fn reader_epoch() -> Epoch {
    Epoch::from_bytes([7; 16])
}

/// The reader `east`, with these cohorts.
pub(super) fn east(cohorts: &[&str]) -> Scope {
    Scope::Cohorts {
        reader: "east".parse().unwrap(),
        epoch: reader_epoch(),
        cohorts: cohorts.iter().map(|name| name.parse().unwrap()).collect(),
    }
}

/// The change came from the reader `east`.
pub(super) fn from_east() -> Via {
    Via::Child("east".parse().unwrap(), reader_epoch())
}

impl State {
    pub(super) fn digest(&self) -> Digest {
        match &self.body {
            Some(body) => Digest::of(&json::parse(body.as_bytes(), 64).unwrap()),
            None => Digest::of_deletion(&self.reference),
        }
    }

    pub(super) fn with_keys(mut self, keys: impl IntoIterator<Item = SearchKey>) -> State {
        self.keys.extend(keys);
        self
    }
}

impl World {
    pub(super) fn new() -> World {
        World::with_page(3)
    }

    /// Feeds have so many entries a page.
    pub(super) fn with_page(page_entries: u32) -> World {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.unwrap();
        let limits = protocol::Limits { page_entries, ..Default::default() };
        let options = OpenOptions {
            limits,
            merge: Policies::default(),
            urgent: protocol::urgency::usual(),
            cache_bytes: 4 << 20,
            readers: 2,
            wal_pages: OpenOptions::WAL_PAGES,
        };
        let site = NewSite {
            site: "centre".parse().unwrap(),
            epoch: Epoch::from_bytes([1; 16]),
            reference: FeedId::from_bytes([2; 16]),
        };
        let now = Timestamp::from_millis(1_000);
        let store = SqliteStore::create(&dir.path().join("store.db"), &site, options, now).unwrap();
        World { store, dir, clock: Cell::new(1_000) }
    }

    /// Runs in the writer's transaction.
    pub(super) fn write<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> T {
        self.store.write("fill a store for a test", work).unwrap()
    }

    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.clock.get())
    }

    fn tick(&self) -> i64 {
        self.clock.set(self.clock.get() + 1_000);
        self.clock.get()
    }

    pub(super) fn cohort(&self, name: &str, patients: &[&str]) {
        let at = self.tick();
        self.write(|conn| {
            let mut id = [3; 16];
            id[..name.len().min(16)].copy_from_slice(&name.as_bytes()[..name.len().min(16)]);
            conn.execute(
                "INSERT INTO feed (id, name, kind, title, page_entries, created)
                 VALUES (?1, ?2, 'cohort', ?2, (SELECT page_entries FROM feed), ?3)",
                params![id, name, at],
            )?;
            let definition = r#"{"all":{}}"#;
            conn.execute(
                "INSERT INTO cohort (feed, definition, digest)
                 VALUES (last_insert_rowid(), ?1, randomblob(32))",
                [definition],
            )?;
            Ok(())
        });
        for patient in patients {
            self.join(name, patient);
        }
    }

    pub(super) fn join(&self, cohort: &str, id: &str) -> u64 {
        let at = self.tick();
        self.write(|conn| {
            let (feed, key) = (feed_key(conn, cohort)?, rows::patient_key(conn, &patient(id))?);
            let position = entry(conn, feed, 1, None, Some(key), at)?;
            conn.execute(
                "INSERT INTO cohort_patient (feed, patient, joined) VALUES (?1, ?2, ?3)
                 ON CONFLICT (feed, patient) DO UPDATE SET joined = ?3, \"left\" = NULL",
                params![feed, key, position],
            )?;
            conn.execute("UPDATE feed SET head_join = ?2 WHERE key = ?1", params![feed, position])?;
            Ok(position)
        })
    }

    pub(super) fn leave(&self, cohort: &str, id: &str) -> u64 {
        let at = self.tick();
        self.write(|conn| {
            let (feed, key) = (feed_key(conn, cohort)?, rows::patient_key(conn, &patient(id))?);
            let position = entry(conn, feed, 2, None, Some(key), at)?;
            conn.execute(
                "UPDATE cohort_patient SET \"left\" = ?3 WHERE feed = ?1 AND patient = ?2",
                params![feed, key, position],
            )?;
            Ok(position)
        })
    }

    /// Records a change as the writer does; gives its sequence.
    pub(super) fn change(&self, via: &Via, states: &[State]) -> u64 {
        let at = self.tick();
        self.write(|conn| {
            let sequence: u64 = row(
                conn,
                "UPDATE site SET sequence = sequence + 1 RETURNING sequence",
                [],
                |row| row.get(0),
            )?;
            change_row(conn, via, sequence, at)?;
            let mut patients = BTreeSet::new();
            for state in states {
                patients.extend(version(conn, state, sequence)?);
            }
            for patient in &patients {
                run(
                    conn,
                    "INSERT INTO change_patient VALUES (?1, ?2)",
                    params![sequence, patient],
                )?;
            }
            publish(conn, states, &patients, sequence, at)?;
            Ok(sequence)
        })
    }

    /// As above, made here.
    pub(super) fn made_here(&self, states: &[State]) -> u64 {
        self.change(&Via::Here, states)
    }
}

fn feed_key(conn: &Connection, name: &str) -> Result<i64> {
    Ok(row(conn, "SELECT key FROM feed WHERE name = ?1", [name], |row| row.get(0))?)
}

fn entry(
    conn: &Connection,
    feed: i64,
    kind: u8,
    sequence: Option<u64>,
    patient: Option<i64>,
    at: i64,
) -> Result<u64> {
    let position: u64 = row(
        conn,
        "UPDATE feed SET head = head + 1 WHERE key = ?1 RETURNING head",
        [feed],
        |row| row.get(0),
    )?;
    let reason = (kind == 2).then_some("moved away");
    run(
        conn,
        "INSERT INTO feed_entry (feed, position, kind, sequence, patient, reason, at)
         VALUES (?1, ?2, ?3, coalesce(?4, (SELECT sequence FROM site)), ?5, ?6, ?7)",
        params![feed, position, kind, sequence, patient, reason, at],
    )?;
    Ok(position)
}

fn change_row(conn: &Connection, via: &Via, sequence: u64, at: i64) -> Result<()> {
    let (site, epoch) = match via {
        Via::Child(site, epoch) => (site.clone(), *epoch),
        _ => ("centre".parse().unwrap(), Epoch::from_bytes([1; 16])),
    };
    let origin = rows::origin_key(conn, &site, &epoch)?;
    let (via, by) = match via {
        Via::Here => (0, None),
        Via::Parent => (1, None),
        Via::Child(..) => (2, Some(origin)),
    };
    run(
        conn,
        "INSERT INTO change (sequence, origin, number, via, via_site, author, at, recorded)
         VALUES (?1, ?2, ?1, ?3, ?4, 'nurse', ?5, ?5)",
        params![sequence, origin, via, by, at],
    )?;
    Ok(())
}

/// Gives the patients of the old and the new state.
fn version(conn: &Connection, state: &State, sequence: u64) -> Result<BTreeSet<i64>> {
    let (kind, id) = (state.reference.kind.name(), state.reference.id());
    let digest = state.digest().0;
    let deleted = state.body.is_none();
    let before: Option<(i64, u64)> = row(
        conn,
        "SELECT key, sequence FROM record WHERE type = ?1 AND id = ?2",
        [kind, id],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
    .optional()?;
    run(
        conn,
        "INSERT INTO record (type, id, sequence, deleted, digest) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (type, id) DO UPDATE SET sequence = ?3, deleted = ?4, digest = ?5",
        params![kind, id, sequence, deleted, digest],
    )?;
    let key: i64 =
        row(conn, "SELECT key FROM record WHERE type = ?1 AND id = ?2", [kind, id], |row| {
            row.get(0)
        })?;
    let body = state.body.as_deref().map(body::encode).transpose()?;
    run(
        conn,
        "INSERT INTO version (record, sequence, previous, digest, body)
         VALUES (?1, ?2, ?3, ?4, ?5)",
        params![key, sequence, before.map(|(_, sequence)| sequence), digest, body],
    )?;
    let mut patients = record_patients(conn, key)?;
    if !deleted {
        let mut named = BTreeSet::new();
        for patient in &state.patients {
            named.insert(rows::patient_key(conn, patient)?);
        }
        if let Some((_, upto)) = before.filter(|_| named != patients) {
            former::note(conn, key, upto, &patients)?;
        }
        run(conn, "DELETE FROM record_patient WHERE record = ?1", [key])?;
        for patient in named {
            run(conn, "INSERT INTO record_patient VALUES (?1, ?2)", [key, patient])?;
        }
        patients.extend(record_patients(conn, key)?);
    }
    index(conn, key, state)?;
    Ok(patients)
}

fn record_patients(conn: &Connection, record: i64) -> Result<BTreeSet<i64>> {
    let mut statement =
        conn.prepare_cached("SELECT patient FROM record_patient WHERE record = ?1")?;
    Ok(statement.query_map([record], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?)
}

fn index(conn: &Connection, record: i64, state: &State) -> Result<()> {
    for table in ["search_token", "search_text", "search_date"] {
        run(conn, &format!("DELETE FROM {table} WHERE record = ?1"), [record])?;
    }
    for row in state.keys.iter().flat_map(rows_of) {
        match row {
            KeyRow::Token { param, value } => run(
                conn,
                "INSERT OR IGNORE INTO search_token VALUES (?1, ?2, ?3)",
                [param, value, record],
            )?,
            KeyRow::Text { param, value } => run(
                conn,
                "INSERT OR IGNORE INTO search_text VALUES (?1, ?2, ?3)",
                params![param, value, record],
            )?,
            KeyRow::Date { param, low, high } => run(
                conn,
                "INSERT OR IGNORE INTO search_date VALUES (?1, ?2, ?3, ?4)",
                [param, low, high, record],
            )?,
        };
    }
    Ok(())
}

fn publish(
    conn: &Connection,
    states: &[State],
    patients: &BTreeSet<i64>,
    sequence: u64,
    at: i64,
) -> Result<()> {
    let mut feeds = BTreeSet::new();
    for patient in patients {
        let mut statement = conn.prepare_cached(
            "SELECT feed FROM cohort_patient WHERE patient = ?1 AND \"left\" IS NULL",
        )?;
        for feed in statement.query_map([patient], |row| row.get::<_, i64>(0))? {
            feeds.insert(feed?);
        }
    }
    if states.iter().any(|state| state.reference.kind.is_reference()) {
        feeds.insert(feed_key(conn, "reference")?);
    }
    for feed in feeds {
        entry(conn, feed, 0, Some(sequence), None, at)?;
    }
    Ok(())
}

/// With its statement kept: a test may fill a store with thousands of changes.
fn run(conn: &Connection, sql: &str, values: impl Params) -> rusqlite::Result<usize> {
    conn.prepare_cached(sql)?.execute(values)
}

/// Likewise.
fn row<T>(
    conn: &Connection,
    sql: &str,
    values: impl Params,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    conn.prepare_cached(sql)?.query_row(values, read)
}
