//! What happens at the record systems beside sites: what their people do in them, how they fail,
//! and the sites' own jobs, which look what changed there and write what is to be there.

use std::sync::Arc;

use node::jobs::emr::Beside;
use node::jobs::{apply, capture};
use node::ports::LinkError;
use protocol::RecordRef;
use serde_json::{Value, json};
use store::{EmrAction, EmrChoice, EmrState};
use tokio::task::JoinHandle;

use super::Shared;
use super::act::spawn;
use super::fhir::reference_of;
use crate::chance::SeededEntropy;
use crate::emr::MemoryEmr;
use crate::op::{EmrOp, Step};
use crate::oracle::Written;
use crate::place::{Place, Up};
use crate::records::{self, elements, tokens_in};

const MINUTE: u64 = 60_000;
/// Looks in a row: what is captured may have to be written, and what was changed meanwhile read.
const LOOKS: u32 = 4;
/// Edits that are thought of until one is of an element that the record system has.
const TRIES: u32 = 8;
/// Writes among which one is chosen whose record is refused.
const RECENT: usize = 60;

impl Shared {
    /// Begins what happens at the record system of a site.
    pub(super) fn beside(self: &Arc<Shared>, step: &Step, does: &EmrOp) -> Option<JoinHandle<()>> {
        let place = &self.places[step.site];
        let system = Arc::clone(place.system.as_ref()?);
        let chance = SeededEntropy::new(step.seed, "emr");
        let people = People { shared: self, place, emr: &system.emr, chance: &chance };
        match does {
            EmrOp::Look => return self.look(step),
            EmrOp::Away { minutes } => {
                system.emr.away(true);
                return Some(self.later(*minutes, move || system.emr.away(false)));
            }
            EmrOp::Refuse { minutes } => {
                let record = people.some_written()?;
                system.emr.refuse(&record, Some("it lacks something for this record"));
                return Some(self.later(*minutes, move || system.emr.refuse(&record, None)));
            }
            EmrOp::Fail { minutes } => {
                let record = people.some_written()?;
                system.emr.fail(&record, true);
                return Some(self.later(*minutes, move || system.emr.fail(&record, false)));
            }
            EmrOp::Purge => system.emr.purge(),
            EmrOp::Lose { answers } => system.emr.lose_answers(*answers),
            EmrOp::Retry => self.try_again(&place.up()?),
            EmrOp::Register => people.register()?,
            EmrOp::Make => people.make()?,
            EmrOp::Edit => people.edit()?,
            EmrOp::Delete => people.delete()?,
            EmrOp::Undelete => people.undelete()?,
            EmrOp::Transfer => people.transfer()?,
            EmrOp::Refer => people.refer()?,
        }
        None
    }

    fn later(&self, minutes: u64, ends: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
        let time = self.time.clone();
        self.log.count("troubles of record systems", 1);
        tokio::spawn(async move {
            time.sleep(minutes * MINUTE).await;
            ends();
        })
    }

    /// The site looks at its record system, unless it does already.
    fn look(self: &Arc<Shared>, step: &Step) -> Option<JoinHandle<()>> {
        let place = &self.places[step.site];
        let up = place.up()?;
        let (system, beside) = (place.system.as_ref()?, Arc::clone(up.beside.as_ref()?));
        if !place.begins_look() {
            return None;
        }
        system.chance.begin(step.seed);
        self.log.count("looks at record systems", 1);
        let (shared, site, life) = (Arc::clone(self), step.site, Arc::clone(&up.life));
        Some(spawn(life.mortal(async move {
            let before = moved(&up);
            let done = until_done(&up, &beside).await;
            let (captured, applied) = moved(&up);
            let said = done.map_or_else(|error| error.0, |()| "all is done".to_owned());
            let (captured, applied) = (captured - before.0, applied - before.1);
            shared
                .note(&format!("{} captures {captured}, applies {applied}: {said}", up.site.id()));
            shared.harvest(&up);
            shared.places[site].ends_look();
        })))
    }

    /// An operator tries again what is parked, and what waits for its time.
    fn try_again(&self, up: &Up) {
        for state in [EmrState::Parked, EmrState::Retry, EmrState::Waits, EmrState::Unread] {
            let choice = EmrChoice { state: Some(state), ..EmrChoice::default() };
            let store = up.site.store();
            let done = store.emr_act(&choice, &EmrAction::Retry, "operator", up.site.now());
            if let Err(error) = done {
                self.note(&format!("{} fails to try again: {error}", up.site.id()));
            }
        }
    }

