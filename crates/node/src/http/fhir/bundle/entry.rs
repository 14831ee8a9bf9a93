//! One entry of a transaction or batch, as it was asked for.

use axum::http::Method;
use protocol::json::Json;

use super::super::conditions::Conditions;
use super::super::route::{Asked, Interaction, find};
use super::super::{Call, query};
use crate::http::error::Failure;

/// An entry.
#[derive(Debug, Clone)]
pub(super) struct Entry<'a> {
    pub(super) full_url: Option<String>,
    pub(super) method: Method,
    pub(super) asked: Asked,
    pub(super) query: Vec<(String, String)>,
    pub(super) conditions: Conditions,
    /// Of the entries that have to have one.
    pub(super) resource: Option<&'a Json<'a>>,
}

impl<'a> Entry<'a> {
    /// Reads an entry.
    pub(super) fn of(call: &Call<'_>, entry: &'a Json<'a>) -> Result<Entry<'a>, Failure> {
        let request = entry
            .get("request")
            .ok_or_else(|| Failure::bad_request("there is no request with a method and a url"))?;
        let method = method(&text(request, "method")?.unwrap_or_default())?;
        let url =
            text(request, "url")?.ok_or_else(|| Failure::bad_request("the request has no url"))?;
        let base = call.base();
        let url = url.strip_prefix(base.as_str()).unwrap_or(&url);
        let (path, criteria) = url.split_once('?').unwrap_or((url, ""));
        let asked = find(&method, path)?;
        if asked.interaction == Interaction::Bundle {
            return Err(Failure::bad_request("a transaction or batch cannot hold another one"));
        }
        let resource = match asked.interaction.takes_resource() {
            false => None,
            true => Some(entry.get("resource").ok_or_else(|| {
                Failure::bad_request(format!("a {method} needs a resource, and there is none"))
            })?),
        };
        let mut query = query::pairs(criteria)?;
        query.retain(|(name, _)| name != "_format" && name != "_pretty");
        Ok(Entry {
            full_url: text(entry, "fullUrl")?,
            method,
            asked,
            query,
            conditions: Conditions {
                if_match: text(request, "ifMatch")?,
                if_none_match: text(request, "ifNoneMatch")?,
                if_none_exist: text(request, "ifNoneExist")?,
            },
            resource,
        })
    }

    /// In which order FHIR has entries processed: deletions, creations, updates, reads.
    pub(super) fn rank(&self) -> u8 {
        match self.method {
            Method::DELETE => 0,
            Method::POST => 1,
            Method::PUT => 2,
            _ => 3,
        }
    }
}

fn text(object: &Json<'_>, name: &str) -> Result<Option<String>, Failure> {
    let Some(value) = object.get(name) else { return Ok(None) };
    let text = value.as_str().filter(|text| !text.is_empty());
    text.map(|text| Some(text.into_owned()))
        .ok_or_else(|| Failure::bad_request(format!("{name} is no text, or empty")))
}

fn method(name: &str) -> Result<Method, Failure> {
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE]
        .into_iter()
        .find(|method| method.as_str() == name)
        .ok_or_else(|| {
            Failure::bad_request("request.method must be one of GET, HEAD, POST, PUT, DELETE")
        })
}
