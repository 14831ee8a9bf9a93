//! The record system beside a site: echoes, edits through images, groups, what is due, what waits.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use protocol::resource::Record;
use protocol::{Author, Limits, RecordRef, Timestamp, json};

use super::builders::{
    Resource, a_location, a_patient, an_encounter, an_observation, delete, draft, named, put,
};
use super::{Maker, START, site};
use crate::{
    Captured, Draft, EmrAction, EmrCapture, EmrChoice, EmrDraft, EmrEvent, EmrPlace, EmrResult,
    EmrSeen, EmrSettled, EmrState, EmrTurn, LinkName, PauseDraft, Scope, Shown, Store,
};

/// Elements that the suite's record system does not hold.
const DROPS: [&str; 3] = ["maritalStatus", "note", "extension"];

/// A site with a record system beside it that drops what it does not know.
pub struct Beside {
    pub store: Box<dyn Store>,
    held: RefCell<BTreeMap<RecordRef, Option<Record>>>,
    noticed: RefCell<Vec<Vec<RecordRef>>>,
    /// Records that it refuses, and what it says of them.
    refuses: RefCell<BTreeMap<RecordRef, EmrResult>>,
    written: RefCell<Vec<RecordRef>>,
    clock: Cell<i64>,
}

pub const BOTH: EmrDraft =
    EmrDraft { kind: String::new(), url: String::new(), captures: true, applies: true };

impl Beside {
    pub fn new(maker: &dyn Maker) -> Beside {
        Beside::with_limits(maker, &Limits::default())
    }

    fn with_limits(maker: &dyn Maker, limits: &Limits) -> Beside {
        let beside = Beside {
            store: maker.make(&site("clinic"), limits),
            held: RefCell::default(),
            noticed: RefCell::default(),
            refuses: RefCell::default(),
            written: RefCell::default(),
            clock: Cell::new(START.millis()),
        };
        beside.store.emr_set(Some(&BOTH), START).unwrap();
        beside.load();
        beside
    }

    pub fn now(&self) -> Timestamp {
        self.clock.set(self.clock.get() + 1_000);
        Timestamp::from_millis(self.clock.get())
    }

    /// Somebody enters or changes these there, in one transaction.
    pub fn enter(&self, resources: &[Resource]) {
        let records: Vec<Record> = resources.iter().map(Resource::record).collect();
        self.noticed.borrow_mut().push(records.iter().map(|r| r.reference.clone()).collect());
        for record in records {
            self.held.borrow_mut().insert(record.reference.clone(), Some(record));
        }
    }

    /// Changes an element (JSON) of what is shown there.
    pub fn edit(&self, name: &str, element: &str, value: &str) {
        let record = named(name);
        let body = self.shown(name).expect("it is there");
        let mut members: Vec<String> = vec![];
        let parsed = json::parse(body.as_bytes(), 64).unwrap();
        for (key, old) in parsed.as_object().unwrap().iter() {
            if key != element {
                members.push(format!("\"{}\":{}", key.raw(), old.to_text()));
            }
        }
        members.push(format!("\"{element}\":{value}"));
        let text = format!("{{{}}}", members.join(","));
        let edited = Record::parse(text.as_bytes(), &Limits::default()).unwrap();
        self.held.borrow_mut().insert(record.clone(), Some(edited));
        self.noticed.borrow_mut().push(vec![record]);
    }

    pub fn void(&self, name: &str) {
        self.held.borrow_mut().insert(named(name), None);
        self.noticed.borrow_mut().push(vec![named(name)]);
    }

    fn shown(&self, name: &str) -> Option<String> {
        self.held.borrow().get(&named(name)).cloned().flatten().and_then(|record| record.body)
    }

    fn read(&self, record: &RecordRef) -> Shown {
        match self.held.borrow().get(record) {
            Some(Some(record)) => Shown::Body(Box::new(record.clone())),
            Some(None) => Shown::Gone,
            None => Shown::Absent,
        }
    }

    /// Reads all that was noticed.
    pub fn capture(&self) -> Captured {
        let groups = self.noticed.take();
        let read = |record: &RecordRef| (record.clone(), EmrSeen::Shown(self.read(record)));
        let groups = groups.iter().map(|group| group.iter().map(read).collect()).collect();
        let place = self.place(false);
        self.captured(groups, Some(place))
    }

    fn place(&self, more: bool) -> EmrPlace {
        let after = self.store.emr_cursor().unwrap();
        let cursor = format!("{}", self.clock.get());
        EmrPlace { after, cursor, more, left: None }
    }

    fn captured(
        &self,
        groups: Vec<Vec<(RecordRef, EmrSeen)>>,
        place: Option<EmrPlace>,
    ) -> Captured {
        let capture = EmrCapture { groups, place };
        self.store.emr_capture(&capture, &Author::new("emr"), self.now(), 0).unwrap()
    }

