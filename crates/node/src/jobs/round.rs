//! One round with the parent: hear how it is, then send and fetch in turns until both sides have
//! said all. What goes wrong in one direction does not stop the other.

use std::fs::File;

use protocol::stream::Lane;
use protocol::{Timestamp, Urgency};
use store::{LinkEvent, Marker, Traffic};

use crate::config::{Parent, Up};
use crate::courier::{self, Key};
use crate::http::sync::status::{ChildReport, FeedHead, ParentView, PausedThere};
use crate::jobs::link::{Link, Positions, ours};
use crate::jobs::rounds::Moved;
use crate::jobs::{audit, compare, heal, outbox, parked, patients, pull, push, replaced, unlisted};
use crate::ports::LinkError;
use crate::site::Site;

/// What a round did.
#[derive(Debug, Clone)]
pub struct Round {
    /// The parent, as it was last heard.
    pub view: ParentView,
    /// Where we are in its feeds now.
    pub markers: Positions,
    /// Changes that the parent took.
    pub sent: u64,
    /// Changes that it refused or put off.
    pub not_taken: u64,
    /// Lines that were applied here.
    pub received: u64,
    /// Lines that were parked here.
    pub parked: u64,
}

impl Round {
    /// What it moved.
    pub fn moved(&self) -> Moved {
        let Round { sent, not_taken, received, parked, .. } = *self;
        Moved { sent, not_taken, received, parked }
    }
}

/// Runs a round. An error means that the link or the parent failed and that the round ended
/// early; everything that was moved until then is safe.
pub async fn run(site: &Site, link: &Link) -> Result<Round, LinkError> {
    let lock = lock(site).await?;
    let result = run_alone(site, link).await;
    drop(lock);
    let noted = link.note_traffic(site).await;
    result.and_then(|round| noted.map(|()| round))
}

/// Only one round at a time, over all processes that have this site open.
pub async fn lock(site: &Site) -> Result<Option<File>, LinkError> {
    let Some(path) = site.run_lock() else { return Ok(None) };
    let failed = |error: std::io::Error| LinkError(format!("failed to lock this site: {error}"));
    let file = File::options().create(true).append(true).open(path).map_err(failed)?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(std::fs::TryLockError::WouldBlock) => site.clock().sleep(100).await,
            Err(std::fs::TryLockError::Error(error)) => return Err(failed(error)),
        }
    }
}

async fn run_alone(site: &Site, link: &Link) -> Result<Round, LinkError> {
    let view = hear(site, link).await?;
    check_parent(link, &view)?;
    link.look_at_budget(site).await?;
    let mut round =
        Round { view, markers: Positions::new(), sent: 0, not_taken: 0, received: 0, parked: 0 };
    meet(site, link, &mut round).await?;
    let mut pushing = Side::default();
    let mut pulling = Side::default();
    while !(pushing.over && pulling.over) {
        if !pushing.over {
            pushing.take(push_turn(site, link, &mut round).await);
        }
        if !pulling.over {
            pulling.take(pull_turn(site, link, &mut round).await);
        }
        site.rounds().progress(&round.moved());
        link.note_at_times(site).await?;
        link.look_at_budget(site).await?;
    }
    let ended = match pushing.error.or(pulling.error) {
        Some(error) => Err(error),
        None => ask_by_name(site, link, &mut round).await,
    };
    retry_parked(site).await;
    round.received += ended?;
    if is_still(site, link, &round).await {
        heal::step(site, link, &round.view).await?;
    }
    if link.gate().is_open(Urgency::Normal, site.now()) {
        audit::step(site, link).await?;
    }
    Ok(round)
}

/// Finds our place in the parent's feeds. Where the parent asks for what it has let go of, it has
/// it before anything is taken from it: it may have got an older state from above meanwhile. What
/// waits to be sent goes before that.
async fn meet(site: &Site, link: &Link, round: &mut Round) -> Result<(), LinkError> {
    compare::meet_all(site, link, &round.view).await?;
    if unlisted::is_asked(site, &round.view).await? {
        while let Ok(true) = push_turn(site, link, round).await {}
        unlisted::answer(site, link, round.view.again).await?;
    }
    Ok(())
}

/// Asks for whom the parent believed held, and for what it did not list; gives how many records
/// left for that.
async fn ask_by_name(site: &Site, link: &Link, round: &mut Round) -> Result<u64, LinkError> {
    while link.gate().is_open(Urgency::Bulk, site.now())
        && let Some(read) = patients::fetch_ahead(site, link, &round.view).await?
    {
        round.received += read.applied;
        round.parked += read.parked;
        if has_news_for_parent(site, link).await {
            // What was written here meanwhile goes before the next.
            break;
        }
    }
    unlisted::settle(site, link, &round.view).await
}

