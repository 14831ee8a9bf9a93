//! What the record system still has, or has no more, though nobody said so: after a purge here,
//! after it was emptied or only seemed to be.

use std::collections::BTreeSet;

use protocol::Author;
use protocol::cohort::Definition;

use super::Maker;
use super::START;
use super::beside::{BOTH, Beside, married};
use super::builders::{Resource, a_patient, delete, named, put};
use super::pair::Pair;
use crate::{
    Captured, EmrCapture, EmrDraft, EmrEvent, EmrResult, EmrSeen, EmrSettled, EmrState,
    LeavePolicy, Scope, Shown,
};

/// What the child's record system shows of a record, as it was written or as somebody edited it.
fn shows(pair: &Pair, resource: Resource) -> Captured {
    let record = resource.record();
    let group = vec![(record.reference.clone(), EmrSeen::Shown(Shown::Body(Box::new(record))))];
    see(pair, group)
}

fn see(pair: &Pair, group: Vec<(protocol::RecordRef, EmrSeen)>) -> Captured {
    let capture = EmrCapture { groups: vec![group], place: None };
    pair.child.emr_capture(&capture, &Author::new("emr"), pair.now(), 0).unwrap()
}

/// Gives the child's record system all that is due; it holds all of it but marriages.
fn give(pair: &Pair) {
    for turn in pair.child.emr_next(pair.now(), 10, 10).unwrap() {
        let settled = turn.writes.iter().map(|due| {
            let text = due.wanted.body.as_deref().unwrap();
            let kept = super::beside::kept(text);
            EmrSettled {
                record: due.wanted.reference.clone(),
                given: due.wanted.digest,
                result: EmrResult::Written(Shown::Body(Box::new(kept))),
            }
        });
        let settled = settled.collect::<Vec<_>>();
        pair.child.emr_settle(&settled, pair.now(), 0).unwrap();
    }
}

fn leaves(pair: &Pair) {
    let beno = Definition::Patients { patients: BTreeSet::from([named("Patient/beno")]) };
    pair.cohort("all", beno);
    pair.quiet();
    pair.child.patient_purge(pair.now()).unwrap();
    assert!(!is_here(pair));
}

fn is_here(pair: &Pair) -> bool {
    pair.child.record_get(&named("Patient/amina"), None, &Scope::Everything).unwrap().is_some()
}

/// A child that purges, and its record system holds Amina, who has left.
fn purged(maker: &dyn Maker) -> Pair {
    let pair = Pair::new(maker);
    pair.leave.set(LeavePolicy::Purge);
    pair.child.emr_set(Some(&BOTH), pair.now()).unwrap();
    pair.at_parent(&put(&[married("amina"), a_patient("beno")]));
    pair.quiet();
    give(&pair);
    leaves(&pair);
    pair
}

fn amina() -> Resource {
    a_patient("amina").born("1990-01-01")
}

pub fn what_was_purged_here_and_still_stands_there_is_no_news(maker: &dyn Maker) {
    let pair = purged(maker);
    let left = [named("Patient/amina")];
    assert_eq!(pair.child.emr_there(&left).unwrap(), [crate::EmrId::Same], "it stands there");
    let kind = "Patient".parse().unwrap();
    assert!(pair.child.emr_live(kind).unwrap().contains(&named("Patient/amina")));
    assert_eq!(pair.child.emr_left(kind).unwrap(), BTreeSet::from([named("Patient/amina")]));
    for _ in 0..2 {
        let done = shows(&pair, amina());
        assert_eq!((done.changes, done.echoes), (0, 1));
    }
    assert!(!is_here(&pair));
    // She comes back, changed elsewhere: what stands there is old, and no edit.
    pair.at_parent(&put(&[married("amina").born("1991-02-02")]));
    pair.cohort("all", Definition::All {});
    pair.quiet();
    assert_eq!(shows(&pair, amina()).changes, 0);
    let due = pair.child.emr_next(pair.now(), 10, 10).unwrap().remove(0).writes.remove(0);
    assert_eq!(due.image, Some(Shown::Body(Box::new(amina().record()))));
    give(&pair);
    assert_eq!(pair.child.emr_status().unwrap().unwrap().due, 0);
    let body = pair.bodies("Patient/amina");
    assert!(body.0.unwrap().contains("1991-02-02") && body.1.unwrap().contains("1991-02-02"));
    assert_eq!(pair.parent.site_status(START).unwrap().conflicts_open, 0);
    assert_eq!(pair.child.site_check(&mut |_| {}).unwrap(), Vec::<String>::new());
}

