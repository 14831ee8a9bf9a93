//! Whatever happens at the publishing site, and however a reader is cut off: in the end it holds
//! exactly what it is entitled to.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use protocol::Via;
use protocol::feed::EntryKind;

use super::*;
use crate::sqlite::testing::{State, from_east, gone, patient, state};

const PATIENTS: [&str; 4] = ["p", "q", "r", "s"];

#[derive(Debug, Clone)]
enum Step {
    /// Writes records (number, patient): made here, or brought by the reader.
    Write {
        by_reader: bool,
        writes: Vec<(u8, usize)>,
    },
    Delete(u8),
    Join(usize),
    Leave(usize),
    /// The reader opens a stream: slices of so many bytes, cut after so many lines.
    Read {
        lane: Lane,
        bytes: usize,
        lines: usize,
    },
    /// The stream that is open, if any, goes on with its next slice.
    GoOn,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let write = (any::<bool>(), prop::collection::vec((0..8u8, 0..4usize), 1..4))
        .prop_map(|(by_reader, writes)| Step::Write { by_reader, writes });
    let lane = prop_oneof![Just(Lane::Live), Just(Lane::Bulk)];
    let read = (lane, 1..2_000usize, 0..6usize).prop_map(|(lane, bytes, lines)| Step::Read {
        lane,
        bytes,
        lines,
    });
    let step = prop_oneof![
        4 => write,
        1 => (0..8u8).prop_map(Step::Delete),
        1 => (0..4usize).prop_map(Step::Join),
        1 => (0..4usize).prop_map(Step::Leave),
        3 => read,
        3 => Just(Step::GoOn),
    ];
    prop::collection::vec(step, 1..40)
}

fn name(record: u8) -> String {
    format!("Observation/o{record}")
}

/// What the reader keeps: states by record with their patients, and where patients joined.
#[derive(Default)]
struct Reader {
    held: BTreeMap<RecordRef, (Option<String>, BTreeSet<RecordRef>)>,
    joined: BTreeMap<RecordRef, u64>,
    markers: BTreeMap<Lane, u64>,
    stream: Option<(FeedQuery, usize)>,
}

impl Reader {
    fn apply(&mut self, line: &OutLine) {
        let position = line.position.unwrap();
        match line.kind {
            EntryKind::Join => {
                let joined = self.joined.entry(line.patients[0].clone()).or_default();
                *joined = position.max(*joined);
            }
            EntryKind::Leave => self.leave(&line.patients[0], position),
            EntryKind::Change => {}
        }
        for record in &line.records {
            match record {
                OutRecord::Resource { body, .. } => {
                    let (reference, patients) = read_body(body);
                    self.held.insert(reference, (Some(body.clone()), patients));
                }
                OutRecord::Deleted { reference, .. } => {
                    self.held.entry(reference.clone()).or_default().0 = None;
                }
                OutRecord::Left(reference) => drop(self.held.remove(reference)),
                OutRecord::Held(_) => {}
            }
        }
    }

    /// The strictest policy: what no other patient here entitles to is purged.
    fn leave(&mut self, patient: &RecordRef, position: u64) {
        if self.joined.get(patient).is_some_and(|joined| *joined > position) {
            return;
        }
        self.joined.remove(patient);
        let joined = &self.joined;
        self.held.retain(|_, (_, patients)| {
            !patients.contains(patient) || patients.iter().any(|other| joined.contains_key(other))
        });
    }

    fn open(&mut self, lane: Lane, bytes: usize, lines: usize) {
        let marker = self.markers.get(&lane).copied().unwrap_or(0);
        self.stream = Some((FeedQuery { bytes, ..ask("a", lane, marker) }, lines));
    }

    /// Reads one slice of the open stream and applies as many lines as come before the cut.
    fn go_on(&mut self, world: &World) {
        let Some((mut query, lines)) = self.stream.take() else { return };
        let slice = slice(world, &query);
        for line in slice.lines.iter().take(lines) {
            self.apply(line);
            if line.part.is_none_or(|(part, parts)| part == parts) {
                self.markers.insert(query.lane, line.position.unwrap());
            }
        }
        if slice.lines.len() > lines {
            return;
        }
        if !slice.more {
            self.markers.insert(query.lane, slice.end);
            return;
        }
        query.after = slice.end;
        query.to = query.to.or(Some(slice.head));
        self.stream = Some((query, lines - slice.lines.len()));
    }

