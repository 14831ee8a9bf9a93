//! Who wins where both sides changed the same element, by resource type and element.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Who wins where both sides changed the same element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
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
}

/// The policies of a parent, for what it and its children exchange. Both ends of a link go by
/// the same, so that they come to the same bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policies {
    /// Where no rule fits.
    pub default: Policy,
    /// By resource type (`*` for any) and element path (`name.given`; empty for all of the type).
    pub rules: BTreeMap<(String, String), Policy>,
    /// Whether the clocks at the ends of the link are known to agree; `latest` needs it.
    pub clocks_agree: bool,
}

impl Policies {
    /// One policy for everything.
    pub fn all(default: Policy) -> Self {
        Policies { default, ..Policies::default() }
    }
    /// The same, with word of whether the clocks at the ends of the link agree.
    #[must_use]
    pub fn with_clocks(mut self, agree: bool) -> Self {
        self.clocks_agree = agree;
        self
    }
    /// The policy of an element: the longest path that names it or something around it, the
    /// resource's own type before `*`.
    pub(super) fn of(&self, kind: &str, elements: &[Cow<'_, str>]) -> Policy {
        for length in (0..=elements.len()).rev() {
            let path = elements[..length].join(".");
            for kind in [kind, "*"] {
                if let Some(policy) = self.rules.get(&(kind.to_owned(), path.clone())) {
                    return *policy;
                }
            }
        }
        self.default
    }
}
