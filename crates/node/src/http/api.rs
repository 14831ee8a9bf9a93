//! The list of routes, each with what it is for. A route cannot be added without its description,
//! and `/api/openapi.json` is made of nothing else: what is described is what is there.

mod document;
pub(crate) mod shapes;

use std::collections::BTreeMap;

use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, any, on};
use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::site::Site;

pub(super) use document::show;

/// Makes the schema of a type.
type Make = fn(&mut SchemaGenerator) -> Schema;

/// Who may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// Whoever reaches the site.
    Anybody,
    /// Programs that read records, children their own.
    Readers,
    /// Children that have joined.
    Children,
    /// Children and programs that read records; some also administrators.
    Both,
    /// Who reads what goes up from this site.
    Reader,
    /// Third parties that carry messages.
    Carriers,
    /// Administrators.
    Administrators,
    /// Who monitors the site.
    Watchers,
}

impl Who {
    fn words(self) -> &'static str {
        match self {
            Who::Anybody => "Without a credential.",
            Who::Readers => "For programs (`fhir-read`, `fhir-write`) and children.",
            Who::Children => {
                "For children; with the headers Tributary-Protocol and Tributary-Epoch."
            }
            Who::Both => "For children and for programs (`fhir-read`, `fhir-write`).",
            Who::Reader => "For the parent that reads this site (`read-outgoing`).",
            Who::Carriers => "For third parties (`outbox`).",
            Who::Administrators => "For administrators (`administer`).",
            Who::Watchers => "For monitoring (`metrics`).",
        }
    }
}

/// What a route answers where all is well.
#[derive(Clone, Copy)]
enum Answer {
    /// JSON of this shape.
    Json(Make),
    /// Something else, by its media types.
    Media(&'static [&'static str]),
    /// Nothing.
    Empty,
}

/// What a route is for.
#[derive(Clone, Copy)]
pub(crate) struct Doc {
    summary: &'static str,
    who: Who,
    query: Option<Make>,
    /// The media type and the shape.
    body: Option<(&'static str, Make)>,
    answers: &'static [u16],
    answer: Answer,
}

/// JSON, as most bodies are.
const JSON: &str = "application/json";

impl Doc {
    /// A route that says nothing but that it is done.
    pub(crate) const fn of(who: Who, summary: &'static str) -> Doc {
        Doc { summary, who, query: None, body: None, answers: &[200], answer: Answer::Empty }
    }
    /// It takes a query.
    pub(crate) const fn query<T: JsonSchema>(self) -> Doc {
        Doc { query: Some(T::json_schema), ..self }
    }
    /// It takes JSON.
    pub(crate) const fn takes<T: JsonSchema>(self) -> Doc {
        Doc { body: Some((JSON, T::json_schema)), ..self }
    }
    /// It takes a body of another media type.
    pub(crate) const fn takes_as<T: JsonSchema>(self, media: &'static str) -> Doc {
        Doc { body: Some((media, T::json_schema)), ..self }
    }
    /// It answers with JSON.
    pub(crate) const fn gives<T: JsonSchema>(self) -> Doc {
        Doc { answer: Answer::Json(T::json_schema), ..self }
    }
    /// It answers with one of these media types.
    pub(crate) const fn gives_media(self, media: &'static [&'static str]) -> Doc {
        Doc { answer: Answer::Media(media), ..self }
    }
    /// With these statuses, where all is well.
    pub(crate) const fn with(self, answers: &'static [u16]) -> Doc {
        Doc { answers, ..self }
    }
}

/// One route with one method.
#[derive(Clone)]
pub(crate) struct Operation {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) doc: Doc,
}

/// Routes with their descriptions.
#[derive(Default)]
pub(crate) struct Api {
    router: Router<Site>,
    operations: Vec<Operation>,
}

impl Api {
    /// A route for GET (and HEAD).
    pub(crate) fn get<H, T>(self, path: &str, handler: H, doc: Doc) -> Api
    where
        H: Handler<T, Site>,
        T: 'static,
    {
        self.add(MethodFilter::GET, Method::GET, (path, doc), handler)
    }

    /// A route for POST.
    pub(crate) fn post<H, T>(self, path: &str, handler: H, doc: Doc) -> Api
    where
        H: Handler<T, Site>,
        T: 'static,
    {
        self.add(MethodFilter::POST, Method::POST, (path, doc), handler)
    }

    fn add<H, T>(
        mut self,
        filter: MethodFilter,
        method: Method,
        (path, doc): (&str, Doc),
        handler: H,
    ) -> Api
    where
        H: Handler<T, Site>,
        T: 'static,
    {
        self.router = self.router.route(path, on(filter, handler));
        self.operations.push(Operation { method, path: path.to_owned(), doc });
        self
    }

    /// A handler that finds its own way among all paths without a route here, and what it finds.
    pub(crate) fn table<H, T>(mut self, handler: H, operations: Vec<Operation>) -> Api
    where
        H: Handler<T, Site>,
        T: 'static,
    {
        self.router = self.router.fallback(handler);
        self.operations.extend(operations);
        self
    }

    /// Another spelling of a path that has its routes already.
    pub(crate) fn spelt<H, T>(mut self, path: &str, handler: H) -> Api
    where
        H: Handler<T, Site>,
        T: 'static,
    {
        self.router = self.router.route(path, any(handler));
        self
    }

    /// Other routes, below a path.
    pub(crate) fn below(mut self, path: &str, other: Api) -> Api {
        self.router = self.router.nest(path, other.router);
        self.operations.extend(other.operations.into_iter().map(|operation| {
            let below = operation.path.trim_end_matches('/');
            Operation { path: format!("{path}{below}"), ..operation }
        }));
        self
    }

    /// The routes, and what they are for.
    pub(crate) fn into_parts(self) -> (Router<Site>, Vec<Operation>) {
        (self.router, self.operations)
    }
}

/// The operations by path and method.
fn by_path(operations: &[Operation]) -> BTreeMap<&str, Vec<&Operation>> {
    let mut paths: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for operation in operations {
        paths.entry(&operation.path).or_default().push(operation);
    }
    paths
}
