//! No acknowledged write is lost: its value is there in the end at the top, or a later write that
//! knew it took it away, or a conflict names its element, or its site's restore explains it.

use std::collections::BTreeSet;

use super::Rest;
use crate::records::tokens_in;
use crate::world::Violation;

pub(super) fn check(rest: &Rest<'_>) -> anyhow::Result<Vec<Violation>> {
    let oracle = rest.shared.oracle();
    let removed = oracle.removed();
    let top = &rest.records[0];
    let mut found = Vec::new();
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
