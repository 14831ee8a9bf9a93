//! Who is asking: a child or a program by its bearer credential, or a program on this machine
//! where the settings say that it needs none.

use std::net::SocketAddr;

use axum::extract::ConnectInfo;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use protocol::{Author, Epoch, SiteId};
use sha2::{Digest as _, Sha256};
use store::{Holder, LinkName, Scope, TokenScope};

use crate::http::error::Failure;
use crate::http::guard::WholePath;
use crate::http::meter::Asker;
use crate::pause;
use crate::site::Site;

/// Header with the caller's protocol version.
pub const PROTOCOL_HEADER: &str = "tributary-protocol";
/// Header with the calling site's id.
pub const SITE_HEADER: &str = "tributary-site";
/// Header with the calling site's epoch.
pub const EPOCH_HEADER: &str = "tributary-epoch";

/// Who is asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A child, in the epoch that it says it is in (`None` on `/fhir`, where it may leave it out).
    Child {
        /// The child.
        site: SiteId,
        /// The epoch in its request.
        epoch: Option<Epoch>,
        /// Its cohorts.
        cohorts: Vec<protocol::CohortName>,
    },
    /// A program with a credential, or one on this machine where none is needed.
    Program {
        /// Its name; `local` for one without a credential.
        name: String,
        /// What it may do.
        scope: TokenScope,
        /// Whose messages it may bring.
        children: Vec<SiteId>,
    },
}

impl Caller {
    /// Finds out who asks; 401 where that cannot be told. Who carries messages or administers the
    /// site has no business with records: 403.
    pub async fn of(parts: &Parts, site: &Site) -> Result<Caller, Failure> {
        Caller::any(parts, site).await?.with_records()
    }

    /// The caller, if records are its business.
    pub fn with_records(self) -> Result<Caller, Failure> {
        let detail = match &self {
            Caller::Program { scope: TokenScope::Outbox | TokenScope::Carry, .. } => {
                "this credential is for carrying messages, and for nothing else"
            }
            Caller::Program { scope: TokenScope::Administer, .. } => {
                "this credential is for administering the site, and shows no records: see /admin"
            }
            Caller::Program { scope: TokenScope::ReadOutgoing, .. } => {
                "this credential is for reading what goes up, and for nothing else"
            }
            Caller::Program { scope: TokenScope::Metrics, .. } => {
                "this credential is for monitoring, and for nothing else: see /metrics"
            }
            Caller::Program { .. } | Caller::Child { .. } => return Ok(self),
        };
        Err(Failure::new(StatusCode::FORBIDDEN, "forbidden", detail))
    }

    /// The name of the administrator who asks, for the audit; 403 for everybody else.
    pub async fn administrator(parts: &Parts, site: &Site) -> Result<String, Failure> {
        let caller = Caller::any(parts, site).await?;
        match &caller {
            Caller::Program { scope: TokenScope::Administer, .. } => {
                Ok(caller.author().as_str().to_owned())
            }
            Caller::Program { .. } | Caller::Child { .. } => {
                let detail = "this is for administrators: `tributary token add NAME --scope \
                              administer` makes a credential";
                Err(Failure::new(StatusCode::FORBIDDEN, "forbidden", detail))
            }
        }
    }

    /// Lets in who monitors the site, its administrators, and programs on this machine where they
    /// need no credential; 403 for everybody else.
    pub async fn watcher(parts: &Parts, site: &Site) -> Result<(), Failure> {
        match Caller::any(parts, site).await? {
            Caller::Program { scope: TokenScope::Metrics | TokenScope::Administer, .. } => Ok(()),
            Caller::Program { .. } if !parts.headers.contains_key(header::AUTHORIZATION) => Ok(()),
            Caller::Program { .. } | Caller::Child { .. } => {
                let detail = "this is for monitoring: `tributary token add NAME --scope metrics` \
                              makes a credential";
                Err(Failure::new(StatusCode::FORBIDDEN, "forbidden", detail))
            }
        }
    }

