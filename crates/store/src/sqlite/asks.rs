//! What a child asks about patients who are not its own: each question stands in the audit, and
//! the audit tells how many there were lately.

use protocol::{SiteId, Timestamp};
use rusqlite::{Connection, params};

use super::{SqliteStore, audit};
use crate::{Asked, AuditRow, Result};

/// Milliseconds over which questions are counted.
const HOUR: i64 = 60 * 60 * 1_000;

/// One question, for the audit.
pub(super) struct Ask<'a> {
    pub(super) child: &'a SiteId,
    /// `patient-find` or `patient-fetch`, or one of these with `-refused`.
    pub(super) action: &'static str,
    pub(super) subject: String,
    pub(super) detail: String,
}

/// Whether a child may ask once more within the hour.
pub(super) fn may_ask(
    store: &SqliteStore,
    step: &Connection,
    child: &SiteId,
    now: Timestamp,
) -> Result<bool> {
    let asked: u32 = step
        .prepare_cached(
            "SELECT count(*) FROM audit INDEXED BY audit_asked WHERE actor = ?1 AND at > ?2
                AND action IN ('patient-find', 'patient-find-refused',
                               'patient-fetch', 'patient-fetch-refused')",
        )?
        .query_row(params![format!("child:{child}"), now.millis() - HOUR], |row| row.get(0))?;
    Ok(asked < store.options.limits.asks_per_hour)
}

pub(super) fn note(step: &Connection, ask: &Ask<'_>, now: Timestamp) -> Result<()> {
    let row = AuditRow {
        actor: format!("child:{}", ask.child),
        action: ask.action,
        subject: ask.subject.clone(),
        detail: ask.detail.clone(),
    };
    audit::append(step, &row, now)
}

pub(super) fn ask_refuse(
    store: &SqliteStore,
    child: &SiteId,
    row: &AuditRow,
    now: Timestamp,
) -> Result<Asked<()>> {
    store.write("refuse what a child asks", |step| {
        if !may_ask(store, step, child, now)? {
            return Ok(Asked::TooOften);
        }
        audit::append(step, row, now)?;
        Ok(Asked::Answered(()))
    })
}
