//! Links that a person pauses.

use super::pair::Pair;
use super::{Maker, START};
use crate::{AuditFilter, ChildDraft, LinkName, PauseDraft, StoreError};

pub fn a_link_is_paused_until_it_is_resumed_or_its_time_is_over(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    let ward = "ward".parse::<protocol::SiteId>().unwrap();
    let draft = |link: &LinkName, millis| PauseDraft {
        link: link.clone(),
        is_source: false,
        reason: "the mast is mended".to_owned(),
        actor: "operator".to_owned(),
        millis,
    };
    let (up, down) = (LinkName::Parent, LinkName::Child(ward.clone()));
    let store = &*pair.child;
    for (site, link) in [(&*pair.parent, &up), (store, &down)] {
        let refused = site.link_pause(&draft(link, None), START);
        assert!(matches!(refused, Err(StoreError::Name(_))), "there is no such link");
    }
    // A site that is only read is nobody's child.
    let read = LinkName::Child("read".parse().unwrap());
    store.link_pause(&PauseDraft { is_source: true, ..draft(&read, None) }, START).unwrap();
    assert!(store.link_paused(&read, START).unwrap().is_some());
    assert!(store.link_resume(&read, "operator", START).unwrap());
    let child = ChildDraft {
        site: ward,
        cohorts: Vec::new(),
        code_hash: [7; 32],
        code_expires: START.plus_millis(1_000),
    };
    store.child_add(&child, START).unwrap();
    store.link_pause(&draft(&up, None), START).unwrap();
    store.link_pause(&draft(&down, Some(60_000)), START).unwrap();
    let paused = |link: &LinkName, millis| {
        store.link_paused(link, START.plus_millis(millis)).unwrap().is_some()
    };
    assert_eq!([paused(&up, 59_999), paused(&down, 59_999)], [true, true]);
    assert_eq!([paused(&up, 60_000), paused(&down, 60_000)], [true, false]);
    let told = store.site_status(START.plus_millis(1)).unwrap().paused;
    assert_eq!(told.iter().map(|pause| &pause.link).collect::<Vec<_>>(), [&up, &down]);
    assert_eq!((told[0].since, told[0].until), (START, None));
    assert_eq!(told[1].until, Some(START.plus_millis(60_000)));
    // It can be made longer, and nothing else than its end or a word ends it.
    store.link_pause(&draft(&down, Some(90_000)), START).unwrap();
    assert!(paused(&down, 60_000));
    let resume = |link: &LinkName| store.link_resume(link, "operator", START).unwrap();
    assert_eq!([resume(&up), resume(&up), resume(&down)], [true, false, true]);
    assert_eq!(store.site_status(START).unwrap().paused, []);
    let rows = |action: &str| {
        let action = Some(action.to_owned());
        store.audit_list(&AuditFilter { action, limit: 9, ..AuditFilter::default() }).unwrap().len()
    };
    assert_eq!((rows("link-pause"), rows("link-resume")), (4, 3));
}
