//! A parent and its children, and the lines between them as they go over the wire, without HTTP.

use std::cell::Cell;
use std::collections::BTreeMap;

use protocol::cohort::Definition;
use protocol::delivery::Outcome;
use protocol::stream::{self, Header, Lane, OutLine, StreamLine};
use protocol::{CohortName, Digest, Limits, RecordRef, Refusal, Timestamp};

use super::{Maker, START, feed_id, site};
use crate::{
    Applied, ChildDraft, CohortChange, CohortDraft, DigestScope, Draft, FeedQuery, FeedSlice,
    Incoming, LeavePolicy, Marker, PushLine, ReceiptWord, Recorded, Scope, Settled, Source, Store,
};

/// Bytes of bodies in one answer: small, so that slices are cut often.
const SLICE_BYTES: usize = 2_000;

/// A parent (`centre`) and one child (`clinic`).
pub struct Pair {
    pub parent: Box<dyn Store>,
    pub child: Box<dyn Store>,
    pub limits: Limits,
    /// What the child does about leaves.
    pub leave: Cell<LeavePolicy>,
    clock: Cell<i64>,
}

impl Pair {
    /// Both empty; the parent has a cohort `all` of all patients and knows the child, which may
    /// read it; the child has its parent.
    pub fn new(maker: &dyn Maker) -> Pair {
        Pair::with_limits(maker, Limits::default())
    }

    pub fn with_limits(maker: &dyn Maker, limits: Limits) -> Pair {
        let pair = Pair {
            parent: maker.make(&site("centre"), &limits),
            child: maker.make(&site("clinic"), &limits),
            limits,
            leave: Cell::default(),
            clock: Cell::new(START.millis()),
        };
        pair.cohort("all", Definition::All {});
        let child = ChildDraft {
            site: "clinic".parse().unwrap(),
            cohorts: vec!["all".parse().unwrap()],
            code_hash: [7; 32],
            code_expires: pair.now(),
        };
        pair.parent.child_add(&child, pair.now()).unwrap();
        pair.child.parent_set(pair.now(), &feed_id("outgoing")).unwrap();
        pair
    }

    /// The next second.
    pub fn now(&self) -> Timestamp {
        self.clock.set(self.clock.get() + 1_000);
        Timestamp::from_millis(self.clock.get())
    }

    pub fn pass(&self, seconds: i64) {
        self.clock.set(self.clock.get() + seconds * 1_000);
    }

    pub fn cohort(&self, name: &str, definition: Definition) -> CohortChange {
        let cohort = CohortDraft {
            name: name.parse().unwrap(),
            feed: feed_id(name),
            title: None,
            definition,
            page_entries: 100,
        };
        self.parent.cohort_set(&cohort, self.now()).unwrap()
    }

    pub fn at_parent(&self, draft: &Draft) -> Recorded {
        self.parent.change_record(draft, self.now()).unwrap()
    }

    pub fn at_child(&self, draft: &Draft) -> Recorded {
        self.child.change_record(draft, self.now()).unwrap()
    }

    /// What the child `reader` may see of these cohorts.
    pub fn scope(reader: &dyn Store, cohorts: &[&str]) -> Scope {
        let info = reader.site().unwrap();
        Scope::Cohorts {
            reader: info.site,
            epoch: info.epoch,
            cohorts: cohorts.iter().map(|name| name.parse::<CohortName>().unwrap()).collect(),
        }
    }

    /// The child's marker of a lane of a feed in the parent's present epoch.
    pub fn marker(&self, feed: &str, lane: Lane) -> Option<u64> {
        let epoch = self.parent.site().unwrap().epoch;
        let markers = self.child.marker_list().unwrap();
        let found = markers
            .iter()
            .find(|marker| marker.name == feed && marker.lane == lane && marker.epoch == epoch);
        found.map(|marker| marker.position)
    }

    /// At the first contact with a cohort's feed: live from now on, bulk from the beginning.
    fn begin(&self, feed: &str) {
        if feed == "reference" || self.marker(feed, Lane::Live).is_some() {
            return;
        }
        let slice = self.slice(feed, Lane::Live, (0, 0)).unwrap();
        let marker = |lane, position| Marker {
            feed: slice.feed.id,
            name: feed.to_owned(),
            epoch: slice.feed.epoch,
            lane,
            position,
        };
        let markers = [marker(Lane::Live, slice.head), marker(Lane::Bulk, 0)];
        self.child.marker_set(&markers, self.now()).unwrap();
    }

