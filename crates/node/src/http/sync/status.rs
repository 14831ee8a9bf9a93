//! `POST /sync/status` and `GET /sync/poll`: what two sites tell each other about themselves, and
//! waiting for news in one small request.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use protocol::reconcile::Policies;
use protocol::{Epoch, FeedId, SiteId, Timestamp, plain};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use store::{FeedPosition, Scope};

use crate::courier::Key;
use crate::http::auth::Caller;
use crate::http::body;
use crate::http::error::{self, Failure, Problem};
use crate::http::sync::{SMALL_BODY, child_of};
use crate::site::Site;
use crate::wire;

/// Characters that are kept of each text in a child's report.
const WORDS: usize = 2_000;

/// What a child says of itself. Unknown fields are kept as they come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChildReport {
    /// Version of its program.
    pub version: String,
    /// Its clock.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Changes that the parent does not hold yet, and the oldest of them.
    pub undelivered: u64,
    /// When the oldest of them was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub oldest_undelivered: Option<Timestamp>,
    /// Deliveries and lines that are parked.
    pub parked: u64,
    /// Open conflicts.
    pub conflicts: u64,
    /// Records that it holds.
    pub records: u64,
    /// Bytes of its store.
    pub disk_bytes: u64,
    /// Rows of its audit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<u64>,
    /// A person has paused the link there: this was its last word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<PausedThere>,
    /// Its positions on the live lane, by feed name.
    pub markers: BTreeMap<String, u64>,
    /// Likewise on the bulk lane.
    #[serde(default)]
    pub bulk_markers: BTreeMap<String, u64>,
    /// The key that packets to it are encrypted with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub courier: Option<String>,
    /// It cannot call its parent, which reads it: nothing comes down to it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub one_way: bool,
}

/// Since when, until when and why a child's link is paused at the child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub struct PausedThere {
    #[schemars(with = "String")]
    pub since: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub until: Option<Timestamp>,
    pub reason: String,
}

/// What a parent says of itself to one child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ParentView {
    /// The parent.
    #[schemars(with = "String")]
    pub site: SiteId,
    /// Its epoch.
    #[schemars(with = "String")]
    pub epoch: Epoch,
    /// Version of its program.
    pub version: String,
    /// Its clock.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// The dictionary that it has, as `Available-Dictionary` names it.
    pub dictionary: String,
    /// The feeds that the child may read, `reference` first.
    pub feeds: Vec<FeedHead>,
    /// How records are merged that both sites changed, as in `[merge]`; both ends go by this.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub merge: BTreeMap<String, String>,
    /// Whether the child's clock, by its report, agrees with the parent's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub clocks_agree: bool,
    /// The key that packets to it are encrypted with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub courier: Option<String>,
    /// How often it has asked to be sent again what it had let go of: its own parent, which was
    /// restored, has lost it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub again: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl ParentView {
    /// The policies that it tells.
    pub fn policies(&self) -> Policies {
        Policies::from_parent(&self.merge).with_clocks(self.clocks_agree)
    }
}

/// A feed and how far it goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FeedHead {
    /// Its id.
    #[schemars(with = "String")]
    pub id: FeedId,
    /// Its name.
    pub name: String,
    /// Newest position.
    pub head: u64,
    /// Newest join.
    pub head_join: u64,
}

/// Takes the child's report and answers with the parent's view.
pub async fn exchange(
    State(site): State<Site>,
    request: Request,
) -> Result<Json<ParentView>, Problem> {
    let (parts, payload) = request.into_parts();
    let (caller, scope) = child_of(&parts, &site).await?;
    let Caller::Child { site: child, epoch: Some(epoch), .. } = caller else {
        return Err(Failure::bad_request("the header Tributary-Epoch is missing").into());
    };
    let bytes = body::read(&site, &parts.headers, payload, SMALL_BODY).await?;
    let (report, its_clock) = kept(&bytes)?;
    let now = site.now();
    let noted = site.read(move |store| store.child_seen(&child, &epoch, Some(&report), now));
    noted.await?;
    let clocks_agree = site.config().limits.clocks_agree(its_clock.since(now));
    Ok(Json(ParentView { clocks_agree, ..view(&site, &scope).await? }))
}

/// A child's report as it is kept, and its clock.
pub(crate) fn kept(text: &[u8]) -> Result<(String, Timestamp), Failure> {
    let odd = || Failure::bad_request("the status is not understood");
    let mut report: Value = serde_json::from_slice(text).map_err(|_| odd())?;
    make_plain(&mut report);
    let its_clock = ChildReport::deserialize(&report).map_err(|_| odd())?.at;
    Ok((report.to_string(), its_clock))
}

