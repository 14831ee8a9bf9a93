//! A FHIR R4 server for tests, in one process: strict about transactions, about ids and about what
//! records refer to, and with faults that a test sets. It shares no code with the program.

#![allow(dead_code, unused_imports, reason = "each test program uses its own part of this")]

mod rules;
mod small;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use rules::is_batch;
pub(crate) use small::outcome;
use small::{instant, ok, query_of, refusal, refused};

pub(crate) const FHIR: &str = "application/fhir+json";

/// One record.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    /// As it was sent; `None`: deleted.
    pub(crate) body: Option<String>,
    pub(crate) version: u64,
    /// When it was changed last: milliseconds since the epoch, by the server's clock.
    pub(crate) changed: i64,
}

/// What happens to the next request instead of what it asks for.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// This answer; nothing is done.
    Say(u16, &'static str, String),
    /// It is done, and the connection breaks off before that is told.
    LoseAnswer,
}

/// What it does, and what it holds.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) records: BTreeMap<String, Held>,
    /// What it says of itself.
    pub(crate) transaction: bool,
    /// Whether it takes batches, and answers to them.
    pub(crate) batch: Batch,
    pub(crate) message: bool,
    /// Bytes of a request that it takes.
    pub(crate) most: usize,
    /// `Authorization` without which nobody is let in.
    pub(crate) wants: Option<String>,
    /// What happens to the next requests that would change something.
    pub(crate) faults: VecDeque<Fault>,
    /// What it says wherever one of these records stands in a request, and nothing is done then.
    pub(crate) fails: BTreeMap<String, (u16, String)>,
    /// How it answers messages: the code, and words.
    pub(crate) answers: (&'static str, String),
    /// Messages that came.
    pub(crate) messages: Vec<Value>,
    /// Method and path of each request.
    pub(crate) asked: Vec<String>,
    /// Whether it has a history of everything.
    pub(crate) history: bool,
    /// Whether it makes records under ids that it is given.
    pub(crate) update_create: bool,
    /// Whether what is posted gets an id of the server's own: a number.
    pub(crate) own_ids: bool,
    /// Whether `If-Match` is honoured.
    pub(crate) if_match: bool,
    /// Every change: record, when, the version, and what it was then.
    pub(crate) log: Vec<(String, i64, u64, Option<String>)>,
    /// Its clock.
    pub(crate) now: i64,
    /// Most entries of one page.
    pub(crate) page: usize,
    /// Later pages are answered with this status; 200: with one that names itself as the next one,
    /// 201: with two that name each other.
    pub(crate) later: Option<u16>,
    /// What happens to records after each of the next pages that another one follows.
    pub(crate) between: VecDeque<(String, Option<String>)>,
    /// Whether it keeps tags, and searches by them.
    pub(crate) tags: (bool, bool),
    /// Whether it takes `_elements`, and whether it can show its records whole in a search.
    pub(crate) elements: bool,
    pub(crate) whole: bool,
}

/// How it takes batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Batch {
    /// It does not offer them.
    None,
    Good,
    /// It offers them, and refuses each.
    Refused,
    /// It knows no name that stands in one.
    Blind,
}

pub(crate) type Shared = Arc<Mutex<Server>>;

pub(crate) fn locked(server: &Shared) -> MutexGuard<'_, Server> {
    server.lock().unwrap()
}

/// Starts one on a free port, below `/fhir`.
pub(crate) async fn start() -> Shared {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/fhir", listener.local_addr().unwrap());
    let server: Shared = Arc::new(Mutex::new(Server {
        url,
        records: BTreeMap::new(),
        transaction: true,
        batch: Batch::None,
        message: false,
        most: 16 << 20,
        wants: None,
        faults: VecDeque::new(),
        fails: BTreeMap::new(),
        answers: ("ok", String::new()),
        messages: Vec::new(),
        asked: Vec::new(),
        history: false,
        update_create: true,
        own_ids: false,
        if_match: true,
        log: Vec::new(),
        now: 1_795_421_730_000,
        page: 100,
        later: None,
        between: VecDeque::new(),
        elements: true,
        whole: true,
        tags: (true, true),
    }));
    let router = axum::Router::new().fallback(answer).with_state(server.clone());
    let stop = tokio_util::sync::CancellationToken::new();
    tokio::spawn(node::server::run(listener, router, stop));
    server
}

