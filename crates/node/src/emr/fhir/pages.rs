//! The pages of one list, over calls and restarts.
//!
//! Pages are places in an order that moves: where a record is changed or deleted while they are
//! read, those after it move up, and one of them stands on no page. So a list in the order of time
//! is asked for anew from the newest time that it has shown; only what changed in one and the same
//! instant is read page by page, until it is the same twice.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::follow::{count, later};
use super::{FhirEmr, plain};
use crate::fhir_server::{FhirError, Page};
use crate::ports::{EmrError, LinkError};
use protocol::Timestamp;

/// How often in a row pages begin again at once, where a later one cannot be read, and the
/// milliseconds after which they do once more.
const AGAIN: u32 = 3;
const AGAIN_AFTER: i64 = 15 * 60_000;
/// How often the pages of one instant are read, at most, to see them the same twice.
const PASSES: u32 = 5;

/// Shows the names of records only, and when they were changed.
const ELEMENTS: &str = "&_elements=id,meta";
/// Records of one page, where more were too long for one.
const FEW: usize = 10;

/// A list of a server.
pub(super) struct List<'l> {
    /// What it is of, for people.
    pub what: &'l str,
    /// Its path, but for the time from which it is asked for and what follows here.
    pub path: String,
    /// Entries of one page.
    pub count: usize,
    /// Whether its records are asked for whole; else their names alone.
    pub is_whole: bool,
    /// Whether it is in the order of time.
    pub by_time: bool,
    /// Whether nothing may be missed that is changed in one instant while that is read.
    pub exact: bool,
}

/// Where the reader of a list is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct At {
    /// The time from which it is asked for.
    pub from: Option<String>,
    /// The page of that where it goes on.
    next: Option<String>,
    /// Whether any page was reached by its place.
    pub by_place: bool,
    /// Whether a page was too long: they are asked for with few entries.
    few: bool,
    /// Whether a page could not be shown whole: they are asked for names alone.
    pub names: bool,
    again: Again,
    trail: Trail,
    run: Run,
}

/// How often pages began again, since a later one could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
struct Again {
    times: u32,
    /// When they did last, by our clock (ms).
    last: i64,
}

impl Again {
    /// Whether they may begin again now.
    fn may(&mut self, now: Timestamp) -> bool {
        let elapsed = now.millis() - self.last;
        if self.times >= AGAIN && (0..AGAIN_AFTER).contains(&elapsed) {
            return false;
        }
        *self = Again { times: self.times.saturating_add(1), last: now.millis() };
        true
    }
}

/// What shows that pages lead in a circle, however wide (Brent's way): one page that was seen, and
/// how many were seen after it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
struct Trail {
    mark: u64,
    steps: u32,
    power: u32,
}

impl Trail {
    /// Whether this page was seen before.
    fn closes(&mut self, path: &str) -> bool {
        let path = hash(path);
        if self.power > 0 && path == self.mark {
            return true;
        }
        self.steps += 1;
        if self.steps >= self.power {
            *self = Trail { mark: path, steps: 0, power: self.power.saturating_mul(2).max(1) };
        }
        false
    }
}

/// Pages that were reached by their place, of one time.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
struct Run {
    pages: u32,
    /// Over what stands on them, in whatever order.
    sum: u64,
    /// The same of the time before.
    before: Option<u64>,
    passes: u32,
}

impl Run {
    /// Adds what is not later than the time that is asked from.
    fn add(&mut self, page: &Page, from: Option<&str>) {
        let ordered = newest(page).is_some();
        for one in &page.found {
            let changed = one.changed.as_deref().unwrap_or_default();
            if ordered && from.is_none_or(|from| later(changed, from)) {
                continue;
            }
            let name = one.record.as_ref().map(ToString::to_string);
            self.sum = self.sum.wrapping_add(hash(&format!("{name:?} {changed}")));
        }
    }

    /// Whether they are to be read once more.
    fn once_more(&mut self) -> bool {
        let is_same = self.before == Some(self.sum);
        if self.pages == 0 || is_same || self.passes + 1 >= PASSES {
            *self = Run::default();
            return false;
        }
        *self = Run { before: Some(self.sum), passes: self.passes + 1, ..Run::default() };
        true
    }
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// The newest time on a page that is in the order of time.
fn newest(page: &Page) -> Option<&str> {
    let times = page.found.iter().map(|one| one.changed.as_deref()).collect::<Option<Vec<_>>>()?;
    let ordered = times.windows(2).all(|pair| !later(pair[0], pair[1]));
    times.last().copied().filter(|last| ordered && last.parse::<Timestamp>().is_ok())
}

impl At {
    /// From a time on.
    pub(super) fn from(time: String) -> At {
        At { from: Some(time), ..At::default() }
    }

