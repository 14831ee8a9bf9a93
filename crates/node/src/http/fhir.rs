//! The FHIR R4 API of a site: JSON only, every interaction that `fhir/route.rs` lists, errors as
//! OperationOutcomes. Implements `docs/protocol.md` §3.
//!
//! Nothing here decides what a caller may see: each read of the store takes the caller's scope.

mod answer;
mod audit_event;
mod bundle;
mod conditions;
mod everything;
mod history;
mod message;
mod metadata;
mod params;
mod query;
mod read;
mod route;
mod search;
mod write;

use std::panic::AssertUnwindSafe;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures::FutureExt;
use store::{AuditRow, Scope, TokenScope};

use self::answer::Answer;
use self::conditions::{Conditions, Prefer, check_content_type};
pub(crate) use self::route::name as route_name;
use self::route::{Asked, Interaction};
use crate::http::api::Api;
use crate::http::auth::Caller;
use crate::http::body;
use crate::http::error::Failure;
use crate::site::Site;

/// The routes below `/fhir`. One handler takes them all, so that no path and no method can
/// answer with anything but an OperationOutcome where it fails.
pub(super) fn api() -> Api {
    Api::default().table(handle, route::operations())
}

/// One interaction on its way: from a request, or from an entry of a Bundle.
struct Call<'a> {
    site: &'a Site,
    caller: &'a Caller,
    conditions: Conditions,
    prefer: Prefer,
    /// Decoded parameters of the URL, or of a form.
    query: Vec<(String, String)>,
    /// The resource that was sent, as it came.
    resource: Bytes,
}

impl Call<'_> {
    fn scope(&self) -> Scope {
        self.caller.scope()
    }
    /// The public URL of the API.
    fn base(&self) -> String {
        base_url(self.site)
    }
}

fn base_url(site: &Site) -> String {
    format!("{}/fhir", site.config().public_url)
}

/// The base itself, written with a slash at its end: a nested router does not take that one.
pub async fn base(state: State<Site>, mut request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default();
    *request.uri_mut() = format!("/?{query}").parse().unwrap_or_default();
    handle(state, request).await
}

async fn handle(State(site): State<Site>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let (method, headers) = (parts.method.clone(), parts.headers.clone());
    // A fault of ours in one request must not end the connection without a word.
    let outcome = AssertUnwindSafe(answer(&site, parts, body)).catch_unwind().await;
    let answer = outcome.unwrap_or_else(|_| {
        tracing::error!(%method, "a handler of /fhir panicked");
        Err(Failure::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "exception",
            "the server failed to work this out; nothing was stored",
        ))
    });
    match answer {
        Ok(answer) => answer.into_response(&base_url(&site), &method, &headers),
        Err(failure) => answer::failed(&failure, &method, &headers),
    }
}

async fn answer(site: &Site, parts: Parts, body: Body) -> Result<Answer, Failure> {
    let asked = route::find(&parts.method, parts.uri.path())?;
    let mut query = query::pairs(parts.uri.query().unwrap_or_default())?;
    check_format(&parts.headers, &mut query)?;
    if asked.interaction == Interaction::Capabilities {
        return Ok(Answer::of(metadata::statement(site)));
    }
    if asked.interaction == Interaction::ProcessMessage {
        return message::process(site, &parts, body).await;
    }
    let caller = Caller::any(&parts, site).await?;
    if matches!(&caller, Caller::Program { scope: TokenScope::Administer, .. }) {
        let resource = sent(site, &parts, body, asked.interaction, &mut query).await?;
        let call = call(site, &caller, &parts, query, resource)?;
        return audit_event::answer(&call, &asked).await;
    }
    let caller = caller.with_records()?;
    check_writer(site, &caller, &parts.method, &asked).await?;
    let resource = sent(site, &parts, body, asked.interaction, &mut query).await?;
    let call = call(site, &caller, &parts, query, resource)?;
    match asked.interaction {
        Interaction::Bundle => bundle::process(&call).await,
        _ => perform(&call, &asked).await,
    }
}

fn call<'a>(
    site: &'a Site,
    caller: &'a Caller,
    parts: &Parts,
    query: Vec<(String, String)>,
    resource: Bytes,
) -> Result<Call<'a>, Failure> {
    Ok(Call {
        site,
        caller,
        conditions: Conditions::of(&parts.headers)?,
        prefer: Prefer::of(&parts.headers),
        query,
        resource,
    })
}

