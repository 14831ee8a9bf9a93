//! One site of the demo: its folder, its server, its link to the centre.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use protocol::resource::Record;
use protocol::{Author, Epoch, FeedId, Limits, RecordRef, SiteId};
use store::sqlite::SqliteStore;
use store::{
    Draft, Expect, LeavePolicy, NewSite, OpenOptions, Recorded, Scope, SharedStore, Write,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::cli::open::{emr_secrets, read_secrets};
use crate::config::{Config, FhirParent, Parent, Up};
use crate::demo::link::{Cuttable, Switch};
use crate::fhir_server::Ways;
use crate::jobs::enrol;
use crate::jobs::link::Link;
use crate::jobs::round::{self, Round};
use crate::ports::system::{OsEntropy, SystemClock};
use crate::ports::{Entropy as _, LinkError, Transport};
use crate::site::{Parts, Site};
use crate::transport::http::HttpTransport;
use crate::{http, server};

/// The store's name in a site's folder: the same as everywhere.
const STORE: &str = "tributary.db";

/// A running site.
pub struct DemoSite {
    folder: PathBuf,
    switch: Arc<Switch>,
    site: Site,
    stop: CancellationToken,
    server: JoinHandle<()>,
}

impl DemoSite {
    /// Makes a site in `folder` and starts it on a free port of this machine.
    pub async fn make(folder: &Path, id: &SiteId) -> anyhow::Result<DemoSite> {
        DemoSite::with_limits(folder, id, Limits::default()).await
    }

    /// As `make`, with other bounds.
    pub async fn with_limits(
        folder: &Path,
        id: &SiteId,
        limits: Limits,
    ) -> anyhow::Result<DemoSite> {
        DemoSite::with(folder, id, |config| config.limits = limits).await
    }

    /// As `make`, with other settings.
    pub async fn with(
        folder: &Path,
        id: &SiteId,
        change: impl FnOnce(&mut Config),
    ) -> anyhow::Result<DemoSite> {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("failed to make {}", folder.display()))?;
        let listener = server::bind(([127, 0, 0, 1], 0).into()).await?;
        let listen = listener.local_addr().context("failed to learn the address")?;
        let mut config = Config {
            site: id.clone(),
            listen,
            public_url: format!("http://{listen}"),
            insecure_http: false,
            // The demo's records are nobody's; looking at them should be easy.
            open_on_loopback: true,
            parent: None,
            merge: BTreeMap::new(),
            link: crate::config::LinkConfig::default(),
            emr: crate::config::EmrConfig::default(),
            visitors: protocol::visit::Rules::default(),
            alerts: crate::alerts::Rules::default(),
            limits: Limits::default(),
            sources: Vec::new(),
        };
        change(&mut config);
        config.save(folder)?;
        let new = NewSite {
            site: id.clone(),
            epoch: Epoch::from_random(OsEntropy.uuid_bytes()),
            reference: FeedId::from_random(OsEntropy.uuid_bytes()),
        };
        let now = crate::ports::Clock::now(&SystemClock);
        drop(SqliteStore::create(&folder.join(STORE), &new, options(&config), now)?);
        let switch = Switch::up();
        let site = open(folder, config, None, &switch)?;
        let stop = CancellationToken::new();
        let router = http::router(site.clone());
        let server = tokio::spawn(server::run(listener, router, stop.clone()));
        Ok(DemoSite { folder: folder.to_owned(), switch, site, stop, server })
    }

    /// The site itself.
    pub fn site(&self) -> &Site {
        &self.site
    }
    /// Its id.
    pub fn id(&self) -> &SiteId {
        self.site.id()
    }
    /// Where its files are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
    /// Its link to the centre.
    pub fn switch(&self) -> &Switch {
        &self.switch
    }

    /// Joins a parent by the code that its `child add` gave.
    pub async fn join(&mut self, parent: &Site, code: &str) -> anyhow::Result<()> {
        let url = parent.config().public_url.clone();
        let answer = enrol::redeem(&self.site, &url, code).await?;
        let feed = FeedId::from_random(self.site.entropy().uuid_bytes());
        self.site.store().parent_set(self.site.now(), &feed)?;
        let mut config = self.site.config().clone();
        config.parent = Some(Parent {
            url,
            site: answer.site,
            leave: LeavePolicy::Freeze,
            up: Up::Direct,
            fhir: FhirParent::default(),
        });
        config.save(&self.folder)?;
        self.restart(config, Some(answer.credential)).await
    }

    /// The power fails: whatever runs is dropped where it stands, and the site comes back from
    /// its files as they are.
    pub async fn lose_power(&mut self) -> anyhow::Result<()> {
        let config = self.site.config().clone();
        let credential = self.site.credential().map(str::to_owned);
        self.restart(config, credential).await
    }

    /// Starts again with these settings, from the files as they are.
    pub async fn restart(
        &mut self,
        config: Config,
        credential: Option<String>,
    ) -> anyhow::Result<()> {
        self.stop.cancel();
        // A connection that outlived the restart would be answered from the old files.
        (&mut self.server).await.context("failed to stop answering")?;
        self.site = open(&self.folder, config, credential, &self.switch)?;
        self.stop = CancellationToken::new();
        let listener = rebind(self.site.config()).await?;
        let router = http::router(self.site.clone());
        self.server = tokio::spawn(server::run(listener, router, self.stop.clone()));
        Ok(())
    }

    /// One round with the parent.
    pub async fn round(&self) -> Result<Round, LinkError> {
        match Link::of(&self.site) {
            Some(link) => round::run(&self.site, &link).await,
            None => Err(LinkError("this site has no parent".to_owned())),
        }
    }

    /// Records one change made here.
    pub async fn record(&self, author: &str, texts: &[String]) -> anyhow::Result<Recorded> {
        let limits = &self.site.config().limits;
        let records: Result<Vec<Record>, _> =
            texts.iter().map(|text| Record::parse(text.as_bytes(), limits)).collect();
        self.record_all(author, records?).await
    }

    /// Records one change of these records.
    pub async fn record_all(&self, author: &str, records: Vec<Record>) -> anyhow::Result<Recorded> {
        let writes = records.into_iter().map(|record| Write { record, expect: Expect::Any });
        let draft = Draft {
            author: Author::new(author),
            writes: writes.collect(),
            expect: Vec::new(),
            again: false,
            lane: protocol::Urgency::Normal,
        };
        let now = self.site.now();
        Ok(self.site.write(move |store| store.change_record(&draft, now)).await?)
    }

    /// The present text of a record.
    pub async fn text(&self, record: &RecordRef) -> anyhow::Result<String> {
        let asked = record.clone();
        let found =
            self.site.read(move |store| store.record_get(&asked, None, &Scope::Everything)).await?;
        found
            .and_then(|version| version.body)
            .with_context(|| format!("failed to find {record} at {}", self.id()))
    }
}

