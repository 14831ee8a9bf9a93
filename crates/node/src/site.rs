//! The composition root: one running site, made of its settings, its store and its ports.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use protocol::{SiteId, Timestamp};
use store::{SharedStore, Store, StoreError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::courier::Key;
use crate::disclosure::Gap;
use crate::disk::Disk;
use crate::fhir_server::Ways;
use crate::http::health::Health;
use crate::jobs::rounds::Rounds;
use crate::metrics::Metrics;
use crate::ports::{Clock, Emr, Entropy, Transport};

/// One running site. Cheap to clone; handlers and jobs share it.
#[derive(Clone)]
pub struct Site {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    store: SharedStore,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    transport: Arc<dyn Transport>,
    emr: Option<Arc<dyn Emr>>,
    credential: Option<String>,
    courier: Option<Key>,
    secrets: BTreeMap<SiteId, String>,
    run_lock: Option<PathBuf>,
    inline: bool,
    wake: watch::Sender<u64>,
    closing: CancellationToken,
    rounds: Rounds,
    control: OnceLock<[u8; 32]>,
    audit_gap: Mutex<Gap>,
    health: Health,
    metrics: Metrics,
}

/// What a site is made of.
pub struct Parts {
    /// Its settings.
    pub config: Config,
    /// Its store.
    pub store: SharedStore,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub entropy: Arc<dyn Entropy>,
    /// The way to the parent.
    pub transport: Arc<dyn Transport>,
    /// The record system beside it; `None` where the store is the record system.
    pub emr: Option<Arc<dyn Emr>>,
    /// The credential for the parent, where there is one.
    pub credential: Option<String>,
    /// The keys of what a courier brings to this site; `None` where none can come.
    pub courier: Option<Key>,
    /// What the sources, and a parent that is no Tributary site, ask for: credentials and
    /// passwords, by their names.
    pub secrets: BTreeMap<SiteId, String>,
    /// A file that whoever runs a round with the parent holds locked, so that two never run at
    /// once; `None` where nobody else can.
    pub run_lock: Option<PathBuf>,
    /// Run store calls on the calling thread: for the simulator, where there is only one.
    pub inline: bool,
}

impl Site {
    /// Puts a site together. Nothing runs yet.
    pub fn new(parts: Parts) -> Site {
        let Parts {
            config,
            store,
            clock,
            entropy,
            transport,
            emr,
            credential,
            courier,
            secrets,
            run_lock,
            inline,
        } = parts;
        let (wake, _) = watch::channel(0);
        let inner = Inner {
            config,
            store,
            clock,
            entropy,
            transport,
            emr,
            credential,
            courier,
            secrets,
            run_lock,
            inline,
            wake,
            closing: CancellationToken::new(),
            rounds: Rounds::default(),
            control: OnceLock::new(),
            audit_gap: Mutex::default(),
            health: Health::default(),
            metrics: Metrics::default(),
        };
        Site { inner: Arc::new(inner) }
    }
    /// The rounds with the parent, where this process runs them.
    pub fn rounds(&self) -> &Rounds {
        &self.inner.rounds
    }
    /// The hash of the secret by which commands on this machine ask the running site for things.
    pub fn control(&self) -> Option<&[u8; 32]> {
        self.inner.control.get()
    }
    /// Sets that secret's hash, once.
    pub fn set_control(&self, hash: [u8; 32]) {
        let _ = self.inner.control.set(hash);
    }
    /// Works on the count of readings that could not be noted.
    pub(crate) fn audit_gap<T>(&self, work: impl FnOnce(&mut Gap) -> T) -> T {
        let held = self.inner.audit_gap.lock();
        work(&mut held.unwrap_or_else(std::sync::PoisonError::into_inner))
    }
    /// The settings.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }
    /// The site's id.
    pub fn id(&self) -> &SiteId {
        &self.inner.config.site
    }
    /// Now, by this site's clock.
    pub fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }
    /// The clock, for waiting.
    pub fn clock(&self) -> &dyn Clock {
        &*self.inner.clock
    }
    /// Chance.
    pub fn entropy(&self) -> &dyn Entropy {
        &*self.inner.entropy
    }
    /// The way to the parent.
    pub fn transport(&self) -> &dyn Transport {
        &*self.inner.transport
    }
    /// The record system beside this site, where there is one.
    pub fn emr(&self) -> Option<&Arc<dyn Emr>> {
        self.inner.emr.as_ref()
    }
    /// The ports by which a FHIR server is reached.
    pub fn ways(&self) -> Ways {
        Ways {
            transport: self.inner.transport.clone(),
            clock: self.inner.clock.clone(),
            entropy: self.inner.entropy.clone(),
            idle_seconds: self.inner.config.limits.request_seconds,
        }
    }
    /// The credential for the parent.
    pub fn credential(&self) -> Option<&str> {
        self.inner.credential.as_deref()
    }
    /// The keys of what a courier brings.
    pub fn courier(&self) -> Option<&Key> {
        self.inner.courier.as_ref()
    }
    /// What a source asks for, or a parent that is no Tributary site.
    pub fn secret_of(&self, source: &SiteId) -> Option<&str> {
        self.inner.secrets.get(source).map(String::as_str)
    }
    /// The file that a round with the parent locks.
    pub fn run_lock(&self) -> Option<&Path> {
        self.inner.run_lock.as_deref()
    }
    /// The disk that holds the site, where it has a folder.
    pub fn disk(&self) -> Option<Disk> {
        Disk::of(self.run_lock()?.parent()?)
    }
    /// What was found when somebody last asked whether the site is ready.
    pub(crate) fn health(&self) -> &Health {
        &self.inner.health
    }
    /// What is counted for monitoring.
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }
    /// The store itself, for callers that block anyway (CLI verbs).
    pub fn store(&self) -> &dyn Store {
        &*self.inner.store
    }

    /// Runs a read on the store, off the async threads.
    pub async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        if self.inner.inline {
            // Other work of the one thread comes before and after: a crash too.
            tokio::task::yield_now().await;
            let result = work(&*self.inner.store);
            tokio::task::yield_now().await;
            return result;
        }
        let store = self.inner.store.clone();
        tokio::task::spawn_blocking(move || work(&*store)).await.unwrap_or_else(|broken| {
            Err(StoreError::Database {
                step: "finish a step that broke off",
                source: broken.into(),
            })
        })
    }

    /// Runs a write on the store, off the async threads, and wakes whoever waits for news.
    pub async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let result = self.read(work).await;
        self.wake();
        result
    }

    /// Tells whoever waits that there may be news.
    pub fn wake(&self) {
        self.inner.wake.send_modify(|count| *count += 1);
    }
    /// Lets go of requests that are only waiting for news: the site is about to stop.
    pub fn close(&self) {
        self.inner.closing.cancel();
    }
    /// Waits until the site is about to stop.
    pub async fn closed(&self) {
        self.inner.closing.cancelled().await;
    }
    /// Whether the site is about to stop.
    pub fn is_closing(&self) -> bool {
        self.inner.closing.is_cancelled()
    }
    /// A receiver that changes whenever there may be news. Signals wake; polling guarantees.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.inner.wake.subscribe()
    }
}
