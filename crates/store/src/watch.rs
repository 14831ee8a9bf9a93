//! What a store does for those who watch over a site: whether it works, and what is wrong.

use protocol::Timestamp;

use crate::Result;
use crate::model::*;

/// The part of [`crate::Store`] for watching over a site.
pub trait WatchStore {
    /// Writes, and changes nothing by it: fails where the store takes no writes, or where its
    /// schema is not the one of this program any more.
    fn site_ready(&self) -> Result<()>;
    /// Alerts that are raised, the newest first; `all`: those that were cleared as well.
    fn alert_list(&self, all: bool, limit: usize) -> Result<Vec<Alert>>;
    /// Raises alerts, but for those that are raised already, and clears others.
    fn alert_update(&self, raise: &[AlertFound], clear: &[u64], now: Timestamp) -> Result<()>;
    /// Alerts that were raised or cleared and that nobody was told of, oldest first.
    fn alert_untold(&self, way: AlertWay, limit: usize) -> Result<Vec<Alert>>;
    /// Somebody was told of these, as they stand here: that way works.
    fn alert_told(&self, way: AlertWay, told: &[Alert]) -> Result<()>;
    /// Nobody could be told, and why: plain words without anything of a record.
    fn alert_not_told(&self, way: AlertWay, error: &str, now: Timestamp) -> Result<()>;
    /// What rules look at beside the status.
    fn alert_facts(&self) -> Result<AlertFacts>;
}
