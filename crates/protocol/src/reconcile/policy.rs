//! Who wins where both sides changed the same element, by resource type and element.

mod elements;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::units;
use crate::error::Refusal;
use crate::limits::MERGE_RULES;

/// The key of the policy for what no other names.
const DEFAULT: &str = "default";

/// Lists that are one value: side by side, items of two sides would say what nobody said.
const NO_UNION: &[&str] =
    &["dosage", "dosageInstruction", "doseAndRate", "interpretation", "referenceRange"];

/// Who wins where both sides changed the same element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// The parent's value (the default).
    #[default]
    Parent,
    /// The child's value.
    Child,
    /// The value of the later change, by the clocks of the sites that made them. Where these
    /// disagree, or a time is not known, the parent's.
    Latest,
    /// Lists: the items of both sides, and no conflict.
    Union,
    /// Nobody's: the value of before both changes stands until a person decides.
    Conflict,
}

impl Policy {
    const ALL: [Policy; 5] =
        [Policy::Parent, Policy::Child, Policy::Latest, Policy::Union, Policy::Conflict];

    /// Its name in settings and conflicts.
    pub const fn name(self) -> &'static str {
        match self {
            Policy::Parent => "parent",
            Policy::Child => "child",
            Policy::Latest => "latest",
            Policy::Union => "union",
            Policy::Conflict => "conflict",
        }
    }

    fn named(name: &str) -> Option<Policy> {
        Policy::ALL.into_iter().find(|policy| policy.name() == name)
    }
}

/// The policies of a parent, for what it and its children exchange. Both ends of a link go by
/// the same, so that they come to the same bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policies {
    /// Where no rule fits.
    default: Policy,
    rules: Vec<Rule>,
    /// Whether the clocks at the ends of the link are known to agree; `latest` needs it.
    pub clocks_agree: bool,
}

/// The policy of an element and what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    /// A resource type, `*` for any.
    kind: String,
    /// Element names, `name.given`; empty for all of the type.
    path: String,
    policy: Policy,
}

impl Policies {
    /// One policy for everything.
    pub fn all(default: Policy) -> Self {
        Policies { default, ..Policies::default() }
    }

    /// From settings: `TYPE`, `TYPE.element.path`, `*.element.path` or `default`, each with the
    /// name of a policy. Refuses types, elements and policies that do not exist, with the nearest
    /// name, and what cannot work: parts of a value that is merged as a whole, `union` on what is
    /// no list. The reason begins with the key.
    pub fn from_settings(settings: &BTreeMap<String, String>) -> Result<Self, Refusal> {
        if settings.len() > MERGE_RULES {
            return Err(Refusal::over_limit("merge rules", MERGE_RULES));
        }
        let mut policies = Policies::default();
        for (key, name) in settings {
            let said = |reason: String| Refusal::invalid(format!("\"{key}\": {reason}"));
            let policy = Policy::named(name).ok_or_else(|| {
                let known = Policy::ALL.map(Policy::name).join(", ");
                said(format!("there is no policy \"{name}\"; there are {known}"))
            })?;
            check(key, policy).map_err(|refusal| said(refusal.reason))?;
            policies.add(key, policy);
        }
        Ok(policies)
    }

    /// From what a parent says of itself. It has checked them; what this program does not know,
    /// because the parent is of a later version, is passed over.
    pub fn from_parent(said: &BTreeMap<String, String>) -> Self {
        let mut policies = Policies::default();
        for (key, name) in said.iter().take(MERGE_RULES) {
            if let Some(policy) = Policy::named(name) {
                policies.add(key, policy);
            }
        }
        policies
    }

    /// As `from_parent` reads them.
    pub fn to_settings(&self) -> BTreeMap<String, String> {
        let mut settings = BTreeMap::new();
        if self.default != Policy::default() {
            settings.insert(DEFAULT.to_owned(), self.default.name().to_owned());
        }
        for Rule { kind, path, policy } in &self.rules {
            let key = if path.is_empty() { kind.clone() } else { format!("{kind}.{path}") };
            settings.insert(key, policy.name().to_owned());
        }
        settings
    }

