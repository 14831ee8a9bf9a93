//! A child holds what its parent publishes for it: every digest of every cohort, and the bodies
//! byte by byte. (Where a store was restored, what two sites made of a record each by itself is
//! compared by digest alone, and may be left in another order of elements.)

use std::collections::BTreeMap;

use protocol::{CohortName, Digest, RecordRef};
use store::{DigestScope, Scope, Store};

use super::Rest;
use crate::place::Place;
use crate::world::Violation;

/// Digests that are read at a time.
const PAGE: usize = 1_000;
/// Records that are named in one finding.
const NAMED: usize = 5;

pub(super) fn check(rest: &Rest<'_>) -> anyhow::Result<Vec<Violation>> {
    let mut found = Vec::new();
    let restored = rest.shared.oracle().any_restored();
    for (child, up) in rest.shared.places.iter().zip(&rest.sites) {
        let Some(parent) = child.parent else { continue };
        let above = rest.sites[parent].site.store();
        let scope = Scope::Cohorts {
            reader: child.id.clone(),
            epoch: up.site.store().site()?.epoch,
            cohorts: cohorts_of(above, child)?,
        };
        for feed in above.feed_list(&scope)? {
            let published =
                DigestScope::Published { feed: feed.name.clone(), scope: scope.clone() };
            let held = DigestScope::Held { feed: feed.id, name: feed.name.clone() };
            let theirs = digests(above, &published)?;
            let ours = digests(up.site.store(), &held)?;
            let names = theirs.keys().chain(ours.keys().filter(|one| !theirs.contains_key(*one)));
            let differing = names.filter(|name| theirs.get(*name) != ours.get(*name));
            let differing = differing
                .map(|name| match (theirs.get(name), ours.get(name)) {
                    (Some(_), Some(_)) => format!("{name} (differs)"),
                    (Some(_), None) => {
                        format!("{name} (only at {})", rest.shared.places[parent].id)
                    }
                    _ => format!("{name} (only at {})", child.id),
                })
                .collect::<Vec<_>>();
            if !differing.is_empty() {
                let named = differing.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
                let what = format!(
                    "{} and {} differ in {} records of {}: {named}",
                    child.id,
                    rest.shared.places[parent].id,
                    differing.len(),
                    feed.name
                );
                found.push(Violation { checker: "converged", what });
            }
            for name in theirs.keys().filter(|name| theirs.get(*name) == ours.get(*name)) {
                let (one, other) =
                    (rest.records[parent].get(name), rest.records[child.index].get(name));
                if one != other && !restored {
                    let what = format!("{name} has other bytes at {}", child.id);
                    found.push(Violation { checker: "bytes", what });
                }
            }
        }
    }
    Ok(found)
}

/// The cohorts that a child has at its parent, that of its visitors among them.
fn cohorts_of(parent: &dyn Store, child: &Place) -> anyhow::Result<Vec<CohortName>> {
    let children = parent.child_list()?;
    let known = children.into_iter().find(|known| known.site == child.id);
    Ok(known.map(|known| known.cohorts).unwrap_or_default())
}

/// The digests of records that are not deleted: a site need not have heard of a record that is
/// not there any more.
fn digests(store: &dyn Store, scope: &DigestScope) -> anyhow::Result<BTreeMap<RecordRef, Digest>> {
    let mut all = BTreeMap::new();
    let mut after = None;
    loop {
        let some = store.record_digests(scope, after.as_ref(), PAGE)?;
        let Some((last, _)) = some.last() else { return Ok(all) };
        after = Some(last.clone());
        let full = some.len() == PAGE;
        let alive = some.into_iter().filter(|(name, digest)| *digest != Digest::of_deletion(name));
        all.extend(alive);
        if !full {
            return Ok(all);
        }
    }
}
