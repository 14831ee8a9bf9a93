//! Connections over real sockets: who sends nothing whole shuts nobody out.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::Uri;
use futures::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::serve;

/// Places of the server in these tests.
const PLACES: usize = 6;
/// Far less than a head may take, and enough on a machine that has much else to do.
const SOON: Duration = Duration::from_secs(10);

/// A server, and what lets its `/held` come to an end.
struct Server {
    address: std::net::SocketAddr,
    go_on: watch::Sender<bool>,
    stop: CancellationToken,
}

impl Server {
    async fn start() -> Server {
        let (go_on, held) = watch::channel(false);
        // It begins to answer at once, and the rest comes when it may.
        let answer = move |uri: Uri| {
            let mut held = held.clone();
            let rest = async move {
                let _ = held.wait_for(|go| *go).await;
                Ok::<_, std::io::Error>(Bytes::from("end"))
            };
            let begun = futures::stream::iter([Ok(Bytes::from("begun "))]);
            let body = match uri.path() {
                "/held" => Body::from_stream(begun.chain(futures::stream::once(rest))),
                _ => Body::from("quick"),
            };
            async move { body }
        };
        let router = Router::default().fallback(answer);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(serve(listener, router, stop.clone(), PLACES));
        Server { address, go_on, stop }
    }

    async fn connect(&self, said: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(said.as_bytes()).await.unwrap();
        stream
    }

    async fn ask(&self, path: &str) -> TcpStream {
        self.connect(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What comes until these words have.
async fn read_until(stream: &mut TcpStream, words: &str) -> String {
    let mut text = String::new();
    while !text.contains(words) {
        let mut part = [0; 512];
        let count = timeout(SOON, stream.read(&mut part)).await.expect("in time").unwrap();
        assert!(count > 0, "it ended after {text:?}");
        text.push_str(std::str::from_utf8(&part[..count]).unwrap());
    }
    text
}

/// Whether the other side has shut it.
async fn is_shut(stream: &mut TcpStream) -> bool {
    let mut part = [0; 512];
    let read = timeout(Duration::from_millis(200), stream.read(&mut part)).await;
    !matches!(read, Err(_) | Ok(Ok(1..)))
}

#[tokio::test]
async fn heads_that_come_byte_by_byte_shut_nobody_out() {
    let server = Server::start().await;
    let mut slow = Vec::new();
    for _ in 0..PLACES {
        let mut stream = server.connect("GET / HTTP/1.1\r\nX-Slow: ").await;
        stream.write_all(b"a").await.unwrap();
        slow.push(stream);
        // One after the other has its place.
        sleep(Duration::from_millis(20)).await;
    }
    let mut whole = server.ask("/").await;
    assert!(read_until(&mut whole, "quick").await.starts_with("HTTP/1.1 200"));
    let mut shut = Vec::new();
    for stream in &mut slow {
        shut.push(is_shut(stream).await);
    }
    assert!(shut[0] && !shut[1..].contains(&true), "who waited longest, alone: {shut:?}");
    // Who was slow and comes to an end is answered all the same.
    slow[1].write_all(b"\r\n\r\n").await.unwrap();
    read_until(&mut slow[1], "quick").await;
}

#[tokio::test]
async fn a_connection_that_is_being_answered_keeps_its_place() {
    let server = Server::start().await;
    let mut held = Vec::new();
    for _ in 0..PLACES {
        let mut stream = server.ask("/held").await;
        read_until(&mut stream, "begun").await;
        held.push(stream);
    }
    // There is no place, and nobody who could make one.
    let mut late = server.ask("/").await;
    assert!(timeout(Duration::from_millis(300), late.read(&mut [0; 16])).await.is_err());
    server.go_on.send_replace(true);
    for stream in &mut held {
        read_until(stream, "end").await;
    }
    // All are answered and kept open by their clients: one of them makes place.
    read_until(&mut late, "quick").await;
    // A connection is good for more than one request.
    late.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    read_until(&mut late, "quick").await;
}
