//! Patients who are not here, at the child: asking the parent who somebody is, fetching a record
//! for some days, and fetching those who joined behind a long bulk lane.

use axum::http::StatusCode;
use bytes::Bytes;
use protocol::stream::Lane;
use protocol::visit::{FetchQuestion, FindAnswer, FindQuestion};
use protocol::{Epoch, RecordRef};
use serde::Serialize;
use store::{AuditRow, JoinsAhead, Marker};

use crate::http::sync::patients::{FEED_HEADER, PatientsBody, UNTIL_HEADER};
use crate::http::sync::status::{FeedHead, ParentView};
use crate::jobs::link::{Link, ours, refused};
use crate::jobs::pull::{self, Read, Target};
use crate::jobs::round;
use crate::ports::{LinkError, Response};
use crate::site::Site;
use crate::wire::Coding;

/// What the parent made of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer<T> {
    /// It answered.
    Given(T),
    /// It refused, for this reason.
    Refused(String),
}

/// A record that was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// What was read and applied.
    pub read: Read,
    /// When the visit ends (RFC 3339); `None` where the patient is of this site's own.
    pub until: Option<String>,
}

/// Asks the parent who fits. Both sites have it in their audit.
pub async fn find(
    site: &Site,
    link: &Link,
    question: &FindQuestion,
) -> Result<Answer<FindAnswer>, LinkError> {
    let response = post(site, link, "/sync/patients/find", question).await?;
    let status = response.status;
    let text = link.text(response).await?;
    let author = question.author.as_deref().unwrap_or("nobody named");
    if status != StatusCode::OK {
        let reason = words(status, &text)?;
        let detail = format!("by {author}; {reason}");
        note(site, "patient-find-refused", "nobody".to_owned(), detail).await?;
        return Ok(Answer::Refused(reason));
    }
    let answer: FindAnswer = serde_json::from_slice(&text)
        .map_err(|_| LinkError("the parent's answer is not that of a Tributary site".into()))?;
    let shown: Vec<String> = answer.patients.iter().map(|hit| hit.patient.to_string()).collect();
    let subject = if shown.is_empty() { "nobody".to_owned() } else { shown.join(" ") };
    note(site, "patient-find", subject, format!("by {author}")).await?;
    Ok(Answer::Given(answer))
}

/// Fetches a patient's whole record for some days. It may run beside a round: no marker moves.
/// Repeating it after a cut does no harm.
pub async fn fetch(
    site: &Site,
    link: &Link,
    question: &FetchQuestion,
) -> Result<Answer<Fetched>, LinkError> {
    let author = question.author.as_deref().unwrap_or("nobody named");
    let asked = format!("by {author}: {}", question.reason.trim());
    note(site, "patient-fetch-asked", question.patient.clone(), asked).await?;
    let view = round::hear(site, link).await?;
    round::check_parent(link, &view)?;
    check_epoch(site, &view).await?;
    let response = post(site, link, "/sync/patients/fetch", question).await?;
    if response.status != StatusCode::OK {
        let status = response.status;
        let text = link.text(response).await?;
        let reason = words(status, &text)?;
        note(site, "patient-fetch-refused", question.patient.clone(), reason.clone()).await?;
        return Ok(Answer::Refused(reason));
    }
    let feed = feed_of(&response)?;
    let until = response.headers.get(UNTIL_HEADER).and_then(|value| value.to_str().ok());
    let until = until.map(str::to_owned);
    begin(site, &feed, view.epoch).await?;
    let read = pull::apply(site, link, Target::ahead(feed, view.epoch), response).await?;
    link.note(site).await?;
    let detail = format!("records {}, parked {}", read.written, read.parked);
    note(site, "patient-fetch", question.patient.clone(), detail).await?;
    Ok(Answer::Given(Fetched { read, until }))
}

/// Fetches those who joined far ahead of the bulk lane, a few in one request; whether there were
/// any. A patient who is transferred here has not to wait behind a first load.
pub async fn fetch_ahead(
    site: &Site,
    link: &Link,
    view: &ParentView,
) -> Result<Option<Read>, LinkError> {
    for feed in &view.feeds {
        let (id, epoch) = (feed.id, view.epoch);
        let joins = site.read(move |store| store.joins_ahead(&id, &epoch)).await;
        let joins = joins.map_err(|error| ours(&error))?;
        if joins == JoinsAhead::default() {
            continue;
        }
        let read = match &joins.patients[..] {
            [] => None,
            patients => ahead_of(site, link, view, feed, patients).await?,
        };
        // Those that the parent cannot be asked for are asked for again.
        let asked = if read.is_some() { joins.patients } else { Vec::new() };
        let joins = JoinsAhead { patients: asked, position: joins.position };
        let looked = site.read(move |store| store.joins_looked_at(&id, &epoch, &joins));
        looked.await.map_err(|error| ours(&error))?;
        if read.is_some() {
            return Ok(read);
        }
    }
    Ok(None)
}

