//! Requests to another site over HTTP, with a bound on every wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::BoxFuture;

use crate::ports::{LinkError, Request, Response, Transport};

/// How long a connection may take to come about, on a satellite link with lost packets.
const CONNECT: Duration = Duration::from_secs(30);

/// Connections to one host that are kept open: as many as records of a record system are read at
/// the same time, or each would begin with a connection of its own.
const CONNECTIONS: usize = 16;

/// Bytes of an upload that are handed to the connection at a time.
const PORTION: usize = 8 << 10;

/// Sends requests with reqwest. Redirects are not followed: a credential must not travel on.
pub struct HttpTransport {
    client: reqwest::Client,
}

impl HttpTransport {
    /// A transport with a pool of its own.
    pub fn new() -> Result<HttpTransport, LinkError> {
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .redirect(reqwest::redirect::Policy::none())
            .pool_idle_timeout(Duration::from_secs(90))
            .pool_max_idle_per_host(CONNECTIONS)
            .tcp_keepalive(Duration::from_secs(30))
            .http1_only()
            .no_proxy()
            .build()
            .map_err(|error| LinkError(format!("failed to prepare connections: {error}")))?;
        Ok(HttpTransport { client })
    }
}

impl Transport for HttpTransport {
    fn send(&self, request: Request) -> BoxFuture<'static, Result<Response, LinkError>> {
        let idle = Duration::from_secs(request.idle_seconds);
        let moved = Arc::new(AtomicU64::new(0));
        let mut outgoing =
            self.client.request(request.method, &request.url).headers(request.headers);
        if !request.body.is_empty() {
            let length = request.body.len();
            outgoing = outgoing
                .header(http::header::CONTENT_LENGTH, length)
                .body(watched(request.body, moved.clone()));
        }
        let mut sent = Box::pin(outgoing.send());
        Box::pin(async move {
            // A slow upload is not a dead link: only a time in which nothing moved is.
            let mut seen = 0;
            let answer = loop {
                match tokio::time::timeout(idle, &mut sent).await {
                    Ok(answer) => break answer.map_err(|error| LinkError(plain(&error)))?,
                    Err(_) if moved.load(Ordering::Relaxed) > seen => {
                        seen = moved.load(Ordering::Relaxed);
                    }
                    Err(_) => return Err(silent(idle)),
                }
            };
            let status = answer.status();
            let headers = answer.headers().clone();
            let body = bounded(answer.bytes_stream().boxed(), idle);
            Ok(Response { status, headers, body })
        })
    }
}

/// The body in small portions, counting those that the connection took.
fn watched(body: Bytes, moved: Arc<AtomicU64>) -> reqwest::Body {
    let portions = futures::stream::unfold(body, move |mut rest| {
        let moved = moved.clone();
        async move {
            if rest.is_empty() {
                return None;
            }
            let portion = rest.split_to(rest.len().min(PORTION));
            moved.fetch_add(1, Ordering::Relaxed);
            Some((Ok::<Bytes, std::io::Error>(portion), rest))
        }
    });
    reqwest::Body::wrap_stream(portions)
}

type ByteStream = futures::stream::BoxStream<'static, Result<Bytes, LinkError>>;

/// Ends the body with an error when nothing comes for too long.
fn bounded(
    body: futures::stream::BoxStream<'static, reqwest::Result<Bytes>>,
    idle: Duration,
) -> ByteStream {
    futures::stream::unfold(Some(body), move |body| async move {
        let mut body = body?;
        match tokio::time::timeout(idle, body.next()).await {
            Ok(None) => None,
            Ok(Some(Ok(bytes))) => Some((Ok(bytes), Some(body))),
            Ok(Some(Err(error))) => Some((Err(LinkError(plain(&error))), None)),
            Err(_) => Some((Err(silent(idle)), None)),
        }
    })
    .boxed()
}

fn silent(idle: Duration) -> LinkError {
    LinkError(format!("the other side was silent for {} s", idle.as_secs()))
}

/// The innermost cause, which is what a person can act on; never the URL with its query.
fn plain(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let what = if error.is_connect() {
        "no connection"
    } else if error.is_timeout() {
        "no answer in time"
    } else {
        "the link was cut"
    };
    format!("{what}: {cause}")
}
