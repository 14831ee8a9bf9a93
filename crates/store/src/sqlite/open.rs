//! Making, opening and restoring the file: pragmas, migrations, and what is refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use protocol::{Epoch, Timestamp};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Transaction, params};
use rusqlite_migration::{M, Migrations};

use super::{SqliteStore, audit, conflicts, emr, former, reader, rows, writer};
use crate::{AuditRow, NewSite, OpenOptions, Result, StoreError};

/// "TRIB": marks the file as a store of ours.
const APPLICATION_ID: i32 = 0x5452_4942;
/// How long a start may look for damage; the whole look is `tributary doctor`.
const CHECK_BUDGET: Duration = Duration::from_millis(150);
/// How long one process waits for another one's transaction.
const BUSY: Duration = Duration::from_secs(20);
/// Prepared statements that a connection keeps.
const STATEMENTS: usize = 256;

/// All changes of the schema, in order.
static MIGRATIONS: LazyLock<Vec<M<'static>>> = LazyLock::new(|| {
    vec![
        M::up(include_str!("../../migrations/sqlite/0001_first.sql")),
        M::up(include_str!("../../migrations/sqlite/0002_policies.sql")),
        M::up(include_str!("../../migrations/sqlite/0003_conflicts.sql")),
        M::up(include_str!("../../migrations/sqlite/0004_timeline.sql")),
        M::up(include_str!("../../migrations/sqlite/0005_visitors.sql")),
        M::up(include_str!("../../migrations/sqlite/0006_replaced.sql")),
        M::up_with_hook(
            include_str!("../../migrations/sqlite/0007_former_patients.sql"),
            |step: &Transaction<'_>| former::fill(step),
        ),
        M::up(include_str!("../../migrations/sqlite/0008_gone.sql")),
        M::up(include_str!("../../migrations/sqlite/0009_outbox.sql")),
        M::up(include_str!("../../migrations/sqlite/0010_base_below.sql")),
        M::up(include_str!("../../migrations/sqlite/0011_left_record.sql")),
        M::up(include_str!("../../migrations/sqlite/0012_pace.sql")),
        M::up(include_str!("../../migrations/sqlite/0018_queue.sql")),
        M::up(include_str!("../../migrations/sqlite/0019_pause.sql")),
        M::up(include_str!("../../migrations/sqlite/0020_audit_copies.sql")),
        M::up(include_str!("../../migrations/sqlite/0013_left_said.sql")),
        M::up(include_str!("../../migrations/sqlite/0016_sources.sql")),
        M::up(include_str!("../../migrations/sqlite/0017_source_images.sql")),
        M::up(include_str!("../../migrations/sqlite/0021_alerts.sql")),
        M::up(include_str!("../../migrations/sqlite/0014_since.sql")),
        M::up(include_str!("../../migrations/sqlite/0015_unlisted.sql")),
        M::up(include_str!("../../migrations/sqlite/0022_link_pace.sql")),
        M::up(include_str!("../../migrations/sqlite/0023_lanes.sql")),
        M::up(include_str!("../../migrations/sqlite/0024_budget.sql")),
        M::up(include_str!("../../migrations/sqlite/0025_alerts_mailed.sql")),
        M::up(include_str!("../../migrations/sqlite/0026_again.sql")),
        M::up(include_str!("../../migrations/sqlite/0027_emr.sql")),
        M::up(include_str!("../../migrations/sqlite/0028_line_part.sql")),
        M::up(include_str!("../../migrations/sqlite/0029_parked_later.sql")),
        M::up(include_str!("../../migrations/sqlite/0030_troubles.sql")),
        M::up(include_str!("../../migrations/sqlite/0031_emr_lost.sql")),
        M::up(include_str!("../../migrations/sqlite/0033_allowed.sql")),
        M::up(include_str!("../../migrations/sqlite/0034_asked_below.sql")),
        M::up(include_str!("../../migrations/sqlite/0035_purged_record.sql")),
        M::up(include_str!("../../migrations/sqlite/0036_asked_again.sql")),
        M::up(include_str!("../../migrations/sqlite/0037_compared.sql")),
        M::up(include_str!("../../migrations/sqlite/0038_heard.sql")),
    ]
});

