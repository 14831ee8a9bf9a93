//! Requests to the server of a feed: pages and records.

use axum::http::StatusCode;
use protocol::feed::atom::{self, AtomPage};
use protocol::{RecordRef, SiteId};
use reqwest::Url;

use crate::config::SourceConfig;
use crate::fhir_server::{FhirError, FhirServer, Login, Read};
use crate::jobs::sources::peer;
use crate::ports::LinkError;
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
pub(super) struct Client {
    name: SiteId,
    base: Url,
    server: FhirServer,
}

/// Where feeds are read: below a base URL, by a client that holds the login.
pub(super) struct Feeds<'a> {
    base: Url,
    server: &'a FhirServer,
}

impl Client {
    pub(super) fn of(site: &Site, source: &SourceConfig) -> Result<Client, LinkError> {
        let login = match (&source.user, site.secret_of(&source.name)) {
            (Some(user), Some(password)) => Login::basic(user, password)?,
            (None, Some(token)) => Login::bearer(token)?,
            (_, None) => Login::none(),
        };
        // With a slash at its end what is relative stays below it.
        let base = Url::parse(&format!("{}/", source.url));
        let fhir = format!("{}{}", source.url, source.fhir.as_deref().unwrap_or(FHIR));
        Ok(Client {
            name: source.name.clone(),
            base: base.map_err(|_| LinkError("its url cannot be sent".to_owned()))?,
            server: FhirServer::new(&fhir, login, site.ways(), &site.config().limits)?,
        })
    }

    /// Its feeds.
    pub(super) fn feeds(&self) -> Feeds<'_> {
        Feeds { base: self.base.clone(), server: &self.server }
    }

    pub(super) fn name(&self) -> &SiteId {
        &self.name
    }

    /// A record as it is now.
    pub(super) async fn record(&self, record: &RecordRef) -> Result<Fetched, LinkError> {
        match self.server.read_one_of_many(record).await {
            Ok(Read::Body(body, _)) => Ok(Fetched::Body(body)),
            Ok(Read::Gone) => Ok(Fetched::Gone),
            Ok(Read::Absent) => Ok(Fetched::Absent),
            Err(FhirError::Away { error, .. }) => Err(error),
            // It is of this record: what fails for all of them fails at the page too.
            Err(other) => Ok(Fetched::Odd(other.to_string())),
        }
    }
}

impl<'a> Feeds<'a> {
    /// Those of a web application at a URL.
    pub(super) fn of(url: &str, server: &'a FhirServer) -> Result<Feeds<'a>, LinkError> {
        // With a slash at its end what is relative stays below it.
        let base = Url::parse(&format!("{}/", url.trim_end_matches('/')));
        Ok(Feeds {
            base: base.map_err(|_| LinkError("its url cannot be sent".to_owned()))?,
            server,
        })
    }

    pub(super) fn base(&self) -> &Url {
        &self.base
    }

    /// A page of the feed; `None` where there is none.
    pub(super) async fn page(&self, url: &Url) -> Result<Option<AtomPage>, LinkError> {
        let response = self.server.get(url, atom::ATOM_TYPE).await?;
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
}
