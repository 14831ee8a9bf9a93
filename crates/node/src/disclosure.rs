//! Who is shown whose records goes into the audit before it is shown. A full disk stops no reading:
//! what could not be noted is counted, and noted as a gap as soon as there is room.

use protocol::{RecordRef, Timestamp};
use store::{AuditRow, Disclosure, StoreError};

use crate::http::auth::Caller;
use crate::site::Site;

/// Readings that could not be noted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Gap {
    since: Option<Timestamp>,
    count: u64,
}

/// What a caller is about to be shown.
pub fn by(caller: &Caller, action: &'static str, detail: String) -> Disclosure {
    Disclosure { actor: caller.author().as_str().to_owned(), ..of(action, detail) }
}

/// What is about to be shown, by the operator.
pub fn of(action: &'static str, detail: String) -> Disclosure {
    Disclosure {
        actor: "operator".to_owned(),
        action,
        detail,
        records: Vec::new(),
        patients: Vec::new(),
        former: false,
        everything: false,
    }
}

/// Records, in the order in which they were found, each once.
pub fn records<'a>(records: impl Iterator<Item = &'a RecordRef>) -> Vec<RecordRef> {
    let mut all = records.cloned().collect::<Vec<_>>();
    all.sort();
    all.dedup();
    all
}

/// Notes what a command is about to show. A full disk stops it no more than a program's reading;
/// but nobody is left who could note the gap, so the operator is told of it.
pub fn note_once(site: &Site, disclosure: &Disclosure) -> Result<(), StoreError> {
    match site.store().disclosed(disclosure, site.now()) {
        Err(StoreError::Full) => {
            let action = disclosure.action;
            tracing::error!(action, "the disk of the store is full: the audit has no row of this");
            Ok(())
        }
        noted => noted,
    }
}

/// Notes it. Errors of the store stop the reading, but for a full disk.
pub async fn note(site: &Site, disclosure: Disclosure) -> Result<(), StoreError> {
    let now = site.now();
    let gap = site.audit_gap(std::mem::take);
    let noted = site.read(move |store| {
        if let Some(since) = gap.since {
            let row = AuditRow {
                actor: "tributary".to_owned(),
                action: "audit-gap",
                subject: String::new(),
                detail: format!(
                    "the disk was full: {} readings since {since} are not noted",
                    gap.count
                ),
            };
            store.audit_append(&row, now)?;
        }
        store.disclosed(&disclosure, now)
    });
    match noted.await {
        Err(StoreError::Full) => {
            let count = site.audit_gap(|held| {
                held.since = gap.since.or(held.since).or(Some(now));
                held.count += gap.count + 1;
                held.count
            });
            tracing::error!(count, "the disk is full: readings are not noted in the audit");
            Ok(())
        }
        other => other,
    }
}
