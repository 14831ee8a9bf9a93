//! A parent and a child: what comes down, what goes up, and what is never sent twice.

use std::collections::BTreeSet;

use protocol::cohort::Definition;
use protocol::delivery::{DeliveryState, Outcome};
use protocol::pace::{Left, Pace};
use protocol::stream::{Lane, OutRecord};
use protocol::{CohortName, Limits};

use super::builders::{a_location, a_patient, an_encounter, an_observation, delete, named, put};
use super::pair::{Pair, body, read_back, spoiled};
use super::{Maker, START, feed_id, site};
use crate::{
    AuditFilter, CohortDraft, DeliveryFilter, FeedQuery, Incoming, LeavePolicy, LinkEvent,
    LinkPace, MonthTraffic, Source, Store, StoreError, Traffic,
};

/// How many deliveries are not done.
fn waiting(store: &dyn Store) -> usize {
    store
        .delivery_list(&DeliveryFilter { limit: 1_000, ..DeliveryFilter::default() })
        .unwrap()
        .len()
}

fn east() -> Definition {
    let places = BTreeSet::from([named("Organization/east")]);
    Definition::Location { places, by: BTreeSet::new() }
}

pub fn a_first_load_brings_the_whole_cohort_and_nobody_else(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    pair.cohort("all", east());
    pair.at_parent(&put(&[a_location("ward"), a_patient("amina").managed_by("east")]));
    pair.at_parent(&put(&[an_observation("pulse", "amina")]));
    pair.at_parent(&put(&[a_patient("beno").managed_by("west"), an_observation("o", "beno")]));
    pair.quiet();
    pair.assert_in_step();
    for (name, there) in [
        ("Location/ward", true),
        ("Patient/amina", true),
        ("Observation/pulse", true),
        ("Patient/beno", false),
        ("Observation/o", false),
    ] {
        assert_eq!(body(&*pair.child, name).is_some(), there, "{name}");
    }
}

pub fn what_is_made_at_either_side_comes_to_the_other(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    pair.at_child(&put(&[a_patient("amina")]));
    pair.at_parent(&put(&[a_patient("beno")]));
    pair.quiet();
    pair.at_child(&put(&[an_observation("pulse", "beno")]));
    pair.at_parent(&put(&[an_observation("weight", "amina")]));
    pair.at_child(&delete("Patient/amina"));
    pair.quiet();
    pair.assert_in_step();
    for name in ["Patient/beno", "Observation/pulse", "Observation/weight"] {
        let (parent, child) = pair.bodies(name);
        assert!(parent.is_some(), "{name}");
        assert_eq!(parent, child);
    }
    assert_eq!(pair.bodies("Patient/amina"), (None, None));
    assert_eq!(waiting(&*pair.child), 0);
}

pub fn becoming_a_child_queues_what_is_here(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    let late = maker.make(&site("late"), &Limits::default());
    late.change_record(&put(&[a_patient("amina")]), pair.now()).unwrap();
    late.change_record(&put(&[a_patient("beno")]), pair.now()).unwrap();
    assert_eq!(late.delivery_next(pair.now(), 1_000).unwrap(), []);
    late.parent_set(pair.now(), &feed_id("late")).unwrap();
    late.parent_set(pair.now(), &feed_id("later")).unwrap();
    assert_eq!(waiting(&*late), 2);
    let lines = late.delivery_next(pair.now(), 10_000).unwrap();
    let numbers = lines.iter().map(|line| line.lines[0].id.as_ref().unwrap().number);
    assert_eq!(numbers.collect::<Vec<_>>(), [1, 2]);
}

