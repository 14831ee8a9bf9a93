//! A stand-in for OpenMRS that tells the truth: reads by fhir2 and writes by webservices.rest with
//! the habits that the adapter has to survive, each a named switch.

pub(crate) mod fhir;
pub(crate) mod maria;
pub(crate) mod merged;
mod pages;
pub(crate) mod resources;
pub(crate) mod rest;
pub(crate) mod tables;
pub(crate) mod versions;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use serde_json::{Value, json};

use self::pages::{feed, read};
use self::tables::{Memory, Row, Tables, table};

/// What a call of REST answers, or its status and body.
pub(crate) type Answer = Result<Value, (u16, Value)>;

/// The habits of OpenMRS that are not the same everywhere.
#[derive(Debug, Clone, Default)]
pub(crate) struct Quirks {
    /// Ids that a client gives on POST are dropped (webservices.rest before 2.24).
    pub(crate) drops_ids: bool,
    /// What is voided can be taken back.
    pub(crate) undeletes: bool,
    /// An older fhir2: no EpisodeOfCare, contained Provenance with ids of the moment, narratives.
    pub older_fhir2: bool,
    /// Identifiers have to pass a check.
    pub(crate) check_digits: bool,
    /// A privilege that our user has not.
    pub(crate) lacks: Option<String>,
    /// The path of what answers 500, whatever is asked of it.
    pub(crate) breaks: Option<String>,
    /// It answers this instead of 500.
    pub(crate) breaks_with: Option<u16>,
    /// Something before it answers 404 for paths with this part, with this body.
    pub(crate) between: Option<(&'static str, &'static str)>,
    /// Everything answers with a page for people.
    pub(crate) html: bool,
    /// The next write is done and its answer lost.
    pub(crate) loses_answer: bool,
    /// How many pages of searches are remembered before they are forgotten.
    pub(crate) pages: Option<usize>,
    /// A search by ids shows everything.
    pub(crate) ignores_ids: bool,
    /// A search by ids shows more of a record than is shown of it by itself.
    pub(crate) narrates: bool,
}

/// One OpenMRS.
pub(crate) struct State {
    pub(crate) tables: Box<dyn Tables>,
    pub(crate) quirks: Quirks,
    /// Seconds since the beginning of its time.
    pub(crate) clock: i64,
    /// What was asked, `METHOD path`.
    pub(crate) asked: Vec<String>,
    /// Entries of the atomfeed module, by category: their content.
    pub(crate) feeds: BTreeMap<String, Vec<String>>,
    uuids: u64,
}

/// A running stand-in.
#[derive(Clone)]
pub(crate) struct StandIn {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
}

pub(crate) const USER: &str = "sync";
pub(crate) const PASSWORD: &str = "Pass:word1";

impl State {
    pub(crate) fn by_uuid(&mut self, name: &str, uuid: &str) -> Option<Row> {
        self.tables.rows(name, Some(("uuid", &json!(uuid)))).pop()
    }

    pub(crate) fn by_key(&mut self, name: &str, key: &Value) -> Option<Row> {
        if key.is_null() {
            return None;
        }
        self.tables.rows(name, Some((table(name).key, key))).pop()
    }

    pub(crate) fn now(&self) -> String {
        let time = chrono::DateTime::from_timestamp(1_767_225_600 + self.clock, 0).unwrap();
        time.format("%Y-%m-%d %H:%M:%S").to_string()
    }

    pub(crate) fn new_uuid(&mut self) -> String {
        self.uuids += 1;
        format!("00000000-0000-4000-8000-{:012}", self.uuids)
    }
}

pub(crate) fn number(row: &Row, column: &str) -> i64 {
    row.get(column).and_then(Value::as_i64).unwrap_or(0)
}

pub(crate) fn refused(status: u16, message: &str) -> Answer {
    let error = json!({ "message": message, "code": "org.openmrs.api.ValidationException:42" });
    Err((status, json!({ "error": error })))
}

impl StandIn {
    /// Starts one in memory, with the metadata of a small clinic.
    pub(crate) async fn start() -> StandIn {
        StandIn::over(Box::<Memory>::default()).await
    }

