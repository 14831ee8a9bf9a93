//! A person who carries files between two sites where no link does. What is carried is a *packet*:
//! lines of text, compressed, encrypted to the site that it is for (the age format), with a proof
//! that the other end of the link wrote it. Whatever becomes of a packet (lost, late, twice, in any
//! order, altered), nothing is lost: what it carried waits at its site for the other's word.

mod down;
mod key;
mod packet;
mod stick;
mod up;

pub use down::{ForAll, Loaded, Unwritten, export_cohort, export_feeds, import_feeds};
pub use key::Key;
pub use stick::Stick;
pub use up::{Exported, Imported, Settled, export, import, receipts};

use anyhow::{Context as _, bail};
use protocol::SiteId;

use crate::http::sync::status::{ChildReport, ParentView};
use crate::site::Site;

/// The courier's name among those who carry messages.
pub const CARRIER: &str = "courier";

/// What a packet could not be used for, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The file's name on the stick.
    pub name: String,
    /// Why, for a person.
    pub reason: String,
}

/// The key of the parent, as it told it last.
fn parents_key(site: &Site) -> anyhow::Result<String> {
    key_in(site.store().link_get()?.peer.as_deref()).context(
        "the parent has not told its courier key yet: let this site reach it once \
         (`tributary sync`)",
    )
}

/// The key in what the parent said of itself, as it is kept.
pub fn key_in(peer: Option<&str>) -> Option<String> {
    serde_json::from_str::<ParentView>(peer?).ok()?.courier
}

/// The key of a child, as it told it last.
fn childs_key(site: &Site, child: &SiteId) -> anyhow::Result<String> {
    let children = site.store().child_list()?;
    let Some(found) = children.into_iter().find(|known| known.site == *child) else {
        bail!("{child} is not a child of this site: `tributary child list` shows them");
    };
    if found.state != "joined" {
        bail!("{child} is {}: it has no access here", found.state);
    }
    let report = found.report.and_then(|text| serde_json::from_str::<ChildReport>(&text).ok());
    report.and_then(|report| report.courier).with_context(|| {
        format!("{child} has not told its courier key yet: let it reach this site once")
    })
}