impl SqliteStore {
    /// Makes a new store at `path`, which must not exist; readable by its owner only.
    pub fn create(
        path: &Path,
        site: &NewSite,
        options: OpenOptions,
        now: Timestamp,
    ) -> Result<SqliteStore> {
        create(path, site, options, now)
    }

    /// Opens the store at `path`: refuses a file that is no store, of a newer program, or damaged.
    pub fn open(path: &Path, options: OpenOptions) -> Result<SqliteStore> {
        open(path, options)
    }

    /// Begins a new life of the store at `path`, which was put there from a backup: a new epoch,
    /// in which own changes count from 1 again.
    pub fn restore_as(path: &Path, epoch: &Epoch, now: Timestamp) -> Result<()> {
        restore_as(path, epoch, now)
    }

    /// Runs `step` in the writer's transaction, in a savepoint of its own; returns when what it
    /// wrote is durable. Steps of several threads share one commit.
    pub(super) fn write<T>(
        &self,
        step: &'static str,
        work: impl FnOnce(&Connection) -> Result<T>,
    ) -> Result<T> {
        self.writer.run(step, work)
    }

    /// Runs `step` on a connection that cannot write, in one transaction: one snapshot.
    pub(super) fn read<T>(
        &self,
        step: &'static str,
        work: impl FnOnce(&Connection) -> Result<T>,
    ) -> Result<T> {
        self.readers.run(step, work)
    }
}

fn create(
    path: &Path,
    site: &NewSite,
    options: OpenOptions,
    now: Timestamp,
) -> Result<SqliteStore> {
    new_file(path)?;
    let mut connection = Connection::open_with_flags(path, flags())?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    tune(&connection, &options)?;
    migrate(&mut connection)?;
    let step = connection.transaction()?;
    step.execute(
        "INSERT INTO site (one, site, epoch, created) VALUES (1, ?1, ?2, ?3)",
        params![site.site.as_str(), site.epoch.as_bytes(), now.millis()],
    )?;
    rows::origin_key(&step, &site.site, &site.epoch)?;
    step.execute(
        "INSERT INTO feed (id, name, kind, title, page_entries, created)
         VALUES (?1, 'reference', 'reference', 'Reference records', ?2, ?3)",
        params![site.reference.as_bytes(), options.limits.page_entries, now.millis()],
    )?;
    step.execute("INSERT INTO link (target) VALUES ('parent')", [])?;
    step.commit()?;
    Ok(assemble(path, connection, options))
}

/// Makes an empty file that only its owner can read; SQLite gives its log the same rights.
fn new_file(path: &Path) -> Result<()> {
    let mut file = fs::OpenOptions::new();
    file.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut file, 0o600);
    file.open(path).map(drop).map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => {
            StoreError::Name(format!("there is a file {} already", path.display()))
        }
        std::io::ErrorKind::StorageFull => StoreError::Full,
        _ => StoreError::Database { step: "make its file", source: Box::new(e) },
    })
}

fn open(path: &Path, options: OpenOptions) -> Result<SqliteStore> {
    let mut connection = existing(path).map_err(|e| writer::named("open its file", e))?;
    tune(&connection, &options)?;
    migrate(&mut connection)?;
    let store = assemble(path, connection, options);
    conflicts::make_records(&store)?;
    Ok(store)
}

/// Opens a file that has to be a store of this program, without trusting it.
fn existing(path: &Path) -> Result<Connection> {
    if !path.is_file() {
        return Err(StoreError::Name(format!("there is no store at {}", path.display())));
    }
    let connection = Connection::open_with_flags(path, flags())?;
    connection.busy_timeout(BUSY)?;
    let id: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if id != APPLICATION_ID {
        return Err(StoreError::Damaged("its file is not a store of this program".to_owned()));
    }
    refuse_newer(&connection)?;
    let pages: u64 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
    let page: u64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    let size = fs::metadata(path).map_or(0, |file| file.len());
    // With a log beside it the file may lag behind; alone it has to be whole.
    if wal_size(path) == 0 && size < pages * page {
        let missing = pages * page - size;
        return Err(StoreError::Damaged(format!("{missing} bytes of its file are missing")));
    }
    quick_check(&connection)?;
    Ok(connection)
}

