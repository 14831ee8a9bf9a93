//! The FHIR API of a site, through its real router over a real store.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

#[path = "../harness/mod.rs"]
mod harness;

mod bad_input;
mod bundles;
mod conditions;
mod entitlement;
mod examples;
mod history;
mod metadata;
mod records;
mod search;

use serde_json::{Value, json};

/// A patient with a family name.
fn patient(id: &str, family: &str) -> Value {
    json!({"resourceType": "Patient", "id": id, "name": [{"family": family}]})
}

/// An observation of a patient.
fn observation(id: &str, patient: &str, value: i32) -> Value {
    json!({
        "resourceType": "Observation",
        "id": id,
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "8480-6"}]},
        "subject": {"reference": format!("Patient/{patient}")},
        "effectiveDateTime": "2026-11-20",
        "valueQuantity": {"value": value},
    })
}

/// The ids of a Bundle's resources, in order.
fn ids(bundle: &Value) -> Vec<String> {
    let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
    entries.iter().map(|entry| entry["resource"]["id"].as_str().unwrap().to_owned()).collect()
}

/// The path of a Bundle's link, as a request to the site takes it.
fn link(bundle: &Value, relation: &str) -> Option<String> {
    let links = bundle["link"].as_array()?;
    let link = links.iter().find(|link| link["relation"] == relation)?;
    let url = link["url"].as_str().unwrap();
    Some(url.strip_prefix("https://centre.example").expect("a link of this site").to_owned())
}
