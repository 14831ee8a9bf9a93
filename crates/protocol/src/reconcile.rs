//! `reconcile(base, local, incoming) -> Plan`: the one function that decides what becomes of a
//! record that two sides hold. Symmetric: both sites compute the same bytes from the same three
//! versions, whoever of them is local.

use crate::digest::Digest;
use crate::error::Refusal;

/// One side's state of a record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct State<'a> {
    /// Its digest.
    pub digest: Digest,
    /// Its JSON, `None` where it is deleted.
    pub body: Option<&'a str>,
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

/// Who wins where both sides changed the same element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// The parent's value (the default).
    #[default]
    Parent,
    /// The child's value.
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
        /// The elements concerned, as paths (`name[official].given`, `birthDate`), sorted.
        elements: Vec<String>,
    },
}

/// Decides. `base` is the version that both sides last agreed on, `None` where none is known:
/// then every differing element counts as changed by both. `local` is `None` where this site has
/// never held the record. `incoming_side` says whose `incoming` is; `local` is the other's.
/// Fails only where a body is not a JSON object.
pub fn reconcile(
    base: Option<State<'_>>,
    local: Option<State<'_>>,
    incoming: State<'_>,
    incoming_side: Side,
    policy: Policy,
) -> Result<Plan, Refusal> {
    let _ = (base, local, incoming, incoming_side, policy);
    todo!()
}
