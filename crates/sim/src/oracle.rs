//! What must be true: every write that was tried, what it knew, and whether it was acknowledged.
//! The model is as simple as can be. A value is there in the end, or a later write that knew it
//! took it away, or a conflict names its element, or what happened to its site explains it.

use std::collections::{BTreeMap, BTreeSet};

use protocol::RecordRef;
use serde_json::Value;

use crate::records::{Token, elements, tokens_in};

/// One write that a program tried.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    /// Of which record.
    pub(crate) record: RecordRef,
    /// At which site.
    pub(crate) site: usize,
    /// When it was tried, in milliseconds of the world.
    pub(crate) at: i64,
    /// The tokens that it brought, with their elements.
    pub(crate) brought: Vec<(Token, String)>,
    /// What had been there and is not any more.
    pub(crate) removed: BTreeSet<Token>,
    /// It was made in the record system beside the site, which keeps it whatever happens to the
    /// site's store.
    pub(crate) beside: bool,
    /// The site said that it is recorded.
    pub(crate) acknowledged: bool,
    /// Why it may be gone.
    pub(crate) excused: Option<String>,
}

impl Written {
    /// One that made `after` of `before`; `None` deletes. Nobody has acknowledged it yet.
    pub(crate) fn of(
        record: &RecordRef,
        site: usize,
        at: i64,
        (before, after): (&Value, Option<&Value>),
    ) -> Written {
        let old = tokens_in(&before.to_string());
        let new = after.map(elements).unwrap_or_default();
        let kept = |token: &Token| new.iter().any(|(other, _)| other == token);
        Written {
            record: record.clone(),
            site,
            at,
            removed: old.iter().copied().filter(|token| !kept(token)).collect(),
            brought: new.into_iter().filter(|(token, _)| !old.contains(token)).collect(),
            beside: false,
            acknowledged: false,
            excused: None,
        }
    }
}

/// All that is known of the writes of a world.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    next: Token,
    writes: Vec<Written>,
    by_token: BTreeMap<Token, RecordRef>,
    /// Elements in conflict, by record, wherever and whenever a site knew of them.
    conflicts: BTreeMap<RecordRef, BTreeSet<String>>,
    /// Patients whose files ever were one, each with the one that stands for them all.
    persons: BTreeMap<RecordRef, RecordRef>,
    /// Sites that were put back, and when.
    restores: Vec<(usize, i64)>,
}

impl Oracle {
    /// A token that was never written.
    pub(crate) fn fresh(&mut self) -> Token {
        self.next += 1;
        self.next
    }

    /// Notes a write before it is tried; gives its number.
    pub(crate) fn tried(&mut self, write: Written) -> usize {
        for (token, _) in &write.brought {
            self.by_token.insert(*token, write.record.clone());
        }
        self.writes.push(write);
        self.writes.len() - 1
    }

    /// The site said that the write is recorded.
    pub(crate) fn acknowledged(&mut self, number: usize) {
        if let Some(write) = self.writes.get_mut(number) {
            write.acknowledged = true;
        }
    }

    /// Conflicts that a site knows of.
    pub(crate) fn conflict(&mut self, record: &RecordRef, elements: &[String]) {
        let known = self.conflicts.entry(record.clone()).or_default();
        known.extend(elements.iter().map(|path| outermost(path).to_owned()));
    }

    /// Somebody said that two files are of one person.
    pub(crate) fn merged(&mut self, one: &RecordRef, other: &RecordRef) {
        let (from, to) = (self.person(one).clone(), self.person(other).clone());
        self.persons.insert(one.clone(), from.clone());
        self.persons.insert(other.clone(), to.clone());
        self.persons.values_mut().filter(|person| **person == from).for_each(|person| {
            *person = to.clone();
        });
    }

    fn person<'a>(&'a self, patient: &'a RecordRef) -> &'a RecordRef {
        self.persons.get(patient).unwrap_or(patient)
    }

    /// Who these patients are: files that ever were merged count as one.
    pub(crate) fn persons(&self, patients: &BTreeSet<RecordRef>) -> BTreeSet<RecordRef> {
        patients.iter().map(|patient| self.person(patient).clone()).collect()
    }

    /// A site was put back, `now`, to how it was at `since`: what was written there after is
    /// excused.
    pub(crate) fn put_back(&mut self, site: usize, since: i64, now: i64) {
        self.restores.push((site, now));
        let here = self.writes.iter_mut().filter(|write| write.site == site && !write.beside);
        for write in here.filter(|write| write.at >= since) {
            write.excused = Some(format!("site {site} was restored to before it"));
        }
    }

    /// Whether any site was restored.
    pub(crate) fn any_restored(&self) -> bool {
        !self.restores.is_empty()
    }

    /// Whether a site was put back at `at` or later.
    pub(crate) fn was_put_back(&self, site: usize, at: i64) -> bool {
        self.restores.iter().any(|(restored, when)| *restored == site && *when >= at)
    }

    /// Which record a token was written to.
    pub(crate) fn record_of(&self, token: Token) -> Option<&RecordRef> {
        self.by_token.get(&token)
    }

    /// All writes.
    pub(crate) fn writes(&self) -> &[Written] {
        &self.writes
    }

    /// Elements of a record that are or were in conflict somewhere.
    pub(crate) fn in_conflict(&self, record: &RecordRef, element: &str) -> bool {
        self.conflicts.get(record).is_some_and(|known| {
            known.contains(element) || known.iter().any(|name| stands_for(name, element))
        })
    }

    /// Whether any element of a record is or was in conflict somewhere.
    pub(crate) fn in_any_conflict(&self, record: &RecordRef) -> bool {
        self.conflicts.contains_key(record)
    }

    /// Tokens that some write knew and took away.
    pub(crate) fn removed(&self) -> BTreeSet<Token> {
        self.writes.iter().flat_map(|write| write.removed.iter().copied()).collect()
    }

    /// How many conflicts were seen.
    pub(crate) fn conflicts(&self) -> u64 {
        self.conflicts.values().map(|elements| elements.len() as u64).sum()
    }
}

/// Whether a name stands for an element too that it does not name: `(deleted)` and the like for all
/// of the record, `value` of `value[x]` for a value of any type.
fn stands_for(name: &str, element: &str) -> bool {
    let datatype = element.strip_prefix(name).and_then(|rest| rest.chars().next());
    name.starts_with('(') || datatype.is_some_and(char::is_uppercase)
}

/// The outermost element of a path: `name` of `name[official].given`.
fn outermost(path: &str) -> &str {
    path.split(['.', '[']).next().unwrap_or(path)
}