pub fn bytes_that_moved_are_counted_with_the_contact_and_without(maker: &dyn Maker) {
    let store = maker.make(&site("clinic"), &Limits::default());
    let traffic = Traffic {
        wire_sent: 1,
        wire_received: 20,
        raw_sent: 300,
        raw_received: 4_000,
        month: None,
    };
    let failure = LinkEvent::Failure { error: "cut".to_owned(), next: START };
    store.link_note(&failure, START).unwrap();
    let up = Pace { portion: 70_000, items: 10, bytes: 20_000, millis: 4_000, ..Pace::default() };
    let pace = LinkPace { up, live_ahead: 7, ..LinkPace::default() };
    store.link_note(&LinkEvent::Traffic(traffic, Some(Box::new(pace))), START).unwrap();
    let link = store.link_get().unwrap();
    assert_eq!((link.failures, link.wire_sent, link.raw_received), (1, 1, 4_000));
    store.link_note(&LinkEvent::Contact { peer: None, traffic }, START.plus_millis(5)).unwrap();
    let link = store.link_get().unwrap();
    assert_eq!((link.failures, link.last_contact), (0, Some(START.plus_millis(5))));
    let sums = [link.wire_sent, link.wire_received, link.raw_sent, link.raw_received];
    assert_eq!(sums, [2, 40, 600, 8_000]);
    assert_eq!(link.pace, pace);
    store.link_note(&LinkEvent::Traffic(traffic, None), START).unwrap();
    assert_eq!(store.link_get().unwrap().pace, pace, "it stays until there is another");
}

pub fn what_moved_is_counted_by_month_and_its_budget_is_lifted_for_one(maker: &dyn Maker) {
    let store = maker.make(&site("clinic"), &Limits::default());
    let moved = |month, wire_sent, wire_received| {
        let traffic = Traffic { wire_sent, wire_received, month, ..Traffic::default() };
        store.link_note(&LinkEvent::Traffic(traffic, None), START).unwrap();
        store.link_get().unwrap().months.first().cloned()
    };
    assert_eq!(moved(None, 5, 6), None);
    let month = |month, sent, received, lifted: Option<&str>| {
        Some(MonthTraffic { month, sent, received, lifted: lifted.map(str::to_owned) })
    };
    assert_eq!(moved(Some(202_611), 10, 100), month(202_611, 10, 100, None));
    assert_eq!(moved(Some(202_611), 1, 2), month(202_611, 11, 102, None));
    store.budget_lift(202_611, "the new branch", "operator", START).unwrap();
    assert_eq!(moved(Some(202_611), 1, 0), month(202_611, 12, 102, Some("the new branch")));
    assert_eq!(moved(Some(202_612), 7, 0), month(202_612, 7, 0, None), "for that month only");
    let link = store.link_get().unwrap();
    assert_eq!((link.wire_sent, link.wire_received), (24, 108), "and all of it in all");
    // The clock was ahead: the month of before goes on.
    assert_eq!(moved(Some(202_611), 1, 0), month(202_612, 7, 0, None));
    let before = store.link_get().unwrap().months.remove(1);
    assert_eq!(Some(before), month(202_611, 13, 102, Some("the new branch")));
    let filter = AuditFilter { limit: 10, ..AuditFilter::default() };
    let rows = store.audit_list(&filter).unwrap();
    let row = rows.iter().find(|row| row.action == "budget-lift").unwrap();
    assert_eq!((row.subject.as_str(), row.detail.as_str()), ("202611", "the new branch"));
}

pub fn how_much_is_left_is_told_by_what_was_measured(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    for id in ["amina", "beno", "chao"] {
        pair.at_child(&put(&[a_patient(id)]));
    }
    let forecast = || pair.child.site_status(pair.now()).unwrap().forecast;
    assert_eq!((forecast().up.items, forecast().up.millis), (3, None));
    let up = Pace { items: 10, bytes: 20_000, millis: 4_000, ..Pace::default() };
    let pace = LinkPace { up, live: up, bulk_ahead: 9, ..LinkPace::default() };
    pair.child
        .link_note(&LinkEvent::Traffic(Traffic::default(), Some(Box::new(pace))), START)
        .unwrap();
    assert_eq!(
        forecast().up,
        Left { items: 3, bytes: Some(6_000), millis: Some(1_200), unknown: 0 }
    );
    assert_eq!(forecast().down, Left { items: 9, bytes: None, millis: None, unknown: 9 });
    let pace = LinkPace { live_ahead: 5, bulk_ahead: 0, ..pace };
    pair.child
        .link_note(&LinkEvent::Traffic(Traffic::default(), Some(Box::new(pace))), START)
        .unwrap();
    assert_eq!(
        forecast().down,
        Left { items: 5, bytes: Some(10_000), millis: Some(2_000), unknown: 0 }
    );
    pair.push();
    assert_eq!(forecast().up, Left { items: 0, bytes: Some(0), millis: Some(0), unknown: 0 });
}

