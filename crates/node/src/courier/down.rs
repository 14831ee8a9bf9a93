//! The way down: a first load on a stick. A packet is one answer of the change stream; the child
//! applies it as if the link had brought it, and its markers move with it, so that the link goes on
//! where the stick ended.

use anyhow::{Context as _, bail};
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use futures::StreamExt as _;
use protocol::SiteId;
use protocol::stream::{self, Header, Lane};
use serde::Deserialize;
use store::{AuditRow, FeedQuery, FeedSlice, Scope};

use super::key::Key;
use super::packet::{self, FeedPart, Head, Kind, Packet};
use super::stick::{self, Stick};
use super::up::{Exported, opened, refuse};
use super::{Refused, childs_key};
use crate::http::sync::status::{ChildReport, FeedHead};
use crate::jobs::link::Link;
use crate::jobs::pull::{self, Target};
use crate::jobs::round;
use crate::ports::Response;
use crate::site::Site;

/// At the parent: writes what a child has not fetched yet, from where it said that it is.
/// `messages` of what is given counts lines.
pub fn export_feeds(
    site: &Site,
    stick: &Stick,
    child: &SiteId,
    progress: &mut dyn FnMut(&Exported),
) -> anyhow::Result<Exported> {
    let to = childs_key(site, child)?;
    let children = site.store().child_list()?;
    let known = children.into_iter().find(|known| known.site == *child);
    let known = known.with_context(|| format!("{child} is not a child of this site"))?;
    let report = known.report.and_then(|text| serde_json::from_str::<ChildReport>(&text).ok());
    let report = report.with_context(|| format!("{child} has never said where it is"))?;
    let epoch = known.epoch.with_context(|| format!("{child} has never been here"))?;
    let scope = Scope::Cohorts { reader: child.clone(), epoch, cohorts: known.cohorts };
    let mut exported = Exported::default();
    for feed in site.store().feed_list(&scope)? {
        // The bulk lane has every patient whole; of what has no joins, the live lane has all.
        let (lane, at) = match feed.name.as_str() {
            "reference" => (Lane::Live, &report.markers),
            _ => (Lane::Bulk, &report.bulk_markers),
        };
        let mut after = at.get(&feed.name).copied().unwrap_or(0);
        let bytes = site.config().limits.line_bytes;
        loop {
            let query = FeedQuery {
                feed: feed.name.clone(),
                lane,
                marker: after,
                after,
                epoch: None,
                to: None,
                bytes,
            };
            let Some(slice) = site.store().feed_changes(&query, &scope)? else { break };
            if slice.lines.is_empty() {
                break;
            }
            let written = pack(site, child, &to, (lane, after), &slice)?;
            let which = format!("{}-{}-{after:012}", feed.name, lane.as_str());
            let name = stick::name(site.id(), child, site.now(), which, Kind::Feed);
            stick.put(&name, &written)?;
            exported.packets += 1;
            exported.messages += slice.lines.len() as u64;
            exported.bytes += written.len() as u64;
            progress(&exported);
            after = slice.end;
            if !slice.more {
                break;
            }
        }
    }
    note(site, child, &exported)?;
    Ok(exported)
}

/// Records leave the site with it: the audit says for whom.
fn note(site: &Site, child: &SiteId, exported: &Exported) -> anyhow::Result<()> {
    let row = AuditRow {
        actor: "operator".to_owned(),
        action: "courier-export",
        subject: child.to_string(),
        detail: format!("packets {} lines {}", exported.packets, exported.messages),
    };
    Ok(site.store().audit_append(&row, site.now())?)
}

