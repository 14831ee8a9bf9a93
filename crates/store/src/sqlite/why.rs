//! Where a record is on its way: the facts, from one snapshot. What they mean is said elsewhere.

mod down;
mod up;

use protocol::{Digest, RecordRef, SiteId};
use rusqlite::{Connection, OptionalExtension, params};

use super::rows::{self, RecordRow};
use super::status::{link_info, list, parked_line, site_info};
use super::{SqliteStore, body, pause};
use crate::{
    Here, LinkState, ParentHolds, ParkedLine, PatientPlace, Result, TimelineVia, WHY_ROWS,
    Whereabouts,
};

/// Parked lines that are read for the name of a record that is not here.
const LINES_READ: u32 = 1_000;
/// `held_move.kind`.
const LEFT: u8 = 2;
const PURGED: u8 = 3;

pub(super) fn record_why(store: &SqliteStore, record: &RecordRef) -> Result<Whereabouts> {
    store.read("find out where a record is", |conn| {
        let site = site_info(conn)?;
        let row = rows::record_row(conn, record)?;
        let patients = patients_of(conn, record, row.as_ref())?;
        let here = row.as_ref().map(|row| here(conn, row)).transpose()?;
        Ok(Whereabouts {
            record: record.clone(),
            has_parent: site.has_parent,
            let_go: let_go(conn, record)?,
            up: match &row {
                Some(row) => up::going(conn, row.key)?,
                None => Vec::new(),
            },
            dropped: match &row {
                Some(row) => up::dropped(conn, row.key)?,
                None => Vec::new(),
            },
            dropped_lines: {
                let names = patients.iter().map(|patient| rows::patient_name(conn, *patient));
                let names = names.collect::<Result<Vec<_>>>()?;
                super::queue::lines_dropped(conn, record, &names, WHY_ROWS)?
            },
            link: link_state(conn)?,
            parked: parked(conn, record, row.as_ref(), &patients)?,
            emr: super::emr::of_record(conn, record)?,
            conflicts: conflicts(conn, record)?,
            children: match (&row, &here) {
                (Some(row), Some(here)) => down::readers(conn, row, here)?,
                _ => down::all(conn)?,
            },
            inbox: conn
                .prepare_cached("SELECT count(*) FROM inbox")?
                .query_row([], |row| row.get(0))?,
            patients: places(conn, &patients)?,
            site: site.site,
            here,
        })
    })
}

fn here(conn: &Connection, row: &RecordRow) -> Result<Here> {
    let parent = match row.parent_digest {
        Some(Digest(held)) if held == row.digest.0 => ParentHolds::This,
        Some(_) => ParentHolds::Other,
        None => ParentHolds::Nothing,
    };
    let left = conn
        .prepare_cached("SELECT 1 FROM record WHERE key = ?1 AND left_sequence = sequence")?
        .exists([row.key])?;
    let taken = conn
        .prepare_cached(
            "SELECT changed, outcome FROM delivery
             WHERE target = 'parent' AND sequence = ?1 AND state = 'done'
                AND outcome IS NOT NULL",
        )?
        .query_row([row.sequence], |row| Ok((rows::time(row, 0)?, row.get(1)?)))
        .optional()?;
    let mut statement = conn.prepare_cached(
        "SELECT c.recorded, c.author, c.via, o.site, v.site FROM change AS c
         LEFT JOIN origin AS o ON o.key = c.origin LEFT JOIN origin AS v ON v.key = c.via_site
         WHERE c.sequence = ?1",
    )?;
    Ok(statement.query_row([row.sequence], |found| {
        let site = |column| -> rusqlite::Result<Option<SiteId>> {
            Ok(found.get::<_, Option<String>>(column)?.and_then(|site| site.parse().ok()))
        };
        Ok(Here {
            sequence: row.sequence,
            since: rows::time(found, 0)?,
            deleted: row.deleted,
            author: found.get(1)?,
            origin: site(3)?,
            via: match found.get(2)? {
                0 => TimelineVia::Here,
                1 => TimelineVia::Parent,
                2 => TimelineVia::Child,
                _ => return Err(rows::odd(2, "not a way for a change to come")),
            },
            child: site(4)?,
            parent,
            taken: taken.clone(),
            left,
        })
    })?)
}

fn let_go(conn: &Connection, record: &RecordRef) -> Result<Option<protocol::Timestamp>> {
    Ok(conn
        .prepare_cached(
            "SELECT c.recorded FROM gone_record AS g CROSS JOIN change AS c
                ON c.sequence = g.sequence
             WHERE g.type = ?1 AND g.id = ?2 ORDER BY g.sequence DESC LIMIT 1",
        )?
        .query_row(params![record.kind.name(), record.id()], |row| rows::time(row, 0))
        .optional()?)
}

