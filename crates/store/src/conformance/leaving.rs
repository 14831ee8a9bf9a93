//! A record that left the feed and came back: an old word that it left counts no more.

use std::collections::BTreeSet;

use protocol::cohort::Definition;
use protocol::stream::Lane;

use super::Maker;
use super::builders::{a_patient, an_observation, named, put};
use super::pair::{Pair, body, refused};
use crate::LeavePolicy;

const POLICIES: [LeavePolicy; 3] = [LeavePolicy::Keep, LeavePolicy::Freeze, LeavePolicy::Purge];

/// Amina and Beno are in the east, as the cohort is, and Chao is not. All come to the child.
fn east(maker: &dyn Maker, policy: LeavePolicy) -> Pair {
    let pair = Pair::new(maker);
    pair.leave.set(policy);
    let places = BTreeSet::from([named("Organization/east")]);
    pair.cohort("all", Definition::Location { places, by: BTreeSet::new() });
    let of = |id, place| a_patient(id).managed_by(place);
    pair.at_parent(&put(&[of("amina", "east"), of("beno", "east"), of("chao", "west")]));
    pair.at_parent(&put(&[an_observation("pulse", "amina")]));
    pair.quiet();
    pair
}

/// The record is at both sides, and stays there.
fn assert_here(pair: &Pair) {
    pair.child.patient_purge(pair.now()).unwrap();
    pair.quiet();
    pair.assert_in_step();
    let (parent, child) = pair.bodies("Observation/pulse");
    assert!(parent.is_some());
    assert_eq!(parent, child);
    assert_eq!(pair.child.site_check(&mut |_| {}).unwrap(), Vec::<String>::new());
}

pub fn what_an_edit_brings_back_to_the_feed_is_not_let_go(maker: &dyn Maker) {
    for policy in POLICIES {
        let pair = east(maker, policy);
        // The child gives the record to Beno, who leaves before it hears of its own change.
        pair.at_child(&put(&[an_observation("pulse", "beno")]));
        pair.push();
        pair.at_parent(&put(&[a_patient("beno").managed_by("west")]));
        // It gives it back to Amina, and is told that it left before that has gone up.
        let back = an_observation("pulse", "amina").with("status", "\"amended\"");
        pair.at_child(&put(&[back]));
        pair.pull();
        pair.push();
        assert_here(&pair);
    }
}

pub fn a_word_that_a_record_left_is_void_if_it_was_parked_while_the_record_came_back(
    maker: &dyn Maker,
) {
    for policy in POLICIES {
        let pair = east(maker, policy);
        pair.at_parent(&put(&[a_patient("amina").managed_by("east").born("1980")]));
        let (source, mut lines, _) = pair.fetch("all", Lane::Live);
        lines[0] = refused(&lines[0]);
        pair.child.change_apply(&source, &lines, pair.now()).unwrap();
        // It goes to Chao, which waits behind what is parked for Amina, and then to Beno.
        pair.at_parent(&put(&[an_observation("pulse", "chao")]));
        pair.pull();
        pair.at_parent(&put(&[an_observation("pulse", "beno")]));
        pair.pull();
        assert!(body(&*pair.child, "Observation/pulse").unwrap().contains("beno"));
        let parked = pair.child.parked_list(10).unwrap().len() as u64;
        assert_eq!(parked, 2, "the change of Amina, and that the record left");
        assert_eq!(pair.child.parked_retry(pair.now(), 0, true).unwrap(), parked);
        assert_here(&pair);
    }
}

pub fn what_is_sent_before_a_patients_return_is_heard_of_comes_back(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    pair.leave.set(LeavePolicy::Purge);
    let amina = || Definition::Patients { patients: BTreeSet::from([named("Patient/amina")]) };
    pair.cohort("all", amina());
    pair.at_parent(&put(&[a_patient("amina")]));
    pair.quiet();
    // She leaves while something is unsent, and is back at the parent when that comes there.
    pair.at_child(&put(&[an_observation("pulse", "amina")]));
    pair.cohort("all", Definition::Patients { patients: BTreeSet::new() });
    pair.pull();
    pair.cohort("all", amina());
    pair.push();
    assert_eq!(pair.child.patient_purge(pair.now()).unwrap(), 1);
    assert_here(&pair);
}

pub fn what_a_return_does_not_bring_has_left(maker: &dyn Maker) {
    for policy in [LeavePolicy::Keep, LeavePolicy::Freeze] {
        let pair = east(maker, policy);
        pair.at_parent(&put(&[a_patient("amina").managed_by("west")]));
        pair.quiet();
        assert!(body(&*pair.child, "Observation/pulse").is_some(), "it is kept");
        // Nobody tells the child: the record is of nobody of its cohort before or after.
        pair.at_parent(&put(&[an_observation("pulse", "chao")]));
        pair.quiet();
        pair.at_parent(&put(&[a_patient("amina").managed_by("east")]));
        pair.quiet();
        pair.assert_in_step();
    }
}
