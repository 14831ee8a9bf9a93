//! Fetching one answer of a feed and applying it as it comes: read, parse and write go on side by
//! side; a link that breaks costs only the line in flight.

use axum::http::StatusCode;
use futures::StreamExt as _;
use protocol::delivery::Outcome;
use protocol::planted::{Fault, planted};
use protocol::stream::{self, Header, Lane, Lines, StreamLine};
use protocol::{Limits, Refusal, Urgency};
use store::{Applied, Incoming, Source};
use tokio::sync::mpsc;

use crate::http::sync::status::{FeedHead, ParentView};
use crate::jobs::link::{Link, ours, refused};
use crate::jobs::speed::{Size, Way};
use crate::metrics;
use crate::ports::{LinkError, Response};
use crate::site::Site;
use crate::wire::Decoder;

/// Bytes of lines that are applied in one commit.
const BATCH_BYTES: usize = 512 << 10;
/// Milliseconds that whole lines wait for more before they are applied.
const LINGER: u64 = 50;

/// What came of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pulled {
    /// Lines were applied, some perhaps parked.
    Lines {
        /// Applied.
        applied: u64,
        /// Parked.
        parked: u64,
    },
    /// The marker is not of the feed's present epoch, or beyond its head.
    Gone,
    /// The feed is not (or no longer) ours to read.
    Absent,
}

/// One request for what comes after `after`.
pub async fn step(
    site: &Site,
    link: &Link,
    view: &ParentView,
    feed: &FeedHead,
    lane: Lane,
    after: u64,
) -> Result<Pulled, LinkError> {
    let (way, lane_part) = match lane {
        Lane::Live => ((Way::Live, Urgency::Normal), ""),
        Lane::Bulk => ((Way::Bulk, Urgency::Bulk), "&lane=bulk"),
    };
    let limit = link.portion(site, way);
    let path = format!(
        "/sync/feeds/{}/changes?after={after}&epoch={}{lane_part}&limit={limit}",
        feed.name, view.epoch
    );
    let begun = link.meter(site);
    let broke = |error| {
        link.broke(site, way, begun, Size::Broke);
        error
    };
    let response = link.get_lines(site, &path).await.map_err(broke)?;
    match response.status {
        StatusCode::OK => {}
        StatusCode::CONFLICT => return Ok(Pulled::Gone),
        StatusCode::NOT_FOUND => return Ok(Pulled::Absent),
        status => {
            let text = link.text(response).await.unwrap_or_default();
            link.broke(site, way, begun, Size::of(status));
            return Err(refused(status, &text));
        }
    }
    let target = Target { feed: feed.clone(), epoch: view.epoch, lane, is_ahead: false };
    let read = apply(site, link, target, response).await.map_err(broke)?;
    let passed = read.end.unwrap_or(after).saturating_sub(after);
    link.measured(site, way, begun, passed);
    if read.end.is_none_or(|end| end <= after) {
        return Err(LinkError("the parent's answer does not get on; will ask again".to_owned()));
    }
    Ok(Pulled::Lines { applied: read.applied, parked: read.parked })
}

/// What an answer is applied to.
#[derive(Clone)]
pub struct Target {
    /// The feed.
    pub feed: FeedHead,
    /// Its epoch.
    pub epoch: protocol::Epoch,
    /// The lane.
    pub lane: Lane,
    /// Whether these are joins that were asked for by name: no marker moves by them.
    pub is_ahead: bool,
}

impl Target {
    /// For whole records that come ahead of the bulk lane.
    pub fn ahead(feed: FeedHead, epoch: protocol::Epoch) -> Target {
        Target { feed, epoch, lane: Lane::Bulk, is_ahead: true }
    }
}

/// What was read and applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Read {
    /// Lines applied.
    pub applied: u64,
    /// Lines parked.
    pub parked: u64,
    /// Records that were written.
    pub written: u64,
    /// What the end line said.
    pub end: Option<u64>,
}

/// Lines on their way from the parser to the store.
struct Batch {
    sequence: u64,
    lines: Vec<Incoming>,
}

