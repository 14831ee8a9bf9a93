//! The interactions that this API has: one table, from which requests, entries of Bundles and the
//! CapabilityStatement are answered alike, so that what is claimed is what is done.

use axum::http::{Method, StatusCode};
use protocol::{RecordRef, ResourceType};
use serde_json::Value;

use super::query;
use crate::http::api::{Doc, Operation, Who, shapes};
use crate::http::error::Failure;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interaction {
    Capabilities,
    Read,
    Vread,
    HistoryInstance,
    HistoryType,
    HistorySystem,
    Search,
    Create,
    Update,
    UpdateWhere,
    Delete,
    DeleteWhere,
    Everything,
    Bundle,
    ProcessMessage,
}

/// What the CapabilityStatement says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// `rest.interaction`.
    System(&'static str),
    /// `rest.resource.interaction`.
    Type(&'static str),
    /// `rest.operation`, with the URL of its definition.
    SystemOperation(&'static str, &'static str),
    /// `rest.resource.operation`, with the URL of its definition, on one type.
    Operation(ResourceType, &'static str, &'static str),
    /// A member of `rest.resource`, with its value as JSON.
    Conditional(&'static str, &'static str),
}

/// One row of the table.
#[derive(Debug)]
pub(super) struct Route {
    method: Method,
    /// `{type}`, `{id}` and `{version}` stand for what they say.
    path: &'static str,
    /// What it does.
    pub(super) interaction: Interaction,
    /// What is claimed of it.
    pub(super) claims: &'static [Claim],
}

const fn row(
    method: Method,
    path: &'static str,
    interaction: Interaction,
    claims: &'static [Claim],
) -> Route {
    Route { method, path, interaction, claims }
}

const EVERYTHING: &[Claim] = &[Claim::Operation(
    ResourceType::PATIENT,
    "everything",
    "http://hl7.org/fhir/OperationDefinition/Patient-everything",
)];
const PROCESS_MESSAGE: &[Claim] = &[Claim::SystemOperation(
    "process-message",
    "http://hl7.org/fhir/OperationDefinition/MessageHeader-process-message",
)];
const CREATE: &[Claim] = &[Claim::Type("create"), Claim::Conditional("conditionalCreate", "true")];
const READ: &[Claim] =
    &[Claim::Type("read"), Claim::Conditional("conditionalRead", "\"not-match\"")];
const UPDATE: &[Claim] = &[Claim::Type("update"), Claim::Conditional("updateCreate", "true")];

/// All interactions.
#[rustfmt::skip]
pub(super) const ROUTES: [Route; 16] = [
    row(Method::GET, "metadata", Interaction::Capabilities, &[]),
    row(Method::POST, "", Interaction::Bundle,
        &[Claim::System("transaction"), Claim::System("batch")]),
    row(Method::POST, "$process-message", Interaction::ProcessMessage, PROCESS_MESSAGE),
    row(Method::GET, "_history", Interaction::HistorySystem, &[Claim::System("history-system")]),
    row(Method::GET, "{type}", Interaction::Search, &[Claim::Type("search-type")]),
    row(Method::POST, "{type}/_search", Interaction::Search, &[]),
    row(Method::POST, "{type}", Interaction::Create, CREATE),
    row(Method::PUT, "{type}", Interaction::UpdateWhere,
        &[Claim::Conditional("conditionalUpdate", "true")]),
    row(Method::DELETE, "{type}", Interaction::DeleteWhere,
        &[Claim::Conditional("conditionalDelete", "\"single\"")]),
    row(Method::GET, "{type}/_history", Interaction::HistoryType, &[Claim::Type("history-type")]),
    row(Method::GET, "{type}/{id}", Interaction::Read, READ),
    row(Method::PUT, "{type}/{id}", Interaction::Update, UPDATE),
    row(Method::DELETE, "{type}/{id}", Interaction::Delete, &[Claim::Type("delete")]),
    row(Method::GET, "{type}/{id}/_history", Interaction::HistoryInstance,
        &[Claim::Type("history-instance")]),
    row(Method::GET, "{type}/{id}/_history/{version}", Interaction::Vread,
        &[Claim::Type("vread")]),
    row(Method::GET, "Patient/{id}/$everything", Interaction::Everything, EVERYTHING),
];

/// What the table's rows are for.
pub(super) fn operations() -> Vec<Operation> {
    let operation = |route: &Route| Operation {
        method: route.method.clone(),
        path: format!("/{}", route.path),
        doc: route.interaction.doc(),
    };
    ROUTES.iter().map(operation).collect()
}

impl Interaction {
    fn doc(self) -> Doc {
        const FHIR: &str = "application/fhir+json";
        let says = |summary| Doc::of(Who::Readers, summary).gives_media(&[FHIR]);
        let takes = |summary| says(summary).takes_as::<Value>(FHIR);
        let stores = |summary| takes(summary).with(&[200, 201]);
        let history = |summary| says(summary).query::<shapes::History>();
        match self {
            Interaction::Capabilities => {
                Doc::of(Who::Anybody, "What this API understands").gives_media(&[FHIR])
            }
            Interaction::Read => says("A record").with(&[200, 304]),
            Interaction::Vread => says("A version of a record").with(&[200, 304]),
            Interaction::HistoryInstance => history("Versions of a record"),
            Interaction::HistoryType => history("Versions of records of a type"),
            Interaction::HistorySystem => history("Versions of all records"),
            Interaction::Search => says("Records that match").query::<shapes::Search>(),
            Interaction::Create => stores("Stores a new record"),
            Interaction::Update => stores("Stores a record"),
            Interaction::UpdateWhere => stores("Stores a record in the place of what matches"),
            Interaction::Delete => says("Deletes a record").with(&[200, 204]),
            Interaction::DeleteWhere => says("Deletes what matches").with(&[200, 204]),
            Interaction::Everything => says("All records of a patient"),
            Interaction::Bundle => takes("Carries out a batch or a transaction"),
            Interaction::ProcessMessage => takes("Takes in a message").with(&[200, 202]),
        }
    }
}

/// What was asked for, and of what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) interaction: Interaction,
    kind: Option<ResourceType>,
    record: Option<RecordRef>,
    version: Option<u64>,
}