    /// Starts one over tables.
    pub(crate) async fn over(tables: Box<dyn Tables>) -> StandIn {
        let mut state = State {
            tables,
            quirks: Quirks { undeletes: true, ..Quirks::default() },
            clock: 0,
            asked: Vec::new(),
            feeds: BTreeMap::new(),
            uuids: 0,
        };
        furnish(&mut state);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/openmrs", listener.local_addr().unwrap());
        let stand_in = StandIn { url, state: Arc::new(Mutex::new(state)) };
        let served = stand_in.clone();
        let app = axum::Router::new().fallback(
            move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
                let served = served.clone();
                async move {
                    tokio::task::spawn_blocking(move || {
                        served.answer(&method, &uri, &headers, &body)
                    })
                    .await
                    .unwrap()
                }
            },
        );
        tokio::spawn(async move { axum::serve(listener, app).await });
        stand_in
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Lets its clock go on, so that what follows has another second.
    pub(crate) fn tick(&self, seconds: i64) {
        self.state().clock += seconds;
    }

    /// What was written to it since it was asked last.
    pub(crate) fn writes(&self) -> Vec<String> {
        let asked = std::mem::take(&mut self.state().asked);
        asked.into_iter().filter(|one| !one.starts_with("GET ")).collect()
    }

    /// A write by somebody else: POST with a body, DELETE without one.
    pub(crate) fn edit(&self, path: &str, body: Option<Value>) -> Value {
        let mut state = self.state();
        let parts = path.split('/').collect::<Vec<_>>();
        state.tables.begin();
        let done = match body {
            Some(body) => rest::post(&mut state, &parts, &body),
            None => rest::void(&mut state, &parts),
        };
        state.tables.end(true);
        if let Ok(made) = &done {
            tell(&mut state, &parts, made);
        }
        done.unwrap_or_else(|error| panic!("{path}: {error:?}"))
    }

    /// A record as fhir2 shows it.
    pub(crate) fn shown(&self, kind: &str, uuid: &str) -> Option<Value> {
        fhir::read(&mut self.state(), kind, uuid).ok().flatten()
    }

