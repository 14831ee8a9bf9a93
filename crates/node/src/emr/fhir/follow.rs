//! Following what changes: by the history of everything where the server has one, and else by what
//! was updated last, type by type, with ids compared from time to time.
//!
//! Times are the server's own, as it wrote them, and what is near the edge is asked for again:
//! entries that were named before are known by their time. To name one too often is no harm.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{RecordRef, ResourceType, Timestamp};
use serde::{Deserialize, Serialize};
use store::looks_lost;

use super::load::{is_of_records, of_records};
use super::pages::{At, List};
use super::{FhirEmr, Found, Place, plain};
use crate::fhir_server::{Capabilities as Offered, FhirError, Found as Entry, Page};
use crate::ports::{EmrError, Shown};

/// Entries of one page.
const PAGE: usize = 200;
/// Milliseconds before the edge that are asked for again: commits come late, and seconds are whole.
const OVERLAP: i64 = 10_000;
/// Bytes of the names of entries near the edge that are known; more are named again. They stand in
/// the cursor, once of this walk and once of the one before.
const KNOWN_BYTES: usize = 20_000;
/// Milliseconds between two comparisons of ids: where no history tells of deletions, and where one
/// does, which may have been emptied with the server.
const COMPARE_EVERY: i64 = 15 * 60_000;
const COMPARE_BESIDE_HISTORY: i64 = 6 * 3_600_000;
/// Ids of one type that are compared at a time.
const IDS: usize = 1_000_000;

/// Where the reader of changes is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Follow {
    /// The newest time that was seen, as the server wrote it.
    since: String,
    /// Entries near it.
    known: Vec<String>,
    /// Pages of the present walk that are still to be read.
    walk: Option<Walk>,
    /// Types that are followed: the usual ones, and those of which something is there.
    types: Vec<String>,
    /// Of a walk by types: which of them comes next.
    at: usize,
    /// When ids were compared last, by our clock (ms), and types that are still to be.
    compared: i64,
    compare: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
struct Walk {
    /// When it began, by the server's clock: what is changed later is for the next one.
    begun: Option<String>,
    newest: String,
    fresh: Vec<String>,
    /// The list that is read, and where.
    at: Option<At>,
    /// Whether it has shown any of what was near the edge before.
    met: bool,
    /// Whether it has told of deletions: what its later pages show may be from before these.
    deletes: bool,
}

impl Follow {
    pub(super) fn begin(since: String, types: Vec<String>, now: Timestamp) -> Follow {
        Follow { since, types, compared: now.millis(), ..Follow::default() }
    }

    /// Compares the ids of these types first: a load may have missed some.
    pub(super) fn comparing(self, compare: Vec<String>) -> Follow {
        Follow { compare, ..self }
    }

    /// The earliest time that is asked for.
    fn edge(&self) -> String {
        edge(&self.since)
    }

    /// Takes a page into the walk; gives what is new in it, those of one time together.
    fn take(&mut self, page: &Page) -> Vec<Vec<RecordRef>> {
        let mut walk = self.walk.take().unwrap_or_default();
        if walk.begun.is_none() {
            walk.begun.clone_from(&page.at);
        }
        let mut groups: Vec<(String, Vec<RecordRef>)> = Vec::new();
        for one in &page.found {
            let Some(record) = one.record.clone().filter(|record| is_of_records(record.kind))
            else {
                continue;
            };
            let changed = one.changed.clone().unwrap_or_default();
            let version = one.version.as_deref().unwrap_or_default();
            let mark = format!("{record} {changed} {version}");
            let name = mark.split_once(' ').map_or("", |(name, _)| name);
            let is_it = |known: &String| known.split_once(' ').is_some_and(|(k, _)| k == name);
            walk.deletes |= one.body.is_none();
            walk.met |= self.known.iter().any(is_it);
            let before = walk.fresh.contains(&mark);
            if later(&changed, &walk.newest) {
                walk.newest.clone_from(&changed);
            }
            if before || self.known.contains(&mark) {
                walk.fresh.extend((!before).then_some(mark));
                continue;
            }
            walk.fresh.push(mark);
            match groups.last_mut() {
                Some((time, group)) if *time == changed && !changed.is_empty() => {
                    if !group.contains(&record) {
                        group.push(record);
                    }
                }
                _ => groups.push((changed, vec![record])),
            }
        }
        let edge = edge(&walk.reached(&self.since));
        walk.fresh = bounded(std::mem::take(&mut walk.fresh), &edge);
        self.walk = Some(walk);
        groups.into_iter().map(|(_, group)| group).collect()
    }

