//! How a site stands, as the command line and `/admin/status` tell it in JSON.

use protocol::{Timestamp, Urgency};
use schemars::JsonSchema;
use serde::Serialize;
use store::{LinkInfo, SiteStatus};

use crate::config::Config;
use crate::jobs::gate::{Closed, Gate, Spent};
use crate::site::Site;

/// The status, and what is known of the site by its settings.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Told {
    #[serde(flatten)]
    status: SiteStatus,
    /// Lanes of the link to the parent that do not move now.
    held: Vec<Closed>,
    /// What was spent of the month's budget of bytes, where there is one.
    spent: Option<Spent>,
    /// Bytes that are free on the disk that holds the store, where that is known.
    disk_free_bytes: Option<u64>,
}

impl Told {
    /// Of a status that was asked for just now.
    pub fn of(status: SiteStatus, site: &Site, now: Timestamp) -> Told {
        let config = site.config();
        let (held, spent) = (held(config, &status.link, now), spent(config, &status, now));
        let disk_free_bytes = site.disk().map(|disk| disk.free);
        Told { status, held, spent, disk_free_bytes }
    }
}

/// What was spent of the month's budget, where there is one.
pub fn spent(config: &Config, status: &SiteStatus, now: Timestamp) -> Option<Spent> {
    config.parent.as_ref()?;
    Spent::of(config.link.budget(), &status.link.months, now)
}

/// Lanes of the link to the parent that do not move now, by the settings.
pub fn held(config: &Config, link: &LinkInfo, now: Timestamp) -> Vec<Closed> {
    if config.parent.is_none() {
        return Vec::new();
    }
    let gate = Gate::new(&config.link, &link.pace);
    gate.counted(link.months.clone());
    Urgency::ALL.into_iter().filter_map(|lane| gate.closed(lane, now)).collect()
}
