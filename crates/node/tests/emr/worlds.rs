//! Seeded lives of a clinic beside a record system: both sides write, the record system drops and
//! rewrites, goes away, loses answers, forgets its log. In the end both hold the same as far as the
//! record system can, every edit of either side is known here, and nothing echoes.

use std::collections::BTreeMap;

use protocol::resource::Record;
use protocol::{Limits, RecordRef, ResourceType};
use serde_json::{Value, json};
use store::{EmrAction, EmrChoice, HistoryQuery, Scope, SearchQuery};

use crate::jobs::{Clinic, named};
use crate::memory::{Faults, MemoryEmr};

/// Lives that are lived, and steps of each.
const LIVES: u64 = 30;
const STEPS: usize = 120;

/// Numbers from a seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap()
    }
}

struct Life {
    clinic: Clinic,
    dice: Dice,
    tokens: u64,
    /// The last word of the record system's people about each record, unless they deleted it.
    there: BTreeMap<RecordRef, String>,
    /// The last hidden element that was written here.
    hidden: BTreeMap<RecordRef, String>,
}

impl Life {
    fn new(seed: u64) -> Life {
        let lists = seed % 2 == 1;
        let faults = Faults { own_identifiers: false, portion: 7, lists, ..Faults::LIKE_OPENMRS };
        let (tokens, there, hidden) = (0, BTreeMap::new(), BTreeMap::new());
        Life { clinic: Clinic::new(faults), dice: Dice(seed), tokens, there, hidden }
    }

    fn emr(&self) -> &MemoryEmr {
        &self.clinic.emr
    }

    fn token(&mut self) -> String {
        self.tokens += 1;
        format!("tk{}", self.tokens)
    }

    /// A record that is at one of the sides, with its body.
    fn some(&mut self, there: bool, kind: &str) -> Option<(RecordRef, Value)> {
        let records: Vec<(RecordRef, String)> = if there {
            let names = self.emr().records().into_iter();
            names.filter_map(|name| Some((name.clone(), self.emr().body(&name)?))).collect()
        } else {
            self.here(kind).into_iter().collect()
        };
        let fitting: Vec<_> = records.into_iter().filter(|(r, _)| r.kind.name() == kind).collect();
        if fitting.is_empty() {
            return None;
        }
        let (name, body) = fitting[self.dice.below(fitting.len())].clone();
        Some((name, serde_json::from_str(&body).unwrap()))
    }

    /// The records of a type that are here.
    fn here(&self, kind: &str) -> BTreeMap<RecordRef, String> {
        let kind: ResourceType = kind.parse().unwrap();
        let query = SearchQuery { kind: Some(kind), limit: 1_000, ..SearchQuery::default() };
        let page = self.clinic.site.store().record_search(&query, &Scope::Everything).unwrap();
        page.records.into_iter().filter_map(|one| Some((one.reference, one.body?))).collect()
    }

    fn patient(&mut self) -> (RecordRef, Value) {
        let (id, token) = (self.token(), self.token());
        let body = json!({
            "resourceType": "Patient", "id": id,
            "name": [{"use": "official", "family": token, "given": ["A"]}],
        });
        (named(&format!("Patient/{id}")), body)
    }

    fn observation(&mut self, patient: &RecordRef) -> (RecordRef, Value) {
        let (id, token) = (self.token(), self.token());
        let body = json!({
            "resourceType": "Observation", "id": id, "status": "final",
            "code": {"text": "pulse"}, "subject": {"reference": patient.to_string()},
            "valueString": token,
        });
        (named(&format!("Observation/{id}")), body)
    }

    /// Puts a fresh word into the element that the record system shows.
    fn edit_shown(&mut self, body: &mut Value) -> String {
        let token = self.token();
        match body["resourceType"].as_str() {
            Some("Patient") => body["name"][0]["family"] = json!(token),
            _ => body["valueString"] = json!(token),
        }
        token
    }

    fn enter(&mut self, name: RecordRef, body: &Value) {
        self.emr().enter(&[(name.clone(), Some(body.to_string()))]);
        let word = match name.kind.name() {
            "Patient" => body["name"][0]["family"].clone(),
            _ => body["valueString"].clone(),
        };
        self.there.insert(name, word.as_str().unwrap().to_owned());
    }

    fn write_here(&mut self, body: &Value) {
        self.clinic.put(&[&body.to_string()]);
    }

    fn people_there(&mut self) {
        match self.dice.below(5) {
            0 => {
                let (name, body) = self.patient();
                self.enter(name, &body);
            }
            1 => {
                let Some((patient, _)) = self.some(true, "Patient") else { return };
                let (name, body) = self.observation(&patient);
                self.enter(name, &body);
            }
            2 => {
                let Some((name, _)) = self.some(true, "Observation") else { return };
                self.emr().enter(&[(name.clone(), None)]);
                self.there.remove(&name);
            }
            kind => {
                let kind = if kind == 3 { "Patient" } else { "Observation" };
                let Some((name, mut body)) = self.some(true, kind) else { return };
                self.edit_shown(&mut body);
                self.enter(name, &body);
            }
        }
    }

