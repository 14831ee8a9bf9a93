//! What monitoring sees of a site, as OpenMetrics text. What the store knows is read from it at
//! each look; what happens and leaves no trace there is counted here, since the start.
//!
//! Nothing here is global: a process may run several sites, as the simulator does.

pub mod list;
mod look;

use axum::http::Method;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use protocol::SiteId;
use protocol::delivery::Outcome;
use store::Applied;

pub use look::text;

use crate::jobs::rounds::RoundEnd;

/// Upper ends of the histogram's parts, in seconds: a request that only reads, one that writes,
/// a slow one, a long stream.
const SECONDS: [f64; 8] = [0.005, 0.025, 0.1, 0.5, 2.0, 10.0, 60.0, 600.0];

/// Names and values.
type Labels = Vec<(&'static str, String)>;

/// What is counted since the start.
#[derive(Debug)]
pub struct Metrics {
    rounds: Family<Labels, Counter>,
    sent: Counter,
    applied: Family<Labels, Counter>,
    child_bytes: Family<Labels, Counter>,
    requests: Family<Labels, Counter>,
    /// By route alone: a histogram is long, and a site has many routes.
    durations: Family<Labels, Histogram, fn() -> Histogram>,
}

impl Default for Metrics {
    fn default() -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(SECONDS);
        Metrics {
            rounds: Family::default(),
            sent: Counter::default(),
            applied: Family::default(),
            child_bytes: Family::default(),
            requests: Family::default(),
            durations: Family::new_with_constructor(histogram),
        }
    }
}

/// Where lines come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum From {
    Parent,
    Child,
    Source,
    Message,
}

impl Metrics {
    /// A round with the parent is over.
    pub fn round_ended(&self, end: &RoundEnd) {
        let outcome = if end.error.is_none() { "ok" } else { "failed" };
        self.rounds.get_or_create(&vec![("outcome", outcome.to_owned())]).inc();
        self.sent.inc_by(end.sent);
    }

    /// Lines were applied.
    pub fn applied(&self, from: From, lines: &[Applied]) {
        for line in lines {
            let outcome = if line.parked { "parked" } else { line.outcome.as_str() };
            self.line(from, outcome);
        }
    }

    /// A message that a third party brought was worked off.
    pub fn message(&self, outcome: Outcome) {
        self.line(From::Message, outcome.as_str());
    }

    fn line(&self, from: From, outcome: &str) {
        let from = match from {
            From::Parent => "parent",
            From::Child => "child",
            From::Source => "source",
            From::Message => "message",
        };
        let labels = vec![("from", from.to_owned()), ("outcome", outcome.to_owned())];
        self.applied.get_or_create(&labels).inc();
    }

    /// A request was answered, whole.
    pub(crate) fn request(&self, request: &Request<'_>) {
        let status = match request.status {
            Some(status) => format!("{}xx", status / 100),
            None => "cut".to_owned(),
        };
        let labels = vec![
            ("route", request.route.to_owned()),
            ("method", method_name(request.method).to_owned()),
            ("status", status),
        ];
        self.requests.get_or_create(&labels).inc();
        let route = vec![("route", request.route.to_owned())];
        self.durations.get_or_create(&route).observe(request.seconds);
        let Some(child) = request.child else { return };
        for (direction, bytes) in [("received", request.received), ("sent", request.sent)] {
            let labels = vec![("link", child.to_string()), ("direction", direction.to_owned())];
            self.child_bytes.get_or_create(&labels).inc_by(bytes);
        }
    }
}

/// A request and what became of it.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    /// As the list of routes has it.
    pub(crate) route: &'a str,
    pub(crate) method: &'a Method,
    /// `None`: whoever asked went away before.
    pub(crate) status: Option<u16>,
    pub(crate) seconds: f64,
    /// The child that asked.
    pub(crate) child: Option<&'a SiteId>,
    /// Bytes of the request's body.
    pub(crate) received: u64,
    /// Bytes of the answer's body.
    pub(crate) sent: u64,
}

/// The methods that this site knows; whoever asks may make up others.
fn method_name(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        _ => "other",
    }
}
