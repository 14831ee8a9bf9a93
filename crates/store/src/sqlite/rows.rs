//! From rows to values and back, and the errors of the database in the words of the store.

use std::num::TryFromIntError;

use protocol::error::RefusalKind;
use protocol::{Digest, Epoch, FeedId, RecordRef, Refusal, SiteId, Timestamp};
use rusqlite::types::Type;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, params};

use crate::{Result, StoreError};

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> StoreError {
        fault("read or write", error)
    }
}

/// What a caller has to tell apart of the database's errors.
pub(super) fn fault(step: &'static str, error: rusqlite::Error) -> StoreError {
    /// The disk is full, as an error of I/O on some systems.
    const FULL_AS_IO: [i32; 2] =
        [rusqlite::ffi::SQLITE_IOERR_WRITE, rusqlite::ffi::SQLITE_IOERR_SHMSIZE];
    match error.sqlite_error() {
        Some(e) if e.code == ErrorCode::DiskFull => StoreError::Full,
        Some(e) if FULL_AS_IO.contains(&e.extended_code) && disk_said_full() => StoreError::Full,
        Some(e) if matches!(e.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            StoreError::Damaged(error.to_string())
        }
        _ if is_too_large(&error) => StoreError::Refused(Refusal::new(
            RefusalKind::OverLimit,
            "a number in it is larger than 9223372036854775807, the largest that is kept",
        )),
        _ => StoreError::Database { step, source: Box::new(error) },
    }
}

/// Whether a number that is to be written, or asked for, is more than the database can hold: of
/// ours none is.
fn is_too_large(error: &rusqlite::Error) -> bool {
    match error {
        rusqlite::Error::ToSqlConversionFailure(source) => source.is::<TryFromIntError>(),
        _ => false,
    }
}

/// Whether the last system call of this thread failed for want of space (or of quota).
fn disk_said_full() -> bool {
    use std::io::{Error, ErrorKind};
    matches!(Error::last_os_error().kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// A value in a row that no code of ours has put there.
pub(super) fn odd(column: usize, what: &'static str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Blob, what.into())
}

/// A digest from its 32 bytes.
pub(super) fn digest(row: &Row<'_>, column: usize) -> rusqlite::Result<Digest> {
    Ok(Digest(row.get(column)?))
}

/// As above, where there may be none.
pub(super) fn digest_option(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Digest>> {
    Ok(row.get::<_, Option<[u8; 32]>>(column)?.map(Digest))
}

/// A record's name from the columns `type` and `id`, which stand beside each other.
pub(super) fn record_ref(row: &Row<'_>, column: usize) -> rusqlite::Result<RecordRef> {
    let kind = row.get_ref(column)?.as_str()?;
    let kind = kind.parse().map_err(|_| odd(column, "not a resource type"))?;
    let id = row.get_ref(column + 1)?.as_str()?;
    RecordRef::new(kind, id).map_err(|_| odd(column + 1, "not a record's id"))
}

/// A patient's name from the column `patient.id`.
pub(super) fn patient_ref(row: &Row<'_>, column: usize) -> rusqlite::Result<RecordRef> {
    let id = row.get_ref(column)?.as_str()?;
    RecordRef::new(protocol::ResourceType::PATIENT, id)
        .map_err(|_| odd(column, "not a patient's id"))
}

/// The name of a patient of this key.
pub(super) fn patient_name(connection: &Connection, patient: i64) -> Result<RecordRef> {
    Ok(connection
        .prepare_cached("SELECT id FROM patient WHERE key = ?1")?
        .query_row([patient], |row| patient_ref(row, 0))?)
}

/// An epoch from its 16 bytes.
pub(super) fn epoch(row: &Row<'_>, column: usize) -> rusqlite::Result<Epoch> {
    Ok(Epoch::from_bytes(row.get(column)?))
}

/// A feed's id from its 16 bytes.
pub(super) fn feed_id(row: &Row<'_>, column: usize) -> rusqlite::Result<FeedId> {
    Ok(FeedId::from_bytes(row.get(column)?))
}

/// A point in time from its milliseconds.
pub(super) fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    Ok(Timestamp::from_millis(row.get(column)?))
}

/// As above, where there may be none.
pub(super) fn time_option(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_millis))
}