    fn slice(&self, feed: &str, lane: Lane, (marker, after): (u64, u64)) -> Option<FeedSlice> {
        let query = FeedQuery {
            feed: feed.to_owned(),
            lane,
            marker,
            after,
            epoch: None,
            to: None,
            bytes: SLICE_BYTES,
        };
        let scope = Pair::scope(&*self.child, &["all", feed_or_all(feed)]);
        self.parent.feed_changes(&query, &scope).unwrap()
    }

    /// Where the lines of a lane come from, as the child tells its store.
    pub fn source(&self, slice: &FeedSlice, lane: Lane) -> Source {
        Source::Parent {
            site: self.parent.site().unwrap().site,
            feed: slice.feed.id,
            name: slice.feed.name.clone(),
            epoch: slice.feed.epoch,
            lane,
            sequence: slice.sequence,
            leave: self.leave.get(),
        }
    }

    /// One answer of a lane as the child reads it: its source and its lines.
    pub fn fetch(&self, feed: &str, lane: Lane) -> (Source, Vec<Incoming>, bool) {
        self.begin(feed);
        let marker = self.marker(feed, lane).unwrap_or(0);
        let slice = self.slice(feed, lane, (marker, marker)).unwrap();
        let mut incoming = over_the_wire(&slice, &self.limits);
        incoming.push(Incoming::End(slice.end));
        (self.source(&slice, lane), incoming, slice.more)
    }

    /// Reads a lane to its end; gives what became of each line.
    pub fn pull_lane(&self, feed: &str, lane: Lane) -> Vec<Applied> {
        let mut results = Vec::new();
        loop {
            let (source, lines, more) = self.fetch(feed, lane);
            let ends = lines.len() - 1;
            let now = self.now();
            let applied = self.child.change_apply(&source, &lines, now).unwrap();
            results.extend(applied.into_iter().take(ends));
            if !more {
                return results;
            }
        }
    }

    /// Reads all lanes of the reference feed and the cohort `all`.
    pub fn pull(&self) -> Vec<Applied> {
        let mut results = self.pull_lane("reference", Lane::Live);
        results.extend(self.pull_lane("all", Lane::Live));
        results.extend(self.pull_lane("all", Lane::Bulk));
        results
    }

    /// Sends what is due once; gives the parent's outcomes.
    pub fn push_once(&self) -> Vec<Outcome> {
        let lines = self.child.delivery_next(self.now(), 100_000).unwrap();
        let mut settled = Vec::new();
        for line in &lines {
            settled.push(self.send(line));
        }
        self.child.delivery_settle(&settled, self.now(), 0).unwrap();
        settled.into_iter().map(|word| word.outcome).collect()
    }

    /// Brings one line to the parent; gives its word, which the child has not heard yet.
    pub fn send(&self, line: &PushLine) -> Settled {
        let info = self.child.site().unwrap();
        let source = Source::Child { site: info.site, epoch: info.epoch, reading: None };
        let lines = line.lines.iter().map(|part| read_back(part, &self.limits));
        let lines = lines.collect::<Vec<_>>();
        let applied = self.parent.change_apply(&source, &lines, self.now()).unwrap();
        let word = applied.iter().find(|part| !part.outcome.is_held());
        let word = word.or(applied.last()).unwrap();
        Settled {
            deliveries: line.deliveries.clone(),
            sent: line.sent.clone(),
            differs: applied.iter().flat_map(|part| part.differs.clone()).collect(),
            outcome: word.outcome,
            reason: word.reason.clone(),
            sequence: word.sequence,
        }
    }

