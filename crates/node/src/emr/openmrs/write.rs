//! Writing records of one patient: read, plan, call, read back.

use std::collections::{BTreeMap, BTreeSet};

use protocol::RecordRef;
use serde_json::Value;

use super::OpenMrs;
use super::element::text;
use super::known::{Known, Stop};
use super::person::is_uuid;
use super::plan::{Image, Nested, Plan, nested, plan};
use crate::ports::{EmrError, EmrWrite, Shown};

/// How often a plan may ask before it is made.
const ROUNDS: usize = 16;

/// One record of a batch.
struct Turn<'a> {
    record: &'a RecordRef,
    wanted: Option<Value>,
    image: Option<Value>,
    was: Shown,
}

impl OpenMrs {
    /// As the port says: one result a write, in their order.
    pub(super) async fn write_all(&self, writes: &[EmrWrite]) -> Vec<Result<Shown, EmrError>> {
        let mut results = BTreeMap::new();
        let mut turns = Vec::new();
        for (at, write) in writes.iter().enumerate() {
            match self.begin(write).await {
                Ok(turn) => turns.push((at, turn)),
                Err(error) => drop(results.insert(at, Err(error))),
            }
        }
        let mut known = Known::new();
        let together = self.together(&turns, &mut known).await;
        let mut planned = BTreeSet::new();
        let mut done = BTreeSet::new();
        for (at, turn) in turns.iter().filter(|(_, turn)| !together.contains_key(turn.record)) {
            let inner = inner(turn.record, &together, &turns);
            let written = self.make(turn, &inner, &planned, &mut known).await;
            if written.is_ok() {
                planned.insert(turn.record.clone());
                done.extend(inner.iter().map(|(record, _)| record.clone()));
            }
            let alone = !inner.is_empty() && matches!(written, Err(EmrError::Refused(_)));
            let written = match alone {
                // One of those inside may be the culprit: each by itself shows which.
                true => self.make(turn, &[], &planned, &mut known).await,
                false => written,
            };
            results.insert(*at, self.settle(turn, written).await);
        }
        for (at, turn) in turns.iter().filter(|(_, turn)| together.contains_key(turn.record)) {
            let written = match done.contains(turn.record) {
                true => Ok(turn.record.clone()),
                false => self.make(turn, &[], &planned, &mut known).await,
            };
            results.insert(*at, self.settle(turn, written).await);
        }
        results.into_values().collect()
    }

