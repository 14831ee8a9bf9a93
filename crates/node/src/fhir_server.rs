//! A FHIR R4 server that is no Tributary site: what it can do, its records, and writing there.
//!
//! What goes wrong is of two kinds, which are never taken for each other: the link or the whole
//! server fails ([`FhirError::Away`]), which says nothing of any record; or a record is refused.
//! Reasons name ids and elements, never what a record says.

mod bundle;
mod capabilities;
mod login;
mod outcome;
mod pages;
mod read;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use bytes::Bytes;
use protocol::resource::Record;
use protocol::resource::references::record_named;
use protocol::{Limits, RecordRef};
use reqwest::Url;

pub use self::bundle::{Action, EntryAnswer, transaction};
pub use self::capabilities::{Capabilities, TypeCapabilities};
pub use self::login::Login;
pub use self::outcome::{Private, told as told_of};
pub use self::pages::{Found, Page, Pages};
pub use self::read::Read;
use crate::ports::{Clock, Entropy, LinkError, Request, Response, Transport};
use crate::transport::answer::text;

/// Bytes of one answer: a page of a hundred long records, or the answer to a large Bundle.
const ANSWER_BYTES: u64 = 32 << 20;
/// Bytes of an answer that only says what went wrong.
const OUTCOME_BYTES: u64 = 1 << 20;
/// Seconds that one answer may take in all, however steadily it comes.
const ANSWER_SECONDS: u64 = 900;
/// The longest `Retry-After` that is believed, in seconds.
const WAIT_SECONDS: u64 = 3_600;
/// What is sent and asked for.
const FHIR_JSON: &str = "application/fhir+json";

/// The ports that a client works through.
#[derive(Clone)]
pub struct Ways {
    /// The way there.
    pub transport: Arc<dyn Transport>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub entropy: Arc<dyn Entropy>,
    /// Seconds without any byte after which a request is given up.
    pub idle_seconds: u64,
}

/// One server.
pub struct FhirServer {
    /// With a slash at its end, so that what is relative stays below it.
    base: Url,
    login: Login,
    ways: Ways,
    limits: Limits,
}

/// Why a server did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FhirError {
    /// The link or the server failed: says nothing of any record.
    #[error("{error}")]
    Away {
        /// Why, in plain words.
        error: LinkError,
        /// After how many seconds it wants to be asked again.
        wait: Option<u64>,
    },
    /// It failed at this (500), or forbids it (403), and does not say whether it would at
    /// everything. It is of the record where others get through, and of the server where none do.
    #[error("{0}")]
    Unclear(String),
    /// It refuses this record, and would again.
    #[error("{0}")]
    Refused(String),
    /// That was more than it takes in one request.
    #[error("{0}")]
    TooMuch(String),
    /// The record is not any more what `If-Match` says (412).
    #[error("it was changed there meanwhile")]
    Changed,
}

impl From<LinkError> for FhirError {
    fn from(error: LinkError) -> FhirError {
        FhirError::Away { error, wait: None }
    }
}

impl From<FhirError> for LinkError {
    /// For who asks about the server itself: whatever it was, the server is what failed.
    fn from(error: FhirError) -> LinkError {
        match error {
            FhirError::Away { error, .. } => error,
            other => LinkError(other.to_string()),
        }
    }
}

impl FhirServer {
    /// The server at a base URL (`https://host/fhir`).
    pub fn new(
        base: &str,
        login: Login,
        ways: Ways,
        limits: &Limits,
    ) -> Result<FhirServer, LinkError> {
        let base = Url::parse(&format!("{}/", base.trim_end_matches('/')));
        let base = base.map_err(|_| LinkError("its url cannot be read".to_owned()))?;
        Ok(FhirServer { base, login, ways, limits: limits.clone() })
    }

    /// Its base URL, with a slash at its end.
    pub fn base(&self) -> &Url {
        &self.base
    }

    /// What it says that it can do.
    pub async fn capabilities(&self) -> Result<Capabilities, FhirError> {
        let url = self.below("metadata")?;
        let response = self.ask(Method::GET, &url, FHIR_JSON, (Bytes::new(), &[])).await?;
        if response.status != StatusCode::OK {
            return Err(self.fault(response, &Private::default(), Asked::Server).await);
        }
        let body = self.body(response, ANSWER_BYTES).await?;
        Ok(Capabilities::read(&body)?)
    }

