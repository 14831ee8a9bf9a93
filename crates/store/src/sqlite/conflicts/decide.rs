//! A decision on a conflict, or its reversal: one change of two records, the conflict's own and
//! the one that it is about, worked out from what this site holds at that moment.

use protocol::conflict::{self, Choice, Conflict, Decided, Mark};
use protocol::resource::Record;
use protocol::{Digest, RecordRef, Refusal, Timestamp};
use rusqlite::Connection;

use super::super::rows::{self, RecordRow};
use super::super::{SqliteStore, audit, changes};
use super::{body_at, list, load, name_of, note};
use crate::{
    AuditRow, ConflictAction, ConflictDone, ConflictOrder, Draft, Expect, Result, StoreError, Write,
};

pub(in crate::sqlite) fn conflict_decide(
    store: &SqliteStore,
    order: &ConflictOrder,
    now: Timestamp,
) -> Result<ConflictDone> {
    let name = name_of(&order.id)?;
    store.write("decide a conflict", |step| {
        let Some((_, mut conflict)) = load(step, &name)? else {
            return Err(StoreError::Name("there is no such conflict".to_owned()));
        };
        check_state(&name, &conflict, &order.action)?;
        let about = rows::record_row(step, &conflict.record)?;
        if let Some(about) = &about {
            list::fill(step, about, &mut conflict)?;
        }
        let decided = decide(store, step, &conflict, about.as_ref(), order, now)?;
        let record = record_of(store, &conflict.record, decided.record.as_deref())?;
        let here = about.map_or_else(|| Digest::of_deletion(&conflict.record), |row| row.digest);
        let changed = here != record.digest;
        write(store, step, order, (&name, decided, record, changed), now)
    })
}

/// Who decided first has decided.
fn check_state(name: &RecordRef, conflict: &Conflict, action: &ConflictAction) -> Result<()> {
    match (action, conflict.state.mark()) {
        (ConflictAction::Close(_), Some(mark)) if conflict.state.name() != "open" => {
            Err(StoreError::Closed {
                conflict: name.id().to_owned(),
                state: conflict.state.name(),
                by: mark.by.as_str().to_owned(),
                site: mark.site.clone(),
                at: mark.at,
            })
        }
        _ => Ok(()),
    }
}

fn decide(
    store: &SqliteStore,
    step: &Connection,
    conflict: &Conflict,
    about: Option<&RecordRow>,
    order: &ConflictOrder,
    now: Timestamp,
) -> Result<Decided> {
    let mark = Mark {
        by: order.author.clone(),
        site: rows::own_site(step)?,
        at: now,
        why: order.why.as_ref().map(|why| why.chars().take(conflict::WHY_CHARS).collect()),
    };
    let current = match about {
        Some(about) => body_at(step, about.key, about.sequence)?,
        None => None,
    };
    let current = current.as_deref();
    Ok(match &order.action {
        ConflictAction::Reopen => conflict::reopen(conflict, current, mark)?,
        ConflictAction::Close(Choice::Edit(text)) => {
            let edited = Record::parse(text.as_bytes(), &store.options.limits)?;
            if edited.reference != conflict.record {
                let (is, of) = (&edited.reference, &conflict.record);
                let reason = format!("the record that was given is {is}, the conflict is of {of}");
                return Err(Refusal::invalid(reason).into());
            }
            let choice = Choice::Edit(edited.body.unwrap_or_default());
            conflict::close(conflict, current, &choice, mark)?
        }
        ConflictAction::Close(choice) => conflict::close(conflict, current, choice, mark)?,
    })
}

fn record_of(store: &SqliteStore, name: &RecordRef, body: Option<&str>) -> Result<Record> {
    match body {
        Some(body) => Ok(Record::parse(body.as_bytes(), &store.options.limits)?),
        None => Ok(Record::deleted(name.clone())),
    }
}

fn write(
    store: &SqliteStore,
    step: &Connection,
    order: &ConflictOrder,
    (name, decided, record, changed): (&RecordRef, Decided, Record, bool),
    now: Timestamp,
) -> Result<ConflictDone> {
    let mut conflict = decided.conflict;
    let patients = match &record.body {
        Some(_) => record.patients.clone(),
        None => conflict.patients.clone(),
    };
    conflict.set_patients(patients);
    conflict.fit(note::room(&store.options.limits));
    let body = conflict.to_body(name);
    let own = Record::parse(body.as_bytes(), &store.options.limits)?;
    let about = record.reference.clone();
    let records = changed.then_some(record).into_iter().chain([own]);
    let draft = Draft {
        author: order.author.clone(),
        writes: records.map(|record| Write { record, expect: Expect::Any }).collect(),
        expect: Vec::new(),
        again: false,
        lane: protocol::Urgency::Normal,
    };
    let recorded = changes::record_within(store, step, &draft, now)?;
    let state = conflict.state.name();
    let row = AuditRow {
        actor: order.actor.clone(),
        action: action_name(&order.action),
        subject: name.to_string(),
        detail: format!("{about} by {}", order.author.as_str()),
    };
    audit::append(step, &row, now)?;
    Ok(ConflictDone {
        id: order.id.clone(),
        record: about,
        state,
        sequence: recorded.sequence.unwrap_or_default(),
        changed,
        contested: decided.contested,
    })
}

fn action_name(action: &ConflictAction) -> &'static str {
    match action {
        ConflictAction::Close(Choice::Confirm) => "conflict-confirm",
        ConflictAction::Close(_) => "conflict-resolve",
        ConflictAction::Reopen => "conflict-reopen",
    }
}
