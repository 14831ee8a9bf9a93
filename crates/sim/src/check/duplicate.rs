//! Nothing has an effect twice: a value stands in its record once, and in no other record.

use std::collections::BTreeSet;

use super::Rest;
use crate::records::tokens_in;
use crate::world::Violation;

pub(super) fn check(rest: &Rest<'_>) -> Vec<Violation> {
    let oracle = rest.shared.oracle();
    let mut found = Vec::new();
    for (place, records) in rest.shared.places.iter().zip(&rest.records) {
        for (record, body) in records.iter().filter(|(record, _)| record.kind.name() != "Basic") {
            let mut seen = BTreeSet::new();
            for token in tokens_in(body) {
                let what = if !seen.insert(token) {
                    format!("{record} at {} has token {token} twice", place.id)
                } else if oracle.record_of(token).is_some_and(|home| home != record) {
                    format!("{record} at {} has token {token} of another record", place.id)
                } else {
                    continue;
                };
                found.push(Violation { checker: "duplicate", what });
            }
        }
    }
    found
}
