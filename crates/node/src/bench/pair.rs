//! A parent and its child, each in a folder as `init` and `join` would leave it: the child's can
//! be given to another process.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use anyhow::{Context as _, bail};
use protocol::cohort::Definition;
use protocol::resource::Record;
use protocol::{Author, CohortName, Epoch, FeedId, Limits, SiteId};
use store::sqlite::SqliteStore;
use store::{CohortDraft, Draft, Expect, LeavePolicy, NewSite, Store, Write};
use tokio_util::sync::CancellationToken;

use crate::bench::data::Changes;
use crate::bench::proxy::{Passed, Proxy, Shape};
use crate::cli::open::{CREDENTIAL, Dir, options, write_secret};
use crate::config::{Config, FhirParent, Parent, Up};
use crate::jobs::enrol;
use crate::jobs::link::Link;
use crate::jobs::round::{self, Round};
use crate::ports::system::{OsEntropy, SystemClock};
use crate::ports::{Clock as _, Entropy as _};
use crate::site::Site;
use crate::{http, server};

/// The cohort, and so the feed, of all patients.
pub const COHORT: &str = "everybody";
/// Threads that record at the same time, as those of an import do.
const WRITERS: usize = 4;
/// Rounds after which a child has to be in step.
const ROUNDS: usize = 10;

/// How the child reaches its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Between {
    /// Over loopback.
    Nothing,
    /// Through a proxy that counts bytes.
    Counting,
    /// Through a proxy that is as slow as a real link.
    Slow(Shape),
}

/// A parent that answers and a child that has joined it.
pub struct Pair {
    /// The parent.
    pub parent: Site,
    /// The child.
    pub child: Site,
    folder: PathBuf,
    proxy: Option<Proxy>,
    stop: CancellationToken,
}

impl Pair {
    /// Makes both below `folder`.
    pub async fn make(folder: &Path, between: Between) -> anyhow::Result<Pair> {
        let listener = server::bind(([127, 0, 0, 1], 0).into()).await?;
        let address = listener.local_addr().context("failed to learn the address")?;
        let parent = make(&folder.join("parent"), "parent", address)?;
        let stop = CancellationToken::new();
        tokio::spawn(server::run(listener, http::router(parent.clone()), stop.clone()));
        let proxy = match between {
            Between::Nothing => None,
            Between::Counting => Some(Proxy::start(address, None).await?),
            Between::Slow(shape) => Some(Proxy::start(address, Some(shape)).await?),
        };
        let url = proxy.as_ref().map_or_else(|| format!("http://{address}"), Proxy::url);
        let name: CohortName = COHORT.parse()?;
        let draft = CohortDraft {
            name: name.clone(),
            feed: FeedId::from_random(OsEntropy.uuid_bytes()),
            title: None,
            definition: Definition::All {},
            page_entries: parent.config().limits.page_entries,
        };
        let now = parent.now();
        parent.write(move |store| store.cohort_set(&draft, now)).await?;
        let at = folder.join("child");
        let child = make(&at, "child", ([127, 0, 0, 1], 1).into())?;
        let (code, _) = enrol::invite(&parent, child.id(), &[name])?;
        join(&child, &at, &url, &code).await?;
        drop(child);
        let child = open(&at)?;
        Ok(Pair { parent, child, folder: folder.to_owned(), proxy, stop })
    }

    /// Makes both, brings the shared records and `registrations` to the child, and leaves the
    /// parent with `visits` that the child does not have.
    pub async fn behind(
        folder: &Path,
        between: Between,
        known: Changes,
        visits: Changes,
    ) -> anyhow::Result<Pair> {
        let mut pair = Pair::make(folder, Between::Nothing).await?;
        load(&pair.parent, known).await?;
        pair.catch_up().await?;
        pair.put_between(between).await?;
        load(&pair.parent, visits).await?;
        Ok(pair)
    }

    /// The child reaches its parent over something else from now on, by a new connection.
    async fn put_between(&mut self, between: Between) -> anyhow::Result<()> {
        let address = self.parent.config().listen;
        self.proxy = match between {
            Between::Nothing => None,
            Between::Counting => Some(Proxy::start(address, None).await?),
            Between::Slow(shape) => Some(Proxy::start(address, Some(shape)).await?),
        };
        let url = self.proxy.as_ref().map_or_else(|| format!("http://{address}"), Proxy::url);
        let mut config = self.child.config().clone();
        if let Some(parent) = &mut config.parent {
            parent.url = url;
        }
        config.save(&self.child_folder())?;
        self.child = open(&self.child_folder())?;
        Ok(())
    }

    /// The child's folder.
    pub fn child_folder(&self) -> PathBuf {
        self.folder.join("child")
    }
    /// The parent's folder.
    pub fn parent_folder(&self) -> PathBuf {
        self.folder.join("parent")
    }

    /// The child opened anew, as after a start.
    pub fn reopen_child(&mut self) -> anyhow::Result<()> {
        self.child = open(&self.child_folder())?;
        Ok(())
    }

    /// What passed between them, where it was counted.
    pub fn passed(&self) -> Passed {
        self.proxy.as_ref().map_or(Passed { up: 0, down: 0 }, Proxy::passed)
    }