    /// A site and its record system, until neither has anything for the other; gives how much
    /// moved.
    pub(super) async fn settle_beside(&self, up: &Up) -> u64 {
        let Some(beside) = &up.beside else { return 0 };
        self.try_again(up);
        let before = moved(up);
        let done = until_done(up, beside).await;
        self.harvest(up);
        let after = moved(up);
        let (captured, applied) = (after.0 - before.0, after.1 - before.1);
        if captured + applied > 0 || done.is_err() {
            let id = up.site.id();
            let done = done.as_ref().map_or_else(|error| error.0.clone(), |()| String::new());
            self.note(&format!("{id} settles: {captured} captured, {applied} applied {done}"));
        }
        captured + applied + u64::from(done.is_err())
    }

    /// Everything in each record system is compared once more: nothing may come of that.
    pub(super) async fn compare_beside(&self) {
        for place in self.places.iter() {
            let (Some(system), Some(up)) = (&place.system, place.up()) else { continue };
            let sequence = || up.site.store().site().map(|site| site.sequence).unwrap_or_default();
            let before = sequence();
            system.emr.purge();
            drop(system.emr.take_written());
            self.settle_beside(&up).await;
            let (changes, written) = (sequence() - before, system.emr.take_written());
            if changes > 0 || !written.is_empty() {
                let what = format!(
                    "{} makes {changes} changes of what its record system shows again, and writes \
                     {written:?}",
                    place.id
                );
                self.log.violation("beside", what);
            }
        }
    }
}

/// How many changes were captured, and how many states applied.
fn moved(up: &Up) -> (u64, u64) {
    let status = up.site.store().emr_status().ok().flatten();
    status.map(|status| (status.captured, status.applied)).unwrap_or_default()
}

/// Whether nothing is on its way to the record system, or to be read there.
pub(super) fn nothing_for_beside(up: &Up) -> bool {
    let Ok(Some(status)) = up.site.store().emr_status() else { return up.beside.is_none() };
    !status.loading && status.due + status.retry + status.parked + status.hints == 0
}

/// Looks as long as that moves anything, some times at the most.
async fn until_done(up: &Up, beside: &Beside) -> Result<(), LinkError> {
    for _ in 0..LOOKS {
        let before = moved(up);
        let captured = async {
            while capture::step(&up.site, beside).await? {}
            Ok::<(), LinkError>(())
        };
        let applied = || async {
            while apply::step(&up.site, beside).await? {}
            Ok::<(), LinkError>(())
        };
        let (captured, given) = tokio::join!(captured, applied());
        captured.and(given)?;
        // As long as everything is compared, nothing is written.
        applied().await?;
        if moved(up) == before {
            break;
        }
    }
    Ok(())
}

/// A record as it was, and as it is to be; `None`: it is deleted.
type Change = (RecordRef, Value, Option<Value>);

/// The people who work in a record system.
struct People<'a> {
    shared: &'a Shared,
    place: &'a Place,
    emr: &'a MemoryEmr,
    chance: &'a SeededEntropy,
}

