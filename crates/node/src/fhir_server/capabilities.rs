//! What a server says that it can do: `/metadata`.

use std::collections::{BTreeMap, BTreeSet};

use protocol::ResourceType;
use serde_json::Value;

use crate::ports::LinkError;

/// What a server offers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// What it is, and which version of that.
    pub software: Option<String>,
    /// It takes transaction Bundles.
    pub transaction: bool,
    /// It takes batch Bundles.
    pub batch: bool,
    /// It has a history of everything, which can be asked for `_since` a time.
    pub history: bool,
    /// It takes messages: `$process-message`.
    pub message: bool,
    /// What it does with records, by their type.
    pub types: BTreeMap<ResourceType, TypeCapabilities>,
}

/// What a server does with records of one type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TypeCapabilities {
    /// It shows one.
    pub read: bool,
    /// It finds some.
    pub search: bool,
    /// It finds those that changed since a time (`_lastUpdated`).
    pub last_updated: bool,
    /// It changes one.
    pub update: bool,
    /// It makes one under the id that it is given.
    pub update_create: bool,
    /// It makes one under an id of its own.
    pub create: bool,
    /// It deletes one.
    pub delete: bool,
    /// It refuses to change what is not any more what `If-Match` says.
    pub if_match: bool,
    /// It has a history of all of them.
    pub history: bool,
}

impl Capabilities {
    /// Reads a CapabilityStatement. Refuses what is none, or is not of R4.
    pub fn read(body: &[u8]) -> Result<Capabilities, LinkError> {
        let odd = || {
            LinkError("what it says at /metadata is no CapabilityStatement: check url".to_owned())
        };
        let told: Value = serde_json::from_slice(body).map_err(|_| odd())?;
        if text(&told, "resourceType") != Some("CapabilityStatement") {
            return Err(odd());
        }
        let version = text(&told, "fhirVersion").unwrap_or_default();
        if !version.starts_with("4.0") {
            let version: String = version.chars().take(20).collect();
            return Err(LinkError(format!(
                "it speaks FHIR {version:?}, and records here are of R4 (4.0.1)"
            )));
        }
        let rest = items(&told, "rest");
        let server = rest.iter().find(|rest| text(rest, "mode") == Some("server"));
        let Some(rest) = server.or(rest.first()) else { return Err(odd()) };
        let all = codes(rest);
        let everywhere = params(rest);
        let types = items(rest, "resource").iter().filter_map(|told| {
            let kind = text(told, "type")?.parse::<ResourceType>().ok()?;
            Some((kind, of_type(told, &everywhere)))
        });
        Ok(Capabilities {
            software: software(&told),
            transaction: all.contains("transaction"),
            batch: all.contains("batch"),
            history: all.contains("history-system"),
            message: operations(rest).any(|name| name == "process-message"),
            types: types.collect(),
        })
    }
}

fn of_type(told: &Value, everywhere: &BTreeSet<&str>) -> TypeCapabilities {
    let codes = codes(told);
    let has = |code: &str| codes.contains(code);
    TypeCapabilities {
        read: has("read"),
        search: has("search-type"),
        last_updated: everywhere.contains("_lastUpdated") || params(told).contains("_lastUpdated"),
        update: has("update"),
        update_create: told.get("updateCreate") == Some(&Value::Bool(true)),
        create: has("create"),
        delete: has("delete"),
        if_match: text(told, "versioning") == Some("versioned-update"),
        history: has("history-type"),
    }
}

fn software(told: &Value) -> Option<String> {
    let software = told.get("software")?;
    let words = ["name", "version"].into_iter().filter_map(|name| text(software, name));
    let words = words.collect::<Vec<_>>().join(" ");
    // It is shown to people and kept: a line, not a page.
    let line = words.chars().filter(|c| !c.is_control()).take(100);
    Some(line.collect()).filter(|line: &String| !line.is_empty())
}

fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name)?.as_str()
}

fn items<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn codes(of: &Value) -> BTreeSet<&str> {
    items(of, "interaction").iter().filter_map(|one| text(one, "code")).collect()
}

fn params(of: &Value) -> BTreeSet<&str> {
    items(of, "searchParam").iter().filter_map(|one| text(one, "name")).collect()
}

fn operations(of: &Value) -> impl Iterator<Item = &str> {
    items(of, "operation")
        .iter()
        .filter_map(|one| text(one, "name"))
        .map(|name| name.trim_start_matches('$'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_server_offers_is_read_and_what_it_does_not_say_it_has_not() {
        let told = json!({
            "resourceType": "CapabilityStatement", "fhirVersion": "4.0.1",
            "software": {"name": "Some Server", "version": "8.1"},
            "rest": [
                {"mode": "client"},
                {"mode": "server",
                 "interaction": [{"code": "transaction"}, {"code": "history-system"}],
                 "operation": [{"name": "process-message", "definition": "x"}],
                 "searchParam": [{"name": "_lastUpdated"}],
                 "resource": [
                    {"type": "Patient", "versioning": "versioned-update", "updateCreate": true,
                     "interaction": [{"code": "read"}, {"code": "update"}, {"code": "delete"}]},
                    {"type": "Observation", "interaction": [{"code": "create"}]},
                    {"type": "NutritionIntake", "interaction": [{"code": "read"}]},
                 ]},
            ],
        });
        let known = Capabilities::read(told.to_string().as_bytes()).unwrap();
        assert_eq!(known.software.as_deref(), Some("Some Server 8.1"));
        assert!(known.transaction && known.history && known.message && !known.batch);
        assert_eq!(known.types.len(), 2);
        let patient = known.types[&ResourceType::PATIENT];
        assert!(patient.update && patient.update_create && patient.if_match && patient.delete);
        assert!(patient.last_updated && !patient.search && !patient.create && !patient.history);
    }

    #[test]
    fn what_is_no_statement_of_an_r4_server_is_refused() {
        for (body, words) in [
            ("<html>", "no CapabilityStatement"),
            (r#"{"resourceType":"Patient"}"#, "no CapabilityStatement"),
            (r#"{"resourceType":"CapabilityStatement","fhirVersion":"4.0.1"}"#, "no Capability"),
            (r#"{"resourceType":"CapabilityStatement","fhirVersion":"5.0.0"}"#, "FHIR \"5.0.0\""),
            (r#"{"resourceType":"CapabilityStatement"}"#, "FHIR \"\""),
        ] {
            let error = Capabilities::read(body.as_bytes()).unwrap_err().0;
            assert!(error.contains(words), "{error}");
        }
    }
}
