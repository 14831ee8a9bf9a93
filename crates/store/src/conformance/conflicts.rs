//! Conflicts as records: the same at both ends, decided at either, and taken back.

use protocol::conflict::{Body, Choice};
use protocol::delivery::Outcome;
use protocol::reconcile::Side;
use protocol::{Author, Limits};

use super::builders::{Resource, a_location, a_patient, an_observation, delete, named, put};
use super::pair::{Pair, body};
use super::{Maker, START};
use crate::{
    ConflictAction, ConflictDone, ConflictFilter, ConflictInfo, ConflictOrder, ConflictView,
    LeavePolicy, Scope, Store, StoreError,
};

const LEFT_OUT: Body = Body::LeftOut;

/// All conflicts of a site, newest first.
pub fn all(store: &dyn Store) -> Vec<ConflictInfo> {
    let filter = ConflictFilter { limit: 100, ..ConflictFilter::default() };
    let page = store.conflict_list(&filter, &Scope::Everything).unwrap();
    assert_eq!(page.next, None);
    page.conflicts
}

/// The only one, whole.
pub fn only(store: &dyn Store) -> ConflictView {
    let found = all(store);
    assert_eq!(found.len(), 1, "{found:?}");
    store.conflict_get(&found[0].id, &Scope::Everything).unwrap().unwrap()
}

fn states(store: &dyn Store) -> Vec<&'static str> {
    all(store).into_iter().map(|conflict| conflict.state).collect()
}

fn order(store: &dyn Store, action: ConflictAction) -> ConflictOrder {
    ConflictOrder {
        id: all(store)[0].id.clone(),
        action,
        author: Author::new("dr-otieno"),
        why: Some("asked her".to_owned()),
        actor: "dr-otieno".to_owned(),
    }
}

fn close(store: &dyn Store, choice: Choice) -> Result<ConflictDone, StoreError> {
    store.conflict_decide(&order(store, ConflictAction::Close(choice)), START)
}

fn reopen(store: &dyn Store) -> Result<ConflictDone, StoreError> {
    store.conflict_decide(&order(store, ConflictAction::Reopen), START)
}

/// Amina's birth date, changed at both ends: 1981 at the parent, 1982 at the child.
fn apart(maker: &dyn Maker) -> (Pair, Resource) {
    let pair = Pair::new(maker);
    let amina = a_patient("amina").born("1980-01-01").gender("unknown");
    pair.at_parent(&put(std::slice::from_ref(&amina)));
    pair.quiet();
    pair.at_parent(&put(&[amina.clone().born("1981-02-02")]));
    pair.at_child(&put(&[amina.clone().born("1982-03-03")]));
    (pair, amina)
}

/// The same, and both know it.
fn settled(maker: &dyn Maker) -> (Pair, Resource) {
    let (pair, amina) = apart(maker);
    pair.quiet();
    (pair, amina)
}

fn assert_settled(pair: &Pair) {
    pair.quiet();
    pair.assert_in_step();
    for store in [&pair.parent, &pair.child] {
        assert_eq!(store.site_check(&mut |_| {}).unwrap(), Vec::<String>::new());
    }
}

fn born(pair: &Pair) -> String {
    let (parent, child) = pair.bodies("Patient/amina");
    assert_eq!(parent, child);
    let text = parent.unwrap();
    text.split("\"birthDate\":\"").nth(1).unwrap().chars().take(4).collect()
}

pub fn the_same_conflict_is_at_both_ends_whichever_merged(maker: &dyn Maker) {
    let mut seen = Vec::new();
    for way in ["push first", "pull first", "both at once"] {
        let (pair, _) = apart(maker);
        match way {
            "push first" => assert_eq!(pair.push(), [Outcome::Conflict]),
            "pull first" => drop(pair.pull()),
            _ => {
                // What is on its way in each direction was sent before the other came.
                let up = pair.child.delivery_next(pair.now(), 100_000).unwrap();
                let down = pair.fetch("all", protocol::stream::Lane::Live);
                let settled = up.iter().map(|line| pair.send(line)).collect::<Vec<_>>();
                pair.child.change_apply(&down.0, &down.1, pair.now()).unwrap();
                pair.child.delivery_settle(&settled, pair.now(), 0).unwrap();
            }
        }
        assert_settled(&pair);
        let [parent, child] = [&pair.parent, &pair.child].map(|store| only(&**store));
        assert_eq!(parent.conflict, child.conflict, "{way}");
        assert_eq!(parent.info.paths(), ["birthDate"]);
        assert_eq!((parent.info.parent.as_str(), parent.info.child.as_str()), ("centre", "clinic"));
        assert_eq!(parent.info.patients, [named("Patient/amina")]);
        let name = format!("Basic/{}", parent.info.id);
        seen.push(pair.bodies(&name));
    }
    assert!(seen.iter().all(|bodies| *bodies == seen[0] && bodies.0 == bodies.1), "{seen:?}");
}

