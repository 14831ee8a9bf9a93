//! A site to test against: the real router over a real store in a temporary folder, with a clock
//! that stands still until it is told and chance that is the same each time.

#![allow(dead_code, reason = "each test program uses its own part of this")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "these are tests")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use futures::FutureExt;
use futures::future::BoxFuture;
use http_body_util::BodyExt;
use node::config::Config;
use node::http::auth::credential_hash;
use node::ports::{self, Clock, Emr, Entropy, LinkError, Transport};
use node::site::{Parts, Site};
use protocol::cohort::Definition;
use protocol::{CohortName, Epoch, FeedId, Limits, SiteId, Timestamp};
use serde_json::Value;
use store::sqlite::SqliteStore;
use store::{
    AuditFilter, ChildDraft, CohortDraft, NewSite, OpenOptions, SharedStore, TokenDraft, TokenScope,
};
use tokio::sync::watch;
use tower::ServiceExt;

/// When the clock of a test begins: 2026-11-23T08:15:30Z.
pub(crate) const START: Timestamp = Timestamp::from_millis(1_795_421_730_000);

/// A clock that moves only when it is told to.
pub(crate) struct StillClock {
    now: watch::Sender<i64>,
}

impl StillClock {
    pub(crate) fn new() -> StillClock {
        StillClock { now: watch::Sender::new(START.millis()) }
    }
    pub(crate) fn advance(&self, millis: i64) {
        self.now.send_modify(|now| *now += millis);
    }
}

impl Clock for StillClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(*self.now.borrow())
    }
    fn sleep(&self, millis: u64) -> BoxFuture<'static, ()> {
        let mut now = self.now.subscribe();
        let until = self.now().plus_millis(i64::try_from(millis).unwrap_or(i64::MAX)).millis();
        async move {
            if now.wait_for(|now| *now >= until).await.is_err() {
                futures::future::pending::<()>().await;
            }
        }
        .boxed()
    }
}

/// Numbers that look random and are the same in each run (SplitMix64).
pub(crate) struct SeededEntropy(AtomicU64);

impl SeededEntropy {
    pub(crate) fn new(seed: u64) -> SeededEntropy {
        SeededEntropy(AtomicU64::new(seed))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let state = self.0.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
            let mut z = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            chunk.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes()[..chunk.len()]);
        }
    }
}

/// A link that is down.
pub(crate) struct NoLink;

impl Transport for NoLink {
    fn send(&self, _: ports::Request) -> BoxFuture<'static, Result<ports::Response, LinkError>> {
        futures::future::ready(Err(LinkError("there is no link in this test".to_owned()))).boxed()
    }
}

/// One site.
pub(crate) struct TestSite {
    pub(crate) site: Site,
    pub(crate) store: SharedStore,
    pub(crate) clock: Arc<StillClock>,
    entropy: Arc<SeededEntropy>,
    folder: tempfile::TempDir,
}

impl TestSite {
    /// A site that programs on this machine may use without a credential.
    pub(crate) fn new(id: &str) -> TestSite {
        TestSite::with(id, |_| {})
    }

    /// The same with other settings.
    pub(crate) fn with(id: &str, change: impl FnOnce(&mut Config)) -> TestSite {
        TestSite::linked(id, change, Arc::new(NoLink))
    }

    /// The same with a way to its parent.
    pub(crate) fn linked(
        id: &str,
        change: impl FnOnce(&mut Config),
        transport: Arc<dyn Transport>,
    ) -> TestSite {
        let mut config = Config {
            site: id.parse().unwrap(),
            listen: "127.0.0.1:8480".parse().unwrap(),
            public_url: format!("https://{id}.example"),
            insecure_http: false,
            open_on_loopback: true,
            parent: None,
            merge: BTreeMap::new(),
            link: node::config::LinkConfig::default(),
            emr: node::config::EmrConfig::default(),
            visitors: protocol::visit::Rules::default(),
            alerts: node::alerts::Rules::default(),
            limits: Limits::default(),
            sources: Vec::new(),
        };
        change(&mut config);
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(StillClock::new());
        let seed = id.bytes().fold(7_u64, |seed, byte| seed * 31 + u64::from(byte));
        let entropy = Arc::new(SeededEntropy::new(seed));
        let store = new_store(folder.path(), &config, &*entropy, clock.now());
        let site = Site::new(Parts {
            config,
            store: store.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
            transport,
            emr: None,
            credential: None,
            courier: None,
            secrets: BTreeMap::new(),
            run_lock: None,
            inline: false,
        });
        TestSite { site, store, clock, entropy, folder }
    }

    /// The same site with another clock, and no link.
    pub(crate) fn with_clock(&self, clock: Arc<dyn Clock>) -> Site {
        Site::new(Parts {
            config: self.site.config().clone(),
            store: self.store.clone(),
            clock,
            entropy: self.entropy.clone(),
            transport: Arc::new(NoLink),
            emr: None,
            credential: None,
            courier: None,
            secrets: BTreeMap::new(),
            run_lock: None,
            inline: false,
        })
    }

    /// The same site beside a record system.
    pub(crate) fn beside(&self, emr: Arc<dyn Emr>) -> Site {
        Site::new(Parts {
            config: self.site.config().clone(),
            store: self.store.clone(),
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
            transport: Arc::new(NoLink),
            emr: Some(emr),
            credential: None,
            courier: None,
            secrets: BTreeMap::new(),
            run_lock: None,
            inline: false,
        })
    }

