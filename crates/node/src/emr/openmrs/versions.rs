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
use super::rest::{is_openmrs, refusal};
use crate::emr::ids::{self, Names, named_in, on_other_side, renamed};
use crate::ports::{EmrError, EmrWrite, Shown};
use store::EmrId;

/// Versions of one obs that are followed back.
const VERSIONS: usize = 200;
/// What is asked of earlier versions at once; what is before them is asked for by itself.
const PREVIOUS: &str = "previousVersion:(uuid,previousVersion:(uuid,previousVersion:(uuid)))";
/// Rows of a page of webservices.rest where its settings do not say otherwise, and pages that are
/// read of one list.
const ROWS: usize = 50;
const PAGES: usize = 40;

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
    /// it is a later version of; those that are `first` are known to be none.
    pub(super) async fn as_our_names(
        &self,
        groups: Vec<Vec<RecordRef>>,
        first: &BTreeSet<RecordRef>,
    ) -> Result<Vec<Vec<RecordRef>>, EmrError> {
        let moving = groups.iter().flatten().filter(|record| may_move(record));
        let known = self.ids.here(moving.cloned().collect()).await?;
        let mut names = Names::new();
        let mut unknown = Vec::new();
        for (there, id) in known {
            match id {
                EmrId::Other(here) => drop(names.insert(there, here)),
                EmrId::Unknown if !first.contains(&there) => unknown.push(there),
                EmrId::Unknown | EmrId::Same | EmrId::Due => {}
            }
        }
        // In a first load nothing is known that anything could be a version of.
        if !unknown.is_empty() && !self.is_first_load().await? {
            let origins = unknown.into_iter().map(|there| async move {
                match self.origin(&there).await {
                    Ok(origin) => Ok(origin.map(|origin| (there, origin))),
                    // Its own fault: it is a record of its own, and holds up no others.
                    Err(EmrError::Refused(why)) => {
                        tracing::warn!(record = %there, %why, "what it was before is not known");
                        Ok(None)
                    }
                    Err(error) => Err(error),
                }
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

    /// What is shown of a record where it stands there, or of what took its place.
    pub(super) async fn shown_at(
        &self,
        record: &RecordRef,
        there: &RecordRef,
    ) -> Result<Shown, EmrError> {
        match self.show(there).await? {
            Shown::Gone if record.is_patient() => self.merged(record).await,
            Shown::Gone => self.successor(record, there).await,
            shown => Ok(shown),
        }
    }

    /// What is shown of a record that is not (any more) where it stood under another name: in an
    /// OpenMRS that was restored from a backup it is what it was before it was edited.
    pub(super) async fn shown_as_before(
        &self,
        record: &RecordRef,
        shown: Shown,
    ) -> Result<Shown, EmrError> {
        let here = self.ids.here(BTreeSet::from([record.clone()])).await?.remove(record);
        if matches!(here, Some(EmrId::Other(_))) {
            return Ok(shown);
        }
        match self.shown_at(record, record).await? {
            Shown::Absent => Ok(shown),
            Shown::Body(body) if body.reference == *record => {
                self.ids.keep(vec![(record.clone(), record.clone())]).await?;
                Ok(Shown::Body(body))
            }
            before => Ok(before),
        }
    }

    /// What took the place of an obs that is voided: nothing, or a later version, which is the
    /// record from then on.
    async fn successor(&self, record: &RecordRef, there: &RecordRef) -> Result<Shown, EmrError> {
        if !may_move(record) || !self.is_of_ours(record).await? {
            return Ok(Shown::Gone);
        }
        let path = format!(
            "obs/{}?v=custom:(uuid,person:(uuid),concept:(uuid),encounter:(uuid))",
            there.id()
        );
        let Some(row) = self.row(&path).await? else { return Ok(Shown::Gone) };
        let uuid = |at: &str| text(&row, at).filter(|uuid| is_uuid(uuid));
        let among = match (uuid("/encounter/uuid"), uuid("/person/uuid"), uuid("/concept/uuid")) {
            (Some(encounter), ..) => format!("encounter={encounter}"),
            (None, Some(person), Some(concept)) => format!("patient={person}&concept={concept}"),
            _ => return Ok(Shown::Gone),
        };
        let Some(later) = self.later(there, &among).await? else { return Ok(Shown::Gone) };
        let here = self.ids.here(BTreeSet::from([later.clone()])).await?.remove(&later);
        match here {
            Some(EmrId::Same) => return Ok(Shown::Gone),
            Some(EmrId::Other(other)) if other != *record => return Ok(Shown::Gone),
            _ => self.ids.keep(vec![(record.clone(), later.clone())]).await?,
        }
        self.show(&later).await
    }

    /// Whether a record is one of ours, and not a version of one that came and went between two
    /// looks: that one's later version is not this record's.
    async fn is_of_ours(&self, record: &RecordRef) -> Result<bool, EmrError> {
        let there = self.ids.there(BTreeSet::from([record.clone()])).await?.remove(record);
        Ok(!matches!(there, None | Some(EmrId::Unknown)))
    }

    /// The later version of an obs that is not voided, in a list of them.
    async fn later(&self, there: &RecordRef, among: &str) -> Result<Option<RecordRef>, EmrError> {
        let mut start = 0;
        for _ in 0..PAGES {
            let path = format!("obs?{among}&v=custom:(uuid,voided,{PREVIOUS})&startIndex={start}");
            let found = self.row(&path).await?.unwrap_or_default();
            let rows = items(&found, "results");
            for row in rows.iter().filter(|row| row["voided"] != Value::Bool(true)) {
                if let Some(uuid) = text(row, "/uuid").filter(|uuid| is_uuid(uuid))
                    && self.is_after(row, there.id()).await?
                {
                    return Ok(RecordRef::new(there.kind, uuid).ok());
                }
            }
            let is_next = |link: &Value| text(link, "/rel") == Some("next");
            let more = rows.len() >= ROWS || items(&found, "links").iter().any(is_next);
            if rows.is_empty() || !more {
                return Ok(None);
            }
            start += rows.len();
        }
        Err(EmrError::Refused(
            "it is voided in OpenMRS, and there are too many others to see whether one of them is \
             a later version of it"
                .to_owned(),
        ))
    }

    /// Whether an obs is a later version of the one with this uuid.
    async fn is_after(&self, row: &Value, uuid: &str) -> Result<bool, EmrError> {
        let mut at = row.clone();
        let mut asked = false;
        for _ in 0..VERSIONS {
            match at.get("previousVersion") {
                Some(previous) if text(previous, "/uuid") == Some(uuid) => return Ok(true),
                Some(previous) if previous.is_object() => {
                    at = previous.clone();
                    asked = false;
                }
                // It is told no further back than was asked.
                None if !asked => {
                    let Some(own) = text(&at, "/uuid").filter(|uuid| is_uuid(uuid)) else {
                        return Ok(false);
                    };
                    let path = format!("obs/{own}?v=custom:(uuid,{PREVIOUS})");
                    let Some(row) = self.row(&path).await? else { return Ok(false) };
                    at = row;
                    asked = true;
                }
                _ => return Ok(false),
            }
        }
        Err(EmrError::Refused("another obs there has too many versions to see its first".into()))
    }

    /// A row by webservices.rest; none only where OpenMRS itself says that it is not there, or (an
    /// old one) that it cannot be asked so. Whatever else it answers says nothing of the row.
    pub(super) async fn row(&self, path: &str) -> Result<Option<Value>, EmrError> {
        let answer = self.rest.get(&self.server, path).await?;
        let why = match answer.status {
            StatusCode::OK if answer.body.is_object() => return Ok(Some(answer.body)),
            StatusCode::OK => return Err(EmrError::away("it answered a question without JSON")),
            StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST if is_openmrs(&answer.body) => {
                return Ok(None);
            }
            status => refusal(status, &answer.body, path),
        };
        let EmrError::Refused(why) = why else { return Err(why) };
        // Who is not let in learns nothing of any row.
        if matches!(answer.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Err(EmrError::away(why));
        }
        let mut others = self.server.pages("Patient?_count=1")?;
        match others.next().await {
            Ok(_) => Err(EmrError::Refused(why)),
            Err(_) => Err(EmrError::away(why)),
        }
    }
}