pub fn a_conflict_whose_result_came_is_noted_too(maker: &dyn Maker) {
    let (pair, _) = apart(maker);
    pair.pull();
    // The child took the parent's birth date: the parent's state is what the merge came to.
    assert_eq!(states(&*pair.child), ["open"]);
    assert!(states(&*pair.parent).is_empty());
    pair.push();
    assert_eq!(states(&*pair.parent), ["open"]);
    assert_settled(&pair);
}

pub fn what_is_decided_at_either_end_closes_the_conflict_at_both(maker: &dyn Maker) {
    for at_parent in [true, false] {
        for (side, year) in [(Side::Parent, "1981"), (Side::Child, "1982")] {
            let (pair, _) = settled(maker);
            let store = if at_parent { &*pair.parent } else { &*pair.child };
            let done = close(store, Choice::Side(side)).unwrap();
            assert_eq!((done.state, done.changed), ("decided", side == Side::Child));
            assert_settled(&pair);
            assert_eq!(born(&pair), year);
            for store in [&pair.parent, &pair.child] {
                assert_eq!(states(&**store), ["decided"]);
                let by = only(&**store).info.by.unwrap();
                let site = if at_parent { "centre" } else { "clinic" };
                assert_eq!((by.by.as_str(), by.site.as_str()), ("dr-otieno", site));
                assert_eq!(store.site_status(START).unwrap().conflicts_open, 0);
            }
        }
    }
}

pub fn a_decision_keeps_what_was_edited_since(maker: &dyn Maker) {
    let (pair, amina) = settled(maker);
    pair.at_child(&put(&[amina.born("1981-02-02").gender("female")]));
    let done = close(&*pair.parent, Choice::Side(Side::Child)).unwrap();
    assert!(done.contested.is_empty());
    let done = close(&*pair.child, Choice::Side(Side::Child)).unwrap();
    assert!(done.contested.is_empty() && done.changed);
    assert_settled(&pair);
    assert_eq!(born(&pair), "1982");
    assert!(body(&*pair.parent, "Patient/amina").unwrap().contains("female"));
    assert_eq!(states(&*pair.parent), ["decided"]);
}

pub fn a_decision_stands_over_a_later_edit_of_its_element_and_says_so(maker: &dyn Maker) {
    let (pair, amina) = settled(maker);
    pair.at_parent(&put(&[amina.born("1999-09-09").gender("female")]));
    let done = close(&*pair.parent, Choice::Side(Side::Child)).unwrap();
    assert_eq!(done.contested, ["birthDate"]);
    assert_settled(&pair);
    assert_eq!(born(&pair), "1982");
    assert!(body(&*pair.child, "Patient/amina").unwrap().contains("female"));
}

pub fn a_decision_can_be_taken_back(maker: &dyn Maker) {
    let (pair, amina) = settled(maker);
    close(&*pair.child, Choice::Side(Side::Child)).unwrap();
    assert_settled(&pair);
    pair.at_parent(&put(&[amina.clone().born("1982-03-03").gender("female")]));
    let done = reopen(&*pair.parent).unwrap();
    assert_eq!((done.state, done.changed), ("open", true));
    assert!(matches!(reopen(&*pair.parent), Err(StoreError::Refused(_))));
    assert_settled(&pair);
    assert_eq!(born(&pair), "1981");
    assert!(body(&*pair.child, "Patient/amina").unwrap().contains("female"));
    assert_eq!(states(&*pair.child), ["open"]);
    // What somebody wrote after the second decision is not undone with it.
    close(&*pair.parent, Choice::Side(Side::Child)).unwrap();
    pair.at_parent(&put(&[amina.born("1999-09-09").gender("female")]));
    assert_eq!(reopen(&*pair.parent).unwrap().contested, ["birthDate"]);
    assert_settled(&pair);
    assert_eq!(born(&pair), "1999");
    assert_eq!(states(&*pair.child), ["open"]);
}

