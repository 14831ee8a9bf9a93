//! A parent that reads a child's changes instead of being sent them.

use protocol::delivery::{DeliveryState, Outcome};
use protocol::stream::Lane;
use protocol::{Epoch, Limits};

use super::Maker;
use super::builders::{Resource, a_location, a_patient, an_observation, put};
use super::pair::{Pair, body, read_back, refused, spoiled};
use crate::{
    Applied, DeliveryAction, DeliveryChoice, DeliveryFilter, Incoming, LeavePolicy, OutgoingQuery,
    OutgoingSlice, QueueChoice, QueueId, QueueOrder, ReaderSeen, Reading, Source, SourceEvent,
    SourceMark, StoreError,
};

/// The child as the parent has read it so far.
fn mark(pair: &Pair) -> Option<SourceMark> {
    let site = pair.child.site().unwrap().site;
    let found = pair.parent.source_get(&site).unwrap();
    let listed = pair.parent.source_list().unwrap();
    assert_eq!(found, listed.into_iter().find(|source| source.name == site));
    found.and_then(|source| source.mark)
}

fn slice(pair: &Pair, bytes: usize) -> OutgoingSlice {
    let known = mark(pair);
    let after = known.map_or(0, |mark| mark.position);
    let query = OutgoingQuery { after, epoch: known.map(|mark| mark.epoch), bytes };
    pair.child.outgoing_changes(&query).unwrap().unwrap()
}

/// From where lines of a slice come, as the parent tells its store.
fn source(pair: &Pair, slice: &OutgoingSlice) -> Source {
    let child = pair.child.site().unwrap();
    if mark(pair).is_none() {
        let event = SourceEvent::Begin { feed: slice.feed.id, epoch: child.epoch };
        pair.parent.source_note(&child.site, &event, pair.now()).unwrap();
    }
    let after = mark(pair).unwrap().position;
    let reading = Some(Reading { feed: slice.feed.id, after });
    Source::Child { site: child.site, epoch: child.epoch, reading }
}

fn apply(pair: &Pair, slice: &OutgoingSlice) -> Vec<Applied> {
    let source = source(pair, slice);
    let mut lines = Vec::new();
    lines.extend(slice.lines.iter().map(|line| read_back(line, &pair.limits)));
    lines.push(Incoming::End(slice.end));
    pair.parent.change_apply(&source, &lines, pair.now()).unwrap()
}

/// Tells the child what became of its changes; gives of how many.
fn tell(pair: &Pair) -> usize {
    let child = pair.child.site().unwrap().site;
    let words = pair.parent.source_words(&child, 1_000).unwrap();
    pair.child.outgoing_settle(&words, pair.now(), 0).unwrap();
    pair.parent.source_told(&child, &words).unwrap();
    words.len()
}

/// Reads the child to the end and tells it; gives what became of each line.
fn read(pair: &Pair) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    loop {
        let slice = slice(pair, 2_000);
        let applied = apply(pair, &slice);
        outcomes.extend(applied.iter().take(slice.lines.len()).map(|line| line.outcome));
        tell(pair);
        if !slice.more {
            return outcomes;
        }
    }
}

fn open(pair: &Pair) -> Vec<DeliveryState> {
    let filter = DeliveryFilter { limit: 100, ..DeliveryFilter::default() };
    let listed = pair.child.delivery_list(&filter).unwrap();
    listed.into_iter().map(|delivery| delivery.state).collect()
}