    /// Writes a record under its own id; gives its version there, where that is told. `if_match`
    /// is the version that it must still be.
    pub async fn put(
        &self,
        record: &RecordRef,
        body: &str,
        if_match: Option<&str>,
    ) -> Result<Option<String>, FhirError> {
        let url = self.of(record)?;
        let tag = if_match.map(|version| format!("W/\"{version}\""));
        let mut more = vec![("prefer", "return=minimal"), ("content-type", FHIR_JSON)];
        more.extend(tag.as_deref().map(|tag| ("if-match", tag)));
        let sent = Bytes::from(body.to_owned());
        let response = self.ask(Method::PUT, &url, FHIR_JSON, (sent, &more)).await?;
        match response.status {
            StatusCode::PRECONDITION_FAILED if if_match.is_some() => Err(FhirError::Changed),
            status if status.is_success() => {
                let version = version_of(&response.headers);
                self.body(response, self.record_bytes()).await?;
                Ok(version)
            }
            _ => Err(self
                .fault(response, &Private { bodies: &[body], names: &[record] }, Asked::Write)
                .await),
        }
    }

    /// Makes a record under an id of the server's own; `record` is what it is here. Gives what it
    /// is there.
    pub async fn post(&self, record: &RecordRef, body: &str) -> Result<RecordRef, FhirError> {
        let url = self.below(record.kind.name())?;
        let more = [("prefer", "return=minimal"), ("content-type", FHIR_JSON)];
        let sent = Bytes::from(body.to_owned());
        let response = self.ask(Method::POST, &url, FHIR_JSON, (sent, &more)).await?;
        if !response.status.is_success() {
            let private = Private { bodies: &[body], names: &[record] };
            return Err(self.fault(response, &private, Asked::Write).await);
        }
        let place = response.headers.get(header::LOCATION).and_then(|place| place.to_str().ok());
        let place = place.and_then(|place| record_named(place.trim_start_matches('/')));
        let body = self.body(response, self.record_bytes()).await?;
        let told = || Record::parse(&body, &self.limits).ok().map(|record| record.reference);
        let made = place.or_else(told).filter(|made| made.kind == record.kind);
        made.ok_or_else(|| LinkError("it does not say what it made".to_owned()).into())
    }

    /// Deletes a record; one that is not there is deleted already.
    pub async fn delete(&self, record: &RecordRef) -> Result<(), FhirError> {
        let url = self.of(record)?;
        let response = self.ask(Method::DELETE, &url, FHIR_JSON, (Bytes::new(), &[])).await?;
        match response.status {
            StatusCode::GONE | StatusCode::NOT_FOUND => self.says_so(response).await.map(drop),
            status if status.is_success() => {
                Ok(self.body(response, OUTCOME_BYTES).await.map(drop)?)
            }
            _ => Err(self
                .fault(response, &Private { bodies: &[], names: &[record] }, Asked::Write)
                .await),
        }
    }

    /// Sends a transaction Bundle (of [`transaction`]); gives what became of each entry.
    pub async fn transact(
        &self,
        bundle: String,
        private: &Private<'_>,
        deletes: &[bool],
    ) -> Result<Vec<EntryAnswer>, FhirError> {
        let more = [("prefer", "return=minimal"), ("content-type", FHIR_JSON)];
        let url = self.root();
        let response = self.ask(Method::POST, &url, FHIR_JSON, (bundle.into(), &more)).await?;
        if !response.status.is_success() {
            return Err(self.fault(response, private, Asked::Bundle).await);
        }
        let body = self.body(response, ANSWER_BYTES).await?;
        Ok(bundle::answers(&body, deletes, private)?)
    }

