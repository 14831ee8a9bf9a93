//! One answer of a source, applied as it comes: a link that breaks costs only the line in flight.

use axum::http::header;
use futures::StreamExt as _;
use protocol::delivery::Outcome;
use protocol::stream::{self, Header, Lines, StreamLine};
use protocol::{Epoch, FeedId, Limits, Refusal, SiteId};
use store::{Incoming, Reading, Source, SourceEvent, SourceMark, StoreError};

use crate::jobs::link::ours;
use crate::metrics;
use crate::ports::{LinkError, Response};
use crate::site::Site;
use crate::transport::answer;
use crate::wire::Decoder;

/// Bytes of lines that are applied in one commit.
const BATCH_BYTES: usize = 512 << 10;
/// Milliseconds that whole lines wait for more before they are applied.
const LINGER: u64 = 50;

/// What was read and applied.
#[derive(Debug, Clone, Default)]
pub(super) struct Read {
    pub(super) applied: u64,
    pub(super) parked: u64,
    pub(super) header: Option<Header>,
    /// What the end line said.
    pub(super) end: Option<(u64, bool)>,
}

/// Reads an answer to its end. `mark`: where the source has been read so far; `None`: its feed is
/// read from the beginning. Gives where it has been read then, too.
pub(super) async fn apply(
    site: &Site,
    source: &SiteId,
    mark: Option<SourceMark>,
    response: Response,
) -> Result<(Read, SourceMark), LinkError> {
    let kind = response.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if kind.is_none_or(|kind| !kind.starts_with("application/x-ndjson")) {
        return Err(not_a_site());
    }
    let limits = site.config().limits.clone();
    let decoder = answer::decoder(&response, 2 * (limits.stream_bytes + limits.line_bytes) as u64)?;
    let lines = Lines::new(limits.line_bytes + stream::ENVELOPE_BYTES);
    let mut reader =
        Reader { site, source, mark, lines, waiting: Vec::new(), bytes: 0, read: Read::default() };
    reader.run(response, decoder).await?;
    match (reader.read.end, reader.mark) {
        (Some(_), Some(mark)) => Ok((reader.read, mark)),
        _ => Err(LinkError("its answer was cut short".to_owned())),
    }
}

fn not_a_site() -> LinkError {
    LinkError("what answers at its url is not a Tributary site: check `url`".to_owned())
}

struct Reader<'a> {
    site: &'a Site,
    source: &'a SiteId,
    mark: Option<SourceMark>,
    lines: Lines,
    /// Whole lines that were not applied yet, and their bytes.
    waiting: Vec<Vec<u8>>,
    bytes: usize,
    read: Read,
}

