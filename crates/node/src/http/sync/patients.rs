//! What a child asks about patients who are not its own: `POST /sync/patients/find` and `fetch`;
//! and, for its own, `POST /sync/feeds/{feed}/patients`: whole records ahead of the bulk lane.
//!
//! Names and reasons come in bodies only, and go into the audit only: no address, no log and no
//! error repeats them.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use protocol::stream::{self, Header};
use protocol::visit::{Denied, FetchQuestion, FindAnswer, FindQuestion};
use protocol::{Author, FeedId, RecordRef, SiteId, Timestamp, plain};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use store::{Asked, AuditRow, FeedSlice, Visiting, VisitorDraft};

use crate::http::api::shapes;
use crate::http::auth::Caller;
use crate::http::body;
use crate::http::error::{Failure, Problem};
use crate::http::sync::changes::note_sent;
use crate::http::sync::digests::compressed;
use crate::http::sync::{SMALL_BODY, child_of};
use crate::site::Site;

/// Header with the feed that a fetched patient is in: its name, its id, its newest position.
pub const FEED_HEADER: &str = "tributary-feed";
/// Header with the time at which a visit ends; not there for a patient of the child's own.
pub const UNTIL_HEADER: &str = "tributary-until";

const DAY: i64 = 86_400_000;

/// Shows a child whom its question fits.
pub async fn find(State(site): State<Site>, request: Request) -> Result<Json<FindAnswer>, Problem> {
    let (parts, payload) = request.into_parts();
    let child = asking(&parts, &site).await?;
    let asked: FindQuestion = question(&site, &parts, payload).await?;
    let author = author_of(asked.author(), &child);
    let wanted = match asked.wanted(&site.config().visitors) {
        Ok(wanted) => wanted,
        Err(denied) => {
            let detail = format!("{denied}; by {}", author.as_str());
            let row = ("patient-find-refused", "nobody".to_owned(), detail);
            return Err(refuse(&site, child, row, denied).await.into());
        }
    };
    let now = site.now();
    let found = site.read(move |store| store.patient_find(&wanted, &child, &author, now)).await?;
    let Asked::Answered(found) = found else { return Err(too_often(&site).into()) };
    let parent = site.config().parent.as_ref().map(|parent| parent.site.to_string());
    Ok(Json(FindAnswer { patients: found.patients, more: found.more, parent }))
}

/// Makes a patient a visitor of the child, and gives the whole record.
pub async fn fetch(State(site): State<Site>, request: Request) -> Result<Response, Problem> {
    let (parts, payload) = request.into_parts();
    let child = asking(&parts, &site).await?;
    let asked: FetchQuestion = question(&site, &parts, payload).await?;
    let author = author_of(asked.author(), &child);
    let visit = match asked.visit(&site.config().visitors, &site.config().limits) {
        Ok(visit) => visit,
        Err(denied) => {
            let most = site.config().limits.reason_chars;
            let reason = plain::line(&asked.reason, most);
            let subject = asked.patient().map_or("nobody".to_owned(), |who| who.to_string());
            let detail = format!("{denied}; by {}: {reason}", author.as_str());
            let row = ("patient-fetch-refused", subject, detail);
            return Err(refuse(&site, child, row, denied).await.into());
        }
    };
    let now = site.now();
    let draft = VisitorDraft {
        child,
        patient: visit.patient.clone(),
        reason: visit.reason,
        author,
        until: now.plus_millis(i64::from(visit.days) * DAY),
        feed: FeedId::from_random(site.entropy().uuid_bytes()),
    };
    let patient = visit.patient;
    let visiting = site.write(move |store| store.visitor_add(&draft, now)).await?;
    let Asked::Answered(visiting) = visiting else { return Err(too_often(&site).into()) };
    let Visiting::In { feed, until } = visiting else {
        return Err(not_fetched(&site, &patient, &visiting).into());
    };
    // Asked again: by now the child may read the cohort of its visitors.
    let slice = whole(&site, &parts, feed, vec![patient.clone()]).await?;
    let slice = slice.ok_or_else(|| not_fetched(&site, &patient, &Visiting::Unknown))?;
    Ok(answer(&parts, &slice, until)?)
}

/// What `POST /sync/feeds/{feed}/patients` takes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PatientsBody {
    /// At most `fetch_patients` patients.
    #[schemars(with = "Vec<shapes::Reference>")]
    pub patients: Vec<RecordRef>,
}

