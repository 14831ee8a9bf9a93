//! What a merge finds in conflict, as the record that is written with the merge's result.

use std::collections::BTreeSet;

use protocol::conflict::{Conflict, Contested, State, Version};
use protocol::resource::Record;
use protocol::{Digest, Limits, RecordRef, SiteId};
use rusqlite::Connection;

use super::load;
use crate::Result;

/// Two states of a record that met on a link, and what their merge came to.
#[derive(Debug)]
pub(in crate::sqlite) struct Met {
    /// The sites at the parent's and at the child's end.
    pub(in crate::sqlite) sites: (SiteId, SiteId),
    /// What both had agreed on.
    pub(in crate::sqlite) base: Option<(Digest, Option<String>)>,
    /// The states at these ends.
    pub(in crate::sqlite) parent: (Digest, Option<String>),
    pub(in crate::sqlite) child: (Digest, Option<String>),
    pub(in crate::sqlite) elements: Vec<Contested>,
}

/// A conflict that is to be written.
#[derive(Debug)]
pub(in crate::sqlite) struct Noted {
    pub(in crate::sqlite) conflict: Conflict,
    name: RecordRef,
}

impl Noted {
    /// The conflict that a merge to `result` found.
    pub(in crate::sqlite) fn of(met: Met, result: &Record, limits: &Limits) -> Result<Noted> {
        let version = |(digest, body): (Digest, Option<String>)| Version::new(digest, body);
        let name = Conflict::name(&result.reference, met.parent.0, met.child.0)?;
        let mut conflict = Conflict {
            record: result.reference.clone(),
            parent_site: met.sites.0,
            child_site: met.sites.1,
            base: met.base.map(version),
            parent: version(met.parent),
            child: version(met.child),
            result: Version::new(result.digest, result.body.clone()),
            elements: met.elements,
            patients: BTreeSet::new(),
            round: 0,
            state: State::Open(None),
            others: Vec::new(),
        };
        conflict.set_patients(result.patients.clone());
        conflict.fit(room(limits));
        Ok(Noted { conflict, name })
    }
}

/// Bytes of bodies in one conflict. With them written as strings in it, it has to remain a
/// resource that every site takes.
pub(super) fn room(limits: &Limits) -> usize {
    limits.conflict_bytes.min(limits.resource_bytes / 4)
}

/// The state of a conflict's record that is to be written. `None` where it is open already. One
/// that was closed is open again: the same two states have met once more, and nobody knows
/// whether what was decided then is right now.
pub(in crate::sqlite) fn to_write(
    step: &Connection,
    noted: &Noted,
    limits: &Limits,
) -> Result<Option<Record>> {
    let mut conflict = noted.conflict.clone();
    if let Some((_, known)) = load(step, &noted.name)? {
        if matches!(known.state, State::Open(_)) {
            return Ok(None);
        }
        conflict.round = known.round.saturating_add(1);
    }
    let body = conflict.to_body(&noted.name);
    Ok(Some(Record::parse(body.as_bytes(), limits)?))
}
