//! Nothing is lost in a record system that cannot hold everything: the richest records of each type
//! go there, are edited there element by element, and all else stays as it was.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use protocol::Limits;
use protocol::digest;
use protocol::json::{self, Json, Object};
use protocol::resource::Record;

use crate::jobs::{Clinic, named};
use crate::memory::Faults;

/// Records of each type, the longest.
const EACH: usize = 4;

/// The resources of all JSON files in a folder, Bundles taken apart, as texts by type.
fn resources(folder: &Path, found: &mut BTreeMap<String, Vec<String>>) {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = entries.collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            resources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "json") {
            let text = std::fs::read_to_string(&path).unwrap();
            let parsed = json::parse(text.as_bytes(), json::DEPTH_MAX).unwrap();
            let entries = parsed.get("entry").map_or(&[][..], Json::items);
            let resources = entries.iter().filter_map(|entry| entry.get("resource"));
            for resource in resources.chain([&parsed]) {
                add(resource, found);
            }
        }
    }
}

/// Keeps the longest of a type.
fn add(resource: &Json<'_>, found: &mut BTreeMap<String, Vec<String>>) {
    let (Some(kind), Some(_)) = (resource.str_at("resourceType"), resource.str_at("id")) else {
        return;
    };
    // What no site takes (some examples have ids that FHIR does not allow) goes nowhere.
    if kind == "Bundle" || Record::from_json(resource, &Limits::default()).is_err() {
        return;
    }
    let of_kind = found.entry(kind.into_owned()).or_default();
    of_kind.push(digest::body(resource.as_object().unwrap()));
    of_kind.sort_by_key(|body| std::cmp::Reverse(body.len()));
    of_kind.truncate(EACH);
}

fn object<'a>(text: &'a str) -> Object<'a> {
    match json::parse(text.as_bytes(), json::DEPTH_MAX).unwrap() {
        Json::Object(object) => object,
        _ => panic!("a resource is an object"),
    }
}

/// Puts other words in the place of the first text within.
fn touched<'a>(value: &Json<'a>) -> Json<'a> {
    match value {
        Json::String(_) => Json::string("edited there"),
        Json::Bool(value) => Json::Bool(!value),
        Json::Number(_) => Json::Number("7777".into()),
        Json::Array(items) => {
            let mut items = items.clone();
            if let Some(first) = items.first_mut() {
                *first = touched(first);
            }
            Json::Array(items)
        }
        Json::Object(object) => {
            let mut members = object.clone().into_members();
            if let Some((_, first)) = members.first_mut() {
                *first = touched(first);
            }
            Json::Object(Object::from_members(members))
        }
        Json::Null => Json::Null,
    }
}

/// Members that say whose a record is, and what it is.
const FIXED: [&str; 5] = ["resourceType", "id", "subject", "patient", "link"];

#[test]
fn defect_23_each_element_is_edited_there_by_turn_and_all_else_stays_skipped_without_test_data() {
    let Some(folder) = std::env::var_os("TRIBUTARY_TEST_DATA") else { return };
    let mut found = BTreeMap::new();
    for part in ["hl7-r4-examples", "synthea-r4"] {
        resources(&Path::new(&folder).join(part), &mut found);
    }
    // References to what is not there are not what this is about.
    let clinic = Clinic::new(Faults { integrity: false, ..Faults::LIKE_OPENMRS });
    let (mut edits, mut records) = (0, 0);
    for body in found.values().flatten() {
        let name = {
            let resource = object(body);
            let of = |key| resource.get(key).and_then(Json::as_str).unwrap().into_owned();
            format!("{}/{}", of("resourceType"), of("id"))
        };
        if clinic.body(&name).is_some() {
            continue;
        }
        clinic.put(&[body]);
        clinic.settle();
        let Some(image) = clinic.emr.body(&named(&name)) else { continue };
        records += 1;
        for (key, value) in object(&image).iter() {
            let key = key.decode().into_owned();
            if FIXED.contains(&key.as_str()) {
                continue;
            }
            edits += 1;
            let before = clinic.body(&name).unwrap();
            let shown = clinic.emr.body(&named(&name)).unwrap();
            let mut edited = object(&shown);
            let Some(now) = edited.get(&key).cloned() else { continue };
            edited.set(key.clone(), touched(&now));
            let _ = value;
            clinic.emr.enter(&[(named(&name), Some(Json::Object(edited).to_text()))]);
            clinic.settle();
            let after = clinic.body(&name).unwrap();
            assert_ne!(before, after, "{name}: {key} was edited");
            all_else_stays(&name, &key, (&before, &after));
        }
    }
    assert!(records > 20 && edits > 150, "{records} records, {edits} edits");
}

fn all_else_stays(name: &str, key: &str, (before, after): (&str, &str)) {
    let (before, after) = (object(before), object(after));
    for (other, value) in before.iter() {
        let other = other.decode();
        let said_of_value =
            key.starts_with("value") && matches!(&*other, "interpretation" | "dataAbsentReason");
        if other != key && other.trim_start_matches('_') != key && !said_of_value {
            assert_eq!(after.get(&other), Some(value), "{name}: {other} after {key}");
        }
    }
    for (other, _) in after.iter() {
        assert!(other == key || before.get(&other.decode()).is_some(), "{name}: {}", other.raw());
    }
}
