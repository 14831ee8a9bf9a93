//! Writing: read first, then as one transaction where that is offered, then read back.

use protocol::RecordRef;
use protocol::json;
use protocol::resource::references::{record_named, references};

use super::{FhirEmr, Looked, plain};
use crate::config::FhirIds;
use crate::fhir_server::{
    Action, Capabilities as Offered, EntryAnswer, FhirError, Private, transaction,
};
use crate::ports::{EmrError, EmrWrite, Shown};

type Outcome = Result<Shown, EmrError>;

/// One write that is to be done, and the version that the record has there now.
struct Due<'a> {
    place: usize,
    write: &'a EmrWrite,
    version: Option<String>,
    /// The server gives it an id of its own.
    is_new: bool,
}

/// What is to be done with a record that is not there as it is wanted.
enum First {
    /// This version is overwritten.
    Version(Option<String>),
    /// It gets an id there.
    Make,
}

impl FhirEmr {
    pub(super) async fn write_all(&self, writes: &[EmrWrite]) -> Vec<Outcome> {
        let offered = match self.offered().await {
            Ok(offered) => offered,
            Err(error) => return writes.iter().map(|_| Err(again(&error))).collect(),
        };
        let mut outcomes: Vec<Option<Outcome>> = writes.iter().map(|_| None).collect();
        let mut due = Vec::new();
        let names = writes.iter().map(|write| write.record.clone()).collect::<Vec<_>>();
        let looked = self.look_at(&names).await;
        for (place, (write, looked)) in writes.iter().zip(looked).enumerate() {
            match self.look_first(&offered, write, looked) {
                Ok(Ok(First::Version(version))) => {
                    due.push(Due { place, write, version, is_new: false });
                }
                Ok(Ok(First::Make)) => due.push(Due { place, write, version: None, is_new: true }),
                Ok(Err(shown)) => outcomes[place] = Some(Ok(shown)),
                Err(error) => outcomes[place] = Some(Err(error)),
            }
        }
        // Who refers to what was not written is refused too.
        let is_several = offered.transaction && due.len() > 1 && self.mode == FhirIds::Keep;
        let together = if is_several { self.together(&due).await.ok() } else { None };
        let mut done = Vec::with_capacity(due.len());
        for (at, one) in due.iter().enumerate() {
            let version = match &together {
                Some(versions) => Ok(versions.get(at).cloned().flatten()),
                None => self.one(one).await,
            };
            match version {
                Ok(version) => done.push((one, version)),
                Err(error) => outcomes[one.place] = Some(Err(error)),
            }
        }
        let names = done.iter().map(|(one, _)| one.write.record.clone()).collect::<Vec<_>>();
        for ((one, version), looked) in done.iter().zip(self.look_at(&names).await) {
            outcomes[one.place] = Some(look_after(version.as_deref(), looked));
        }
        outcomes.into_iter().map(|one| one.unwrap_or(Err(EmrError::Changed))).collect()
    }

    /// What is there before it is written: the version to be overwritten, or what needs no writing.
    fn look_first(
        &self,
        offered: &Offered,
        write: &EmrWrite,
        looked: Result<Looked, EmrError>,
    ) -> Result<Result<First, Shown>, EmrError> {
        let kind = offered.types.get(&write.record.kind).copied().unwrap_or_default();
        if !offered.types.is_empty() && !kind.update && !kind.create {
            let kind = write.record.kind;
            return Err(EmrError::Kept(format!("this server takes no {kind}")));
        }
        let (shown, version) = looked?;
        let is_wanted = match (&write.wanted, &shown) {
            (Some(wanted), Shown::Body(there)) => wanted.digest == there.digest,
            (None, Shown::Gone | Shown::Absent) => true,
            _ => false,
        };
        if is_wanted {
            return Ok(Err(shown));
        }
        if !FhirEmr::is_as_before(write.image.as_ref(), &shown) {
            return Err(EmrError::Changed);
        }
        let is_new = matches!(shown, Shown::Absent);
        if is_new && self.mode == FhirIds::Map {
            return Ok(Ok(First::Make));
        }
        if is_new && !kind.update_create {
            let words = "this server gives ids of its own: it cannot hold a record made elsewhere";
            return Err(EmrError::Kept(words.to_owned()));
        }
        Ok(Ok(First::Version(version.filter(|_| kind.if_match))))
    }

    /// All in one transaction; fails as a whole. Gives the versions that it told.
    async fn together(&self, due: &[Due<'_>]) -> Result<Vec<Option<String>>, FhirError> {
        let actions = due.iter().map(|one| match &one.write.wanted {
            Some(wanted) => Action::Put {
                record: &one.write.record,
                body: wanted.body.as_deref().unwrap_or_default(),
                if_match: one.version.as_deref(),
            },
            None => Action::Delete { record: &one.write.record },
        });
        let bundle = transaction(self.server.base(), actions);
        let deletes = due.iter().map(|one| one.write.wanted.is_none()).collect::<Vec<_>>();
        let answers = self.server.transact(bundle, &Private::default(), &deletes).await?;
        let told = answers.into_iter().map(|answer| match answer {
            EntryAnswer::Done(version) => Ok(version),
            EntryAnswer::Refused(_) => Err(FhirError::Unclear("a part was refused".to_owned())),
        });
        told.collect()
    }

    async fn one(&self, due: &Due<'_>) -> Result<Option<String>, EmrError> {
        let record = &due.write.record;
        let place = self.place_of(record).await?;
        let Some(wanted) = &due.write.wanted else {
            let Some(place) = place else { return Ok(None) };
            return self.server.delete(&place).await.map(|()| None).map_err(plain);
        };
        let done = match (place, due.is_new) {
            (Some(place), false) => {
                let theirs = self.as_theirs(wanted, Some(&place)).await?;
                let body = theirs.body.as_deref().unwrap_or_default();
                self.server.put(&place, body, due.version.as_deref()).await.map_err(plain)
            }
            _ => self.make(wanted).await.map(|()| None),
        };
        match done {
            Err(EmrError::Refused(why)) => {
                match self.lacking(wanted.body.as_deref().unwrap_or_default()).await? {
                    Some(target) => Err(EmrError::Waits(target)),
                    None => Err(EmrError::Refused(why)),
                }
            }
            done => done,
        }
    }

    /// The first record that a body refers to and that is not there.
    async fn lacking(&self, body: &str) -> Result<Option<RecordRef>, EmrError> {
        let Ok(resource) = json::parse(body.as_bytes(), json::DEPTH_MAX) else { return Ok(None) };
        let targets = references(&resource);
        let targets = targets.into_iter().filter_map(|(_, text)| record_named(&text.decode()));
        for target in targets.collect::<std::collections::BTreeSet<_>>() {
            // One of the same patient that was refused itself is waited for as well.
            if matches!(self.look(&target).await?.0, Shown::Absent | Shown::Gone) {
                return Ok(Some(target));
            }
        }
        Ok(None)
    }
}

/// What is there after `version` was written. Who saved it in between has made another one, which
/// is no image of ours.
fn look_after(version: Option<&str>, looked: Result<Looked, EmrError>) -> Outcome {
    let (shown, now) = looked?;
    match (version, now) {
        (Some(ours), Some(now)) if ours != now => Err(EmrError::Changed),
        _ => Ok(shown),
    }
}

/// The same failure once more.
fn again(error: &EmrError) -> EmrError {
    match error {
        EmrError::Away(error) => EmrError::Away(error.clone()),
        other => EmrError::away(other.to_string()),
    }
}