    /// As `of`, and third parties are let in: the caller of this decides what they may do.
    pub async fn any(parts: &Parts, site: &Site) -> Result<Caller, Failure> {
        let Some(value) = parts.headers.get(header::AUTHORIZATION) else {
            return Caller::without_credential(parts, site);
        };
        let token = value
            .to_str()
            .ok()
            .and_then(|text| text.strip_prefix("Bearer ").or_else(|| text.strip_prefix("bearer ")))
            .ok_or_else(|| unauthorized("the Authorization header must be `Bearer CREDENTIAL`"))?;
        let hash = credential_hash(token.trim());
        if site.control() == Some(&hash) {
            let (name, scope) = ("operator".to_owned(), TokenScope::Administer);
            return Ok(Caller::Program { name, scope, children: Vec::new() });
        }
        let now = site.now();
        let holder = site.read(move |store| store.credential_holder(&hash, now)).await?;
        match holder {
            Some(Holder::Child { site: child, cohorts }) => {
                if let Some(asker) = parts.extensions.get::<Asker>() {
                    asker.is(&child);
                }
                pause::refuse(site, LinkName::Child(child.clone())).await?;
                Ok(Caller::Child { epoch: epoch_of(parts, &child)?, site: child, cohorts })
            }
            Some(Holder::Program { name, scope, children }) => {
                Ok(Caller::Program { name, scope, children })
            }
            None => Err(unauthorized("the credential is unknown, expired or revoked")),
        }
    }

    fn without_credential(parts: &Parts, site: &Site) -> Result<Caller, Failure> {
        let local = parts
            .extensions
            .get::<ConnectInfo<SocketAddr>>()
            .is_some_and(|ConnectInfo(address)| address.ip().is_loopback());
        // A proxy on this machine makes the whole world look local.
        let proxied = parts.headers.keys().map(|name| name.as_str()).any(|name| {
            ["forwarded", "x-real-ip", "via"].contains(&name) || name.starts_with("x-forwarded-")
        });
        if site.config().open_on_loopback && local && !proxied && names_us(parts, site) {
            return Ok(Caller::Program {
                name: "local".to_owned(),
                scope: TokenScope::FhirWrite,
                children: Vec::new(),
            });
        }
        let whole = parts.extensions.get::<WholePath>();
        let scope = scope_for(whole.map_or(parts.uri.path(), |whole| &whole.0));
        Err(unauthorized(&format!(
            "this needs a credential: `tributary token add NAME --scope {scope}` makes one"
        )))
    }

    /// What the caller may read.
    pub fn scope(&self) -> Scope {
        match self {
            Caller::Child { site, epoch, cohorts } => Scope::Cohorts {
                reader: site.clone(),
                // Without an epoch nothing counts as given by the reader itself.
                epoch: epoch.unwrap_or_else(|| Epoch::from_bytes([0; 16])),
                cohorts: cohorts.clone(),
            },
            Caller::Program { .. } => Scope::Everything,
        }
    }

    /// Whether the caller may write by `/fhir`: children push changes instead.
    pub fn may_write(&self) -> bool {
        matches!(self, Caller::Program { scope: TokenScope::FhirWrite, .. })
    }

    /// The name under which the caller's writes are recorded and audited.
    pub fn author(&self) -> Author {
        match self {
            Caller::Child { site, .. } => Author::new(&format!("child:{site}")),
            Caller::Program { name, .. } => Author::new(&format!("program:{name}")),
        }
    }
}

/// A scope that opens what is at a path.
fn scope_for(path: &str) -> &'static str {
    match path.split('/').nth(1).unwrap_or("") {
        "metrics" => "metrics",
        "admin" => "administer",
        "outbox" => "outbox",
        "fhir" if path.ends_with("/$process-message") => "carry",
        "sync" if path.starts_with("/sync/feeds/outgoing") => "read-outgoing",
        _ => "fhir-read",
    }
}

/// Whether the request is for this machine by name: a web page whose own name was made to point
/// here asks under that name.
fn names_us(parts: &Parts, site: &Site) -> bool {
    let host = parts.headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let Some(host) = host else { return parts.uri.host().is_none() };
    let public = site.config().public_url.split("://").nth(1).unwrap_or("");
    let public = public.split('/').next().unwrap_or("");
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    host == public || ["127.0.0.1", "localhost", "[::1]"].contains(&name)
}

/// The hash under which a credential or a code is stored: they are 32 random bytes, so a plain
/// SHA-256 cannot be reversed by guessing.
pub fn credential_hash(credential: &str) -> [u8; 32] {
    Sha256::digest(credential.as_bytes()).into()
}

fn epoch_of(parts: &Parts, child: &SiteId) -> Result<Option<Epoch>, Failure> {
    let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    if text(SITE_HEADER).is_some_and(|said| said != child.as_str()) {
        return Err(unauthorized("the credential belongs to another site than the request names"));
    }
    text(EPOCH_HEADER)
        .map(str::parse)
        .transpose()
        .map_err(|_| Failure::bad_request("the header Tributary-Epoch is not a UUID"))
}

fn unauthorized(detail: &str) -> Failure {
    Failure::new(StatusCode::UNAUTHORIZED, "login", detail)
}