    /// Whether a walk through a history has shown nothing of what stood near the edge before: it is
    /// another history.
    fn is_of_another(&self) -> bool {
        !self.known.is_empty() && self.walk.as_ref().is_some_and(|walk| !walk.met)
    }

    /// Sets out to compare ids, where it is time.
    fn compare_after(&mut self, millis: i64, now: Timestamp, offered: &Offered) {
        if !(0..millis).contains(&(now.millis() - self.compared)) {
            self.compared = now.millis();
            self.compare = of_records(offered).map(|kind| kind.to_string()).collect();
        }
    }

    /// The walk is over: the edge moves.
    fn end(&mut self) {
        let Some(walk) = self.walk.take() else { return };
        self.since = walk.reached(&self.since);
        self.known = bounded(walk.fresh, &self.edge());
    }
}

impl Walk {
    /// How far it came, from a time on: never past its own begin.
    fn reached(&self, since: &str) -> String {
        let newest = match &self.begun {
            Some(begun) if later(&self.newest, begun) => begun,
            _ => &self.newest,
        };
        if later(newest, since) { newest.clone() } else { since.to_owned() }
    }
}

/// The marks that are not before the edge, and of these not too many: they only save asking again.
fn bounded(marks: Vec<String>, edge: &str) -> Vec<String> {
    let mut bytes = 0;
    let near = |mark: &String| {
        let is_near = mark.split(' ').nth(1).is_some_and(|changed| !later(edge, changed));
        bytes += if is_near { mark.len() } else { 0 };
        is_near && bytes <= KNOWN_BYTES
    };
    marks.into_iter().filter(near).collect()
}

/// Whether one time is later than another, however each is written.
pub(super) fn later(one: &str, other: &str) -> bool {
    match (one.parse::<Timestamp>(), other.parse::<Timestamp>()) {
        (Ok(one), Ok(other)) => one > other,
        (one, other) => one.is_ok() && other.is_err(),
    }
}

fn edge(since: &str) -> String {
    match since.parse::<Timestamp>() {
        Ok(at) => at.plus_millis(-OVERLAP).to_string(),
        Err(_) => since.to_owned(),
    }
}

/// How many entries a page is to have.
pub(super) fn count(entries: usize) -> String {
    format!("_count={entries}")
}

/// The records that entries name, and when they were changed.
pub(super) fn names(found: &[Entry]) -> impl Iterator<Item = (RecordRef, String)> {
    found.iter().filter_map(|entry| {
        Some((entry.record.clone()?, entry.changed.clone().unwrap_or_default()))
    })
}

/// What is on one side only, each by itself; else how many of how many look lost there. What was
/// purged here may go there too: however many these are, they are named, and forgotten then.
fn differing(
    shown: &BTreeSet<RecordRef>,
    left: &BTreeSet<RecordRef>,
    there: &BTreeSet<RecordRef>,
) -> Result<Vec<Vec<RecordRef>>, (usize, usize)> {
    let gone = shown.difference(there).filter(|record| !left.contains(record)).count();
    let all = shown.difference(left).count();
    if looks_lost(all as u64, gone as u64) {
        return Err((gone, all));
    }
    Ok(shown.symmetric_difference(there).map(|record| vec![record.clone()]).collect())
}

/// What a page names and shows, and whether there is another one.
type Walked = (Vec<Vec<RecordRef>>, BTreeMap<RecordRef, Shown>, bool);

impl FhirEmr {
    /// The next portion of what changed.
    pub(super) async fn follow(
        &self,
        offered: &Offered,
        mut follow: Follow,
    ) -> Result<Found, EmrError> {
        if let Some(kind) = follow.compare.pop() {
            let (groups, is_any) = match self.compare(&kind).await {
                Err(EmrError::Refused(why)) => {
                    tracing::warn!(kind, why, "ids of the record system are not compared");
                    (Vec::new(), false)
                }
                other => other?,
            };
            if is_any && !follow.types.contains(&kind) {
                follow.types.push(kind);
            }
            let more = !follow.compare.is_empty();
            return Ok(Found::names(groups, Place::Follow(follow), more));
        }
        if !offered.history {
            return self.by_types(offered, follow).await;
        }
        let list = List {
            what: "its history",
            path: format!("_history?_since={}", follow.edge()),
            count: PAGE,
            is_whole: true,
            by_time: false,
            exact: false,
        };
        let (groups, shown, more) = self.walk(&mut follow, &list).await?;
        if more {
            return Ok(Found { groups, shown, place: Place::Follow(follow), more });
        }
        if follow.is_of_another() {
            let why = "its history has nothing more of what it had: it was emptied, or is another";
            return Err(EmrError::CursorLost(why.to_owned()));
        }
        follow.end();
        follow.compare_after(COMPARE_BESIDE_HISTORY, self.ways.clock.now(), offered);
        let more = !follow.compare.is_empty();
        Ok(Found { groups, shown, place: Place::Follow(follow), more })
    }