/// Gives whole records of patients of a feed, each as the bulk lane would bring it with its join.
/// Who is not in the feed (any more) is left out.
pub async fn of_feed(
    State(site): State<Site>,
    Path(feed): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, payload) = request.into_parts();
    child_of(&parts, &site).await?;
    let asked: PatientsBody = question(&site, &parts, payload).await?;
    let most = site.config().limits.fetch_patients;
    if asked.patients.len() > most {
        let detail = format!("it is over the limit fetch_patients = {most}");
        return Err(Failure::bad_request(detail).into());
    }
    let slice = whole(&site, &parts, feed, asked.patients).await?;
    let slice = slice.ok_or_else(|| Failure::not_found("there is no such feed"))?;
    note_sent(&site, &parts, &slice).await?;
    Ok(answer(&parts, &slice, None)?)
}

async fn asking(parts: &Parts, site: &Site) -> Result<SiteId, Failure> {
    match child_of(parts, site).await?.0 {
        Caller::Child { site: child, .. } => Ok(child),
        Caller::Program { .. } => Err(Failure::not_found("there is nothing here for programs")),
    }
}

/// The body. What is wrong with it is told without a word of it.
async fn question<T: DeserializeOwned>(
    site: &Site,
    parts: &Parts,
    payload: axum::body::Body,
) -> Result<T, Failure> {
    let bytes = body::read(site, &parts.headers, payload, SMALL_BODY).await?;
    serde_json::from_slice(&bytes)
        .map_err(|_| Failure::bad_request("the body is not the JSON that this route takes"))
}

fn author_of(author: Option<Author>, child: &SiteId) -> Author {
    author.unwrap_or_else(|| Author::new(&format!("child:{child}")))
}

/// Notes a refusal and gives it in the words for a person.
async fn refuse(
    site: &Site,
    child: SiteId,
    (action, subject, detail): (&'static str, String, String),
    denied: Denied,
) -> Failure {
    let row = AuditRow { actor: format!("child:{child}"), action, subject, detail };
    let now = site.now();
    match site.read(move |store| store.ask_refuse(&child, &row, now)).await {
        Ok(Asked::TooOften) => too_often(site),
        Err(error) => error.into(),
        Ok(Asked::Answered(())) => match denied {
            Denied::Incomplete(reason) => {
                Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", reason)
            }
            Denied::Forbidden(reason) => Failure::new(StatusCode::FORBIDDEN, "forbidden", reason),
        },
    }
}

fn too_often(site: &Site) -> Failure {
    let most = site.config().limits.asks_per_hour;
    let detail = format!("it is over the limit asks_per_hour = {most}; ask again in an hour");
    Failure::new(StatusCode::TOO_MANY_REQUESTS, "throttled", detail)
}

fn not_fetched(site: &Site, patient: &RecordRef, why: &Visiting) -> Failure {
    let here = site.id();
    match why {
        Visiting::Deleted => {
            Failure::new(StatusCode::GONE, "deleted", format!("{patient} was deleted at {here}"))
        }
        Visiting::ReplacedBy(other) => Failure::new(
            StatusCode::CONFLICT,
            "conflict",
            format!("{patient} was replaced by {other}: fetch that one"),
        ),
        Visiting::In { .. } | Visiting::Unknown => {
            let above = site.config().parent.as_ref().map_or(String::new(), |parent| {
                format!(
                    "; it may ask its own parent {}: fetch the patient there first",
                    parent.site
                )
            });
            Failure::not_found(format!("{here} has no {patient}{above}"))
        }
    }
}

/// Whole records, as far as the child may read the feed by now.
async fn whole(
    site: &Site,
    parts: &Parts,
    feed: String,
    patients: Vec<RecordRef>,
) -> Result<Option<FeedSlice>, Failure> {
    let (_, scope) = child_of(parts, site).await?;
    Ok(site.read(move |store| store.feed_patients(&feed, &patients, &scope)).await?)
}

fn answer(parts: &Parts, slice: &FeedSlice, until: Option<Timestamp>) -> Result<Response, Failure> {
    let head = Header {
        feed: slice.feed.id,
        epoch: slice.feed.epoch,
        sequence: slice.sequence,
        after: slice.head,
        head: slice.head,
        behind: 0,
        oldest: None,
    };
    let mut text = String::new();
    stream::write_header(&mut text, &head);
    for line in &slice.lines {
        stream::write_line(&mut text, line);
    }
    stream::write_end(&mut text, 0, slice.more);
    let mut response = compressed(&parts.headers, &text)?;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let feed = format!("{} {} {}", slice.feed.name, slice.feed.id, slice.head);
    let until = until.map(|until| (UNTIL_HEADER, until.to_string()));
    for (name, value) in [(FEED_HEADER, feed)].into_iter().chain(until) {
        let value = HeaderValue::try_from(value).map_err(|_| {
            let detail = "failed to write the answer's head";
            Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "exception", detail)
        })?;
        headers.insert(HeaderName::from_static(name), value);
    }
    Ok(response)
}