impl People<'_> {
    /// Saves records, in one transaction. What is there then can be read, so it counts as
    /// acknowledged.
    fn save(&self, changes: Vec<Change>) {
        let mut saved = Vec::new();
        for (record, before, after) in changes {
            let after = match after {
                Some(after) => match self.shown(&record, &after) {
                    Some(after) if after != before => Some(after),
                    _ => continue,
                },
                None => None,
            };
            let (site, at) = (self.place.index, self.shared.time.now().millis());
            let mut write = Written::of(&record, site, at, (&before, after.as_ref()));
            if after.is_none() {
                // With the record goes what its people could not see of it.
                let given = self.emr.given(&record).unwrap_or_default();
                write.removed.extend(tokens_in(&given));
            }
            (write.beside, write.acknowledged) = (true, true);
            self.shared.oracle().tried(write);
            self.shared.note(&format!("{}: {record} is saved in its record system", self.place.id));
            saved.push((record, after.map(|after| after.to_string())));
        }
        if !saved.is_empty() {
            self.shared.log.count("writes in record systems", saved.len() as u64);
            self.emr.enter(&saved);
        }
    }

    /// What the record system makes of a record that is saved in it.
    fn shown(&self, record: &RecordRef, body: &Value) -> Option<Value> {
        serde_json::from_str(&self.emr.would_show(record, &body.to_string())?).ok()
    }

    fn save_new(&self, bodies: Vec<Value>) {
        let new = bodies.into_iter();
        self.save(
            new.filter_map(|body| Some((reference_of(&body)?, Value::Null, Some(body)))).collect(),
        );
    }

    /// A record of one of these types that is there.
    fn some(&self, kinds: &[&str]) -> Option<RecordRef> {
        let kind = kinds[self.chance.place(kinds.len())];
        let names = self.emr.records().into_iter().filter(|name| name.kind.name() == kind);
        let names = names.collect::<Vec<_>>();
        names.get(self.chance.place(names.len())).cloned()
    }

    /// A record that was written somewhere in the world of late.
    fn some_written(&self) -> Option<RecordRef> {
        let oracle = self.shared.oracle();
        let writes = oracle.writes();
        let recent = &writes[writes.len().saturating_sub(RECENT)..];
        recent.get(self.chance.place(recent.len())).map(|write| write.record.clone())
    }

    fn some_home(&self) -> String {
        if self.chance.permille(700) {
            return self.place.id.to_string();
        }
        let places = &self.shared.places;
        places[self.chance.place(places.len())].id.to_string()
    }

    fn register(&self) -> Option<()> {
        let (id, home) = (self.place.patient_id(), self.some_home());
        let mut fresh = || self.shared.oracle().fresh();
        let patient = records::patient(&id, &home, &mut fresh);
        let visit = format!("e-{}-{}", self.place.id, self.shared.number());
        let visit = records::of_patient("Encounter", &visit, &id, &home, &mut fresh);
        self.save_new(vec![patient, visit]);
        Some(())
    }

    fn make(&self) -> Option<()> {
        let patient = self.some(&["Patient"])?;
        let kind = records::MADE[self.chance.place(records::MADE.len())];
        let id = format!("r-{}-{}", self.place.id, self.shared.number());
        let mut fresh = || self.shared.oracle().fresh();
        let body = records::of_patient(kind, &id, patient.id(), &self.some_home(), &mut fresh);
        self.save_new(vec![body]);
        Some(())
    }

    fn edit(&self) -> Option<()> {
        let first = self.some(&records::EDITED)?;
        let second =
            self.some(&records::EDITED).filter(|one| *one != first && self.chance.permille(200));
        let both = std::iter::once(first).chain(second);
        self.save(both.filter_map(|record| self.edited(record)).collect());
        Some(())
    }

    /// A record with an element changed, or taken away, that the record system has.
    fn edited(&self, record: RecordRef) -> Option<Change> {
        let before: Value = serde_json::from_str(&self.emr.body(&record)?).ok()?;
        let old = tokens_in(&before.to_string());
        for _ in 0..TRIES {
            let token = self.shared.oracle().fresh();
            let mut after = before.clone();
            records::edit(&mut after, self.chance, &mut || token);
            let shown = self.shown(&record, &after)?;
            let new = elements(&shown);
            let kept = |token: &u64| new.iter().any(|(other, _)| other == token);
            if kept(&token) || !old.iter().all(kept) {
                return Some((record, before, Some(after)));
            }
        }
        None
    }

    fn delete(&self) -> Option<()> {
        let record = self.some(&["Observation", "Encounter", "AllergyIntolerance"])?;
        let before = serde_json::from_str(&self.emr.body(&record)?).ok()?;
        self.save(vec![(record, before, None)]);
        Some(())
    }

    fn undelete(&self) -> Option<()> {
        let gone = self.emr.deleted();
        let gone = gone.get(self.chance.place(gone.len()))?;
        let patient = self.some(&["Patient"])?;
        let (kind, home) = (gone.kind.name(), self.some_home());
        let mut fresh = || self.shared.oracle().fresh();
        let body = records::of_patient(kind, gone.id(), patient.id(), &home, &mut fresh);
        // Other types are never deleted.
        self.save_new(vec![body]);
        Some(())
    }

    fn transfer(&self) -> Option<()> {
        let record = self.some(&["Patient"])?;
        let before: Value = serde_json::from_str(&self.emr.body(&record)?).ok()?;
        let (mut after, home) = (before.clone(), self.some_home());
        after["managingOrganization"] = json!({"reference": format!("Organization/{home}")});
        if let Some(address) = after.pointer_mut("/address/0") {
            address["country"] = json!(home);
        }
        self.save(vec![(record, before, Some(after))]);
        Some(())
    }

    fn refer(&self) -> Option<()> {
        let kind = ["Location", "Practitioner"][self.chance.place(2)];
        if let Some(record) = self.some(&[kind]).filter(|_| self.chance.permille(700)) {
            self.save(self.edited(record).into_iter().collect());
            return Some(());
        }
        let id = format!("x-{}-{}", self.place.id, self.shared.number());
        let body = records::reference(kind, &id, &mut || self.shared.oracle().fresh());
        self.save_new(vec![body]);
        Some(())
    }
}