/// Keys of the record's patients; a Patient is its own, whether it is here or not.
fn patients_of(conn: &Connection, record: &RecordRef, row: Option<&RecordRow>) -> Result<Vec<i64>> {
    let mut patients = match row {
        Some(row) => list(
            conn,
            "SELECT patient FROM record_patient WHERE record = ?1 ORDER BY patient",
            [row.key],
            |row| row.get(0),
        )?,
        None => Vec::new(),
    };
    if record.is_patient() {
        let own = rows::patient_known(conn, record)?;
        patients.extend(own.filter(|own| !patients.contains(own)));
    }
    Ok(patients)
}

fn places(conn: &Connection, patients: &[i64]) -> Result<Vec<PatientPlace>> {
    patients.iter().map(|patient| place(conn, *patient)).collect()
}

fn place(conn: &Connection, patient: i64) -> Result<PatientPlace> {
    let feeds = "SELECT DISTINCT m.name FROM held_patient AS h CROSS JOIN marker AS m
            ON m.feed = h.feed WHERE h.patient = ?1 ORDER BY m.name";
    // A join after a leave or a purge makes them history.
    let last_move = |kind: u8| {
        conn.prepare_cached(
            "SELECT at FROM held_move AS m WHERE m.patient = ?1 AND m.kind = ?2
                AND NOT EXISTS (SELECT 1 FROM held_move AS later
                    WHERE later.patient = ?1 AND later.kind = 1 AND later.key > m.key)
             ORDER BY key DESC LIMIT 1",
        )?
        .query_row(params![patient, kind], |row| rows::time(row, 0))
        .optional()
    };
    let state = conn
        .prepare_cached("SELECT state FROM patient WHERE key = ?1")?
        .query_row([patient], |row| row.get(0))?;
    Ok(PatientPlace {
        patient: rows::patient_name(conn, patient)?,
        state,
        feeds: list(conn, feeds, [patient], |row| row.get(0))?,
        left: last_move(LEFT)?,
        purged: last_move(PURGED)?,
    })
}

fn link_state(conn: &Connection) -> Result<LinkState> {
    let link = link_info(conn)?;
    Ok(LinkState {
        last_contact: link.last_contact,
        failures: link.failures,
        last_error: link.last_error,
        next_attempt: link.next_attempt,
        paused: pause::of_parent(conn)?,
    })
}

fn parked(
    conn: &Connection,
    record: &RecordRef,
    row: Option<&RecordRow>,
    patients: &[i64],
) -> Result<Vec<ParkedLine>> {
    let mut lines = Vec::new();
    for patient in patients {
        let sql = "SELECT line FROM parked_line_patient WHERE patient = ?1 ORDER BY line LIMIT ?2";
        let of_patient = list(conn, sql, params![patient, WHY_ROWS], |row| row.get(0))?;
        lines.extend::<Vec<i64>>(of_patient);
    }
    if row.is_none() {
        lines.extend(naming(conn, record)?);
    }
    lines.sort_unstable();
    lines.dedup();
    lines.truncate(WHY_ROWS);
    lines.into_iter().map(|key| parked_line(conn, key)).collect()
}

/// Parked lines whose text names the record: by `Type/id`, or as the resource itself.
fn naming(conn: &Connection, record: &RecordRef) -> Result<Vec<i64>> {
    let (reference, id) = (record.to_string(), format!("\"{}\"", record.id()));
    let kind = format!("\"{}\"", record.kind.name());
    let mut statement =
        conn.prepare_cached("SELECT key, line FROM parked_line ORDER BY key LIMIT ?1")?;
    let mut found = statement.query([LINES_READ])?;
    let mut keys = Vec::new();
    while let Some(row) = found.next()? {
        let text = body::decode_bytes(&row.get::<_, Vec<u8>>(1)?)?;
        let has = |part: &str| text.windows(part.len()).any(|bytes| bytes == part.as_bytes());
        if has(&reference) || (has(&id) && has(&kind)) {
            keys.push(row.get(0)?);
        }
    }
    Ok(keys)
}

fn conflicts(conn: &Connection, record: &RecordRef) -> Result<Vec<String>> {
    let sql = "SELECT r.id FROM conflict AS l CROSS JOIN record AS r ON r.key = l.record
         WHERE l.about_type = ?1 AND l.about_id = ?2 AND l.state = 'open' ORDER BY r.key LIMIT ?3";
    let values = params![record.kind.name(), record.id(), WHY_ROWS];
    list(conn, sql, values, |row| row.get(0))
}
