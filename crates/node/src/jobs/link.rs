//! Requests to the parent: who we are, how bodies are coded, what an answer means.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use bytes::Bytes;
use futures::StreamExt as _;
use protocol::pace::Sample;
use protocol::{Epoch, FeedId, Timestamp, Urgency};
use serde::de::DeserializeOwned;
use store::{LinkEvent, StoreError};

use crate::config::{Parent, Up};
use crate::http::auth::{EPOCH_HEADER, PROTOCOL_HEADER, SITE_HEADER};
use crate::http::sync::status::{ChildReport, ParentView};
use crate::jobs::gate::{Gate, month_of};
use crate::jobs::speed::{Size, Speed, Way};
use crate::ports::{LinkError, Request, Response};
use crate::site::Site;
use crate::wire::{self, AVAILABLE_DICTIONARY, Coding, Decoder};

/// The most that an answer which is not a stream may come to.
const ANSWER_BYTES: u64 = 8 << 20;

/// Live and bulk positions by feed name, as `poll` tells them.
pub type Positions = BTreeMap<String, (FeedId, u64, u64)>;

/// The way to the parent, with our credential.
#[derive(Clone)]
pub struct Link {
    parent: Parent,
    credential: String,
    epoch: Epoch,
    traffic: Arc<Traffic>,
    speed: Arc<Speed>,
    gate: Arc<Gate>,
}

/// Bytes moved since they were last noted.
#[derive(Default)]
struct Traffic {
    wire_sent: AtomicU64,
    wire_received: AtomicU64,
    raw_sent: AtomicU64,
    raw_received: AtomicU64,
    /// Bytes on the wire and of text since the start, both ways.
    wire: AtomicU64,
    text: AtomicU64,
    /// Batches of lines that were settled or applied since the start.
    batches: AtomicU64,
}

/// How far the counts were when a request began.
#[derive(Debug, Clone, Copy)]
pub struct Meter {
    at: Timestamp,
    wire: u64,
    text: u64,
}

/// What kind of body an answer may have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Accept {
    /// A stream of lines, with the dictionary.
    Lines,
    /// Something small.
    Small,
}

impl Link {
    /// The link of a site that has a parent that it can reach, and a credential.
    pub fn of(site: &Site) -> Option<Link> {
        let parent = site.config().parent.as_ref();
        let parent = parent.filter(|parent| !parent.url.is_empty() && parent.up != Up::Fhir)?;
        Link::to(site, parent, site.credential()?.to_owned()).ok()
    }

    /// The link to a parent that is a FHIR server of another make: its speed, its lanes, what moves
    /// on it. Requests to a Tributary site are not for it.
    pub(super) fn foreign(site: &Site, parent: &Parent) -> Result<Link, LinkError> {
        Link::to(site, parent, String::new()).map_err(|error| ours(&error))
    }

    fn to(site: &Site, parent: &Parent, credential: String) -> Result<Link, StoreError> {
        let epoch = site.store().site()?.epoch;
        let pace = site.store().link_get()?.pace;
        let speed = Arc::new(Speed::new(pace, site.now()));
        let gate = Arc::new(Gate::new(&site.config().link, &pace));
        let (parent, traffic) = (parent.clone(), Arc::default());
        Ok(Link { parent, credential, epoch, traffic, speed, gate })
    }

    /// Which lanes may move.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// How the link has done lately.
    pub fn speed(&self) -> &Speed {
        &self.speed
    }

    /// Begins to measure a request.
    pub fn meter(&self, site: &Site) -> Meter {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Meter { at: site.now(), wire: count(&self.traffic.wire), text: count(&self.traffic.text) }
    }

    /// A request that was measured went through and moved so many changes or entries of a lane.
    pub fn measured(&self, site: &Site, (way, lane): (Way, Urgency), begun: Meter, items: u64) {
        let now = self.meter(site);
        let (wire, text) = (now.wire - begun.wire, now.text - begun.text);
        let at_rate = self.rests(lane, begun.at, wire);
        // The clock may have been put back meanwhile: that says nothing of the link.
        let Ok(millis) = u64::try_from(now.at.since(begun.at)) else { return };
        // A lane that has a rate is as slow as that, and what it moves at once is made for that.
        let millis = millis.max(at_rate);
        self.speed.measured(site, way, &Sample { items, text, wire, millis });
    }