pub fn a_confirmed_conflict_leaves_the_record_as_it_is(maker: &dyn Maker) {
    let (pair, _) = settled(maker);
    let done = close(&*pair.child, Choice::Confirm).unwrap();
    assert_eq!((done.state, done.changed), ("confirmed", false));
    assert_settled(&pair);
    assert_eq!((born(&pair).as_str(), states(&*pair.parent)), ("1981", vec!["confirmed"]));
    reopen(&*pair.parent).unwrap();
    assert_settled(&pair);
    assert_eq!((born(&pair).as_str(), states(&*pair.child)), ("1981", vec!["open"]));
}

pub fn who_comes_second_is_told_who_was_first(maker: &dyn Maker) {
    let (pair, _) = settled(maker);
    close(&*pair.child, Choice::Side(Side::Child)).unwrap();
    pair.quiet();
    let before = pair.parent.site().unwrap().sequence;
    for choice in [Choice::Confirm, Choice::Side(Side::Parent)] {
        let error = close(&*pair.parent, choice).unwrap_err().to_string();
        for word in ["decided by dr-otieno at clinic", "2026-"] {
            assert!(error.contains(word), "{error}");
        }
    }
    assert_eq!(pair.parent.site().unwrap().sequence, before);
    let unknown = ConflictOrder {
        id: "conflict-none".to_owned(),
        ..order(&*pair.parent, ConflictAction::Reopen)
    };
    assert!(matches!(pair.parent.conflict_decide(&unknown, START), Err(StoreError::Name(_))));
}

pub fn a_deletion_against_an_edit_is_kept_or_deleted_by_a_person(maker: &dyn Maker) {
    for (choice, alive) in [
        (Choice::Keep, true),
        (Choice::Delete, false),
        (Choice::Side(Side::Parent), false),
        (Choice::Side(Side::Child), true),
    ] {
        let pair = Pair::new(maker);
        let pulse = an_observation("pulse", "amina").with("n", "1");
        pair.at_parent(&put(&[a_patient("amina"), pulse.clone()]));
        pair.quiet();
        pair.at_parent(&delete("Observation/pulse"));
        pair.at_child(&put(&[pulse.with("n", "2")]));
        pair.quiet();
        assert_eq!(only(&*pair.child).conflict.parent.body, Body::Deleted);
        close(&*pair.parent, choice.clone()).unwrap();
        assert_settled(&pair);
        let (parent, child) = pair.bodies("Observation/pulse");
        assert_eq!((parent.is_some(), child.is_some()), (alive, alive), "{choice:?}");
        assert_eq!(states(&*pair.child), ["decided"]);
        reopen(&*pair.child).unwrap();
        assert_settled(&pair);
        assert!(pair.bodies("Observation/pulse").0.unwrap().contains("\"n\":2"));
    }
}

pub fn the_record_can_be_written_as_a_person_wants_it(maker: &dyn Maker) {
    let (pair, amina) = settled(maker);
    let other = a_patient("beno").text();
    let error = close(&*pair.parent, Choice::Edit(other)).unwrap_err().to_string();
    assert!(error.contains("Patient/beno") && error.contains("Patient/amina"), "{error}");
    assert!(close(&*pair.parent, Choice::Edit("{".to_owned())).is_err());
    let wanted = amina.born("1983").text();
    close(&*pair.parent, Choice::Edit(wanted.clone())).unwrap();
    assert_settled(&pair);
    assert_eq!(pair.bodies("Patient/amina"), (Some(wanted.clone()), Some(wanted)));
    reopen(&*pair.child).unwrap();
    assert_settled(&pair);
    assert_eq!(born(&pair), "1981");
}

pub fn two_decisions_at_once_come_to_one_at_both_ends(maker: &dyn Maker) {
    for push_first in [true, false] {
        let (pair, amina) = settled(maker);
        close(&*pair.parent, Choice::Edit(amina.clone().born("1990").text())).unwrap();
        close(&*pair.child, Choice::Side(Side::Child)).unwrap();
        if push_first {
            pair.push();
        } else {
            pair.pull();
        }
        assert_settled(&pair);
        // The parent's decision stands, and that they contradict each other is a conflict.
        assert_eq!(born(&pair), "1990");
        for store in [&pair.parent, &pair.child] {
            assert_eq!(states(&**store), ["open", "decided"]);
            assert_eq!(all(&**store)[1].by.as_ref().unwrap().site.as_str(), "centre");
        }
    }
}

