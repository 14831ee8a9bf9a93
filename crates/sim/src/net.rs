//! The network of a world: sites call each other's routes, over links that lose, delay, double
//! and cut. Each request draws its fate from the chance of the round that it belongs to.

mod fate;
mod pipe;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Body;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use node::ports::{LinkError, Request, Response, Transport};
use tokio::sync::{mpsc, oneshot};
use tower::ServiceExt as _;

use crate::chance::SeededEntropy;
use crate::life::Life;
use crate::op::Weather;
use crate::time::WorldTime;

use fate::Fate;

/// The network of a world. Cheap to clone; all sites share it.
#[derive(Clone)]
pub(crate) struct WorldNet {
    inner: Arc<Inner>,
}

struct Inner {
    time: WorldTime,
    doors: Mutex<BTreeMap<String, Door>>,
    /// The links that lead to sites from above.
    links: Mutex<BTreeMap<String, Arc<LinkState>>>,
    watcher: Arc<dyn Watcher>,
    counts: Counts,
}

/// What happened on the links of a world.
#[derive(Default)]
pub(crate) struct Counts {
    /// Requests that were sent.
    pub(crate) requests: AtomicU64,
    /// Requests and answers that were lost, cut, doubled or left without an answer.
    pub(crate) troubles: AtomicU64,
}

/// Where a site is reached while it is up.
#[derive(Clone)]
struct Door {
    router: Router,
    life: Arc<Life>,
}

/// Looks at all that sites say to each other.
pub(crate) trait Watcher: Send + Sync + 'static {
    /// A request has come to the site at `url`.
    fn asked(&self, url: &str, headers: &axum::http::HeaderMap) -> Option<Asked>;
    /// It was answered with these bytes.
    fn answered(&self, asked: Asked, path: &str, headers: &axum::http::HeaderMap, body: &[u8]);
}

/// Who asked whom, and what the one might see then.
pub(crate) struct Asked {
    /// The site that answers.
    pub(crate) parent: usize,
    /// The child that asks.
    pub(crate) child: usize,
    /// Patients that the child might see when it asked.
    pub(crate) patients: Arc<std::collections::BTreeSet<protocol::RecordRef>>,
    /// The parent's newest sequence when the child asked.
    pub(crate) sequence: u64,
}

impl WorldNet {
    /// Nobody can be reached yet.
    pub(crate) fn new(time: WorldTime, watcher: Arc<dyn Watcher>) -> WorldNet {
        let (doors, links) = (Mutex::default(), Mutex::default());
        let inner = Inner { time, doors, links, watcher, counts: Counts::default() };
        WorldNet { inner: Arc::new(inner) }
    }

    /// From now on the site at `url` answers by `router`, as long as it lives.
    pub(crate) fn open(&self, url: &str, router: Router, life: Arc<Life>) {
        self.doors().insert(url.to_owned(), Door { router, life });
    }

    /// The site at `url` cannot be reached any more.
    pub(crate) fn close(&self, url: &str) {
        self.doors().remove(url);
    }

    /// Who reads the site at `url` from above goes by its link.
    pub(crate) fn lead(&self, url: &str, link: &Arc<LinkState>) {
        let mut links = self.inner.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.insert(url.to_owned(), Arc::clone(link));
    }

    fn link_to(&self, url: &str) -> Option<Arc<LinkState>> {
        let links = self.inner.links.lock().unwrap_or_else(PoisonError::into_inner);
        // Anything else goes to it from below, by the link of who asks.
        let reads = |base: &str| url.starts_with(&format!("{base}/sync/feeds/outgoing/"));
        let found = links.iter().find(|(base, _)| reads(base));
        found.map(|(_, link)| Arc::clone(link))
    }

    /// What happened.
    pub(crate) fn counts(&self) -> &Counts {
        &self.inner.counts
    }

    fn door(&self, url: &str) -> Option<(Door, String, String)> {
        self.doors().iter().find_map(|(base, door)| {
            let path = url.strip_prefix(base.as_str())?;
            path.starts_with('/').then(|| (door.clone(), base.clone(), path.to_owned()))
        })
    }

    fn doors(&self) -> MutexGuard<'_, BTreeMap<String, Door>> {
        self.inner.doors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A site's way to its parent.
pub(crate) struct SiteLink {
    pub(crate) net: WorldNet,
    pub(crate) link: Arc<LinkState>,
}

/// What a link is like just now.
pub(crate) struct LinkState {
    pub(crate) chance: SeededEntropy,
    pub(crate) now: Mutex<LinkNow>,
}

/// The weather, and outages.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LinkNow {
    pub(crate) weather: Weather,
    /// Nothing comes through.
    pub(crate) down: bool,
    /// Requests come through and answers do not.
    pub(crate) one_way: bool,
}