    /// A request did not go through; `size` says what of that is to be learnt.
    pub fn broke(&self, site: &Site, (way, lane): (Way, Urgency), begun: Meter, size: Size) {
        let now = self.meter(site);
        self.rests(lane, begun.at, now.wire - begun.wire);
        match size {
            Size::Fits => {}
            Size::Broke => self.speed.broke(site, way, None),
            Size::TooMuch => self.speed.broke(site, way, Some(now.text - begun.text)),
        }
    }

    /// So many bytes moved on a lane; gives how many milliseconds that takes at its rate.
    fn rests(&self, lane: Urgency, begun: Timestamp, bytes: u64) -> u64 {
        let Some(rest) = self.gate.moved(lane, begun, bytes) else { return 0 };
        self.speed.rests(lane, rest);
        rest.millis.unsigned_abs()
    }

    /// Bytes of text that the next request of a lane is made for.
    pub fn portion(&self, site: &Site, (way, lane): (Way, Urgency)) -> usize {
        self.speed.portion(site, way, self.gate.rate(lane))
    }

    /// The settings of the parent.
    pub fn parent(&self) -> &Parent {
        &self.parent
    }

    /// Tells the parent how we are and hears how it is.
    pub async fn status(&self, site: &Site, report: &ChildReport) -> Result<ParentView, LinkError> {
        let body = serde_json::to_vec(report).map_err(|error| LinkError(error.to_string()))?;
        let response = self.post(site, "/sync/status", Bytes::from(body), Coding::Identity).await?;
        self.json(site, response).await
    }

    /// Waits until the parent has news for us (`true`; of the live lanes only, where the bulk lanes
    /// do not move now), or for the longest time that it holds a
    /// request.
    pub async fn poll(
        &self,
        site: &Site,
        view: &ParentView,
        at: &Positions,
        live_only: bool,
    ) -> Result<bool, LinkError> {
        let wait = site.config().limits.poll_seconds;
        let at: Vec<String> =
            at.iter().map(|(name, (_, live, bulk))| format!("{name}:{live}:{bulk}")).collect();
        let lane = if live_only { "&lane=live" } else { "" };
        let path = format!("/sync/poll?epoch={}&at={}&wait={wait}{lane}", view.epoch, at.join(","));
        let idle = site.config().limits.request_seconds.max(wait + 30);
        let response =
            self.send(site, Method::GET, &path, Bytes::new(), Accept::Small, idle).await?;
        if response.status == StatusCode::NO_CONTENT {
            return self.note(site).await.map(|()| false);
        }
        self.json::<ParentView>(site, response).await.map(|_| true)
    }

    /// `GET` of a few lines of JSON; any status.
    pub async fn get_small(&self, site: &Site, path: &str) -> Result<Response, LinkError> {
        let idle = site.config().limits.request_seconds;
        self.send(site, Method::GET, path, Bytes::new(), Accept::Small, idle).await
    }

    /// `GET` of a stream of lines; any status.
    pub async fn get_lines(&self, site: &Site, path: &str) -> Result<Response, LinkError> {
        let idle = site.config().limits.request_seconds;
        self.send(site, Method::GET, path, Bytes::new(), Accept::Lines, idle).await
    }

    /// `POST` of text that is compressed here; any status.
    pub async fn post(
        &self,
        site: &Site,
        path: &str,
        text: Bytes,
        coding: Coding,
    ) -> Result<Response, LinkError> {
        self.traffic.count_sent(0, text.len());
        let body = wire::encode(coding, &text)
            .map_err(|error| LinkError(format!("failed to compress a request: {error}")))?;
        let idle = site.config().limits.request_seconds;
        self.send_coded(site, Method::POST, path, body, Accept::Lines, idle, coding).await
    }

    async fn send(
        &self,
        site: &Site,
        method: Method,
        path: &str,
        body: Bytes,
        accept: Accept,
        idle: u64,
    ) -> Result<Response, LinkError> {
        self.send_coded(site, method, path, body, accept, idle, Coding::Identity).await
    }

    #[allow(clippy::too_many_arguments)] // The parts of one request, used in two places above.
    async fn send_coded(
        &self,
        site: &Site,
        method: Method,
        path: &str,
        body: Bytes,
        accept: Accept,
        idle_seconds: u64,
        coding: Coding,
    ) -> Result<Response, LinkError> {
        if let Some(pause) = self.pause(site).await? {
            return Err(LinkError(crate::pause::words(&pause, site.id().as_str())));
        }
        self.send_anyway(site, method, path, body, accept, idle_seconds, coding).await
    }

