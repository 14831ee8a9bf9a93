//! What both sides changed: who wins for the time being, and what people are told of it.

use std::collections::BTreeMap;

use super::merge::Three;
use super::policy::{Policies, Policy};
use super::rules::{self, Rule};
use super::units::Member;
use super::{Side, path};

/// How many paths a conflict names; where there are more, the last one says so.
const ELEMENTS: usize = 500;
/// The path that stands for those that are not named.
pub const MORE: &str = "(and more)";

/// The rule that decides where one side took away what the other edited: the edit stays.
pub const EDITS_STAY: &str = "edits-stay";

/// The rule under `latest` where nobody can say which change was later: the parent's stands.
pub const CLOCKS_APART: &str = "clocks-apart";

/// An element that both sides changed to different values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contested {
    /// Its path: `name[official].given`, `birthDate`; `DELETED` for the record as a whole.
    pub path: String,
    /// What decided: a policy (`parent`, `child`, `latest`, `conflict`) or a rule (`edits-stay`,
    /// `deceased-stays`).
    pub rule: &'static str,
    /// Whose value stands for the time being; `None` where it is the one of before both changes,
    /// or a list with items of both.
    pub stands: Option<Side>,
}

/// Who wins, and what was contested so far.
pub(super) struct Contest<'p> {
    policies: &'p Policies,
    /// The resource's type.
    kind: String,
    /// The clinical rules for it.
    rules: Vec<&'static Rule>,
    /// Whether one of them is about items of lists.
    keeps_items: bool,
    /// Whose change was later, where that is known.
    later: Option<Side>,
    /// What people chose, by path.
    choices: Option<&'p BTreeMap<String, Side>>,
    contested: Vec<Contested>,
}

impl<'p> Contest<'p> {
    pub(super) fn new(
        policies: &'p Policies,
        kind: String,
        later: Option<Side>,
        choices: Option<&'p BTreeMap<String, Side>>,
    ) -> Self {
        let rules = rules::of(&kind);
        let keeps_items = rules::keep_items(&rules);
        Contest { policies, kind, rules, keeps_items, later, choices, contested: Vec::new() }
    }

    /// What was contested, sorted by path, with no path twice.
    pub(super) fn into_contested(mut self) -> Vec<Contested> {
        self.contested.sort_by(|a, b| a.path.cmp(&b.path));
        self.contested.dedup_by(|a, b| a.path == b.path);
        self.contested
    }

    /// The side that the policy of the element at `path` prefers.
    pub(super) fn preferred(&self, path: &str) -> Side {
        self.side(self.policies.of(&self.kind, &path::elements(path)))
    }

    fn side(&self, policy: Policy) -> Side {
        match policy {
            Policy::Child => Side::Child,
            Policy::Latest => self.later.unwrap_or(Side::Parent),
            Policy::Parent | Policy::Union | Policy::Conflict => Side::Parent,
        }
    }

    /// Whether the list at `path` has the policy that both sides' items stay.
    pub(super) fn is_union(&self, path: &str) -> bool {
        !self.policies.is_plain()
            && self.policies.exactly(&self.kind, &path::elements(path)) == Some(Policy::Union)
    }

    /// The side that a clinical rule lets win at an element of the resource itself.
    pub(super) fn ruled(&self, name: &str, members: &[Member<'_>]) -> Option<(Side, &'static str)> {
        let (side, rule) = rules::winner(&self.rules, name, members)?;
        let overridden =
            rule.yields && self.policies.exactly(&self.kind, &path::elements(name)).is_some();
        (!overridden).then_some((side, rule.name))
    }

    /// Whether no item may be taken out of the list at `path`, or of one in it.
    pub(super) fn keeps_items_within(&self, path: &str) -> bool {
        self.keeps_items && rules::keeps_items_within(&self.rules, &path::elements(path).join("."))
    }

    /// The rule by which no item may be taken out of the list at `path`.
    pub(super) fn keeps_items_of(&self, path: &str) -> Option<&'static str> {
        let rule = self
            .keeps_items
            .then(|| rules::keeps_items_of(&self.rules, &path::elements(path).join(".")));
        rule.flatten().map(|rule| rule.name)
    }

    /// Decides a contest at `path`, and notes it. `is_gone` says whether a state is that the
    /// element is not there; `rule` is a rule by which the element is what it is.
    pub(super) fn decide<T>(
        &mut self,
        path: &str,
        states: Three<T>,
        is_gone: impl Fn(&T) -> bool,
        rule: Option<&'static str>,
    ) -> T {
        let gone = [&states.base, &states.parent, &states.child].map(is_gone);
        let (stands, by) = self.rule(path, gone);
        self.stand(path, states, stands, rule.unwrap_or(by))
    }

    /// Lets a rule decide at `path` against what one side alone did, or both.
    pub(super) fn overrule<T>(
        &mut self,
        path: &str,
        states: Three<T>,
        side: Side,
        rule: &'static str,
    ) -> T {
        self.stand(path, states, Some(side), rule)
    }

    fn stand<T>(
        &mut self,
        path: &str,
        states: Three<T>,
        stands: Option<Side>,
        rule: &'static str,
    ) -> T {
        let stands = self.choice(path).or(stands);
        self.contested.push(Contested { path: path.to_owned(), rule, stands });
        match stands {
            Some(Side::Parent) => states.parent,
            Some(Side::Child) => states.child,
            None => states.base,
        }
    }

    /// Notes that a list holds items of both sides that exclude each other. Gives the side whose
    /// list is to stand alone, where somebody chose one.
    pub(super) fn both_stand(&mut self, path: &str, rule: &'static str) -> Option<Side> {
        let stands = self.choice(path);
        self.contested.push(Contested { path: path.to_owned(), rule, stands });
        stands
    }

    fn choice(&self, path: &str) -> Option<Side> {
        self.choices?.get(path).copied()
    }

    /// Whose state stands (base's for `None`) and why. `gone` is said of base, parent and child.
    fn rule(&self, path: &str, gone: [bool; 3]) -> (Option<Side>, &'static str) {
        let policy = self.policies.of(&self.kind, &path::elements(path));
        match (policy, gone) {
            (Policy::Conflict, [false, ..]) => (None, policy.name()),
            (_, [_, true, _]) => (Some(Side::Child), EDITS_STAY),
            (_, [_, _, true]) => (Some(Side::Parent), EDITS_STAY),
            (Policy::Latest, _) if self.later.is_none() => (Some(Side::Parent), CLOCKS_APART),
            _ => (Some(self.side(policy)), policy.name()),
        }
    }
}

/// At most so many as people can look at; where there are more, the last one says so.
pub(super) fn shortened(mut contested: Vec<Contested>) -> Vec<Contested> {
    if contested.len() > ELEMENTS {
        contested.truncate(ELEMENTS);
        contested.push(Contested {
            path: MORE.to_owned(),
            rule: Policy::Parent.name(),
            stands: None,
        });
    }
    contested
}