    fn answer(&self, method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Response {
        let path = uri.path().strip_prefix("/openmrs/").unwrap_or_default().to_owned();
        let mut state = self.state();
        state.asked.push(format!("{method} {path}"));
        if let Some((_, body)) = state.quirks.between.filter(|(part, _)| path.contains(part)) {
            let kind = [("content-type", "text/plain")];
            return (StatusCode::NOT_FOUND, kind, body).into_response();
        }
        if state.quirks.html || !path.starts_with("ws/") {
            return page(StatusCode::OK);
        }
        let wanted = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"));
        let given = headers.get("authorization").and_then(|value| value.to_str().ok());
        let is_let_in = given == Some(&format!("Basic {wanted}"));
        if path.starts_with("ws/rest/v1/session") {
            return json_answer(StatusCode::OK, &session(&state, is_let_in));
        }
        if path.starts_with("ws/atomfeed/") {
            return feed(&state, &path);
        }
        if !is_let_in {
            // A page, without WWW-Authenticate.
            return page(StatusCode::UNAUTHORIZED);
        }
        if state.quirks.breaks.as_ref().is_some_and(|part| path.contains(part.as_str())) {
            let status = StatusCode::from_u16(state.quirks.breaks_with.unwrap_or(500)).unwrap();
            return json_answer(status, &json!({ "error": {} }));
        }
        match path.strip_prefix("ws/fhir2/R4/") {
            Some(rest) => read(&mut state, rest, uri.query().unwrap_or_default()),
            None => {
                let rest = path.strip_prefix("ws/rest/v1/").unwrap_or_default();
                self.rest(&mut state, method, rest, uri.query().unwrap_or_default(), body)
            }
        }
    }

    fn rest(
        &self,
        state: &mut State,
        method: &Method,
        path: &str,
        query: &str,
        body: &[u8],
    ) -> Response {
        let parts = path.split('/').filter(|part| !part.is_empty()).collect::<Vec<_>>();
        if method == Method::GET {
            return match look(state, &parts, query) {
                Some(found) => json_answer(StatusCode::OK, &found),
                None => json_answer(StatusCode::NOT_FOUND, &json!({ "error": {} })),
            };
        }
        if let Some(privilege) = state.quirks.lacks.clone() {
            let words = format!("Privileges required: [{privilege}]");
            let error = json!({ "error": { "message": words } });
            return json_answer(StatusCode::FORBIDDEN, &error);
        }
        state.tables.begin();
        let done = match method.as_str() {
            "POST" => {
                let body = serde_json::from_slice(body).unwrap_or(Value::Null);
                rest::post(state, &parts, &body)
            }
            _ => rest::void(state, &parts),
        };
        state.tables.end(done.is_ok());
        if let Ok(made) = &done {
            tell(state, &parts, made);
        }
        if std::mem::take(&mut state.quirks.loses_answer) {
            return json_answer(StatusCode::BAD_GATEWAY, &Value::Null);
        }
        match done {
            Ok(body) if method == Method::DELETE => json_answer(StatusCode::NO_CONTENT, &body),
            Ok(body) => json_answer(StatusCode::CREATED, &body),
            Err((status, body)) => json_answer(StatusCode::from_u16(status).unwrap(), &body),
        }
    }
}

/// The metadata that every OpenMRS has, and the concepts of a small clinic.
fn furnish(state: &mut State) {
    if !state.tables.rows("concept", None).is_empty() {
        return;
    }
    state.tables.begin();
    let mut add = |name: &str, cells: &[(&str, Value)]| {
        let row = cells.iter().map(|(column, value)| ((*column).to_owned(), value.clone()));
        state.tables.insert(name, row.collect());
    };
    let named = |uuid: &str, name: &str| [("uuid", json!(uuid)), ("name", json!(name))];
    add("patient_identifier_type", &named("idtype-openmrs", "OpenMRS ID"));
    add("person_attribute_type", &named("attr-phone", "phone"));
    add("encounter_type", &named("enctype-consult", "Consultation"));
    add("visit_type", &named("visittype-clinic", "Clinic visit"));
    add("encounter_role", &named("a0b03050-c99b-11e0-9572-0800200c9a66", "Unknown"));
    add("care_setting", &named("6f0c9a92-6f24-11e3-af88-005056821db0", "Outpatient"));
    for (number, code, name) in [
        (1, "5089", "Weight"),
        (2, "1427", "Findings"),
        (3, "116128", "Malaria"),
        (4, "162298", "Penicillin"),
        (5, "121629", "Rash"),
        (6, "1499", "Moderate"),
        (7, "5622", "Other"),
        (8, "71160", "Amoxicillin"),
        (9, "160541", "HIV program"),
        (10, "1065", "Yes"),
    ] {
        let uuid = format!("{code}{}", "A".repeat(36 - code.len()));
        add(
            "concept",
            &[
                ("concept_id", json!(number)),
                ("uuid", json!(uuid)),
                ("name", json!(name)),
                ("source", json!("CIEL")),
                ("code", json!(code)),
            ],
        );
    }
    add(
        "concept",
        &[
            ("concept_id", json!(20)),
            ("uuid", json!("concept-glucose")),
            ("name", json!("Glucose")),
            ("source", json!("LOINC")),
            ("code", json!("2339-0")),
        ],
    );
    for (number, units) in [(1, "kg"), (20, "mmol/L")] {
        add("concept_numeric", &[("concept_id", json!(number)), ("units", json!(units))]);
    }
    add(
        "program",
        &[("uuid", json!("program-hiv")), ("name", json!("HIV")), ("concept_id", json!(9))],
    );
    state.tables.end(true);
}

fn session(state: &State, is_let_in: bool) -> Value {
    if !is_let_in {
        return json!({ "authenticated": false });
    }
    let rights = match &state.quirks.lacks {
        Some(_) => json!([{ "name": "Get Patients" }]),
        None => json!([]),
    };
    json!({ "authenticated": true, "user": {
        "uuid": "user-1", "privileges": rights, "roles": [{ "name": "Sync" }],
    } })
}

/// GET below `/ws/rest/v1`: what the adapter looks up.
fn look(state: &mut State, parts: &[&str], query: &str) -> Option<Value> {
    let query = reqwest::Url::parse(&format!("http://x/?{query}")).unwrap();
    let query = query.query_pairs().into_owned().collect::<BTreeMap<String, String>>();
    match parts {
        ["obs", uuid @ ..] => versions::look(state, uuid.first().copied(), &query),
        ["patient", uuid] => merged::look(state, uuid),
        _ => look_up(state, parts, &query),
    }
}

fn look_up(state: &mut State, parts: &[&str], query: &BTreeMap<String, String>) -> Option<Value> {
    let name = match parts.first()? {
        &"patientidentifiertype" => "patient_identifier_type",
        &"personattributetype" => "person_attribute_type",
        &"encountertype" => "encounter_type",
        &"visittype" => "visit_type",
        &"encounterrole" => "encounter_role",
        &"caresetting" => "care_setting",
        &"systeminformation" => {
            let title = "SystemInfo.title.openmrsInformation";
            let version = "SystemInfo.OpenMRSInstallation.openmrsVersion";
            return Some(json!({ "systemInfo": { title: { version: "2.6.1" } } }));
        }
        &"module" => {
            let fhir2 = if state.quirks.older_fhir2 { "1.2.0" } else { "2.5.0" };
            return Some(json!({ "results": [
                { "uuid": "fhir2", "version": fhir2, "started": true },
                { "uuid": "webservices.rest", "version": "2.49.0", "started": true },
                { "uuid": "atomfeed", "version": "2.6.3", "started": true },
            ] }));
        }
        other @ (&"concept" | &"program" | &"provider" | &"encounter" | &"location") => other,
        _ => return None,
    };
    if let Some(uuid) = parts.get(1) {
        let row = state.by_uuid(name, uuid)?;
        return look_at(state, name, &row, query);
    }
    let rows = state.tables.rows(name, None);
    let mut found = Vec::new();
    for row in rows {
        let fits = |column: &str, name: &str| {
            query
                .get(name)
                .is_none_or(|value| row.get(column).and_then(Value::as_str) == Some(value))
        };
        if !fits("source", "source") || !fits("code", "code") {
            continue;
        }
        let concept = row.get("concept_id").cloned().filter(|_| name == "program");
        let concept = concept.and_then(|key| state.by_key("concept", &key));
        found.push(json!({
            "uuid": row["uuid"], "name": row["name"], "display": row["name"],
            "concept": concept.map(|concept| json!({ "uuid": concept["uuid"] })),
        }));
    }
    Some(json!({ "results": found }))
}

/// One row of what is looked up.
fn look_at(
    state: &mut State,
    name: &str,
    row: &Row,
    query: &BTreeMap<String, String>,
) -> Option<Value> {
    Some(match name {
        "encounter" => {
            let key = row["encounter_id"].clone();
            let mut rows = Vec::new();
            for one in state.tables.rows("encounter_provider", Some(("encounter_id", &key))) {
                let provider = state.by_key("provider", &one["provider_id"])?;
                let role = state.by_key("encounter_role", &one["encounter_role_id"])?;
                rows.push(json!({
                    "uuid": one["uuid"], "voided": number(&one, "voided") != 0,
                    "provider": { "uuid": provider["uuid"] },
                    "encounterRole": { "uuid": role["uuid"] },
                }));
            }
            json!({ "encounterProviders": rows })
        }
        "provider" => {
            let person = state.by_key("person", &row["person_id"])?;
            json!({ "person": { "uuid": person["uuid"] } })
        }
        // A concept that is not numeric has no such member.
        "concept" if query.get("v").is_some_and(|v| v == "full") => {
            match state.by_key("concept_numeric", &row["concept_id"]) {
                Some(numeric) => json!({ "uuid": row["uuid"], "units": numeric["units"] }),
                None => json!({ "uuid": row["uuid"] }),
            }
        }
        _ => json!({ "uuid": row["uuid"] }),
    })
}

/// Something was written: the atomfeed module says so.
fn tell(state: &mut State, parts: &[&str], made: &Value) {
    let made = made["uuid"].as_str().unwrap_or_default();
    let uuid = parts.get(1).copied().unwrap_or(made);
    let (category, kind) = match parts.first() {
        Some(&"patient" | &"person") => ("patient", "Patient"),
        Some(&"encounter") => ("encounter", "Encounter"),
        Some(&"obs") => ("observation", "Observation"),
        _ => return,
    };
    let content = json!({
        "rest": format!("/openmrs/ws/rest/v1/{}/{uuid}?v=full", parts[0]),
        "fhir": format!("/openmrs/ws/fhir/{kind}/{uuid}"),
    });
    state.feeds.entry(category.to_owned()).or_default().push(content.to_string());
}

pub(crate) fn outcome() -> Value {
    json!({ "resourceType": "OperationOutcome", "issue": [{ "severity": "error",
        "code": "not-found" }] })
}

pub(crate) fn page(status: StatusCode) -> Response {
    let html = "<!DOCTYPE html><html><body>Login</body></html>";
    (status, [("content-type", "text/html;charset=UTF-8")], html).into_response()
}

pub(crate) fn json_answer(status: StatusCode, body: &Value) -> Response {
    (status, [("content-type", "application/json;charset=UTF-8")], body.to_string()).into_response()
}

pub(crate) fn fhir_answer(status: StatusCode, body: &Value) -> Response {
    (status, [("content-type", "application/fhir+json")], body.to_string()).into_response()
}
