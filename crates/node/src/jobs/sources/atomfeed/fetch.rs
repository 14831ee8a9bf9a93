//! Requests to the server of a feed: pages and records.

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use protocol::feed::atom::{self, AtomPage};
use protocol::{RecordRef, SiteId};
use reqwest::Url;

use crate::config::SourceConfig;
use crate::jobs::sources::peer;
use crate::ports::{LinkError, Request, Response};
use crate::site::Site;

/// The path of OpenMRS's FHIR API.
const FHIR: &str = "/ws/fhir2/R4";
/// Bytes of one page.
const PAGE_BYTES: usize = 8 << 20;

/// What came of asking for a record.
pub(super) enum Fetched {
    /// Its body, whatever that is.
    Body(Vec<u8>),
    /// It was deleted (410).
    Gone,
    /// It is not there (404).
    Absent,
    /// The server cannot give this one, and why.
    Odd(String),
}

/// The server of a source, with our credential there.
pub(super) struct Client<'a> {
    site: &'a Site,
    name: SiteId,
    base: Url,
    fhir: String,
    authorization: Option<HeaderValue>,
}

impl<'a> Client<'a> {
    pub(super) fn of(site: &'a Site, source: &SourceConfig) -> Result<Client<'a>, LinkError> {
        let odd = |what: &str| LinkError(format!("{what} cannot be sent"));
        // With a slash at its end what is relative stays below it.
        let base = Url::parse(&format!("{}/", source.url)).map_err(|_| odd("its url"))?;
        let authorization = match (&source.user, site.secret_of(&source.name)) {
            (Some(user), Some(password)) => {
                Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
            }
            (None, Some(token)) => Some(format!("Bearer {token}")),
            (_, None) => None,
        };
        let authorization = authorization.map(HeaderValue::try_from).transpose();
        Ok(Client {
            site,
            name: source.name.clone(),
            base,
            fhir: format!("{}{}", source.url, source.fhir.as_deref().unwrap_or(FHIR)),
            authorization: authorization.map_err(|_| odd("its credential"))?,
        })
    }

    pub(super) fn base(&self) -> &Url {
        &self.base
    }

    pub(super) fn name(&self) -> &SiteId {
        &self.name
    }

    /// A page of the feed; `None` where there is none.
    pub(super) async fn page(&self, url: &Url) -> Result<Option<AtomPage>, LinkError> {
        let response = self.get(url.as_str(), atom::ATOM_TYPE).await?;
        match response.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            status => return Err(LinkError(format!("it answered {status} for a page"))),
        }
        let text = peer::text(response).await?;
        let page = atom::read(&text, PAGE_BYTES);
        page.map(Some).map_err(|refusal| {
            LinkError(format!("its page {} cannot be read: {refusal}", url.path()))
        })
    }

    /// A record as it is now.
    pub(super) async fn record(&self, record: &RecordRef) -> Result<Fetched, LinkError> {
        let url = format!("{}/{record}", self.fhir);
        let response = self.get(&url, "application/fhir+json, application/json").await?;
        let status = response.status;
        match status {
            StatusCode::OK => Ok(Fetched::Body(peer::text(response).await?)),
            StatusCode::GONE => Ok(Fetched::Gone),
            StatusCode::NOT_FOUND => Ok(Fetched::Absent),
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => {
                Err(LinkError(format!("it answered {status} for a record")))
            }
            _ => Ok(Fetched::Odd(format!("it answered {status}"))),
        }
    }

    async fn get(&self, url: &str, accept: &'static str) -> Result<Response, LinkError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        if let Some(value) = &self.authorization {
            headers.insert(header::AUTHORIZATION, value.clone());
        }
        let idle_seconds = self.site.config().limits.request_seconds;
        let (method, url, body) = (Method::GET, url.to_owned(), Bytes::new());
        let request = Request { method, url, headers, body, idle_seconds };
        let response = self.site.transport().send(request).await?;
        let kind = response.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
        match response.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(LinkError(format!(
                "it does not let us in ({}): check `user` and the password in token_file",
                response.status
            ))),
            status if status.is_redirection() => {
                Err(LinkError("it sends us somewhere else (a login?): check `url`".to_owned()))
            }
            StatusCode::OK if kind.is_some_and(|kind| kind.starts_with("text/html")) => Err(
                LinkError("it answers with a page for people (a login?): check `url`".to_owned()),
            ),
            _ => Ok(response),
        }
    }
}
