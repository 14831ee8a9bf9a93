//! The OpenAPI 3.1 document: the list of routes, written down.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::{Answer, Doc, JSON, Make, Operation, Who, by_path, shapes};
use crate::site::Site;

/// `GET /api/openapi.json`
pub(in crate::http) async fn show(State(site): State<Site>) -> Response {
    let text = document(&site.config().public_url).to_string();
    ([(header::CONTENT_TYPE, JSON)], text).into_response()
}

/// The document of a site that is reached at this URL.
pub(in crate::http) fn document(url: &str) -> Value {
    let (_, operations) = crate::http::api().into_parts();
    let mut paths = Map::new();
    for (path, operations) in by_path(&operations) {
        let mut item = Map::new();
        let parameters = path_parameters(path);
        if !parameters.is_empty() {
            item.insert("parameters".to_owned(), parameters.into());
        }
        for one in operations {
            item.insert(one.method.as_str().to_lowercase(), operation(one));
        }
        paths.insert(path.to_owned(), item.into());
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tributary",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Keeps patients' records in step between clinics and a centre. \
                            docs/protocol.md and docs/operations.md say what each route does.",
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": url}],
        "security": [{"credential": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"credential": {"type": "http", "scheme": "bearer"}},
            "responses": {
                "Problem": {
                    "description": "What is wrong (RFC 9457).",
                    "content": {"application/problem+json": {
                        "schema": written::<shapes::ProblemShape>(),
                    }},
                },
                "OperationOutcome": {
                    "description": "What is wrong, as FHIR says it.",
                    "content": {"application/fhir+json": {
                        "schema": {
                            "type": "object",
                            "required": ["resourceType", "issue"],
                            "properties": {
                                "resourceType": {"const": "OperationOutcome"},
                                "issue": {"type": "array", "minItems": 1},
                            },
                        },
                    }},
                },
            },
        },
    })
}

fn operation(operation: &Operation) -> Value {
    let Operation { method, path, doc } = operation;
    let area = path.split('/').nth(1).unwrap_or_default();
    let mut told = json!({
        "operationId": format!("{} {path}", method.as_str()),
        "tags": [area],
        "summary": doc.summary,
        "description": doc.who.words(),
        "responses": responses(doc, area == "fhir"),
    });
    let mut parameters = doc.query.map(query_parameters).unwrap_or_default();
    if doc.who == Who::Children {
        parameters.extend(headers());
    }
    if !parameters.is_empty() {
        told["parameters"] = parameters.into();
    }
    if let Some((media, make)) = doc.body {
        told["requestBody"] = json!({"content": {media: {"schema": taken(make)}}});
    }
    if doc.who == Who::Anybody {
        told["security"] = json!([]);
    }
    told
}

fn responses(doc: &Doc, is_fhir: bool) -> Value {
    let mut responses = Map::new();
    for status in doc.answers {
        let mut answer = json!({"description": doc.summary});
        let content = match doc.answer {
            _ if *status == 204 || *status == 304 => None,
            Answer::Json(make) => Some(json!({JSON: {"schema": given(make)}})),
            Answer::Media(media) => {
                Some(media.iter().map(|media| ((*media).to_owned(), json!({}))).collect())
            }
            Answer::Empty => None,
        };
        if let Some(content) = content {
            answer["content"] = content;
        }
        responses.insert(status.to_string(), answer);
    }
    let failure = if is_fhir { "OperationOutcome" } else { "Problem" };
    let failure = json!({"$ref": format!("#/components/responses/{failure}")});
    responses.insert("4XX".to_owned(), failure.clone());
    responses.insert("5XX".to_owned(), failure);
    responses.into()
}

fn written<T: schemars::JsonSchema>() -> Value {
    given(T::json_schema)
}

/// The shape of what is answered.
fn given(make: Make) -> Value {
    shape(SchemaSettings::draft2020_12().for_serialize(), make)
}

/// The shape of what is taken.
fn taken(make: Make) -> Value {
    shape(SchemaSettings::draft2020_12().for_deserialize(), make)
}

