//! A parent that was restored, and what its child does before it lets anything go.

use std::collections::BTreeSet;

use protocol::Epoch;
use protocol::cohort::Definition;
use protocol::delivery::Outcome;

use super::builders::{a_group, a_patient, an_observation, named, put};
use super::pair::{Pair, body};
use super::{Maker, site};
use crate::{LeavePolicy, Settled};

/// The parent's store is one of a new life, and empty: its cohort has these patients.
pub(super) fn lose_the_parent(pair: &mut Pair, maker: &dyn Maker, patients: &[&str]) {
    let mut again = site("centre");
    again.epoch = Epoch::from_random([9; 16]);
    pair.parent = maker.make(&again, &pair.limits);
    pair.cohort("all", only(patients));
}

fn only(patients: &[&str]) -> Definition {
    let patients = patients.iter().map(|id| a_patient(id).reference());
    Definition::Patients { patients: patients.collect::<BTreeSet<_>>() }
}

/// The child held Amina and Beno; the restored parent, whose cohort has Amina alone, got them back.
fn without_beno(maker: &dyn Maker, policy: LeavePolicy) -> Pair {
    let mut pair = Pair::new(maker);
    pair.leave.set(policy);
    pair.at_parent(&put(&["amina", "beno"].map(a_patient)));
    pair.at_parent(&put(&[an_observation("pulse", "amina"), an_observation("weight", "beno")]));
    pair.quiet();
    lose_the_parent(&mut pair, maker, &["amina"]);
    pair.reconcile();
    pair.quiet();
    pair
}

pub fn what_a_restored_parent_lost_of_nobody_of_the_childs_is_sent_again(maker: &dyn Maker) {
    let mut pair = Pair::new(maker);
    pair.cohort("all", only(&["amina"]));
    pair.at_child(&put(&[a_patient("beno"), an_observation("weight", "beno")]));
    pair.at_child(&put(&[a_patient("beno").born("1990")]));
    pair.quiet();
    lose_the_parent(&mut pair, maker, &["amina"]);
    pair.reconcile();
    pair.quiet();
    assert!(body(&*pair.parent, "Patient/beno").unwrap().contains("1990"));
    assert!(body(&*pair.parent, "Observation/weight").is_some());
    assert!(body(&*pair.child, "Patient/beno").is_some(), "it is the child's own");
}

pub fn what_a_restored_parent_does_not_list_is_sent_and_then_let_go(maker: &dyn Maker) {
    let pair = without_beno(maker, LeavePolicy::Purge);
    pair.child.patient_purge(pair.now()).unwrap();
    pair.assert_in_step();
    for name in ["Patient/amina", "Observation/pulse"] {
        assert!(pair.bodies(name).0.is_some() && pair.bodies(name).1.is_some(), "{name}");
    }
    for name in ["Patient/beno", "Observation/weight"] {
        assert!(body(&*pair.parent, name).is_some(), "{name} was only at the child");
        assert_eq!(body(&*pair.child, name), None);
    }
}

pub fn what_was_taken_to_have_left_is_held_again_with_its_patient(maker: &dyn Maker) {
    let pair = without_beno(maker, LeavePolicy::Keep);
    assert!(body(&*pair.child, "Observation/weight").is_some(), "it is kept");
    // The parent has it all from the child, and leaves it out of the join.
    pair.cohort("all", only(&["amina", "beno"]));
    pair.quiet();
    pair.assert_in_step();
}

pub fn what_was_purged_comes_again_with_a_patient_who_joins(maker: &dyn Maker) {
    // The restored parent has what the child sent it again, and never heard that it let it go.
    let pair = without_beno(maker, LeavePolicy::Purge);
    pair.child.patient_purge(pair.now()).unwrap();
    assert_eq!(body(&*pair.child, "Observation/weight"), None);
    pair.cohort("all", only(&["amina", "beno"]));
    pair.quiet();
    let (feed, epoch) = (super::feed_id("all"), pair.parent.site().unwrap().epoch);
    let joins = pair.child.joins_ahead(&feed, &epoch).unwrap();
    assert_eq!(joins.patients, [named("Patient/beno")]);
    super::visitors::fetch(&pair, "all", &["Patient/beno"]);
    pair.child.joins_looked_at(&feed, &epoch, &joins).unwrap();
    assert!(body(&*pair.child, "Observation/weight").is_some());
    pair.assert_in_step();
    let joins = pair.child.joins_ahead(&feed, &epoch).unwrap();
    assert_eq!(joins.patients, [], "nobody is asked for twice");
    // Who left and comes back by the parent's word comes whole, and needs no asking.
    for patients in [&["amina"][..], &["amina", "beno"]] {
        pair.cohort("all", only(patients));
        pair.quiet();
        pair.child.patient_purge(pair.now()).unwrap();
    }
    assert_eq!(pair.child.joins_ahead(&feed, &epoch).unwrap().patients, []);
    pair.assert_in_step();
}

