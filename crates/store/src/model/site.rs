//! What is known of a site itself, and how a store is made and opened.

use std::collections::{BTreeMap, BTreeSet};

use protocol::pace::{Left, Pace};
use protocol::reconcile::Policies;
use protocol::{Epoch, FeedId, Limits, ResourceType, SiteId, Timestamp, Urgency};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    AlertTrouble, ChildInfo, EmrStatus, Marker, OutboxStatus, Pause, ReaderStatus, SourceInfo,
};

/// Which site a store belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteInfo {
    /// The site's id.
    pub site: SiteId,
    /// This life of its store.
    pub epoch: Epoch,
    /// The newest sequence.
    pub sequence: u64,
    /// Whether it has a parent.
    pub has_parent: bool,
    /// How often it has asked those below to send again what it had purged.
    pub again: u64,
}

/// Counts for people.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[allow(missing_docs)]
pub struct SiteStatus {
    #[schemars(with = "String")]
    pub site: SiteId,
    pub epoch: String,
    pub sequence: u64,
    /// Records that are not deleted.
    pub records: u64,
    pub patients: u64,
    pub changes: u64,
    pub conflicts_open: u64,
    /// Deliveries to the parent by state (`ready`, `leased`, `handed-over`, `retry`, `parked`,
    /// `done`).
    pub deliveries: BTreeMap<String, u64>,
    /// Those of them that wait to be sent, by lane; a lane in which none does is left out.
    #[schemars(with = "BTreeMap<String, u64>")]
    pub lanes: BTreeMap<Urgency, u64>,
    /// When the oldest change that the parent does not hold yet was recorded.
    #[schemars(with = "Option<String>")]
    pub oldest_undelivered: Option<Timestamp>,
    /// Lines from the parent, or read from below, that could not be applied, and those that wait
    /// behind them.
    pub parked_lines: u64,
    /// Patients who left and are frozen, or wait to be purged.
    pub patients_left: u64,
    pub cohorts: u64,
    pub children: Vec<ChildInfo>,
    pub markers: Vec<Marker>,
    pub link: LinkInfo,
    /// What is still to move on it.
    pub forecast: Forecast,
    /// Links that a person has paused, the parent's first.
    pub paused: Vec<Pause>,
    /// Those who carry this site's messages, where third parties do.
    pub outbox: OutboxStatus,
    /// Who reads this site's changes, where its parent does.
    pub read: ReaderStatus,
    /// Those that this site reads itself.
    pub sources: Vec<SourceInfo>,
    /// The record system beside the site, where there is one.
    pub emr: Option<EmrStatus>,
    /// Messages that third parties brought and that wait to be worked off.
    pub inbox: u64,
    /// Alerts that are raised.
    pub alerts: u64,
    /// Ways by which nobody can be told of them at present.
    pub alert_troubles: Vec<AlertTrouble>,
    /// Rows of the audit.
    pub audit_rows: u64,
    /// Bytes of the database file and its log.
    pub disk_bytes: u64,
    /// Merges, and merges with a conflict, that this site has worked out.
    pub merged: u64,
}

/// What happened on the link to the parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkEvent {
    /// The parent answered.
    Contact {
        /// Its status, JSON, where it sent one.
        peer: Option<String>,
        /// What moved until then and was not noted yet.
        traffic: Traffic,
    },
    /// What it is (JSON), where it said so and was not heard out yet.
    Peer(String),
    /// It could not be reached, or did not answer as a parent does.
    Failure {
        /// Why, in plain words.
        error: String,
        /// When the next try is due.
        next: Timestamp,
    },
    /// It said how records are merged that it and we changed.
    Policies(Policies),
    /// Bytes moved, and how fast, where that has changed.
    Traffic(Traffic, Option<Box<LinkPace>>),
    /// All that it lists for this site was compared with what is here.
    Compared,
}