/// Reads an answer to its end, applying as it comes.
pub async fn apply(
    site: &Site,
    link: &Link,
    target: Target,
    response: Response,
) -> Result<Read, LinkError> {
    let limits = site.config().limits.clone();
    // A first answer may have one change more than fits: the bound is on what inflates.
    let decoder = link.decoder(&response, 2 * (limits.stream_bytes + limits.line_bytes) as u64)?;
    let lines = Lines::new(limits.line_bytes + stream::ENVELOPE_BYTES);
    let (batches, receiver) = mpsc::channel(2);
    let reader = Reader {
        site: site.clone(),
        link: link.clone(),
        decoder: Some(decoder),
        lines,
        header: None,
        expected: target.clone(),
        end: None,
        batches,
    };
    let (read, written) = tokio::join!(reader.run(response), write(site, link, target, receiver));
    let written = written?;
    let end = read?;
    Ok(Read { end, ..written })
}

async fn write(
    site: &Site,
    link: &Link,
    target: Target,
    mut batches: mpsc::Receiver<Batch>,
) -> Result<Read, LinkError> {
    let mut read = Read::default();
    while let Some(batch) = batches.recv().await {
        let source = Source::Parent {
            site: link.parent().site.clone(),
            feed: target.feed.id,
            name: target.feed.name.clone(),
            epoch: target.epoch,
            lane: target.lane,
            sequence: batch.sequence,
            leave: link.parent().leave,
        };
        let now = site.now();
        let applied = site
            .write(move |store| store.change_apply(&source, &batch.lines, now))
            .await
            .map_err(|error| ours(&error))?;
        link.note_progress();
        site.metrics().applied(metrics::From::Parent, &applied);
        count(&mut read, &applied);
        // What came counts, whatever becomes of the rest of the answer.
        link.note_at_times(site).await?;
    }
    Ok(read)
}

fn count(read: &mut Read, applied: &[Applied]) {
    for line in applied {
        read.written += u64::from(line.written);
        if line.parked {
            read.parked += 1;
        } else if line.outcome != Outcome::Already {
            read.applied += 1;
        }
    }
}

struct Reader {
    site: Site,
    link: Link,
    decoder: Option<Decoder>,
    lines: Lines,
    header: Option<Header>,
    expected: Target,
    end: Option<u64>,
    batches: mpsc::Sender<Batch>,
}

/// Whole lines that have come and are not parsed yet.
#[derive(Default)]
struct Waiting {
    lines: Vec<Vec<u8>>,
    bytes: usize,
}

/// What the link gave next.
enum Portion {
    Text(Vec<u8>),
    /// Nothing for a moment.
    Quiet,
    Ended(Result<(), LinkError>),
}

impl Reader {
    /// Gives what the end line said. Whole lines that came before a failure are still applied.
    async fn run(mut self, mut response: Response) -> Result<Option<u64>, LinkError> {
        let mut waiting = Waiting::default();
        loop {
            let ended = match self.portion(&mut response, !waiting.lines.is_empty()).await {
                Portion::Text(text) => {
                    self.lines.push(&text);
                    None
                }
                Portion::Quiet => {
                    self.send(&mut waiting).await?;
                    None
                }
                Portion::Ended(result) => Some(result),
            };
            let collected = self.collect(&mut waiting).await;
            if collected.is_err() || ended.is_some() {
                self.send(&mut waiting).await?;
            }
            collected?;
            if let Some(result) = ended {
                if planted(Fault::MarkerPastCut) {
                    let lines = vec![Incoming::End(self.expected.feed.head)];
                    drop(self.batches.send(Batch { sequence: 0, lines }).await);
                }
                result?;
                let cut = || LinkError("the parent's answer was cut short".to_owned());
                return self.end.map(Some).ok_or_else(cut);
            }
        }
    }