pub fn what_is_kept_of_those_who_left_is_offered_to_a_parent_that_asks(maker: &dyn Maker) {
    let mut pair = Pair::new(maker);
    pair.leave.set(LeavePolicy::Keep);
    pair.at_parent(&put(&["amina", "beno"].map(a_patient)));
    pair.at_parent(&put(&[an_observation("pulse", "amina")]));
    pair.at_child(&put(&[a_patient("chipo")]));
    pair.quiet();
    pair.cohort("all", only(&["beno"]));
    pair.quiet();
    lose_the_parent(&mut pair, maker, &["beno"]);
    pair.reconcile();
    pair.quiet();
    assert_eq!(body(&*pair.parent, "Observation/pulse"), None, "she is in none of the feeds");
    assert_eq!(pair.child.link_get().unwrap().again, 0);
    assert!(pair.child.kept_offer(1, pair.now()).unwrap());
    assert_eq!(pair.child.link_get().unwrap().again, 0, "there may be more");
    assert!(!pair.child.kept_offer(1, pair.now()).unwrap());
    assert_eq!(pair.child.link_get().unwrap().again, 1);
    assert_eq!(pair.child.site().unwrap().again, 1, "those below may keep more");
    pair.quiet();
    for name in ["Patient/amina", "Observation/pulse"] {
        assert!(pair.bodies(name).0.is_some() && pair.bodies(name).1.is_some(), "{name}");
    }
    // A parent that has it, and has gone on from it, keeps its own.
    pair.at_parent(&put(&[an_observation("pulse", "amina").with("valueInteger", "60")]));
    while pair.child.kept_offer(2, pair.now()).unwrap() {}
    pair.quiet();
    assert!(body(&*pair.parent, "Observation/pulse").unwrap().contains("60"));
}

pub fn an_edit_that_a_restored_parent_lost_is_merged_with_what_it_kept(maker: &dyn Maker) {
    let mut pair = Pair::new(maker);
    pair.at_parent(&put(&[a_patient("amina")]));
    pair.quiet();
    // The child never hears of this state alone.
    pair.at_parent(&put(&[a_patient("amina").gender("female")]));
    pair.at_child(&put(&[a_patient("amina").born("1990")]));
    pair.quiet();
    lose_the_parent(&mut pair, maker, &["amina"]);
    pair.at_parent(&put(&[a_patient("amina")]));
    pair.at_parent(&put(&[a_patient("amina").gender("female")]));
    pair.reconcile();
    pair.quiet();
    let text = body(&*pair.parent, "Patient/amina").unwrap();
    assert!(text.contains("1990") && text.contains("female"), "{text}");
    pair.assert_in_step();
}

pub fn what_a_restored_parent_went_on_from_is_no_edit_of_the_childs(maker: &dyn Maker) {
    let mut pair = Pair::new(maker);
    pair.leave.set(LeavePolicy::Keep);
    let pulse = |value: &str| an_observation("pulse", "amina").with("valueInteger", value);
    pair.at_parent(&put(&[a_patient("amina"), a_patient("beno"), pulse("60")]));
    pair.quiet();
    lose_the_parent(&mut pair, maker, &["amina"]);
    pair.at_parent(&put(&[a_patient("amina"), a_patient("beno"), pulse("60")]));
    // In its new life the record goes to somebody who is not the child's, and changes there.
    let moved = an_observation("pulse", "beno").with("valueInteger", "61");
    pair.at_parent(&put(std::slice::from_ref(&moved)));
    pair.reconcile();
    pair.quiet();
    assert_eq!(body(&*pair.parent, "Observation/pulse"), Some(moved.text()));
    pair.assert_in_step();
}

pub fn a_patient_of_whom_there_was_a_join_before_a_record_is_held(maker: &dyn Maker) {
    let mut pair = Pair::new(maker);
    let group = || Definition::Group { groups: [named("Group/g")].into() };
    pair.cohort("all", group());
    pair.at_child(&put(&[a_patient("amina"), an_observation("pulse", "amina")]));
    pair.at_parent(&put(&[a_group("g", &["amina"])]));
    pair.quiet();
    lose_the_parent(&mut pair, maker, &[]);
    // What the parent got again makes her join, and nothing of hers can be compared there.
    pair.at_parent(&put(&[a_group("g", &["amina"])]));
    pair.cohort("all", group());
    pair.reconcile();
    pair.quiet();
    pair.assert_in_step();
    assert!(pair.bodies("Patient/amina").0.is_some());
}