    /// Sends until nothing is due.
    pub fn push(&self) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        loop {
            let some = self.push_once();
            if some.is_empty() {
                return outcomes;
            }
            outcomes.extend(some);
        }
    }

    /// Both ways until nothing moves.
    pub fn quiet(&self) {
        for _ in 0..20 {
            let moved = self.push().len() + self.pull().len();
            let asked = self.ask_again(&Pair::scope(&*self.child, &["all"]));
            if moved + asked == 0 {
                return;
            }
        }
        panic!("the two sides do not come to rest");
    }

    /// All records of the cohort `all` and the reference feed at both sides.
    pub fn assert_in_step(&self) {
        let scope = Pair::scope(&*self.child, &["all"]);
        for feed in ["all", "reference"] {
            let published = DigestScope::Published { feed: feed.to_owned(), scope: scope.clone() };
            let feeds = self.parent.feed_list(&scope).unwrap();
            let id = feeds.iter().find(|info| info.name == feed).unwrap().id;
            let held = DigestScope::Held { feed: id, name: feed.to_owned() };
            assert_eq!(digests(&*self.parent, &published), digests(&*self.child, &held), "{feed}");
        }
    }

    /// The body of a record at the parent and at the child.
    pub fn bodies(&self, name: &str) -> (Option<String>, Option<String>) {
        (body(&*self.parent, name), body(&*self.child, name))
    }

    /// After the parent was restored: what a child does about it.
    pub fn reconcile(&self) {
        self.reopen();
        let scope = Pair::scope(&*self.child, &["all"]);
        for feed in self.parent.feed_list(&scope).unwrap() {
            self.reconcile_feed(&feed.name, &scope, false);
            self.at_head(&feed.name);
        }
        self.push();
        self.ask_again(&scope);
    }

    /// Once a day: compares all there is though nothing was restored, and does what follows.
    pub fn compare(&self) {
        let scope = Pair::scope(&*self.child, &["all"]);
        for feed in self.parent.feed_list(&scope).unwrap() {
            self.reconcile_feed(&feed.name, &scope, true);
        }
        self.quiet();
    }

    /// Queues again what the parent does not hold any more.
    pub fn reopen(&self) {
        let taken = self.child.delivery_done(0, 1_000).unwrap();
        let asked = taken.iter().map(|(_, id)| (id.clone(), Vec::new())).collect::<Vec<_>>();
        let child = self.child.site().unwrap().site;
        let words = self.parent.inbox_receipts(&child, &asked).unwrap();
        let lost = taken.iter().zip(words).filter(|(_, word)| *word == ReceiptWord::Unknown);
        let lost = lost.map(|((sequence, _), _)| *sequence).collect::<Vec<_>>();
        let reopened = self.child.delivery_reopen(&lost, self.now()).unwrap();
        assert_eq!(reopened, lost.len() as u64);
        self.child.delivery_reopen(&[], self.now()).unwrap();
    }

    /// Asks for what was not listed, and lets go of what does not come.
    fn ask_again(&self, scope: &Scope) -> usize {
        let feeds = self.parent.feed_list(scope).unwrap();
        let mut asked = 0;
        loop {
            let unlisted = self.child.unlisted_list(100).unwrap();
            let Some((feed, _)) = unlisted.first() else { return asked };
            let names = unlisted.iter().filter(|(other, _)| other == feed);
            let names = names.map(|(_, name)| name.clone()).collect::<Vec<_>>();
            asked += names.len();
            let info = feeds.iter().find(|info| info.id == *feed).unwrap();
            let slice = self.slice(&info.name, Lane::Live, (0, 0)).unwrap();
            self.fetch_by_name(&info.name, &names, scope, &slice);
            let leave = self.leave.get();
            self.child.unlisted_settle(feed, &names, leave, self.now()).unwrap();
        }
    }

    fn fetch_by_name(&self, feed: &str, names: &[RecordRef], scope: &Scope, slice: &FeedSlice) {
        let found = self.parent.feed_fetch(feed, names, scope).unwrap().unwrap();
        let lines = found.iter().map(|version| fetched(version, &self.limits));
        let lines = lines.collect::<Vec<_>>();
        self.child.change_apply(&self.source(slice, Lane::Live), &lines, self.now()).unwrap();
    }

    fn reconcile_feed(&self, feed: &str, scope: &Scope, stands: bool) {
        let slice = self.slice(feed, Lane::Live, (0, 0)).unwrap();
        let published = DigestScope::Published { feed: feed.to_owned(), scope: scope.clone() };
        let theirs = digests(&*self.parent, &published);
        let page = theirs.iter().map(|(name, digest)| (name.clone(), digest.short()));
        let page = page.collect::<Vec<_>>();
        let range = crate::DigestRange { name: feed.to_owned(), stands, ..Default::default() };
        let (id, sequence) = (slice.feed.id, slice.sequence);
        let wanted = self.child.marker_compare(&id, &page, &range, sequence, self.now()).unwrap();
        self.fetch_by_name(feed, &wanted, scope, &slice);
    }

    /// The child's markers of a feed are where the feed is, whatever it has applied.
    pub fn at_head(&self, feed: &str) {
        let slice = self.slice(feed, Lane::Live, (0, 0)).unwrap();
        let id = slice.feed.id;
        let marker = |lane, position| Marker {
            feed: id,
            name: feed.to_owned(),
            epoch: slice.feed.epoch,
            lane,
            position,
        };
        let markers =
            [marker(Lane::Live, slice.feed.head), marker(Lane::Bulk, slice.feed.head_join)];
        self.child.marker_set(&markers, self.now()).unwrap();
    }
}