    /// The page is read; gives whether there is another one.
    fn go_on(&mut self, list: &List<'_>, page: &Page) -> bool {
        if list.exact {
            self.run.add(page, self.from.as_deref());
        }
        let from = self.from.clone();
        let newest = newest(page).filter(|newest| {
            list.by_time && from.as_deref().is_none_or(|from| later(newest, from))
        });
        self.next = None;
        match (&page.next, newest) {
            (Some(next), None) => {
                self.next = Some(next.clone());
                self.by_place = true;
                self.run.pages += 1;
                return true;
            }
            _ if list.exact && self.run.once_more() => {}
            (Some(_), Some(newest)) => {
                self.from = Some(newest.to_owned());
                self.run = Run::default();
            }
            (None, _) => return false,
        }
        self.trail = Trail::default();
        true
    }
}

impl FhirEmr {
    /// The next page of a list, and whether there is another one after it.
    pub(super) async fn next_of(
        &self,
        list: &List<'_>,
        at: &mut At,
    ) -> Result<(Page, bool), EmrError> {
        let what = list.what;
        let first = self.path_of(list, at);
        let named = |error| match error {
            FhirError::Unclear(why) => EmrError::away(format!("{what} cannot be read: {why}")),
            FhirError::Refused(why) | FhirError::TooMuch(why) => {
                EmrError::Refused(format!("{what} cannot be read: {why}"))
            }
            other => plain(other),
        };
        let page = match at.next.clone() {
            None => self.first_page(&first).await,
            Some(next) => match self.page(&next).await {
                // Pages are kept for a while only.
                Err(FhirError::Unclear(why) | FhirError::Refused(why)) => {
                    if !at.again.may(self.ways.clock.now()) {
                        let words = format!("a later page of {what} cannot be read: {why}");
                        return Err(EmrError::away(words));
                    }
                    (at.next, at.trail, at.run) = Default::default();
                    self.first_page(&first).await
                }
                page => page,
            },
        };
        let (page, first) = match self.asks_less(list, at, &page) {
            true => {
                let first = self.path_of(list, at);
                (self.first_page(&first).await, first)
            }
            false => (page, first),
        };
        let page = page.map_err(named)?;
        if at.next.is_none() {
            at.trail.closes(&first);
        }
        let more = at.go_on(list, &page);
        let page = self.page_as_ours(page).await?;
        if let Some(next) = &at.next
            && at.trail.closes(next)
        {
            return Err(EmrError::away(format!("the pages of {what} lead back to one before")));
        }
        Ok((page, more))
    }

    /// Whether less is to be asked for, from where the reader of a list is: what could not be shown
    /// was too long, or has a record in it that cannot be shown at all.
    fn asks_less(&self, list: &List<'_>, at: &mut At, page: &Result<Page, FhirError>) -> bool {
        match page {
            Err(FhirError::TooMuch(_)) if !at.few => at.few = true,
            Err(FhirError::Refused(_) | FhirError::Unclear(_))
                if list.is_whole && list.by_time && !at.names =>
            {
                at.names = true;
            }
            _ => return false,
        }
        (at.next, at.trail, at.run) = Default::default();
        true
    }

    /// The path of the first page from where the reader of a list is.
    fn path_of(&self, list: &List<'_>, at: &At) -> String {
        let count = count(if at.few { list.count.min(FEW) } else { list.count });
        let elements = if list.is_whole && !at.names { "" } else { self.elements() };
        let from = at.from.as_deref().filter(|_| list.by_time);
        let from = from.map(|from| format!("&_lastUpdated=ge{}", from.replace('+', "%2B")));
        format!("{}&{count}{elements}{}", list.path, from.unwrap_or_default())
    }

    /// The first page of this path. A server that refuses to show a part of its records shows them
    /// whole, from then on.
    async fn first_page(&self, path: &str) -> Result<Page, FhirError> {
        let page = self.page(path).await;
        match (&page, path.contains(ELEMENTS)) {
            (Err(FhirError::Refused(_) | FhirError::Unclear(_)), true) => {
                let whole = self.page(&path.replace(ELEMENTS, "")).await?;
                self.whole.store(true, Ordering::Relaxed);
                Ok(whole)
            }
            _ => page,
        }
    }

    /// What a search says of the elements that it is to show: nothing where that is refused.
    pub(super) fn elements(&self) -> &'static str {
        if self.whole.load(Ordering::Relaxed) { "" } else { ELEMENTS }
    }

    /// The one page of this path.
    async fn page(&self, path: &str) -> Result<Page, FhirError> {
        let page = self.server.pages(path)?.next().await?;
        page.ok_or_else(|| LinkError("it gave no page".to_owned()).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn circles_of_any_width_are_noticed_and_a_long_way_is_none() {
        for (before, width) in [(0, 1), (0, 2), (1, 2), (3, 5), (40, 7)] {
            let mut trail = Trail::default();
            let path = |n: u32| match n {
                n if n < before => n,
                n => before + (n - before) % width,
            };
            let noticed = (0..500).position(|n| trail.closes(&path(n).to_string()));
            let noticed = noticed.unwrap_or(usize::MAX);
            assert!(noticed < 3 * (before + width) as usize + 2, "{before} {width}: {noticed}");
        }
        let mut trail = Trail::default();
        assert!((0..10_000).all(|n| !trail.closes(&n.to_string())));
    }
}
