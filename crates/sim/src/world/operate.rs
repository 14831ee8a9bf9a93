//! What operators do: at the queue, with backups, with cohorts and children.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, Method, header};
use futures::StreamExt as _;
use node::http::auth::{EPOCH_HEADER, SITE_HEADER};
use node::jobs::{messages, round, visitors};
use node::ports::Request;
use protocol::delivery::DeliveryState;
use serde_json::json;
use store::{ConflictFilter, DeliveryAction, DeliveryChoice, DeliveryFilter, Scope};
use tokio::task::JoinHandle;

use super::Shared;
use crate::chance::SeededEntropy;
use crate::op::{Op, Step};
use crate::place::Up;

/// Conflicts that are read at a time.
pub(super) const CONFLICTS: usize = 10_000;

impl Shared {
    /// Notes the conflicts that a site knows of.
    pub(crate) fn harvest(&self, up: &Up) {
        let filter = ConflictFilter { limit: CONFLICTS, ..ConflictFilter::default() };
        let found = up.site.store().conflict_list(&filter, &Scope::Everything);
        let Ok(page) = found else { return };
        let mut oracle = self.oracle();
        for conflict in page.conflicts {
            let paths = conflict.elements.into_iter().map(|element| element.path);
            oracle.conflict(&conflict.record, &paths.collect::<Vec<_>>());
        }
    }

    /// What an operator does at a site that is up.
    pub(super) async fn operate(&self, step: &Step, up: &Up, chance: &SeededEntropy) {
        let (site, now) = (&up.site, up.site.now());
        let done = match &step.op {
            Op::Tidy => {
                round::retry_parked(site).await;
                messages::step(site).await;
                Ok(visitors::step(site).await)
            }
            Op::Retry => {
                let jitter = chance.next();
                let work = move |store: &dyn store::Store| {
                    let parked = DeliveryChoice::State(DeliveryState::Parked);
                    store.delivery_act(&parked, &DeliveryAction::Retry, now)?;
                    store.parked_retry(now, jitter, true)
                };
                site.write(work).await
            }
            Op::Park => {
                let filter = DeliveryFilter { limit: 20, ..DeliveryFilter::default() };
                let waiting = site.store().delivery_list(&filter).unwrap_or_default();
                let Some(one) = waiting.get(chance.place(waiting.len())) else { return };
                let which = DeliveryChoice::Sequences(vec![one.sequence]);
                let action = DeliveryAction::Park("parked by hand".to_owned());
                site.write(move |store| store.delivery_act(&which, &action, now)).await
            }
            Op::Backup => self.backup(step, up).await,
            Op::Resolve | Op::Confirm | Op::Reopen => self.decide(step, up, chance).await,
            Op::Merge => self.merge(up, chance).await,
            Op::Unmerge => self.unmerge(up, chance).await,
            _ => Ok(0),
        };
        let id = site.id();
        match done {
            Ok(count) => self.note(&format!("{id} {:?}: {count}", step.op)),
            Err(error) => self.note(&format!("{id} {:?} fails: {error}", step.op)),
        }
    }

    async fn backup(&self, step: &Step, up: &Up) -> Result<u64, store::StoreError> {
        let place = &self.places[step.site];
        let path = place.backup_file(self.number());
        let at = self.time.now().millis();
        let to = path.clone();
        up.site.read(move |store| store.site_backup(&to, &mut |_, _| {})).await?;
        place.backed_up(path, at);
        Ok(1)
    }

    /// The parent gives a site's cohort another definition.
    pub(super) fn redefine(&self, step: &Step) {
        let kinds = ["all", "places", "address", "listed", "group"];
        let chance = SeededEntropy::new(step.seed, "redefine");
        let kind = kinds[chance.place(kinds.len())];
        let done = self.make_cohort(&self.places[step.site], kind);
        let said = done.map_or_else(|error| format!("{error:#}"), |()| kind.to_owned());
        self.note(&format!("cohort of {}: {said}", self.places[step.site].id));
    }

    /// The parent ends a site's access; some time later the site joins again.
    pub(super) fn revoke(self: &Arc<Shared>, step: &Step) -> Option<JoinHandle<()>> {
        let place = &self.places[step.site];
        let parent = place.parent?;
        let above = self.places[parent].up()?;
        // What fails is tried again when the site joins.
        drop(above.site.store().child_revoke(&place.id, above.site.now()));
        self.log.count("revocations", 1);
        let (shared, step) = (Arc::clone(self), step.clone());
        Some(tokio::spawn(async move {
            shared.time.sleep(step.seed % 7_200_000).await;
            shared.rejoin(step.site).await;
        }))
    }