pub fn what_is_read_is_merged_as_a_push_would_be(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    pair.at_child(&put(&[a_location("ward")]));
    pair.at_child(&put(&[a_patient("amina").born("1980"), an_observation("pulse", "amina")]));
    assert_eq!(read(&pair), [Outcome::Applied, Outcome::Applied]);
    assert_eq!(open(&pair), []);
    // Both changed her since, the parent twice: the base is what the child last gave.
    pair.at_parent(&put(&[a_patient("amina").born("1980").gender("female")]));
    pair.at_child(&put(&[a_patient("amina").born("1981")]));
    assert_eq!(read(&pair), [Outcome::Merged]);
    let both = a_patient("amina").born("1981").gender("female").text();
    assert_eq!(body(&*pair.parent, "Patient/amina"), Some(both.clone()));
    // What comes down fits what went up: no conflict, and nothing goes up again.
    pair.pull();
    assert_eq!(body(&*pair.child, "Patient/amina"), Some(both));
    assert_eq!((read(&pair), open(&pair)), (Vec::new(), Vec::new()));
    assert_eq!(pair.parent.site_status(pair.now()).unwrap().conflicts_open, 0);
}

pub fn an_answer_says_a_record_once_and_stays_within_its_bytes(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    for year in 0..5 {
        pair.at_child(&put(&[a_patient("amina").born(&format!("198{year}"))]));
    }
    let all = slice(&pair, 100_000);
    let records = all.lines.iter().map(|line| line.records.len()).collect::<Vec<_>>();
    assert_eq!((records, all.end, all.more), (vec![1, 0, 0, 0, 0], 5, false));
    let first = slice(&pair, 1);
    assert_eq!((first.lines.len(), first.end, first.more), (1, 1, true));
    assert_eq!(read(&pair).len(), 5);
    assert_eq!(open(&pair), []);
    assert_eq!(pair.parent.site().unwrap().sequence, 1, "one state, one change");
}

