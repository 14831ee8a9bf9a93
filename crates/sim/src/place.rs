//! One site of a world over all its lives: where its store is, what it knows between starts, and
//! how it starts, crashes and is put back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use axum::Router;
use futures::future::BoxFuture;
use node::config::{Config, EmrConfig, EmrKind, Parent, SourceConfig};
use node::http;
use node::jobs::emr::{self, Beside};
use node::ports::{Clock, Emr, Entropy as _};
use node::site::{Parts, Site};
use protocol::{Epoch, Limits, SiteId, Timestamp};
use store::LeavePolicy;
use store::sqlite::SqliteStore;

use crate::chance::SeededEntropy;
use crate::life::Life;
use crate::net::{LinkNow, LinkState, SiteLink, WorldNet};
use crate::op::SiteHead;
use crate::reach::Reach;
use crate::template::{READER, files, options};
use crate::time::WorldTime;
use crate::world::Message;

/// A site's clock: the world's time, and how far it is off.
struct WorldClock {
    time: WorldTime,
    ahead: Arc<AtomicI64>,
}

impl Clock for WorldClock {
    fn now(&self) -> Timestamp {
        self.time.now().plus_millis(self.ahead.load(Ordering::Relaxed))
    }

    fn sleep(&self, millis: u64) -> BoxFuture<'static, ()> {
        self.time.sleep(millis)
    }
}

/// One site of a world.
pub(crate) struct Place {
    pub(crate) index: usize,
    pub(crate) id: SiteId,
    pub(crate) url: String,
    pub(crate) parent: Option<usize>,
    pub(crate) leave: LeavePolicy,
    pub(crate) limits: Limits,
    /// Whether third parties carry its changes, and what these keep of what they were given.
    pub(crate) carried: bool,
    pub(crate) bag: Mutex<Vec<Message>>,
    /// Whether its parent reads its changes.
    pub(crate) read: bool,
    /// The record system beside it.
    pub(crate) system: Option<Arc<Reach>>,
    /// The bytes of `resource_bytes` until that is widened.
    narrow: Option<usize>,
    pub(crate) ahead: Arc<AtomicI64>,
    pub(crate) link: Arc<LinkState>,
    time: WorldTime,
    net: WorldNet,
    folder: PathBuf,
    seed: u64,
    /// Patients that were named here.
    named: AtomicU64,
    state: Mutex<State>,
}

/// What is known of a site between its starts.
#[derive(Default)]
struct State {
    up: Option<Up>,
    /// How often its store was put somewhere else.
    stores: u64,
    starts: u64,
    credential: Option<String>,
    parent: Option<Parent>,
    sources: Vec<SourceConfig>,
    secrets: BTreeMap<SiteId, String>,
    backup: Option<(PathBuf, i64)>,
    rounds: bool,
    looks: bool,
    widened: bool,
}

/// A site that runs.
#[derive(Clone)]
pub(crate) struct Up {
    pub(crate) site: Site,
    pub(crate) router: Router,
    pub(crate) life: Arc<Life>,
    /// Its jobs' way to the record system.
    pub(crate) beside: Option<Arc<Beside>>,
}

impl Place {
    pub(crate) fn new(
        index: usize,
        head: &SiteHead,
        seed: u64,
        folder: &Path,
        net: &WorldNet,
        time: &WorldTime,
    ) -> anyhow::Result<Place> {
        let id = name_of(index)?;
        let leave = match head.leave.as_str() {
            "freeze" => LeavePolicy::Freeze,
            "purge" => LeavePolicy::Purge,
            _ => LeavePolicy::Keep,
        };
        let mut limits = Limits::default();
        if let Some(bytes) = head.line_bytes {
            limits.line_bytes = bytes;
        }
        let now = LinkNow { weather: head.weather, ..LinkNow::default() };
        let url = format!("http://{id}.example");
        let link = Arc::new(LinkState {
            chance: SeededEntropy::new(seed, &format!("link of {id}")),
            now: Mutex::new(now),
        });
        if head.read {
            net.lead(&url, &link);
        }
        let system = head.emr.as_ref().map(|system| {
            let chance = SeededEntropy::new(seed, &format!("record system of {id}"));
            Arc::new(Reach::new(system, chance, time))
        });
        Ok(Place {
            index,
            url,
            parent: head.parent,
            leave,
            limits,
            carried: head.carried,
            bag: Mutex::default(),
            read: head.read,
            system,
            narrow: head.resource_bytes,
            ahead: Arc::new(AtomicI64::new(head.clock)),
            link,
            time: time.clone(),
            net: net.clone(),
            folder: folder.to_owned(),
            seed,
            named: AtomicU64::new(0),
            state: Mutex::default(),
            id,
        })
    }

    /// The file of its store.
    pub(crate) fn store_file(&self) -> PathBuf {
        self.folder.join(format!("{}-{}.db", self.id, self.lock().stores))
    }

    /// The site, where it is up.
    pub(crate) fn up(&self) -> Option<Up> {
        self.lock().up.clone().filter(|up| !up.life.is_over())
    }

    /// What it was told when it joined its parent.
    pub(crate) fn joined(&self, parent: Parent, credential: String) {
        let mut state = self.lock();
        state.parent = Some(parent);
        state.credential = Some(credential);
    }

    /// From its next start on the site reads this one below it.
    pub(crate) fn reads(&self, child: &Place) {
        let mut state = self.lock();
        state.sources.push(child.source());
        state.secrets.insert(child.id.clone(), READER.to_owned());
    }