    /// Whether a person has paused the link.
    pub async fn pause(&self, site: &Site) -> Result<Option<store::Pause>, LinkError> {
        crate::pause::of(site, store::LinkName::Parent).await.map_err(|error| ours(&error))
    }

    /// The last word on a link that is paused: how we are, and that it is paused.
    pub async fn farewell(&self, site: &Site, report: &ChildReport) -> Result<(), LinkError> {
        let body = serde_json::to_vec(report).map_err(|error| LinkError(error.to_string()))?;
        let (path, accept) = ("/sync/status", Accept::Small);
        let idle = site.config().limits.request_seconds;
        let coding = Coding::Identity;
        let sent = self.send_anyway(site, Method::POST, path, body.into(), accept, idle, coding);
        let response = sent.await?;
        self.json::<ParentView>(site, response).await.map(drop)
    }

    #[allow(clippy::too_many_arguments)] // As above.
    async fn send_anyway(
        &self,
        site: &Site,
        method: Method,
        path: &str,
        body: Bytes,
        accept: Accept,
        idle_seconds: u64,
        coding: Coding,
    ) -> Result<Response, LinkError> {
        let url = format!("{}{path}", self.parent.url);
        let headers = self.headers(site, accept, coding)?;
        let head: usize = headers.iter().map(|(n, v)| n.as_str().len() + v.len() + 4).sum();
        let sent = url.len() + head + body.len() + 20;
        self.traffic.count_sent(sent, 0);
        self.count_before(site).await?;
        let request = Request { method, url, headers, body, idle_seconds };
        let response = site.transport().send(request).await?;
        let head: usize =
            response.headers.iter().map(|(n, v)| n.as_str().len() + v.len() + 4).sum();
        self.count_received(head + 19, 0);
        if response.status == StatusCode::UNAUTHORIZED {
            return Err(LinkError(
                "the parent does not know our credential, or has revoked it: ask for a new code \
                 and run `tributary join`"
                    .to_owned(),
            ));
        }
        Ok(response)
    }

