//! The links of a site as the command line and `/admin/links` tell of them.

use protocol::{SiteId, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;
use store::{LinkName, Pause, Store, StoreError};

use crate::config::Parent;

/// One link.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct LinkTold {
    /// `parent`, the child's id, or `emr`: the record system beside the site.
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

/// All links, the parent's first; of children, those that have access.
pub fn list(
    store: &dyn Store,
    parent: Option<&Parent>,
    now: Timestamp,
) -> Result<Vec<LinkTold>, StoreError> {
    let status = store.site_status(now)?;
    let paused = |link: &LinkName| status.paused.iter().find(|pause| pause.link == *link).cloned();
    let up = parent.map(|parent| LinkTold {
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
    let beside = status.emr.as_ref().map(|emr| LinkTold {
        link: LinkName::Emr,
        site: status.site.clone(),
        last_contact: emr.last_contact,
        paused: paused(&LinkName::Emr),
    });
    Ok(up.into_iter().chain(down).chain(beside).collect())
}
