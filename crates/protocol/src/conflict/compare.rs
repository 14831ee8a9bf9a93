//! A conflict side by side: the elements in which the two sides differ, in words.

use serde::Serialize;

use super::{Body, Conflict, Version};
use crate::diff::{self, ElementChange};
use crate::error::Refusal;
use crate::reconcile::DELETED;

/// One element in which the two sides differ. Values are in words; `None` where the element is
/// not there, or where that version is not here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// Its path, as people read it.
    pub path: String,
    /// What decided for the time being; `None` where only one side had changed it, so that there
    /// was nothing to decide.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// What both had agreed on.
    pub base: Option<String>,
    /// The parent's value.
    pub parent: Option<String>,
    /// The child's value.
    pub child: Option<String>,
    /// What the record says now.
    pub now: Option<String>,
    /// Whose value that is: `parent`, `child`, or `other`.
    pub stands: &'static str,
}

/// The differing elements, those in conflict first. `now` is the record as it is, `Some(None)`
/// where it is deleted, `None` where this site does not hold it. Fails only where a body is no
/// JSON object.
pub fn compare(conflict: &Conflict, now: Option<Option<&str>>) -> Result<Vec<Compared>, Refusal> {
    let sides = (conflict.parent.body.text(), conflict.child.body.text());
    let base = conflict.base.as_ref().and_then(|base| base.body.text());
    let mut rows = match sides {
        (Some(None), Some(edited)) | (Some(edited), Some(None)) => {
            deletion(conflict, [base.flatten(), edited, now.flatten()])?
        }
        (Some(parent), Some(child)) => apart(parent, child, base, now)?,
        _ => unknown(conflict),
    };
    for row in &mut rows {
        let known = conflict.elements.iter().find(|element| related(&element.path, &row.path));
        row.rule = known.map(|element| element.rule.clone());
    }
    rows.sort_by_key(|row| row.rule.is_none());
    Ok(rows)
}

/// One side deleted the record: what the other had changed in it.
fn deletion(
    conflict: &Conflict,
    [base, edited, now]: [Option<&str>; 3],
) -> Result<Vec<Compared>, Refusal> {
    let by_parent = conflict.parent.body == Body::Deleted;
    let sides = |edited: Option<String>| match by_parent {
        true => (Some(DELETED.to_owned()), edited),
        false => (edited, Some(DELETED.to_owned())),
    };
    let whole = |body: Option<&str>| -> Result<Option<String>, Refusal> {
        let made = diff::elements(None, body)?.into_iter().next();
        Ok(made.and_then(|made| made.to))
    };
    let (parent, child) = sides(whole(edited)?);
    let gone = now.is_none();
    let rest = match base {
        Some(base) => diff::elements(Some(base), edited)?,
        None => Vec::new(),
    };
    let stands = if gone == by_parent { "parent" } else { "child" };
    let first = Compared {
        path: DELETED.to_owned(),
        rule: None,
        base: whole(base)?,
        parent,
        child,
        now: if gone { Some(DELETED.to_owned()) } else { whole(now)? },
        stands,
    };
    let rest = rest.into_iter().map(|change| {
        let (parent, child) = sides(change.to.clone());
        let now = if gone { Some(DELETED.to_owned()) } else { change.to };
        Compared { path: change.path, rule: None, base: change.from, parent, child, now, stands }
    });
    Ok(std::iter::once(first).chain(rest).collect())
}

/// Both sides are alive.
fn apart(
    parent: Option<&str>,
    child: Option<&str>,
    base: Option<Option<&str>>,
    now: Option<Option<&str>>,
) -> Result<Vec<Compared>, Refusal> {
    let since = |other: Option<Option<&str>>| match other {
        Some(Some(other)) => diff::elements(parent, Some(other)).map(Some),
        _ => Ok(None),
    };
    let (to_base, to_now) = (since(base)?, since(now)?);
    let gone = now == Some(None);
    let rows = diff::elements(parent, child)?.into_iter().map(|change| {
        let ElementChange { path, from, to } = change;
        let base = to_base.as_ref().and_then(|changes| value(changes, &path, &from));
        let now = match &to_now {
            Some(changes) => value(changes, &path, &from),
            None => gone.then(|| DELETED.to_owned()),
        };
        let stands = match &now {
            now if to_now.is_none() && !gone || *now != from && *now != to => "other",
            now if *now == from => "parent",
            _ => "child",
        };
        Compared { path, rule: None, base, parent: from, child: to, now, stands }
    });
    Ok(rows.collect())
}

/// What a version says at `path`, by how it differs from one that says `same` there.
fn value(changes: &[ElementChange], path: &str, same: &Option<String>) -> Option<String> {
    let exact = changes.iter().find(|change| change.path == path);
    match exact.or_else(|| changes.iter().find(|change| related(&change.path, path))) {
        Some(change) => change.to.clone(),
        None => same.clone(),
    }
}

/// What can be said where a side's version is not here: which elements it is about.
fn unknown(conflict: &Conflict) -> Vec<Compared> {
    let rows = conflict.elements.iter().map(|element| Compared {
        path: element.path.clone(),
        rule: None,
        base: None,
        parent: None,
        child: None,
        now: None,
        stands: "other",
    });
    rows.collect()
}

/// Whether one path is the other, or around it.
fn related(one: &str, other: &str) -> bool {
    let (short, long) = if one.len() <= other.len() { (one, other) } else { (other, one) };
    long.strip_prefix(short)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.') || rest.starts_with('['))
}

impl Conflict {
    /// The names of the versions that are not here, `base` to `decided`.
    pub fn missing(&self) -> Vec<&'static str> {
        let absent = |version: &Version| version.body == Body::LeftOut;
        self.versions().filter(|(_, version)| absent(version)).map(|(name, _)| name).collect()
    }
}
