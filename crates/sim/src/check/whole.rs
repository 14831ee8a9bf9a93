//! Every store keeps its own rules: the chain of its audit, its sequences, its feeds, its bodies.

use super::Rest;
use crate::world::Violation;

pub(super) fn check(rest: &Rest<'_>) -> anyhow::Result<Vec<Violation>> {
    let mut found = Vec::new();
    for up in &rest.sites {
        for finding in up.site.store().site_check(&mut |_| {})? {
            let what = format!("{}: {finding}", up.site.id());
            found.push(Violation { checker: "whole", what });
        }
    }
    Ok(found)
}
