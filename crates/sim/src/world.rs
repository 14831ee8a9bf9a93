//! The world: its sites, and what happens next.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use node::config::{Config, Parent};
use node::http;
use node::jobs::link::Link;
use node::jobs::{enrol, round};
use node::ports::Entropy as _;
use node::site::{Parts, Site};
use protocol::cohort::Definition;
use protocol::reconcile::Policies;
use protocol::resource::Record;
use protocol::{
    Author, CohortName, Digest, Epoch, FeedId, Limits, RecordRef, ResourceType, SiteId, Timestamp,
};
use store::sqlite::SqliteStore;
use store::{
    CohortDraft, Draft, Expect, LeavePolicy, NewSite, OpenOptions, Scope, SearchQuery, Write,
};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::ports::{SeededEntropy, WorldClock, WorldNet};
use crate::time::WorldTime;

/// When every world begins: 2026-11-23T08:00:00Z.
const START: Timestamp = Timestamp::from_millis(1_795_420_800_000);

/// The longest pause between two steps, in milliseconds.
const PAUSE: u64 = 60_000;

/// Many sites, one thread, one seed.
pub struct World {
    seed: u64,
    chance: SeededEntropy,
    time: WorldTime,
    net: WorldNet,
    runtime: Runtime,
    sites: BTreeMap<SiteId, Site>,
    trace: Vec<String>,
    folder: TempDir,
}

impl World {
    /// An empty world.
    pub fn new(seed: u64) -> anyhow::Result<World> {
        let time = WorldTime::new(START);
        let passing = time.clone();
        // One thread: when it has nothing to do, nothing can happen until time has passed.
        let runtime = Builder::new_current_thread()
            .on_thread_park(move || passing.pass())
            .build()
            .context("failed to start the runtime")?;
        Ok(World {
            seed,
            chance: SeededEntropy::new(seed, "world"),
            time,
            net: WorldNet::default(),
            runtime,
            sites: BTreeMap::new(),
            trace: Vec::new(),
            folder: tempfile::tempdir().context("failed to make a temporary folder")?,
        })
    }

    /// What time it is in the world.
    pub fn now(&self) -> Timestamp {
        self.time.now()
    }

    /// What has happened, one line a step.
    pub fn trace(&self) -> &[String] {
        &self.trace
    }

    /// A site of this world.
    pub fn site(&self, id: &SiteId) -> anyhow::Result<&Site> {
        self.sites.get(id).with_context(|| format!("failed to find {id}: no such site"))
    }

    /// Makes a site with an empty store. It can be reached from then on.
    pub fn add_site(&mut self, id: &SiteId) -> anyhow::Result<()> {
        let config = Config {
            site: id.clone(),
            listen: ([127, 0, 0, 1], 0).into(),
            public_url: format!("http://{id}.example"),
            insecure_http: false,
            open_on_loopback: false,
            parent: None,
            merge: BTreeMap::new(),
            visitors: protocol::visit::Rules::default(),
            limits: Limits::default(),
        };
        let chance = SeededEntropy::new(self.seed, id.as_str());
        let new = NewSite {
            site: id.clone(),
            epoch: Epoch::from_random(chance.uuid_bytes()),
            reference: FeedId::from_random(chance.uuid_bytes()),
        };
        drop(SqliteStore::create(&self.store_of(id), &new, options(), self.now())?);
        self.start(config, None)?;
        self.note(&format!("{id} begins in epoch {}", new.epoch));
        Ok(())
    }

    fn store_of(&self, id: &SiteId) -> PathBuf {
        self.folder.path().join(format!("{id}.db"))
    }

    /// Puts a site together from its store, as a start of the program does.
    fn start(&mut self, config: Config, credential: Option<String>) -> anyhow::Result<()> {
        let id = config.site.clone();
        let store = SqliteStore::open(&self.store_of(&id), options())?;
        let starts = self.trace.len();
        let site = Site::new(Parts {
            store: Arc::new(store),
            clock: Arc::new(WorldClock { time: self.time.clone(), offset: 0 }),
            entropy: Arc::new(SeededEntropy::new(self.seed, &format!("{id} {starts}"))),
            transport: Arc::new(self.net.clone()),
            credential,
            run_lock: None,
            inline: true,
            config,
        });
        self.net.answer(&site.config().public_url, http::router(site.clone()));
        self.sites.insert(id, site);
        Ok(())
    }