/// A site's id.
pub(super) fn site_id(row: &Row<'_>, column: usize) -> rusqlite::Result<SiteId> {
    row.get_ref(column)?.as_str()?.parse().map_err(|_| odd(column, "not a site's id"))
}

/// This site's id.
pub(super) fn own_site(connection: &Connection) -> Result<SiteId> {
    Ok(connection.prepare_cached("SELECT site FROM site")?.query_row([], |row| site_id(row, 0))?)
}

/// Whether this site has a parent.
pub(super) fn has_parent(connection: &Connection) -> Result<bool> {
    let mut statement = connection.prepare_cached("SELECT has_parent FROM site")?;
    Ok(statement.query_row([], |row| row.get(0))?)
}

/// The id of this site's parent, as that said it last; `None` where it has not been heard of.
pub(super) fn parent_site(connection: &Connection) -> Result<Option<SiteId>> {
    let peer: Option<String> = connection
        .prepare_cached("SELECT peer FROM link WHERE target = 'parent'")?
        .query_row([], |row| row.get(0))
        .optional()?
        .flatten();
    let view = peer.and_then(|peer| serde_json::from_str::<serde_json::Value>(&peer).ok());
    Ok(view.and_then(|view| view.get("site")?.as_str()?.parse().ok()))
}

/// The key of a site in one life of its store; makes it where it is new.
pub(super) fn origin_key(connection: &Connection, site: &SiteId, epoch: &Epoch) -> Result<i64> {
    let found = connection
        .prepare_cached("SELECT key FROM origin WHERE site = ?1 AND epoch = ?2")?
        .query_row(params![site.as_str(), epoch.as_bytes()], |row| row.get(0))
        .optional()?;
    if let Some(key) = found {
        return Ok(key);
    }
    connection
        .prepare_cached("INSERT INTO origin (site, epoch) VALUES (?1, ?2)")?
        .execute(params![site.as_str(), epoch.as_bytes()])?;
    Ok(connection.last_insert_rowid())
}

/// The key of a patient; makes it where it is new.
pub(super) fn patient_key(connection: &Connection, patient: &RecordRef) -> Result<i64> {
    if let Some(key) = patient_known(connection, patient)? {
        return Ok(key);
    }
    connection
        .prepare_cached("INSERT INTO patient (id) VALUES (?1)")?
        .execute(params![patient.id()])?;
    Ok(connection.last_insert_rowid())
}

/// The key of a patient, where the store has heard of it.
pub(super) fn patient_known(connection: &Connection, patient: &RecordRef) -> Result<Option<i64>> {
    Ok(connection
        .prepare_cached("SELECT key FROM patient WHERE id = ?1")?
        .query_row(params![patient.id()], |row| row.get(0))
        .optional()?)
}

/// The row of a record.
#[derive(Debug, Clone)]
pub(super) struct RecordRow {
    pub(super) key: i64,
    pub(super) sequence: u64,
    pub(super) deleted: bool,
    pub(super) digest: Digest,
    pub(super) parent_digest: Option<Digest>,
    pub(super) parent_sequence: u64,
}

/// The row of a record, where there is one.
pub(super) fn record_row(connection: &Connection, name: &RecordRef) -> Result<Option<RecordRow>> {
    Ok(connection
        .prepare_cached(
            "SELECT key, sequence, deleted, digest, parent_digest, parent_sequence
             FROM record WHERE type = ?1 AND id = ?2",
        )?
        .query_row(params![name.kind.name(), name.id()], |row| {
            Ok(RecordRow {
                key: row.get(0)?,
                sequence: row.get(1)?,
                deleted: row.get(2)?,
                digest: digest(row, 3)?,
                parent_digest: digest_option(row, 4)?,
                parent_sequence: row.get(5)?,
            })
        })
        .optional()?)
}

/// The site's newest sequence.
pub(super) fn site_sequence(connection: &Connection) -> Result<u64> {
    Ok(connection.prepare_cached("SELECT sequence FROM site")?.query_row([], |row| row.get(0))?)
}