    /// Reads everything that is there.
    pub fn load(&self) -> Captured {
        self.noticed.take();
        let all = self
            .held
            .borrow()
            .iter()
            .filter(|(_, held)| held.is_some())
            .map(|(n, _)| n.clone())
            .collect::<Vec<_>>();
        let read = |record: &RecordRef| vec![(record.clone(), EmrSeen::Shown(self.read(record)))];
        self.captured(all.iter().map(read).collect(), Some(self.place(false)))
    }

    /// Reads again what was kept to be read.
    fn read_hints(&self) -> Captured {
        let hints = self.store.emr_hints(self.now(), 100).unwrap();
        let read = |record: &RecordRef| vec![(record.clone(), EmrSeen::Shown(self.read(record)))];
        self.captured(hints.iter().map(read).collect(), None)
    }

    fn next(&self) -> Vec<EmrTurn> {
        self.store.emr_next(self.now(), 10, 100).unwrap()
    }

    fn write(&self, turn: &EmrTurn) -> Vec<EmrSettled> {
        let mut settled = Vec::new();
        for due in &turn.writes {
            let record = due.wanted.reference.clone();
            let is_there = match self.read(&record) {
                Shown::Absent => None,
                there => Some(there),
            };
            let refused = self.refuses.borrow().get(&record).cloned();
            let same = |a: &Option<Shown>, b: &Option<Shown>| match (a, b) {
                (Some(Shown::Body(a)), Some(Shown::Body(b))) => a.digest == b.digest,
                (a, b) => a == b,
            };
            let result = match refused {
                Some(refused) => refused,
                None if !same(&is_there, &due.image) => EmrResult::Changed,
                None => {
                    let held = due.wanted.body.as_deref().map(kept);
                    self.held.borrow_mut().insert(record.clone(), held);
                    self.noticed.borrow_mut().push(vec![record.clone()]);
                    self.written.borrow_mut().push(record.clone());
                    EmrResult::Written(self.read(&record))
                }
            };
            settled.push(EmrSettled { record, given: due.wanted.digest, result });
        }
        settled
    }

    /// Writes all that is due.
    pub fn apply(&self) {
        for _ in 0..100 {
            let turns = self.next();
            if turns.is_empty() {
                return;
            }
            for turn in &turns {
                let settled = self.write(turn);
                self.store.emr_settle(&settled, self.now(), 0).unwrap();
            }
        }
        panic!("there is no end of what is due");
    }

    pub fn record(&self, draft: &Draft) {
        self.store.change_record(draft, self.now()).unwrap();
    }

    pub fn body(&self, name: &str) -> Option<String> {
        let found = self.store.record_get(&named(name), None, &Scope::Everything).unwrap();
        found.and_then(|version| version.body)
    }

    fn state(&self, name: &str) -> Option<EmrState> {
        self.store.record_why(&named(name)).unwrap().emr.map(|info| info.state)
    }

    fn sequence(&self) -> u64 {
        self.store.site().unwrap().sequence
    }

    fn refuse(&self, name: &str, with: Option<EmrResult>) {
        match with {
            Some(result) => drop(self.refuses.borrow_mut().insert(named(name), result)),
            None => drop(self.refuses.borrow_mut().remove(&named(name))),
        }
    }

    /// The store breaks none of its rules, and what is due is done.
    pub fn assert_quiet(&self) {
        self.apply();
        self.capture();
        let status = self.store.emr_status().unwrap().unwrap();
        assert_eq!((status.due, status.hints), (0, 0), "{status:?}");
        assert_eq!(self.store.site_check(&mut |_| {}).unwrap(), Vec::<String>::new());
    }
}

/// What the suite's record system keeps of a body.
fn kept(body: &str) -> Record {
    let parsed = json::parse(body.as_bytes(), 64).unwrap();
    let members = parsed.as_object().unwrap().iter();
    let left: Vec<String> = members
        .filter(|(key, _)| !DROPS.iter().any(|drop| *key == *drop))
        .map(|(key, value)| format!("\"{}\":{}", key.raw(), value.to_text()))
        .collect();
    Record::parse(format!("{{{}}}", left.join(",")).as_bytes(), &Limits::default()).unwrap()
}

fn married(id: &str) -> Resource {
    a_patient(id).born("1990-01-01").with("maritalStatus", r#"{"text":"m"}"#)
}

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
    let (amina, beno) = (named("Patient/amina"), named("Patient/beno"));
    beside.store.emr_name(&amina, "17").unwrap();
    beside.store.emr_name(&amina, "18").unwrap();
    let locals = beside.store.emr_locals(&[amina.clone(), beno.clone()]).unwrap();
    assert_eq!(locals, [Some("18".to_owned()), None]);
    assert_eq!(beside.store.emr_named(amina.kind, "18").unwrap(), Some(amina.clone()));
    assert_eq!(beside.store.emr_named(amina.kind, "17").unwrap(), None);
    let taken = beside.store.emr_name(&beno, "18").unwrap_err().to_string();
    assert!(taken.contains("Patient/amina"), "{taken}");
}

pub fn the_way_to_a_record_system_can_be_paused(maker: &dyn Maker) {
    let beside = Beside::new(maker);
    let pause = PauseDraft {
        link: LinkName::Emr,
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
