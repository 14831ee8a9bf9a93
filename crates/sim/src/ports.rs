//! The ports of a site as the world gives them: its clock, its chance, its way to other sites.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Body;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use node::ports::{Clock, Entropy, LinkError, Request, Response, Transport};
use protocol::Timestamp;
use tower::ServiceExt as _;

use crate::time::WorldTime;

/// A site's clock: the world's time, and how far it is off.
pub struct WorldClock {
    /// The world's time.
    pub time: WorldTime,
    /// Milliseconds that this clock is ahead.
    pub offset: i64,
}

impl Clock for WorldClock {
    fn now(&self) -> Timestamp {
        self.time.now().plus_millis(self.offset)
    }

    fn sleep(&self, millis: u64) -> BoxFuture<'static, ()> {
        self.time.sleep(millis)
    }
}

/// Chance from a seed (SplitMix64): the same seed gives the same numbers.
pub struct SeededEntropy {
    state: Mutex<u64>,
}

impl SeededEntropy {
    /// Numbers of their own for each seed and name.
    pub fn new(seed: u64, name: &str) -> SeededEntropy {
        // FNV-1a: any mixing that is the same everywhere will do.
        let mixed = name.bytes().fold(seed ^ 0xcbf2_9ce4_8422_2325, |state, byte| {
            (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        SeededEntropy { state: Mutex::new(mixed) }
    }

    fn next(&self) -> u64 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        for portion in bytes.chunks_mut(8) {
            portion.copy_from_slice(&self.next().to_le_bytes()[..portion.len()]);
        }
    }
}

/// The network of a world: sites by their base URLs. Cheap to clone; all sites share it.
#[derive(Clone, Default)]
pub struct WorldNet {
    sites: Arc<Mutex<BTreeMap<String, Router>>>,
}

impl WorldNet {
    /// From now on the site at `url` answers by `router`.
    pub fn answer(&self, url: &str, router: Router) {
        let mut sites = self.sites.lock().unwrap_or_else(PoisonError::into_inner);
        sites.insert(url.to_owned(), router);
    }

    fn site_of(&self, url: &str) -> Option<(Router, String)> {
        let sites = self.sites.lock().unwrap_or_else(PoisonError::into_inner);
        sites.iter().find_map(|(base, router)| {
            let path = url.strip_prefix(base.as_str())?;
            path.starts_with('/').then(|| (router.clone(), path.to_owned()))
        })
    }
}

impl Transport for WorldNet {
    /// Calls the routes of the other site; dropping the future or the body is a cut link.
    fn send(&self, request: Request) -> BoxFuture<'static, Result<Response, LinkError>> {
        let found = self.site_of(&request.url);
        Box::pin(async move {
            let Some((router, path)) = found else {
                return Err(LinkError("no connection: there is no such site".to_owned()));
            };
            let mut asked = axum::http::Request::new(Body::from(request.body));
            *asked.method_mut() = request.method;
            *asked.headers_mut() = request.headers;
            *asked.uri_mut() = path
                .parse()
                .map_err(|_| LinkError("no connection: the address is no address".to_owned()))?;
            let answer = match router.oneshot(asked).await {
                Ok(answer) => answer,
                Err(never) => match never {},
            };
            let (head, body) = answer.into_parts();
            let body = body.into_data_stream().map(|portion| {
                portion.map_err(|_| LinkError("the link was cut: the answer ended".to_owned()))
            });
            Ok(Response { status: head.status, headers: head.headers, body: body.boxed() })
        })
    }
}
