//! What of a record is still to go to the parent, and what it waits for.

use std::collections::BTreeSet;

use protocol::delivery::DeliveryState;
use rusqlite::{Connection, params};

use super::super::deliveries::turns::{Subject, subjects_of};
use super::super::outbox::message_info;
use super::super::status::{find_deliveries, list};
use crate::{DeliveryFilter, DeliveryInfo, GoingUp, Result, WHY_ROWS};

/// Deliveries that are looked at for what holds one back.
const LOOKED_AT: usize = 200;

pub(super) fn going(conn: &Connection, record: i64) -> Result<Vec<GoingUp>> {
    let sql = "SELECT d.sequence FROM version AS v CROSS JOIN delivery AS d
            ON d.target = 'parent' AND d.sequence = v.sequence
         WHERE v.record = ?1 AND d.state <> 'done' ORDER BY d.sequence LIMIT ?2";
    let sequences: Vec<u64> = list(conn, sql, params![record, WHY_ROWS], |row| row.get(0))?;
    let mut going = Vec::new();
    for sequence in sequences {
        let Some(delivery) = one(conn, sequence)? else { continue };
        let name = delivery.message.as_ref().and_then(|name| name.parse().ok());
        let message = match name {
            Some(name) => message_info(conn, &name)?,
            None => None,
        };
        let behind = match delivery.state {
            DeliveryState::Ready | DeliveryState::Retry => behind(conn, sequence)?,
            _ => None,
        };
        going.push(GoingUp { delivery, message, behind });
    }
    Ok(going)
}

/// The record's changes that a person gave up.
pub(super) fn dropped(conn: &Connection, record: i64) -> Result<Vec<DeliveryInfo>> {
    let sequences = super::super::queue::dropped_changes(conn, record, WHY_ROWS)?;
    let found = sequences.into_iter().map(|sequence| one(conn, sequence));
    Ok(found.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

/// A delivery with its attempts.
fn one(conn: &Connection, sequence: u64) -> Result<Option<DeliveryInfo>> {
    let filter = DeliveryFilter { sequence: Some(sequence), limit: 1, ..DeliveryFilter::default() };
    Ok(find_deliveries(conn, &filter)?.into_iter().next())
}

/// The first delivery before this one that is not simply to be sent and that holds it back: it has
/// a patient in common with it, or with another that holds it back.
fn behind(conn: &Connection, sequence: u64) -> Result<Option<DeliveryInfo>> {
    let mut seen = BTreeSet::from([sequence]);
    let mut open = vec![sequence];
    while let Some(sequence) = open.pop() {
        for before in before(conn, sequence)? {
            if seen.len() >= LOOKED_AT || !seen.insert(before) {
                continue;
            }
            match one(conn, before)? {
                Some(delivery) if delivery.state != DeliveryState::Ready => {
                    return Ok(Some(DeliveryInfo { history: Vec::new(), ..delivery }));
                }
                _ => open.push(before),
            }
        }
    }
    Ok(None)
}

/// Open deliveries before this one that have a subject in common with it, oldest first.
fn before(conn: &Connection, sequence: u64) -> Result<BTreeSet<u64>> {
    let mut found = BTreeSet::new();
    for subject in subjects_of(conn, sequence)? {
        let (sql, key) = match subject {
            Subject::Patient(key) => (
                "SELECT d.sequence FROM change_patient AS s CROSS JOIN delivery AS d
                    ON d.target = 'parent' AND d.sequence = s.sequence
                 WHERE s.patient = ?1 AND s.sequence < ?2 AND d.state <> 'done'
                 ORDER BY s.sequence LIMIT ?3",
                key,
            ),
            Subject::Record(key) => (
                "SELECT d.sequence FROM version AS s CROSS JOIN delivery AS d
                    ON d.target = 'parent' AND d.sequence = s.sequence
                 WHERE s.record = ?1 AND s.sequence < ?2 AND d.state <> 'done'
                 ORDER BY s.sequence LIMIT ?3",
                key,
            ),
        };
        found.extend(list::<u64>(conn, sql, params![key, sequence, LOOKED_AT], |row| row.get(0))?);
    }
    Ok(found)
}