/// A child's words are shown to people here: no text of its report is more than a plain line.
fn make_plain(value: &mut Value) {
    match value {
        Value::String(text) => *text = plain::line(text, WORDS),
        Value::Array(items) => items.iter_mut().for_each(make_plain),
        Value::Object(fields) => fields.values_mut().for_each(make_plain),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

async fn view(site: &Site, scope: &Scope) -> Result<ParentView, Failure> {
    let scope = scope.clone();
    let (feeds, info) =
        site.read(move |store| Ok((store.feed_list(&scope)?, store.site()?))).await?;
    let mut feeds: Vec<FeedHead> = feeds
        .into_iter()
        .map(|feed| FeedHead {
            id: feed.id,
            name: feed.name,
            head: feed.head,
            head_join: feed.head_join,
        })
        .collect();
    feeds.sort_by_key(|feed| feed.name != "reference");
    Ok(ParentView {
        site: info.site,
        epoch: info.epoch,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        at: site.now(),
        dictionary: wire::dictionary_name(),
        feeds,
        merge: site.config().merge.clone(),
        clocks_agree: false,
        courier: site.courier().map(Key::public),
        again: info.again,
    })
}

/// The query of a poll.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PollQuery {
    /// The epoch in which the child has its markers.
    #[schemars(with = "String")]
    epoch: Epoch,
    /// Where the child is: `name:live:bulk`, separated by commas.
    at: String,
    /// Seconds that the answer may be held back.
    wait: u64,
    /// `live`: what is new on the bulk lanes is no news to the child now.
    lane: Option<String>,
}

/// 204 where there is nothing new for the child until the time is over, else the parent's view.
pub async fn poll(
    State(site): State<Site>,
    asked: Result<Query<PollQuery>, QueryRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let (caller, _) = child_of(&parts, &site).await?;
    let query = error::query(asked)?;
    let known = markers_of(&query.at)?;
    let live_only = match query.lane.as_deref() {
        None => false,
        Some("live") => true,
        Some(_) => return Err(Failure::bad_request("lane must be `live`, or left out").into()),
    };
    note_positions(&site, &caller, query.epoch, &known).await?;
    let wait = query.wait.min(site.config().limits.poll_seconds);
    let end = site.now().plus_millis((wait * 1_000).cast_signed());
    let mut news = site.news();
    loop {
        news.borrow_and_update();
        // Asked each time: its access may have ended meanwhile.
        let (_, scope) = child_of(&parts, &site).await?;
        let view = view(&site, &scope).await?;
        if view.epoch != query.epoch || is_news(&view, &known, live_only) {
            return Ok(Json(view).into_response());
        }
        let left = end.since(site.now());
        if left <= 0 || site.is_closing() {
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        let pause = site.clock().sleep(left.min(2_000).cast_unsigned());
        tokio::select! {
            biased;
            _ = news.changed() => {},
            () = pause => {},
            () = site.closed() => {},
        }
    }
}

/// Keeps where the child is: its report is from before it fetched what it told that it lacked.
async fn note_positions(
    site: &Site,
    caller: &Caller,
    epoch: Epoch,
    known: &BTreeMap<&str, (u64, u64)>,
) -> Result<(), Failure> {
    let Caller::Child { site: child, .. } = caller.clone() else { return Ok(()) };
    let positions = known.iter().map(|(feed, (live, bulk))| FeedPosition {
        feed: (*feed).to_owned(),
        live: *live,
        bulk: *bulk,
    });
    let (positions, now) = (positions.collect::<Vec<_>>(), site.now());
    let noted = site.read(move |store| match store.site()?.epoch == epoch {
        true => store.child_at(&child, &positions, now),
        false => Ok(()),
    });
    Ok(noted.await?)
}

fn is_news(view: &ParentView, known: &BTreeMap<&str, (u64, u64)>, live_only: bool) -> bool {
    view.feeds.iter().any(|feed| {
        known
            .get(feed.name.as_str())
            .is_none_or(|(live, bulk)| feed.head > *live || (feed.head_join > *bulk && !live_only))
    })
}

fn markers_of(text: &str) -> Result<BTreeMap<&str, (u64, u64)>, Failure> {
    let wrong = || Failure::bad_request("`at` is a list of name:live:bulk, separated by commas");
    text.split(',')
        .filter(|item| !item.is_empty())
        .map(|item| {
            let mut parts = item.split(':');
            let (Some(name), Some(live), Some(bulk), None) =
                (parts.next(), parts.next(), parts.next(), parts.next())
            else {
                return Err(wrong());
            };
            let number = |text: &str| text.parse().map_err(|_| wrong());
            Ok((name, (number(live)?, number(bulk)?)))
        })
        .collect()
}
