//! Who has seen a patient's records, by all rows that are here: our own and those of sites below.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{RecordRef, SiteId, Timestamp};
use rusqlite::{Connection, Row, params};

use super::copies;
use crate::sqlite::{SqliteStore, rows, status};
use crate::{AuditWho, Result, Seen};

/// Actions by which somebody was shown records; as the index `audit_seen` has them.
const SHOWN: &str = "('read', 'search', 'history', 'sent',
    'export', 'backup', 'timeline', 'patient-find', 'patient-fetch', 'conflict-read', 'feed-read')";

/// What tells sightings of one kind apart.
type Kind = (SiteId, String, String);

pub(in crate::sqlite) fn audit_who(store: &SqliteStore, record: &RecordRef) -> Result<AuditWho> {
    store.read("find out who has seen a record", |conn| {
        let names = names_of(conn, record)?;
        let mut seen = Sightings::default();
        let own = rows::own_site(conn)?;
        for name in &names {
            let pattern = format!(" {name} ");
            let sql = format!(
                "SELECT ?2, actor, action, at, -1, key FROM audit INDEXED BY audit_seen
                 WHERE action IN {SHOWN}
                    AND (subject = '*' OR instr(' ' || subject || ' ', ?1) > 0)"
            );
            gather(conn, &sql, params![pattern, own.as_str()], &mut seen)?;
            let sql = format!(
                "SELECT site, actor, action, at, life, key FROM audit_copy WHERE action IN {SHOWN}
                    AND (subject = '*' OR instr(' ' || subject || ' ', ?1) > 0)"
            );
            gather(conn, &sql, params![pattern], &mut seen)?;
            if let Some(patient) = rows::patient_known(conn, name)?.filter(|_| name.is_patient()) {
                let sql = "SELECT coalesce(o.site, (SELECT site FROM site)), c.author, 'wrote',
                        c.at, -2, c.sequence
                     FROM change_patient AS cp CROSS JOIN change AS c ON c.sequence = cp.sequence
                     LEFT JOIN origin AS o ON o.key = c.origin
                     WHERE cp.patient = ?1 AND c.author <> 'tributary' AND c.origin IS NOT NULL";
                gather(conn, sql, params![patient], &mut seen)?;
            }
        }
        let mut seen = seen.kinds.into_values().collect::<Vec<_>>();
        seen.sort_by(|one, other| (&one.site, other.last).cmp(&(&other.site, one.last)));
        Ok(AuditWho { names, seen, sites: copies::sites(conn)? })
    })
}

/// The record and its patients; a patient's own name is enough.
fn names_of(conn: &Connection, record: &RecordRef) -> Result<Vec<RecordRef>> {
    let mut names = vec![record.clone()];
    if let Some(row) = rows::record_row(conn, record)? {
        let sql = "SELECT p.id FROM record_patient AS rp
             CROSS JOIN patient AS p ON p.key = rp.patient WHERE rp.record = ?1 ORDER BY p.id";
        let found: Vec<RecordRef> =
            status::list(conn, sql, [row.key], |row| rows::patient_ref(row, 0))?;
        names.extend(found.into_iter().filter(|name| name != record));
    }
    Ok(names)
}

/// What was found so far.
#[derive(Default)]
struct Sightings {
    kinds: BTreeMap<Kind, Seen>,
    /// Rows that were counted: one may name the record and its patient.
    counted: BTreeSet<(SiteId, i64, i64)>,
}

fn gather(
    conn: &Connection,
    sql: &str,
    values: impl rusqlite::Params,
    seen: &mut Sightings,
) -> Result<()> {
    let read = |row: &Row<'_>| {
        let at: Timestamp = rows::time(row, 3)?;
        let one = Seen {
            site: rows::site_id(row, 0)?,
            actor: row.get(1)?,
            how: row.get(2)?,
            first: at,
            last: at,
            times: 1,
        };
        Ok((one, row.get(4)?, row.get(5)?))
    };
    for (one, life, key) in status::list(conn, sql, values, read)? {
        if !seen.counted.insert((one.site.clone(), life, key)) {
            continue;
        }
        let kind = (one.site.clone(), one.actor.clone(), one.how.clone());
        seen.kinds
            .entry(kind)
            .and_modify(|known| {
                known.first = known.first.min(one.first);
                known.last = known.last.max(one.last);
                known.times += 1;
            })
            .or_insert(one);
    }
    Ok(())
}