impl Asked {
    /// The type in the path, of the interactions that have one.
    pub(super) fn kind(&self) -> Result<ResourceType, Failure> {
        self.kind.ok_or_else(|| missing("a type"))
    }
    /// The record in the path, of the interactions that have one.
    pub(super) fn record(&self) -> Result<&RecordRef, Failure> {
        self.record.as_ref().ok_or_else(|| missing("an id"))
    }
    /// The version in the path, of the interactions that have one.
    pub(super) fn version(&self) -> Result<u64, Failure> {
        self.version.ok_or_else(|| missing("a version"))
    }
}

fn missing(what: &str) -> Failure {
    Failure::bad_request(format!("the URL lacks {what}"))
}

/// Why there is no such interaction.
#[derive(Debug)]
pub(super) enum NoRoute {
    /// The path exists, with these methods.
    Method(Vec<Method>),
    /// The path does not exist, or has a type or id that cannot be.
    Path(Failure),
}

impl From<NoRoute> for Failure {
    fn from(none: NoRoute) -> Failure {
        match none {
            NoRoute::Path(failure) => failure,
            NoRoute::Method(methods) => {
                let names: Vec<_> = methods.iter().map(Method::as_str).collect();
                Failure::new(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "not-supported",
                    format!("this URL understands {} only", names.join(", ")),
                )
            }
        }
    }
}

/// The route of a method and a path below the base as the table has it, with a slash before it;
/// that of another method where the path has no such one, and nothing where there is no such path.
pub(crate) fn name(method: &Method, path: &str) -> String {
    let parts = path.trim_matches('/').split('/').map(|part| query::decode(part, false));
    let Ok(parts) = parts.collect::<Result<Vec<_>, _>>() else { return String::new() };
    let fitting = |route: &Route| fits(&route.path.split('/').collect::<Vec<_>>(), &parts);
    let fitting = ROUTES.into_iter().filter(fitting).collect::<Vec<_>>();
    let method = if method == Method::HEAD { &Method::GET } else { method };
    let route = fitting.iter().find(|route| route.method == *method).or(fitting.first());
    route.map_or(String::new(), |route| format!("/{}", route.path))
}

