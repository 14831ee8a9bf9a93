//! A site with a record system beside it, for the suite: a small one that drops what it does not
//! know, refuses by name, and shows what it holds.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use protocol::resource::Record;
use protocol::{Author, Limits, RecordRef, Timestamp, json};

use super::builders::{Resource, a_patient, named};
use super::{Maker, START, site};
use crate::{
    Captured, Draft, EmrCapture, EmrDraft, EmrPlace, EmrResult, EmrSeen, EmrSettled, EmrState,
    EmrTurn, Scope, Shown, Store,
};

/// Elements that the suite's record system does not hold.
const DROPS: [&str; 3] = ["maritalStatus", "note", "extension"];

/// A site with a record system beside it that drops what it does not know.
pub struct Beside {
    pub store: Box<dyn Store>,
    pub held: RefCell<BTreeMap<RecordRef, Option<Record>>>,
    pub noticed: RefCell<Vec<Vec<RecordRef>>>,
    /// Records that it refuses, and what it says of them.
    refuses: RefCell<BTreeMap<RecordRef, EmrResult>>,
    pub written: RefCell<Vec<RecordRef>>,
    pub clock: Cell<i64>,
}

pub const BOTH: EmrDraft =
    EmrDraft { kind: String::new(), url: String::new(), captures: true, applies: true };

impl Beside {
    pub fn new(maker: &dyn Maker) -> Beside {
        Beside::with_limits(maker, &Limits::default())
    }

    pub fn with_limits(maker: &dyn Maker, limits: &Limits) -> Beside {
        Beside::of(maker.make(&site("clinic"), limits))
    }

    /// Beside this store.
    pub fn of(store: Box<dyn Store>) -> Beside {
        let beside = Beside {
            store,
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

    pub fn shown(&self, name: &str) -> Option<String> {
        self.held.borrow().get(&named(name)).cloned().flatten().and_then(|record| record.body)
    }

    pub fn read(&self, record: &RecordRef) -> Shown {
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

    pub fn place(&self, more: bool) -> EmrPlace {
        let after = self.store.emr_cursor().unwrap();
        let cursor = format!("{}", self.clock.get());
        EmrPlace { after, cursor, more, left: None }
    }

    pub fn captured(
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
    pub fn read_hints(&self) -> Captured {
        let hints = self.store.emr_hints(self.now(), 100).unwrap();
        let read = |record: &RecordRef| vec![(record.clone(), EmrSeen::Shown(self.read(record)))];
        self.captured(hints.iter().map(read).collect(), None)
    }

    pub fn next(&self) -> Vec<EmrTurn> {
        self.store.emr_next(self.now(), 10, 100).unwrap()
    }

    pub fn write(&self, turn: &EmrTurn) -> Vec<EmrSettled> {
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

    pub fn state(&self, name: &str) -> Option<EmrState> {
        self.store.record_why(&named(name)).unwrap().emr.map(|info| info.state)
    }

    pub fn sequence(&self) -> u64 {
        self.store.site().unwrap().sequence
    }

    pub fn refuse(&self, name: &str, with: Option<EmrResult>) {
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
pub fn kept(body: &str) -> Record {
    let parsed = json::parse(body.as_bytes(), 64).unwrap();
    let members = parsed.as_object().unwrap().iter();
    let left: Vec<String> = members
        .filter(|(key, _)| !DROPS.iter().any(|drop| *key == *drop))
        .map(|(key, value)| format!("\"{}\":{}", key.raw(), value.to_text()))
        .collect();
    Record::parse(format!("{{{}}}", left.join(",")).as_bytes(), &Limits::default()).unwrap()
}

/// A patient with an element that the record system drops.
pub fn married(id: &str) -> Resource {
    a_patient(id).born("1990-01-01").with("maritalStatus", r#"{"text":"m"}"#)
}