    /// Posts a message; gives the answer, which may be empty.
    pub async fn process_message(
        &self,
        message: String,
        private: &Private<'_>,
    ) -> Result<Vec<u8>, FhirError> {
        let url = self.below("$process-message")?;
        let more = [("content-type", FHIR_JSON)];
        let response = self.ask(Method::POST, &url, FHIR_JSON, (message.into(), &more)).await?;
        match response.status {
            status if status.is_success() => Ok(self.body(response, OUTCOME_BYTES).await?),
            _ => Err(self.fault(response, private, Asked::Bundle).await),
        }
    }

    /// `GET` of anything on this server, any status but those that say that we are not let in or
    /// are somewhere else.
    pub async fn get(&self, url: &Url, accept: &'static str) -> Result<Response, FhirError> {
        self.ask(Method::GET, url, accept, (Bytes::new(), &[])).await
    }

    /// A request to another API of the same application, with the same login: its status and body.
    /// `body` is JSON. Fails where the answer says that we are not let in or are somewhere else.
    pub async fn other(
        &self,
        method: Method,
        url: &Url,
        body: Option<String>,
    ) -> Result<(StatusCode, Vec<u8>), FhirError> {
        let json = "application/json";
        let more = [("content-type", json)];
        let more = if body.is_some() { &more[..] } else { &[] };
        let sent = Bytes::from(body.unwrap_or_default());
        let response = self.ask(method, url, json, (sent, more)).await?;
        let status = response.status;
        Ok((status, self.body(response, ANSWER_BYTES).await?))
    }

    fn below(&self, path: &str) -> Result<Url, LinkError> {
        let odd = || LinkError("its url cannot be extended".to_owned());
        let url = self.base.join(path).map_err(|_| odd())?;
        // What a server once gave as the path of a page leads to no other host.
        if url.origin() == self.base.origin() { Ok(url) } else { Err(odd()) }
    }

    fn of(&self, record: &RecordRef) -> Result<Url, FhirError> {
        if matches!(record.id(), "." | "..") {
            // FHIR allows them, and every URL takes them for a way to somewhere else.
            return Err(FhirError::Refused(format!("no URL can name {record}")));
        }
        Ok(self.below(&record.to_string())?)
    }

    /// The base URL as Bundles are posted to.
    fn root(&self) -> Url {
        let mut root = self.base.clone();
        if root.path() != "/" {
            root.set_path(self.base.path().trim_end_matches('/'));
        }
        root
    }

    /// Bytes of one record in an answer: somewhat more than we would take, which is told then.
    fn record_bytes(&self) -> u64 {
        self.limits.resource_bytes as u64 + (64 << 10)
    }

    /// The whole body; a page for people is none.
    async fn body(&self, response: Response, most: u64) -> Result<Vec<u8>, LinkError> {
        no_page(self.whole(response, most).await?)
    }

    /// The whole body, whatever it is.
    async fn whole(&self, response: Response, most: u64) -> Result<Vec<u8>, LinkError> {
        self.in_time(text(response, most)).await
    }

    async fn in_time<T>(
        &self,
        reading: impl Future<Output = Result<T, LinkError>>,
    ) -> Result<T, LinkError> {
        let late = self.ways.clock.sleep(ANSWER_SECONDS * 1_000);
        tokio::select! {
            biased;
            body = reading => body,
            () = late => {
                Err(LinkError(format!("its answer was not over after {ANSWER_SECONDS} s")))
            }
        }
    }