    /// Reads the record as it is now. `Changed` where it is not what the image says.
    async fn begin<'a>(&self, write: &'a EmrWrite) -> Result<Turn<'a>, EmrError> {
        let was = self.show(&write.record).await?;
        let same = match (&write.image, &was) {
            (Some(image), was) => image.digest() == was.digest(),
            (None, Shown::Body(there)) => {
                write.wanted.as_ref().is_some_and(|wanted| wanted.digest == there.digest)
            }
            (None, Shown::Gone | Shown::Absent | Shown::Replaced(_)) => true,
        };
        if !same {
            return Err(EmrError::Changed);
        }
        let parsed = |body: Option<&String>| {
            body.map(|body| serde_json::from_str(body))
                .transpose()
                .map_err(|_| EmrError::Refused("its body cannot be read as JSON".to_owned()))
        };
        Ok(Turn {
            record: &write.record,
            wanted: parsed(write.wanted.as_ref().and_then(|record| record.body.as_ref()))?,
            image: parsed(was.body().and_then(|record| record.body.as_ref()))?,
            was,
        })
    }

    /// Which of the new records go in whose call: those whose own plans can be made.
    async fn together(&self, turns: &[(usize, Turn<'_>)], known: &mut Known) -> Nested {
        let new = turns.iter().filter(|(_, turn)| matches!(turn.was, Shown::Absent));
        let new = new.filter_map(|(_, turn)| Some((turn.record.clone(), turn.wanted.as_ref()?)));
        let mut new = new.collect::<Vec<_>>();
        let all = new.iter().map(|(record, _)| record.clone()).collect::<BTreeSet<_>>();
        let candidates = nested(&new);
        for record in candidates.keys() {
            let Some((_, turn)) = turns.iter().find(|(_, turn)| turn.record == record) else {
                continue;
            };
            if self.plan(turn, &[], &all, known).await.is_err() {
                new.retain(|(one, _)| one != record);
            }
        }
        let mut together = nested(&new);
        // Who is inside of one that is not written whole is written by itself.
        together.retain(|_, outer| new.iter().any(|(one, _)| one == outer));
        together
    }

    async fn plan(
        &self,
        turn: &Turn<'_>,
        inner: &[(RecordRef, Value)],
        planned: &BTreeSet<RecordRef>,
        known: &mut Known,
    ) -> Result<Plan, EmrError> {
        let image = match (&turn.was, &turn.image) {
            (Shown::Gone, _) => Image::Gone,
            (Shown::Body(_), Some(image)) => Image::There(image),
            _ => Image::Absent,
        };
        for _ in 0..ROUNDS {
            match plan(turn.record, turn.wanted.as_ref(), image, inner, planned, known) {
                Ok(plan) => return Ok(plan),
                Err(Stop::Ask(needs)) => self.look(needs, known).await?,
                Err(Stop::Refused(why)) => return Err(EmrError::Refused(why)),
                Err(Stop::Waits(record)) => return Err(EmrError::Waits(record)),
                Err(Stop::Kept(why)) => return Err(EmrError::Kept(why)),
            }
        }
        Err(EmrError::Refused("what has to be known of OpenMRS has no end".to_owned()))
    }

    /// Plans one record and makes the calls. Gives which record it is from then on.
    async fn make(
        &self,
        turn: &Turn<'_>,
        inner: &[(RecordRef, Value)],
        planned: &BTreeSet<RecordRef>,
        known: &mut Known,
    ) -> Result<RecordRef, EmrError> {
        let plan = self.plan(turn, inner, planned, known).await?;
        let made = self.call_all(turn.record, &plan).await?;
        if !plan.again {
            return Ok(made);
        }
        let was = self.show(turn.record).await?;
        let Shown::Body(there) = &was else {
            let words = "OpenMRS does not take back that it was deleted: un-void it there by hand";
            return Err(EmrError::Refused(words.to_owned()));
        };
        let image = there.body.as_deref().map(serde_json::from_str).transpose();
        let image = image.map_err(|_| EmrError::Refused("it shows no JSON".to_owned()))?;
        let again = Turn { record: turn.record, wanted: turn.wanted.clone(), image, was };
        let plan = self.plan(&again, &[], planned, known).await?;
        self.call_all(turn.record, &plan).await
    }

    async fn call_all(&self, record: &RecordRef, plan: &Plan) -> Result<RecordRef, EmrError> {
        let mut made = record.clone();
        let edited = format!("obs/{}", record.id());
        for call in &plan.calls {
            let answer = self.rest.call(&self.server, call).await;
            if matches!(answer, Err(EmrError::Refused(_))) {
                // Refused by one that answers: one that does not reads nothing either.
                let mut others = self.server.pages("Patient?_count=1")?;
                self.blamed(others.next().await).await?;
            }
            let answer = answer?;
            if call.path == edited
                && let Some(uuid) = text(&answer, "/uuid").filter(|uuid| is_uuid(uuid))
                && let Ok(later) = RecordRef::new(record.kind, uuid)
            {
                // The old one is voided.
                made = later;
            }
        }
        Ok(made)
    }

    /// Reads back what was written.
    async fn settle(
        &self,
        turn: &Turn<'_>,
        written: Result<RecordRef, EmrError>,
    ) -> Result<Shown, EmrError> {
        let shown = self.show(&written?).await?;
        if turn.wanted.is_some() && matches!(shown, Shown::Absent) {
            return Err(EmrError::Refused(
                "OpenMRS took it and does not show it under its id: webservices.rest 2.24 or newer \
                 and a fhir2 that knows this type are needed"
                    .to_owned(),
            ));
        }
        Ok(shown)
    }
}

/// The records that are created in the call of `outer`, those inside of them too.
fn inner(
    outer: &RecordRef,
    together: &Nested,
    turns: &[(usize, Turn<'_>)],
) -> Vec<(RecordRef, Value)> {
    let leads_here = |record: &RecordRef| {
        let mut at = together.get(record);
        while let Some(next) = at {
            if next == outer {
                return true;
            }
            at = together.get(next).filter(|further| *further != next);
        }
        false
    };
    let inside = turns.iter().filter(|(_, turn)| leads_here(turn.record));
    inside.filter_map(|(_, turn)| Some((turn.record.clone(), turn.wanted.clone()?))).collect()
}
