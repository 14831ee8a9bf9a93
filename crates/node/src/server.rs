//! Listening: connections in, answered by the router, with a bound on each wait.

mod places;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::connect_info::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use self::places::{AnswerBody, Place, Places};

/// How long a connection may take to send the head of a request: a dead or a malicious one must
/// not keep its place for ever.
const HEAD: Duration = Duration::from_secs(30);
/// How long open requests may go on after the site was told to stop.
const GRACE: Duration = Duration::from_secs(10);
/// Connections at the same time. One more takes the place of one on which no request is being
/// answered, or waits until there is one.
const CONNECTIONS: usize = 1_024;

/// Binds an address, with an error that says what to do.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!(
            "failed to listen on {address}: is another program (or this site already) using the \
             port? Stop it, or change `listen` in tributary.toml"
        )
    })
}

/// Answers requests until `stop`, then lets open ones finish for a while.
pub async fn run(listener: TcpListener, router: Router, stop: CancellationToken) {
    serve(listener, router, stop, CONNECTIONS).await;
}

async fn serve(listener: TcpListener, router: Router, stop: CancellationToken, most: usize) {
    let graceful = GracefulShutdown::new();
    let places = Places::new(most);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, or a connection that was gone at once.
                tracing::warn!(%error, "failed to accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let place = tokio::select! {
            place = places.take() => place,
            () = stop.cancelled() => break,
        };
        let Some(place) = place else { break };
        connection(stream, peer, router.clone(), &graceful, place);
    }
    drop(listener);
    tokio::select! {
        () = graceful.shutdown() => {}
        () = tokio::time::sleep(GRACE) => tracing::warn!("open requests were cut off"),
    }
}

fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    graceful: &GracefulShutdown,
    place: Arc<Place>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "failed to turn off Nagle's algorithm");
    }
    let router = router.layer(axum::Extension(ConnectInfo(peer)));
    let answered = place.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let (router, answering) = (router.clone(), answered.answering());
        async move {
            let answer = router.oneshot(request).await?;
            Ok::<_, Infallible>(answer.map(|body| AnswerBody { body, _answering: answering }))
        }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let served = graceful.watch(served);
    tokio::spawn(async move {
        tokio::select! {
            ended = served => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended early");
                }
            }
            () = place.shut() => {
                tracing::debug!("a connection without a request made place for another");
            }
        }
    });
}

#[cfg(test)]
mod tests;
