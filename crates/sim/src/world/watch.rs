//! Looks at every answer to a child: nothing outside its cohorts may be in it, by any route.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use axum::http::{HeaderMap, header};
use node::http::auth::SITE_HEADER;
use node::wire::{Coding, Decoder};
use protocol::conflict::{self, Conflict};
use protocol::resource::Record;
use protocol::{Limits, RecordRef, ResourceType};
use serde_json::Value;
use store::{HistoryQuery, Scope, Store};

use super::Log;
use crate::net::{Asked, Watcher};
use crate::oracle::Oracle;
use crate::place::Place;
use crate::records::{Token, tokens_in};

/// Versions of a record that are looked at: more do not come about while one answer is given.
const VERSIONS: u32 = 50;

/// A child may ask here who somebody is, by what it knows of them.
const FIND: &str = "/sync/patients/find";

type Patients = Arc<BTreeSet<RecordRef>>;
/// The parent's sequence and the sum of its feeds' heads: who is in which cohort changes with them.
type Moment = (u64, u64);

/// Looks at every answer to a child.
pub(super) struct Watch {
    places: OnceLock<Arc<Vec<Place>>>,
    oracle: Arc<Mutex<Oracle>>,
    log: Arc<Log>,
    known: Mutex<BTreeMap<(usize, usize), (Moment, Patients)>>,
    bodies: Bodies,
}

impl Watch {
    pub(super) fn new(oracle: Arc<Mutex<Oracle>>, log: Arc<Log>) -> Watch {
        let (known, bodies) = (Mutex::default(), Bodies::default());
        Watch { places: OnceLock::new(), oracle, log, known, bodies }
    }

    /// Tells it the sites.
    pub(super) fn know(&self, places: Arc<Vec<Place>>) {
        // It is told once.
        drop(self.places.set(places));
    }

    fn places(&self) -> &[Place] {
        self.places.get().map_or(&[], |places| places.as_slice())
    }

    /// The patients of a child's cohorts at its parent, now.
    fn patients(&self, parent: &Place, child: &Place) -> Option<(Patients, u64)> {
        let up = parent.up()?;
        let store = up.site.store();
        let sequence = store.site().ok()?.sequence;
        let heads = store.feed_list(&Scope::Everything).ok()?.iter().map(|feed| feed.head).sum();
        let key = (parent.index, child.index);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((moment, patients)) = known.get(&key)
            && *moment == (sequence, heads)
        {
            return Some((Arc::clone(patients), sequence));
        }
        let patients = Arc::new(members(store, child)?);
        known.insert(key, ((sequence, heads), Arc::clone(&patients)));
        Some((patients, sequence))
    }

    fn look(&self, asked: &Asked, path: &str, text: &str) -> Option<()> {
        let parent = self.places().get(asked.parent)?;
        let child = self.places().get(asked.child)?;
        if path == FIND {
            return Some(());
        }
        let (rest, conflicts) = apart(text);
        self.look_at_conflicts(asked, path, &conflicts)?;
        let records = self.told(&rest);
        if records.is_empty() {
            return Some(());
        }
        let (now, _) = self.patients(parent, child)?;
        let up = parent.up()?;
        let own = |one: &RecordRef| now.contains(one) || asked.patients.contains(one);
        let mine = now.union(&asked.patients).cloned().collect();
        let mine = self.persons(&mine);
        let of_mine = |owners: &BTreeSet<RecordRef>| !self.persons(owners).is_disjoint(&mine);
        for (record, tokens) in &records {
            if record.kind.is_reference() {
                continue;
            }
            let versions = Versions::of(up.site.store(), record, &self.bodies);
            if !versions.owners(asked.sequence).iter().any(own) {
                self.tell(child, &record.to_string(), parent, path);
            } else if let Some(token) = versions.of_others(tokens, of_mine) {
                let given = format!("token {token} of {record}, from before it was its patient's,");
                self.tell(child, &given, parent, path);
            }
        }
        Some(())
    }