    fn headers(&self, site: &Site, accept: Accept, coding: Coding) -> Result<HeaderMap, LinkError> {
        let text = |value: String| {
            HeaderValue::try_from(value)
                .map_err(|_| LinkError("the credential has characters that cannot be sent".into()))
        };
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, text(format!("Bearer {}", self.credential))?);
        headers.insert(HeaderName::from_static(PROTOCOL_HEADER), HeaderValue::from_static("1"));
        headers.insert(HeaderName::from_static(SITE_HEADER), text(site.id().to_string())?);
        headers.insert(HeaderName::from_static(EPOCH_HEADER), text(self.epoch.to_string())?);
        if accept == Accept::Lines {
            let codings = HeaderValue::from_static("dcz,zstd,gzip");
            headers.insert(header::ACCEPT_ENCODING, codings);
            let name = HeaderName::from_static(AVAILABLE_DICTIONARY);
            headers.insert(name, text(wire::dictionary_name())?);
        }
        if let Some(name) = coding.name() {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(name));
        }
        Ok(headers)
    }

    /// A decoder for an answer's body.
    pub fn decoder(&self, response: &Response, limit: u64) -> Result<Decoder, LinkError> {
        let coding = response.headers.get(header::CONTENT_ENCODING).and_then(|v| v.to_str().ok());
        let coding = Coding::of_header(coding)
            .ok_or_else(|| LinkError("the parent's answer has an unknown coding".to_owned()))?;
        Decoder::new(coding, limit, "stream_bytes").map_err(|refusal| LinkError(refusal.reason))
    }

    /// Counts what went: bytes on the wire and before compression.
    pub(super) fn count_sent(&self, wire: usize, raw: usize) {
        self.traffic.count_sent(wire, raw);
    }

    /// Counts what came: bytes on the wire and after inflation.
    pub fn count_received(&self, wire: usize, raw: usize) {
        let traffic = &self.traffic;
        add(&[&traffic.wire_received, &traffic.wire], wire);
        add(&[&traffic.raw_received, &traffic.text], raw);
    }

    /// Notes that lines were settled or applied.
    pub fn note_progress(&self) {
        self.traffic.batches.fetch_add(1, Ordering::Relaxed);
    }
    /// Grows whenever lines were settled or applied.
    pub fn progress(&self) -> u64 {
        self.traffic.batches.load(Ordering::Relaxed)
    }

    /// The whole body of an answer.
    pub async fn text(&self, mut response: Response) -> Result<Vec<u8>, LinkError> {
        let mut decoder = self.decoder(&response, ANSWER_BYTES)?;
        let mut text = Vec::new();
        while let Some(bytes) = response.body.next().await {
            let bytes = bytes?;
            let part = decoder.push(&bytes).map_err(|refusal| LinkError(refusal.reason))?;
            self.count_received(bytes.len(), part.len());
            text.extend(part);
        }
        text.extend(decoder.finish().map_err(|refusal| LinkError(refusal.reason))?);
        Ok(text)
    }

    /// What an answer says, that is to be there.
    pub async fn json<T: DeserializeOwned>(
        &self,
        site: &Site,
        response: Response,
    ) -> Result<T, LinkError> {
        let status = response.status;
        let text = self.text(response).await?;
        if status != StatusCode::OK {
            return Err(refused(status, &text));
        }
        self.note(site).await?;
        serde_json::from_slice(&text)
            .map_err(|_| LinkError("the parent's answer is not that of a Tributary site".into()))
    }

    /// Notes that the parent answered, and what moved.
    pub async fn note(&self, site: &Site) -> Result<(), LinkError> {
        let now = site.now();
        let contact = LinkEvent::Contact { peer: None, traffic: self.traffic.take(now) };
        let noted = site.read(move |store| store.link_note(&contact, now)).await;
        noted.map_err(|error| ours(&error))
    }

    /// Writes the counts of bytes to the store, where there are any that it does not have.
    pub async fn note_traffic(&self, site: &Site) -> Result<(), LinkError> {
        let now = site.now();
        let traffic = self.traffic.take(now);
        let pace = self.speed.take(now);
        if traffic.is_nothing() && pace.is_none() {
            return Ok(());
        }
        let event = LinkEvent::Traffic(traffic, pace.map(Box::new));
        let noted = site.read(move |store| store.link_note(&event, now)).await;
        noted.map_err(|error| ours(&error))
    }

    /// Looks how much has moved this month, where there is a budget: other commands move something
    /// too, and a person may lift it.
    pub async fn look_at_budget(&self, site: &Site) -> Result<(), LinkError> {
        if !self.gate.counts() {
            return Ok(());
        }
        self.note_traffic(site).await?;
        let link = site.read(|store| store.link_get()).await.map_err(|error| ours(&error))?;
        self.gate.counted(link.months);
        Ok(())
    }

    /// Where there is a budget, what is sent counts before it goes: a site that is killed meanwhile
    /// has paid for it all the same.
    pub(super) async fn count_before(&self, site: &Site) -> Result<(), LinkError> {
        if self.gate.counts() { self.note_traffic(site).await } else { Ok(()) }
    }

    /// The same in the middle of a round that takes long: `status` tells how far it is.
    pub async fn note_at_times(&self, site: &Site) -> Result<(), LinkError> {
        if self.speed.is_noted(site.now()) { Ok(()) } else { self.note_traffic(site).await }
    }
}

fn add(counts: &[&AtomicU64], bytes: usize) {
    for count in counts {
        count.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Traffic {
    fn count_sent(&self, wire: usize, raw: usize) {
        add(&[&self.wire_sent, &self.wire], wire);
        add(&[&self.raw_sent, &self.text], raw);
    }

    fn take(&self, now: Timestamp) -> store::Traffic {
        let take = |count: &AtomicU64| count.swap(0, Ordering::Relaxed);
        store::Traffic {
            wire_sent: take(&self.wire_sent),
            wire_received: take(&self.wire_received),
            raw_sent: take(&self.raw_sent),
            raw_received: take(&self.raw_received),
            month: month_of(now),
        }
    }
}

/// What to make of a status that is not the expected one: the parent is there and cannot, or the
/// way to it goes through something else. Never says anything about a record.
pub fn refused(status: StatusCode, text: &[u8]) -> LinkError {
    let detail = serde_json::from_slice::<serde_json::Value>(text)
        .ok()
        .and_then(|problem| problem.get("detail").and_then(|d| d.as_str().map(str::to_owned)));
    match detail {
        Some(detail) => LinkError(format!("the parent answered {status}: {detail}")),
        None => LinkError(format!("the parent answered {status}")),
    }
}

/// Our own store failed: no fault of the link, and the round ends all the same.
pub fn ours(error: &StoreError) -> LinkError {
    LinkError(format!("this site's own store failed: {error}"))
}
