//! The same conflict on both sides: whatever conflict a site holds, its parent and its children
//! hold as well, with the same bytes and in the same state; and none is about another one.

use std::collections::BTreeSet;

use protocol::RecordRef;
use protocol::conflict::{self, Conflict};
use store::Scope;

use super::Rest;
use crate::place::Place;
use crate::world::{Violation, members};

const CHECKER: &str = "conflicts";
/// How the id of a conflict about a reference record begins: every child has those.
const REFERENCE: &str = "reference-conflict-";

pub(super) fn check(rest: &Rest<'_>) -> anyhow::Result<Vec<Violation>> {
    let mut found = Vec::new();
    for place in rest.shared.places.iter() {
        found.extend(of_records(rest, place));
        if let Some(parent) = place.parent {
            found.extend(of_link(rest, &rest.shared.places[parent], place)?);
        }
    }
    Ok(found)
}

/// The conflicts that a site holds.
fn held<'r>(rest: &'r Rest<'_>, site: usize) -> impl Iterator<Item = (&'r RecordRef, Conflict)> {
    let basics = rest.records[site].iter().filter(|(name, _)| conflict::is_name(name));
    basics.filter_map(|(name, body)| Some((name, conflict::read(body).ok().flatten()?)))
}

/// A site by itself.
fn of_records(rest: &Rest<'_>, place: &Place) -> Vec<Violation> {
    let mut found = Vec::new();
    for (name, conflict) in held(rest, place.index) {
        if conflict::is_name(&conflict.record) {
            let what = format!("{name} at {} is about {}", place.id, conflict.record);
            found.push(Violation { checker: CHECKER, what });
        }
    }
    found
}

/// The two ends of a link.
fn of_link(rest: &Rest<'_>, parent: &Place, child: &Place) -> anyhow::Result<Vec<Violation>> {
    let (above, below) = (&rest.records[parent.index], &rest.records[child.index]);
    let patients = members(rest.sites[parent.index].site.store(), child).unwrap_or_default();
    let of_child = |name: &RecordRef, conflict: &Conflict| {
        name.id().starts_with(REFERENCE) || !conflict.patients.is_disjoint(&patients)
    };
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for (name, conflict) in held(rest, child.index) {
        seen.insert(name);
        // Of somebody who left, a child keeps what it had, and its parent may be rid of all of
        // it; the top must know of it all the same. Whose it is now, the parent says, or the top.
        let now = above.get(name).or_else(|| rest.records[0].get(name));
        let now = now.and_then(|body| conflict::read(body).ok().flatten());
        let same = above.get(name) == below.get(name)
            || !of_child(name, now.as_ref().unwrap_or(&conflict));
        let top = rest.sites[0].site.store();
        let known = same && top.record_get(name, None, &Scope::Everything)?.is_some();
        if !known {
            let state = conflict.state.name();
            let other = above.get(name).map_or("not there", |body| state_of(body));
            let what = format!("{name} is {state} at {} and {other} at {}", child.id, parent.id);
            found.push(Violation { checker: CHECKER, what });
        }
    }
    for (name, conflict) in held(rest, parent.index) {
        if !seen.contains(name) && of_child(name, &conflict) {
            let state = conflict.state.name();
            let what = format!("{name} is {state} at {} and not at {}", parent.id, child.id);
            found.push(Violation { checker: CHECKER, what });
        }
    }
    Ok(found)
}

fn state_of(body: &str) -> &'static str {
    conflict::read(body).ok().flatten().map_or("no conflict", |conflict| conflict.state.name())
}
