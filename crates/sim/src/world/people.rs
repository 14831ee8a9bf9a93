//! What people decide: about conflicts, about two files of one person, and that somebody visits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use node::jobs::link::Link;
use node::jobs::patients::{self, Answer};
use node::jobs::replaced;
use node::ports::LinkError;
use protocol::conflict::Choice;
use protocol::reconcile::{DELETED, Side};
use protocol::visit::{FetchQuestion, FindQuestion, PatientIdentifier};
use protocol::{Author, RecordRef, ResourceType};
use store::{
    ConflictAction, ConflictDone, ConflictFilter, ConflictInfo, ConflictOrder, Scope, SearchQuery,
    Store, StoreError,
};
use tokio::task::JoinHandle;

use super::Shared;
use super::operate::CONFLICTS;
use crate::chance::SeededEntropy;
use crate::op::{Op, Step};
use crate::oracle::Written;
use crate::place::Up;
use crate::records::{self, Token, elements, tokens_in};

impl Shared {
    /// Decides, confirms or opens again one of the conflicts that a site holds.
    pub(super) async fn decide(
        &self,
        step: &Step,
        up: &Up,
        chance: &SeededEntropy,
    ) -> Result<u64, StoreError> {
        let open = Some(step.op != Op::Reopen);
        let filter = ConflictFilter { open, limit: CONFLICTS, ..ConflictFilter::default() };
        let page = up.site.store().conflict_list(&filter, &Scope::Everything)?;
        if page.conflicts.is_empty() {
            return Ok(0);
        }
        let about = &page.conflicts[chance.place(page.conflicts.len())];
        let (action, number) = match step.op {
            Op::Confirm => (ConflictAction::Close(Choice::Confirm), None),
            Op::Reopen => (ConflictAction::Reopen, None),
            _ => {
                let (choice, number) = self.choice(step.site, up, about, chance)?;
                (ConflictAction::Close(choice), number)
            }
        };
        self.note(&format!("{} {action:?} of {}", up.site.id(), about.id));
        let order = ConflictOrder {
            id: about.id.clone(),
            action,
            author: Author::new("somebody"),
            why: None,
            actor: "operator".to_owned(),
        };
        let (site, at) = (step.site, self.time.now().millis());
        let (record, now) = (about.record.clone(), up.site.now());
        let oracle = Arc::clone(&self.oracle);
        let work = move |store: &dyn Store| {
            let before = tokens_of(store, &record)?;
            let done = store.conflict_decide(&order, now)?;
            let after = tokens_of(store, &record)?;
            let removed = before.difference(&after).copied().collect();
            // Known at once: the site may crash before it hears of its own decision.
            let mut oracle = oracle.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            oracle.tried(taking_away(record, site, at, removed));
            oracle.conflict(&done.record, &done.contested);
            Ok::<ConflictDone, StoreError>(done)
        };
        let done = up.site.write(work).await?;
        if let Some(number) = number {
            self.oracle().acknowledged(number);
        }
        self.log.count("decisions on conflicts", 1);
        self.note(&format!("{} makes {} {}", up.site.id(), done.id, done.state));
        Ok(1)
    }

    /// Says that one patient's file goes on in another's, as `tributary patient merge` does.
    pub(super) async fn merge(&self, up: &Up, chance: &SeededEntropy) -> Result<u64, StoreError> {
        let query = patients_of(40);
        let page = up.site.store().record_search(&query, &Scope::Everything)?;
        let count = page.records.len();
        if count < 2 {
            return Ok(0);
        }
        let loser = page.records[chance.place(count)].reference.clone();
        let winner = page.records[chance.place(count)].reference.clone();
        let author = Author::new("somebody");
        let done = replaced::merge(&up.site, &loser, &winner, &author);
        if done.is_ok() {
            self.oracle().merged(&loser, &winner);
        }
        up.site.wake();
        self.note(&format!("{} merges {loser} into {winner}: {done:?}", up.site.id()));
        self.log.count("merged patients", u64::from(done.is_ok()));
        Ok(u64::from(done.is_ok()))
    }

    /// Says that a patient's file is one of its own again.
    pub(super) async fn unmerge(&self, up: &Up, chance: &SeededEntropy) -> Result<u64, StoreError> {
        let links = up.site.store().patient_replaced(CONFLICTS)?;
        if links.is_empty() {
            return Ok(0);
        }
        let loser = &links[chance.place(links.len())].loser;
        let done = replaced::unmerge(&up.site, loser, &Author::new("somebody"));
        up.site.wake();
        self.note(&format!("{} unmerges {loser}: {done:?}", up.site.id()));
        self.log.count("unmerged patients", u64::from(done.is_ok()));
        Ok(u64::from(done.is_ok()))
    }