impl LinkState {
    pub(crate) fn set(&self, change: impl FnOnce(&mut LinkNow)) {
        change(&mut self.now.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The link works without a fault from now on; gives what it was like.
    pub(crate) fn pause(&self) -> LinkNow {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *now)
    }

    fn fate(&self) -> Fate {
        let now = *self.now.lock().unwrap_or_else(PoisonError::into_inner);
        Fate::draw(&self.chance, &now)
    }
}

impl Transport for SiteLink {
    /// Calls the routes of the other site; dropping the future or the body is a cut link.
    fn send(&self, request: Request) -> BoxFuture<'static, Result<Response, LinkError>> {
        let link = self.net.link_to(&request.url).unwrap_or_else(|| Arc::clone(&self.link));
        let fate = link.fate();
        let net = self.net.clone();
        net.inner.counts.requests.fetch_add(1, Ordering::Relaxed);
        if fate.is_trouble() {
            net.inner.counts.troubles.fetch_add(1, Ordering::Relaxed);
        }
        Box::pin(async move { net.send(request, fate).await })
    }
}

impl WorldNet {
    async fn send(self, request: Request, fate: Fate) -> Result<Response, LinkError> {
        let time = self.inner.time.clone();
        let idle = request.idle_seconds * 1_000;
        let silent = || LinkError(format!("no byte came for {} s", idle / 1_000));
        if fate.delay > 0 {
            time.sleep(fate.delay).await;
        }
        if fate.lost {
            time.sleep(idle).await;
            return Err(silent());
        }
        if let Some(later) = fate.again {
            // The network has a copy of it, which comes some time; nobody waits for its answer.
            let (net, copy) = (self.clone(), request.clone());
            tokio::spawn(async move {
                net.inner.time.sleep(later).await;
                let (_alive, gone) = oneshot::channel();
                let fate = Fate { polls_after: fate.polls_after * 50, ..fate };
                drop(net.deliver(copy, &fate, gone));
            });
        }
        let (alive, gone) = oneshot::channel();
        let Some(mut answer) = self.deliver(request, &fate, gone) else {
            return Err(LinkError("no connection: it was refused".to_owned()));
        };
        let head = tokio::select! {
            biased;
            head = answer.head_or_none(), if !fate.unanswered => head,
            () = time.sleep(idle) => return Err(silent()),
        };
        let Some((status, headers)) = head else {
            return Err(LinkError("the link was cut: no answer came".to_owned()));
        };
        let body = pipe::incoming(answer.body, time, idle, fate, alive);
        Ok(Response { status, headers, body })
    }

    /// Hands a request to the site; `None` where it is not up.
    fn deliver(
        &self,
        request: Request,
        fate: &Fate,
        gone: oneshot::Receiver<()>,
    ) -> Option<Answer> {
        let (door, base, path) = self.door(&request.url)?;
        let mut asked =
            axum::http::Request::new(pipe::outgoing(request.body, self.inner.time.clone(), fate));
        *asked.method_mut() = request.method;
        *asked.headers_mut() = request.headers;
        *asked.uri_mut() = path.parse().ok()?;
        let (head_sender, head) = oneshot::channel();
        let (sender, body) = mpsc::channel(2);
        let handling = Handling {
            net: self.clone(),
            base,
            path,
            head: head_sender,
            body: sender,
            polls: fate.polls_after,
            gone,
        };
        let life = Arc::clone(&door.life);
        tokio::spawn(life.mortal(handling.run(door.router, asked)));
        Some(Answer { head, body })
    }
}

type Head = (axum::http::StatusCode, axum::http::HeaderMap);
type Portion = Result<bytes::Bytes, LinkError>;
/// A portion of a body, or its end: a body that just stops was cut.
type Piece = Option<Portion>;

/// An answer on its way back.
struct Answer {
    head: oneshot::Receiver<Head>,
    body: mpsc::Receiver<Piece>,
}

impl Answer {
    async fn head_or_none(&mut self) -> Option<Head> {
        (&mut self.head).await.ok()
    }
}

/// A request at the site that answers it.
struct Handling {
    net: WorldNet,
    base: String,
    path: String,
    head: oneshot::Sender<Head>,
    body: mpsc::Sender<Piece>,
    /// How often it is polled before it is noticed that nobody waits any more.
    polls: u64,
    gone: oneshot::Receiver<()>,
}

impl Handling {
    async fn run(self, router: Router, asked: axum::http::Request<Body>) {
        let Handling { net, base, path, head, body, polls, gone } = self;
        let watcher = Arc::clone(&net.inner.watcher);
        let noted = watcher.asked(&base, asked.headers());
        let work = async move {
            let answer = match router.oneshot(asked).await {
                Ok(answer) => answer,
                Err(never) => match never {},
            };
            let (parts, stream) = answer.into_parts();
            let headers = parts.headers.clone();
            // Who has gone is noticed below; what was said to nobody is looked at all the same.
            drop(head.send((parts.status, parts.headers)));
            let mut all = Vec::new();
            let mut stream = stream.into_data_stream();
            while let Some(portion) = stream.next().await {
                let cut = |_| LinkError("the link was cut: the answer ended".to_owned());
                if let (Ok(bytes), true) = (&portion, noted.is_some()) {
                    all.extend_from_slice(bytes);
                }
                if body.send(Some(portion.map_err(cut))).await.is_err() {
                    break;
                }
            }
            drop(body.send(None).await);
            if let Some(noted) = noted {
                watcher.answered(noted, &path, &headers, &all);
            }
        };
        tokio::select! {
            biased;
            () = work => {}
            () = pipe::noticed(gone, polls) => {}
        }
    }
}