async fn answer(State(server): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let Some(path) = parts.uri.path().strip_prefix("/fhir") else {
        return (StatusCode::NOT_FOUND, [("content-type", "text/html")], "<html>").into_response();
    };
    let mut server = locked(&server);
    server.asked.push(format!("{} {path}", parts.method));
    if let Some(wanted) = &server.wants
        && parts.headers.get("authorization").is_none_or(|value| value != wanted)
    {
        return (StatusCode::UNAUTHORIZED, [("content-type", "text/html")], "<html>")
            .into_response();
    }
    let query = query_of(parts.uri.query().unwrap_or_default());
    let changes = parts.method != "GET";
    let fault = if changes { server.faults.pop_front() } else { None };
    if let Some(Fault::Say(status, kind, body)) = fault {
        let status = StatusCode::from_u16(status).unwrap();
        return (status, [("content-type", kind)], body).into_response();
    }
    if body.len() > server.most {
        return refusal(413, "too-long", "that is too much");
    }
    let answer = match (parts.method.as_str(), path.trim_start_matches('/')) {
        ("GET", "metadata") => ok(200, &server.statement()),
        ("POST", "") if is_batch(&body) => server.answer_batch(&body),
        ("POST", "") if server.transaction => server.transact(&body),
        ("POST", "$process-message") if server.message => server.process(&body),
        ("POST", kind) if server.own_ids => server.create(kind, &body),
        ("GET", "_history") if server.history => server.tell(&query),
        ("GET", kind) if !kind.contains('/') => server.search(kind, &query),
        ("GET", record) => server.show(record),
        ("PUT", record) => server.put(record, &body, &parts.headers),
        ("DELETE", record) => server.delete(record),
        _ => refusal(404, "not-supported", "there is no such thing here"),
    };
    match fault {
        // So many bytes are promised, and none comes.
        Some(Fault::LoseAnswer) => {
            let cut = futures::stream::iter([Err::<Vec<u8>, _>(std::io::Error::other("cut"))]);
            ([("content-length", "10")], Body::from_stream(cut)).into_response()
        }
        _ => answer,
    }
}

#[derive(Deserialize)]
struct Bundle<'a> {
    #[serde(rename = "resourceType")]
    kind: String,
    #[serde(rename = "type")]
    of: String,
    #[serde(borrow)]
    entry: Vec<Entry<'a>>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(rename = "fullUrl")]
    full_url: Option<String>,
    #[serde(borrow)]
    resource: Option<&'a RawValue>,
    request: Option<Asked>,
}

#[derive(Deserialize)]
struct Asked {
    method: String,
    url: String,
}

