//! Both sides changed one record: what they come to, with whatever order of push and pull.

use protocol::conflict::Version;
use protocol::delivery::Outcome;
use protocol::reconcile::{Policies, Policy};
use protocol::stream::Lane;
use protocol::{Limits, Timestamp};

use super::builders::{Resource, a_location, a_patient, delete, named, put};
use super::pair::{Pair, body};
use super::{Maker, START, site};
use crate::{HistoryQuery, LinkEvent, Scope, Store};

/// A pair that agrees on Amina.
fn agreed(maker: &dyn Maker) -> (Pair, Resource) {
    let pair = Pair::new(maker);
    let amina = a_patient("amina").born("1980-01-01").gender("unknown");
    pair.at_parent(&put(std::slice::from_ref(&amina)));
    pair.quiet();
    (pair, amina)
}

/// Runs `edit`, then brings both sides to rest beginning with a push, and beginning with a pull.
fn either_way(maker: &dyn Maker, edit: impl Fn(&Pair, &Resource), check: impl Fn(&Pair)) {
    for push_first in [true, false] {
        let (pair, amina) = agreed(maker);
        edit(&pair, &amina);
        if push_first {
            pair.push();
        } else {
            pair.pull();
        }
        pair.quiet();
        pair.assert_in_step();
        check(&pair);
    }
}

/// The paths of each conflict of a site.
fn conflicts(store: &dyn Store) -> Vec<Vec<String>> {
    let found = super::conflicts::all(store).into_iter();
    found.map(|conflict| conflict.paths().into_iter().map(str::to_owned).collect()).collect()
}

pub fn a_child_merges_by_what_its_parent_told_last(maker: &dyn Maker) {
    let later_where_clocks_agree = |agree| Policies::all(Policy::Latest).with_clocks(agree);
    for (policies, expected) in [
        (Policies::default(), "1981-02-02"),
        (Policies::all(Policy::Child), "1982-03-03"),
        (Policies::all(Policy::Conflict), "1980-01-01"),
        (later_where_clocks_agree(true), "1982-03-03"),
        (later_where_clocks_agree(false), "1981-02-02"),
    ] {
        let (pair, amina) = agreed(maker);
        let told = LinkEvent::Policies(policies.clone());
        pair.child.link_note(&told, START).unwrap();
        assert_eq!(pair.child.link_get().unwrap().policies, policies);
        pair.at_parent(&put(&[amina.clone().born("1981-02-02")]));
        pair.at_child(&put(&[amina.clone().born("1982-03-03")]));
        pair.pull();
        let held = body(&*pair.child, "Patient/amina").unwrap();
        assert!(held.contains(expected), "{policies:?}: {held}");
        // What it came to is the child's change now, and the parent takes it.
        pair.quiet();
        pair.assert_in_step();
        assert_eq!(body(&*pair.parent, "Patient/amina"), Some(held));
    }
}

pub fn edits_of_different_elements_are_merged_at_both_sides(maker: &dyn Maker) {
    let edit = |pair: &Pair, amina: &Resource| {
        pair.at_parent(&put(&[amina.clone().born("1981-02-02")]));
        pair.at_child(&put(&[amina.clone().gender("female")]));
    };
    either_way(maker, edit, |pair| {
        let (parent, child) = pair.bodies("Patient/amina");
        let body = parent.unwrap();
        assert!(body.contains("1981-02-02") && body.contains("female"), "{body}");
        assert_eq!(Some(body), child);
        assert_eq!(conflicts(&*pair.parent).len() + conflicts(&*pair.child).len(), 0);
    });
}

pub fn edits_of_one_element_conflict_and_come_to_the_same_at_both_sides(maker: &dyn Maker) {
    let edit = |pair: &Pair, amina: &Resource| {
        pair.at_parent(&put(&[amina.clone().born("1981-02-02")]));
        pair.at_child(&put(&[amina.clone().born("1982-03-03").gender("female")]));
    };
    either_way(maker, edit, |pair| {
        let (parent, child) = pair.bodies("Patient/amina");
        let body = parent.unwrap();
        assert!(body.contains("1981-02-02") && body.contains("female"), "{body}");
        assert_eq!(Some(body), child);
        assert_eq!(conflicts(&*pair.parent), [["birthDate"]]);
        assert_eq!(conflicts(&*pair.child), [["birthDate"]]);
    });
}

