//! Clinical rules: what a merge must not come to, whatever the policies say. They hold in every
//! merge, for what one side alone changed as well: a merge has no author who could answer for it.
//! What a rule overrules is contested, so that people see it.

use super::Side;
use super::merge::{Three, Value};
use super::units::{self, Member};
use crate::json::Json;

/// One rule.
pub(super) struct Rule {
    /// Its name in conflicts.
    pub(super) name: &'static str,
    /// The types that it is for; empty for all.
    kinds: &'static [&'static str],
    /// The elements of the resource that it is for; a choice by its stem.
    elements: &'static [&'static str],
    holds: Holds,
    /// Whether an operator's policy that names the element itself is stronger.
    pub(super) yields: bool,
}

/// What a rule makes hold.
enum Holds {
    /// An item of the list that either side has stays.
    ItemsStay,
    /// A value that either side has stays; `false` is none.
    SetStays,
    /// The side that says so wins.
    EnteredInError,
    /// The side whose status is further on wins.
    Forward(Ranks),
}

/// Codes by how far on they are.
type Ranks = &'static [&'static [&'static str]];

const ON_ORDER: Ranks = &[
    &["unknown"],
    &["draft", "intended", "preparation"],
    &["active", "in-progress", "on-hold"],
    &["completed", "stopped", "cancelled", "declined", "not-done", "not-taken"],
];

/// The name of the rule by which the value of a final observation is one unit (see `units`): a
/// result that a laboratory signed is not put together from two.
pub(super) const FINAL_VALUES: &str = "final-values";

/// The name of the rule by which identifiers of both sides stay, and one that a side took away
/// while the other edited it (see `merge`): a number too many is looked at, a missing one makes a
/// second file of the same person.
pub(super) const IDENTIFIERS_STAY: &str = "identifiers-stay";

const MEDICATION: &[&str] =
    &["MedicationRequest", "MedicationStatement", "MedicationAdministration", "MedicationDispense"];

const ALLERGIES: &[&str] = &["reaction", "reaction.manifestation"];

const FORWARD: Holds = Holds::Forward(ON_ORDER);

const STATUSES: &[&str] =
    &["status", "docStatus", "lifecycleStatus", "verificationStatus", "clinicalStatus"];

const fn rule(
    name: &'static str,
    kinds: &'static [&'static str],
    elements: &'static [&'static str],
    holds: Holds,
) -> Rule {
    Rule { name, kinds, elements, holds, yields: false }
}

#[rustfmt::skip]
const RULES: &[Rule] = &[
    // What a person is allergic to can kill when it is forgotten; repeated it does no harm.
    rule("allergies-stay", &["AllergyIntolerance"], ALLERGIES, Holds::ItemsStay),
    // What a vaccine or a drug did to a person is not unsaid by a merge either.
    rule("reactions-stay", &["Immunization"], &["reaction"], Holds::ItemsStay),
    rule("reactions-stay", &["AdverseEvent"], &["suspectEntity"], Holds::ItemsStay),
    // Nobody comes back to life because another site did not know; a person takes back an error.
    rule("deceased-stays", &["Patient", "FamilyMemberHistory"], &["deceased[x]"], Holds::SetStays),
    // What was never true must not look true again; and FHIR allows no clinicalStatus beside it.
    rule("error-wins", &[], STATUSES, Holds::EnteredInError),
    // A drug that was stopped at one site is not started again by the other's older word. Where the
    // clinics decide that, an operator may say so.
    Rule { yields: true, ..rule("medication-forward", MEDICATION, &["status"], FORWARD) },
];

/// The rules for resources of a type.
pub(super) fn of(kind: &str) -> Vec<&'static Rule> {
    RULES.iter().filter(|rule| rule.kinds.is_empty() || rule.kinds.contains(&kind)).collect()
}