fn wal_size(path: &Path) -> u64 {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    fs::metadata(PathBuf::from(name)).map_or(0, |file| file.len())
}

fn refuse_newer(connection: &Connection) -> Result<()> {
    let found: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
    if found > known { Err(StoreError::Newer { found, known }) } else { Ok(()) }
}

/// Whether the schema is still the one that this program knows: another may have the file too.
pub(super) fn check_schema(connection: &Connection) -> Result<()> {
    refuse_newer(connection)?;
    let found: usize = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match found == MIGRATIONS.len() {
        true => Ok(()),
        false => Err(StoreError::Damaged("its schema was put back to an older one".to_owned())),
    }
}

/// Looks for damage as long as the budget lasts.
fn quick_check(connection: &Connection) -> Result<()> {
    let started = Instant::now();
    connection.progress_handler(10_000, Some(move || started.elapsed() > CHECK_BUDGET))?;
    let outcome: rusqlite::Result<String> =
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0));
    connection.progress_handler(0, None::<fn() -> bool>)?;
    match outcome {
        Ok(word) if word == "ok" => Ok(()),
        Ok(finding) => Err(StoreError::Damaged(finding.replace('\n', " "))),
        Err(e) if e.sqlite_error_code() == Some(rusqlite::ErrorCode::OperationInterrupted) => {
            Ok(())
        }
        Err(e) => Err(e.into()),
    }
}

fn restore_as(path: &Path, epoch: &Epoch, now: Timestamp) -> Result<()> {
    let mut connection = existing(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    migrate(&mut connection)?;
    let step = connection.transaction()?;
    step.execute("UPDATE site SET epoch = ?1, number = 0", params![epoch.as_bytes()])?;
    let site = rows::own_site(&step)?;
    rows::origin_key(&step, &site, epoch)?;
    // Who sent what waits here offers it again, or has long gone on from it.
    step.execute("DELETE FROM inbox", [])?;
    emr::compare_all(&step, "this store was restored from a backup")?;
    let row = AuditRow {
        actor: "operator".to_owned(),
        action: "restore",
        subject: site.to_string(),
        detail: format!("epoch {epoch}"),
    };
    audit::append(&step, &row, now)?;
    step.commit()?;
    Ok(())
}

pub(super) fn reader(path: &Path, options: &OpenOptions) -> Result<Connection> {
    let connection = Connection::open_with_flags(path, flags())?;
    tune(&connection, options)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

fn flags() -> OpenFlags {
    OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX
}

fn tune(connection: &Connection, options: &OpenOptions) -> Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // Else SQLite plans a statement anew for each value that is bound to its LIMIT.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    let kilobytes = i64::try_from(options.cache_bytes / 1024).unwrap_or(i64::MAX).max(64);
    connection.pragma_update(None, "cache_size", -kilobytes)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "mmap_size", 0)?;
    connection.pragma_update(None, "wal_autocheckpoint", options.wal_pages)?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    Ok(())
}

fn migrate(connection: &mut Connection) -> Result<()> {
    refuse_newer(connection)?;
    Migrations::from_slice(&MIGRATIONS).to_latest(connection).map_err(|e| match e {
        rusqlite_migration::Error::RusqliteError { err, .. } => {
            rows::fault("bring its schema up to date", err)
        }
        other => {
            StoreError::Database { step: "bring its schema up to date", source: Box::new(other) }
        }
    })
}

fn assemble(path: &Path, connection: Connection, options: OpenOptions) -> SqliteStore {
    SqliteStore {
        path: path.to_owned(),
        readers: reader::Readers::new(path, &options),
        options,
        writer: writer::Writer::new(connection),
        definitions: super::cohorts::Definitions::default(),
    }
}

#[cfg(test)]
mod tests;