/// Whether who answers is our parent.
pub fn check_parent(link: &Link, view: &ParentView) -> Result<(), LinkError> {
    let expected = &link.parent().site;
    if view.site == *expected {
        return Ok(());
    }
    let found = &view.site;
    let reason = format!("the site at the parent's address is {found}, not {expected}");
    Err(LinkError(format!("{reason}: check parent.url")))
}

/// Lines that were parked and are due, and patients who left and have nothing to be sent. What
/// fails here is tried again in the next round; the reason is in the store for people to see.
pub async fn retry_parked(site: &Site) {
    parked::step(site).await;
    let now = site.now();
    if let Err(error) = site.write(move |store| store.patient_purge(now)).await {
        tracing::warn!(%error, "failed to purge patients who left");
    }
    if let Err(error) = replaced::step(site).await {
        tracing::warn!(%error, "failed to follow merged patients");
    }
}

/// Tells the parent how we are and hears how it is; keeps how it merges, for lines that are parked
/// as well, and what a courier's packets to it are encrypted with.
pub async fn hear(site: &Site, link: &Link) -> Result<ParentView, LinkError> {
    let view = link.status(site, &report(site).await?).await?;
    if view.site != link.parent().site {
        return Ok(view);
    }
    let (told, now) = (view.clone(), site.now());
    let noted = site.read(move |store| {
        let known = store.link_get()?;
        if known.policies != told.policies() {
            store.link_note(&LinkEvent::Policies(told.policies()), now)?;
        }
        if courier::key_in(known.peer.as_deref()) != told.courier {
            let peer = serde_json::to_string(&told).ok();
            store.link_note(&LinkEvent::Contact { peer, traffic: Traffic::default() }, now)?;
        }
        Ok(())
    });
    noted.await.map_err(|e| ours(&e))?;
    Ok(view)
}

/// One direction of a round.
#[derive(Default)]
struct Side {
    over: bool,
    error: Option<LinkError>,
}

impl Side {
    fn take(&mut self, turn: Result<bool, LinkError>) {
        match turn {
            Ok(moved) => self.over = !moved,
            Err(error) => {
                self.over = true;
                self.error = Some(error);
            }
        }
    }
}

/// Sends one batch, or asks about those that third parties carry; whether there was one. What the
/// parent reads is not sent.
async fn push_turn(site: &Site, link: &Link, round: &mut Round) -> Result<bool, LinkError> {
    match link.parent().up {
        Up::Direct => {}
        Up::Carried => {
            let settled = outbox::ask(site, link).await?;
            round.sent += settled.unwrap_or(0);
            return Ok(settled.is_some());
        }
        Up::Read | Up::Fhir => return Ok(false),
    }
    let Some(pushed) = push::step(site, link, &round.view).await? else { return Ok(false) };
    round.sent += pushed.taken;
    round.not_taken += pushed.not_taken;
    Ok(true)
}

/// Fetches one answer of the first feed that is behind: live lanes before bulk lanes, `reference`
/// before all others. Whether there was one.
async fn pull_turn(site: &Site, link: &Link, round: &mut Round) -> Result<bool, LinkError> {
    round.markers = positions(site, &round.view).await?;
    let (live, bulk) = ahead(&round.view, &round.markers);
    link.speed().ahead(live, bulk);
    let next = next_of(&round.view, &round.markers, &link.gate().open(site.now()));
    let Some((feed, lane, after)) = next else { return Ok(false) };
    if lane == Lane::Bulk
        && let Some(read) = patients::fetch_ahead(site, link, &round.view).await?
    {
        round.received += read.applied;
        round.parked += read.parked;
    }
    match pull::step(site, link, &round.view, &feed, lane, after).await? {
        pull::Pulled::Lines { applied, parked } => {
            round.received += applied;
            round.parked += parked;
        }
        pull::Pulled::Gone => compare::feed(site, link, &round.view, &feed).await?,
        pull::Pulled::Absent => round.view.feeds.retain(|known| known.id != feed.id),
    }
    if lane == Lane::Bulk {
        // A first load may take hours: today's changes go before its next portion.
        round.view = hear(site, link).await?;
        meet(site, link, round).await?;
    }
    Ok(true)
}

/// Where we are in a feed, on the live lane and on the bulk lane.
fn place(at: &Positions, feed: &FeedHead) -> (u64, u64) {
    at.get(&feed.name).map_or((0, 0), |(_, live, bulk)| (*live, *bulk))
}