/// Does one interaction; a Bundle's entries come here as well.
async fn perform(call: &Call<'_>, asked: &Asked) -> Result<Answer, Failure> {
    match asked.interaction {
        Interaction::Capabilities => Ok(Answer::of(metadata::statement(call.site))),
        Interaction::Read => read::read(call, asked.record()?).await,
        Interaction::Vread => read::vread(call, asked.record()?, asked.version()?).await,
        Interaction::HistoryInstance => history::of_record(call, asked.record()?).await,
        Interaction::HistoryType => history::of_type(call, asked.kind()?).await,
        Interaction::HistorySystem => history::of_system(call).await,
        Interaction::Search => search::search(call, asked.kind()?).await,
        Interaction::Everything => everything::everything(call, asked.record()?).await,
        Interaction::ProcessMessage => {
            Err(Failure::bad_request("a message is posted by itself, to $process-message"))
        }
        Interaction::Bundle => {
            Err(Failure::bad_request("a Bundle within a Bundle is stored by POST Bundle only"))
        }
        Interaction::Create
        | Interaction::Update
        | Interaction::UpdateWhere
        | Interaction::Delete
        | Interaction::DeleteWhere => write::write(call, asked).await,
    }
}

impl Interaction {
    fn writes(self) -> bool {
        matches!(
            self,
            Interaction::Create
                | Interaction::Update
                | Interaction::UpdateWhere
                | Interaction::Delete
                | Interaction::DeleteWhere
        )
    }
    fn takes_resource(self) -> bool {
        matches!(
            self,
            Interaction::Create
                | Interaction::Update
                | Interaction::UpdateWhere
                | Interaction::Bundle
        )
    }
}

/// Refuses a write by a caller who may only read, before its body is looked at.
async fn check_writer(
    site: &Site,
    caller: &Caller,
    method: &Method,
    asked: &Asked,
) -> Result<(), Failure> {
    if !asked.interaction.writes() || caller.may_write() {
        return Ok(());
    }
    let subject = match (asked.record(), asked.kind()) {
        (Ok(record), _) => record.to_string(),
        (_, Ok(kind)) => kind.to_string(),
        _ => "/".to_owned(),
    };
    denied(site, caller, subject, format!("{method} without the right to write")).await?;
    Err(may_not_write(caller))
}

fn may_not_write(caller: &Caller) -> Failure {
    let detail = match caller {
        Caller::Child { .. } => "a child site writes through /sync/changes, not through /fhir",
        Caller::Program { .. } => "this credential may read only (its scope is fhir-read)",
    };
    Failure::new(StatusCode::FORBIDDEN, "forbidden", detail)
}

/// Notes in the audit that somebody was turned away.
async fn denied(
    site: &Site,
    caller: &Caller,
    subject: String,
    detail: String,
) -> Result<(), Failure> {
    let actor = caller.author().as_str().to_owned();
    let row = AuditRow { actor, action: "denied", subject, detail };
    let now = site.now();
    site.read(move |store| store.audit_append(&row, now)).await?;
    Ok(())
}

/// The body of what has one: a resource, or a form whose parameters join those of the URL.
async fn sent(
    site: &Site,
    parts: &Parts,
    body: Body,
    interaction: Interaction,
    query: &mut Vec<(String, String)>,
) -> Result<Bytes, Failure> {
    let limit = site.config().limits.body_bytes;
    if interaction.takes_resource() {
        check_content_type(&parts.headers, &["application/fhir+json", "application/json"])?;
        return body::read(site, &parts.headers, body, limit).await;
    }
    if parts.method == Method::POST {
        check_content_type(&parts.headers, &["application/x-www-form-urlencoded"])?;
        let form = body::read(site, &parts.headers, body, limit).await?;
        let text = std::str::from_utf8(&form)
            .map_err(|_| Failure::bad_request("the form is not UTF-8"))?;
        query.extend(query::pairs(text)?);
    }
    Ok(Bytes::new())
}

/// Takes out `_format` and `_pretty`, and refuses every format but JSON.
fn check_format(headers: &HeaderMap, query: &mut Vec<(String, String)>) -> Result<(), Failure> {
    let json_only = || {
        Failure::new(StatusCode::NOT_ACCEPTABLE, "not-supported", "this server speaks JSON only")
    };
    let format = query.iter().find(|(name, _)| name == "_format").map(|(_, value)| value.clone());
    query.retain(|(name, _)| name != "_format" && name != "_pretty");
    if let Some(format) = format {
        // An unescaped `+` in `application/fhir+json` arrives as a space.
        let name = format.split(';').next().unwrap_or_default().trim().replace(' ', "+");
        let json = ["json", "application/json", "application/fhir+json", "text/json"];
        return if json.contains(&name.as_str()) { Ok(()) } else { Err(json_only()) };
    }
    let accepted: Vec<_> = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|one| one.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
        .collect();
    let fits = |kind: &String| {
        kind.contains("json") || matches!(kind.as_str(), "*/*" | "application/*" | "text/html")
    };
    if accepted.is_empty() || accepted.iter().any(fits) { Ok(()) } else { Err(json_only()) }
}
