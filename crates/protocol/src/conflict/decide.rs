//! A person's decision on a conflict, and its reversal: what becomes of the conflict and of the
//! record as it is now. Edits that were made since to other elements stay.

use std::collections::BTreeMap;

use super::{Conflict, Decision, Mark, State, Version};
use crate::digest::Digest;
use crate::error::Refusal;
use crate::id::RecordRef;
use crate::json;
use crate::reconcile::{self, DELETED, MORE, Plan, Policies, Side, reconcile};

/// What a person takes.
#[derive(Debug, Clone, PartialEq)]
pub enum Choice {
    /// What stands for the time being: somebody has looked, and it is well.
    Confirm,
    /// One side's value for each element that both changed.
    Side(Side),
    /// One side's value for each of these elements; the others stay as the merge left them.
    Elements(BTreeMap<String, Side>),
    /// Where one side deleted the record: it stays.
    Keep,
    /// Likewise: it goes.
    Delete,
    /// This text, which the person wrote.
    Edit(String),
}

/// What a decision, or its reversal, comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct Decided {
    /// The conflict as it is from now on.
    pub conflict: Conflict,
    /// The record as it is from now on: its JSON, or `None` where it is deleted.
    pub record: Option<String>,
    /// Elements that somebody had edited in the meantime: of a decision those that it overrode,
    /// of a reversal those that it left as they are.
    pub contested: Vec<String>,
}

/// Decides an open conflict. `current` is the record as this site holds it now, `None` where it
/// is deleted. Refuses a conflict that is closed, an element that is not contested, and a choice
/// for which a version would be needed that is not here.
pub fn close(
    conflict: &Conflict,
    current: Option<&str>,
    choice: &Choice,
    mark: Mark,
) -> Result<Decided, Refusal> {
    if let State::Confirmed(by) | State::Decided(Decision { mark: by, .. }) = &conflict.state {
        return Err(closed(conflict, by));
    }
    let mut conflict = conflict.clone();
    if *choice == Choice::Confirm {
        conflict.state = State::Confirmed(mark);
        return Ok(unmoved(conflict, current));
    }
    let stood = needed(&conflict.result, &conflict)?.map(str::to_owned);
    let chosen = chosen(&conflict, stood.as_deref(), choice)?;
    let carried = carry(&conflict.record, [stood.as_deref(), chosen.as_deref(), current], true)?;
    let version = Version::new(digest(&conflict.record, chosen.as_deref())?, chosen);
    conflict.state = State::Decided(Decision { mark, how: name(choice), version });
    Ok(Decided { conflict, record: carried.0, contested: carried.1 })
}

/// Opens a closed conflict again and takes its decision back, as far as nobody has edited the
/// same elements since. Refuses one that is open, and one whose versions are not here.
pub fn reopen(conflict: &Conflict, current: Option<&str>, mark: Mark) -> Result<Decided, Refusal> {
    let mut next = conflict.clone();
    next.round = conflict.round.saturating_add(1);
    next.state = State::Open(Some(mark));
    match &conflict.state {
        State::Open(_) => Err(Refusal::invalid("it is open already")),
        State::Confirmed(_) => Ok(unmoved(next, current)),
        State::Decided(decision) => {
            let decided = needed(&decision.version, conflict)?;
            let stood = needed(&conflict.result, conflict)?;
            let carried = carry(&conflict.record, [decided, stood, current], false)?;
            Ok(Decided { conflict: next, record: carried.0, contested: carried.1 })
        }
    }
}

fn unmoved(conflict: Conflict, current: Option<&str>) -> Decided {
    Decided { conflict, record: current.map(str::to_owned), contested: Vec::new() }
}

fn closed(conflict: &Conflict, mark: &Mark) -> Refusal {
    let Mark { by, site, at, .. } = mark;
    let state = conflict.state.name();
    Refusal::invalid(format!("it was {state} by {} at {site}, {at}", by.as_str()))
}

/// The body of a version, which has to be here.
fn needed<'c>(version: &'c Version, conflict: &Conflict) -> Result<Option<&'c str>, Refusal> {
    version.body.text().ok_or_else(|| {
        Refusal::invalid(format!(
            "a version that it takes is not at this site; do it at {} or {}, or write the \
             record as it should be",
            conflict.parent_site, conflict.child_site
        ))
    })
}