fn pack(
    site: &Site,
    child: &SiteId,
    to: &str,
    (lane, after): (Lane, u64),
    slice: &FeedSlice,
) -> anyhow::Result<Vec<u8>> {
    let header = Header {
        feed: slice.feed.id,
        epoch: slice.feed.epoch,
        sequence: slice.sequence,
        after,
        head: slice.head,
        behind: slice.behind,
        oldest: slice.oldest,
    };
    let mut body = String::new();
    stream::write_header(&mut body, &header);
    for line in &slice.lines {
        stream::write_line(&mut body, line);
    }
    stream::write_end(&mut body, slice.end, slice.more);
    let part = FeedPart {
        name: slice.feed.name.clone(),
        id: slice.feed.id,
        epoch: slice.feed.epoch,
        lane: lane.as_str().to_owned(),
        after,
        end: slice.end,
    };
    let mut head = Head::of(Kind::Feed, site.id(), child, site.now(), &body);
    head.feed = Some(part);
    packet::write(&head, &body, to, |told| {
        let proof = site.store().inbox_prove(child, told)?;
        proof.with_context(|| format!("{child} has no access here (any more)"))
    })
}

/// What a child took from a stick.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Loaded {
    /// Packets that were applied, whole or what was new in them.
    pub packets: u64,
    /// Packets of which everything was here already.
    pub had: u64,
    /// Lines that were applied.
    pub applied: u64,
    /// Lines that are stuck here: `tributary queue` says why.
    pub parked: u64,
    /// Packets that cannot be used.
    pub bad: Vec<Refused>,
}

/// At the child: applies what the parent wrote for it.
pub async fn import_feeds(
    site: &Site,
    key: &Key,
    stick: &Stick,
    progress: &mut dyn FnMut(&Loaded),
) -> anyhow::Result<Loaded> {
    let mut loaded = Loaded::default();
    let Some(link) = Link::of(site) else { return Ok(loaded) };
    let names = stick.find(Kind::Feed, Some(&link.parent().site), site.id())?;
    if names.is_empty() {
        return Ok(loaded);
    }
    // The driver's own rounds wait meanwhile: two must not move one marker.
    let lock = round::lock(site).await?;
    for name in names {
        let opened = opened(site, key, stick, &name, Kind::Feed);
        let applied = match &opened {
            Ok(packet) => apply(site, &link, packet, &mut loaded).await,
            Err(reason) => Err(anyhow::anyhow!("{reason:#}")),
        };
        if let Err(reason) = applied {
            refuse(site, name, &reason, &mut loaded.bad)?;
        }
        progress(&loaded);
    }
    drop(lock);
    Ok(loaded)
}

async fn apply(
    site: &Site,
    link: &Link,
    packet: &Packet,
    loaded: &mut Loaded,
) -> anyhow::Result<()> {
    let part = packet.head.feed.as_ref().context("it does not say of which feed it is")?;
    let lane = Lane::named(&part.lane).context("it does not say of which lane it is")?;
    let markers = site.store().marker_list()?;
    let marker = markers
        .iter()
        .find(|known| known.feed == part.id && known.epoch == part.epoch && known.lane == lane);
    let marker = marker.map(|marker| marker.position).with_context(|| {
        format!(
            "this site has not met the feed {} as it is now: let it reach the parent once",
            part.name
        )
    })?;
    if marker >= part.end {
        loaded.had += 1;
        return Ok(());
    }
    if marker < part.after {
        bail!("what comes before it is missing: the stick that has {} from {marker} on", part.name);
    }
    let feed =
        FeedHead { id: part.id, name: part.name.clone(), head: part.end, head_join: part.end };
    let target = Target { feed, epoch: part.epoch, lane, is_ahead: false };
    let body = Bytes::from(after(&packet.body, marker)?);
    let body = futures::stream::once(async move { Ok(body) }).boxed();
    let response = Response { status: StatusCode::OK, headers: HeaderMap::new(), body };
    let read = pull::apply(site, link, target, response).await?;
    loaded.packets += 1;
    loaded.applied += read.applied;
    loaded.parked += read.parked;
    Ok(())
}

/// The lines of a packet without those that the link has brought meanwhile.
fn after(body: &str, marker: u64) -> anyhow::Result<String> {
    #[derive(Deserialize)]
    struct At {
        position: Option<u64>,
    }
    let mut left = String::with_capacity(body.len());
    for line in body.split_inclusive('\n') {
        let at: At = serde_json::from_str(line).context("a line of it cannot be read")?;
        if at.position.is_none_or(|position| position > marker) {
            left.push_str(line);
        }
    }
    Ok(left)
}
