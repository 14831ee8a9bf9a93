//! Order per patient: at no site does a record go back to a value that a later write took away,
//! once that write was there.

use std::collections::{BTreeMap, BTreeSet};

use protocol::RecordRef;
use store::{HistoryQuery, Scope, Store, StoredVersion};

use super::Rest;
use crate::records::{Token, tokens_in};
use crate::world::Violation;

/// Versions that are read at a time.
const PAGE: u32 = 10_000;

pub(super) fn check(rest: &Rest<'_>) -> anyhow::Result<Vec<Violation>> {
    let oracle = rest.shared.oracle();
    // What each token took the place of, where one write did both.
    let mut replaced: BTreeMap<Token, BTreeSet<Token>> = BTreeMap::new();
    for write in oracle.writes() {
        for (token, _) in &write.brought {
            replaced.entry(*token).or_default().extend(&write.removed);
        }
    }
    let mut found = Vec::new();
    for (place, up) in rest.shared.places.iter().zip(&rest.sites) {
        let mut histories = histories(up.site.store())?;
        for record in rest.records[place.index].keys() {
            // In what a conflict says of both sides, an older value may have been decided for.
            if oracle.in_any_conflict(record) || protocol::conflict::is_name(record) {
                continue;
            }
            let versions = histories.remove(record).unwrap_or_default();
            let mut gone: BTreeSet<Token> = BTreeSet::new();
            for (index, version) in versions.iter().enumerate() {
                let tokens = version.body.as_deref().map(tokens_in).unwrap_or_default();
                // What came in is written as it came, and what it was merged to just after it.
                let next = versions.get(index + 1);
                let merged = next.is_some_and(|next| {
                    next.sequence == version.sequence + 1 && next.recorded == version.recorded
                });
                if let Some(back) = tokens.iter().find(|token| gone.contains(token) && !merged) {
                    let what = format!(
                        "{record} at {} goes back to token {back} in version {}",
                        place.id, version.sequence
                    );
                    found.push(Violation { checker: "order", what });
                    break;
                }
                let taken = tokens.iter().filter_map(|token| replaced.get(token)).flatten();
                gone.extend(taken.filter(|token| !tokens.contains(token)));
            }
        }
    }
    Ok(found)
}

/// The versions of each record of a site, oldest first.
pub(super) fn histories(
    store: &dyn Store,
) -> anyhow::Result<BTreeMap<RecordRef, Vec<StoredVersion>>> {
    let mut query = HistoryQuery { limit: PAGE, ..HistoryQuery::default() };
    let mut histories: BTreeMap<RecordRef, Vec<StoredVersion>> = BTreeMap::new();
    loop {
        let page = store.record_history(&query, &Scope::Everything)?;
        for version in page.versions {
            histories.entry(version.reference.clone()).or_default().push(version);
        }
        query.after = page.next;
        if query.after.is_none() {
            histories.values_mut().for_each(|versions| versions.reverse());
            return Ok(histories);
        }
    }
}
