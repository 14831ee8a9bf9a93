//! `_lastUpdated`: the first load of everything, and the floor below the other ways of noticing.
//!
//! A search goes on from the newest time that OpenMRS itself has shown: its clock, never ours.
//! Times are whole seconds and bounds are inclusive, so what has the newest second is named again
//! in the next turns, and what is read again unchanged is nothing. Deletions, and edits of names,
//! addresses, identifiers, attributes and providers, do not show here: that is what the other ways
//! are for.

use std::collections::BTreeMap;

use protocol::RecordRef;
use serde::{Deserialize, Serialize};

use super::OpenMrs;
use super::rest::failed;
use crate::fhir_server::{Found, Pages};
use crate::ports::EmrError;

/// The searches, in the order in which records refer to each other. fhir2 gives visits before
/// encounters and conditions before diagnoses in one search: each has its own.
const SEARCHES: [(&str, &str); 15] = [
    ("Location", ""),
    ("Practitioner", ""),
    ("Patient", ""),
    ("Encounter", "_tag=http://fhir.openmrs.org/ext/encounter-tag|visit"),
    ("Encounter", "_tag=http://fhir.openmrs.org/ext/encounter-tag|encounter"),
    ("Observation", ""),
    ("Condition", "category=problem-list-item"),
    ("Condition", "category=encounter-diagnosis"),
    ("AllergyIntolerance", ""),
    ("MedicationRequest", ""),
    ("ServiceRequest", ""),
    ("MedicationDispense", ""),
    ("Immunization", ""),
    ("RelatedPerson", ""),
    ("EpisodeOfCare", ""),
];
/// Records of one portion, and of one page (fhir2 gives no more).
const PORTION: usize = 500;
const PAGE: usize = 100;
/// In how many turns a record with the newest second is named again.
const TURNS: u8 = 3;
/// How many with one second are remembered: more are named again and again, and found unchanged.
const REMEMBERED: usize = 500;

/// How far one search has come.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Mark {
    /// The newest time that it has shown.
    since: Option<String>,
    /// Whether it has come to its end once.
    done: bool,
    /// Records with that time, and how often each was named.
    named: BTreeMap<String, u8>,
}

/// How far all of them have come.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Marks(BTreeMap<usize, Mark>);

impl Marks {
    /// Whether each has come to its end once.
    pub(super) fn is_loaded(&self) -> bool {
        (0..SEARCHES.len()).all(|at| self.0.get(&at).is_some_and(|mark| mark.done))
    }
}

impl OpenMrs {
    /// A portion of the first load: the first search that has not come to its end.
    pub(super) async fn load(&self, marks: &mut Marks) -> Result<Vec<RecordRef>, EmrError> {
        let unfinished = (0..SEARCHES.len()).find(|at| !marks.0.get(at).is_some_and(|m| m.done));
        let Some(at) = unfinished else { return Ok(Vec::new()) };
        self.search(at, marks.0.entry(at).or_default()).await
    }

    /// What is new in all searches.
    pub(super) async fn poll(&self, marks: &mut Marks) -> Result<Vec<RecordRef>, EmrError> {
        let mut records = Vec::new();
        for at in 0..SEARCHES.len() {
            records.extend(self.search(at, marks.0.entry(at).or_default()).await?);
        }
        Ok(records)
    }

    /// Goes on with one search, for a portion.
    async fn search(&self, at: usize, mark: &mut Mark) -> Result<Vec<RecordRef>, EmrError> {
        let (kind, filter) = SEARCHES[at];
        if !self.has(kind).await? {
            mark.done = true;
            return Ok(Vec::new());
        }
        let mut query = format!("{kind}?_sort=_lastUpdated&_count={PAGE}");
        for more in [filter.to_owned(), since(mark)].iter().filter(|more| !more.is_empty()) {
            query.push('&');
            query.push_str(more);
        }
        let mut pages = self.server.pages(&query)?;
        let (found, ended) = portion(&mut pages, mark.since.as_deref()).await?;
        let mut records = Vec::new();
        let newest = found.iter().filter_map(|one| one.changed.clone()).max_by_key(|t| second(t));
        let newest = newest.or_else(|| mark.since.clone());
        let moved = newest.as_deref().map(second) != mark.since.as_deref().map(second);
        let mut named = BTreeMap::new();
        for one in &found {
            let Some(record) = &one.record else { continue };
            let is_newest = one.changed.as_deref().map(second) == newest.as_deref().map(second);
            let key = record.to_string();
            let before = if moved { 0 } else { mark.named.get(&key).copied().unwrap_or(0) };
            let old = one.changed.as_deref().map(second) == mark.since.as_deref().map(second);
            let times = mark.named.get(&key).copied().filter(|_| old).unwrap_or(before);
            if is_newest && named.len() < REMEMBERED {
                named.insert(key, times.saturating_add(1).min(TURNS));
            }
            if times < TURNS {
                records.push(record.clone());
            }
        }
        *mark = Mark { since: newest, done: mark.done || ended, named };
        Ok(records)
    }
}

/// Reads pages until the search ends, or a portion is full and a later second is reached. Where
/// what comes is in no order, all of it is read: no place in the middle would be one.
async fn portion(
    pages: &mut Pages<'_>,
    since: Option<&str>,
) -> Result<(Vec<Found>, bool), EmrError> {
    let mut found: Vec<Found> = Vec::new();
    let mut ordered = true;
    loop {
        let page = match pages.next().await {
            Ok(Some(page)) => page,
            Ok(None) => return Ok((found, true)),
            // fhir2 keeps the last hundred searches of everybody: ours may be forgotten.
            Err(_) if ordered && has_moved(&found, since) => return Ok((found, false)),
            Err(error) => return Err(failed(error)),
        };
        for one in page.found {
            let before = found.last().and_then(|last| last.changed.as_deref()).map(second);
            ordered &= before.is_none_or(|before| {
                one.changed.as_deref().is_some_and(|time| second(time) >= before)
            });
            found.push(one);
        }
        if found.len() >= PORTION && page.next.is_some() && ordered && has_moved(&found, since) {
            return Ok((found, false));
        }
    }
}

fn has_moved(found: &[Found], since: Option<&str>) -> bool {
    let last = found.last().and_then(|last| last.changed.as_deref()).map(second);
    last.is_some_and(|last| since.is_none_or(|since| second(since) < last))
}

fn since(mark: &Mark) -> String {
    match mark.since.as_deref() {
        Some(time) => format!("_lastUpdated=ge{}", time.replace('+', "%2B")),
        None => String::new(),
    }
}

/// The second of a time, so that offsets and fractions do not matter.
fn second(time: &str) -> i64 {
    chrono::DateTime::parse_from_rfc3339(time).map_or(i64::MIN, |time| time.timestamp())
}