pub fn defect_03_the_marker_stays_where_the_lines_end(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    pair.pull();
    for id in ["amina", "beno", "chao"] {
        pair.at_parent(&put(&[a_patient(id)]));
    }
    let (source, lines, _) = pair.fetch("all", Lane::Live);
    // The link breaks after the first line: only that one is applied.
    pair.child.change_apply(&source, &lines[..1], pair.now()).unwrap();
    assert_eq!(pair.marker("all", Lane::Live), Some(1));
    assert_eq!(pair.bodies("Patient/beno").1, None);
    pair.quiet();
    assert_eq!(pair.marker("all", Lane::Live), Some(6));
    pair.assert_in_step();
}

pub fn defect_04_an_absent_parent_costs_the_queue_nothing(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    for day in 0..20 {
        pair.at_child(&put(&[an_observation(&format!("o{day}"), "amina")]));
        // Asked for and never answered: nothing comes of it.
        assert_eq!(pair.child.delivery_next(pair.now(), 10_000).unwrap().len(), 1);
    }
    assert_eq!(waiting(&*pair.child), 20);
    pair.quiet();
    assert_eq!(waiting(&*pair.child), 0);
    pair.assert_in_step();
}

pub fn defect_06_a_reader_that_never_came_misses_nothing(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    for edit in 0..5 {
        pair.at_parent(&put(&[a_patient("amina").born(&format!("198{edit}")), a_location("l")]));
    }
    pair.quiet();
    pair.assert_in_step();
    assert!(pair.bodies("Patient/amina").1.unwrap().contains("1984"));
}

pub fn defect_12_what_is_sent_twice_is_held_already_for_ever(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    pair.at_child(&put(&[a_patient("amina").born("1980")]));
    let first = pair.child.delivery_next(pair.now(), 10_000).unwrap().remove(0);
    assert_eq!(pair.send(&first).outcome, Outcome::Applied);
    // The answer is lost; much later, after other edits, the same line comes again.
    pair.at_parent(&put(&[a_patient("amina").born("1999")]));
    pair.pass(3_600 * 24 * 400);
    let sequence = pair.parent.site().unwrap().sequence;
    assert_eq!(pair.send(&first).outcome, Outcome::Already);
    assert_eq!(pair.parent.site().unwrap().sequence, sequence);
    pair.quiet();
    pair.assert_in_step();
    assert!(pair.bodies("Patient/amina").0.unwrap().contains("1999"));
}

pub fn defect_14_a_patient_comes_before_what_refers_to_it(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    let visit = [an_observation("pulse", "amina"), an_encounter("visit", "amina")];
    pair.at_parent(&put(&[a_patient("amina")]));
    pair.at_parent(&put(&visit));
    let (_, lines, _) = pair.fetch("all", Lane::Bulk);
    let Incoming::Line { line, .. } = &lines[0] else { panic!("not a line") };
    let order = line.records.iter().filter_map(|record| match record {
        protocol::stream::InRecord::State { record, .. } => Some(record.reference.to_string()),
        _ => None,
    });
    let expected = ["Patient/amina", "Encounter/visit", "Observation/pulse"];
    assert_eq!(order.collect::<Vec<_>>(), expected);
}

