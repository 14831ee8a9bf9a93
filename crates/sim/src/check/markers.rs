//! No marker is beyond the feed that it belongs to, and in the end none is behind.

use protocol::stream::Lane;
use store::Scope;

use super::Rest;
use crate::world::Violation;

pub(super) fn check(rest: &Rest<'_>) -> anyhow::Result<Vec<Violation>> {
    let mut found = Vec::new();
    for (child, up) in rest.shared.places.iter().zip(&rest.sites) {
        let Some(parent) = child.parent else { continue };
        let feeds = rest.sites[parent].site.store().feed_list(&Scope::Everything)?;
        for marker in up.site.store().marker_list()? {
            let Some(feed) = feeds.iter().find(|feed| feed.id == marker.feed) else { continue };
            if feed.epoch != marker.epoch {
                continue;
            }
            let head = if marker.lane == Lane::Live { feed.head } else { feed.head_join };
            let ahead = marker.position > feed.head;
            if ahead || marker.position < head {
                let word = if ahead { "ahead of" } else { "behind" };
                let what = format!(
                    "the {} marker of {} for {} is at {}, {word} the feed's {head}",
                    marker.lane.as_str(),
                    child.id,
                    feed.name,
                    marker.position
                );
                found.push(Violation { checker: "markers", what });
            }
        }
    }
    Ok(found)
}
