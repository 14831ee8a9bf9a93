//! Merged patients: what refers to a loser follows to the winner, at one site and over a link,
//! and goes back when the link is taken away.

use std::collections::BTreeSet;

use protocol::cohort::Definition;
use protocol::delivery::Outcome;
use protocol::{Author, Limits};

use super::builders::{
    Resource, a_patient, an_encounter, an_observation, delete, draft, named, put,
};
use super::pair::{Pair, body};
use super::{Maker, START, site};
use crate::{Draft, Scope, SearchQuery, Store, VisitorDraft};

/// Patients who are one person: the loser, the winner, and one more.
pub(super) fn files() -> [Resource; 3] {
    ["loser", "winner", "other"].map(|id| a_patient(id).born("1980-01-01"))
}

/// A Patient who says to be replaced by another.
pub fn replaced(id: &str, by: &str) -> Resource {
    let link = format!(r#"[{{"other":{{"reference":"Patient/{by}"}},"type":"replaced-by"}}]"#);
    a_patient(id).born("1980-01-01").with("link", &link)
}

pub(super) fn subject(store: &dyn Store, record: &str) -> String {
    let text = body(store, record).unwrap();
    let at = text.find("Patient/").unwrap();
    text[at + 8..].split('"').next().unwrap().to_owned()
}

pub(super) fn everything(store: &dyn Store, patient: &str) -> BTreeSet<String> {
    let patients = Some(vec![named(&format!("Patient/{patient}"))]);
    let query = SearchQuery { patients, limit: 100, ..SearchQuery::default() };
    let found = store.record_search(&query, &Scope::Everything).unwrap();
    found.records.into_iter().map(|record| record.reference.to_string()).collect()
}

fn sequence(store: &dyn Store) -> u64 {
    store.site().unwrap().sequence
}

/// A store with three patients and two records of the loser.
fn used(maker: &dyn Maker) -> Box<dyn Store> {
    let store = maker.make(&site("centre"), &Limits::default());
    store.change_record(&put(&files()), START).unwrap();
    let records = [an_encounter("e", "loser"), an_observation("o", "loser")];
    store.change_record(&put(&records), START).unwrap();
    store
}

/// The store breaks no rule of its own.
pub(super) fn whole(store: &dyn Store) {
    assert_eq!(store.site_check(&mut |_| {}).unwrap(), Vec::<String>::new());
}

pub fn what_refers_to_a_replaced_patient_follows_in_the_same_transaction(maker: &dyn Maker) {
    let store = used(maker);
    let before = sequence(&*store);
    store.change_record(&put(&[replaced("loser", "winner")]), START).unwrap();
    assert_eq!(sequence(&*store), before + 2, "the link, and one change of what follows");
    for record in ["Encounter/e", "Observation/o"] {
        assert_eq!(subject(&*store, record), "winner", "{record}");
    }
    assert!(body(&*store, "Patient/loser").unwrap().contains("Patient/winner"));
    let found = everything(&*store, "winner");
    assert!(found.contains("Encounter/e") && found.contains("Observation/o"), "{found:?}");
    let list = store.patient_replaced(10).unwrap();
    assert_eq!((list.len(), list[0].state.as_str(), list[0].moved), (1, "moved", 2));
    assert!(!store.patient_follow(START).unwrap(), "something is left to do");
    whole(&*store);
}

pub fn what_comes_later_for_a_replaced_patient_is_recorded_as_it_came_and_follows(
    maker: &dyn Maker,
) {
    let store = used(maker);
    store.change_record(&put(&[replaced("loser", "winner")]), START).unwrap();
    let late = an_observation("late", "loser").with("status", "\"final\"");
    let recorded = store.change_record(&put(std::slice::from_ref(&late)), START).unwrap();
    let name = late.reference();
    let came = store.record_get(&name, recorded.sequence, &Scope::Everything).unwrap().unwrap();
    assert_eq!(came.body, Some(late.text()));
    let now = body(&*store, "Observation/late").unwrap();
    assert_eq!(now, late.text().replace("Patient/loser", "Patient/winner"));
    // A record that is written again with the old reference follows again.
    let again = late.with("status", "\"amended\"");
    store.change_record(&put(&[again]), START).unwrap();
    assert_eq!(subject(&*store, "Observation/late"), "winner");
    assert!(body(&*store, "Observation/late").unwrap().contains("amended"));
    whole(&*store);
}

pub fn nothing_follows_to_a_patient_who_is_not_here(maker: &dyn Maker) {
    let store = maker.make(&site("centre"), &Limits::default());
    store.change_record(&put(&[replaced("loser", "winner")]), START).unwrap();
    store.change_record(&put(&[an_observation("o", "loser")]), START).unwrap();
    assert_eq!(subject(&*store, "Observation/o"), "loser");
    let list = store.patient_replaced(10).unwrap();
    assert_eq!(list[0].reason.as_deref(), Some("Patient/winner is not here"));
    store.change_record(&put(&[a_patient("winner")]), START).unwrap();
    assert_eq!(subject(&*store, "Observation/o"), "winner");
    // Nor to one who is deleted; what has followed stays where it is.
    store.change_record(&delete("Patient/winner"), START).unwrap();
    store.change_record(&put(&[an_observation("late", "loser")]), START).unwrap();
    assert_eq!(subject(&*store, "Observation/late"), "loser");
    assert_eq!(subject(&*store, "Observation/o"), "winner");
    store.change_record(&put(&[a_patient("winner")]), START).unwrap();
    assert_eq!(subject(&*store, "Observation/late"), "winner");
    whole(&*store);
}

pub fn links_are_followed_to_their_end_and_a_circle_moves_nothing(maker: &dyn Maker) {
    let store = used(maker);
    let chain = [replaced("loser", "winner"), replaced("winner", "other")];
    store.change_record(&put(&chain), START).unwrap();
    assert_eq!(subject(&*store, "Observation/o"), "other");
    whole(&*store);

    let store = used(maker);
    let circle = [replaced("loser", "winner"), replaced("winner", "loser")];
    let before = sequence(&*store);
    store.change_record(&put(&circle), START).unwrap();
    assert_eq!(sequence(&*store), before + 1);
    assert_eq!(subject(&*store, "Observation/o"), "loser");
    for link in store.patient_replaced(10).unwrap() {
        assert_eq!(link.reason.as_deref(), Some("each of them is said to replace the other"));
    }
    store.change_record(&put(&[a_patient("winner")]), START).unwrap();
    assert_eq!(subject(&*store, "Observation/o"), "winner", "the circle was opened");
    whole(&*store);
}

pub fn a_patient_who_is_replaced_by_several_moves_nothing(maker: &dyn Maker) {
    let store = used(maker);
    let link =
        |by: &str| format!(r#"{{"other":{{"reference":"Patient/{by}"}},"type":"replaced-by"}}"#);
    let both = format!("[{},{}]", link("winner"), link("other"));
    store.change_record(&put(&[a_patient("loser").with("link", &both)]), START).unwrap();
    assert_eq!(subject(&*store, "Observation/o"), "loser");
    let list = store.patient_replaced(10).unwrap();
    assert_eq!(list[0].reason.as_deref(), Some("Patient/loser is said to be replaced by several"));
    store.change_record(&put(&[replaced("loser", "other")]), START).unwrap();
    assert_eq!(subject(&*store, "Observation/o"), "other");
    whole(&*store);
}

pub fn a_merge_that_is_taken_back_gives_the_very_bytes_of_before(maker: &dyn Maker) {
    let store = used(maker);
    let names = ["Encounter/e", "Observation/o", "Patient/winner"];
    let before = names.map(|name| body(&*store, name));
    store.change_record(&put(&[replaced("loser", "winner")]), START).unwrap();
    let own = an_observation("own", "winner");
    store.change_record(&put(std::slice::from_ref(&own)), START).unwrap();
    store.change_record(&put(&files()[..1]), START).unwrap();
    assert_eq!(names.map(|name| body(&*store, name)), before);
    assert_eq!(subject(&*store, "Observation/own"), "winner", "it never was the loser's");
    assert_eq!(store.patient_replaced(10).unwrap(), []);
    whole(&*store);
}

pub fn a_record_that_goes_back_keeps_what_was_changed_of_it_since(maker: &dyn Maker) {
    let store = used(maker);
    store.change_record(&put(&[replaced("loser", "winner")]), START).unwrap();
    let edited = an_observation("o", "winner").with("status", "\"amended\"");
    store.change_record(&put(&[edited]), START).unwrap();
    // Somebody has said that this one is somebody else's.
    store.change_record(&put(&[an_encounter("e", "other")]), START).unwrap();
    store.change_record(&put(&files()[..1]), START).unwrap();
    assert_eq!(subject(&*store, "Observation/o"), "loser");
    assert!(body(&*store, "Observation/o").unwrap().contains("amended"));
    assert_eq!(subject(&*store, "Encounter/e"), "other");
    whole(&*store);
}

pub fn a_link_that_goes_out_of_a_chain_takes_only_its_own_records_back(maker: &dyn Maker) {
    for chain_at_once in [true, false] {
        let store = used(maker);
        store.change_record(&put(&[an_observation("w", "winner")]), START).unwrap();
        let chain = [replaced("loser", "winner"), replaced("winner", "other")];
        if chain_at_once {
            store.change_record(&put(&chain), START).unwrap();
        } else {
            store.change_record(&put(&chain[..1]), START).unwrap();
            store.change_record(&put(&chain[1..]), START).unwrap();
        }
        let subjects = || ["Observation/o", "Observation/w"].map(|name| subject(&*store, name));
        assert_eq!(subjects(), ["other", "other"]);
        store.change_record(&put(&files()[..1]), START).unwrap();
        assert_eq!(subjects(), ["loser", "other"], "at once: {chain_at_once}");
        store.change_record(&put(&chain[..1]), START).unwrap();
        assert_eq!(subjects(), ["other", "other"]);
        store.change_record(&put(&files()[1..2]), START).unwrap();
        assert_eq!(subjects(), ["winner", "winner"], "at once: {chain_at_once}");
        whole(&*store);
    }
}

pub fn deleting_a_loser_takes_nothing_back(maker: &dyn Maker) {
    let store = used(maker);
    store.change_record(&put(&[replaced("loser", "winner")]), START).unwrap();
    store.change_record(&delete("Patient/loser"), START).unwrap();
    assert_eq!(subject(&*store, "Observation/o"), "winner");
    store.change_record(&put(&[an_observation("late", "loser")]), START).unwrap();
    assert_eq!(subject(&*store, "Observation/late"), "winner");
    whole(&*store);
}

pub fn a_long_record_follows_in_portions_and_never_loses_its_place(maker: &dyn Maker) {
    let limits = Limits { change_records: 4, ..Limits::default() };
    let store = maker.make(&site("centre"), &limits);
    store.change_record(&put(&files()[..2]), START).unwrap();
    let records = (0..19).map(|n| an_observation(&format!("o{n}"), "loser")).collect::<Vec<_>>();
    for each in &records {
        store.change_record(&put(std::slice::from_ref(each)), START).unwrap();
    }
    let at = |patient: &str| {
        let found = everything(&*store, patient);
        found.iter().filter(|name| name.starts_with("Observation/")).count()
    };
    store.change_record(&put(&[replaced("loser", "winner")]), START).unwrap();
    assert!(at("winner") >= 4 && at("loser") > 0);
    // What is written meanwhile follows as well, behind the place and before it.
    store.change_record(&put(&records[..1]), START).unwrap();
    store.change_record(&put(&records[18..]), START).unwrap();
    while store.patient_follow(START).unwrap() {}
    assert_eq!((at("winner"), at("loser")), (19, 0));
    store.change_record(&put(&files()[..1]), START).unwrap();
    assert!(at("winner") > 0, "it all went back at once");
    while store.patient_follow(START).unwrap() {}
    assert_eq!((at("winner"), at("loser")), (0, 19));
    whole(&*store);
}

pub fn a_merge_at_either_side_comes_to_the_same_and_to_rest(maker: &dyn Maker) {
    for at_child in [true, false] {
        let pair = Pair::new(maker);
        pair.at_parent(&put(&files()));
        pair.at_parent(&put(&[an_observation("o", "loser"), an_encounter("e", "loser")]));
        pair.quiet();
        // Each side writes to the old file before it hears of the merge, or after.
        let merge = put(&[replaced("loser", "winner")]);
        make(&pair, at_child, &merge);
        let edit = an_observation("o", "loser").with("status", "\"amended\"");
        make(&pair, !at_child, &put(&[edit]));
        pair.at_parent(&put(&[an_observation("p", "loser")]));
        pair.at_child(&put(&[an_observation("c", "loser")]));
        pair.quiet();
        pair.assert_in_step();
        for record in ["Observation/o", "Observation/p", "Observation/c", "Encounter/e"] {
            assert_eq!(subject(&*pair.parent, record), "winner", "{record}");
        }
        assert!(body(&*pair.parent, "Observation/o").unwrap().contains("amended"));
        assert_eq!(super::conflicts::all(&*pair.parent), []);
        assert_eq!(super::conflicts::all(&*pair.child), []);
        let rest = (sequence(&*pair.parent), sequence(&*pair.child));
        pair.quiet();
        assert_eq!((sequence(&*pair.parent), sequence(&*pair.child)), rest);
        // And back, by the other side.
        let restore = put(&files()[..1]);
        make(&pair, !at_child, &restore);
        pair.quiet();
        pair.assert_in_step();
        for record in ["Observation/o", "Encounter/e"] {
            assert_eq!(subject(&*pair.parent, record), "loser", "{record}");
        }
        whole(&*pair.parent);
        whole(&*pair.child);
    }
}

pub fn an_edit_of_a_losers_patient_from_before_the_link_takes_nothing_back(maker: &dyn Maker) {
    for push_first in [true, false] {
        let pair = Pair::new(maker);
        pair.at_parent(&put(&files()));
        pair.at_parent(&put(&[an_observation("o", "loser")]));
        pair.quiet();
        pair.at_parent(&put(&[replaced("loser", "winner")]));
        pair.at_child(&put(&[files()[0].clone().gender("female")]));
        let moved = pair.parent.record_get(&named("Observation/o"), None, &Scope::Everything);
        let moved = moved.unwrap().unwrap().sequence;
        if push_first {
            assert_eq!(pair.push(), [Outcome::Merged]);
        }
        pair.quiet();
        pair.assert_in_step();
        let now = pair.parent.record_get(&named("Observation/o"), None, &Scope::Everything);
        assert_eq!(now.unwrap().unwrap().sequence, moved, "it went to and fro");
    }
}

/// Each side in turn, and in either order of the first exchange.
pub(super) const WAYS: [(bool, bool); 4] =
    [(true, true), (true, false), (false, true), (false, false)];

/// Makes a change at the child, or at the parent.
pub(super) fn make(pair: &Pair, at_child: bool, draft: &Draft) {
    if at_child {
        pair.at_child(draft)
    } else {
        pair.at_parent(draft)
    };
}

/// Brings both sides to rest, and sees that nobody is told of a conflict.
pub(super) fn agree_without_conflict(pair: &Pair, push_first: bool) {
    if push_first {
        pair.push();
    } else {
        pair.pull();
    }
    pair.quiet();
    pair.assert_in_step();
    for store in [&*pair.parent, &*pair.child] {
        assert_eq!(super::conflicts::all(store), []);
        whole(store);
    }
}

pub fn to_have_moved_a_record_is_no_edit_of_it(maker: &dyn Maker) {
    for (at_child, push_first) in WAYS {
        let pair = Pair::new(maker);
        pair.at_parent(&put(&files()));
        pair.at_parent(&put(&[an_observation("o", "loser"), an_observation("d", "loser")]));
        pair.quiet();
        make(&pair, at_child, &put(&[replaced("loser", "winner")]));
        make(&pair, !at_child, &delete("Observation/d"));
        agree_without_conflict(&pair, push_first);
        for store in [&*pair.parent, &*pair.child] {
            assert_eq!(body(store, "Observation/d"), None, "the deletion was undone");
            assert_eq!(subject(store, "Observation/o"), "winner");
        }
    }
}

pub fn a_chain_of_merges_made_apart_is_no_conflict(maker: &dyn Maker) {
    for (at_child, push_first) in WAYS {
        let pair = Pair::new(maker);
        pair.at_parent(&put(&files()));
        pair.at_parent(&put(&[an_observation("o", "loser"), an_observation("w", "winner")]));
        pair.quiet();
        for merge in [replaced("loser", "winner"), replaced("winner", "other")] {
            make(&pair, at_child, &put(&[merge]));
        }
        let late = an_observation("o", "loser").with("status", "\"final\"");
        make(&pair, !at_child, &put(&[late]));
        agree_without_conflict(&pair, push_first);
        for record in ["Observation/o", "Observation/w"] {
            assert_eq!(subject(&*pair.parent, record), "other", "{record}");
        }
        assert!(body(&*pair.parent, "Observation/o").unwrap().contains("final"));
    }
}

pub fn who_held_a_loser_holds_the_winner(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    let only = BTreeSet::from([named("Patient/loser")]);
    pair.cohort("all", Definition::Patients { patients: only.clone() });
    pair.at_parent(&put(&files()));
    pair.at_parent(&put(&[an_observation("o", "loser"), an_observation("w", "winner")]));
    pair.quiet();
    assert_eq!(body(&*pair.child, "Patient/winner"), None);
    pair.at_parent(&put(&[replaced("loser", "winner")]));
    pair.quiet();
    pair.assert_in_step();
    for record in ["Patient/loser", "Patient/winner", "Observation/o", "Observation/w"] {
        assert!(body(&*pair.child, record).is_some(), "{record}");
    }
    assert_eq!(subject(&*pair.child, "Observation/o"), "winner");
    // A definition that is set again says the same.
    let change = pair.cohort("all", Definition::Patients { patients: only });
    assert_eq!((change.joined, change.left, change.patients), (0, 0, 2));
    pair.at_parent(&put(&files()[..1]));
    pair.quiet();
    pair.assert_in_step();
    let held = pair.parent.cohort_patients(&"all".parse().unwrap(), None, 10).unwrap();
    assert_eq!(held, [named("Patient/loser")]);
    assert_eq!(subject(&*pair.child, "Observation/o"), "loser");
}

pub fn defect_28_a_link_by_a_child_shows_it_nobody_whom_it_does_not_hold(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    let own = BTreeSet::from([named("Patient/own")]);
    pair.cohort("all", Definition::Patients { patients: own });
    pair.at_parent(&put(&[a_patient("secret").gender("female")]));
    pair.at_parent(&put(&[an_observation("hidden", "secret")]));
    pair.at_child(&put(&[a_patient("own"), an_observation("mine", "own")]));
    pair.quiet();
    pair.at_child(&put(&[replaced("own", "secret")]));
    pair.quiet();
    let held = pair.parent.cohort_patients(&"all".parse().unwrap(), None, 10).unwrap();
    assert_eq!(held, [named("Patient/own")]);
    assert_eq!(body(&*pair.child, "Observation/hidden"), None);
    assert_eq!(subject(&*pair.parent, "Observation/hidden"), "secret");
    let list = pair.parent.patient_replaced(10).unwrap();
    assert_eq!((list.len(), list[0].state.as_str()), (1, "waiting"));
    assert!(list[0].reason.as_ref().unwrap().contains("clinic says so"), "{list:?}");
    // Somebody at the parent knows better.
    let (name, by) = (named("Patient/own"), Author::new("registrar"));
    assert!(pair.parent.patient_confirm(&name, &by, pair.now()).unwrap());
    assert!(!pair.parent.patient_confirm(&name, &by, pair.now()).unwrap());
    pair.quiet();
    pair.assert_in_step();
    assert!(body(&*pair.child, "Observation/hidden").is_some());
    assert_eq!(subject(&*pair.parent, "Observation/hidden"), "secret");
}

pub fn a_group_follows_and_what_was_documented_stays(maker: &dyn Maker) {
    let store = used(maker);
    let member = |id: &str| format!(r#"{{"entity":{{"reference":"Patient/{id}"}}}}"#);
    let group = |first: &str| {
        let members = [member(first), member("third")].join(",");
        format!(r#"{{"resourceType":"Group","id":"g","member":[{members}]}}"#)
    };
    let see = r#"[{"other":{"reference":"Patient/loser"},"type":"seealso"}]"#;
    let target = r#"[{"reference":"Patient/loser"}]"#;
    let texts = [
        group("loser"),
        format!(r#"{{"resourceType":"Provenance","id":"v","target":{target}}}"#),
        format!(r#"{{"resourceType":"Patient","id":"third","link":{see}}}"#),
    ];
    let records = texts.clone().map(|text| {
        protocol::resource::Record::parse(text.as_bytes(), &Limits::default()).unwrap()
    });
    store.change_record(&draft(&records), START).unwrap();
    store.change_record(&put(&[replaced("loser", "winner")]), START).unwrap();
    assert_eq!(body(&*store, "Group/g").unwrap(), group("winner"));
    assert_eq!(body(&*store, "Provenance/v").unwrap(), texts[1]);
    assert_eq!(body(&*store, "Patient/third").unwrap(), texts[2]);
    whole(&*store);
}

pub fn a_visitor_comes_and_goes_with_all_files_of_the_person(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    pair.cohort("all", Definition::Patients { patients: BTreeSet::new() });
    pair.at_parent(&put(&files()));
    pair.at_parent(&put(&[an_observation("w", "winner")]));
    let visit = VisitorDraft {
        child: "clinic".parse().unwrap(),
        feed: super::feed_id("visitors"),
        patient: named("Patient/loser"),
        until: pair.now().plus_millis(3_600_000),
        author: Author::new("nurse-3"),
        reason: "walked in".to_owned(),
    };
    pair.parent.visitor_add(&visit, pair.now()).unwrap();
    let held = || {
        let name = "visitors-clinic".parse().unwrap();
        let held = pair.parent.cohort_patients(&name, None, 10).unwrap();
        held.iter().map(|patient| patient.id().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(held(), ["loser"]);
    pair.at_parent(&put(&[replaced("loser", "winner")]));
    assert_eq!(held(), ["loser", "winner"]);
    whole(&*pair.parent);
    pair.at_parent(&put(&files()[..1]));
    assert_eq!(held(), ["loser"]);
    pair.at_parent(&put(&[replaced("loser", "winner")]));
    let child = visit.child.clone();
    assert!(pair.parent.visitor_end(&child, &visit.patient, pair.now()).unwrap());
    assert_eq!(held(), Vec::<String>::new());
    whole(&*pair.parent);
}