fn feed_or_all(feed: &str) -> &str {
    if feed == "reference" { "all" } else { feed }
}

/// The body of a record; `None` where it is deleted or not there.
pub fn body(store: &dyn Store, name: &str) -> Option<String> {
    let name = super::builders::named(name);
    store.record_get(&name, None, &Scope::Everything).unwrap().and_then(|version| version.body)
}

/// The digests of a scope, of records that are not deleted: a site need not have heard of a record
/// that is not there any more.
pub fn digests(store: &dyn Store, scope: &DigestScope) -> BTreeMap<RecordRef, Digest> {
    let mut all = BTreeMap::new();
    let mut after = None;
    loop {
        let some = store.record_digests(scope, after.as_ref(), 7).unwrap();
        let Some((last, _)) = some.last() else { return all };
        after = Some(last.clone());
        let alive = some.into_iter().filter(|(name, digest)| *digest != Digest::of_deletion(name));
        all.extend(alive);
    }
}

/// The lines of a slice, written and read back.
fn over_the_wire(slice: &FeedSlice, limits: &Limits) -> Vec<Incoming> {
    let header = Header {
        feed: slice.feed.id,
        epoch: slice.feed.epoch,
        sequence: slice.sequence,
        after: 0,
        head: slice.head,
        behind: slice.behind,
        oldest: slice.oldest,
    };
    let mut text = String::new();
    stream::write_header(&mut text, &header);
    let read = stream::read_line(text.trim_end().as_bytes(), limits).unwrap();
    assert_eq!(read, StreamLine::Header(header));
    slice.lines.iter().map(|line| read_back(line, limits)).collect()
}

/// A line as a reader with a tighter limit takes it.
pub fn refused(line: &Incoming) -> Incoming {
    let Incoming::Line { line, raw } = line else { panic!("not a line") };
    let refused = stream::RefusedLine {
        position: line.position,
        id: line.id.clone(),
        covers: Vec::new(),
        part: None,
        patients: line.patients.clone(),
        refusal: Refusal::over_limit("resource_bytes", 10),
    };
    Incoming::Refused { line: Box::new(refused), raw: raw.clone() }
}

/// The line with a record that cannot be taken in place of its own.
pub fn spoiled(line: &OutLine, limits: &Limits) -> Incoming {
    let mut text = String::new();
    stream::write_line(&mut text, line);
    let text = text.replace("\"sum\":\"", "\"sum\":\"A");
    let raw = text.trim_end().as_bytes().to_vec();
    match stream::read_line(&raw, limits).unwrap() {
        StreamLine::Refused(line) => Incoming::Refused { line, raw },
        other => panic!("it is taken: {other:?}"),
    }
}

/// A line, written and read back.
pub fn read_back(line: &OutLine, limits: &Limits) -> Incoming {
    let mut text = String::new();
    stream::write_line(&mut text, line);
    incoming(text.trim_end_matches('\n'), limits)
}

/// A line of text as it is handed to the store.
pub fn incoming(text: &str, limits: &Limits) -> Incoming {
    let raw = text.as_bytes().to_vec();
    match stream::read_line(&raw, limits).unwrap() {
        StreamLine::Line(line) => Incoming::Line { line, raw },
        StreamLine::Refused(line) => Incoming::Refused { line, raw },
        other => panic!("not a line: {other:?}"),
    }
}

/// A record that was fetched by its name, as a line that is no entry of the feed.
fn fetched(version: &crate::StoredVersion, limits: &Limits) -> Incoming {
    use protocol::stream::OutRecord;
    let (reference, digest, base) = (version.reference.clone(), version.digest, None);
    let record = match version.body.clone() {
        Some(body) => OutRecord::Resource { reference, body, digest, base },
        None => OutRecord::Deleted { reference, base },
    };
    let line = OutLine {
        position: Some(0),
        kind: protocol::feed::EntryKind::Change,
        id: None,
        covers: Vec::new(),
        part: None,
        author: None,
        at: None,
        patients: Vec::new(),
        reason: None,
        records: vec![record],
    };
    read_back(&line, limits)
}