/// Finds the interaction of a method and a path below the base, both as they came.
pub(super) fn find(method: &Method, path: &str) -> Result<Asked, NoRoute> {
    // HEAD is GET whose body is not sent.
    let method = if method == Method::HEAD { &Method::GET } else { method };
    let mut methods = Vec::new();
    let mut parts = Vec::new();
    for part in path.trim_matches('/').split('/') {
        parts.push(query::decode(part, false).map_err(NoRoute::Path)?);
    }
    for route in &ROUTES {
        let pattern: Vec<&str> = route.path.split('/').collect();
        if !fits(&pattern, &parts) {
            continue;
        }
        if route.method == *method {
            return asked(route.interaction, &pattern, &parts).map_err(NoRoute::Path);
        }
        methods.push(route.method.clone());
    }
    if methods.is_empty() {
        let detail = "no such URL on this server: see metadata for what it understands";
        return Err(NoRoute::Path(Failure::not_found(detail)));
    }
    Err(NoRoute::Method(methods))
}

fn fits(pattern: &[&str], parts: &[String]) -> bool {
    pattern.len() == parts.len()
        && pattern.iter().zip(parts).all(|(pattern, part)| match *pattern {
            // Other first letters begin the names of interactions.
            "{type}" => part.starts_with(|first: char| first.is_ascii_uppercase()),
            "{id}" => !part.is_empty() && !part.starts_with(['_', '$']),
            "{version}" => !part.is_empty(),
            word => word == part,
        })
}

fn asked(interaction: Interaction, pattern: &[&str], parts: &[String]) -> Result<Asked, Failure> {
    let mut asked = Asked { interaction, kind: None, record: None, version: None };
    for (pattern, part) in pattern.iter().zip(parts) {
        match *pattern {
            "{type}" | "Patient" => {
                let kind = part.parse().map_err(|_| {
                    Failure::not_found("the type in the URL is not one of FHIR R4 (4.0.1)")
                })?;
                asked.kind = Some(kind);
            }
            "{id}" => {
                let record = RecordRef::new(asked.kind()?, part)
                    .map_err(|refusal| Failure::bad_request(refusal.reason))?;
                asked.record = Some(record);
            }
            // A version id is always a number here; any other was never given out.
            "{version}" => asked.version = Some(part.parse().unwrap_or(0)),
            _ => {}
        }
    }
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_interaction_has_its_method_and_path() {
        for (method, path, expected) in [
            (Method::GET, "/metadata", Interaction::Capabilities),
            (Method::POST, "", Interaction::Bundle),
            (Method::POST, "/", Interaction::Bundle),
            (Method::GET, "/Patient", Interaction::Search),
            (Method::POST, "/Patient/_search", Interaction::Search),
            (Method::HEAD, "/Patient/1", Interaction::Read),
            (Method::GET, "/Patient/1/_history/7", Interaction::Vread),
            (Method::GET, "/Patient/1/%24everything", Interaction::Everything),
            (Method::PUT, "/Patient", Interaction::UpdateWhere),
            (Method::POST, "/$process-message", Interaction::ProcessMessage),
        ] {
            assert_eq!(find(&method, path).unwrap().interaction, expected, "{method} {path}");
        }
    }

    #[test]
    fn a_route_is_named_without_what_was_asked_for() {
        for (method, path, expected) in [
            (Method::GET, "/Patient/amina", "/{type}/{id}"),
            (Method::HEAD, "/Patient/amina", "/{type}/{id}"),
            (Method::PATCH, "/Patient/amina", "/{type}/{id}"),
            (Method::GET, "/Patient/1/%24everything", "/Patient/{id}/$everything"),
            (Method::POST, "", "/"),
            (Method::GET, "/pacient/amina", ""),
            (Method::GET, "/%ff", ""),
        ] {
            assert_eq!(name(&method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn what_is_not_there_says_whether_path_or_method_is_wrong() {
        for (method, path, status) in [
            (Method::PATCH, "/Patient/1", 405),
            (Method::DELETE, "/metadata", 405),
            (Method::GET, "/", 405),
            (Method::GET, "/Pacient/1", 404),
            (Method::GET, "/Patient/1/2/3/4", 404),
            (Method::GET, "/Observation/1/$everything", 404),
            (Method::GET, "/Patient/a_b", 400),
            (Method::GET, "/Patient/%00", 400),
        ] {
            let failure = Failure::from(find(&method, path).unwrap_err());
            assert_eq!(failure.status.as_u16(), status, "{method} {path}");
        }
    }
}
