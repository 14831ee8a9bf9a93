//! Observations under other ids than ours: OpenMRS voids an obs that is edited and puts another one
//! with a uuid of its own in its place, whose `previous_version` is the old one. To us it is one
//! record, which keeps its id; the store keeps under which uuid it stands there now.

use std::collections::BTreeSet;

use axum::http::StatusCode;
use futures::StreamExt as _;
use protocol::RecordRef;
use serde_json::Value;

use super::OpenMrs;
use super::element::{items, text};
use super::person::is_uuid;
use crate::emr::ids::{self, Names, named_in, on_other_side, renamed};
use crate::ports::{EmrError, EmrWrite, Shown};
use store::EmrId;

/// Versions of one obs that are followed back.
const VERSIONS: usize = 20;

/// Whether records of this name may stand there under another.
fn may_move(record: &RecordRef) -> bool {
    record.kind.name() == "Observation"
}

impl OpenMrs {
    /// Under which name a record of ours stands there; none where it is the name of another one.
    pub(super) async fn place_of(&self, record: &RecordRef) -> Result<Option<RecordRef>, EmrError> {
        if !may_move(record) {
            return Ok(Some(record.clone()));
        }
        let one = BTreeSet::from([record.clone()]);
        if let Some(EmrId::Other(there)) = self.ids.there(one.clone()).await?.remove(record) {
            return Ok(Some(there));
        }
        let here = self.ids.here(one).await?.remove(record);
        Ok((!matches!(here, Some(EmrId::Other(_)))).then(|| record.clone()))
    }

    /// What is shown there, under our names.
    pub(super) async fn as_ours(&self, shown: Shown) -> Result<Shown, EmrError> {
        let Shown::Body(there) = shown else { return Ok(shown) };
        let named = named_in(&there).into_iter().filter(may_move).collect();
        let names = ids::others(self.ids.here(named).await?);
        Ok(Shown::Body(Box::new(renamed(&there, &names, &self.limits)?)))
    }

    /// What is to be written, under the names there, and those names.
    async fn as_theirs(&self, writes: &[EmrWrite]) -> Result<(Vec<EmrWrite>, Names), EmrError> {
        let mut named = BTreeSet::new();
        for write in writes {
            named.insert(write.record.clone());
            let bodies = [write.wanted.as_ref(), write.image.as_ref().and_then(Shown::body)];
            named.extend(bodies.into_iter().flatten().flat_map(named_in));
        }
        let named = named.into_iter().filter(may_move).collect::<BTreeSet<_>>();
        let names = ids::others(self.ids.there(named).await?);
        let there = writes.iter().map(|write| {
            let wanted = write.wanted.as_ref();
            let image = match &write.image {
                Some(Shown::Body(image)) => {
                    Some(Shown::Body(Box::new(renamed(image, &names, &self.limits)?)))
                }
                other => other.clone(),
            };
            Ok(EmrWrite {
                record: on_other_side(&names, &write.record),
                wanted: wanted.map(|wanted| renamed(wanted, &names, &self.limits)).transpose()?,
                image,
            })
        });
        let there = there.collect::<Result<Vec<_>, EmrError>>()?;
        Ok((there, names))
    }

    /// As the port says: one result a write, in their order. What was given another uuid by the
    /// edit is known by it from then on.
    pub(super) async fn write_ours(&self, writes: &[EmrWrite]) -> Vec<Result<Shown, EmrError>> {
        let (there, names) = match self.as_theirs(writes).await {
            Ok(there) => there,
            Err(error) => {
                let again = |_| Err(EmrError::away(error.to_string()));
                return writes.iter().map(again).collect();
            }
        };
        let mut done = self.write_all(&there).await;
        let mut moved = Vec::new();
        for ((write, there), done) in writes.iter().zip(&there).zip(&done) {
            if let Ok(Shown::Body(shown)) = done
                && shown.reference != there.record
            {
                moved.push((write.record.clone(), shown.reference.clone()));
            }
        }
        let kept = if moved.is_empty() { Ok(()) } else { self.ids.keep(moved).await };
        let back = names.into_iter().map(|(here, there)| (there, here)).collect::<Names>();
        let mut results = Vec::with_capacity(done.len());
        for done in done.drain(..) {
            results.push(match (done, &kept) {
                (Ok(shown), Ok(())) => self.as_ours(shown).await,
                (Ok(_), Err(error)) => Err(EmrError::away(error.to_string())),
                (Err(EmrError::Waits(target)), _) => {
                    Err(EmrError::Waits(on_other_side(&back, &target)))
                }
                (Err(error), _) => Err(error),
            });
        }
        results
    }