    fn catch_up(&mut self, world: &World) {
        for lane in [Lane::Live, Lane::Bulk] {
            self.open(lane, 3_000, usize::MAX);
            while self.stream.is_some() {
                self.go_on(world);
            }
        }
    }
}

fn read_body(body: &str) -> (RecordRef, BTreeSet<RecordRef>) {
    let json: serde_json::Value = serde_json::from_str(body).unwrap();
    let kind = json["resourceType"].as_str().unwrap();
    let reference = format!("{kind}/{}", json["id"].as_str().unwrap()).parse().unwrap();
    let subject = json["subject"]["reference"].as_str().unwrap().parse().unwrap();
    (reference, BTreeSet::from([subject]))
}

struct Play {
    world: World,
    reader: Reader,
    members: BTreeSet<usize>,
    n: u64,
}

impl Play {
    fn new() -> Play {
        let mut world = World::new();
        world.store.options.limits.line_bytes = 1_000;
        world.cohort("a", &["p", "q"]);
        Play { world, reader: Reader::default(), members: BTreeSet::from([0, 1]), n: 0 }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Write { by_reader, writes } => self.write(*by_reader, writes),
            Step::Delete(record) => self.delete(&name(*record)),
            Step::Join(who) if self.members.insert(*who) => {
                self.world.join("a", PATIENTS[*who]);
            }
            Step::Leave(who) if self.members.remove(who) => {
                self.world.leave("a", PATIENTS[*who]);
            }
            Step::Join(_) | Step::Leave(_) => {}
            Step::Read { lane, bytes, lines } => {
                self.reader.open(*lane, *bytes, *lines);
                self.reader.go_on(&self.world);
            }
            Step::GoOn => self.reader.go_on(&self.world),
        }
    }

    fn delete(&mut self, name: &str) {
        let record = name.parse().unwrap();
        let known = self.world.store.record_get(&record, None, &Scope::Everything).unwrap();
        if known.is_some_and(|version| version.body.is_some()) {
            self.world.made_here(&[gone(name)]);
        }
    }

    /// The reader has read all that there was before it writes, and writes to patients whom it
    /// holds: what becomes of the rest is the merge's business.
    fn write(&mut self, by_reader: bool, writes: &[(u8, usize)]) {
        if by_reader {
            self.reader.catch_up(&self.world);
        }
        let mut states: BTreeMap<RecordRef, State> = BTreeMap::new();
        for (record, who) in writes {
            let who = PATIENTS[*who];
            if !by_reader || self.reader.joined.contains_key(&patient(who)) {
                self.n += 1;
                let state = state(&name(*record), &[who], self.n);
                states.insert(state.reference.clone(), state);
            }
        }
        let states: Vec<State> = states.into_values().collect();
        if states.is_empty() {
            return;
        }
        let via = if by_reader { from_east() } else { Via::Here };
        if by_reader {
            for state in &states {
                let kept = (state.body.clone(), state.patients.clone());
                self.reader.held.insert(state.reference.clone(), kept);
            }
        }
        self.world.change(&via, &states);
    }

    fn entitled(&self) -> BTreeMap<RecordRef, String> {
        let scope = DigestScope::Published { feed: "a".to_owned(), scope: east(&["a"]) };
        let digests = self.world.store.record_digests(&scope, None, 1_000).unwrap();
        let names: Vec<RecordRef> = digests.into_iter().map(|(name, _)| name).collect();
        let found = self.world.store.feed_fetch("a", &names, &east(&["a"])).unwrap().unwrap();
        assert_eq!(found.len(), names.len());
        found.into_iter().filter_map(|v| v.body.map(|body| (v.reference, body))).collect()
    }

    fn held(&self) -> BTreeMap<RecordRef, String> {
        let held = &self.reader.held;
        held.iter().filter_map(|(name, (body, _))| Some((name.clone(), body.clone()?))).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 96,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_reader_ends_with_exactly_what_it_is_entitled_to(steps in steps()) {
        let mut play = Play::new();
        for step in &steps {
            play.step(step);
        }
        play.reader.catch_up(&play.world);
        prop_assert_eq!(play.held(), play.entitled());
    }
}