    /// The folder of the site.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Whether the audit has a row of this actor, action and subject.
    pub(crate) fn has_audited(&self, actor: &str, action: &str, subject: &str) -> bool {
        let filter = AuditFilter {
            actor: Some(actor.to_owned()),
            action: Some(action.to_owned()),
            limit: 1_000,
            ..AuditFilter::default()
        };
        self.store.audit_list(&filter).unwrap().iter().any(|row| row.subject == subject)
    }

    /// Sends a request as a program on this machine would, through the real router.
    pub(crate) async fn send(&self, request: Request<Body>) -> Reply {
        self.send_from("127.0.0.1:40000", request).await
    }

    /// The same from another address.
    pub(crate) async fn send_from(&self, address: &str, mut request: Request<Body>) -> Reply {
        let address: SocketAddr = address.parse().unwrap();
        request.extensions_mut().insert(ConnectInfo(address));
        let router = node::http::router(self.site.clone());
        let response = router.oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Reply { status: parts.status, headers: parts.headers, body: body.to_vec() }
    }

    /// A request with a body of FHIR JSON (an empty one has no type) and some headers.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Vec<u8>>,
    ) -> Reply {
        self.send(request(method, path, headers, body)).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.ask(Method::GET, path, &[], "").await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Reply {
        self.ask(Method::PUT, path, &[], body.to_string()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Reply {
        self.ask(Method::POST, path, &[], body.to_string()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Reply {
        self.ask(Method::DELETE, path, &[], "").await
    }

    /// Now, by the site's clock.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The newest sequence.
    pub(crate) fn sequence(&self) -> u64 {
        self.store.site().unwrap().sequence
    }

    /// Gives a program a credential.
    pub(crate) fn token(&self, name: &str, scope: TokenScope) -> String {
        let secret = format!("secret-of-{name}");
        let hash = credential_hash(&secret);
        let draft =
            TokenDraft { name: name.to_owned(), scope, children: Vec::new(), hash, expires: None };
        self.store.token_add(&draft, self.clock.now()).unwrap();
        secret
    }

    /// Makes a cohort.
    pub(crate) fn cohort(&self, name: &str, definition: Definition) {
        let draft = CohortDraft {
            name: name.parse().unwrap(),
            feed: FeedId::from_random(self.entropy.uuid_bytes()),
            title: None,
            definition,
            page_entries: 100,
        };
        self.store.cohort_set(&draft, self.clock.now()).unwrap();
    }

    /// Makes a child of these cohorts, already joined; gives its credential.
    pub(crate) fn child(&self, site: &str, cohorts: &[&str]) -> String {
        let site: SiteId = site.parse().unwrap();
        let now = self.clock.now();
        let code = credential_hash(&format!("code-of-{site}"));
        let cohorts: Vec<CohortName> = cohorts.iter().map(|name| name.parse().unwrap()).collect();
        let code_expires = now.plus_millis(60_000);
        let draft = ChildDraft { site: site.clone(), cohorts, code_hash: code, code_expires };
        self.store.child_add(&draft, now).unwrap();
        let secret = format!("secret-of-{site}");
        let epoch = Epoch::from_random(self.entropy.uuid_bytes());
        let token = credential_hash(&secret);
        let joined = self.store.child_redeem(&code, &site, &epoch, &token, now).unwrap();
        assert!(joined.is_some(), "the code is good");
        secret
    }
}

fn new_store(
    folder: &std::path::Path,
    config: &Config,
    entropy: &dyn Entropy,
    now: Timestamp,
) -> SharedStore {
    let new = NewSite {
        site: config.site.clone(),
        epoch: Epoch::from_random(entropy.uuid_bytes()),
        reference: FeedId::from_random(entropy.uuid_bytes()),
    };
    let options = OpenOptions {
        limits: config.limits.clone(),
        merge: config.policies(),
        urgent: config.urgent(),
        cache_bytes: 4 << 20,
        readers: 2,
        wal_pages: OpenOptions::WAL_PAGES,
    };
    Arc::new(SqliteStore::create(&folder.join("tributary.db"), &new, options, now).unwrap())
}

/// A request; a body that is not empty is FHIR JSON, unless the headers say otherwise.
pub(crate) fn request(
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Vec<u8>>,
) -> Request<Body> {
    let body = body.into();
    let mut builder = Request::builder().method(method).uri(path);
    let typed = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    if !body.is_empty() && !typed {
        builder = builder.header(header::CONTENT_TYPE, "application/fhir+json");
    }
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(Body::from(body)).unwrap()
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("{}: {error}: {}", self.status, String::from_utf8_lossy(&self.body))
        })
    }
    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
    /// A header, empty where it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
    /// What an OperationOutcome says; fails where it is none.
    pub(crate) fn diagnostics(&self) -> String {
        let json = self.json();
        assert_eq!(json["resourceType"], "OperationOutcome", "{json}");
        json["issue"][0]["diagnostics"].as_str().unwrap().to_owned()
    }
    /// The reply, if it has this status; what it says otherwise.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Reply {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status.as_u16(), status, "{text}");
        self
    }
}

/// The folder of sample records, where `TRIBUTARY_TEST_DATA` names one.
pub(crate) fn test_data() -> Option<std::path::PathBuf> {
    let folder = std::env::var_os("TRIBUTARY_TEST_DATA").map(std::path::PathBuf::from);
    if folder.is_none() {
        eprintln!("SKIPPED: TRIBUTARY_TEST_DATA is not set");
    }
    folder
}

/// The examples of HL7's FHIR R4 that a site refuses, and why.
pub(crate) const REFUSED_EXAMPLES: [(&str, &str); 1] = [(
    "questionnaireresponse-extensions-QuestionnaireResponse-item-subject.json",
    "its id has 65 characters, and FHIR allows 64",
)];
