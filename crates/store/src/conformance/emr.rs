//! What changes in the record system beside a site: echoes, edits through images, groups, merges.

use protocol::{Author, Limits};

use super::Maker;
use super::START;
use super::beside::{Beside, married};
use super::builders::{Resource, a_patient, an_encounter, an_observation, delete, named, put};
use crate::{EmrCapture, EmrEvent, EmrPlace, EmrSeen, EmrState, Scope};

pub fn defect_26_what_was_written_there_comes_back_as_an_echo_and_dies(maker: &dyn Maker) {
    let beside = Beside::new(maker);
    beside.record(&put(&[married("amina"), an_observation("o", "amina").with("note", "[]")]));
    beside.apply();
    let before = beside.sequence();
    let captured = beside.capture();
    assert_eq!((captured.changes, captured.echoes), (0, 2));
    assert_eq!(beside.sequence(), before);
    assert_eq!(beside.state("Patient/amina"), Some(EmrState::Same));
    assert!(!beside.shown("Patient/amina").unwrap().contains("maritalStatus"));
    // However often it is named.
    for _ in 0..3 {
        beside.load();
    }
    assert_eq!(beside.sequence(), before);
    beside.assert_quiet();
}

pub fn defect_23_an_edit_there_leaves_what_it_cannot_hold(maker: &dyn Maker) {
    let beside = Beside::new(maker);
    beside.record(&put(&[married("amina")]));
    beside.apply();
    beside.edit("Patient/amina", "gender", "\"female\"");
    assert_eq!(beside.capture().changes, 1);
    let body = beside.body("Patient/amina").unwrap();
    assert!(body.contains("maritalStatus") && body.contains("female"), "{body}");
    let versions = crate::HistoryQuery { limit: 10, ..Default::default() };
    let page = beside.store.record_history(&versions, &Scope::Everything).unwrap();
    assert_eq!(page.total, 2);
    let audit =
        beside.store.audit_list(&crate::AuditFilter { limit: 100, ..Default::default() }).unwrap();
    assert!(audit.iter().any(|row| row.actor == "emr" && row.action == "change"));
    // It is the same on both sides: nothing goes back.
    assert_eq!(beside.state("Patient/amina"), Some(EmrState::Same));
    beside.assert_quiet();
}