fn shape(settings: SchemaSettings, make: Make) -> Value {
    let mut generator = settings.with(|it| it.inline_subschemas = true).into_generator();
    make(&mut generator).to_value()
}

/// The members of a query, each as a parameter.
fn query_parameters(make: Make) -> Vec<Value> {
    let shape = taken(make);
    let required = shape["required"].as_array().cloned().unwrap_or_default();
    let members = shape["properties"].as_object().cloned().unwrap_or_default();
    let told = members.into_iter().map(|(name, mut schema)| {
        let words = schema.as_object_mut().and_then(|schema| schema.remove("description"));
        let is_required = required.iter().any(|required| required == name.as_str());
        let mut told = json!({
            "name": name, "in": "query", "required": is_required, "schema": not_null(schema),
        });
        if let Some(words) = words {
            told["description"] = words;
        }
        told
    });
    told.collect()
}

/// What may be left out of a query cannot be null in it.
fn not_null(mut schema: Value) -> Value {
    let Some(kinds) = schema["type"].as_array() else { return schema };
    let kinds = kinds.iter().filter(|kind| **kind != "null").cloned().collect::<Vec<_>>();
    if let [kind] = &kinds[..] {
        schema["type"] = kind.clone();
    }
    schema
}

/// The headers by which a child says which protocol it speaks and in which life it is.
fn headers() -> [Value; 2] {
    [
        json!({
            "name": "Tributary-Protocol", "in": "header", "required": false,
            "schema": {"const": "1"},
        }),
        json!({
            "name": "Tributary-Epoch", "in": "header", "required": true,
            "schema": {"type": "string", "format": "uuid"},
        }),
    ]
}

/// The parameters in a path, by their names.
fn path_parameters(path: &str) -> Vec<Value> {
    let parts = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let told = parts.map(|name| {
        let (schema, example) = match name {
            "type" => (json!({"type": "string", "pattern": "^[A-Z][A-Za-z]{2,40}$"}), "Patient"),
            "id" => (json!({"type": "string", "pattern": "^[A-Za-z0-9.:-]{1,64}$"}), "amina"),
            "version" | "number" => (json!({"type": "integer", "minimum": 0}), "1"),
            "feed" => (json!({"type": "string", "minLength": 1}), "reference"),
            _ => (json!({"type": "string", "minLength": 1}), "parent"),
        };
        let example =
            example.parse::<u64>().map_or_else(|_| json!(example), |number| json!(number));
        json!({
            "name": name, "in": "path", "required": true, "schema": schema, "example": example,
        })
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_route_is_described_once_and_each_of_its_parameters() {
        let (_, operations) = crate::http::api().into_parts();
        let described = document("https://centre.example");
        let mut ids = BTreeSet::new();
        for one in &operations {
            let told = &described["paths"][&one.path][one.method.as_str().to_lowercase()];
            assert!(told["summary"].as_str().is_some_and(|words| words.len() > 4), "{told}");
            assert!(ids.insert(told["operationId"].to_string()), "{told} stands twice");
            let named = one.path.matches('{').count();
            let parameters = &described["paths"][&one.path]["parameters"];
            assert_eq!(parameters.as_array().map_or(0, Vec::len), named, "{}", one.path);
            let answers = told["responses"].as_object().unwrap();
            assert!(answers.keys().any(|status| status.starts_with('2')), "{told}");
        }
        let all = described["paths"].as_object().unwrap();
        let all: usize = all
            .values()
            .map(|item| item.as_object().unwrap().keys().filter(|key| *key != "parameters").count())
            .sum();
        assert_eq!(all, operations.len());
    }

    #[test]
    fn what_may_be_left_out_is_not_null_in_a_query() {
        for (schema, expected) in [
            (json!({"type": ["integer", "null"]}), json!({"type": "integer"})),
            (json!({"type": "string"}), json!({"type": "string"})),
            (json!({"type": ["string", "integer"]}), json!({"type": ["string", "integer"]})),
        ] {
            assert_eq!(not_null(schema), expected);
        }
    }
}
