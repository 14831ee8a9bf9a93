//! Order per patient: at no site does a record go back to a value that a later write took away,
//! once that write was there.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{RecordRef, Timestamp};
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
    let mut back = Vec::new();
    let mut kept = BTreeSet::new();
    for (place, up) in rest.shared.places.iter().zip(&rest.sites) {
        let mut histories = histories(up.site.store())?;
        for record in rest.records[place.index].keys() {
            // In what a conflict says of both sides, an older value may have been decided for.
            if oracle.in_any_conflict(record) || protocol::conflict::is_name(record) {
                continue;
            }
            let versions = histories.remove(record).unwrap_or_default();
            let versions = versions.iter().map(State::of).collect::<Vec<_>>();
            if oracle.any_restored() {
                kept.extend(kept_of_both(&versions));
            }
            if let Some((token, sequence)) = come_back(&versions, &replaced) {
                let what = format!(
                    "{record} at {} goes back to token {token} in version {sequence}",
                    place.id
                );
                back.push((token, Violation { checker: "order", what }));
            }
        }
    }
    Ok(back
        .into_iter()
        .filter(|(token, _)| !kept.contains(token))
        .map(|(_, found)| found)
        .collect())
}

/// One version of a record.
struct State {
    sequence: u64,
    recorded: Timestamp,
    tokens: BTreeSet<Token>,
}

impl State {
    fn of(version: &StoredVersion) -> State {
        let tokens = version.body.as_deref().map(tokens_in).unwrap_or_default();
        let tokens = tokens.into_iter().collect();
        State { sequence: version.sequence, recorded: version.recorded, tokens }
    }

    /// Whether what came in as this is what the next one was merged from.
    fn was_merged_to(&self, next: &State) -> bool {
        next.sequence == self.sequence + 1 && next.recorded == self.recorded
    }
}

/// The first token of a version that a later write took away before it.
fn come_back(
    versions: &[State],
    replaced: &BTreeMap<Token, BTreeSet<Token>>,
) -> Option<(Token, u64)> {
    let mut gone: BTreeSet<Token> = BTreeSet::new();
    for (index, version) in versions.iter().enumerate() {
        let merged = versions.get(index + 1).is_some_and(|next| version.was_merged_to(next));
        let back = version.tokens.iter().find(|token| gone.contains(token));
        if let Some(back) = back.filter(|_| !merged) {
            return Some((*back, version.sequence));
        }
        let taken = version.tokens.iter().filter_map(|token| replaced.get(token)).flatten();
        gone.extend(taken.filter(|token| !version.tokens.contains(token)));
    }
    None
}

/// What stands after merges in which nothing was taken from either side: where a restore has left
/// two states without a common version, what one of them had removed comes back.
fn kept_of_both(versions: &[State]) -> BTreeSet<Token> {
    let merges = versions.windows(3).filter(|three| {
        let [local, came, result] = three else { return false };
        let both = local.tokens.union(&came.tokens);
        came.was_merged_to(result) && both.copied().eq(result.tokens.iter().copied())
    });
    merges
        .flat_map(|three| three[1].tokens.symmetric_difference(&three[0].tokens).copied())
        .collect()
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