pub fn what_a_restored_parent_has_lost_is_no_version_to_merge_from(maker: &dyn Maker) {
    let mut pair = Pair::new(maker);
    let amina = || a_patient("amina").with("active", "true");
    pair.at_parent(&put(&[amina()]));
    pair.quiet();
    // The child's edit comes back to it in a state that the parent sends.
    pair.at_child(&put(&[amina().born("1990")]));
    pair.quiet();
    pair.at_parent(&put(&[amina().born("1990").gender("female")]));
    pair.quiet();
    pair.at_child(&put(&[amina().born("1990").gender("female").with("language", r#""sw""#)]));
    pair.quiet();
    lose_the_parent(&mut pair, maker, &["amina"]);
    pair.at_parent(&put(&[amina()]));
    pair.at_parent(&put(&[amina().with("implicitRules", r#""urn:rules""#)]));
    pair.reopen();
    pair.pull();
    pair.reconcile();
    pair.quiet();
    let text = body(&*pair.parent, "Patient/amina").unwrap();
    for kept in ["1990", "female", "sw", "urn:rules"] {
        assert!(text.contains(kept), "{kept} is gone: {text}");
    }
    pair.assert_in_step();
}

pub fn a_state_that_the_parent_went_on_from_takes_nothing_back(maker: &dyn Maker) {
    let mut pair = Pair::new(maker);
    let card = |value: &str| format!(r#"[{{"system":"urn:a","value":"{value}"}}]"#);
    let amina = |value: &str| a_patient("amina").with("identifier", &card(value));
    pair.at_child(&put(&[amina("1")]));
    pair.quiet();
    lose_the_parent(&mut pair, maker, &["amina"]);
    // The same state came to its new life by another way, and somebody changed it since.
    pair.at_parent(&put(&[amina("1")]));
    pair.at_parent(&put(&[amina("2")]));
    pair.reopen();
    pair.push();
    assert_eq!(body(&*pair.parent, "Patient/amina"), Some(amina("2").text()));
    pair.reconcile();
    pair.quiet();
    pair.assert_in_step();
}

/// What happens at the parent now, the child does not hear of, by whatever fault.
fn unheard(pair: &Pair, at_parent: impl FnOnce(&Pair)) {
    at_parent(pair);
    for feed in ["all", "reference"] {
        pair.at_head(feed);
    }
    pair.quiet();
}

pub fn what_was_missed_by_whatever_fault_is_found_by_comparing(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    pair.leave.set(LeavePolicy::Purge);
    pair.at_parent(&put(&["amina", "beno"].map(a_patient)));
    pair.at_parent(&put(&[an_observation("pulse", "amina"), an_observation("weight", "beno")]));
    pair.quiet();
    unheard(&pair, |pair| {
        pair.at_parent(&put(&[a_patient("amina").born("1990")]));
        pair.at_parent(&put(&[an_observation("height", "amina")]));
        pair.cohort("all", only(&["amina"]));
    });
    assert_eq!(body(&*pair.child, "Observation/height"), None);
    pair.at_child(&put(&[an_observation("fever", "amina")]));
    pair.compare();
    pair.child.patient_purge(pair.now()).unwrap();
    pair.assert_in_step();
    assert!(body(&*pair.child, "Patient/amina").unwrap().contains("1990"));
    assert!(body(&*pair.child, "Observation/height").is_some());
    assert!(body(&*pair.parent, "Observation/fever").is_some());
    for name in ["Patient/beno", "Observation/weight"] {
        assert_eq!(body(&*pair.child, name), None, "{name} has left");
        assert!(body(&*pair.parent, name).is_some());
    }
    let before = pair.child.site().unwrap().sequence;
    pair.compare();
    assert_eq!(
        pair.child.site().unwrap().sequence,
        before,
        "where all is the same, nothing is done"
    );
}

pub fn a_comparison_brings_nothing_back_that_the_parent_has_gone_on_from(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    pair.at_child(&put(&[a_patient("amina").born("1980")]));
    pair.quiet();
    pair.at_parent(&put(&[a_patient("amina").born("1990")]));
    pair.quiet();
    // She is born in 1980 again: a state that the child has in its history.
    unheard(&pair, |pair| {
        pair.at_parent(&put(&[a_patient("amina").born("1980")]));
    });
    pair.compare();
    pair.assert_in_step();
    assert!(body(&*pair.parent, "Patient/amina").unwrap().contains("1980"));
}

pub fn what_the_parent_has_lost_without_a_word_is_offered_before_it_is_let_go(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    pair.leave.set(LeavePolicy::Purge);
    pair.at_parent(&put(&[a_patient("amina")]));
    pair.quiet();
    pair.at_child(&put(&[an_observation("pulse", "amina"), an_observation("weight", "amina")]));
    // A carrier says that it was taken, and it was not.
    for line in pair.child.delivery_next(pair.now(), 1_000_000).unwrap() {
        let (deliveries, sent) = (line.deliveries, line.sent);
        let (outcome, sequence) = (Outcome::Applied, pair.parent.site().unwrap().sequence);
        let word = Settled { deliveries, sent, differs: vec![], outcome, reason: None, sequence };
        pair.child.delivery_settle(&[word], pair.now(), 0).unwrap();
    }
    pair.quiet();
    assert_eq!(body(&*pair.parent, "Observation/pulse"), None);
    pair.compare();
    pair.assert_in_step();
    assert!(body(&*pair.parent, "Observation/pulse").is_some());
}