pub fn a_decision_that_moved_the_record_stands_over_a_confirmation(maker: &dyn Maker) {
    for push_first in [true, false] {
        let (pair, _) = settled(maker);
        close(&*pair.parent, Choice::Confirm).unwrap();
        close(&*pair.child, Choice::Side(Side::Child)).unwrap();
        if push_first {
            pair.push();
        } else {
            pair.pull();
        }
        assert_settled(&pair);
        assert_eq!(born(&pair), "1982");
        assert_eq!(states(&*pair.parent), ["decided"]);
        assert_eq!(states(&*pair.child), ["decided"]);
    }
}

pub fn the_same_two_states_meeting_again_open_it_again(maker: &dyn Maker) {
    let (pair, amina) = settled(maker);
    close(&*pair.parent, Choice::Edit(amina.clone().text())).unwrap();
    assert_settled(&pair);
    assert_eq!(born(&pair), "1980");
    pair.at_parent(&put(&[amina.clone().born("1981-02-02")]));
    pair.at_child(&put(&[amina.born("1982-03-03")]));
    assert_settled(&pair);
    assert_eq!(born(&pair), "1981");
    for store in [&pair.parent, &pair.child] {
        assert_eq!(states(&**store), ["open"]);
        assert_eq!(only(&**store).conflict.round, 1);
    }
}

pub fn a_conflict_about_a_reference_record_goes_where_those_go(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    let ward = a_location("ward").with("name", "\"A\"");
    pair.at_parent(&put(std::slice::from_ref(&ward)));
    pair.quiet();
    pair.at_parent(&put(&[ward.clone().with("name", "\"B\"")]));
    pair.at_child(&put(&[ward.with("name", "\"C\"")]));
    pair.push();
    let id = all(&*pair.parent)[0].id.clone();
    assert!(id.starts_with("reference-conflict-"), "{id}");
    // A child with no cohort at all sees it, as it sees the ward.
    let scope = Pair::scope(&*pair.child, &[]);
    assert!(pair.parent.conflict_get(&id, &scope).unwrap().unwrap().now.is_some());
    assert_settled(&pair);
    assert_eq!(states(&*pair.child), ["open"]);
    close(&*pair.child, Choice::Side(Side::Child)).unwrap();
    assert_settled(&pair);
    assert!(body(&*pair.parent, "Location/ward").unwrap().contains("\"C\""));
    assert_eq!(states(&*pair.parent), ["decided"]);
}

pub fn a_conflict_shows_nothing_of_a_patient_whose_the_record_is_not(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    let pulse = an_observation("pulse", "amina").with("n", "1");
    pair.at_parent(&put(&[a_patient("amina"), a_patient("beno"), pulse]));
    pair.quiet();
    pair.at_parent(&put(&[an_observation("pulse", "amina").with("n", "2")]));
    pair.at_child(&put(&[an_observation("pulse", "beno").with("n", "3")]));
    pair.quiet();
    // The merge made it Beno's.
    let id = all(&*pair.parent)[0].id.clone();
    let name = format!("Basic/{id}");
    for store in [&pair.parent, &pair.child] {
        let text = body(&**store, &name).unwrap();
        assert!(text.contains("Patient/beno") && !text.contains("Patient/amina"), "{text}");
    }
    // Whoever may see everything sees the rest in the record's own history.
    let conflict = only(&*pair.parent).conflict;
    assert!(conflict.parent.body.text().flatten().unwrap().contains("Patient/amina"));
    let scope = Pair::scope(&*pair.child, &["all"]);
    let seen = pair.parent.conflict_get(&id, &scope).unwrap().unwrap();
    assert_eq!((seen.conflict.base.unwrap().body, seen.conflict.parent.body), (LEFT_OUT, LEFT_OUT));
    assert!(seen.writers.is_empty());
    // Somebody makes it Amina's again, and then it says nothing of Beno.
    let wanted = an_observation("pulse", "amina").with("n", "2").text();
    close(&*pair.parent, Choice::Edit(wanted)).unwrap();
    let text = body(&*pair.parent, &name).unwrap();
    assert!(text.contains("Patient/amina") && !text.contains("Patient/beno"), "{text}");
    assert_settled(&pair);
}