pub fn what_the_child_was_not_told_it_says_again_and_nothing_happens_twice(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    pair.at_child(&put(&[a_patient("amina").born("1980")]));
    apply(&pair, &slice(&pair, 2_000));
    // The word was lost, and so was the parent's marker; its numbers are held.
    let child = pair.child.site().unwrap();
    let event = SourceEvent::Begin { feed: slice(&pair, 1).feed.id, epoch: child.epoch };
    pair.parent.source_note(&child.site, &event, pair.now()).unwrap();
    let before = pair.parent.site().unwrap().sequence;
    assert_eq!(read(&pair), [Outcome::Already]);
    assert_eq!((pair.parent.site().unwrap().sequence, open(&pair)), (before, vec![]));
    // A number that is held does not hide a later body: nothing else would bring it.
    pair.at_child(&put(&[an_observation("o", "amina")]));
    apply(&pair, &slice(&pair, 2_000));
    let later = an_observation("o", "amina").with("status", r#""final""#);
    pair.at_child(&put(std::slice::from_ref(&later)));
    pair.parent.source_note(&child.site, &event, pair.now()).unwrap();
    assert_eq!(read(&pair), [Outcome::Applied, Outcome::Already]);
    assert_eq!(body(&*pair.parent, "Observation/o"), Some(later.text()));
}

pub fn a_marker_that_somebody_else_moved_is_noticed(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    pair.at_child(&put(&[a_patient("amina").born("1980")]));
    let old = slice(&pair, 2_000);
    let stale = source(&pair, &old);
    pair.at_child(&put(&[a_patient("amina").born("1981")]));
    read(&pair);
    let lines = [read_back(&old.lines[0], &pair.limits)];
    let raced = pair.parent.change_apply(&stale, &lines, pair.now());
    assert!(matches!(raced, Err(StoreError::Raced)), "{raced:?}");
    let newest = a_patient("amina").born("1981").text();
    assert_eq!(body(&*pair.parent, "Patient/amina"), Some(newest));
    // A marker of another epoch, or beyond the head, fits nothing.
    for (after, epoch) in [(0, Some(super::site("other").epoch)), (99, None)] {
        let query = OutgoingQuery { after, epoch, bytes: 1 };
        let gone = pair.child.outgoing_changes(&query);
        assert!(matches!(gone, Err(StoreError::Gone { head: 2, .. })), "{gone:?}");
    }
}

/// An observation of amina's with a note of that many letters.
fn noted(id: &str, letters: usize) -> Resource {
    an_observation(id, "amina").with("note", &format!("\"{}\"", "x".repeat(letters)))
}

pub fn a_line_in_parts_is_done_with_its_last_part(maker: &dyn Maker) {
    let pair = Pair::with_limits(maker, Limits { line_bytes: 4_000, ..Limits::default() });
    let names = ["a", "b", "c", "d"];
    pair.at_child(&put(&names.map(|name| noted(name, 1))));
    for name in names {
        pair.at_child(&put(&[noted(name, 1_500)]));
    }
    let all = slice(&pair, 2_000);
    assert!(all.lines[0].part.is_some_and(|(_, parts)| parts > 1), "{:?}", all.lines[0].part);
    let cut = OutgoingSlice { lines: all.lines[..1].to_vec(), end: 0, ..all };
    apply(&pair, &cut);
    tell(&pair);
    assert_eq!((mark(&pair).unwrap().position, open(&pair)[0]), (0, DeliveryState::Retry));
    read(&pair);
    assert_eq!((mark(&pair).unwrap().position, open(&pair)), (5, vec![]));
    for name in names {
        let name = format!("Observation/{name}");
        assert_eq!(body(&*pair.parent, &name), body(&*pair.child, &name));
    }
}

pub fn defect_16_what_is_of_no_patient_waits_by_its_records(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    pair.at_child(&put(&[a_location("ward").with("name", "\"one\"")]));
    pair.at_child(&put(&[a_location("lab")]));
    pair.at_child(&put(&[a_patient("amina")]));
    let all = slice(&pair, 100_000);
    let source = source(&pair, &all);
    let mut lines = all.lines.iter().map(|line| read_back(line, &pair.limits)).collect::<Vec<_>>();
    lines[0] = spoiled(&all.lines[0], &pair.limits);
    lines.push(Incoming::End(all.end));
    let applied = pair.parent.change_apply(&source, &lines, pair.now()).unwrap();
    // Nobody can tell which record the first was about: what is of no patient waits, and no more.
    let parked = applied.iter().map(|line| line.parked).collect::<Vec<_>>();
    assert_eq!(parked, [true, true, false, false]);
    assert_eq!(body(&*pair.parent, "Location/lab"), None);
    assert!(body(&*pair.parent, "Patient/amina").is_some());
    tell(&pair);
    assert_eq!(open(&pair), [DeliveryState::Parked, DeliveryState::Retry]);
    pair.at_child(&put(&[a_location("ward").with("name", "\"two\"")]));
    read(&pair);
    assert_eq!(body(&*pair.parent, "Location/ward"), None, "it came before the first state");
    // By another way they come in after all; what is parked changes nothing then.
    let parked = DeliveryChoice::State(DeliveryState::Parked);
    pair.child.delivery_act(&parked, &DeliveryAction::Retry, pair.now()).unwrap();
    pair.pass(10_000);
    pair.push();
    assert_eq!(body(&*pair.parent, "Location/ward"), body(&*pair.child, "Location/ward"));
    let newest = body(&*pair.parent, "Location/ward");
    assert!(newest.as_ref().unwrap().contains("two"));
    assert_eq!(pair.parent.parked_retry(pair.now(), 0, true).unwrap(), 3);
    assert_eq!(body(&*pair.parent, "Location/ward"), newest);
}

pub fn a_parked_line_brings_the_later_states_that_it_has(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    pair.at_child(&put(&[a_location("lab")]));
    pair.at_child(&put(&[a_location("ward").with("name", "\"one\"")]));
    // The child never hears that this has come.
    apply(&pair, &slice(&pair, 100_000));
    pair.at_child(&put(&[a_location("ward").with("name", "\"two\"")]));
    pair.at_child(&put(&[a_location("lab").with("name", "\"new\"")]));
    let all = pair.child.outgoing_changes(&OutgoingQuery { after: 0, epoch: None, bytes: 100_000 });
    let mut all = all.unwrap().unwrap();
    // The reader goes on from the beginning, and cannot read the first line of them.
    let child = pair.child.site().unwrap();
    let event = SourceEvent::Begin { feed: all.feed.id, epoch: child.epoch };
    pair.parent.source_note(&child.site, &event, pair.now()).unwrap();
    let first = all.lines.remove(0);
    let source = source(&pair, &all);
    let mut lines = vec![spoiled(&first, &pair.limits)];
    lines.extend(all.lines.iter().map(|line| read_back(line, &pair.limits)));
    let applied = pair.parent.change_apply(&source, &lines, pair.now()).unwrap();
    assert!(applied.iter().all(|line| line.parked), "{applied:?}");
    let first = pair.parent.parked_list(10).unwrap().remove(0);
    let order = QueueOrder {
        which: QueueChoice::Ids(vec![QueueId::Line(first.key)]),
        action: DeliveryAction::Drop("cannot be read".to_owned()),
        actor: "operator".to_owned(),
        dry_run: false,
        after: 0,
    };
    assert_eq!(pair.parent.queue_act(&order, pair.now(), 0).unwrap().lines, 1);
    pair.parent.parked_retry(pair.now(), 0, true).unwrap();
    assert_eq!(body(&*pair.parent, "Location/ward"), body(&*pair.child, "Location/ward"));
}

pub fn a_purge_waits_until_the_parent_has_read(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    pair.leave.set(LeavePolicy::Purge);
    pair.cohort(
        "all",
        protocol::cohort::Definition::Location {
            places: [super::builders::named("Organization/east")].into(),
            by: Default::default(),
        },
    );
    pair.at_parent(&put(&[a_patient("amina").managed_by("east")]));
    pair.pull();
    pair.at_child(&put(&[an_observation("o", "amina")]));
    pair.at_parent(&put(&[a_patient("amina").managed_by("west")]));
    pair.pull();
    assert_eq!(pair.child.patient_purge(pair.now()).unwrap(), 0);
    assert!(body(&*pair.child, "Observation/o").is_some());
    apply(&pair, &slice(&pair, 2_000));
    assert_eq!(pair.child.patient_purge(pair.now()).unwrap(), 0, "the child does not know yet");
    tell(&pair);
    assert_eq!(pair.child.patient_purge(pair.now()).unwrap(), 1);
    assert_eq!(body(&*pair.child, "Observation/o"), None);
    assert!(body(&*pair.parent, "Observation/o").is_some());
}

pub fn a_new_life_of_the_reader_begins_anew_and_takes_what_it_never_had(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    pair.at_child(&put(&[a_patient("amina"), an_observation("o", "amina")]));
    let child = pair.child.site().unwrap();
    let parent = pair.parent.site().unwrap();
    let seen = ReaderSeen { site: parent.site, epoch: parent.epoch, position: 0 };
    pair.child.outgoing_read(&seen, pair.now()).unwrap();
    read(&pair);
    let status = pair.child.site_status(pair.now()).unwrap().read;
    assert_eq!(status.reader, Some(seen.site));
    let digests = |name: &str, body: &str| {
        let record = protocol::resource::Record::parse(body.as_bytes(), &pair.limits).unwrap();
        (super::builders::named(name), record.digest.short())
    };
    let known = digests("Patient/amina", &a_patient("amina").text());
    let edited = digests("Patient/amina", &a_patient("amina").born("1990").text());
    let new = digests("Patient/baraka", &a_patient("baraka").text());
    let gone = super::builders::named("Patient/gone");
    let deleted = (gone.clone(), protocol::Digest::of_deletion(&gone).short());
    let page = [known, edited.clone(), new.clone(), deleted];
    let unknown = pair.parent.source_unknown(&child.site, &page).unwrap();
    assert_eq!(unknown, [edited.0, new.0]);
}

pub fn what_is_to_go_again_is_read_again(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    let parent = pair.parent.site().unwrap();
    let seen = ReaderSeen { site: parent.site, epoch: parent.epoch, position: 0 };
    pair.child.outgoing_read(&seen, pair.now()).unwrap();
    let made = pair.at_child(&put(&[a_patient("amina")]));
    assert_eq!(read(&pair), [Outcome::Applied]);
    // The parent does not hold it any more, and has read past it.
    let lost = [made.sequence.unwrap()];
    assert_eq!(pair.child.delivery_reopen(&lost, pair.now()).unwrap(), 1);
    assert_eq!((read(&pair), open(&pair)), (vec![Outcome::Already], vec![]));
    // So it is with what an operator sends again.
    pair.at_child(&put(&[an_observation("o", "amina")]));
    apply(&pair, &slice(&pair, 2_000));
    let act = |state, action| {
        pair.child.delivery_act(&DeliveryChoice::State(state), &action, pair.now()).unwrap();
    };
    act(DeliveryState::Ready, DeliveryAction::Park("for now".to_owned()));
    act(DeliveryState::Parked, DeliveryAction::Retry);
    assert_eq!((read(&pair), open(&pair)), (vec![Outcome::Already], vec![]));
    assert_eq!(pair.child.site_check(&mut |_| {}).unwrap(), Vec::<String>::new());
}

pub fn what_the_reader_went_on_from_before_its_word_came_is_asked_for(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    pair.at_parent(&put(&[a_patient("amina").born("1980")]));
    pair.quiet();
    pair.at_child(&put(&[a_patient("amina").born("1981")]));
    apply(&pair, &slice(&pair, 2_000));
    pair.at_parent(&put(&[a_patient("amina").born("1980")]));
    // The child hears of what came after its change before it hears that this was taken.
    pair.pull();
    tell(&pair);
    pair.quiet();
    let taken_back = a_patient("amina").born("1980").text();
    assert_eq!(pair.bodies("Patient/amina"), (Some(taken_back.clone()), Some(taken_back)));
}

pub fn a_record_that_became_anothers_waits_behind_its_earlier_state(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    pair.at_child(&put(&[a_patient("amina"), a_patient("beno"), an_observation("o", "amina")]));
    read(&pair);
    pair.pull();
    pair.at_child(&put(&[an_observation("x", "amina")]));
    let noted = an_observation("o", "amina").with("note", "[{\"text\":\"n\"}]");
    pair.at_child(&put(&[noted]));
    let both = slice(&pair, 100_000);
    let from = source(&pair, &both);
    let first = spoiled(&both.lines[0], &pair.limits);
    let lines = [first, read_back(&both.lines[1], &pair.limits), Incoming::End(both.end)];
    pair.parent.change_apply(&from, &lines, pair.now()).unwrap();
    // The parent gives it to Beno; what the child makes of both is of Beno alone.
    pair.at_parent(&put(&[an_observation("o", "beno")]));
    pair.pull();
    let merged = body(&*pair.child, "Observation/o").unwrap();
    assert!(merged.contains("beno") && merged.contains("\"n\""), "{merged}");
    assert_eq!(read(&pair), [Outcome::Later], "its state from before has not gone in");
    assert_eq!(pair.parent.parked_list(10).unwrap().len(), 3);
}

pub fn what_waits_from_the_readers_life_before_takes_nothing_back(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    pair.at_parent(&put(&[a_patient("amina").born("1980")]));
    pair.quiet();
    pair.at_parent(&put(&[a_patient("amina").born("1981")]));
    let (feed, lines, _) = pair.fetch("all", Lane::Live);
    pair.child.change_apply(&feed, &[refused(&lines[0])], pair.now()).unwrap();
    let parent = pair.parent.site().unwrap();
    let seen = ReaderSeen { site: parent.site, epoch: parent.epoch, position: 0 };
    pair.child.outgoing_read(&seen, pair.now()).unwrap();
    assert_eq!(pair.child.parked_list(10).unwrap().len(), 1);
    // Its store was restored: what counts as older is not known any more.
    let seen = ReaderSeen { epoch: Epoch::from_bytes([9; 16]), ..seen };
    pair.child.outgoing_read(&seen, pair.now()).unwrap();
    assert_eq!(pair.child.parked_list(10).unwrap(), []);
}