    /// A conflict is of the patients whose its record was when it was written, and each state in
    /// it was of all of them, whoever the record is of by now: whoever may see one of them may see
    /// what was written of that one. (A Group that lost members says in its older state who they
    /// were, as its history does.)
    fn look_at_conflicts(&self, asked: &Asked, path: &str, conflicts: &[Basic]) -> Option<()> {
        let (parent, child) = (self.places().get(asked.parent)?, self.places().get(asked.child)?);
        for (name, conflict) in conflicts {
            let (now, _) = self.patients(parent, child)?;
            let theirs = conflict.patients.iter();
            let mut theirs = theirs.filter(|one| now.contains(one) || asked.patients.contains(one));
            let of_them = conflict.record.kind.is_reference() || theirs.next().is_some();
            let says = conflict.versions().filter_map(|(_, version)| version.body.text()?);
            let parsed = says.map(|text| Record::parse(text.as_bytes(), &Limits::default()));
            let others = {
                let oracle = self.oracle.lock().unwrap_or_else(PoisonError::into_inner);
                let known = oracle.persons(&conflict.patients);
                let mut states = parsed.filter_map(Result::ok);
                states.any(|state| {
                    let theirs = oracle.persons(&state.patients);
                    !known.is_subset(&theirs) || known.is_empty() != theirs.is_empty()
                })
            };
            if !of_them {
                self.tell(child, &name.to_string(), parent, path);
            } else if others {
                let what = format!("{name} at {} says something of other patients", parent.id);
                self.log.violation("entitled", what);
            }
        }
        Some(())
    }

    /// Files that ever were one count as one.
    fn persons(&self, patients: &BTreeSet<RecordRef>) -> BTreeSet<RecordRef> {
        self.oracle.lock().unwrap_or_else(PoisonError::into_inner).persons(patients)
    }

    fn tell(&self, child: &Place, given: &str, parent: &Place, path: &str) {
        let route = path.split('?').next().unwrap_or("");
        let what = format!("{} was given {given} by {} at {route}", child.id, parent.id);
        self.log.violation("entitled", what);
    }

    /// The records of which a text has tokens, and which.
    fn told(&self, text: &str) -> BTreeMap<RecordRef, BTreeSet<Token>> {
        let oracle = self.oracle.lock().unwrap_or_else(PoisonError::into_inner);
        let mut records: BTreeMap<RecordRef, BTreeSet<Token>> = BTreeMap::new();
        for token in tokens_in(text) {
            if let Some(record) = oracle.record_of(token) {
                records.entry(record.clone()).or_default().insert(token);
            }
        }
        records
    }
}

type Basic = (RecordRef, Conflict);

/// The conflicts in an answer, and all the rest of it.
fn apart(text: &str) -> (String, Vec<Basic>) {
    let mut conflicts = Vec::new();
    if !text.contains("conflict-") {
        return (text.to_owned(), conflicts);
    }
    let mut rest = String::new();
    for value in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
        // What is no JSON is looked at as it is.
        let Ok(mut value) = value else { return (text.to_owned(), Vec::new()) };
        take_conflicts(&mut value, &mut conflicts);
        rest.push_str(&value.to_string());
    }
    (rest, conflicts)
}

fn take_conflicts(value: &mut Value, conflicts: &mut Vec<Basic>) {
    if value.get("resourceType").and_then(Value::as_str) == Some("Basic") {
        let read = conflict::read(&value.to_string()).ok().flatten();
        let id = value.get("id").and_then(Value::as_str).unwrap_or_default();
        let name = RecordRef::new(ResourceType::BASIC, id);
        if let (Some(read), Ok(name)) = (read, name) {
            conflicts.push((name, read));
            *value = Value::Null;
            return;
        }
    }
    match value {
        Value::Array(items) => items.iter_mut().for_each(|one| take_conflicts(one, conflicts)),
        Value::Object(items) => {
            items.values_mut().for_each(|one| take_conflicts(one, conflicts));
        }
        _ => {}
    }
}