    /// One page of a walk; whether there is another one.
    async fn walk(&self, follow: &mut Follow, list: &List<'_>) -> Result<Walked, EmrError> {
        let at = follow.walk.as_ref().and_then(|walk| walk.at.clone());
        let mut at = at.unwrap_or_else(|| At::from(follow.edge()));
        let (page, more) = self.next_of(list, &mut at).await?;
        // A history goes back: what was deleted by now stands on a later page as it was before.
        let is_whole = list.is_whole && !follow.walk.as_ref().is_some_and(|walk| walk.deletes);
        let groups = follow.take(&page);
        if let Some(walk) = &mut follow.walk {
            walk.at = more.then_some(at);
        }
        let shown = if is_whole { self.whole(&page, &groups) } else { BTreeMap::new() };
        Ok((groups, shown, more))
    }

    /// One page of what was updated last. (Other types come with the comparison.)
    async fn by_types(&self, offered: &Offered, mut follow: Follow) -> Result<Found, EmrError> {
        let now = self.ways.clock.now();
        let Some(kind) = follow.types.get(follow.at).cloned() else {
            follow.at = 0;
            follow.end();
            follow.compare_after(COMPARE_EVERY, now, offered);
            let more = !follow.compare.is_empty();
            return Ok(Found::names(Vec::new(), Place::Follow(follow), more));
        };
        let path = format!("{kind}?_sort=_lastUpdated");
        let list =
            List { what: &kind, path, count: PAGE, is_whole: false, by_time: true, exact: true };
        let (groups, shown, more) = self.walk(&mut follow, &list).await?;
        if !more {
            follow.at += 1;
        }
        Ok(Found { groups, shown, place: Place::Follow(follow), more: true })
    }

    /// Names what is on one side only: deleted there, or never noticed. And whether anything of the
    /// type is there. What it never showed is not missed. So many that it must have lost them are
    /// not named: everything is compared instead.
    async fn compare(&self, kind: &str) -> Result<(Vec<Vec<RecordRef>>, bool), EmrError> {
        let (mut there, mut read) = (BTreeSet::new(), 0);
        let path = format!("{kind}?{}{}", count(PAGE), self.elements());
        let mut pages = self.server.pages(&path)?;
        // Whatever it says of this type alone is no reason to wait with the others.
        let of_type = |error| match error {
            FhirError::Unclear(why) => EmrError::Refused(why),
            other => plain(other),
        };
        while let Some(page) = pages.next().await.map_err(of_type)? {
            let page = self.page_as_ours(page).await?;
            there.extend(names(&page.found).map(|(record, _)| record));
            read += 1;
            if there.len() > IDS || read > IDS / PAGE {
                let words = format!("it has more than {IDS} records of {kind}, or small pages");
                return Err(EmrError::Refused(words));
            }
        }
        let Ok(kind) = kind.parse::<ResourceType>() else {
            return Ok((Vec::new(), false));
        };
        let (shown, left) = self.shown(kind).await?;
        let lost = |(gone, all)| {
            let words = format!("of {all} {kind} that were there it lists {gone} no more");
            EmrError::CursorLost(words)
        };
        let groups = differing(&shown, &left, &there).map_err(lost)?;
        Ok((groups, !there.is_empty()))
    }

    /// The records of a type that it showed when it was asked last, and which of these were purged
    /// here.
    async fn shown(
        &self,
        kind: ResourceType,
    ) -> Result<(BTreeSet<RecordRef>, BTreeSet<RecordRef>), EmrError> {
        self.ids.ask(move |store| Ok((store.emr_live(kind)?, store.emr_left(kind)?))).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_purged_here_and_goes_there_is_named_and_no_loss() {
        let patients = |range: std::ops::Range<u32>| {
            let name = |n| format!("Patient/p{n}").parse::<RecordRef>().unwrap();
            range.map(name).collect::<BTreeSet<_>>()
        };
        let (all, none) = (patients(0..100), BTreeSet::new());
        assert_eq!(differing(&all, &none, &patients(0..20)), Err((80, 100)));
        let named = differing(&all, &patients(20..100), &patients(0..20)).unwrap();
        assert_eq!(named.concat(), patients(20..100).into_iter().collect::<Vec<_>>());
        // Those that are not purged and are gone are a loss all the same.
        assert_eq!(differing(&all, &patients(20..100), &none), Err((20, 20)));
        let named = differing(&all, &none, &patients(0..101)).unwrap();
        assert_eq!(named.concat(), patients(100..101).into_iter().collect::<Vec<_>>());
    }
}
