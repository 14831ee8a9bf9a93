//! How the demo ended: a table a site, and whether all are in step.

use serde::Serialize;

use crate::cli::status::bytes;
use crate::demo::apart::Apart;

/// The end of a demo.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Whether every clinic holds exactly what the centre has for it, proved by digests.
    pub in_step: bool,
    /// How long the story took.
    pub seconds: f64,
    /// How one patient fared whom all edited while they were cut off.
    pub apart: Apart,
    /// The centre first.
    pub sites: Vec<SiteRow>,
}

/// One site at the end.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct SiteRow {
    pub site: String,
    pub records: u64,
    /// Changes that left this site.
    pub sent: u64,
    /// Lines that were applied at this site.
    pub received: u64,
    pub merged: u64,
    pub conflicts: u64,
    pub parked: u64,
    /// Both ways, heads of requests and answers included.
    pub wire_bytes: u64,
    /// The same before compression.
    pub raw_bytes: u64,
    /// Age of the oldest change that the other side does not hold yet; 0 where it holds all.
    pub seconds_behind: u64,
}

impl Report {
    /// As a table for people.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{:<14} {:>8} {:>7} {:>9} {:>7} {:>10} {:>7} {:>9} {:>9} {:>6} {:>7}\n",
            "site",
            "records",
            "sent",
            "received",
            "merged",
            "conflicts",
            "parked",
            "on wire",
            "raw",
            "ratio",
            "behind"
        );
        for row in &self.sites {
            let ratio = row.raw_bytes as f64 / (row.wire_bytes.max(1)) as f64;
            text.push_str(&format!(
                "{:<14} {:>8} {:>7} {:>9} {:>7} {:>10} {:>7} {:>9} {:>9} {:>6.1} {:>5} s\n",
                row.site,
                row.records,
                row.sent,
                row.received,
                row.merged,
                row.conflicts,
                row.parked,
                bytes(row.wire_bytes),
                bytes(row.raw_bytes),
                ratio,
                row.seconds_behind
            ));
        }
        text
    }
}