    async fn portion(&mut self, response: &mut Response, linger: bool) -> Portion {
        let next = if linger {
            tokio::select! {
                biased;
                next = response.body.next() => next,
                () = self.site.clock().sleep(LINGER) => return Portion::Quiet,
            }
        } else {
            response.body.next().await
        };
        match (next, &mut self.decoder) {
            (Some(Ok(bytes)), Some(decoder)) => match decoder.push(&bytes) {
                Ok(text) => {
                    self.link.count_received(bytes.len(), text.len());
                    Portion::Text(text)
                }
                Err(refusal) => Portion::Ended(Err(unreadable(&refusal))),
            },
            (Some(Err(error)), _) => Portion::Ended(Err(error)),
            (None, decoder) => Portion::Ended(match decoder.take().map(Decoder::finish) {
                Some(Ok(rest)) => {
                    self.lines.push(&rest);
                    Ok(())
                }
                Some(Err(refusal)) => Err(unreadable(&refusal)),
                None => Ok(()),
            }),
            (Some(Ok(_)), None) => Portion::Ended(Ok(())),
        }
    }

    /// Moves whole lines to `waiting`, and on wherever there are enough for a commit.
    async fn collect(&mut self, waiting: &mut Waiting) -> Result<(), LinkError> {
        while let Some(line) = self.lines.next_line().map_err(|refusal| unreadable(&refusal))? {
            waiting.bytes += line.len();
            waiting.lines.push(line);
            if waiting.bytes >= BATCH_BYTES {
                self.send(waiting).await?;
            }
        }
        Ok(())
    }

    /// Parses what waits and hands it to the writer.
    async fn send(&mut self, waiting: &mut Waiting) -> Result<(), LinkError> {
        let raw = std::mem::take(waiting).lines;
        if raw.is_empty() {
            return Ok(());
        }
        let limits = self.site.config().limits.clone();
        let parsed = self.site.read(move |_| Ok(parse(raw, &limits)));
        let parsed = parsed.await.map_err(|error| ours(&error))?;
        let mut lines = Vec::with_capacity(parsed.len());
        let mut failure = None;
        for line in parsed {
            match line.and_then(|line| self.accept(line)) {
                Ok(Some(line)) => lines.push(line),
                Ok(None) => {}
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        if let (Some(header), false) = (&self.header, lines.is_empty()) {
            let batch = Batch { sequence: header.sequence, lines };
            let gone = |_| LinkError("the store stopped taking lines".to_owned());
            self.batches.send(batch).await.map_err(gone)?;
        }
        failure.map_or(Ok(()), Err)
    }

    fn accept(&mut self, line: Parsed) -> Result<Option<Incoming>, LinkError> {
        match line {
            Parsed::Header(header) => {
                let fits = header.feed == self.expected.feed.id
                    && header.epoch == self.expected.epoch
                    && self.header.is_none();
                if !fits {
                    return Err(LinkError("the parent's answer is of another feed".to_owned()));
                }
                self.header = Some(header);
                Ok(None)
            }
            _ if self.header.is_none() => {
                Err(LinkError("the parent's answer does not begin with a header".to_owned()))
            }
            Parsed::Line(line) if self.expected.is_ahead => {
                Ok(Some(Incoming::Ahead(Box::new(line))))
            }
            Parsed::Line(line) => Ok(Some(line)),
            Parsed::End(end) => {
                self.end = Some(end);
                Ok((!self.expected.is_ahead).then_some(Incoming::End(end)))
            }
        }
    }
}

/// A line after parsing.
enum Parsed {
    Header(Header),
    Line(Incoming),
    End(u64),
}

fn parse(raw: Vec<Vec<u8>>, limits: &Limits) -> Vec<Result<Parsed, LinkError>> {
    let one = |raw: Vec<u8>| match stream::read_line(&raw, limits) {
        Ok(StreamLine::Header(header)) => Ok(Parsed::Header(header)),
        Ok(StreamLine::Line(line)) => Ok(Parsed::Line(Incoming::Line { line, raw })),
        Ok(StreamLine::Refused(line)) => Ok(Parsed::Line(Incoming::Refused { line, raw })),
        Ok(StreamLine::End { end, .. }) => Ok(Parsed::End(end)),
        Err(refusal) => Err(unreadable(&refusal)),
    };
    raw.into_iter().map(one).collect()
}

fn unreadable(refusal: &Refusal) -> LinkError {
    LinkError(format!("the parent's answer cannot be read: {refusal}"))
}