    /// A site whose access was ended joins again and starts with its new credential.
    pub(super) async fn rejoin(&self, site: usize) {
        let place = &self.places[site];
        let Some(parent) = place.parent else { return };
        let joined = self.join(place, parent).await;
        let started = joined.and_then(|()| {
            place.crash()?;
            place.start()
        });
        let said = started.map_or_else(|error| format!("{error:#}"), |()| "joined".to_owned());
        self.note(&format!("{} again: {said}", place.id));
    }

    /// Somebody has a child's credential and asks for everything: what comes is looked at.
    pub(super) fn probe(self: &Arc<Shared>, step: &Step) -> Option<JoinHandle<()>> {
        let place = &self.places[step.site];
        let up = place.up()?;
        let parent = &self.places[place.parent?];
        let chance = SeededEntropy::new(step.seed, "probe");
        let record = {
            let oracle = self.oracle();
            let writes = oracle.writes();
            writes.get(chance.place(writes.len())).map(|write| write.record.clone())?
        };
        let paths = probes(&record, &parent_feeds(self, place.index));
        let credential = format!("Bearer {}", up.site.credential()?);
        let epoch = up.site.store().site().ok()?.epoch.to_string();
        let headers = headers(&credential, place.id.as_str(), &epoch)?;
        let (shared, url, site) = (Arc::clone(self), parent.url.clone(), up.site.clone());
        Some(tokio::spawn(async move {
            for path in paths {
                let (path, body) = path;
                let request = Request {
                    method: if body.is_empty() { Method::GET } else { Method::POST },
                    url: format!("{url}{path}"),
                    headers: headers.clone(),
                    body: bytes::Bytes::from(body),
                    idle_seconds: 60,
                };
                let answer = site.transport().send(request).await;
                if let Ok(mut answer) = answer {
                    while let Some(Ok(_)) = answer.body.next().await {}
                    shared.log.count("probes", 1);
                }
            }
        }))
    }
}

/// The feeds of others at the parent of a site.
fn parent_feeds(shared: &Shared, site: usize) -> Vec<String> {
    let parent = shared.places[site].parent.unwrap_or(0);
    let mut feeds =
        shared.children(parent).map(|other| format!("of-{}", other.id)).collect::<Vec<_>>();
    feeds.push("outgoing".to_owned());
    feeds.push("reference".to_owned());
    feeds
}

/// What is asked: paths, each with the body that is posted to it, if it is not empty.
fn probes(record: &protocol::RecordRef, feeds: &[String]) -> Vec<(String, String)> {
    let kind = record.kind;
    let mut paths = vec![
        format!("/fhir/{record}"),
        format!("/fhir/{record}/_history"),
        format!("/fhir/{record}/_history/1"),
        format!("/fhir/{kind}?_count=50"),
        format!("/fhir/{kind}/_history?_count=50"),
        "/fhir/_history?_count=50".to_owned(),
        format!("/fhir/Patient/{}/$everything", record.id()),
    ];
    for feed in feeds {
        paths.push(format!("/feeds/{feed}/recent"));
        paths.push(format!("/feeds/{feed}/1"));
        paths.push(format!("/sync/feeds/{feed}/digests"));
        paths.push(format!("/sync/feeds/{feed}/summary"));
        paths.push(format!("/sync/feeds/{feed}/changes?after=0"));
        paths.push(format!("/sync/feeds/{feed}/changes?after=0&lane=bulk"));
    }
    let mut asked = paths.into_iter().map(|path| (path, String::new())).collect::<Vec<_>>();
    let patient = format!("Patient/{}", record.id());
    for feed in feeds {
        let records = json!({"records": [record, patient]}).to_string();
        asked.push((format!("/sync/feeds/{feed}/fetch"), records));
        let patients = json!({"patients": [patient]}).to_string();
        asked.push((format!("/sync/feeds/{feed}/patients"), patients));
    }
    asked
}

fn headers(credential: &str, site: &str, epoch: &str) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, HeaderValue::from_str(credential).ok()?);
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(SITE_HEADER, HeaderValue::from_str(site).ok()?);
    headers.insert(EPOCH_HEADER, HeaderValue::from_str(epoch).ok()?);
    Some(headers)
}