/// `None` where the parent's program does not know how: then the bulk lane brings them.
async fn ahead_of(
    site: &Site,
    link: &Link,
    view: &ParentView,
    feed: &FeedHead,
    patients: &[RecordRef],
) -> Result<Option<Read>, LinkError> {
    let path = format!("/sync/feeds/{}/patients", feed.name);
    let body = PatientsBody { patients: patients.to_vec() };
    let response = post(site, link, &path, &body).await?;
    match response.status {
        StatusCode::OK => {
            let target = Target::ahead(feed.clone(), view.epoch);
            pull::apply(site, link, target, response).await.map(Some)
        }
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::BAD_REQUEST => {
            Ok(None)
        }
        status => {
            let text = link.text(response).await.unwrap_or_default();
            Err(refused(status, &text))
        }
    }
}

async fn post(
    site: &Site,
    link: &Link,
    path: &str,
    question: &impl Serialize,
) -> Result<Response, LinkError> {
    let body = serde_json::to_vec(question).map_err(|error| LinkError(error.to_string()))?;
    link.post(site, path, Bytes::from(body), Coding::Identity).await
}

/// Why the parent refused, in its own words; an error where it is the link or the parent that
/// failed.
fn words(status: StatusCode, text: &[u8]) -> Result<String, LinkError> {
    if status.is_server_error() || status.is_redirection() {
        return Err(refused(status, text));
    }
    let problem = serde_json::from_slice::<serde_json::Value>(text).ok();
    let detail = problem.as_ref().and_then(|problem| problem.get("detail")?.as_str());
    match detail {
        Some(detail) if detail.starts_with("there is nothing at ") => {
            Ok("the parent's program is too old for this: have it upgraded".to_owned())
        }
        Some(detail) => Ok(detail.to_owned()),
        None => Err(refused(status, text)),
    }
}

async fn note(
    site: &Site,
    action: &'static str,
    subject: String,
    detail: String,
) -> Result<(), LinkError> {
    let row = AuditRow { actor: "operator".to_owned(), action, subject, detail };
    let now = site.now();
    let noted = site.read(move |store| store.audit_append(&row, now)).await;
    noted.map_err(|error| ours(&error))
}

/// A parent that was restored is compared with first: what it says now cannot be put in order
/// with what it said before.
async fn check_epoch(site: &Site, view: &ParentView) -> Result<(), LinkError> {
    let markers = site.read(|store| store.marker_list()).await.map_err(|error| ours(&error))?;
    let is_of = |marker: &Marker| view.feeds.iter().any(|feed| feed.id == marker.feed);
    if markers.iter().any(|marker| is_of(marker) && marker.epoch != view.epoch) {
        let reason = "the parent was restored and is not compared with yet: run `tributary sync`";
        return Err(LinkError(reason.to_owned()));
    }
    Ok(())
}

fn feed_of(response: &Response) -> Result<FeedHead, LinkError> {
    let odd = || LinkError("the parent's answer does not say which feed it is of".to_owned());
    let said = response.headers.get(FEED_HEADER).and_then(|value| value.to_str().ok());
    let parts: Vec<&str> = said.ok_or_else(odd)?.split(' ').collect();
    let [name, id, head] = parts[..] else { return Err(odd()) };
    Ok(FeedHead {
        id: id.parse().map_err(|_| odd())?,
        name: name.to_owned(),
        head: head.parse().map_err(|_| odd())?,
        head_join: 0,
    })
}

/// Before the first record of a feed comes: the live lane begins where the parent read it, so
/// that the end of the visit is not missed.
async fn begin(site: &Site, feed: &FeedHead, epoch: Epoch) -> Result<(), LinkError> {
    let (id, name, head, now) = (feed.id, feed.name.clone(), feed.head, site.now());
    let begun = site.write(move |store| {
        // A feed of this name that was another one's is compared with when a round meets it.
        if store.marker_list()?.iter().any(|marker| marker.feed == id || marker.name == name) {
            return Ok(());
        }
        let marker =
            |lane, position| Marker { feed: id, name: name.clone(), epoch, lane, position };
        store.marker_set(&[marker(Lane::Live, head), marker(Lane::Bulk, 0)], now)
    });
    begun.await.map_err(|error| ours(&error))
}