    /// One request, answered by the server and by one that lets us in.
    async fn ask(
        &self,
        method: Method,
        url: &Url,
        accept: &'static str,
        sent: (Bytes, &[(&'static str, &str)]),
    ) -> Result<Response, FhirError> {
        checked(self.answer(method, url, accept, sent).await?)
    }

    /// One request, with the login. Where the token was refused, once more with another one.
    async fn answer(
        &self,
        method: Method,
        url: &Url,
        accept: &'static str,
        (body, more): (Bytes, &[(&'static str, &str)]),
    ) -> Result<Response, FhirError> {
        let mut again = true;
        loop {
            let headers = self.headers(&method, accept, more).await?;
            let request = Request {
                method: method.clone(),
                url: url.to_string(),
                headers,
                body: body.clone(),
                idle_seconds: self.ways.idle_seconds,
            };
            let response = self.ways.transport.send(request).await?;
            // One that is refused is not shown again, whatever follows.
            let other = response.status == StatusCode::UNAUTHORIZED && self.login.forget();
            if !(other && again) {
                return Ok(response);
            }
            again = false;
        }
    }

    async fn headers(
        &self,
        method: &Method,
        accept: &'static str,
        more: &[(&'static str, &str)],
    ) -> Result<HeaderMap, LinkError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        if method == Method::GET {
            // Some servers answer the same search from memory for a minute.
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        }
        for (name, value) in more {
            let value = HeaderValue::try_from(*value)
                .map_err(|_| LinkError(format!("the header {name} cannot be sent")))?;
            headers.insert(*name, value);
        }
        if let Some(value) = self.login.authorization(&self.base, &self.ways).await? {
            headers.insert(header::AUTHORIZATION, value);
        }
        Ok(headers)
    }

    /// What an answer that is no success means.
    async fn fault(&self, response: Response, private: &Private<'_>, asked: Asked) -> FhirError {
        let (status, wait) = (response.status, wait_of(&response.headers));
        // What is no FHIR says nothing but its status.
        let body = self.body(response, OUTCOME_BYTES).await.unwrap_or_default();
        verdict(status, wait, outcome::told(&body, private), asked)
    }
}

/// What was asked for, where a status means one thing or another by that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// Something about the server.
    Server,
    /// A record.
    Read,
    /// To write one.
    Write,
    /// To take many at once.
    Bundle,
}

/// What a status that is no success means, with what the body says (`None`: it is no FHIR).
fn verdict(status: StatusCode, wait: Option<u64>, told: Option<String>, asked: Asked) -> FhirError {
    let is_fhir = told.is_some();
    let why = match told {
        Some(told) if !told.is_empty() => format!(": {told}"),
        _ => String::new(),
    };
    let words = format!("it answered {}{why}", status.as_u16());
    let away = |words: String| FhirError::Away { error: LinkError(words), wait };
    match (status.as_u16(), asked) {
        (408 | 425 | 429 | 502 | 503 | 504, _) => away(words),
        (_, Asked::Server) => away(words),
        (404..=406 | 415 | 501, Asked::Bundle) if !is_fhir => {
            away(format!("it does not take what is sent this way ({}): check url", status.as_u16()))
        }
        (413, _) => FhirError::TooMuch(words),
        (403 | 500.., _) => FhirError::Unclear(words),
        // A page of something in between, or a server that says nothing, may mean anything.
        (400..500, Asked::Write | Asked::Bundle) if is_fhir => {
            FhirError::Refused(format!("the server refuses it ({}){why}", status.as_u16()))
        }
        _ => FhirError::Unclear(words),
    }
}

/// Refuses what shows that this is not the server, or not ours to ask.
fn checked(response: Response) -> Result<Response, FhirError> {
    let kind = response.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
    let is_page = kind.is_some_and(|kind| kind.starts_with("text/html"));
    let status = response.status;
    if status == StatusCode::UNAUTHORIZED {
        return Err(LinkError(format!(
            "it does not let us in ({status}): check the login and its secret"
        ))
        .into());
    }
    if status.is_redirection() {
        let words = "it sends us somewhere else (a login?): check `url`";
        return Err(LinkError(words.to_owned()).into());
    }
    if is_page && (status.is_success() || status == StatusCode::NOT_FOUND) {
        return Err(for_people().into());
    }
    Ok(response)
}

fn no_page(body: Vec<u8>) -> Result<Vec<u8>, LinkError> {
    let is_page = body.trim_ascii_start().first() == Some(&b'<');
    if is_page { Err(for_people()) } else { Ok(body) }
}

fn for_people() -> LinkError {
    LinkError("it answers with a page for people (a login?): check `url`".to_owned())
}

/// The version that an answer names: `W/"3"`.
fn version_of(headers: &HeaderMap) -> Option<String> {
    let tag = headers.get(header::ETAG)?.to_str().ok()?;
    let tag = tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"');
    let fits = !tag.is_empty() && tag.len() <= 64;
    fits.then(|| tag.to_owned())
}

/// After how many seconds it wants to be asked again.
fn wait_of(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse::<u64>().ok().map(|seconds| seconds.min(WAIT_SECONDS))
}