/// Why a request is refused: status, code, words.
pub(crate) type Refused = (u16, &'static str, String);

impl Server {
    /// The record as it stands there.
    pub(crate) fn body(&self, record: &str) -> Option<&str> {
        self.records.get(record)?.body.as_deref()
    }

    /// How many requests of this method there were since the last call.
    pub(crate) fn count(&mut self, begins: &str) -> usize {
        let found = self.asked.iter().filter(|asked| asked.starts_with(begins)).count();
        self.asked.clear();
        found
    }

    fn statement(&self) -> Value {
        let mut interactions = Vec::new();
        if self.transaction {
            interactions.push(json!({"code": "transaction"}));
        }
        if self.batch != Batch::None {
            interactions.push(json!({"code": "batch"}));
        }
        if self.history {
            interactions.push(json!({"code": "history-system"}));
        }
        let operations = match self.message {
            true => json!([{"name": "process-message", "definition": "x"}]),
            false => json!([]),
        };
        let codes = ["read", "search-type", "create", "update", "delete"];
        let versioning = if self.if_match { "versioned-update" } else { "versioned" };
        let types = ["Patient", "Encounter", "Observation", "Location", "Basic"].map(|kind| {
            json!({"type": kind, "updateCreate": self.update_create, "versioning": versioning,
                "interaction": codes.map(|code| json!({"code": code}))})
        });
        json!({
            "resourceType": "CapabilityStatement", "fhirVersion": "4.0.1", "kind": "instance",
            "software": {"name": "Stand-in", "version": "1"},
            "rest": [{"mode": "server", "interaction": interactions, "operation": operations,
                "searchParam": [{"name": "_lastUpdated"}], "resource": types}],
        })
    }

    fn show(&self, record: &str) -> Response {
        match self.records.get(record) {
            None => refusal(404, "not-found", "not known"),
            Some(Held { body: None, .. }) => refusal(410, "deleted", "gone"),
            Some(Held { body: Some(body), version, .. }) => {
                let etag = format!("W/\"{version}\"");
                ([("content-type", FHIR.to_owned()), ("etag", etag)], body.clone()).into_response()
            }
        }
    }

    /// Whether the server fails at one of these records.
    fn failing<'a>(&self, records: impl IntoIterator<Item = &'a str>) -> Option<Response> {
        let (status, words) = records.into_iter().find_map(|record| self.fails.get(record))?;
        Some(refusal(*status, "processing", words))
    }

    fn put(&mut self, record: &str, body: &[u8], headers: &HeaderMap) -> Response {
        if let Some(failing) = self.failing([record]) {
            return failing;
        }
        let text = std::str::from_utf8(body).unwrap();
        let version = self.records.get(record).map_or(0, |held| held.version);
        let wanted = headers.get("if-match").map(|value| value.to_str().unwrap().to_owned());
        if self.if_match && wanted.is_some_and(|wanted| wanted != format!("W/\"{version}\"")) {
            return refusal(412, "conflict", "it is another version");
        }
        if let Err((status, code, words)) = self.check(record, text, &BTreeSet::new()) {
            return refusal(status, code, &words);
        }
        if version == 0 && !self.update_create {
            return refusal(405, "not-supported", "no new records by their id");
        }
        let status = if version == 0 { 201 } else { 200 };
        let version = self.store(record, Some(text.to_owned()));
        let mut answer = ok(status, &json!({"resourceType": "OperationOutcome"}));
        answer.headers_mut().insert("etag", format!("W/\"{version}\"").parse().unwrap());
        answer
    }

    fn delete(&mut self, record: &str) -> Response {
        if let Some(failing) = self.failing([record]) {
            return failing;
        }
        if let Some(by) = self.referring(record, &BTreeSet::new()) {
            return refusal(409, "conflict", &format!("{by} refers to {record}"));
        }
        self.store(record, None);
        StatusCode::NO_CONTENT.into_response()
    }

    pub(crate) fn store(&mut self, record: &str, body: Option<String>) -> u64 {
        let new = Held { body: None, version: 0, changed: 0 };
        let held = self.records.entry(record.to_owned()).or_insert(new);
        held.body = if self.tags.0 { body } else { body.map(small::without_tags) };
        held.version += 1;
        held.changed = self.now;
        let body = held.body.clone();
        self.log.push((record.to_owned(), self.now, held.version, body));
        held.version
    }

    /// What somebody does on the server itself, a moment later.
    pub(crate) fn edit(&mut self, record: &str, body: Option<String>) {
        self.now += 1_000;
        self.store(record, body);
    }

    /// A page of entries, with the next one's URL.
    fn bundle(
        &mut self,
        path: &str,
        query: &BTreeMap<String, String>,
        all: Vec<Value>,
    ) -> Response {
        let from = query.get("from").map_or(0, |from| from.parse().unwrap());
        if let Some(refused) = refused(self, query, from) {
            return refused;
        }
        let count = query.get("_count").map_or(10, |count| count.parse().unwrap());
        let entries = all.iter().skip(from).take(count.min(self.page)).collect::<Vec<_>>();
        let mut bundle = json!({"resourceType": "Bundle", "type": "searchset", "entry": entries,
            "meta": {"lastUpdated": instant(self.now)}});
        let next = match self.later {
            Some(200) if from > 0 => from,
            Some(201) if from > self.page => self.page,
            _ => from + entries.len(),
        };
        if next < all.len() {
            if let Some((record, body)) = self.between.pop_front() {
                self.edit(&record, body);
            }
            let mut url = reqwest::Url::parse(&format!("{}/{path}", self.url)).unwrap();
            let others = query.iter().filter(|(name, _)| *name != "from");
            url.query_pairs_mut().extend_pairs(others).append_pair("from", &next.to_string());
            bundle["link"] = json!([{"relation": "next", "url": url.to_string()}]);
        }
        ok(200, &bundle)
    }

    /// The history of everything, the newest first.
    fn tell(&mut self, query: &BTreeMap<String, String>) -> Response {
        let since = query
            .get("_since")
            .map_or(i64::MIN, |since| since.parse::<protocol::Timestamp>().unwrap().millis());
        let log = self.log.iter().rev().filter(|(_, at, ..)| *at >= since);
        let entries = log.map(|(record, at, version, body)| {
            let response = json!({"status": "200", "lastModified": instant(*at)});
            match body {
                Some(body) => json!({
                    "fullUrl": format!("{}/{record}", self.url),
                    "resource": small::with_meta(body, *at, *version),
                    "request": {"method": "PUT", "url": record}, "response": response}),
                None => json!({"request": {"method": "DELETE", "url": record},
                    "response": response}),
            }
        });
        let entries = entries.collect::<Vec<_>>();
        self.bundle("_history", query, entries)
    }

    fn search(&mut self, kind: &str, query: &BTreeMap<String, String>) -> Response {
        let since = query.get("_lastUpdated").map_or(i64::MIN, |since| {
            since.strip_prefix("ge").unwrap().parse::<protocol::Timestamp>().unwrap().millis()
        });
        if let Some(failing) = self.failing([kind]) {
            return failing;
        }
        let of_kind = format!("{kind}/");
        let found = self.records.iter().filter(|(name, held)| {
            let tag = query.get("_tag").filter(|_| self.tags.1).and_then(|tag| tag.split_once('|'));
            let has =
                |body: &str| tag.is_none_or(|(_, code)| body.contains(&format!("\"{code}\"")));
            let there = held.body.as_deref().is_some_and(has);
            name.starts_with(&of_kind) && there && held.changed >= since
        });
        let mut found = found.collect::<Vec<_>>();
        if query.get("_sort").is_some_and(|sort| sort == "_lastUpdated") {
            found.sort_by_key(|(_, held)| held.changed);
        }
        let entries = found.into_iter().map(|(name, held)| -> Value {
            let id = name.split_once('/').unwrap().1;
            if !query.contains_key("_elements") {
                let body = held.body.as_ref().unwrap();
                return json!({"resource": small::with_meta(body, held.changed, held.version)});
            }
            let body = serde_json::from_str::<Value>(held.body.as_ref().unwrap()).unwrap();
            let tags = body["meta"]["tag"].clone();
            let meta = json!({"lastUpdated": instant(held.changed), "tag": tags});
            json!({"resource": {"resourceType": kind, "id": id, "meta": meta}})
        });
        let entries = entries.collect::<Vec<_>>();
        self.bundle(kind, query, entries)
    }

    fn transact(&mut self, body: &[u8]) -> Response {
        match self.try_transact(body) {
            Ok(answer) => ok(200, &answer),
            Err((status, code, words)) => refusal(status, code, &words),
        }
    }

    /// All or nothing, deletions first, in whatever order the entries stand.
    fn try_transact(&mut self, body: &[u8]) -> Result<Value, Refused> {
        let wrong = |words: String| (400, "invalid", words);
        let bundle: Bundle<'_> =
            serde_json::from_slice(body).map_err(|error| wrong(format!("no Bundle: {error}")))?;
        if bundle.kind != "Bundle" || bundle.of != "transaction" {
            return Err(wrong("this is no transaction".to_owned()));
        }
        let (mut puts, mut deletes, mut all) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        for entry in &bundle.entry {
            let asked = entry.request.as_ref().ok_or_else(|| wrong("no request".to_owned()))?;
            if !all.insert(asked.url.clone()) {
                return Err(wrong(format!("{} stands twice", asked.url)));
            }
            match (asked.method.as_str(), entry.resource) {
                ("PUT", Some(resource)) => {
                    if entry.full_url.as_deref() != Some(&format!("{}/{}", self.url, asked.url)) {
                        return Err(wrong(format!("fullUrl of {}", asked.url)));
                    }
                    puts.push((asked.url.clone(), resource.get().to_owned()));
                }
                ("DELETE", None) => drop(deletes.insert(asked.url.clone())),
                _ => return Err(wrong(format!("{} of {}", asked.method, asked.url))),
            }
        }
        if let Some((status, words)) = all.iter().find_map(|record| self.fails.get(record)) {
            return Err((*status, "processing", words.clone()));
        }
        let before = self.records.clone();
        for record in &deletes {
            self.store(record, None);
        }
        let beside = puts.iter().map(|(record, _)| record.clone()).collect::<BTreeSet<_>>();
        let checked = puts.iter().enumerate().try_for_each(|(at, (record, text))| {
            self.check(record, text, &beside)
                .map_err(|(status, code, words)| (status, code, format!("{words} (entry {at})")))
        });
        let left = deletes.iter().find_map(|record| {
            let by = self.referring(record, &beside)?;
            Some((409, "conflict", format!("{by} refers to {record}")))
        });
        if let Err(refused) = left.map_or(checked, Err) {
            self.records = before;
            return Err(refused);
        }
        for (record, text) in puts {
            self.store(&record, Some(text));
        }
        let entries = bundle.entry.iter().map(|entry| {
            let url = &entry.request.as_ref().unwrap().url;
            let version = self.records[url].version;
            json!({"response": {"status": "200 OK", "etag": format!("W/\"{version}\"")}})
        });
        let entries = entries.collect::<Vec<_>>();
        Ok(json!({"resourceType": "Bundle", "type": "transaction-response", "entry": entries}))
    }
}
