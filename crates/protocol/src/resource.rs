//! A FHIR resource: verbatim JSON with thin views of what a site has to know of it.

pub mod compartment;
pub mod date;
pub mod order;
pub mod references;
pub mod replaced;
pub mod search;
#[cfg(test)]
mod tests;
pub mod types;

use std::collections::BTreeSet;

use crate::cohort::{Place, places};
use crate::digest::{Digest, body};
use crate::error::Refusal;
use crate::id::{RecordRef, ResourceType};
use crate::json::{self, Json, Object, Text};
use crate::limits::Limits;
use crate::resource::search::SearchKey;

/// One state of a record with everything that a store keeps beside it, worked out once, outside
/// of any transaction.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Which record.
    pub reference: RecordRef,
    /// Of the canonical form, or of the deletion.
    pub digest: Digest,
    /// Compact JSON in its own key order, without `meta.versionId` and `meta.lastUpdated`;
    /// `None` where the record is deleted.
    pub body: Option<String>,
    /// The patients in whose compartment it is (FHIR R4 patient compartment), sorted.
    pub patients: BTreeSet<RecordRef>,
    /// What it says of where patients belong.
    pub places: Vec<(RecordRef, Place)>,
    /// What it can be found by.
    pub keys: Vec<SearchKey>,
}

impl Record {
    /// Reads a resource that has a type and an id. Refuses what is over a limit, is not JSON, or
    /// has no possible type or id.
    pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Record, Refusal> {
        if bytes.len() > limits.resource_bytes {
            return Err(over_resource_bytes(limits));
        }
        Record::from_json(&json::parse(bytes, limits.json_depth)?, limits)
    }
    /// The same for JSON that was parsed already, as a part of a Bundle or of a line.
    pub fn from_json(resource: &Json<'_>, limits: &Limits) -> Result<Record, Refusal> {
        let object = object(resource)?;
        let reference = reference(object)?;
        let body = body(object);
        if body.len() > limits.resource_bytes {
            return Err(over_resource_bytes(limits));
        }
        Ok(Record {
            digest: Digest::of(resource),
            body: Some(body),
            patients: compartment::patients(&reference, resource),
            places: places(&reference, resource),
            keys: search::keys(reference.kind, resource),
            reference,
        })
    }
    /// As `from_json`, and refuses a resource that is not the one that its URL names.
    pub fn expected(
        resource: &Json<'_>,
        url: &RecordRef,
        limits: &Limits,
    ) -> Result<Record, Refusal> {
        let own = reference(object(resource)?)?;
        if own != *url {
            return Err(Refusal::invalid(format!(
                "the resource is {own}, but the URL names {url}"
            )));
        }
        Record::from_json(resource, limits)
    }
    /// The state "deleted". It keeps no patients of its own: a store keeps those it knew.
    pub fn deleted(reference: RecordRef) -> Record {
        let digest = Digest::of_deletion(&reference);
        Record {
            reference,
            digest,
            body: None,
            patients: BTreeSet::new(),
            places: Vec::new(),
            keys: Vec::new(),
        }
    }
}

fn over_resource_bytes(limits: &Limits) -> Refusal {
    Refusal::over_limit("resource_bytes", limits.resource_bytes)
}

/// The type of a resource, which may have no id yet. Refuses what is not an object, has no
/// `resourceType`, or one that R4 does not have.
pub fn kind(resource: &Json<'_>) -> Result<ResourceType, Refusal> {
    kind_of(object(resource)?)
}

/// The resource with another id, or with one where it had none; it stands right after
/// `resourceType`.
pub fn with_id<'a>(resource: &Json<'a>, id: &str) -> Result<Json<'a>, Refusal> {
    let object = object(resource)?;
    RecordRef::new(kind_of(object)?, id)?;
    let mut members = object.clone().into_members();
    members.retain(|(key, _)| key != "id");
    let kind_at = members.iter().position(|(key, _)| key == "resourceType").unwrap_or_default();
    members.insert(kind_at + 1, (Text::plain("id"), Json::string(id.to_owned())));
    Ok(Json::Object(Object::from_members(members)))
}

fn object<'t, 'a>(resource: &'t Json<'a>) -> Result<&'t Object<'a>, Refusal> {
    resource.as_object().ok_or_else(|| Refusal::invalid("a resource is a JSON object"))
}

fn kind_of(object: &Object<'_>) -> Result<ResourceType, Refusal> {
    let name = object.get("resourceType").and_then(Json::as_str);
    name.ok_or_else(|| Refusal::invalid("the resource has no resourceType"))?.parse()
}

fn reference(object: &Object<'_>) -> Result<RecordRef, Refusal> {
    let kind = kind_of(object)?;
    let id = object.get("id").and_then(Json::as_str);
    RecordRef::new(kind, &id.ok_or_else(|| Refusal::invalid(format!("the {kind} has no id")))?)
}
