//! A TCP proxy that counts every byte on the socket, and slows a link down to what a clinic has.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;

/// Bytes that travel together: one segment of TCP.
const SEGMENT: usize = 1_460;
/// Segments that may be under way in one direction; far more than any link here holds.
const UNDER_WAY: usize = 4_096;

/// What a link is like, the same in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Bits a second, in each direction.
    pub bits_per_second: u64,
    /// There and back.
    pub round_trip: Duration,
}

/// A running proxy. Ends with its runtime.
pub struct Proxy {
    address: SocketAddr,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    up: AtomicU64,
    down: AtomicU64,
    connections: AtomicU64,
}

/// Bytes that a proxy has passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// Towards the server.
    pub up: u64,
    /// Towards the client.
    pub down: u64,
}

impl Passed {
    /// Both ways.
    pub fn all(self) -> u64 {
        self.up + self.down
    }
    /// What passed after `earlier` was taken.
    pub fn since(self, earlier: Passed) -> Passed {
        Passed { up: self.up - earlier.up, down: self.down - earlier.down }
    }
}

/// One direction of a link: what is sent waits until what was sent before has left.
struct Wire {
    shape: Option<Shape>,
    free_at: Mutex<Instant>,
}

impl Wire {
    fn new(shape: Option<Shape>) -> Arc<Wire> {
        Arc::new(Wire { shape, free_at: Mutex::new(Instant::now()) })
    }

    /// Waits until these bytes have left, and gives when they arrive.
    async fn send(&self, bytes: usize) -> Instant {
        let Some(shape) = self.shape else { return Instant::now() };
        let mut free_at = self.free_at.lock().await;
        let start = (*free_at).max(Instant::now());
        let takes = bytes as u64 * 8_000_000_000 / shape.bits_per_second.max(1);
        *free_at = start + Duration::from_nanos(takes);
        let gone = *free_at;
        drop(free_at);
        tokio::time::sleep_until(gone).await;
        gone + shape.round_trip / 2
    }
}

impl Proxy {
    /// Starts a proxy before `server`.
    pub async fn start(server: SocketAddr, shape: Option<Shape>) -> anyhow::Result<Proxy> {
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .context("failed to listen for the measuring proxy")?;
        let address = listener.local_addr().context("failed to learn the proxy's address")?;
        let counts = Arc::new(Counts::default());
        let (up, down) = (Wire::new(shape), Wire::new(shape));
        let shared = counts.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::Relaxed);
                let (counts, up, down) = (shared.clone(), up.clone(), down.clone());
                tokio::spawn(async move {
                    let passed = connection(client, server, &counts, &up, &down).await;
                    if let Err(error) = passed {
                        tracing::debug!(%error, "a proxied connection ended early");
                    }
                });
            }
        });
        Ok(Proxy { address, counts })
    }

    /// Where clients go.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it has passed on so far.
    pub fn passed(&self) -> Passed {
        Passed {
            up: self.counts.up.load(Ordering::Relaxed),
            down: self.counts.down.load(Ordering::Relaxed),
        }
    }
}

async fn connection(
    client: TcpStream,
    server: SocketAddr,
    counts: &Counts,
    up: &Wire,
    down: &Wire,
) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    // The client believes itself connected at once; over the real link it takes a round trip.
    if let Some(shape) = up.shape {
        tokio::time::sleep(shape.round_trip).await;
    }
    let server = TcpStream::connect(server).await?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (there, back) = tokio::join!(
        pass(from_client, to_server, up, &counts.up),
        pass(from_server, to_client, down, &counts.down),
    );
    there.and(back)
}

/// Passes bytes on in one direction until they end.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    wire: &Wire,
    count: &AtomicU64,
) -> std::io::Result<()> {
    let (segments, mut arriving) = mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY);
    let sending = async move {
        let mut buffer = vec![0; if wire.shape.is_some() { SEGMENT } else { 64 << 10 }];
        loop {
            let length = from.read(&mut buffer).await?;
            if length == 0 {
                return Ok(());
            }
            count.fetch_add(length as u64, Ordering::Relaxed);
            let arrives = wire.send(length).await;
            if segments.send((arrives, buffer[..length].to_vec())).await.is_err() {
                return Ok(());
            }
        }
    };
    let receiving = async {
        while let Some((arrives, segment)) = arriving.recv().await {
            if wire.shape.is_some() {
                tokio::time::sleep_until(arrives).await;
            }
            to.write_all(&segment).await?;
        }
        to.shutdown().await
    };
    let (sent, received) = tokio::join!(sending, receiving);
    sent.and(received)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that reads a byte and answers with `answer` bytes; seconds until all had come.
    async fn fetch(answer: usize, shape: Option<Shape>) -> (Passed, f64) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let server = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_u8().await.unwrap();
            stream.write_all(&vec![7; answer]).await.unwrap();
        });
        let proxy = Proxy::start(server, shape).await.unwrap();
        let started = Instant::now();
        let mut client = TcpStream::connect(proxy.address).await.unwrap();
        client.write_u8(1).await.unwrap();
        let mut come = Vec::new();
        client.read_to_end(&mut come).await.unwrap();
        assert_eq!(come.len(), answer);
        (proxy.passed(), started.elapsed().as_secs_f64())
    }

    #[tokio::test]
    async fn every_byte_is_counted_in_its_direction() {
        assert_eq!(fetch(100_000, None).await.0, Passed { up: 1, down: 100_000 });
    }

    #[tokio::test]
    async fn a_slow_link_takes_its_round_trips_and_its_bandwidth() {
        let shape = Shape { bits_per_second: 800_000, round_trip: Duration::from_millis(100) };
        // A round trip to connect, one to ask, and 20,000 bytes at 100,000 a second.
        let (_, seconds) = fetch(20_000, Some(shape)).await;
        assert!(seconds >= 0.4, "it took {seconds} s");
    }
}