pub fn defect_17_a_reference_to_what_has_not_come_is_taken(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    let pulse =
        an_observation("pulse", "amina").with("encounter", r#"{"reference":"Encounter/not-here"}"#);
    pair.at_child(&put(std::slice::from_ref(&pulse)));
    pair.quiet();
    assert_eq!(pair.bodies("Observation/pulse"), (Some(pulse.text()), Some(pulse.text())));
}

pub fn defect_26_what_was_applied_is_not_sent_back(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    pair.at_parent(&put(&[a_patient("amina")]));
    pair.quiet();
    assert_eq!(waiting(&*pair.child), 0);
    pair.at_child(&put(&[a_patient("amina").born("1980")]));
    pair.push();
    let (parent, child) = (pair.parent.site().unwrap(), pair.child.site().unwrap());
    pair.pull();
    assert_eq!(pair.parent.site().unwrap().sequence, parent.sequence);
    assert_eq!(pair.child.site().unwrap().sequence, child.sequence);
    assert_eq!(waiting(&*pair.child), 0);
}

pub fn ten_changes_of_a_patient_go_up_as_one_line(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    for year in 0..10 {
        pair.at_child(&put(&[a_patient("amina").born(&format!("198{year}"))]));
    }
    let lines = pair.child.delivery_next(pair.now(), 10_000).unwrap();
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0].lines[0].covers, (1..=10).collect::<Vec<_>>());
    assert_eq!(lines[0].lines[0].records.len(), 1);
    assert_eq!(pair.push(), [Outcome::Applied]);
    assert_eq!(waiting(&*pair.child), 0);
    assert_eq!(pair.parent.site().unwrap().sequence, 1);
}

fn small_lines() -> Limits {
    Limits { line_bytes: 4_000, ..Limits::default() }
}

pub fn a_long_line_goes_up_in_parts(maker: &dyn Maker) {
    let pair = Pair::with_limits(maker, small_lines());
    for number in 0..12 {
        let long = format!("\"{}\"", "x".repeat(900));
        let pulse = an_observation(&format!("o{number}"), "amina").with("note", &long);
        pair.at_child(&put(&[pulse]));
    }
    let lines = pair.child.delivery_next(pair.now(), 100_000).unwrap();
    assert_eq!(lines.len(), 1);
    assert!(lines[0].lines.len() > 3, "{} parts", lines[0].lines.len());
    // Cut after the second part: all of it is sent again.
    let info = pair.child.site().unwrap();
    let source = Source::Child { site: info.site, epoch: info.epoch, reading: None };
    let parts = lines[0].lines.iter().take(2).map(|part| read_back(part, &pair.limits));
    let parts = parts.collect::<Vec<_>>();
    pair.parent.change_apply(&source, &parts, pair.now()).unwrap();
    assert!(pair.push()[0].is_held());
    pair.quiet();
    pair.assert_in_step();
    assert!(pair.bodies("Observation/o11").0.is_some());
}

pub fn a_line_of_which_a_part_was_refused_is_not_received(maker: &dyn Maker) {
    let pair = Pair::with_limits(maker, small_lines());
    for number in 0..6 {
        let long = format!("\"{}\"", "x".repeat(900));
        let pulse = an_observation(&format!("o{number}"), "amina").with("note", &long);
        pair.at_child(&put(&[pulse]));
    }
    let lines = pair.child.delivery_next(pair.now(), 100_000).unwrap();
    let parts = lines[0].lines.iter().map(|part| read_back(part, &pair.limits));
    let mut parts = parts.collect::<Vec<_>>();
    let info = pair.child.site().unwrap();
    let source = Source::Child { site: info.site, epoch: info.epoch, reading: None };
    parts[0] = spoiled(&lines[0].lines[0], &pair.limits);
    let applied = pair.parent.change_apply(&source, &parts, pair.now()).unwrap();
    assert_eq!((applied[0].outcome, applied[1].outcome), (Outcome::Refused, Outcome::Applied));
    assert_eq!(pair.bodies("Observation/o0").0, None);
    // The sender keeps the line, and sends it again.
    pair.quiet();
    pair.assert_in_step();
    assert!(pair.bodies("Observation/o0").0.is_some());
}