    /// One round of the child.
    pub async fn round(&self) -> anyhow::Result<Round> {
        let link = Link::of(&self.child).context("failed to find the child's link")?;
        let round = round::run(&self.child, &link).await.map_err(anyhow::Error::from)?;
        if round.parked > 0 || round.not_taken > 0 {
            bail!("failed to measure: {} lines were parked", round.parked + round.not_taken);
        }
        Ok(round)
    }

    /// Rounds until nothing is left.
    pub async fn catch_up(&self) -> anyhow::Result<()> {
        for _ in 0..ROUNDS {
            if self.round().await?.received == 0 {
                return self.check().await;
            }
        }
        bail!("failed to bring the child into step within {ROUNDS} rounds")
    }

    /// A figure of a sync that did not do its work would be worth nothing.
    pub async fn check(&self) -> anyhow::Result<()> {
        let (here, there) = (records(&self.child).await?, records(&self.parent).await?);
        if here != there {
            bail!("failed to measure: the child holds {here} records, the parent {there}");
        }
        Ok(())
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// How many records a site holds.
pub async fn records(site: &Site) -> anyhow::Result<u64> {
    let now = site.now();
    Ok(site.read(move |store| store.site_status(now)).await?.records)
}

/// A new site in a folder of its own.
pub fn make(folder: &Path, id: &str, listen: SocketAddr) -> anyhow::Result<Site> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("failed to make {}", folder.display()))?;
    let site: SiteId = id.parse()?;
    let config = Config {
        site: site.clone(),
        listen,
        public_url: format!("http://{listen}"),
        insecure_http: false,
        open_on_loopback: false,
        parent: None,
        merge: BTreeMap::new(),
        link: crate::config::LinkConfig::default(),
        emr: crate::config::EmrConfig::default(),
        visitors: protocol::visit::Rules::default(),
        alerts: crate::alerts::Rules::default(),
        limits: Limits::default(),
        sources: Vec::new(),
    };
    let new = NewSite {
        site,
        epoch: Epoch::from_random(OsEntropy.uuid_bytes()),
        reference: FeedId::from_random(OsEntropy.uuid_bytes()),
    };
    let path = Dir { dir: folder.to_owned() }.store();
    drop(SqliteStore::create(&path, &new, options(&config), SystemClock.now())?);
    config.save(folder)?;
    open(folder)
}

/// The site in a folder.
pub fn open(folder: &Path) -> anyhow::Result<Site> {
    Dir { dir: folder.to_owned() }.open()
}

/// Lets a site join the parent at `url` with a code; it is to be opened anew then.
pub async fn join(child: &Site, folder: &Path, url: &str, code: &str) -> anyhow::Result<()> {
    let answer = enrol::redeem(child, url, code).await?;
    write_secret(&folder.join(CREDENTIAL), &answer.credential)?;
    let mut config = child.config().clone();
    let leave = LeavePolicy::Keep;
    config.parent = Some(Parent {
        url: url.to_owned(),
        site: answer.site,
        leave,
        up: Up::Direct,
        fhir: FhirParent::default(),
    });
    config.save(folder)?;
    let (now, feed) = (child.now(), FeedId::from_random(OsEntropy.uuid_bytes()));
    child.write(move |store| store.parent_set(now, &feed)).await?;
    Ok(())
}

/// Records changes at a site.
pub async fn load(site: &Site, changes: Changes) -> anyhow::Result<()> {
    let here = site.clone();
    tokio::task::spawn_blocking(move || load_all(here.store(), changes.into_iter().map(Ok)))
        .await
        .context("failed to record: a thread broke off")??;
    site.wake();
    Ok(())
}

/// Records changes as an import does: those of one patient in order, several at a time.
pub fn load_all(
    store: &dyn Store,
    changes: impl Iterator<Item = anyhow::Result<Vec<Record>>>,
) -> anyhow::Result<()> {
    std::thread::scope(|scope| {
        let mut writers: Vec<SyncSender<Vec<Record>>> = Vec::new();
        let mut threads = Vec::new();
        for _ in 0..WRITERS {
            let (sender, receiver) = sync_channel(32);
            writers.push(sender);
            threads.push(scope.spawn(move || write(store, &receiver)));
        }
        for change in changes {
            let change = change?;
            let patient = change.iter().flat_map(|record| &record.patients).next();
            let sum: usize = patient.map_or(0, |p| p.id().bytes().map(usize::from).sum());
            if writers[sum % WRITERS].send(change).is_err() {
                break;
            }
        }
        drop(writers);
        for thread in threads {
            let done = thread.join();
            done.map_err(|_| anyhow::anyhow!("failed to record: a thread broke off"))??;
        }
        Ok(())
    })
}

fn write(store: &dyn Store, changes: &Receiver<Vec<Record>>) -> anyhow::Result<()> {
    for change in changes {
        let writes = change.into_iter().map(|record| Write { record, expect: Expect::Any });
        let draft = Draft {
            author: Author::new("bench"),
            writes: writes.collect(),
            expect: Vec::new(),
            again: false,
            lane: protocol::Urgency::Normal,
        };
        store.change_record(&draft, SystemClock.now())?;
    }
    Ok(())
}
