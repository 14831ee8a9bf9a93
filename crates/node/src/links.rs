//! The links of a site as the command line and `/admin/links` tell of them.

use protocol::{SiteId, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;
use store::{LinkName, Pause, Store, StoreError};

use crate::config::Config;

/// One link.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct LinkTold {
    /// `parent`, the id of a child or of a source, or `emr`: the record system beside the site.
    #[schemars(with = "String")]
    pub link: LinkName,
    /// The other site; this one, where it is the record system.
    #[schemars(with = "String")]
    pub site: SiteId,
    /// When they spoke last.
    #[schemars(with = "Option<String>")]
    pub last_contact: Option<Timestamp>,
    /// Since when and why it is paused here.
    pub paused: Option<Pause>,
}

/// Whether a link is that to a source of the settings, which need not be a child.
pub fn is_source(config: &Config, link: &LinkName) -> bool {
    let LinkName::Child(site) = link else { return false };
    config.sources.iter().any(|source| source.name == *site)
}

/// All links, the parent's first; of children, those that have access, and then those that are only
/// read.
pub fn list(
    store: &dyn Store,
    config: &Config,
    now: Timestamp,
) -> Result<Vec<LinkTold>, StoreError> {
    let status = store.site_status(now)?;
    let paused = |link: &LinkName| status.paused.iter().find(|pause| pause.link == *link).cloned();
    let up = config.parent.as_ref().map(|parent| LinkTold {
        link: LinkName::Parent,
        site: parent.site.clone(),
        last_contact: status.link.last_contact,
        paused: paused(&LinkName::Parent),
    });
    let down = status.children.iter().filter(|child| child.state != "revoked").map(|child| {
        let link = LinkName::Child(child.site.clone());
        let paused = paused(&link);
        LinkTold { link, site: child.site.clone(), last_contact: child.last_seen, paused }
    });
    let is_child =
        |site: &SiteId| status.children.iter().any(|c| c.site == *site && c.state != "revoked");
    let read = config.sources.iter().filter(|source| !is_child(&source.name)).map(|source| {
        let link = LinkName::Child(source.name.clone());
        let known = status.sources.iter().find(|known| known.name == source.name);
        let last_contact = known.and_then(|known| known.last_contact);
        let paused = paused(&link);
        LinkTold { link, site: source.name.clone(), last_contact, paused }
    });
    let beside = status.emr.as_ref().map(|emr| LinkTold {
        link: LinkName::Emr,
        site: status.site.clone(),
        last_contact: emr.last_contact,
        paused: paused(&LinkName::Emr),
    });
    Ok(up.into_iter().chain(down).chain(read).chain(beside).collect())
}