pub fn a_long_conflict_leaves_bodies_out_and_is_decided_all_the_same(maker: &dyn Maker) {
    let limits = Limits { conflict_bytes: 500, ..Limits::default() };
    let pair = Pair::with_limits(maker, limits);
    let long = |note: &str| format!("\"{}\"", note.repeat(300));
    let amina = a_patient("amina").with("n", "1");
    pair.at_parent(&put(std::slice::from_ref(&amina)));
    pair.quiet();
    pair.at_parent(&put(&[amina.clone().with("n", "2")]));
    pair.at_child(&put(&[amina.with("n", &long("x"))]));
    pair.push();
    pair.quiet();
    let id = all(&*pair.child)[0].id.clone();
    assert!(body(&*pair.child, &format!("Basic/{id}")).unwrap().len() < 2_000);
    assert!(only(&*pair.child).conflict.child.body.text().is_some());
    close(&*pair.parent, Choice::Side(Side::Child)).unwrap();
    assert_settled(&pair);
    assert!(body(&*pair.child, "Patient/amina").unwrap().contains("xxx"));
}

pub fn conflicts_are_listed_by_state_and_patient_and_page(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    let people = ["a", "b", "c", "d", "e"].map(a_patient);
    pair.at_parent(&put(&people));
    pair.quiet();
    for person in &people {
        pair.at_parent(&put(&[person.clone().born("1981")]));
        pair.at_child(&put(&[person.clone().born("1982")]));
        pair.quiet();
    }
    close(&*pair.child, Choice::Confirm).unwrap();
    let list = |filter: ConflictFilter| {
        let filter = ConflictFilter { limit: 2, ..filter };
        let page = pair.child.conflict_list(&filter, &Scope::Everything).unwrap();
        let names = page.conflicts.iter().map(|one| one.record.id().to_owned()).collect::<String>();
        (names, page.next)
    };
    let none = ConflictFilter::default;
    let (first, next) = list(none());
    let (second, next) = list(ConflictFilter { after: next, ..none() });
    let (third, end) = list(ConflictFilter { after: next, ..none() });
    assert_eq!((first.as_str(), second.as_str(), third.as_str(), end), ("ed", "cb", "a", None));
    assert_eq!(list(ConflictFilter { open: Some(false), ..none() }).0, "e");
    assert_eq!(list(ConflictFilter { open: Some(true), ..none() }).0, "dc");
    let patient = Some(named("Patient/b"));
    assert_eq!(list(ConflictFilter { patient: patient.clone(), ..none() }).0, "b");
    assert_eq!(list(ConflictFilter { record: patient, ..none() }).0, "b");
    let id = all(&*pair.child)[1].id.clone();
    let some = id.strip_prefix("conflict-").unwrap()[..12].to_owned();
    assert_eq!(list(ConflictFilter { id: Some(some), ..none() }).0, "d");
    assert_eq!(list(ConflictFilter { id: Some("%".to_owned()), ..none() }).0, "");
    let scope = Pair::scope(&*pair.child, &[]);
    let filter = ConflictFilter { limit: 9, ..none() };
    assert!(pair.parent.conflict_list(&filter, &scope).unwrap().conflicts.is_empty());
    assert_eq!(pair.parent.conflict_get(&id, &scope).unwrap(), None);
}

pub fn a_purged_patient_takes_its_conflicts_along(maker: &dyn Maker) {
    let (pair, _) = settled(maker);
    pair.leave.set(LeavePolicy::Purge);
    let nobody = std::collections::BTreeSet::new();
    pair.cohort("all", protocol::cohort::Definition::Patients { patients: nobody });
    pair.quiet();
    pair.child.patient_purge(pair.now()).unwrap();
    assert!(all(&*pair.child).is_empty());
    assert_eq!(states(&*pair.parent), ["open"]);
    assert_eq!(pair.child.site_check(&mut |_| {}).unwrap(), Vec::<String>::new());
    assert_eq!(pair.child.site_status(START).unwrap().records, 0);
}

pub fn a_conflict_holds_up_nobody(maker: &dyn Maker) {
    let (pair, amina) = settled(maker);
    pair.at_parent(&put(&[an_observation("one", "amina"), an_observation("two", "beno")]));
    pair.at_child(&put(&[an_observation("three", "amina"), an_observation("four", "beno")]));
    pair.at_child(&put(&[amina.born("1981-02-02").gender("female")]));
    assert_settled(&pair);
    for name in ["one", "two", "three", "four"] {
        let (parent, child) = pair.bodies(&format!("Observation/{name}"));
        assert!(parent.is_some() && child.is_some(), "{name}");
    }
    assert!(body(&*pair.parent, "Patient/amina").unwrap().contains("female"));
    assert_eq!(states(&*pair.parent), ["open"]);
    let status = pair.child.site_status(START).unwrap();
    assert_eq!((status.parked_lines, status.deliveries.get("parked")), (0, None));
}