/// The merge as it should have been.
fn chosen(
    conflict: &Conflict,
    stood: Option<&str>,
    choice: &Choice,
) -> Result<Option<String>, Refusal> {
    let deletion = conflict.elements.iter().any(|element| element.path == DELETED);
    match choice {
        Choice::Confirm => Ok(stood.map(str::to_owned)),
        Choice::Edit(text) => Ok(Some(text.clone())),
        Choice::Keep | Choice::Delete if !deletion => Err(Refusal::invalid(
            "neither side deleted the record; say which side's elements to take",
        )),
        Choice::Keep => Ok(stood.map(str::to_owned)),
        Choice::Delete => Ok(None),
        Choice::Side(side) => {
            let named = conflict.elements.iter().filter(|element| element.path != MORE);
            let all = named.map(|element| (element.path.clone(), *side));
            with_elements(conflict, stood, &all.collect())
        }
        Choice::Elements(choices) => with_elements(conflict, stood, choices),
    }
}

/// What stood, with the chosen sides' values. Between the merge with the choices and the merge
/// with the opposite ones only the chosen elements differ, whatever policies made what stood.
fn with_elements(
    conflict: &Conflict,
    stood: Option<&str>,
    choices: &BTreeMap<String, Side>,
) -> Result<Option<String>, Refusal> {
    let contested = |path: &String| conflict.elements.iter().any(|known| known.path == *path);
    if let Some(unknown) = choices.keys().find(|path| !contested(path)) {
        let paths = conflict.elements.iter().map(|element| element.path.as_str());
        let paths = paths.collect::<Vec<_>>().join(", ");
        let unknown = unknown.chars().take(100).collect::<String>();
        return Err(Refusal::invalid(format!("{unknown} is not in conflict; these are: {paths}")));
    }
    let base = match &conflict.base {
        Some(base) => needed(base, conflict)?,
        None => None,
    };
    let (parent, child) = (needed(&conflict.parent, conflict)?, needed(&conflict.child, conflict)?);
    let opposite = choices.iter().map(|(path, side)| (path.clone(), other(*side))).collect();
    let policies = Policies::default();
    let wanted = reconcile::resolve(base, parent, child, &policies, choices)?;
    let unwanted = reconcile::resolve(base, parent, child, &policies, &opposite)?;
    let three = [unwanted.as_deref(), wanted.as_deref(), stood];
    Ok(carry(&conflict.record, three, true)?.0)
}

fn other(side: Side) -> Side {
    match side {
        Side::Parent => Side::Child,
        Side::Child => Side::Parent,
    }
}

/// What a decision is called in the record of it.
fn name(choice: &Choice) -> String {
    match choice {
        Choice::Confirm => "confirm".to_owned(),
        Choice::Side(side) => side_name(*side).to_owned(),
        Choice::Elements(choices) => {
            let each = choices.iter().map(|(path, side)| format!("{path}={}", side_name(*side)));
            each.collect::<Vec<_>>().join(", ")
        }
        Choice::Keep => "keep".to_owned(),
        Choice::Delete => "delete".to_owned(),
        Choice::Edit(_) => "edit".to_owned(),
    }
}

fn side_name(side: Side) -> &'static str {
    match side {
        Side::Parent => "parent",
        Side::Child => "child",
    }
}

/// Carries the step from `before` to `after` over to `current`. Where `current` moved on the same
/// elements, the step wins if it `insists`, else `current` does; those elements are named.
fn carry(
    record: &RecordRef,
    [before, after, current]: [Option<&str>; 3],
    insists: bool,
) -> Result<(Option<String>, Vec<String>), Refusal> {
    let state = |body| Ok(reconcile::State { digest: digest(record, body)?, body, at: None });
    let states = [state(before)?, state(after)?, state(current)?];
    let policies = Policies::default();
    // The step plays the parent's part.
    let plan = reconcile(Some(states[0]), Some(states[2]), states[1], Side::Parent, &policies)?;
    let owned = |body: Option<&str>| body.map(str::to_owned);
    let elements = match plan {
        Plan::AlreadyHave | Plan::KeepLocal => return Ok((owned(current), Vec::new())),
        Plan::TakeIncoming => return Ok((owned(after), Vec::new())),
        Plan::Merged { body } => return Ok((Some(body), Vec::new())),
        Plan::Conflict { elements, .. } => elements,
    };
    let winner = if insists { Side::Parent } else { Side::Child };
    let paths = elements.into_iter().map(|element| element.path).collect::<Vec<_>>();
    let named = paths.iter().filter(|path| *path != MORE);
    let choices = named.map(|path| (path.clone(), winner)).collect();
    let merged = reconcile::resolve(before, after, current, &policies, &choices)?;
    Ok((merged, paths))
}

fn digest(record: &RecordRef, body: Option<&str>) -> Result<Digest, Refusal> {
    Ok(match body {
        Some(text) => Digest::of(&json::parse(text.as_bytes(), json::DEPTH_MAX)?),
        None => Digest::of_deletion(record),
    })
}