    /// Whether one of them is `latest`: only then does it matter when a state was made.
    pub fn ask_for_times(&self) -> bool {
        let rules = self.rules.iter().map(|rule| rule.policy);
        rules.chain([self.default]).any(|policy| policy == Policy::Latest)
    }

    /// The same, with word of whether the clocks at the ends of the link agree.
    #[must_use]
    pub fn with_clocks(mut self, agree: bool) -> Self {
        self.clocks_agree = agree;
        self
    }

    fn add(&mut self, key: &str, policy: Policy) {
        if key == DEFAULT {
            self.default = policy;
            return;
        }
        let (kind, path) = key.split_once('.').unwrap_or((key, ""));
        self.rules.push(Rule { kind: kind.to_owned(), path: path.to_owned(), policy });
    }

    /// Whether there is nothing to look up.
    pub(super) fn is_plain(&self) -> bool {
        self.rules.is_empty()
    }

    /// Who wins at an element: the longest path that names it or something around it, the
    /// resource's own type before `*`. `union` is no answer to that.
    pub(super) fn of(&self, kind: &str, elements: &[Cow<'_, str>]) -> Policy {
        let fitting = self
            .rules
            .iter()
            .filter(|rule| rule.policy != Policy::Union && (rule.kind == kind || rule.kind == "*"));
        let ranked = fitting.filter_map(|rule| {
            let length = around(&rule.path, elements)?;
            Some(((length, rule.kind == kind), rule.policy))
        });
        ranked.max_by_key(|(rank, _)| *rank).map_or(self.default, |(_, policy)| policy)
    }

    /// The policy that names this very element, `union` included.
    pub(super) fn exactly(&self, kind: &str, elements: &[Cow<'_, str>]) -> Option<Policy> {
        let exact = |rule: &&Rule| around(&rule.path, elements) == Some(elements.len());
        let of = |kind: &str| self.rules.iter().filter(exact).find(|rule| rule.kind == kind);
        of(kind).or_else(|| of("*")).map(|rule| rule.policy)
    }
}

impl serde::Serialize for Policies {
    /// As settings, for people.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.to_settings())
    }
}

/// How many elements a rule's path has, where it names the element or something around it. A
/// choice is meant by each of its types.
fn around(path: &str, elements: &[Cow<'_, str>]) -> Option<usize> {
    let mut length = 0;
    for step in path.split('.').filter(|step| !step.is_empty()) {
        let element = elements.get(length)?;
        let same = match step.strip_suffix("[x]") {
            Some(stem) => element == step || units::is_type_of(element, stem),
            None => element == step,
        };
        if !same {
            return None;
        }
        length += 1;
    }
    Some(length)
}

/// Whether a rule says something that can work.
fn check(key: &str, policy: Policy) -> Result<(), Refusal> {
    let no_list = |what: &str| {
        let policies = "parent, child, latest or conflict";
        Refusal::invalid(format!("union is for lists, and {what} is none: {policies}"))
    };
    if key == DEFAULT {
        return if policy == Policy::Union { Err(no_list("everything")) } else { Ok(()) };
    }
    let Some((kind, path)) = key.split_once('.') else {
        if key == "*" {
            return Err(Refusal::invalid("for every element of every type say default"));
        }
        elements::check_type(key)?;
        return if policy == Policy::Union { Err(no_list("a resource")) } else { Ok(()) };
    };
    let is_list = elements::is_list(kind, path)?;
    if policy != Policy::Union {
        return Ok(());
    }
    let last = path.rsplit('.').next().unwrap_or_default();
    if NO_UNION.contains(&last) {
        let reason = "its items are one value: those of two sides say what nobody said";
        return Err(Refusal::invalid(format!("{key} cannot be united, {reason}")));
    }
    if is_list { Ok(()) } else { Err(no_list(key)) }
}