    /// Makes `child` a child of `parent`, for all patients.
    pub fn join(&mut self, child: &SiteId, parent: &SiteId) -> anyhow::Result<()> {
        let (here, above) = (self.site(child)?.clone(), self.site(parent)?.clone());
        let everybody = CohortDraft {
            name: "everybody".parse::<CohortName>()?,
            feed: FeedId::from_random(above.entropy().uuid_bytes()),
            title: None,
            definition: Definition::All {},
            page_entries: above.config().limits.page_entries,
        };
        above.store().cohort_set(&everybody, above.now())?;
        let (code, _) = enrol::invite(&above, child, &[everybody.name])?;
        let url = above.config().public_url.clone();
        let (asking, at) = (here.clone(), url.clone());
        let answer = self.run(async move { enrol::redeem(&asking, &at, &code).await })??;
        let feed = FeedId::from_random(here.entropy().uuid_bytes());
        here.store().parent_set(here.now(), &feed)?;
        let parent = Parent { url, site: answer.site, leave: LeavePolicy::Keep };
        let config = Config { parent: Some(parent), ..here.config().clone() };
        drop(here);
        self.start(config, Some(answer.credential))?;
        self.note(&format!("{child} joins"));
        Ok(())
    }

    /// Records one change at a site.
    pub fn record(&mut self, id: &SiteId, author: &str, texts: &[&str]) -> anyhow::Result<()> {
        let site = self.site(id)?;
        let mut writes = Vec::new();
        for text in texts {
            let record = Record::parse(text.as_bytes(), &site.config().limits)?;
            writes.push(Write { record, expect: Expect::Any });
        }
        let draft = Draft { author: Author::new(author), writes, expect: Vec::new(), again: false };
        let recorded = site.store().change_record(&draft, site.now())?;
        self.note(&format!("{id} records change {:?}", recorded.sequence));
        Ok(())
    }

    /// Lets some time pass, and then the site whose turn it is do its work once. Gives its id,
    /// `None` where the world is empty.
    pub fn step(&mut self) -> anyhow::Result<Option<SiteId>> {
        let turn = self.chance.number() % (self.sites.len() as u64).max(1);
        let Some(site) = self.sites.values().nth(usize::try_from(turn)?).cloned() else {
            return Ok(None);
        };
        let pause = self.chance.number() % PAUSE;
        let id = site.id().clone();
        let said = self.run(async move {
            site.clock().sleep(pause).await;
            work(&site).await
        })?;
        self.note(&format!("{id} {said}"));
        Ok(Some(id))
    }

    /// The digests of all records of a site that are not deleted, by name.
    pub fn digests(&self, id: &SiteId) -> anyhow::Result<Vec<(RecordRef, Digest)>> {
        let store = self.site(id)?.store();
        let mut digests = Vec::new();
        for kind in ResourceType::all() {
            let limit = Limits::default().search_page_max;
            let mut query = SearchQuery { kind: Some(kind), limit, ..SearchQuery::default() };
            loop {
                let page = store.record_search(&query, &Scope::Everything)?;
                digests.extend(page.records.into_iter().map(|one| (one.reference, one.digest)));
                if page.next.is_none() {
                    break;
                }
                query.after = page.next;
            }
        }
        digests.sort();
        Ok(digests)
    }

    /// Runs work of a site to its end, however long that takes in the world.
    fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let time = self.time.clone();
        let task = self.runtime.spawn(async move { time.run(work).await });
        let done = self.runtime.block_on(task).context("failed to finish a step")?;
        done.ok_or_else(|| anyhow!("failed to finish a step: it waits for what never comes"))
    }

    fn note(&mut self, what: &str) {
        let line = format!("{} {what}", self.now());
        self.trace.push(line);
    }
}

/// One turn of a site's jobs, in words for the trace.
async fn work(site: &Site) -> String {
    let Some(link) = Link::of(site) else {
        return "has no parent to talk to".to_owned();
    };
    match round::run(site, &link).await {
        Ok(round) => format!(
            "sends {} and receives {}; {} refused, {} parked",
            round.sent, round.received, round.not_taken, round.parked
        ),
        Err(error) => format!("fails: {error}"),
    }
}

fn options() -> OpenOptions {
    OpenOptions {
        limits: Limits::default(),
        merge: Policies::default(),
        cache_bytes: 1 << 20,
        readers: 1,
    }
}