    /// Somebody at a child finds a patient at its parent, and fetches the record.
    pub(super) fn visit(self: &Arc<Shared>, step: &Step, days: u32) -> Option<JoinHandle<()>> {
        let place = &self.places[step.site];
        let up = place.up()?;
        let link = Link::of(&up.site)?;
        let above = self.places[place.parent?].up()?;
        let chance = SeededEntropy::new(step.seed, "visit");
        let page = above.site.store().record_search(&patients_of(200), &Scope::Everything).ok()?;
        let count = page.records.len();
        let body = page.records.into_iter().nth(chance.place(count))?.body?;
        let value = identifier(&body)?;
        let life = Arc::clone(&up.life);
        let shared = Arc::clone(self);
        let work = life.mortal(async move {
            let said = shared.find_and_fetch(&up, &link, value, days).await;
            let said = said.unwrap_or_else(|error| format!("fails: {error}"));
            shared.note(&format!("{} fetches: {said}", up.site.id()));
        });
        Some(tokio::spawn(async move {
            // `None`: its site crashed.
            let _ = work.await;
        }))
    }

    async fn find_and_fetch(
        &self,
        up: &Up,
        link: &Link,
        value: String,
        days: u32,
    ) -> Result<String, LinkError> {
        let identifier = PatientIdentifier { system: None, value };
        let author = Some("somebody".to_owned());
        let question = FindQuestion {
            identifier: Some(identifier),
            author: author.clone(),
            ..FindQuestion::default()
        };
        let found = match patients::find(&up.site, link, &question).await? {
            Answer::Given(found) => found,
            Answer::Refused(reason) => return Ok(format!("is not told: {reason}")),
        };
        let Some(hit) = found.patients.first() else { return Ok("finds nobody".to_owned()) };
        let question = FetchQuestion {
            patient: hit.patient.to_string(),
            reason: "is here for some days".to_owned(),
            days: Some(days),
            author,
        };
        Ok(match patients::fetch(&up.site, link, &question).await? {
            Answer::Given(fetched) => {
                self.log.count("visitors", u64::from(fetched.until.is_some()));
                let until = fetched.until.unwrap_or_else(|| "ever".to_owned());
                format!("{} is here until {until}: {:?}", hit.patient, fetched.read)
            }
            Answer::Refused(reason) => format!("{} is refused: {reason}", hit.patient),
        })
    }

    /// What is taken; with the number of the write where a person writes the record anew.
    fn choice(
        &self,
        site: usize,
        up: &Up,
        about: &ConflictInfo,
        chance: &SeededEntropy,
    ) -> Result<(Choice, Option<usize>), StoreError> {
        let deletion = about.elements.iter().any(|element| element.path == DELETED);
        let side = |chance: &SeededEntropy| {
            if chance.permille(500) { Side::Parent } else { Side::Child }
        };
        let choice = match chance.below(6) {
            0 if deletion => Choice::Delete,
            _ if deletion => Choice::Keep,
            0 | 1 => Choice::Side(Side::Parent),
            2 | 3 => Choice::Side(Side::Child),
            4 => {
                let chosen = about.elements.iter().map(|one| (one.path.clone(), side(chance)));
                Choice::Elements(chosen.collect::<BTreeMap<_, _>>())
            }
            _ => return self.rewrite(site, up, about, chance),
        };
        Ok((choice, None))
    }

    /// A person writes the record as it should be.
    fn rewrite(
        &self,
        site: usize,
        up: &Up,
        about: &ConflictInfo,
        chance: &SeededEntropy,
    ) -> Result<(Choice, Option<usize>), StoreError> {
        let found = up.site.store().record_get(&about.record, None, &Scope::Everything)?;
        let body = found.and_then(|version| version.body);
        let before = body.and_then(|body| serde_json::from_str::<serde_json::Value>(&body).ok());
        let Some(before) = before else { return Ok((Choice::Confirm, None)) };
        let mut after = before.clone();
        records::edit(&mut after, chance, &mut || self.oracle().fresh());
        let old = tokens_in(&before.to_string());
        let new = elements(&after);
        let kept = |token: &Token| new.iter().any(|(other, _)| other == token);
        let removed = old.iter().copied().filter(|token| !kept(token)).collect();
        let at = self.time.now().millis();
        let mut write = taking_away(about.record.clone(), site, at, removed);
        write.brought = new.into_iter().filter(|(token, _)| !old.contains(token)).collect();
        let number = self.oracle().tried(write);
        Ok((Choice::Edit(after.to_string()), Some(number)))
    }
}

/// The tokens of a record as it is now.
fn tokens_of(store: &dyn Store, record: &RecordRef) -> Result<BTreeSet<Token>, StoreError> {
    let found = store.record_get(record, None, &Scope::Everything)?;
    let body = found.and_then(|version| version.body).unwrap_or_default();
    Ok(tokens_in(&body).into_iter().collect())
}

/// Something at a site that took these tokens away.
fn taking_away(record: RecordRef, site: usize, at: i64, removed: BTreeSet<Token>) -> Written {
    Written {
        record,
        site,
        at,
        brought: Vec::new(),
        removed,
        beside: false,
        acknowledged: false,
        excused: None,
    }
}

/// The first patients of a site.
fn patients_of(limit: u32) -> SearchQuery {
    SearchQuery { kind: Some(ResourceType::PATIENT), limit, ..SearchQuery::default() }
}

/// The first identifier of a Patient.
fn identifier(body: &str) -> Option<String> {
    let patient: serde_json::Value = serde_json::from_str(body).ok()?;
    Some(patient.pointer("/identifier/0/value")?.as_str()?.to_owned())
}
