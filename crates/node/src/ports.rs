//! What a site asks of the world around it, and what the simulator replaces: time, chance, the way
//! to another site, and the record system beside this one.

pub mod emr;
pub mod system;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use protocol::Timestamp;

pub use self::emr::{Capabilities, Emr, EmrError, EmrWrite, Noticed, Shown};

/// The time of day, and waiting.
pub trait Clock: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> Timestamp;
    /// Waits for so many milliseconds.
    fn sleep(&self, millis: u64) -> BoxFuture<'static, ()>;
}

/// Chance.
pub trait Entropy: Send + Sync + 'static {
    /// Fills `bytes` with random ones, good enough for credentials.
    fn fill(&self, bytes: &mut [u8]);

    /// A random number, for jitter.
    fn number(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// 16 random bytes, for a UUID.
    fn uuid_bytes(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        bytes
    }
}

/// The way to another site.
pub trait Transport: Send + Sync + 'static {
    /// Sends a request and gives the answer's head as soon as it has come; its body follows as
    /// a stream. Redirects are not followed; nothing is inflated here.
    fn send(&self, request: Request) -> BoxFuture<'static, Result<Response, LinkError>>;
}

/// A request to another site.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET` or `POST`; to a FHIR server `PUT` and `DELETE` too.
    pub method: http::Method,
    /// The whole URL.
    pub url: String,
    /// Headers.
    pub headers: http::HeaderMap,
    /// The body; empty for `GET` and `DELETE`.
    pub body: Bytes,
    /// Seconds without any byte after which the request is given up (a dead link never hangs).
    pub idle_seconds: u64,
}

/// An answer from another site.
pub struct Response {
    /// The status.
    pub status: http::StatusCode,
    /// Headers.
    pub headers: http::HeaderMap,
    /// The body as it comes, still compressed. An `Err` item ends it: the link was cut.
    pub body: BoxStream<'static, Result<Bytes, LinkError>>,
}

/// The link failed: says nothing about any record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LinkError(
    /// Why, in plain words.
    pub String,
);