pub fn an_edit_there_of_what_was_purged_here_is_news_and_goes_up(maker: &dyn Maker) {
    let pair = purged(maker);
    assert_eq!(shows(&pair, amina().gender("female")).changes, 1);
    pair.quiet();
    let above = pair.bodies("Patient/amina").0.unwrap();
    assert!(above.contains("female") && above.contains("maritalStatus"), "{above}");
    pair.child.patient_purge(pair.now()).unwrap();
    assert!(!is_here(&pair), "it goes as the rest did");
    assert_eq!(shows(&pair, amina().gender("female")).changes, 0);
    // That she is deleted there, where she belongs no more, deletes her nowhere.
    let gone = EmrSeen::Shown(Shown::Gone);
    assert_eq!(see(&pair, vec![(named("Patient/amina"), gone)]).changes, 0);
    pair.quiet();
    assert!(pair.bodies("Patient/amina").0.is_some());
    let kind = "Patient".parse().unwrap();
    assert!(!pair.child.emr_live(kind).unwrap().contains(&named("Patient/amina")));
    assert_eq!(pair.child.emr_left(kind).unwrap(), BTreeSet::new());
}

/// Forty patients there, of whom a full load names none.
fn unnamed(maker: &dyn Maker) -> Beside {
    let beside = Beside::new(maker);
    let all: Vec<Resource> = (0..40).map(|n| married(&format!("p{n}"))).collect();
    beside.record(&put(&all));
    beside.apply();
    beside.capture();
    let held = beside.held.take();
    beside.store.emr_note(&EmrEvent::CursorLost("new".to_owned()), beside.now()).unwrap();
    beside.load();
    assert_eq!(beside.store.emr_status().unwrap().unwrap().due, 40);
    *beside.held.borrow_mut() = held;
    beside
}

pub fn defect_39_what_seemed_lost_and_is_there_meets_edits_as_ever(maker: &dyn Maker) {
    let beside = unnamed(maker);
    let before = beside.sequence();
    // Edited there, here, at both sides, deleted here, and not at all.
    beside.edit("Patient/p1", "gender", "\"female\"");
    beside.record(&put(&[married("p2").born("1991-02-02")]));
    beside.edit("Patient/p3", "gender", "\"male\"");
    beside.record(&put(&[married("p3").born("1992-03-03")]));
    beside.record(&delete("Patient/p4"));
    // Taken away there meanwhile: nobody deleted it.
    beside.held.borrow_mut().remove(&named("Patient/p5"));
    beside.apply();
    beside.read_hints();
    beside.assert_quiet();
    for (name, there, never) in [
        ("Patient/p1", "female", "1991"),
        ("Patient/p2", "1991-02-02", "gender"),
        ("Patient/p3", "1992-03-03", "1990"),
        ("Patient/p5", "1990-01-01", "gender"),
        ("Patient/p6", "1990-01-01", "gender"),
    ] {
        for text in [beside.body(name), beside.shown(name)] {
            let text = text.unwrap();
            assert!(text.contains(there) && !text.contains(never), "{name}: {text}");
        }
        assert!(beside.body(name).unwrap().contains("maritalStatus"), "{name}");
    }
    assert!(beside.body("Patient/p3").unwrap().contains("male"));
    assert_eq!((beside.body("Patient/p4"), beside.shown("Patient/p4")), (None, None));
    assert_eq!(beside.store.site_status(START).unwrap().conflicts_open, 0, "none is invented");
    // Three were written here; of what came from there, p1 and both states of p3 are news.
    assert_eq!(beside.sequence(), before + 3 + 3);
    let written = beside.written.borrow();
    assert!(!written[40..].contains(&named("Patient/p6")), "it was there all the same");
}

pub fn what_is_not_there_any_more_is_made_anew_where_only_writing_is_meant(maker: &dyn Maker) {
    let beside = Beside::new(maker);
    let copies = EmrDraft { captures: false, ..BOTH };
    beside.store.emr_set(Some(&copies), beside.now()).unwrap();
    beside.record(&put(&[married("amina")]));
    beside.apply();
    // It is taken away there, without a trace.
    beside.held.borrow_mut().clear();
    beside.record(&put(&[married("amina").born("1991-02-02")]));
    let turn = beside.next().remove(0);
    let mut settled = beside.write(&turn);
    assert_eq!(settled[0].result, EmrResult::Changed);
    settled[0].result = EmrResult::Overwrite(Shown::Absent);
    beside.store.emr_settle(&settled, beside.now(), 0).unwrap();
    assert_eq!(beside.state("Patient/amina"), Some(EmrState::Due));
    assert_eq!(beside.next()[0].writes[0].image, None, "as if it had never been there");
    beside.apply();
    assert!(beside.shown("Patient/amina").unwrap().contains("1991-02-02"));
    assert_eq!(beside.state("Patient/amina"), Some(EmrState::Same));
}