pub fn a_long_patient_comes_down_in_parts(maker: &dyn Maker) {
    let pair = Pair::with_limits(maker, small_lines());
    for number in 0..12 {
        let long = format!("\"{}\"", "x".repeat(900));
        let pulse = an_observation(&format!("o{number}"), "amina").with("note", &long);
        pair.at_parent(&put(&[pulse]));
    }
    let (source, lines, _) = pair.fetch("all", Lane::Bulk);
    assert!(lines.len() > 4, "{} lines", lines.len());
    pair.child.change_apply(&source, &lines[..2], pair.now()).unwrap();
    assert_eq!(pair.marker("all", Lane::Bulk), Some(0));
    pair.quiet();
    pair.assert_in_step();
}

/// Amina comes to the child and leaves its cohort again; gives whether her record can be written
/// there then, and whether it is there at all after a purge.
fn after_leaving(maker: &dyn Maker, policy: LeavePolicy) -> (bool, bool) {
    let pair = Pair::new(maker);
    pair.leave.set(policy);
    pair.cohort("all", east());
    pair.at_parent(&put(&[a_patient("amina").managed_by("east"), an_observation("o", "amina")]));
    pair.quiet();
    pair.at_parent(&put(&[a_patient("amina").managed_by("west")]));
    pair.pull();
    pair.child.patient_purge(pair.now()).unwrap();
    let there = body(&*pair.child, "Observation/o").is_some();
    let edit = put(&[an_observation("o", "amina").with("status", r#""final""#)]);
    let written = match pair.child.change_record(&edit, pair.now()) {
        Ok(_) => true,
        Err(StoreError::Frozen(patient)) => {
            assert_eq!(patient, named("Patient/amina"));
            false
        }
        Err(other) => panic!("{other}"),
    };
    (written, there)
}

pub fn what_left_the_cohort_follows_the_childs_policy(maker: &dyn Maker) {
    assert_eq!(after_leaving(maker, LeavePolicy::Keep), (true, true));
    assert_eq!(after_leaving(maker, LeavePolicy::Freeze), (false, true));
    assert_eq!(after_leaving(maker, LeavePolicy::Purge), (true, false));
}

pub fn a_purge_waits_for_what_is_undelivered(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    pair.leave.set(LeavePolicy::Purge);
    pair.cohort("all", east());
    pair.at_parent(&put(&[a_patient("amina").managed_by("east")]));
    pair.quiet();
    pair.at_child(&put(&[an_observation("pulse", "amina")]));
    pair.at_parent(&put(&[a_patient("amina").managed_by("west")]));
    pair.pull();
    assert_eq!(pair.child.patient_purge(pair.now()).unwrap(), 0);
    assert!(body(&*pair.child, "Observation/pulse").is_some());
    pair.push();
    assert_eq!(pair.child.patient_purge(pair.now()).unwrap(), 1);
    assert!(body(&*pair.parent, "Observation/pulse").is_some());
    for name in ["Patient/amina", "Observation/pulse"] {
        assert_eq!(
            pair.child.record_get(&named(name), None, &crate::Scope::Everything).unwrap(),
            None
        );
    }
    // She comes back, whole.
    pair.at_parent(&put(&[a_patient("amina").managed_by("east")]));
    pair.quiet();
    pair.assert_in_step();
    assert!(body(&*pair.child, "Observation/pulse").is_some());
}

/// A site in the middle that lets a record go tells those below it, who hold it by its feed.
pub fn a_record_that_left_is_told_to_those_below(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    pair.leave.set(LeavePolicy::Purge);
    pair.cohort("all", east());
    let below = CohortDraft {
        name: named_cohort("below"),
        feed: feed_id("below"),
        title: None,
        definition: Definition::All {},
        page_entries: 100,
    };
    pair.child.cohort_set(&below, pair.now()).unwrap();
    pair.at_parent(&put(&[a_patient("amina").managed_by("east")]));
    pair.at_parent(&put(&[an_observation("pulse", "amina")]));
    pair.at_parent(&put(&[a_patient("beno").managed_by("west")]));
    pair.quiet();
    let lines = |after| {
        let (feed, lane) = ("below".to_owned(), Lane::Live);
        let query =
            FeedQuery { feed, lane, marker: after, after, epoch: None, to: None, bytes: 10_000 };
        let reader = maker.make(&site("post"), &Limits::default());
        let scope = Pair::scope(&*reader, &["below"]);
        pair.child.feed_changes(&query, &scope).unwrap().unwrap()
    };
    let before = lines(0).head;
    pair.at_parent(&put(&[an_observation("pulse", "beno")]));
    pair.quiet();
    assert!(body(&*pair.child, "Observation/pulse").is_none());
    let told = lines(before).lines.into_iter().flat_map(|line| line.records);
    assert_eq!(told.collect::<Vec<_>>(), [OutRecord::Left(named("Observation/pulse"))]);
    assert_eq!(pair.child.site_check(&mut |_| {}).unwrap(), Vec::<String>::new());
    // It comes back: whoever reads from there on hears of it once, as it is.
    pair.at_parent(&put(&[an_observation("pulse", "amina")]));
    pair.quiet();
    let told = lines(before).lines.into_iter().flat_map(|line| line.records);
    let told: Vec<_> = told.collect();
    assert!(matches!(told[..], [OutRecord::Resource { .. }]), "{told:?}");
}

fn named_cohort(name: &str) -> CohortName {
    name.parse().unwrap()
}

pub fn a_join_from_before_a_leave_is_void(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    pair.leave.set(LeavePolicy::Purge);
    pair.cohort("all", east());
    pair.at_parent(&put(&[a_patient("amina").managed_by("east")]));
    // The bulk lane's answer is under way while she leaves and the live lane says so.
    let (source, lines, _) = pair.fetch("all", Lane::Bulk);
    pair.at_parent(&put(&[a_patient("amina").managed_by("west")]));
    pair.pull_lane("all", Lane::Live);
    pair.child.change_apply(&source, &lines, pair.now()).unwrap();
    assert_eq!(body(&*pair.child, "Patient/amina"), None);
    pair.quiet();
    pair.assert_in_step();
}

pub fn a_state_older_than_the_parents_word_is_dropped(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    pair.at_parent(&put(&[a_patient("amina").born("1980")]));
    pair.quiet();
    pair.at_parent(&put(&[a_patient("amina").born("1981")]));
    let (source, lines, _) = pair.fetch("all", Lane::Live);
    // While that answer is under way the child's own edit goes up and comes to be the newest.
    pair.at_child(&put(&[a_patient("amina").born("1980").gender("female")]));
    pair.push();
    pair.at_parent(&put(&[a_patient("amina").born("1981").gender("female")]));
    pair.child.change_apply(&source, &lines, pair.now()).unwrap();
    assert!(pair.bodies("Patient/amina").1.unwrap().contains("female"));
    pair.quiet();
    pair.assert_in_step();
}

pub fn defect_09_a_restored_parent_gets_back_what_it_lost(maker: &dyn Maker) {
    let mut pair = Pair::new(maker);
    pair.at_parent(&put(&[a_patient("amina").born("1980"), a_location("ward")]));
    pair.quiet();
    pair.at_child(&put(&[a_patient("amina").born("1990"), an_observation("pulse", "amina")]));
    pair.quiet();
    // The parent comes back from an old backup, and is written to before it meets the child.
    let mut again = site("centre");
    again.epoch = protocol::Epoch::from_random([9; 16]);
    pair.parent = maker.make(&again, &pair.limits);
    pair.cohort("all", Definition::All {});
    pair.at_parent(&put(&[a_patient("amina").born("1980"), a_location("ward")]));
    pair.at_parent(&put(&[a_patient("beno")]));
    pair.reconcile();
    pair.quiet();
    pair.assert_in_step();
    assert!(pair.bodies("Patient/amina").0.unwrap().contains("1990"));
    assert!(pair.bodies("Observation/pulse").0.is_some());
    assert!(pair.bodies("Patient/beno").1.is_some());
    let open = DeliveryFilter { state: Some(DeliveryState::Ready), ..DeliveryFilter::default() };
    assert_eq!(pair.child.delivery_list(&open).unwrap(), []);
}