    fn people_here(&mut self) {
        match self.dice.below(6) {
            0 => {
                let (_, body) = self.patient();
                self.write_here(&body);
            }
            1 => {
                let Some((patient, _)) = self.some(false, "Patient") else { return };
                let (_, body) = self.observation(&patient);
                self.write_here(&body);
            }
            2 | 3 => {
                let kind = if self.dice.below(2) == 0 { "Patient" } else { "Observation" };
                let Some((_, mut body)) = self.some(false, kind) else { return };
                self.edit_shown(&mut body);
                self.write_here(&body);
            }
            _ => {
                let kind = if self.dice.below(2) == 0 { "Patient" } else { "Observation" };
                let Some((name, mut body)) = self.some(false, kind) else { return };
                let token = self.token();
                let element = if kind == "Patient" { "maritalStatus" } else { "bodySite" };
                body[element] = json!({"text": token});
                self.hidden.insert(name, token);
                self.write_here(&body);
            }
        }
    }

    fn trouble(&mut self) {
        match self.dice.below(6) {
            0 => self.emr().away(true),
            1 => self.emr().purge(),
            2 => {
                let count = 1 + self.dice.below(3) as u64;
                self.emr().lose_answers(count);
            }
            3 => {
                if let Some((name, _)) = self.some(false, "Patient") {
                    let fails = self.dice.below(2) == 0;
                    self.emr().fail(&name, fails);
                }
            }
            _ => self.emr().away(false),
        }
    }

    fn step(&mut self) {
        match self.dice.below(10) {
            0..=2 => self.people_there(),
            3 | 4 => self.people_here(),
            5 | 6 => drop(self.clinic.capture()),
            7 | 8 => drop(self.clinic.apply()),
            _ => self.trouble(),
        }
        let seconds = self.dice.below(300);
        self.clinic.test.clock.advance(i64::try_from(seconds).unwrap() * 1_000);
    }

    /// Everything works again, and people try again what is parked.
    fn come_to_rest(&self) {
        self.emr().away(false);
        self.emr().lose_answers(0);
        for kind in ["Patient", "Observation"] {
            let names = self.here(kind).into_keys().chain(self.emr().records());
            names.for_each(|name| self.emr().fail(&name, false));
        }
        for _ in 0..10 {
            self.clinic.test.clock.advance(3_600_000);
            let store = self.clinic.site.store();
            let (all, now) = (EmrChoice::default(), self.clinic.site.now());
            store.emr_act(&all, &EmrAction::Retry, "operator", now).unwrap();
            self.clinic.settle();
        }
    }

    fn check(&self, seed: u64) {
        let status = self.clinic.status();
        let waits = status.due + status.retry + status.waits + status.parked + status.hints;
        assert_eq!(waits, 0, "life {seed}: {status:?}");
        let digest =
            |body: &str| Record::parse(body.as_bytes(), &Limits::default()).unwrap().digest;
        let mut here = self.here("Patient");
        here.append(&mut self.here("Observation"));
        for (name, body) in &here {
            let wanted = self.emr().would_show(name, body).unwrap();
            let shown = self.emr().body(name).unwrap_or_default();
            assert!(!shown.is_empty(), "life {seed}: {name} is not there: {body}");
            assert_eq!(digest(&shown), digest(&wanted), "life {seed}: {name}\n{shown}\n{wanted}");
            if let Some(token) = self.hidden.get(name) {
                assert!(body.contains(&format!("\"{token}\"")), "life {seed}: {name} lost {token}");
            }
        }
        for name in self.emr().records() {
            assert!(here.contains_key(&name), "life {seed}: {name} is only there");
        }
        for (name, word) in &self.there {
            let record = Some(name.clone());
            let query = HistoryQuery { record, limit: 500, ..HistoryQuery::default() };
            let store = self.clinic.site.store();
            let page = store.record_history(&query, &Scope::Everything).unwrap();
            let word = format!("\"{word}\"");
            let known = page
                .versions
                .iter()
                .any(|version| version.body.as_ref().is_some_and(|body| body.contains(&word)));
            assert!(known, "life {seed}: {name}: the edit {word} there is nowhere here");
        }
        let found = self.clinic.site.store().site_check(&mut |_| {}).unwrap();
        assert_eq!(found, Vec::<String>::new(), "life {seed}");
    }
}

#[test]
fn whatever_happens_both_sides_come_to_the_same_and_no_edit_is_lost() {
    for seed in 0..LIVES {
        let mut life = Life::new(seed);
        for _ in 0..STEPS {
            life.step();
        }
        life.come_to_rest();
        life.check(seed);
        // No echo: to compare everything once more changes nothing.
        let before = life.clinic.sequence();
        life.emr().purge();
        life.clinic.settle();
        assert_eq!(life.clinic.sequence(), before, "life {seed}");
    }
}
