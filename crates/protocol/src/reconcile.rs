//! `reconcile(base, local, incoming) -> Plan`: the one function that decides what becomes of a
//! record that two sides hold. Symmetric: both sites compute the same bytes from the same three
//! versions, whoever of them is local.

mod contest;
mod identity;
mod image;
mod merge;
mod node;
mod order;
pub(crate) mod pairs;
mod path;
mod policy;
mod resolve;
mod rules;
#[cfg(test)]
mod tests;
mod units;
mod whole;

use crate::digest::Digest;
use crate::error::Refusal;
use crate::json::{self, Json, Object};
use crate::planted::{Fault, planted};
use crate::time::Timestamp;
use contest::Contest;
use merge::Merge;

pub use contest::{CLOCKS_APART, Contested, EDITS_STAY, MORE};
pub use image::through_image;
pub use policy::{Policies, Policy};
pub use resolve::resolve;

/// The one path in `Plan::Conflict::elements` where a deletion met an edit.
pub const DELETED: &str = "(deleted)";

/// One side's state of a record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct State<'a> {
    /// Its digest.
    pub digest: Digest,
    /// Its JSON, `None` where it is deleted.
    pub body: Option<&'a str>,
    /// When the change that made it was made, by the clock of its site. Only the policy `latest`
    /// asks for it.
    pub at: Option<Timestamp>,
}

/// Which end of the link a state comes from. The merge knows only these, never "local", so that
/// it is the same function at both ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The site nearer to the centre.
    Parent,
    /// The site nearer to the clinics.
    Child,
}

/// What is to be done with an incoming state.
#[derive(Debug, Clone, PartialEq)]
pub enum Plan {
    /// Digests are equal: nothing to do. This is how echoes die.
    AlreadyHave,
    /// Only the other side moved (or the merge comes to what it sent): write it.
    TakeIncoming,
    /// Only we moved (or the merge comes to what we hold): ours is on its way to them already.
    KeepLocal,
    /// Both moved, on different elements: write the merge and queue it for delivery.
    Merged {
        /// The merged resource, compact JSON.
        body: String,
    },
    /// Both moved the same element to different values, or one deleted what the other edited:
    /// write the provisional result, keep all three versions, tell people.
    Conflict {
        /// The provisional result, compact JSON. It may equal what one side holds.
        body: String,
        /// The elements concerned and what decided each for now, sorted by path.
        elements: Vec<Contested>,
    },
}

/// Decides. `base` is the version that both sides last agreed on, `None` where none is known:
/// then every differing element counts as changed by both. `local` is `None` where this site has
/// never held the record. `incoming_side` says whose `incoming` is; `local` is the other's.
/// `policies` are the parent's, at both ends.
/// Fails only where a body is not a JSON object.
pub fn reconcile(
    base: Option<State<'_>>,
    local: Option<State<'_>>,
    incoming: State<'_>,
    incoming_side: Side,
    policies: &Policies,
) -> Result<Plan, Refusal> {
    let Some(local) = local else { return Ok(Plan::TakeIncoming) };
    if incoming.digest == local.digest {
        return Ok(Plan::AlreadyHave);
    }
    match base {
        Some(base) if base.digest == local.digest => return Ok(Plan::TakeIncoming),
        Some(base) if base.digest == incoming.digest => return Ok(Plan::KeepLocal),
        _ => {}
    }
    if planted(Fault::LocalPreferred) {
        return Ok(Plan::KeepLocal);
    }
    let (parent, child) = match incoming_side {
        Side::Parent => (&incoming, &local),
        Side::Child => (&local, &incoming),
    };
    let later = later(parent, child).filter(|_| policies.clocks_agree);
    let (Some(local), Some(incoming)) = (local.body, incoming.body) else {
        return edit_over_deletion(parent.body, child.body);
    };
    let longest = local.len() + incoming.len();
    let (local, incoming) = (parse(local)?, parse(incoming)?);
    let base = base.and_then(|base| base.body).map(parse).transpose()?;
    let (parent, child) = match incoming_side {
        Side::Parent => (&incoming, &local),
        Side::Child => (&local, &incoming),
    };
    let mut merge = Merge::new(Contest::new(policies, resolve::kind(parent), later, None));
    let merged = merge.resource(base.as_ref(), parent, child);
    let elements = contest::shortened(merge.into_contested());
    if elements.is_empty() && merged.says_object(&incoming) {
        return Ok(Plan::TakeIncoming);
    }
    if elements.is_empty() && merged.says_object(&local) {
        return Ok(Plan::KeepLocal);
    }
    let mut body = String::with_capacity(longest);
    merged.write(&mut body);
    Ok(if elements.is_empty() { Plan::Merged { body } } else { Plan::Conflict { body, elements } })
}

/// Whose change was made later, where both times are known. At the same time it is the parent's.
fn later(parent: &State<'_>, child: &State<'_>) -> Option<Side> {
    Some(if child.at? > parent.at? { Side::Child } else { Side::Parent })
}

/// One side deleted what the other edited: nothing clinical disappears by accident.
fn edit_over_deletion(parent: Option<&str>, child: Option<&str>) -> Result<Plan, Refusal> {
    let (edit, side) = match (parent, child) {
        (Some(edit), _) => (edit, Side::Parent),
        (_, Some(edit)) => (edit, Side::Child),
        // Two deletions have one digest; whoever says otherwise has nothing to write.
        (None, None) => return Ok(Plan::AlreadyHave),
    };
    let mut body = String::with_capacity(edit.len());
    parse(edit)?.write(&mut body);
    let path = DELETED.to_owned();
    let elements = vec![Contested { path, rule: EDITS_STAY, stands: Some(side) }];
    Ok(Plan::Conflict { body, elements })
}

/// A body as its digest sees it: without what servers rewrite.
pub(crate) fn parse(body: &str) -> Result<Object<'_>, Refusal> {
    let Json::Object(mut resource) = json::parse(body.as_bytes(), json::DEPTH_MAX)? else {
        return Err(Refusal::malformed("the body of a record is not a JSON object"));
    };
    let meta = resource.get("meta").and_then(Json::as_object);
    let rewritten = ["versionId", "lastUpdated"];
    if let Some(meta) = meta.filter(|meta| rewritten.iter().any(|key| meta.get(key).is_some())) {
        let mut meta = meta.clone();
        for key in rewritten {
            meta.remove(key);
        }
        match meta.is_empty() {
            true => drop(resource.remove("meta")),
            false => resource.set("meta", Json::Object(meta)),
        }
    }
    Ok(resource)
}
