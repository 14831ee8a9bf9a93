//! Who has seen a patient's records, as the command line and `/admin/audit/who` tell it.

use protocol::{RecordRef, Timestamp};
use store::{AuditRow, AuditSite, AuditWho, Store, StoreError};

use crate::cli::status::ago;

/// Reads it, and notes in the audit who asked.
pub fn read(
    store: &dyn Store,
    record: &RecordRef,
    actor: String,
    now: Timestamp,
) -> Result<AuditWho, StoreError> {
    let told = store.audit_who(record)?;
    let subject = record.to_string();
    let detail = String::new();
    store.audit_append(&AuditRow { actor, action: "audit-who", subject, detail }, now)?;
    Ok(told)
}

/// How somebody saw it, in words.
pub fn words(how: &str) -> &str {
    match how {
        "history" => "read versions",
        "feed-read" => "read a feed",
        "sent" => "was sent it",
        "patient-find" => "found by name",
        "patient-fetch" => "fetched it",
        "conflict-read" => "saw a conflict",
        other => other,
    }
}

/// How fresh the rows of a site are.
pub fn fresh(site: &AuditSite, now: Timestamp) -> String {
    let Some(heard) = site.heard else { return "this site: all up to now".to_owned() };
    let rows = match site.newest_there {
        Some(there) if there > site.key => {
            format!("{} of {there} rows that it had when it was here last", site.key)
        }
        Some(_) => "all that it had when it was here last".to_owned(),
        None => format!("{} rows", site.key),
    };
    let newest = site.at.map_or(String::new(), |at| format!(", the newest of {}", ago(now, at)));
    let via = site.via.as_ref().filter(|via| **via != site.site);
    let via = via.map_or(String::new(), |via| format!(", by way of {via}"));
    format!("{rows}{newest}; rows came {}{via}", ago(now, heard))
}