/// The patients of all cohorts that a child has at its parent.
pub(crate) fn members(store: &dyn Store, child: &Place) -> Option<BTreeSet<RecordRef>> {
    let children = store.child_list().ok()?;
    let known = children.iter().find(|known| known.site == child.id)?;
    let mut patients = BTreeSet::new();
    for cohort in &known.cohorts {
        patients.extend(store.cohort_patients(cohort, None, 10_000).ok()?);
    }
    Some(patients)
}

/// What a body says, which is the same whoever holds it: worked out once for each.
#[derive(Default)]
struct Bodies {
    known: Mutex<HashMap<String, Arc<Said>>>,
}

struct Said {
    patients: BTreeSet<RecordRef>,
    tokens: BTreeSet<Token>,
}

impl Bodies {
    fn said(&self, body: String) -> Arc<Said> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(said) = known.get(&body) {
            return Arc::clone(said);
        }
        let parsed = Record::parse(body.as_bytes(), &Limits::default());
        let patients = parsed.map(|parsed| parsed.patients).unwrap_or_default();
        let tokens = tokens_in(&body).into_iter().collect();
        let said = Arc::new(Said { patients, tokens });
        known.insert(body, Arc::clone(&said));
        said
    }
}

/// The versions of a record at the site that answers, newest first; those without body are left
/// out: a deleted record keeps the patients that it had.
struct Versions {
    list: Vec<(u64, Arc<Said>)>,
}

impl Versions {
    fn of(store: &dyn Store, record: &RecordRef, bodies: &Bodies) -> Versions {
        let record = Some(record.clone());
        let query = HistoryQuery { record, limit: VERSIONS, ..HistoryQuery::default() };
        let page = store.record_history(&query, &Scope::Everything);
        let versions = page.map(|page| page.versions).unwrap_or_default().into_iter();
        let said =
            versions.filter_map(|version| Some((version.sequence, bodies.said(version.body?))));
        Versions { list: said.collect() }
    }

    /// Whose the record is or was, in its versions since a sequence and the one before.
    fn owners(&self, since: u64) -> BTreeSet<RecordRef> {
        let mut owners = BTreeSet::new();
        for (sequence, said) in &self.list {
            owners.extend(said.patients.iter().cloned());
            if *sequence <= since {
                break;
            }
        }
        owners
    }

    /// One of the tokens that stands only in versions of patients who are not `own`.
    fn of_others(
        &self,
        tokens: &BTreeSet<Token>,
        own: impl Fn(&BTreeSet<RecordRef>) -> bool,
    ) -> Option<Token> {
        let mut left = tokens.clone();
        let mut others = BTreeSet::new();
        for (_, said) in &self.list {
            if own(&said.patients) {
                left.retain(|token| !said.tokens.contains(token));
            } else {
                others.extend(&said.tokens);
            }
            if left.is_empty() {
                return None;
            }
        }
        left.intersection(&others).next().copied()
    }
}

impl Watcher for Watch {
    fn asked(&self, url: &str, headers: &HeaderMap) -> Option<Asked> {
        let parent = self.places().iter().find(|place| place.url == url)?;
        let named = headers.get(SITE_HEADER)?.to_str().ok()?;
        let child = self.places().iter().find(|place| place.id.as_str() == named)?;
        if child.parent != Some(parent.index) {
            // A parent reads what is below it.
            return None;
        }
        let (patients, sequence) = self.patients(parent, child)?;
        Some(Asked { parent: parent.index, child: child.index, patients, sequence })
    }

    fn answered(&self, asked: Asked, path: &str, headers: &HeaderMap, body: &[u8]) {
        let coding = headers.get(header::CONTENT_ENCODING).and_then(|value| value.to_str().ok());
        let Some(coding) = Coding::of_header(coding) else { return };
        let Ok(mut decoder) = Decoder::new(coding, u64::MAX, "stream_bytes") else { return };
        let mut text = decoder.push(body).unwrap_or_default();
        text.extend(decoder.finish().unwrap_or_default());
        self.look(&asked, path, &String::from_utf8_lossy(&text));
    }
}
