//! The CapabilityStatement: made of the tables that requests are answered from, so that it claims
//! what there is and nothing else.

use protocol::ResourceType;
use serde_json::{Map, Value, json};

use super::audit_event;
use super::params::SEARCH_PARAMS;
use super::route::{Claim, ROUTES};
use crate::site::Site;

/// When what is claimed last changed.
const DATE: &str = "2026-11-23";

/// `GET metadata`
pub(super) fn statement(site: &Site) -> String {
    let resources: Vec<_> = ResourceType::all().map(resource).collect();
    json!({
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": DATE,
        "kind": "instance",
        "software": {"name": "Tributary", "version": env!("CARGO_PKG_VERSION")},
        "implementation": {
            "description": format!("Tributary site {}", site.id()),
            "url": super::base_url(site),
        },
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json", "json"],
        "rest": [{
            "mode": "server",
            "security": {
                "description": "Bearer credentials: fhir-read reads, fhir-write also writes; the \
                                credential of a child site reads its cohorts and reference \
                                records; one of the scope carry posts messages; one of \
                                the scope administer reads AuditEvent, and no records",
            },
            "resource": resources,
            "interaction": claims(|claim| match claim {
                Claim::System(code) => Some(json!({"code": code})),
                _ => None,
            }),
            "operation": claims(|claim| match claim {
                Claim::SystemOperation(name, definition) => {
                    Some(json!({"name": name, "definition": definition}))
                }
                _ => None,
            }),
        }],
    })
    .to_string()
}

fn claims(of: impl Fn(&Claim) -> Option<Value>) -> Vec<Value> {
    ROUTES.iter().flat_map(|route| route.claims).filter_map(of).collect()
}

fn resource(kind: ResourceType) -> Value {
    let mut resource = Map::new();
    resource.insert("type".to_owned(), kind.name().into());
    let interactions = claims(|claim| match claim {
        Claim::Type(code) => Some(json!({"code": code})),
        _ => None,
    });
    resource.insert("interaction".to_owned(), interactions.into());
    resource.insert("versioning".to_owned(), "versioned-update".into());
    resource.insert("readHistory".to_owned(), true.into());
    for claim in ROUTES.iter().flat_map(|route| route.claims) {
        if let Claim::Conditional(name, value) = claim {
            let value = serde_json::from_str(value).unwrap_or(Value::Null);
            resource.insert((*name).to_owned(), value);
        }
    }
    let params: Vec<_> = SEARCH_PARAMS
        .iter()
        .filter(|param| param.is_of(kind))
        .map(|param| {
            let documentation = param.documentation;
            json!({"name": param.name, "type": param.kind, "documentation": documentation})
        })
        .collect();
    if kind.name() == "AuditEvent" {
        resource.insert("documentation".to_owned(), audit_event::DOCUMENTATION.into());
    }
    resource.insert("searchParam".to_owned(), params.into());
    let operations = claims(|claim| match claim {
        Claim::Operation(of, name, definition) if *of == kind => {
            Some(json!({"name": name, "definition": definition}))
        }
        _ => None,
    });
    if !operations.is_empty() {
        resource.insert("operation".to_owned(), operations.into());
    }
    Value::Object(resource)
}
