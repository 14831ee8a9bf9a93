//! What the record system beside a site is given: what goes, in which order, and what waits.

use std::collections::BTreeSet;

use protocol::resource::Record;
use protocol::{Limits, RecordRef};

use super::beside::{BOTH, Beside, married};
use super::builders::{
    a_location, a_patient, an_encounter, an_observation, delete, draft, named, put,
};
use super::{Maker, START};
use crate::{
    EmrAction, EmrChoice, EmrDraft, EmrEvent, EmrId, EmrResult, EmrSettled, EmrState, LinkName,
    PauseDraft, Scope, Shown,
};

pub fn what_was_deleted_before_it_was_ever_written_never_goes_there(maker: &dyn Maker) {
    let beside = Beside::new(maker);
    beside.record(&put(&[a_patient("amina"), an_observation("o", "amina")]));
    beside.record(&delete("Observation/o"));
    beside.assert_quiet();
    assert_eq!(*beside.written.borrow(), [named("Patient/amina")]);
    assert_eq!(beside.state("Observation/o"), None);
}

pub fn what_is_written_is_in_the_order_of_dependency(maker: &dyn Maker) {
    let beside = Beside::new(maker);
    let refers = |id: &str| format!(r#"{{"reference":"Encounter/{id}"}}"#);
    beside.record(&put(&[an_observation("o", "amina").with("encounter", &refers("e"))]));
    beside.record(&put(&[an_encounter("e", "amina").with("partOf", &refers("visit"))]));
    beside.record(&put(&[an_encounter("visit", "amina")]));
    beside.record(&put(&[a_patient("amina")]));
    beside.record(&put(&[
        a_location("ward").with("partOf", r#"{"reference":"Location/house"}"#),
        a_location("house"),
    ]));
    beside.apply();
    let order: Vec<String> = beside.written.borrow().iter().map(RecordRef::to_string).collect();
    let expected =
        "Location/house Location/ward Patient/amina Encounter/visit Encounter/e Observation/o";
    assert_eq!(order.join(" "), expected);
    beside.written.take();
    for name in ["Encounter/visit", "Observation/o", "Patient/amina", "Encounter/e"] {
        beside.record(&delete(name));
    }
    beside.apply();
    let order: Vec<String> = beside.written.borrow().iter().map(RecordRef::to_string).collect();
    assert_eq!(order.first().unwrap(), "Observation/o");
    assert_eq!(order.last().unwrap(), "Patient/amina");
    beside.assert_quiet();
}

pub fn only_the_latest_state_goes_there(maker: &dyn Maker) {
    let beside = Beside::new(maker);
    for year in 1990..2000 {
        beside.record(&put(&[a_patient("amina").born(&format!("{year}-01-01"))]));
    }
    beside.apply();
    assert_eq!(beside.written.borrow().len(), 1);
    assert!(beside.shown("Patient/amina").unwrap().contains("1999"));
    beside.assert_quiet();
}

pub fn defect_08_a_refused_record_holds_back_only_its_patient_and_coalesces(maker: &dyn Maker) {
    let beside = Beside::new(maker);
    let refused = EmrResult::Refused("there is no encounter type u-1: add it".to_owned());
    beside.refuse("Encounter/e", Some(refused));
    beside.record(&put(&[a_patient("amina"), an_encounter("e", "amina")]));
    beside.apply();
    assert_eq!(beside.state("Encounter/e"), Some(EmrState::Parked));
    beside.record(&put(&[an_observation("late", "amina"), a_patient("beno")]));
    beside.apply();
    assert!(beside.shown("Patient/beno").is_some());
    assert_eq!(beside.shown("Observation/late"), None);
    let parked = EmrChoice { state: Some(EmrState::Parked), ..EmrChoice::default() };
    let found = beside.store.emr_list(&parked, 10).unwrap();
    assert_eq!(found.len(), 1);
    assert!(found[0].reason.as_ref().unwrap().contains("add it"));
    // Mended there, and tried again by a person.
    beside.refuse("Encounter/e", None);
    let acted = beside.store.emr_act(&parked, &EmrAction::Retry, "operator", beside.now());
    assert_eq!(acted.unwrap(), 1);
    beside.assert_quiet();
    assert!(beside.shown("Observation/late").is_some());
    // A record that is changed is tried again by itself.
    beside.refuse("Encounter/e", Some(EmrResult::Refused("no".to_owned())));
    beside.record(&put(&[an_encounter("e", "amina").with("status", "\"x\"")]));
    beside.apply();
    assert_eq!(beside.state("Encounter/e"), Some(EmrState::Parked));
    beside.refuse("Encounter/e", None);
    beside.record(&put(&[an_encounter("e", "amina").with("status", "\"finished\"")]));
    beside.assert_quiet();
    assert!(beside.shown("Encounter/e").unwrap().contains("finished"));
}

pub fn defect_17_what_waits_for_another_record_goes_when_that_came(maker: &dyn Maker) {
    let beside = Beside::new(maker);
    let waits = EmrResult::Waits(named("Practitioner/p"));
    beside.refuse("Encounter/e", Some(waits));
    beside.record(&put(&[a_patient("amina"), an_encounter("e", "amina")]));
    beside.apply();
    assert_eq!(beside.state("Encounter/e"), Some(EmrState::Waits));
    let why = beside.store.record_why(&named("Encounter/e")).unwrap().emr.unwrap();
    assert_eq!(why.waits_for, Some(named("Practitioner/p")));
    // It holds back nobody.
    beside.record(&put(&[an_observation("o", "amina")]));
    beside.apply();
    assert!(beside.shown("Observation/o").is_some());
    beside.refuse("Encounter/e", None);
    assert_eq!(beside.next(), []);
    let practitioner = r#"{"resourceType":"Practitioner","id":"p"}"#;
    let record = Record::parse(practitioner.as_bytes(), &Limits::default()).unwrap();
    beside.record(&draft(&[record]));
    beside.assert_quiet();
    assert!(beside.shown("Encounter/e").is_some());
}

pub fn what_it_cannot_hold_is_kept_and_holds_back_nobody(maker: &dyn Maker) {
    let beside = Beside::new(maker);
    beside.refuse("Observation/o", Some(EmrResult::Kept("it holds no such records".to_owned())));
    beside.record(&put(&[a_patient("amina"), an_observation("o", "amina")]));
    beside.apply();
    assert_eq!(beside.state("Observation/o"), Some(EmrState::Kept));
    beside.record(&put(&[an_encounter("e", "amina")]));
    beside.assert_quiet();
    assert!(beside.shown("Encounter/e").is_some());
    let status = beside.store.emr_status().unwrap().unwrap();
    assert_eq!((status.kept, status.parked), (1, 0));
}

pub fn what_fails_for_one_record_is_tried_again_and_parks_in_the_end(maker: &dyn Maker) {
    let beside = Beside::new(maker);
    beside.refuse("Patient/amina", Some(EmrResult::Failed("500".to_owned())));
    beside.record(&put(&[a_patient("amina"), a_patient("beno")]));
    for _ in 0..4 {
        beside.apply();
        assert_eq!(beside.state("Patient/amina"), Some(EmrState::Retry));
        beside.clock.set(beside.clock.get() + 900_000);
    }
    beside.apply();
    assert_eq!(beside.state("Patient/amina"), Some(EmrState::Parked));
    assert!(beside.shown("Patient/beno").is_some());
    let all = EmrChoice::default();
    let given_up = EmrAction::Drop("a test entry".to_owned());
    assert_eq!(beside.store.emr_act(&all, &given_up, "operator", beside.now()).unwrap(), 1);
    assert_eq!(beside.state("Patient/amina"), Some(EmrState::Dropped));
    beside.assert_quiet();
}

pub fn defect_04_a_record_system_that_is_away_costs_the_queue_nothing(maker: &dyn Maker) {
    let beside = Beside::new(maker);
    beside.record(&put(&[a_patient("amina")]));
    let before = beside.next();
    for _ in 0..1_000 {
        let away = EmrEvent::Away { error: "connection refused".to_owned(), next: beside.now() };
        beside.store.emr_note(&away, beside.now()).unwrap();
    }
    assert_eq!(beside.next(), before);
    let status = beside.store.emr_status().unwrap().unwrap();
    assert_eq!((status.failures, status.due, status.parked), (1_000, 1, 0));
    assert!(status.away_since.is_some());
    beside.store.emr_note(&EmrEvent::Contact(None), beside.now()).unwrap();
    let status = beside.store.emr_status().unwrap().unwrap();
    assert_eq!((status.failures, status.away_since), (0, None));
    beside.assert_quiet();
}

pub fn a_patient_who_is_purged_is_forgotten_and_not_deleted_there(maker: &dyn Maker) {
    let pair = super::pair::Pair::new(maker);
    pair.leave.set(crate::LeavePolicy::Purge);
    let child = &pair.child;
    child.emr_set(Some(&BOTH), pair.now()).unwrap();
    pair.at_parent(&put(&[a_patient("amina"), an_observation("o", "amina"), a_patient("beno")]));
    pair.quiet();
    for turn in child.emr_next(pair.now(), 10, 10).unwrap() {
        let settled: Vec<EmrSettled> = turn
            .writes
            .iter()
            .map(|due| EmrSettled {
                record: due.wanted.reference.clone(),
                given: due.wanted.digest,
                result: EmrResult::Written(Shown::Body(Box::new(due.wanted.clone()))),
            })
            .collect();
        child.emr_settle(&settled, pair.now(), 0).unwrap();
    }
    assert_eq!(child.emr_status().unwrap().unwrap().applied, 3);
    // What is due of who leaves goes with the patient.
    pair.at_parent(&put(&[an_observation("o", "amina").with("status", "\"final\"")]));
    pair.quiet();
    assert_eq!(child.emr_status().unwrap().unwrap().due, 1);
    let left = protocol::cohort::Definition::Patients {
        patients: BTreeSet::from([named("Patient/beno")]),
    };
    pair.cohort("all", left);
    pair.quiet();
    child.patient_purge(pair.now()).unwrap();
    assert!(child.record_get(&named("Patient/amina"), None, &Scope::Everything).unwrap().is_none());
    assert_eq!(child.emr_next(pair.now(), 10, 10).unwrap(), []);
    assert_eq!(child.emr_status().unwrap().unwrap().due, 0);
    assert_eq!(child.site_check(&mut |_| {}).unwrap(), Vec::<String>::new());
}

pub fn who_comes_back_goes_to_the_record_system_with_all_that_is_here(maker: &dyn Maker) {
    let pair = super::pair::Pair::new(maker);
    pair.leave.set(crate::LeavePolicy::Freeze);
    pair.at_parent(&put(&[a_patient("amina"), an_observation("o", "amina"), a_patient("beno")]));
    pair.quiet();
    let beno = BTreeSet::from([named("Patient/beno")]);
    pair.cohort("all", protocol::cohort::Definition::Patients { patients: beno });
    pair.quiet();
    // What was frozen when the record system came is not for it.
    pair.child.emr_set(Some(&BOTH), pair.now()).unwrap();
    assert_eq!(pair.child.emr_status().unwrap().unwrap().due, 1);
    pair.cohort("all", protocol::cohort::Definition::All {});
    pair.quiet();
    assert_eq!(pair.child.emr_status().unwrap().unwrap().due, 3);
    assert_eq!(pair.child.site_check(&mut |_| {}).unwrap(), Vec::<String>::new());
}

pub fn records_of_nobody_stay_here_and_reference_records_go(maker: &dyn Maker) {
    let beside = Beside::new(maker);
    let nobody = r#"{"resourceType":"Observation","id":"nobodys"}"#;
    let record = Record::parse(nobody.as_bytes(), &Limits::default()).unwrap();
    beside.record(&draft(&[record]));
    beside.record(&put(&[a_location("ward")]));
    beside.assert_quiet();
    assert_eq!(*beside.written.borrow(), [named("Location/ward")]);
}

pub fn a_record_system_that_comes_late_is_given_all_that_is_here(maker: &dyn Maker) {
    let beside = Beside::new(maker);
    beside.store.emr_set(None, beside.now()).unwrap();
    assert_eq!(beside.store.emr_status().unwrap(), None);
    let nobody = r#"{"resourceType":"Observation","id":"nobodys"}"#;
    let record = Record::parse(nobody.as_bytes(), &Limits::default()).unwrap();
    beside.record(&draft(&[record]));
    beside.record(&put(&[a_patient("amina"), a_location("ward")]));
    beside.record(&put(&[an_observation("gone", "amina")]));
    beside.record(&delete("Observation/gone"));
    assert_eq!(beside.next(), []);
    beside.store.emr_set(Some(&BOTH), beside.now()).unwrap();
    beside.assert_quiet();
    let written: BTreeSet<String> = beside.written.borrow().iter().map(|r| r.to_string()).collect();
    assert_eq!(written.into_iter().collect::<Vec<_>>(), ["Location/ward", "Patient/amina"]);
    // A mode in which nothing is written keeps nothing due, and nothing is forgotten for it.
    let collects = EmrDraft { applies: false, ..BOTH };
    beside.store.emr_set(Some(&collects), beside.now()).unwrap();
    beside.record(&put(&[a_patient("amina").born("1990-01-01")]));
    assert_eq!(beside.store.emr_status().unwrap().unwrap().due, 0);
    beside.store.emr_set(Some(&BOTH), beside.now()).unwrap();
    beside.assert_quiet();
    assert!(beside.shown("Patient/amina").unwrap().contains("1990"));
}

pub fn what_is_there_is_overwritten_where_only_writing_is_meant(maker: &dyn Maker) {
    let beside = Beside::new(maker);
    let copies = EmrDraft { captures: false, ..BOTH };
    beside.store.emr_set(Some(&copies), beside.now()).unwrap();
    beside.record(&put(&[married("amina")]));
    beside.enter(&[a_patient("amina").gender("male")]);
    for turn in beside.next() {
        let mut settled = beside.write(&turn);
        assert_eq!(settled[0].result, EmrResult::Changed);
        settled[0].result = EmrResult::Overwrite(beside.read(&settled[0].record));
        beside.store.emr_settle(&settled, beside.now(), 0).unwrap();
    }
    beside.apply();
    assert!(!beside.shown("Patient/amina").unwrap().contains("male\""));
    assert!(!beside.body("Patient/amina").unwrap().contains("gender"));
}

pub fn a_record_has_one_id_there(maker: &dyn Maker) {
    let beside = Beside::new(maker);
    let name = |local: &str| named(&format!("Patient/{local}"));
    let (amina, beno, cora) = (name("amina"), name("beno"), name("cora"));
    beside.store.emr_name(&[(amina.clone(), name("17"))]).unwrap();
    beside.store.emr_name(&[(amina.clone(), name("18"))]).unwrap();
    beside.record(&put(&[a_patient("beno"), a_patient("cora")]));
    let ours = [amina.clone(), beno.clone(), name("18")];
    let there = beside.store.emr_there(&ours).unwrap();
    assert_eq!(there, [EmrId::Other(name("18")), EmrId::Due, EmrId::Unknown]);
    beside.apply();
    assert_eq!(beside.store.emr_there(std::slice::from_ref(&cora)).unwrap(), [EmrId::Same]);
    let theirs = [name("18"), name("17"), cora, amina];
    let here = beside.store.emr_here(&theirs).unwrap();
    let unknown = EmrId::Unknown;
    assert_eq!(here[..2], [EmrId::Other(name("amina")), unknown.clone()]);
    assert_eq!(here[2..], [EmrId::Same, unknown], "ours of that name stands under another");
    let taken = beside.store.emr_name(&[(beno, name("18"))]).unwrap_err().to_string();
    assert!(taken.contains("Patient/amina"), "{taken}");
}

pub fn ids_that_may_have_been_given_anew_are_doubted(maker: &dyn Maker) {
    let beside = Beside::new(maker);
    let lost = || {
        beside.store.emr_note(&EmrEvent::CursorLost("emptied".to_owned()), beside.now()).unwrap();
    };
    let doubt = || beside.store.emr_ids_doubt().unwrap();
    let unique = named("Patient/0b6f5e0c-93a4-4c0e-8d7a-000000000001");
    beside.store.emr_name(&[(named("Patient/beno"), unique)]).unwrap();
    lost();
    assert_eq!(doubt(), None, "no server gives a UUID twice");
    beside.store.emr_name(&[(named("Patient/amina"), named("Patient/17"))]).unwrap();
    assert_eq!(doubt().as_deref(), Some("emptied"));
    beside.load();
    assert_eq!(doubt(), None, "it was compared");
    let elsewhere = EmrDraft { url: "http://elsewhere/fhir".to_owned(), ..BOTH };
    beside.store.emr_set(Some(&elsewhere), beside.now()).unwrap();
    assert_eq!(doubt().as_deref(), Some("the record system has another address"));
}

pub fn the_way_to_a_record_system_can_be_paused(maker: &dyn Maker) {
    let beside = Beside::new(maker);
    let pause = PauseDraft {
        link: LinkName::Emr,
        is_source: false,
        reason: "it is upgraded".to_owned(),
        actor: "operator".to_owned(),
        millis: None,
    };
    beside.store.link_pause(&pause, START).unwrap();
    let found = beside.store.link_paused(&LinkName::Emr, START).unwrap().unwrap();
    assert_eq!((found.link, found.reason), (LinkName::Emr, pause.reason.clone()));
    assert_eq!(beside.store.link_paused(&LinkName::Parent, START).unwrap(), None);
    assert!(beside.store.link_resume(&LinkName::Emr, "operator", START).unwrap());
    beside.store.emr_set(None, START).unwrap();
    let none = beside.store.link_pause(&pause, START).unwrap_err().to_string();
    assert!(none.contains("no record system"), "{none}");
}

pub fn a_look_finds_no_more_than_a_few_lines_come_to(maker: &dyn Maker) {
    let limits = Limits { line_bytes: 1_000, ..Limits::default() };
    let store = maker.make(&super::site("kisumu"), &limits);
    store.emr_set(Some(&BOTH), START).unwrap();
    for number in 0..10 {
        let long = format!("\"{}\"", "x".repeat(900));
        let patient = a_patient(&format!("p{number}")).with("implicitRules", &long);
        store.change_record(&put(&[patient]), START).unwrap();
    }
    let turns = store.emr_next(START.plus_millis(1_000), 100, 100).unwrap();
    assert_eq!(turns.len(), 5);
}