/// How many entries of the parent's feeds we have not passed yet on the live lanes, and on the
/// bulk lanes.
fn ahead(view: &ParentView, at: &Positions) -> (u64, u64) {
    view.feeds.iter().fold((0, 0), |(live, bulk), feed| {
        let (at_live, at_bulk) = place(at, feed);
        let more = (feed.head.saturating_sub(at_live), feed.head_join.saturating_sub(at_bulk));
        (live + more.0, bulk + more.1)
    })
}

/// Whether nothing waits at either side, and all may move.
async fn is_still(site: &Site, link: &Link, round: &Round) -> bool {
    ahead(&round.view, &round.markers) == (0, 0)
        && link.gate().is_open(Urgency::Bulk, site.now())
        && !has_due_deliveries(site).await
}

fn next_of(view: &ParentView, at: &Positions, open: &[Urgency]) -> Option<(FeedHead, Lane, u64)> {
    let position = |feed: &FeedHead| place(at, feed);
    let live = view.feeds.iter().find(|feed| position(feed).0 < feed.head);
    if let Some(feed) = live.filter(|_| open.contains(&Urgency::Normal)) {
        return Some((feed.clone(), Lane::Live, position(feed).0));
    }
    let bulk = view.feeds.iter().find(|feed| position(feed).1 < feed.head_join);
    let bulk = bulk.filter(|_| open.contains(&Urgency::Bulk))?;
    Some((bulk.clone(), Lane::Bulk, position(bulk).1))
}

/// Whether there is something to fetch of what may move now.
pub fn has_more(link: &Link, round: &Round, now: Timestamp) -> bool {
    next_of(&round.view, &round.markers, &link.gate().open(now)).is_some()
}

/// Where we are in the feeds of `view`, in its epoch.
pub async fn positions(site: &Site, view: &ParentView) -> Result<Positions, LinkError> {
    let markers = site.read(|store| store.marker_list()).await.map_err(|error| ours(&error))?;
    let mut positions = Positions::new();
    for feed in &view.feeds {
        let position = |lane| {
            let fits = |marker: &&Marker| {
                marker.feed == feed.id && marker.epoch == view.epoch && marker.lane == lane
            };
            markers.iter().find(fits).map_or(0, |marker| marker.position)
        };
        let at = (feed.id, position(Lane::Live), position(Lane::Bulk));
        positions.insert(feed.name.clone(), at);
    }
    Ok(positions)
}

/// Whether something waits to be sent now.
pub async fn has_due_deliveries(site: &Site) -> bool {
    has_due_of(site, Urgency::ALL.to_vec()).await
}

/// Whether something of these lanes waits to be sent now.
pub async fn has_due_of(site: &Site, lanes: Vec<Urgency>) -> bool {
    let now = site.now();
    let found = site.read(move |store| store.delivery_next_of(now, 1, &lanes)).await;
    found.is_ok_and(|lines| !lines.is_empty())
}

/// Whether there is something to say to the parent now: something that may move waits to be sent,
/// or to be asked about where third parties carry it.
pub async fn has_news_for_parent(site: &Site, link: &Link) -> bool {
    match site.config().up() {
        Some(Up::Carried) => outbox::has_due(site).await,
        Some(Up::Read | Up::Fhir) => false,
        Some(Up::Direct) | None => has_due_of(site, link.gate().open(site.now())).await,
    }
}

fn paused(status: &store::SiteStatus) -> Option<PausedThere> {
    let pause = status.paused.iter().find(|pause| pause.link == store::LinkName::Parent)?;
    Some(PausedThere { since: pause.since, until: pause.until, reason: pause.reason.clone() })
}

/// What we say of ourselves.
pub async fn report(site: &Site) -> Result<ChildReport, LinkError> {
    let now = site.now();
    let status = site.read(move |store| store.site_status(now)).await.map_err(|e| ours(&e))?;
    let count = |state: &str| status.deliveries.get(state).copied().unwrap_or(0);
    let at = |lane| {
        let of_lane = status.markers.iter().filter(|marker| marker.lane == lane);
        of_lane.map(|marker| (marker.name.clone(), marker.position)).collect()
    };
    Ok(ChildReport {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        at: now,
        undelivered: ["ready", "leased", "handed-over", "retry", "parked"].map(count).iter().sum(),
        oldest_undelivered: status.oldest_undelivered,
        parked: count("parked") + status.parked_lines,
        conflicts: status.conflicts_open,
        records: status.records,
        disk_bytes: status.disk_bytes,
        audit: Some(status.audit_rows),
        courier: site.courier().map(Key::public),
        one_way: site.config().parent.as_ref().is_some_and(Parent::is_reader),
        paused: paused(&status),
        markers: at(Lane::Live),
        bulk_markers: at(Lane::Bulk),
    })
}
