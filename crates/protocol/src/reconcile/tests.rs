//! How the tests of `reconcile` state and check what they expect.

mod cases;
mod clinical;
mod defects;
mod images;
mod laws;
mod lines;
mod real;
mod records;
mod resolve;
mod three_sites;

use super::{Contested, Plan, Policies, Policy, Side, State, reconcile};
use crate::digest::Digest;
use crate::id::RecordRef;
use crate::json::{self, DEPTH_MAX};

/// The state of a body, or of a deletion.
fn state(body: Option<&str>) -> State<'_> {
    let digest = match body {
        Some(body) => Digest::of(&json::parse(body.as_bytes(), DEPTH_MAX).unwrap()),
        None => Digest::of_deletion(&"Patient/1".parse::<RecordRef>().unwrap()),
    };
    State { digest, body, at: None }
}

/// What a record is after reconciling, whoever was local.
#[derive(Debug, Clone, PartialEq)]
struct Outcome {
    /// The bytes that both sides hold, `None` where it is deleted.
    body: Option<String>,
    /// The elements in conflict.
    elements: Vec<String>,
}

/// Reconciles at both ends and asserts that they come to the same.
fn outcome(
    base: Option<Option<&str>>,
    parent: Option<&str>,
    child: Option<&str>,
    policy: Policy,
) -> Outcome {
    let found = decided(base.map(state), state(parent), state(child), &Policies::all(policy));
    let elements = found.1.into_iter().map(|contested| contested.path).collect();
    Outcome { body: found.0, elements }
}

/// The same with all that policies may ask for; the bytes that both hold, and what was contested.
fn decided(
    base: Option<State<'_>>,
    parent: State<'_>,
    child: State<'_>,
    policies: &Policies,
) -> (Option<String>, Vec<Contested>) {
    let [at_child, at_parent] = [(child, parent, Side::Parent), (parent, child, Side::Child)].map(
        |(local, incoming, side)| {
            let plan = reconcile(base, Some(local), incoming, side, policies);
            held_after(plan.unwrap(), local.body, incoming.body)
        },
    );
    assert_eq!(at_child, at_parent, "the child and the parent came to different records");
    at_child
}

/// What a site holds after a plan.
fn held_after(
    plan: Plan,
    local: Option<&str>,
    incoming: Option<&str>,
) -> (Option<String>, Vec<Contested>) {
    match plan {
        // Equal digests: each side keeps its own bytes, which may differ in key order.
        Plan::AlreadyHave => (local.min(incoming).map(str::to_owned), Vec::new()),
        Plan::TakeIncoming => (incoming.map(str::to_owned), Vec::new()),
        Plan::KeepLocal => (local.map(str::to_owned), Vec::new()),
        Plan::Merged { body } => (Some(body), Vec::new()),
        Plan::Conflict { body, elements } => (Some(body), elements),
    }
}

fn canonical(body: Option<&str>) -> Option<String> {
    body.map(|body| crate::digest::canonical(&json::parse(body.as_bytes(), DEPTH_MAX).unwrap()))
}
