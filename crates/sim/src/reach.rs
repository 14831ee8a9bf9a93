//! The record system beside a site, as the site reaches it: questions and answers take their time,
//! and some are lost. Meanwhile its people go on, and the site may crash.

use std::sync::{Mutex, PoisonError};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use node::ports::{Capabilities, Emr, EmrError, EmrWrite, Noticed, Shown};
use protocol::RecordRef;

use crate::chance::SeededEntropy;
use crate::emr::{Faults, MemoryEmr};
use crate::op::{EmrHead, Holds};
use crate::time::WorldTime;

/// What a product holds that keeps the most of what the records of a world have.
#[rustfmt::skip]
const PART: &[(&str, &[&str])] = &[
    ("Patient", &[
        "identifier", "active", "name", "gender", "address", "telecom", "managingOrganization",
    ]),
    ("Practitioner", &["name"]),
    ("Location", &["name"]),
    ("Encounter", &["status", "class", "subject", "reasonCode", "serviceProvider"]),
    ("Observation", &["status", "code", "subject", "valueString"]),
    ("AllergyIntolerance", &["patient", "code", "reaction"]),
    ("MedicationRequest", &[
        "status", "intent", "subject", "medicationCodeableConcept", "dosageInstruction",
    ]),
];

fn part(kind: &str) -> Option<&'static [&'static str]> {
    PART.iter().find(|(known, _)| *known == kind).map(|(_, elements)| *elements)
}

/// A record system and the way to it. It outlives its site's lives.
pub(crate) struct Reach {
    pub(crate) emr: MemoryEmr,
    pub(crate) chance: SeededEntropy,
    time: WorldTime,
    way: Mutex<Way>,
}

/// What the way is like.
#[derive(Clone, Copy, Default)]
struct Way {
    delay: u64,
    loss: u32,
}

impl Reach {
    pub(crate) fn new(head: &EmrHead, chance: SeededEntropy, time: &WorldTime) -> Reach {
        let faults = match head.holds {
            Holds::All => Faults::NONE,
            Holds::Part => Faults { keeps: Some(part), integrity: true, ..Faults::NONE },
            Holds::LikeOpenmrs => Faults::LIKE_OPENMRS,
        };
        // Few in each answer: a comparison of all takes several, and may be cut short.
        let emr = MemoryEmr::new(Faults { portion: 10, lists: head.lists, ..faults });
        let way = Mutex::new(Way { delay: head.delay, loss: head.loss });
        Reach { emr, chance, time: time.clone(), way }
    }

    /// From now on nothing is slow or lost, and the system does what it is asked.
    pub(crate) fn mend(&self) {
        *self.way.lock().unwrap_or_else(PoisonError::into_inner) = Way::default();
        self.emr.mend();
    }

    /// A question on its way, or an answer.
    async fn pass(&self) -> Result<(), EmrError> {
        let Way { delay, loss } = *self.way.lock().unwrap_or_else(PoisonError::into_inner);
        let (millis, is_lost) = (self.chance.below(delay + 1), self.chance.permille(loss));
        if millis > 0 {
            self.time.sleep(millis).await;
        }
        if is_lost { Err(EmrError::away("the connection was reset")) } else { Ok(()) }
    }

    /// Writes one record and reads it back. Whoever saved it in between made another state of it,
    /// which is no image of ours: real systems tell by their versions.
    async fn write_one(&self, write: &EmrWrite) -> Result<Shown, EmrError> {
        self.pass().await?;
        let taken = self.emr.write(std::slice::from_ref(write)).await.pop();
        let taken = taken.unwrap_or(Err(EmrError::Changed))?;
        self.pass().await?;
        let now = self.emr.read(&write.record).await?;
        let is_ours = now.digest() == taken.digest();
        if is_ours { Ok(now) } else { Err(EmrError::Changed) }
    }
}

impl Emr for Reach {
    fn capabilities(&self) -> BoxFuture<'_, Result<Capabilities, EmrError>> {
        async move {
            self.pass().await?;
            self.emr.capabilities().await
        }
        .boxed()
    }

    fn changes_since<'a>(
        &'a self,
        cursor: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Noticed, EmrError>> {
        async move {
            self.pass().await?;
            let noticed = self.emr.changes_since(cursor).await?;
            self.pass().await?;
            Ok(noticed)
        }
        .boxed()
    }

    fn read<'a>(&'a self, record: &'a RecordRef) -> BoxFuture<'a, Result<Shown, EmrError>> {
        async move {
            self.pass().await?;
            let shown = self.emr.read(record).await?;
            self.pass().await?;
            Ok(shown)
        }
        .boxed()
    }

    fn write<'a>(&'a self, writes: &'a [EmrWrite]) -> BoxFuture<'a, Vec<Result<Shown, EmrError>>> {
        async move {
            let mut results = Vec::with_capacity(writes.len());
            for write in writes {
                results.push(self.write_one(write).await);
            }
            results
        }
        .boxed()
    }
}
