//! What a person does to the queue: changes on their way up, and lines from the parent that are
//! stuck here. Each act is in the audit; what is given up is told for ever.

mod lines;

use protocol::Timestamp;
use protocol::delivery::DeliveryState;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use super::deliveries::lanes;
use super::{SqliteStore, audit, outbox, rows, sources, status};
use crate::{
    AuditRow, DeliveryAction, QueueChoice, QueueDone, QueueFilter, QueueId, QueueOrder, Result,
};

pub(super) use lines::{about as lines_dropped, dropped_list, parked_get};

/// Changes that one call acts on at the most; the caller calls again.
const AT_ONCE: usize = 10_000;
/// Ids that one row of the audit names.
const NAMED: usize = 20;

pub(super) fn queue_act(
    store: &SqliteStore,
    order: &QueueOrder,
    now: Timestamp,
    jitter: u64,
) -> Result<QueueDone> {
    if order.dry_run {
        return store.read("count what an act on the queue concerns", |conn| {
            let chosen = Chosen::of(conn, order)?;
            let mut done = QueueDone { next: chosen.next, ..QueueDone::default() };
            for sequence in &chosen.changes {
                concerns(conn, *sequence, order)?.count(&mut done);
            }
            done.lines = lines::concerned(conn, &chosen.lines, &order.action)?.len() as u64;
            Ok(done)
        });
    }
    store.write("act on the queue", |step| {
        let chosen = Chosen::of(step, order)?;
        let mut done = QueueDone { next: chosen.next, ..QueueDone::default() };
        for sequence in &chosen.changes {
            let concern = concerns(step, *sequence, order)?;
            if matches!(concern, Concern::Yes | Concern::Leased) {
                act(step, *sequence, order, now)?;
            }
            concern.count(&mut done);
        }
        done.lines = lines::act(store, step, &chosen.lines, order, (now, jitter))?;
        note(step, order, &done, now)?;
        Ok(done)
    })
}

/// What an order is about, in the order of the queue.
struct Chosen {
    changes: Vec<u64>,
    lines: Vec<i64>,
    next: Option<u64>,
}

impl Chosen {
    fn of(conn: &Connection, order: &QueueOrder) -> Result<Chosen> {
        match &order.which {
            QueueChoice::Ids(ids) => {
                let mut chosen = Chosen { changes: Vec::new(), lines: Vec::new(), next: None };
                for id in ids {
                    match id {
                        QueueId::Change(sequence) => chosen.changes.push(*sequence),
                        QueueId::Line(key) => chosen.lines.push(key.cast_signed()),
                    }
                }
                chosen.changes = outbox::with_company(conn, chosen.changes)?;
                chosen.lines.sort_unstable();
                chosen.lines.dedup();
                Ok(chosen)
            }
            QueueChoice::Matching(filter) => {
                let found = matching(conn, filter, order.after)?;
                let next = found.last().copied().filter(|_| found.len() == AT_ONCE);
                let lines = match order.after {
                    0 => lines::matching(conn, filter)?,
                    _ => Vec::new(),
                };
                Ok(Chosen { changes: outbox::with_company(conn, found)?, lines, next })
            }
        }
    }
}

fn matching(conn: &Connection, filter: &QueueFilter, after: u64) -> Result<Vec<u64>> {
    let filter = crate::DeliveryFilter {
        state: filter.state,
        patient: filter.patient.clone(),
        before: filter.before,
        reason: filter.reason.clone(),
        after,
        limit: AT_ONCE,
        sequence: None,
    };
    let (conditions, values) = status::delivery_conditions(conn, &filter)?;
    let sql = format!(
        "SELECT d.sequence FROM delivery AS d CROSS JOIN change AS c ON c.sequence = d.sequence
         WHERE {conditions} ORDER BY d.sequence LIMIT ?"
    );
    let limit = Value::Integer(i64::try_from(AT_ONCE).unwrap_or(i64::MAX));
    let values = values.into_iter().chain([limit]);
    let mut statement = conn.prepare_cached(&sql)?;
    let found = statement.query_map(params_from_iter(values), |row| row.get(0))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// Whether an act concerns a delivery as it stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Concern {
    Yes,
    No,
    /// It would, and must not.
    Kept,
    /// It does, as soon as a third party gives it back.
    Leased,
}

impl Concern {
    fn count(self, done: &mut QueueDone) {
        match self {
            Concern::Yes => done.changes += 1,
            Concern::Kept => done.kept += 1,
            Concern::Leased => done.leased += 1,
            Concern::No => {}
        }
    }
}

