//! What a child may change: what it has, or had, from its parent or brought to it itself, and what
//! a person lets it change. Who knows no more of a record than its name must not write to it: a
//! merge keeps what both sides say, and a patient of the sender's in it would open the rest to the
//! sender.

use protocol::stream::Base;
use protocol::{Digest, RecordRef, Refusal, SiteId};
use rusqlite::{Connection, params};

use super::bases;
use crate::Result;
use crate::sqlite::rows::RecordRow;
use crate::sqlite::scope;

/// Refuses a state that `child` sent of a record to which it has no right. `named` is the version
/// that it says to have had, `sent` the state that it sends.
pub(super) fn check(
    step: &Connection,
    child: &SiteId,
    (name, known): (&RecordRef, &RecordRow),
    sent: Digest,
    named: Option<Base>,
) -> Result<()> {
    if may_change(step, child, (name, known), sent, named)? {
        return Ok(());
    }
    let reason = format!(
        "{name} is of no patient of the sender's cohorts here; it can be changed there after \
         `tributary patient fetch` has brought its patient, or where that does not help, after \
         somebody has said `tributary child allow {child} {name}` there"
    );
    Err(Refusal::invalid(reason).into())
}

/// Whether a child may change a record, and be told what state it is in.
pub(super) fn may_change(
    step: &Connection,
    child: &SiteId,
    (name, known): (&RecordRef, &RecordRow),
    sent: Digest,
    named: Option<Base>,
) -> Result<bool> {
    // A merge with a deletion keeps nothing that is here: there is nothing to be drawn out.
    if known.deleted {
        return Ok(true);
    }
    // Nobody names a version or sends a state of a record without having seen it; only what a
    // deletion looks like, anybody can tell by the name.
    let deleted = Digest::of_deletion(name).short();
    let seen = [Some(sent.short()), named.and_then(|base| base.digest)].into_iter().flatten();
    for seen in seen.filter(|seen| *seen != deleted) {
        if bases::with_short(step, known, seen)?.is_some() {
            return Ok(true);
        }
    }
    Ok(is_of_its_patients(step, child, known)?
        || came_from(step, child, known)?
        || is_allowed(step, child, name)?)
}

/// Whether a person has let the child change the record.
fn is_allowed(step: &Connection, child: &SiteId, name: &RecordRef) -> Result<bool> {
    let sql = "SELECT 1 FROM allowed_record WHERE site = ?1 AND type = ?2 AND id = ?3";
    let values = params![child.as_str(), name.kind.name(), name.id()];
    Ok(step.prepare_cached(sql)?.exists(values)?)
}

/// Whether the record is a reference record, or one of its patients is, or was, in a cohort of
/// the child's.
fn is_of_its_patients(step: &Connection, child: &SiteId, known: &RecordRow) -> Result<bool> {
    let reference = scope::reference("r");
    let sql = format!(
        "SELECT 1 FROM record AS r WHERE r.key = ?1 AND ({reference} OR EXISTS
            (SELECT 1 FROM record_patient AS rp
             CROSS JOIN cohort_patient AS cp ON cp.patient = rp.patient
             CROSS JOIN child_cohort AS cc ON cc.feed = cp.feed
             WHERE rp.record = r.key AND cc.site = ?2))"
    );
    Ok(step.prepare_cached(&sql)?.exists(params![known.key, child.as_str()])?)
}

/// Whether a version came from the child, in whatever life of its store, or was made there by the
/// word of this site's own parent: this site may have been restored to before it brought it there.
fn came_from(step: &Connection, child: &SiteId, known: &RecordRow) -> Result<bool> {
    let mut statement = step.prepare_cached(
        "SELECT 1 FROM version AS v
         CROSS JOIN change AS c ON c.sequence = v.sequence
         CROSS JOIN origin AS o ON o.key = CASE c.via WHEN 2 THEN c.via_site ELSE c.origin END
         WHERE v.record = ?1 AND c.via <> 0 AND o.site = ?2",
    )?;
    Ok(statement.exists(params![known.key, child.as_str()])?)
}