pub fn to_come_back_to_an_earlier_state_is_an_edit_too(maker: &dyn Maker) {
    for push_first in [true, false] {
        let (pair, amina) = agreed(maker);
        pair.at_child(&put(&[amina.clone().born("1982-03-03")]));
        pair.quiet();
        pair.at_parent(&put(&[amina.clone().born("1981-02-02")]));
        pair.quiet();
        pair.at_child(&put(&[amina.clone().born("1982-03-03")]));
        pair.at_parent(&put(&[amina.born("1990-09-09")]));
        if push_first {
            pair.push();
        } else {
            pair.pull();
        }
        pair.quiet();
        pair.assert_in_step();
        assert_eq!(conflicts(&*pair.parent), [["birthDate"]], "push first: {push_first}");
        assert_eq!(conflicts(&*pair.child), [["birthDate"]]);
    }
}

pub fn a_merge_keeps_all_three_versions(maker: &dyn Maker) {
    let (pair, amina) = agreed(maker);
    pair.at_parent(&put(&[amina.clone().born("1981-02-02")]));
    pair.at_child(&put(&[amina.born("1982-03-03")]));
    assert_eq!(pair.push(), [Outcome::Conflict]);
    let conflict = super::conflicts::only(&*pair.parent).conflict;
    let of = |version: &Version| version.body.text().flatten().unwrap().to_owned();
    assert!(of(conflict.base.as_ref().unwrap()).contains("1980"));
    assert!(of(&conflict.parent).contains("1981"));
    assert!(of(&conflict.child).contains("1982"));
    assert_eq!(of(&conflict.result), body(&*pair.parent, "Patient/amina").unwrap());
    let query =
        HistoryQuery { record: Some(named("Patient/amina")), limit: 10, ..HistoryQuery::default() };
    let history = pair.parent.record_history(&query, &Scope::Everything).unwrap();
    assert_eq!(history.total, 4);
}

pub fn an_edit_wins_over_a_deletion(maker: &dyn Maker) {
    let edit = |pair: &Pair, amina: &Resource| {
        pair.at_parent(&delete("Patient/amina"));
        pair.at_child(&put(&[amina.clone().gender("female")]));
    };
    either_way(maker, edit, |pair| {
        let (parent, child) = pair.bodies("Patient/amina");
        assert!(parent.as_ref().unwrap().contains("female"));
        assert_eq!(parent, child);
        assert_eq!(conflicts(&*pair.parent), [["(deleted)"]]);
        assert_eq!(conflicts(&*pair.child), [["(deleted)"]]);
    });
}

pub fn the_same_in_another_order_ends_with_the_parents_bytes(maker: &dyn Maker) {
    for push_first in [true, false] {
        let (pair, _) = agreed(maker);
        let said = a_patient("amina").gender("female");
        pair.at_parent(&put(&[said.clone().born("1981-02-02")]));
        pair.at_child(&put(&[a_patient("amina").born("1981-02-02").gender("female")]));
        if push_first {
            pair.push();
        }
        pair.quiet();
        pair.assert_in_step();
        let (parent, child) = pair.bodies("Patient/amina");
        assert_eq!(parent, Some(said.born("1981-02-02").text()));
        assert_eq!(parent, child, "push first: {push_first}");
    }
}

pub fn defect_18_a_wrong_clock_decides_nothing(maker: &dyn Maker) {
    for child_clock in [0, START.millis() * 2] {
        let (pair, amina) = agreed(maker);
        let draft = put(&[amina.clone().born("1982-03-03")]);
        pair.child.change_record(&draft, Timestamp::from_millis(child_clock)).unwrap();
        pair.at_parent(&put(&[amina.born("1981-02-02")]));
        pair.quiet();
        pair.assert_in_step();
        assert!(pair.bodies("Patient/amina").0.unwrap().contains("1981-02-02"));
    }
}

pub fn two_children_and_their_parent_come_to_the_same(maker: &dyn Maker) {
    let (mut pair, amina) = agreed(maker);
    let other = maker.make(&site("other"), &Limits::default());
    other.parent_set(pair.now(), &super::feed_id("other-outgoing")).unwrap();
    let swap = |pair: &mut Pair, store: Box<dyn Store>| std::mem::replace(&mut pair.child, store);
    let first = swap(&mut pair, other);
    pair.quiet();
    let other = swap(&mut pair, first);
    first_edits(&pair, &amina);
    let first = swap(&mut pair, other);
    pair.at_child(&put(&[amina.gender("male").with("active", "true")]));
    pair.quiet();
    let other = swap(&mut pair, first);
    pair.quiet();
    pair.assert_in_step();
    let _first = swap(&mut pair, other);
    pair.quiet();
    pair.assert_in_step();
    let text = body(&*pair.parent, "Patient/amina").unwrap();
    for part in ["1985", "true"] {
        assert!(text.contains(part), "{text}");
    }
}