/// How the link to the parent has done lately, a lane each, and how far its feeds go beyond ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LinkPace {
    /// Changes that go up.
    #[schemars(with = "serde_json::Value")]
    pub up: Pace,
    /// Entries of the parent's feeds on the live lane.
    #[schemars(with = "serde_json::Value")]
    pub live: Pace,
    /// Entries on the bulk lane: whole records of patients who joined.
    #[schemars(with = "serde_json::Value")]
    pub bulk: Pace,
    /// Entries that we have not passed yet on the live lane, when we last asked.
    pub live_ahead: u64,
    /// Likewise on the bulk lane.
    pub bulk_ahead: u64,
    /// How the normal lane rests, where it has a rate.
    pub normal_rest: Option<Rest>,
    /// Likewise the bulk lane.
    pub bulk_rest: Option<Rest>,
}

/// How long a lane moves nothing, so that it is no faster than its rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rest {
    /// Since when.
    #[schemars(with = "String")]
    pub since: Timestamp,
    /// For how many milliseconds from then.
    pub millis: i64,
}

/// Bytes that moved on the link: on the wire and before compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Sent on the wire.
    pub wire_sent: u64,
    /// Received on the wire.
    pub wire_received: u64,
    /// Sent, before compression.
    pub raw_sent: u64,
    /// Received, after inflation.
    pub raw_received: u64,
    /// The month that it counts for, in local time: 202611 is November 2026. `None`: for none.
    pub month: Option<u32>,
}

impl Traffic {
    /// Whether nothing moved.
    pub fn is_nothing(&self) -> bool {
        *self == Traffic { month: self.month, ..Traffic::default() }
    }
}

/// What moved on the link to the parent in one month of local time.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
pub struct MonthTraffic {
    /// 202611: November 2026.
    pub month: u32,
    /// Bytes on the wire, sent.
    pub sent: u64,
    /// Likewise received.
    pub received: u64,
    /// Why an operator lets more move than the budget allows, where one does.
    pub lifted: Option<String>,
}

/// The link to the parent as it was last seen.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[allow(missing_docs)]
pub struct LinkInfo {
    pub failures: u32,
    pub last_error: Option<String>,
    #[schemars(with = "Option<String>")]
    pub last_attempt: Option<Timestamp>,
    #[schemars(with = "Option<String>")]
    pub last_contact: Option<Timestamp>,
    #[schemars(with = "Option<String>")]
    pub next_attempt: Option<Timestamp>,
    pub wire_sent: u64,
    pub wire_received: u64,
    pub raw_sent: u64,
    pub raw_received: u64,
    pub peer: Option<String>,
    #[schemars(with = "serde_json::Value")]
    pub policies: Policies,
    pub pace: LinkPace,
    /// The months in which something moved, newest first.
    pub months: Vec<MonthTraffic>,
    /// Up to which of the parent's requests to send again what it purged this site has done so.
    pub again: u64,
    /// When all that the parent lists for this site was last compared with what is here.
    #[schemars(with = "Option<String>")]
    pub compared: Option<Timestamp>,
}

/// What is still to move on the link to the parent, and how long that will take as it was lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
pub struct Forecast {
    /// Changes that wait to be sent. (Where others carry or read them nothing of it is measured.)
    #[schemars(with = "serde_json::Value")]
    pub up: Left,
    /// Entries of the parent's feeds, of both lanes.
    #[schemars(with = "serde_json::Value")]
    pub down: Left,
}

/// How to open a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenOptions {
    /// The bounds that the store keeps to.
    pub limits: Limits,
    /// How records are merged that the site and its children changed.
    pub merge: Policies,
    /// Types whose changes go up ahead of others.
    pub urgent: BTreeSet<ResourceType>,
    /// Bytes of page cache of each connection.
    pub cache_bytes: usize,
    /// Connections for readers.
    pub readers: usize,
    /// Pages of the log after which it is written back to the file.
    pub wal_pages: u32,
}

impl OpenOptions {
    /// What is usual for `wal_pages`: 16 MiB, so that an import seldom waits for it.
    pub const WAL_PAGES: u32 = 4_000;
}

/// What a new store is told of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSite {
    /// The site's id.
    pub site: SiteId,
    /// Its first epoch.
    pub epoch: Epoch,
    /// The id of its `reference` feed.
    pub reference: FeedId,
}