fn concerns(conn: &Connection, sequence: u64, order: &QueueOrder) -> Result<Concern> {
    let found: Option<(String, bool, bool, bool)> = conn
        .prepare_cached(
            "SELECT state, outcome IS 'dropped', message IS NOT NULL, away = ?2 FROM delivery
             WHERE target = 'parent' AND sequence = ?1",
        )?
        .query_row(params![sequence, outbox::LEASED], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .optional()?;
    let Some((state, dropped, carried, leased)) = found else { return Ok(Concern::No) };
    // What was given up is taken up again only where somebody means just that.
    let meant = match &order.which {
        QueueChoice::Ids(_) => true,
        QueueChoice::Matching(filter) => filter.state == Some(DeliveryState::Dropped),
    };
    let open = state != "done";
    Ok(match &order.action {
        DeliveryAction::Retry if open && leased => Concern::Leased,
        DeliveryAction::Retry if open || (dropped && meant) => Concern::Yes,
        DeliveryAction::Park(_) if open => Concern::Yes,
        DeliveryAction::Unpark if state == "parked" => Concern::Yes,
        DeliveryAction::Drop(_) if open && carried => Concern::Kept,
        DeliveryAction::Drop(_) if open => Concern::Yes,
        _ => Concern::No,
    })
}

fn act(step: &Connection, sequence: u64, order: &QueueOrder, now: Timestamp) -> Result<()> {
    match &order.action {
        DeliveryAction::Retry | DeliveryAction::Unpark => {
            if order.action == DeliveryAction::Retry {
                outbox::offer_again(step, sequence)?;
            }
            sources::outgoing::again(step, sequence, now)?;
            step.prepare_cached(
                "UPDATE delivery SET state = 'ready', attempts = 0, next_at = 0, changed = ?2,
                    outcome = NULL
                 WHERE target = 'parent' AND sequence = ?1",
            )?
            .execute(params![sequence, now.millis()])?;
            // What was dropped is open again.
            lanes::place(step, sequence)?;
        }
        DeliveryAction::Park(reason) => {
            step.prepare_cached(
                "UPDATE delivery SET state = 'parked', reason = ?3, changed = ?2
                 WHERE target = 'parent' AND sequence = ?1",
            )?
            .execute(params![sequence, now.millis(), reason])?;
        }
        DeliveryAction::Drop(reason) => {
            step.prepare_cached(
                "INSERT INTO delivery_attempt (target, sequence, at, outcome, reason)
                 VALUES ('parent', ?1, ?2, 'dropped', ?3)",
            )?
            .execute(params![sequence, now.millis(), reason])?;
            step.prepare_cached(
                "UPDATE delivery SET state = 'done', outcome = 'dropped', reason = ?3, changed = ?2
                 WHERE target = 'parent' AND sequence = ?1",
            )?
            .execute(params![sequence, now.millis(), reason])?;
            let row = AuditRow {
                actor: order.actor.clone(),
                action: "delivery-drop",
                subject: sequence.to_string(),
                detail: reason.clone(),
            };
            audit::append(step, &row, now)?;
        }
    }
    Ok(())
}

/// Who did what, to which; of what is dropped there is a row for each besides.
fn note(step: &Connection, order: &QueueOrder, done: &QueueDone, now: Timestamp) -> Result<()> {
    let (name, action) = match &order.action {
        DeliveryAction::Retry => ("retry", "delivery-retry"),
        DeliveryAction::Park(_) => ("park", "delivery-park"),
        DeliveryAction::Unpark => ("unpark", "delivery-unpark"),
        DeliveryAction::Drop(_) => return Ok(()),
    };
    let why = match &order.action {
        DeliveryAction::Park(reason) => format!(": {reason}"),
        _ => String::new(),
    };
    let subject = match &order.which {
        QueueChoice::Ids(ids) => {
            ids.iter().take(NAMED).map(QueueId::to_string).collect::<Vec<_>>().join(" ")
        }
        QueueChoice::Matching(filter) => {
            let state = filter.state.map_or("open", status::state_name);
            let patient = filter.patient.as_ref().map(|patient| format!(" {patient}"));
            format!("all {state}{}", patient.unwrap_or_default())
        }
    };
    let lines = if done.lines > 0 { format!(", lines {}", done.lines) } else { String::new() };
    let detail = format!("{name}: {}{lines}{why}", done.changes);
    audit::append(step, &AuditRow { actor: order.actor.clone(), action, subject, detail }, now)
}

/// The record's changes that a person gave up, newest first.
pub(super) fn dropped_changes(conn: &Connection, record: i64, limit: usize) -> Result<Vec<u64>> {
    let sql = "SELECT d.sequence FROM version AS v CROSS JOIN delivery AS d
            ON d.target = 'parent' AND d.sequence = v.sequence
         WHERE v.record = ?1 AND d.outcome = 'dropped' ORDER BY d.sequence DESC LIMIT ?2";
    status::list(conn, sql, params![record, limit], |row| row.get(0))
}

/// A patient's keys for conditions; of one who is unknown, a key that nobody has.
fn patient_key(conn: &Connection, patient: &protocol::RecordRef) -> Result<i64> {
    Ok(rows::patient_known(conn, patient)?.unwrap_or(-1))
}