pub fn defect_14_one_transaction_there_is_one_change(maker: &dyn Maker) {
    let beside = Beside::new(maker);
    beside.enter(&[
        an_observation("o", "amina").with("encounter", r#"{"reference":"Encounter/e"}"#),
        an_encounter("e", "amina"),
        a_patient("amina"),
    ]);
    assert_eq!(beside.capture().changes, 1);
    let at = |name: &str| {
        let found = beside.store.record_get(&named(name), None, &Scope::Everything).unwrap();
        found.unwrap().sequence
    };
    assert_eq!(at("Observation/o"), at("Patient/amina"));
    assert_eq!(at("Encounter/e"), at("Patient/amina"));
    beside.assert_quiet();
}

pub fn a_change_there_of_more_records_than_one_change_holds_is_several(maker: &dyn Maker) {
    let limits = Limits { change_records: 3, ..Limits::default() };
    let beside = Beside::with_limits(maker, &limits);
    let many: Vec<Resource> = (0..7).map(|n| an_observation(&format!("o{n}"), "amina")).collect();
    beside.enter(&many);
    assert_eq!(beside.capture().changes, 3);
    assert!(beside.body("Observation/o6").is_some());
    beside.assert_quiet();
}

pub fn both_sides_edit_and_both_edits_are_on_both_sides(maker: &dyn Maker) {
    let beside = Beside::new(maker);
    beside.record(&put(&[married("amina")]));
    beside.apply();
    beside.capture();
    beside.record(&put(&[married("amina").born("1991-01-01")]));
    beside.edit("Patient/amina", "gender", "\"female\"");
    // It is not written over what was edited there: it is read first.
    beside.apply();
    assert!(beside.shown("Patient/amina").unwrap().contains("1990"));
    assert_eq!(beside.read_hints().changes, 1);
    beside.assert_quiet();
    for text in [beside.body("Patient/amina"), beside.shown("Patient/amina")] {
        let text = text.unwrap();
        assert!(text.contains("1991") && text.contains("female"), "{text}");
    }
    assert!(beside.body("Patient/amina").unwrap().contains("maritalStatus"));
    assert_eq!(beside.store.site_status(START).unwrap().conflicts_open, 0);
}

pub fn both_sides_edit_one_element_and_a_person_is_asked(maker: &dyn Maker) {
    let beside = Beside::new(maker);
    beside.record(&put(&[married("amina")]));
    beside.apply();
    beside.capture();
    beside.record(&put(&[married("amina").born("1991-01-01")]));
    beside.edit("Patient/amina", "birthDate", "\"1992-02-02\"");
    beside.capture();
    assert_eq!(beside.store.site_status(START).unwrap().conflicts_open, 1);
    beside.assert_quiet();
    assert!(beside.shown("Patient/amina").unwrap().contains("1991"));
    // All versions are here: what was edited there as well.
    let history = crate::HistoryQuery {
        record: Some(named("Patient/amina")),
        limit: 10,
        ..Default::default()
    };
    let page = beside.store.record_history(&history, &Scope::Everything).unwrap();
    let edited = |v: &crate::StoredVersion| v.body.as_ref().unwrap().contains("1992-02-02");
    assert!(page.versions.iter().any(edited));
    // The conflict itself is ours.
    assert!(beside.held.borrow().keys().all(|record| record.kind.name() != "Basic"));
}

pub fn a_record_that_both_hold_meets_first_without_loss(maker: &dyn Maker) {
    let beside = Beside::new(maker);
    beside.record(&put(&[married("amina")]));
    beside.enter(&[a_patient("amina").born("1990-01-01").gender("female")]);
    // Whichever comes first, writing or reading.
    beside.apply();
    beside.read_hints();
    beside.capture();
    beside.assert_quiet();
    let body = beside.body("Patient/amina").unwrap();
    assert!(body.contains("maritalStatus") && body.contains("female"), "{body}");
    assert!(beside.shown("Patient/amina").unwrap().contains("female"));
    assert_eq!(beside.store.site_status(START).unwrap().conflicts_open, 0);
}

pub fn defect_20_deletions_and_their_undoing_go_both_ways(maker: &dyn Maker) {
    let beside = Beside::new(maker);
    beside.record(&put(&[married("amina"), an_observation("o", "amina")]));
    beside.apply();
    beside.capture();
    beside.void("Observation/o");
    assert_eq!(beside.capture().changes, 1);
    assert_eq!(beside.body("Observation/o"), None);
    beside.record(&delete("Patient/amina"));
    beside.apply();
    assert_eq!(beside.shown("Patient/amina"), None);
    beside.assert_quiet();
    // Undeleted there: what it cannot hold comes back as well.
    beside.enter(&[a_patient("amina").born("1990-01-01")]);
    assert_eq!(beside.capture().changes, 1);
    let body = beside.body("Patient/amina").unwrap();
    assert!(body.contains("maritalStatus"), "{body}");
    // Undeleted here.
    beside.record(&put(&[an_observation("o", "amina")]));
    beside.assert_quiet();
    assert!(beside.shown("Observation/o").is_some());
}

pub fn a_deletion_there_does_not_take_an_edit_here_with_it(maker: &dyn Maker) {
    let beside = Beside::new(maker);
    beside.record(&put(&[married("amina")]));
    beside.apply();
    beside.capture();
    beside.record(&put(&[married("amina").born("1991-01-01")]));
    beside.void("Patient/amina");
    beside.capture();
    assert!(beside.body("Patient/amina").unwrap().contains("1991"));
    assert_eq!(beside.store.site_status(START).unwrap().conflicts_open, 1);
    beside.assert_quiet();
    assert!(beside.shown("Patient/amina").unwrap().contains("1991"));
}

pub fn what_cannot_be_read_is_kept_and_read_again_while_the_cursor_moves_on(maker: &dyn Maker) {
    let beside = Beside::new(maker);
    beside.enter(&[a_patient("amina"), a_patient("beno")]);
    let unread = EmrSeen::Unread("it answered 500".to_owned());
    let seen = EmrSeen::Shown(beside.read(&named("Patient/beno")));
    let group = vec![(named("Patient/amina"), unread), (named("Patient/beno"), seen)];
    let place = beside.place(false);
    let done = beside.captured(vec![group], Some(place.clone()));
    assert_eq!((done.changes, done.kept), (1, 1));
    assert_eq!(beside.store.emr_cursor().unwrap(), Some(place.cursor.clone()));
    assert!(beside.body("Patient/beno").is_some());
    assert_eq!(beside.state("Patient/amina"), Some(EmrState::Unread));
    // Not at once, but when its time has come.
    assert_eq!(beside.store.emr_hints(beside.now(), 10).unwrap(), []);
    beside.clock.set(beside.clock.get() + 60_000);
    assert_eq!(beside.read_hints().changes, 1);
    assert!(beside.body("Patient/amina").is_some());
    assert_eq!(beside.store.emr_status().unwrap().unwrap().hints, 0);
    // Somebody else has moved the cursor meanwhile.
    let stale = EmrPlace { after: None, ..place };
    let capture = EmrCapture { groups: Vec::new(), place: Some(stale) };
    let raced = beside.store.emr_capture(&capture, &Author::new("emr"), beside.now(), 0);
    assert!(matches!(raced, Err(crate::StoreError::Raced)));
}

pub fn a_record_moves_to_another_patient_on_either_side(maker: &dyn Maker) {
    let beside = Beside::new(maker);
    beside.record(&put(&[a_patient("amina"), a_patient("beno"), an_observation("o", "amina")]));
    beside.apply();
    beside.capture();
    beside.edit("Observation/o", "subject", r#"{"reference":"Patient/beno"}"#);
    assert_eq!(beside.capture().changes, 1);
    let of = |id: &str| {
        let query = crate::SearchQuery {
            patients: Some(vec![named(&format!("Patient/{id}"))]),
            limit: 10,
            ..Default::default()
        };
        beside.store.record_search(&query, &Scope::Everything).unwrap().records.len()
    };
    assert_eq!((of("amina"), of("beno")), (1, 2));
    beside.record(&put(&[an_observation("o", "amina")]));
    beside.assert_quiet();
    assert!(beside.shown("Observation/o").unwrap().contains("Patient/amina"));
}

pub fn patients_that_are_merged_there_or_here_come_to_the_same(maker: &dyn Maker) {
    let beside = Beside::new(maker);
    beside.record(&put(&[a_patient("loser"), a_patient("winner"), an_observation("o", "loser")]));
    beside.apply();
    beside.capture();
    let link = r#"[{"other":{"reference":"Patient/winner"},"type":"replaced-by"}]"#;
    beside.edit("Patient/loser", "link", link);
    beside.capture();
    // The site at the top moves what refers to the loser, and the record system is told.
    assert!(beside.body("Observation/o").unwrap().contains("Patient/winner"));
    beside.assert_quiet();
    assert!(beside.shown("Observation/o").unwrap().contains("Patient/winner"));
    // What is entered there for the loser afterwards follows as well.
    beside.enter(&[an_observation("late", "loser")]);
    beside.capture();
    beside.assert_quiet();
    assert!(beside.shown("Observation/late").unwrap().contains("Patient/winner"));
}

pub fn defect_39_a_full_comparison_finds_what_was_missed_and_makes_no_flood(maker: &dyn Maker) {
    let beside = Beside::new(maker);
    beside.record(&put(&[married("amina"), married("beno"), an_observation("o", "amina")]));
    beside.apply();
    beside.capture();
    // Nobody noticed an edit and a deletion.
    beside.edit("Patient/amina", "gender", "\"female\"");
    beside.void("Observation/o");
    beside.noticed.take();
    let lost = EmrEvent::CursorLost("its log was purged".to_owned());
    beside.store.emr_note(&lost, beside.now()).unwrap();
    assert_eq!(beside.store.emr_cursor().unwrap(), None);
    let before = beside.sequence();
    let done = beside.load();
    assert_eq!((done.changes, done.echoes), (1, 1));
    assert_eq!(beside.read_hints().changes, 1);
    assert_eq!(beside.sequence(), before + 2);
    assert_eq!(beside.body("Observation/o"), None);
    let body = beside.body("Patient/amina").unwrap();
    assert!(body.contains("female") && body.contains("maritalStatus"));
    beside.assert_quiet();
}

pub fn a_record_system_that_was_emptied_is_filled_again(maker: &dyn Maker) {
    let beside = Beside::new(maker);
    let many: Vec<Resource> = (0..80).map(|n| an_observation(&format!("o{n}"), "amina")).collect();
    beside.record(&put(&many));
    beside.apply();
    beside.capture();
    beside.held.borrow_mut().clear();
    beside.store.emr_note(&EmrEvent::CursorLost("new".to_owned()), beside.now()).unwrap();
    beside.load();
    assert!(beside.body("Observation/o7").is_some());
    beside.assert_quiet();
    assert!(beside.shown("Observation/o7").is_some());
}

pub fn defect_39_an_emptied_record_system_deletes_nothing_here(maker: &dyn Maker) {
    // Fewer than are many, all gone; and one type of them, of which nothing is left.
    for only_observations in [false, true] {
        let beside = Beside::new(maker);
        let mut all: Vec<Resource> = (0..60).map(|n| married(&format!("p{n}"))).collect();
        all.extend((0..40).map(|n| an_observation(&format!("o{n}"), "p1")));
        let all = if only_observations { &all[..] } else { &all[20..60] };
        beside.record(&put(all));
        let patients = beside.store.emr_live("Patient".parse().unwrap()).unwrap();
        assert!(patients.is_empty(), "what was never there cannot be missed");
        beside.apply();
        beside.capture();
        let kind = if only_observations { "Observation" } else { "Patient" };
        let live = beside.store.emr_live(kind.parse().unwrap()).unwrap();
        assert_eq!(live.len(), 40);
        beside.held.borrow_mut().retain(|name, _| only_observations && !live.contains(name));
        beside.store.emr_note(&EmrEvent::CursorLost("new".to_owned()), beside.now()).unwrap();
        beside.load();
        assert_eq!(beside.store.emr_live(kind.parse().unwrap()).unwrap().len(), 0);
        assert_eq!(beside.read_hints().changes, 0);
        assert!(live.iter().all(|name| beside.body(&name.to_string()).is_some()));
        let filter = crate::AuditFilter { limit: 500, ..Default::default() };
        let audit = beside.store.audit_list(&filter).unwrap();
        assert!(audit.iter().any(|row| row.action == "emr-lost"), "people are told");
        beside.assert_quiet();
        assert!(live.iter().all(|name| beside.shown(&name.to_string()).is_some()));
    }
}
