//! What a change did to a record, element by element, in words that people read: for the
//! timeline and for conflicts. Elements are called as the merge calls them.
//!
//! The values are what the record says: they belong on the screen of who may read the record,
//! and never in a log, an error or an address.

#[cfg(test)]
mod tests;
mod words;

use serde::{Deserialize, Serialize};

use crate::error::Refusal;
use crate::json::{Json, Object};
use crate::reconcile::pairs::{self, pairs};
use crate::reconcile::{DELETED, parse};

pub use words::{in_words, summary};

/// The path of the one entry of a record that is new (or is there again).
pub const CREATED: &str = "(created)";

/// How many changes are listed; where there are more, the last entry says so.
const CHANGES: usize = 500;
const MORE: &str = "(and more)";

/// How deep values are compared part by part; what lies deeper is shown as one value.
const DEPTH: usize = 48;

/// One element before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElementChange {
    /// `birthDate`, `telecom[phone].value`, `value[x]`; `(created)` or `(deleted)` for the record
    /// as a whole.
    pub path: String,
    /// What it said before, in words and cut to a length; `None` where it was not there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub from: Option<String>,
    /// What it says now, in the same way; `None` where it is gone.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub to: Option<String>,
}

/// What differs between two states of a record, `None` being the state "deleted" (or "not there
/// yet"): in the order of `after`, what is gone at the end. Nothing where both are the same,
/// key order, `meta.versionId` and `meta.lastUpdated` aside. A record that came or went is one
/// entry with the record's summary. Fails only where a body is not a JSON object.
pub fn elements(before: Option<&str>, after: Option<&str>) -> Result<Vec<ElementChange>, Refusal> {
    let before = before.map(parse).transpose()?;
    let after = after.map(parse).transpose()?;
    let mut changes = Changes { path: String::new(), depth: 0, found: Vec::new() };
    match (&before, &after) {
        (None, None) => {}
        (None, Some(after)) => changes.whole_record(CREATED, None, Some(after)),
        (Some(before), None) => changes.whole_record(DELETED, Some(before), None),
        (Some(before), Some(after)) => changes.object(before, after),
    }
    Ok(changes.found)
}

type Value<'t> = Option<&'t Json<'t>>;

/// One comparison under way.
struct Changes {
    /// Where we are.
    path: String,
    depth: usize,
    found: Vec<ElementChange>,
}

impl Changes {
    fn whole_record<'t>(
        &mut self,
        path: &str,
        before: Option<&Object<'t>>,
        after: Option<&Object<'t>>,
    ) {
        let in_short = |state: &Object<'t>| summary(&Json::Object(state.clone()));
        let [from, to] = [before, after].map(|state| state.map(in_short));
        self.found.push(ElementChange { path: path.to_owned(), from, to });
    }

    fn push(&mut self, before: Value<'_>, after: Value<'_>) {
        if self.found.len() < CHANGES {
            let (from, to) = words::both(before, after);
            self.found.push(ElementChange { path: self.path.clone(), from, to });
        } else if self.found.len() == CHANGES {
            self.found.push(ElementChange { path: MORE.to_owned(), from: None, to: None });
        }
    }

    fn within(&mut self, step: &str, work: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        self.path.push_str(step);
        self.depth += 1;
        work(self);
        self.depth -= 1;
        self.path.truncate(length);
    }

    /// Compares the value of the element `name`, or one item of it.
    fn value<'t>(&mut self, name: &str, before: Value<'t>, after: Value<'t>) {
        if before == after {
            return;
        }
        let is_one_value =
            before.into_iter().chain(after).any(|state| pairs::is_one_value(name, state));
        if self.depth < DEPTH {
            match (before, after) {
                (Some(Json::Object(old)), Some(Json::Object(new))) if !is_one_value => {
                    return self.object(old, new);
                }
                // The extensions of a primitive that had none.
                (None, Some(Json::Object(new))) if name.starts_with('_') => {
                    return self.object(&Object::default(), new);
                }
                (Some(Json::Object(old)), None) if name.starts_with('_') => {
                    return self.object(old, &Object::default());
                }
                _ => {}
            }
            let lists = [before, after].map(|state| state.map_or(Some(&[][..]), Json::as_array));
            if let ([Some(old), Some(new)], false) = (lists, is_one_value) {
                return self.list(name, old, new);
            }
        }
        self.push(before, after);
    }

    fn object<'t>(&mut self, old: &'t Object<'t>, new: &'t Object<'t>) {
        let mut other_types = Vec::new();
        for (key, after) in new.iter() {
            let name = key.decode();
            let Some(before) = old.get(&name) else {
                match pairs::other_choice(&name, new, old) {
                    Some((choice, other, before)) => {
                        other_types.push(other);
                        self.member(&choice, Some(before), Some(after));
                    }
                    None => self.member(&name, None, Some(after)),
                }
                continue;
            };
            self.member(&name, Some(before), Some(after));
        }
        for (key, before) in old.iter() {
            let name = key.decode();
            if new.get(&name).is_none() && !other_types.contains(&name) {
                self.member(&name, Some(before), None);
            }
        }
    }

    fn member<'t>(&mut self, name: &str, before: Value<'t>, after: Value<'t>) {
        if before == after {
            return;
        }
        let is_other_type = name.ends_with("[x]");
        let step = pairs::step(&self.path, name);
        self.within(&step, |changes| match is_other_type {
            true => changes.push(before, after),
            false => changes.value(name, before, after),
        });
    }

    /// Compares two lists of objects item by item.
    fn list<'t>(&mut self, name: &str, old: &'t [Json<'t>], new: &'t [Json<'t>]) {
        let known = self.found.len();
        for pair in pairs(name, old, new) {
            if pair.before != pair.after {
                let step = format!("[{}]", pair.label);
                self.within(&step, |changes| changes.value(name, pair.before, pair.after));
            }
        }
        if self.found.len() == known {
            // Nothing but the order.
            let (from, to) = (words::list(old), words::list(new));
            let path = format!("{} (order)", self.path);
            self.found.push(ElementChange { path, from: Some(from), to: Some(to) });
        }
    }
}