    /// The site as its parent reads it.
    pub(crate) fn source(&self) -> SourceConfig {
        SourceConfig::of_child(self.id.clone(), self.url.clone())
    }

    /// Starts the site on its store, as the program does.
    pub(crate) fn start(&self) -> anyhow::Result<()> {
        let path = self.store_file();
        let mut state = self.lock();
        let mut limits = self.limits.clone();
        if let (Some(bytes), false) = (self.narrow, state.widened) {
            limits.resource_bytes = bytes;
        }
        let store = SqliteStore::open(&path, options(&limits))
            .with_context(|| format!("failed to start {}", self.id))?;
        state.starts += 1;
        let name = format!("{} {}", self.id, state.starts);
        let site = Site::new(Parts {
            config: Config {
                site: self.id.clone(),
                listen: ([127, 0, 0, 1], 0).into(),
                public_url: self.url.clone(),
                insecure_http: false,
                open_on_loopback: false,
                parent: state.parent.clone(),
                merge: BTreeMap::new(),
                link: node::config::LinkConfig::default(),
                emr: self.emr_config(),
                visitors: protocol::visit::Rules::default(),
                alerts: node::alerts::Rules::default(),
                limits,
                sources: state.sources.clone(),
            },
            store: Arc::new(store),
            clock: Arc::new(WorldClock { time: self.time.clone(), ahead: self.ahead.clone() }),
            entropy: Arc::new(SeededEntropy::new(self.seed, &name)),
            transport: Arc::new(SiteLink { net: self.net.clone(), link: self.link.clone() }),
            emr: self.system.clone().map(|system| system as Arc<dyn Emr>),
            credential: state.credential.clone(),
            courier: None,
            secrets: state.secrets.clone(),
            run_lock: None,
            inline: true,
        });
        let router = http::router(site.clone());
        let life = Life::new();
        self.net.open(&self.url, router.clone(), Arc::clone(&life));
        if self.system.is_some() {
            emr::begin(&site).context("failed to note a record system")?;
        }
        let beside = Beside::of(&site).map(Arc::new);
        (state.rounds, state.looks) = (false, false);
        state.up = Some(Up { site, router, life, beside });
        Ok(())
    }

    fn emr_config(&self) -> EmrConfig {
        if self.system.is_none() {
            return EmrConfig::default();
        }
        let url = Some(format!("http://emr.{}.example/fhir", self.id));
        EmrConfig { kind: EmrKind::Fhir, url, ..EmrConfig::default() }
    }

    /// The operator sets a limit that was too narrow to what is usual, and starts the site again.
    pub(crate) fn widen(&self) -> anyhow::Result<()> {
        if self.narrow.is_none() || std::mem::replace(&mut self.lock().widened, true) {
            return Ok(());
        }
        self.crash()?;
        self.start()
    }

    /// Takes down the site without ceremony. Its store is what lies in its files at this moment.
    pub(crate) fn crash(&self) -> anyhow::Result<()> {
        let before = self.store_file();
        let up = {
            let mut state = self.lock();
            state.stores += 1;
            state.up.take()
        };
        self.net.close(&self.url);
        if let Some(up) = &up {
            up.life.end();
        }
        let after = self.store_file();
        for (from, to) in files(&before).iter().zip(files(&after)) {
            if from.exists() {
                std::fs::copy(from, to).context("failed to copy a store as it lies there")?;
            }
        }
        drop(up);
        Ok(())
    }

    /// Notes a backup that was made of the store at this time.
    pub(crate) fn backed_up(&self, path: PathBuf, at: i64) {
        if let Some((before, _)) = self.lock().backup.replace((path, at)) {
            // The folder goes with the world; this only saves room.
            drop(std::fs::remove_file(before));
        }
    }

    /// Where the next backup goes.
    pub(crate) fn backup_file(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{}-backup-{number}.db", self.id))
    }

    /// Puts the last backup in place, in a new epoch, as `tributary restore` does. Gives when it
    /// was made; `None` where there is none. The site must be down.
    pub(crate) fn restore(&self, chance: &SeededEntropy) -> anyhow::Result<Option<i64>> {
        let Some((backup, at)) = self.lock().backup.clone() else { return Ok(None) };
        self.lock().stores += 1;
        let path = self.store_file();
        std::fs::copy(&backup, &path).context("failed to copy a backup")?;
        let epoch = Epoch::from_random(chance.uuid_bytes());
        let now = self.time.now().plus_millis(self.ahead.load(Ordering::Relaxed));
        SqliteStore::restore_as(&path, &epoch, now).context("failed to restore a backup")?;
        Ok(Some(at))
    }

    /// An id that no patient of this site had.
    pub(crate) fn patient_id(&self) -> String {
        format!("p-{}-{}", self.id, self.named.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Whether a round may begin: one at a time.
    pub(crate) fn begins_round(&self) -> bool {
        !std::mem::replace(&mut self.lock().rounds, true)
    }

    /// A round is over.
    pub(crate) fn ends_round(&self) {
        self.lock().rounds = false;
    }

    /// Whether the site may begin to look at its record system: one process does at a time.
    pub(crate) fn begins_look(&self) -> bool {
        !std::mem::replace(&mut self.lock().looks, true)
    }

    /// It has looked.
    pub(crate) fn ends_look(&self) {
        self.lock().looks = false;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The names of sites: the first two are those of the old stores.
pub(crate) fn name_of(index: usize) -> anyhow::Result<SiteId> {
    let name = match index {
        0 => "centre".to_owned(),
        1 => "clinic".to_owned(),
        other => format!("site-{other}"),
    };
    Ok(name.parse()?)
}
