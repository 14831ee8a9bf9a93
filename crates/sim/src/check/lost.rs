//! No acknowledged write is lost: its value is there in the end at the top, or a later write that
//! knew it took it away, or a conflict names its element, or its site's restore explains it.

use std::collections::BTreeSet;

use store::LeavePolicy;

use super::Rest;
use super::order::histories;
use crate::oracle::{Oracle, Written};
use crate::records::{Token, tokens_in};
use crate::world::Violation;

pub(super) fn check(rest: &Rest<'_>) -> anyhow::Result<Vec<Violation>> {
    let oracle = rest.shared.oracle();
    let removed = oracle.removed();
    let top = &rest.records[0];
    let mut found = Vec::new();
    let mut anywhere = None;
    for write in oracle.writes().iter().filter(|write| write.acknowledged) {
        if write.excused.is_some() {
            continue;
        }
        let held = top.get(&write.record).map(|body| tokens_in(body)).unwrap_or_default();
        let held = held.into_iter().collect::<BTreeSet<_>>();
        for (token, element) in &write.brought {
            let explained = held.contains(token)
                || removed.contains(token)
                || oracle.in_conflict(&write.record, element);
            if !explained && gone_with_a_restore(rest, &oracle, write) {
                if anywhere.is_none() {
                    anywhere = Some(tokens_anywhere(rest)?);
                }
                if anywhere.as_ref().is_some_and(|tokens| !tokens.contains(token)) {
                    continue;
                }
            }
            if !explained {
                let site = &rest.shared.places[write.site].id;
                found.push(Violation {
                    checker: "lost",
                    what: format!(
                        "{} of {}, written at {site} at {} (token {token}), is not at the top",
                        element,
                        write.record,
                        protocol::Timestamp::from_millis(write.at)
                    ),
                });
            }
        }
    }
    Ok(found)
}

/// Whether a write may be nowhere any more: its site purges who leaves once a site above has taken
/// what there was to send, and one of those was put back to before it had. No site can bring that
/// back. (What any site still has in any version is lost all the same, if it is not at the top.)
fn gone_with_a_restore(rest: &Rest<'_>, oracle: &Oracle, write: &Written) -> bool {
    let places = &rest.shared.places;
    let above = std::iter::successors(places[write.site].parent, |site| places[*site].parent);
    places[write.site].leave == LeavePolicy::Purge
        && above.into_iter().any(|site| oracle.was_put_back(site, write.at))
}

/// What any version at any site says.
fn tokens_anywhere(rest: &Rest<'_>) -> anyhow::Result<BTreeSet<Token>> {
    let mut tokens = BTreeSet::new();
    for up in &rest.sites {
        for version in histories(up.site.store())?.into_values().flatten() {
            tokens.extend(version.body.as_deref().map(tokens_in).unwrap_or_default());
        }
    }
    Ok(tokens)
}
