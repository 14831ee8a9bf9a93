//! Requests to a Tributary site below: who we are, and what an answer means.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use bytes::Bytes;
use protocol::{Epoch, SiteId};

use crate::config::SourceConfig;
use crate::http::auth::{EPOCH_HEADER, PROTOCOL_HEADER, SITE_HEADER};
use crate::jobs::link::ours;
use crate::ports::{LinkError, Request, Response};
use crate::site::Site;
use crate::transport::answer::{self, ANSWER_BYTES};
use crate::wire::{self, AVAILABLE_DICTIONARY};

/// One source, with our credential there.
pub(super) struct Peer {
    url: String,
    credential: String,
    here: (SiteId, Epoch),
}

impl Peer {
    pub(super) async fn of(site: &Site, source: &SourceConfig) -> Result<Peer, LinkError> {
        let credential = site.secret_of(&source.name).ok_or_else(|| {
            LinkError("there is no credential for it: token_file is missing".to_owned())
        })?;
        let here = site.read(|store| store.site()).await.map_err(|error| ours(&error))?;
        Ok(Peer {
            url: source.url.clone(),
            credential: credential.to_owned(),
            here: (here.site, here.epoch),
        })
    }

    /// `GET`; any status but those that say who we are not.
    pub(super) async fn get(&self, site: &Site, path: &str) -> Result<Response, LinkError> {
        self.send(site, Method::GET, path, Bytes::new()).await
    }

    /// The same of what a site of an older version has not: `None` there.
    pub(super) async fn get_if_there(
        &self,
        site: &Site,
        path: &str,
    ) -> Result<Option<Response>, LinkError> {
        let response = self.ask(site, Method::GET, path, Bytes::new()).await?;
        match response.status {
            StatusCode::NOT_FOUND => Ok(None),
            _ => known(response).map(Some),
        }
    }

    /// `POST` of JSON; likewise.
    pub(super) async fn post(
        &self,
        site: &Site,
        path: &str,
        body: String,
    ) -> Result<Response, LinkError> {
        self.send(site, Method::POST, path, Bytes::from(body)).await
    }

    async fn send(
        &self,
        site: &Site,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response, LinkError> {
        known(self.ask(site, method, path, body).await?)
    }

    async fn ask(
        &self,
        site: &Site,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response, LinkError> {
        let url = format!("{}/sync/feeds/outgoing{path}", self.url);
        let headers = self.headers()?;
        let idle_seconds = site.config().limits.request_seconds;
        let request = Request { method, url, headers, body, idle_seconds };
        site.transport().send(request).await
    }

    fn headers(&self) -> Result<HeaderMap, LinkError> {
        let text = |value: String| {
            HeaderValue::try_from(value)
                .map_err(|_| LinkError("its credential has characters that cannot be sent".into()))
        };
        let (here, epoch) = &self.here;
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, text(format!("Bearer {}", self.credential))?);
        headers.insert(HeaderName::from_static(PROTOCOL_HEADER), HeaderValue::from_static("1"));
        headers.insert(HeaderName::from_static(SITE_HEADER), text(here.to_string())?);
        headers.insert(HeaderName::from_static(EPOCH_HEADER), text(epoch.to_string())?);
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("dcz,zstd,gzip"));
        let name = HeaderName::from_static(AVAILABLE_DICTIONARY);
        headers.insert(name, text(wire::dictionary_name())?);
        Ok(headers)
    }
}

/// An answer, if it is none of those that say that we are not known, or nothing is there.
fn known(response: Response) -> Result<Response, LinkError> {
    match response.status {
        StatusCode::UNAUTHORIZED => Err(LinkError(
            "it does not know our credential, or has revoked it: `tributary token add NAME --scope \
             read-outgoing` there makes a new one"
                .to_owned(),
        )),
        StatusCode::NOT_FOUND => Err(LinkError(
            "there is no outgoing feed at its url: check `url`, and `up = \"read\"` there"
                .to_owned(),
        )),
        _ => Ok(response),
    }
}

/// The whole body of an answer that is not a stream of changes.
pub(super) async fn text(response: Response) -> Result<Vec<u8>, LinkError> {
    answer::text(response, ANSWER_BYTES).await
}

/// What to make of a status that is not the expected one. Never says anything about a record.
pub(super) async fn refused(response: Response) -> LinkError {
    let status = response.status;
    let text = text(response).await.unwrap_or_default();
    let detail = serde_json::from_slice::<serde_json::Value>(&text)
        .ok()
        .and_then(|problem| problem.get("detail").and_then(|d| d.as_str().map(str::to_owned)));
    match detail {
        Some(detail) => LinkError(format!("it answered {status}: {detail}")),
        None => LinkError(format!("it answered {status}")),
    }
}
