//! How a site stands, as the command line and `/admin/status` tell it in JSON.

use protocol::{Timestamp, Urgency};
use serde::Serialize;
use store::SiteStatus;

use crate::config::Config;
use crate::jobs::gate::{Closed, Gate};

/// The status, and what is known of the site by its settings.
#[derive(Debug, Serialize)]
pub struct Told {
    #[serde(flatten)]
    status: SiteStatus,
    /// Lanes of the link to the parent that do not move now.
    held: Vec<Closed>,
}

impl Told {
    /// Of a status that was asked for just now.
    pub fn of(status: SiteStatus, config: &Config, now: Timestamp) -> Told {
        let held = held(config, now);
        Told { status, held }
    }
}

/// Lanes of the link to the parent that do not move now, by the settings.
pub fn held(config: &Config, now: Timestamp) -> Vec<Closed> {
    if config.parent.is_none() {
        return Vec::new();
    }
    let gate = Gate::new(&config.link);
    Urgency::ALL.into_iter().filter_map(|lane| gate.closed(lane, now)).collect()
}