fn first_edits(pair: &Pair, amina: &Resource) {
    pair.at_child(&put(&[amina.clone().born("1985-05-05").gender("female")]));
    pair.push();
}

pub fn what_the_parent_took_back_before_its_word_came_stays_so(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    pair.at_parent(&put(&[a_patient("amina").born("1980")]));
    pair.quiet();
    pair.at_child(&put(&[a_patient("amina").born("1981")]));
    // It is taken, and the word on that is lost.
    let line = pair.child.delivery_next(pair.now(), 100_000).unwrap().remove(0);
    assert_eq!(pair.send(&line).outcome, Outcome::Applied);
    pair.at_parent(&put(&[a_patient("amina").born("1980")]));
    pair.pull();
    pair.quiet();
    let taken_back = a_patient("amina").born("1980").text();
    assert_eq!(pair.bodies("Patient/amina"), (Some(taken_back.clone()), Some(taken_back)));
}

pub fn what_comes_back_to_the_parents_state_has_the_parents_bytes(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    pair.at_parent(&put(&[a_patient("amina").born("1980").gender("female")]));
    pair.quiet();
    pair.at_child(&put(&[a_patient("amina").born("1981").gender("female")]));
    pair.at_child(&put(&[a_patient("amina").gender("female").born("1980")]));
    let (parent, child) = pair.bodies("Patient/amina");
    assert_eq!(parent, child);
    pair.quiet();
    assert_eq!(pair.bodies("Patient/amina"), (parent, child));
}

pub fn what_both_came_to_in_another_order_has_the_parents_bytes(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    let name = |resource: Resource| resource.with("name", r#""Ward""#);
    let alias = |resource: Resource| resource.with("alias", r#"["west"]"#);
    pair.at_parent(&put(&[alias(name(a_location("ward")))]));
    pair.at_child(&put(&[name(alias(a_location("ward")))]));
    let (parent, child) = pair.bodies("Location/ward");
    assert_ne!(parent, child);
    assert_eq!(pair.push(), [Outcome::Already]);
    pair.quiet();
    let (now, child) = pair.bodies("Location/ward");
    assert_eq!((&now, &child), (&parent, &parent));
    assert_eq!(pair.child.unlisted_list(10).unwrap(), []);
}

pub fn what_is_undone_before_the_word_came_is_undone_at_the_parent(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    pair.at_parent(&put(&[a_patient("amina").born("1980")]));
    pair.quiet();
    pair.at_child(&put(&[a_patient("amina").born("1981")]));
    // It is taken, and the word on that is lost; somebody here has undone it meanwhile.
    let line = pair.child.delivery_next(pair.now(), 100_000).unwrap().remove(0);
    pair.send(&line);
    pair.at_child(&put(&[a_patient("amina").born("1980")]));
    pair.quiet();
    let before = a_patient("amina").born("1980").text();
    assert_eq!(pair.bodies("Patient/amina"), (Some(before.clone()), Some(before)));
}

pub fn what_both_made_and_the_parent_went_on_from_is_asked_for(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    let born = |date: &str| put(&[a_patient("amina").born(date)]);
    pair.at_parent(&born("1980"));
    pair.quiet();
    pair.at_child(&born("1981"));
    pair.at_parent(&born("1981"));
    pair.at_parent(&born("1982"));
    // On its way when the parent's word on ours comes, which is newer.
    let (source, lines, _) = pair.fetch("all", Lane::Live);
    pair.at_parent(&put(&[a_patient("beno")]));
    assert_eq!(pair.push(), [Outcome::Already]);
    pair.child.change_apply(&source, &lines, pair.now()).unwrap();
    pair.quiet();
    let newest = a_patient("amina").born("1982").text();
    assert_eq!(pair.bodies("Patient/amina"), (Some(newest.clone()), Some(newest)));
    pair.assert_in_step();
    assert_eq!(pair.child.unlisted_list(10).unwrap(), []);
}