    /// What was noticed, under our names. An obs that is not known takes the place of the one that
    /// it is a later version of.
    pub(super) async fn as_our_names(
        &self,
        groups: Vec<Vec<RecordRef>>,
    ) -> Result<Vec<Vec<RecordRef>>, EmrError> {
        let moving = groups.iter().flatten().filter(|record| may_move(record));
        let known = self.ids.here(moving.cloned().collect()).await?;
        let mut names = Names::new();
        let mut unknown = Vec::new();
        for (there, id) in known {
            match id {
                EmrId::Other(here) => drop(names.insert(there, here)),
                EmrId::Unknown => unknown.push(there),
                EmrId::Same | EmrId::Due => {}
            }
        }
        // In a first load nothing is known that anything could be a version of.
        if !unknown.is_empty() && !self.is_first_load().await? {
            let origins = unknown.into_iter().map(|there| async move {
                let origin = self.origin(&there).await;
                origin.map(|origin| Some((there, origin?)))
            });
            let origins = origins.map(futures::FutureExt::boxed).collect::<Vec<_>>();
            let mut origins =
                futures::stream::iter(origins).buffer_unordered(self.config.at_once.max(1));
            while let Some(origin) = origins.next().await {
                names.extend(origin?);
            }
        }
        let named = groups.into_iter().map(|group| {
            let mut seen = BTreeSet::new();
            let named = group.into_iter().map(|record| on_other_side(&names, &record));
            named.filter(|record| seen.insert(record.clone())).collect()
        });
        Ok(named.collect())
    }

    async fn is_first_load(&self) -> Result<bool, EmrError> {
        let status = self.ids.ask(|store| store.emr_status()).await?;
        Ok(status.is_none_or(|status| status.loading && status.reload_reason.is_none()))
    }

    /// The record of ours of which this obs is the present version.
    async fn origin(&self, there: &RecordRef) -> Result<Option<RecordRef>, EmrError> {
        let mut at = there.clone();
        for step in 0..VERSIONS {
            let path = format!("obs/{}?v=custom:(uuid,voided,previousVersion:(uuid))", at.id());
            let Some(row) = self.row(&path).await? else { return Ok(None) };
            if step == 0 && row["voided"] == Value::Bool(true) {
                return Ok(None);
            }
            let previous = text(&row, "/previousVersion/uuid").filter(|uuid| is_uuid(uuid));
            let previous = previous.and_then(|uuid| RecordRef::new(there.kind, uuid).ok());
            let Some(previous) = previous else { return Ok(None) };
            if let Some(ours) = self.known_as(&previous).await? {
                self.ids.keep(vec![(ours.clone(), there.clone())]).await?;
                return Ok(Some(ours));
            }
            at = previous;
        }
        Ok(None)
    }

    /// The record of ours that an obs is, or was a version of.
    async fn known_as(&self, there: &RecordRef) -> Result<Option<RecordRef>, EmrError> {
        let one = BTreeSet::from([there.clone()]);
        match self.ids.here(one.clone()).await?.remove(there) {
            Some(EmrId::Other(ours)) => Ok(Some(ours)),
            Some(EmrId::Same) => Ok(Some(there.clone())),
            _ => {
                let moved = self.ids.there(one).await?.remove(there);
                Ok(matches!(moved, Some(EmrId::Other(_))).then(|| there.clone()))
            }
        }
    }

    /// What took the place of an obs that is voided: nothing, or a later version, which is the
    /// record from then on.
    pub(super) async fn successor(
        &self,
        record: &RecordRef,
        there: &RecordRef,
    ) -> Result<Shown, EmrError> {
        if !may_move(record) {
            return Ok(Shown::Gone);
        }
        let id = there.id();
        let path =
            format!("obs/{id}?v=custom:(uuid,person:(uuid),concept:(uuid),encounter:(uuid))");
        let Some(row) = self.row(&path).await? else { return Ok(Shown::Gone) };
        let uuid = |at: &str| text(&row, at).filter(|uuid| is_uuid(uuid));
        let among = match (uuid("/encounter/uuid"), uuid("/person/uuid"), uuid("/concept/uuid")) {
            (Some(encounter), ..) => format!("encounter={encounter}"),
            (None, Some(person), Some(concept)) => format!("patient={person}&concept={concept}"),
            _ => return Ok(Shown::Gone),
        };
        let versions = "previousVersion:(uuid,previousVersion:(uuid,previousVersion:(uuid)))";
        let path = format!("obs?{among}&v=custom:(uuid,voided,{versions})&limit=100");
        let found = self.row(&path).await?.unwrap_or_default();
        let is_later = |row: &&Value| {
            let mut previous = row.get("previousVersion");
            while let Some(version) = previous {
                if text(version, "/uuid") == Some(id) {
                    return row["voided"] != Value::Bool(true);
                }
                previous = version.get("previousVersion");
            }
            false
        };
        let later = items(&found, "results").iter().find(is_later);
        let later = later.and_then(|row| text(row, "/uuid")).filter(|uuid| is_uuid(uuid));
        let Some(later) = later.and_then(|uuid| RecordRef::new(there.kind, uuid).ok()) else {
            return Ok(Shown::Gone);
        };
        self.ids.keep(vec![(record.clone(), later.clone())]).await?;
        self.show(&later).await
    }

    /// A row by webservices.rest; none where it is not there, or not to be had in this way, so that
    /// it is as if nothing were known of versions.
    pub(super) async fn row(&self, path: &str) -> Result<Option<Value>, EmrError> {
        let answer = self.rest.get(&self.server, path).await?;
        match answer.status {
            StatusCode::OK => Ok(Some(answer.body)),
            status if matches!(status.as_u16(), 408 | 425 | 429 | 502 | 503 | 504) => {
                Err(EmrError::away(format!("OpenMRS answered {}", status.as_u16())))
            }
            _ => {
                let mut others = self.server.pages("Patient?_count=1")?;
                self.blamed(others.next().await).await?;
                Ok(None)
            }
        }
    }
}
