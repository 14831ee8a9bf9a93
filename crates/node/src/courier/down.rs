//! The way down: a first load on a stick. A packet is one answer of the change stream; the child
//! applies it as if the link had brought it, and its markers move with it, so that the link goes on
//! where the stick ended.

use anyhow::{Context as _, bail};
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use futures::StreamExt as _;
use protocol::stream::{self, Header, Lane};
use protocol::{CohortName, SiteId};
use serde::Deserialize;
use store::{AuditRow, ChildInfo, FeedQuery, FeedSlice, Scope};

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

/// The feed of what is of no patient.
const REFERENCE: &str = "reference";

/// What is written for the children who follow a cohort.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ForAll {
    /// What went onto the stick.
    pub exported: Exported,
    /// Children for whom something was written, or who have all of it.
    pub children: u64,
    /// Children for whom it could not be written, or not all of it, and why.
    pub without: Vec<Unwritten>,
}

/// A child for whom nothing can be written, or not all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unwritten {
    /// The child.
    pub child: SiteId,
    /// Why, for a person.
    pub reason: String,
}

/// At the parent: writes the feed of a cohort, and the reference records, for every child that
/// follows it: to each what it has not fetched yet, readable by that child only. One that cannot
/// be written for keeps nobody else from it.
pub fn export_cohort(
    site: &Site,
    stick: &Stick,
    cohort: &CohortName,
    progress: &mut dyn FnMut(&Exported),
) -> anyhow::Result<ForAll> {
    if !site.store().cohort_list()?.iter().any(|known| known.name == *cohort) {
        bail!("there is no cohort {cohort}: `tributary cohort list` shows them");
    }
    let children = site.store().child_list()?;
    // Who was shut out does not follow it any more.
    let follows = |child: &ChildInfo| child.state != "revoked" && child.cohorts.contains(cohort);
    let mut all = ForAll::default();
    for child in children.into_iter().filter(follows) {
        match export_feeds(site, stick, &child.site, Some(cohort), &mut all.exported, progress) {
            Ok(()) => all.children += 1,
            Err(reason) => {
                let reason = format!("{reason:#}");
                all.without.push(Unwritten { child: child.site, reason });
            }
        }
    }
    if all.children == 0 && all.without.is_empty() {
        bail!(
            "no child follows the cohort {cohort}: `tributary child list` shows who follows which"
        );
    }
    Ok(all)
}

/// At the parent: writes what a child has not fetched yet, from where it said that it is: all of
/// its feeds, or that of one cohort and the reference records. Adds to `exported` what went onto
/// the stick, also before a failure; its `messages` counts lines.
pub fn export_feeds(
    site: &Site,
    stick: &Stick,
    child: &SiteId,
    cohort: Option<&CohortName>,
    exported: &mut Exported,
    progress: &mut dyn FnMut(&Exported),
) -> anyhow::Result<()> {
    let reader = Reader::of(site, stick, child)?;
    if let Some(cohort) = cohort.filter(|cohort| !reader.follows(cohort)) {
        bail!("{child} does not follow the cohort {cohort}: `tributary child list` shows which");
    }
    let before = *exported;
    let result = reader.write(cohort, exported, progress);
    // What is on the stick may be carried away, though the rest of it failed.
    if result.is_ok() || exported.packets > before.packets {
        note(site, child, exported.since(&before))?;
    }
    result
}

/// A child for whom a stick is written: where it is, and what it may read.
struct Reader<'a> {
    site: &'a Site,
    stick: &'a Stick,
    child: &'a SiteId,
    /// What its packets are encrypted with.
    key: String,
    report: ChildReport,
    scope: Scope,
    cohorts: Vec<CohortName>,
}

impl<'a> Reader<'a> {
    fn of(site: &'a Site, stick: &'a Stick, child: &'a SiteId) -> anyhow::Result<Reader<'a>> {
        let key = childs_key(site, child)?;
        let children = site.store().child_list()?;
        let known = children.into_iter().find(|known| known.site == *child);
        let known = known.with_context(|| format!("{child} is not a child of this site"))?;
        let report = known.report.and_then(|text| serde_json::from_str(&text).ok());
        let report = report.with_context(|| format!("{child} has never said where it is"))?;
        let epoch = known.epoch.with_context(|| format!("{child} has never been here"))?;
        // By all that it may read it is judged what is news to it, whatever is written of that.
        let cohorts = known.cohorts.clone();
        let scope = Scope::Cohorts { reader: child.clone(), epoch, cohorts: known.cohorts };
        Ok(Reader { site, stick, child, key, report, scope, cohorts })
    }

    fn follows(&self, cohort: &CohortName) -> bool {
        self.cohorts.contains(cohort)
    }

    fn write(
        &self,
        cohort: Option<&CohortName>,
        exported: &mut Exported,
        progress: &mut dyn FnMut(&Exported),
    ) -> anyhow::Result<()> {
        for feed in self.site.store().feed_list(&self.scope)? {
            let is_wanted = cohort.is_none_or(|cohort| cohort.as_str() == feed.name);
            if is_wanted || feed.name == REFERENCE {
                self.write_feed(&feed.name, exported, progress)?;
            }
        }
        Ok(())
    }

    fn write_feed(
        &self,
        feed: &str,
        exported: &mut Exported,
        progress: &mut dyn FnMut(&Exported),
    ) -> anyhow::Result<()> {
        // The bulk lane has every patient whole; of what has no joins, the live lane has all.
        let (lane, at) = match feed {
            REFERENCE => (Lane::Live, &self.report.markers),
            _ => (Lane::Bulk, &self.report.bulk_markers),
        };
        let mut after = at.get(feed).copied().unwrap_or(0);
        loop {
            let query = FeedQuery {
                feed: feed.to_owned(),
                lane,
                marker: after,
                after,
                epoch: None,
                to: None,
                bytes: self.site.config().limits.line_bytes,
            };
            let Some(slice) = self.site.store().feed_changes(&query, &self.scope)? else { break };
            if slice.lines.is_empty() && !slice.more {
                break;
            }
            let written = pack(self.site, self.child, &self.key, (lane, after), &slice)?;
            let which = format!("{feed}-{}-{after:012}", lane.as_str());
            let name = stick::name(self.site.id(), self.child, self.site.now(), which, Kind::Feed);
            self.stick.put(&name, &written)?;
            exported.packets += 1;
            exported.messages += slice.lines.len() as u64;
            exported.bytes += written.len() as u64;
            progress(exported);
            after = slice.end;
            if !slice.more {
                break;
            }
        }
        Ok(())
    }
}

/// Records leave the site with it: the audit says for whom.
fn note(site: &Site, child: &SiteId, exported: Exported) -> anyhow::Result<()> {
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