fn options(config: &Config) -> OpenOptions {
    OpenOptions {
        limits: config.limits.clone(),
        merge: config.policies(),
        urgent: config.urgent(),
        cache_bytes: 8 << 20,
        readers: 2,
        wal_pages: OpenOptions::WAL_PAGES,
    }
}

fn open(
    folder: &Path,
    config: Config,
    credential: Option<String>,
    switch: &Arc<Switch>,
) -> anyhow::Result<Site> {
    let store: SharedStore = Arc::new(SqliteStore::open(&folder.join(STORE), options(&config))?);
    let inner: Arc<dyn Transport> = Arc::new(HttpTransport::new().map_err(anyhow::Error::msg)?);
    // What cuts the link to the centre leaves the record system beside the site alone.
    let ways = Ways {
        transport: inner.clone(),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(OsEntropy),
        idle_seconds: config.limits.request_seconds,
    };
    let emr = crate::emr::open(&config, &emr_secrets(folder, &config)?, ways, &store)?;
    Ok(Site::new(Parts {
        store,
        clock: Arc::new(SystemClock),
        entropy: Arc::new(OsEntropy),
        transport: Arc::new(Cuttable::new(inner, switch.clone())),
        emr,
        credential,
        courier: None,
        secrets: read_secrets(folder, &config)?,
        run_lock: Some(folder.join("sync.lock")),
        inline: false,
        config,
    }))
}

/// The old listener goes within a moment.
async fn rebind(config: &Config) -> anyhow::Result<tokio::net::TcpListener> {
    for _ in 0..50 {
        if let Ok(listener) = tokio::net::TcpListener::bind(config.listen).await {
            return Ok(listener);
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    server::bind(config.listen).await
}