impl Reader<'_> {
    async fn run(&mut self, mut response: Response, decoder: Decoder) -> Result<(), LinkError> {
        let mut decoder = Some(decoder);
        loop {
            let linger = self.site.clock().sleep(LINGER);
            let next = tokio::select! {
                biased;
                next = response.body.next() => Some(next),
                () = linger, if !self.waiting.is_empty() => None,
            };
            let ended = match (next, &mut decoder) {
                (None, _) => {
                    self.flush().await?;
                    continue;
                }
                (Some(Some(Ok(bytes))), Some(open)) => {
                    open.push(&bytes).map(|text| self.lines.push(&text)).map_err(unreadable).err()
                }
                (Some(Some(Err(error))), _) => Some(error),
                (Some(None) | Some(Some(Ok(_))), _) => {
                    let rest = decoder.take().map(Decoder::finish).transpose();
                    if let Some(text) = rest.map_err(unreadable)? {
                        self.lines.push(&text);
                    }
                    self.collect().await?;
                    return self.flush().await;
                }
            };
            let collected = self.collect().await;
            if let Some(error) = ended {
                // Whole lines that came before the cut are applied all the same.
                self.flush().await?;
                return Err(error);
            }
            collected?;
        }
    }

    async fn collect(&mut self) -> Result<(), LinkError> {
        loop {
            match self.lines.next_line() {
                Ok(Some(line)) => {
                    self.bytes += line.len();
                    self.waiting.push(line);
                    if self.bytes >= BATCH_BYTES {
                        self.flush().await?;
                    }
                }
                Ok(None) => return Ok(()),
                Err(refusal) => {
                    self.flush().await?;
                    return Err(unreadable(refusal));
                }
            }
        }
    }

    /// Applies what waits in one commit, and the marker with it.
    async fn flush(&mut self) -> Result<(), LinkError> {
        self.bytes = 0;
        let raw = std::mem::take(&mut self.waiting);
        if raw.is_empty() {
            return Ok(());
        }
        let limits = self.site.config().limits.clone();
        let parsed = self.site.read(move |_| Ok(parse(raw, &limits)));
        let parsed = parsed.await.map_err(|error| ours(&error))?;
        let (mut lines, mut failure) = (Vec::with_capacity(parsed.len()), None);
        for line in parsed {
            match line {
                Ok(Parsed::Header(header)) => self.begin(header).await?,
                Ok(_) if self.read.header.is_none() => failure = Some(not_a_site()),
                Ok(Parsed::End(end, more)) => {
                    self.read.end = Some((end, more));
                    lines.push(Incoming::End(end));
                }
                Ok(Parsed::Line(line)) => lines.push(line),
                Err(error) => failure = Some(error),
            }
            if failure.is_some() {
                break;
            }
        }
        self.write(lines).await?;
        failure.map_or(Ok(()), Err)
    }

    /// The first line says of which feed, in which life of the source's store, all that follows is.
    async fn begin(&mut self, header: Header) -> Result<(), LinkError> {
        if self.read.header.is_some() {
            return Err(LinkError("its answer has two headers".to_owned()));
        }
        let (feed, epoch) = (header.feed, header.epoch);
        let fits = |mark: &SourceMark| mark.feed == feed && mark.epoch == epoch;
        match &self.mark {
            Some(mark) if fits(mark) => {}
            Some(_) => return Err(LinkError(ANOTHER_FEED.to_owned())),
            None => self.mark = Some(begin(self.site, self.source, feed, epoch).await?),
        }
        self.read.header = Some(header);
        Ok(())
    }

    async fn write(&mut self, lines: Vec<Incoming>) -> Result<(), LinkError> {
        let Some(mark) = self.mark.as_mut().filter(|_| !lines.is_empty()) else { return Ok(()) };
        let reading = Some(Reading { feed: mark.feed, after: mark.position });
        let source = Source::Child { site: self.source.clone(), epoch: mark.epoch, reading };
        let end = lines.iter().filter_map(moves_to).max();
        let now = self.site.now();
        let applied = self.site.write(move |store| store.change_apply(&source, &lines, now));
        let applied = applied.await.map_err(|error| match error {
            StoreError::Raced => LinkError("somebody else is reading it just now".to_owned()),
            error => ours(&error),
        })?;
        self.site.metrics().applied(metrics::From::Source, &applied);
        mark.position = mark.position.max(end.unwrap_or(0));
        for line in applied {
            self.read.parked += u64::from(line.parked);
            let is_new = !line.parked && line.outcome != Outcome::Already;
            self.read.applied += u64::from(is_new);
        }
        Ok(())
    }
}

/// What is said where a marker is of a feed that is no longer there.
pub(super) const ANOTHER_FEED: &str = "its feed is another one than was read before";

/// Notes that a source is read from the beginning of this life of its store, and then compared.
async fn begin(
    site: &Site,
    source: &SiteId,
    feed: FeedId,
    epoch: Epoch,
) -> Result<SourceMark, LinkError> {
    let (name, now) = (source.clone(), site.now());
    let event = SourceEvent::Begin { feed, epoch };
    let noted = site.read(move |store| store.source_note(&name, &event, now));
    noted.await.map_err(|error| ours(&error))?;
    Ok(SourceMark { feed, epoch, position: 0 })
}

/// Where the marker is after a line: it moves with the last part.
fn moves_to(line: &Incoming) -> Option<u64> {
    let last = |part: Option<(u32, u32)>| part.is_none_or(|(part, of)| part >= of);
    match line {
        Incoming::Line { line, .. } => line.position.filter(|_| last(line.part)),
        Incoming::Refused { line, .. } => line.position.filter(|_| last(line.part)),
        Incoming::End(end) => Some(*end),
        Incoming::Ahead(_) | Incoming::Place(_) => None,
    }
}

/// A line after parsing.
enum Parsed {
    Header(Header),
    Line(Incoming),
    End(u64, bool),
}

fn parse(raw: Vec<Vec<u8>>, limits: &Limits) -> Vec<Result<Parsed, LinkError>> {
    let one = |raw: Vec<u8>| match stream::read_line(&raw, limits) {
        Ok(StreamLine::Header(header)) => Ok(Parsed::Header(header)),
        Ok(StreamLine::Line(line)) => Ok(Parsed::Line(Incoming::Line { line, raw })),
        Ok(StreamLine::Refused(line)) => Ok(Parsed::Line(Incoming::Refused { line, raw })),
        Ok(StreamLine::End { end, more }) => Ok(Parsed::End(end, more)),
        Err(refusal) => Err(unreadable(refusal)),
    };
    raw.into_iter().map(one).collect()
}

fn unreadable(refusal: Refusal) -> LinkError {
    LinkError(format!("its answer cannot be read: {refusal}"))
}