/// Whether one of the rules is about items of lists.
pub(super) fn keep_items(rules: &[&'static Rule]) -> bool {
    rules.iter().any(|rule| matches!(rule.holds, Holds::ItemsStay))
}

/// Whether the list at `path` (element names alone) or one in it is such a list.
pub(super) fn keeps_items_within(rules: &[&'static Rule], path: &str) -> bool {
    let is_around = |element: &&str| {
        element.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    keeping(rules).any(|(_, element)| is_around(&element))
}

/// The rule by which no item is taken out of the list at `path`.
pub(super) fn keeps_items_of(rules: &[&'static Rule], path: &str) -> Option<&'static Rule> {
    keeping(rules).find(|(_, element)| *element == path).map(|(rule, _)| rule)
}

fn keeping(rules: &[&'static Rule]) -> impl Iterator<Item = (&'static Rule, &'static str)> {
    let keeps = |rule: &&&Rule| matches!(rule.holds, Holds::ItemsStay);
    let elements = |rule: &'static Rule| rule.elements.iter().map(move |element| (rule, *element));
    rules.iter().filter(keeps).copied().flat_map(elements)
}

/// The side that has to win at an element of a resource, and the rule that says so. `name` is the
/// element's or one of its members', `members` are those of the resource.
pub(super) fn winner(
    rules: &[&'static Rule],
    name: &str,
    members: &[Member<'_>],
) -> Option<(Side, &'static Rule)> {
    let named = |rule: &&&Rule| rule.elements.iter().any(|element| is_of(name, element));
    rules.iter().filter(named).find_map(|rule| {
        let side = match rule.holds {
            Holds::ItemsStay => None,
            Holds::SetStays => the_one(|side| is_set(members, name, side)),
            Holds::EnteredInError => {
                // A clinical status goes with the verification that it depends on.
                let asked = if name == "clinicalStatus" { "verificationStatus" } else { name };
                the_one(|side| says(state(members, asked, side), "entered-in-error"))
            }
            Holds::Forward(ranks) => forward(ranks, members, name),
        };
        side.map(|side| (side, *rule))
    })
}

/// Whether `member` is the element, its extensions, or a type of the choice.
fn is_of(member: &str, element: &str) -> bool {
    let plain = member.trim_start_matches('_');
    plain == element
        || element.strip_suffix("[x]").is_some_and(|stem| units::is_type_of(plain, stem))
}

/// The side of which alone something holds.
fn the_one(holds: impl Fn(Side) -> bool) -> Option<Side> {
    match [Side::Parent, Side::Child].map(holds) {
        [true, false] => Some(Side::Parent),
        [false, true] => Some(Side::Child),
        _ => None,
    }
}

fn at<'t>(states: &Three<Value<'t>>, side: Side) -> Value<'t> {
    match side {
        Side::Parent => states.parent,
        Side::Child => states.child,
    }
}

fn state<'t>(members: &[Member<'t>], name: &str, side: Side) -> Value<'t> {
    members.iter().find(|member| member.name == name).and_then(|member| at(&member.states, side))
}

/// Whether one of an element's members has a value; of a boolean, whether it is `true`. The
/// extensions of a boolean are said of it, and set nothing.
fn is_set(members: &[Member<'_>], name: &str, side: Side) -> bool {
    let element = match RULES.iter().flat_map(|rule| rule.elements).find(|e| is_of(name, e)) {
        Some(element) => element,
        None => name,
    };
    members
        .iter()
        .filter(|member| is_of(&member.name, element))
        .filter_map(|member| Some((member, at(&member.states, side)?)))
        .any(|(member, value)| !member.name.ends_with("Boolean") || value.as_bool() == Some(true))
}

/// Whether a code, or one of a concept's codings, is `code`.
fn says(value: Value<'_>, code: &str) -> bool {
    let Some(value) = value else { return false };
    let is = |json: &Json<'_>| json.as_str().is_some_and(|text| text == code);
    is(value)
        || value.get("coding").is_some_and(|codings| {
            codings.items().iter().any(|coding| coding.get("code").is_some_and(is))
        })
}

/// The side whose code is further on, where both have a known one.
fn forward(ranks: Ranks, members: &[Member<'_>], name: &str) -> Option<Side> {
    let rank = |side| {
        let code = state(members, name, side)?.as_str()?;
        ranks.iter().position(|codes| codes.contains(&&*code))
    };
    let (parent, child) = (rank(Side::Parent)?, rank(Side::Child)?);
    match parent.cmp(&child) {
        std::cmp::Ordering::Less => Some(Side::Child),
        std::cmp::Ordering::Equal => None,
        std::cmp::Ordering::Greater => Some(Side::Parent),
    }
}

/// The names of all rules.
#[cfg(test)]
pub(super) fn names() -> Vec<&'static str> {
    let others = [FINAL_VALUES, IDENTIFIERS_STAY, super::EDITS_STAY];
    RULES.iter().map(|rule| rule.name).chain(others).collect()
}
