//! Alerts: never a flood.

use protocol::Limits;

use super::{Maker, START, site};
use crate::{AlertFound, AlertWay};

pub fn an_alert_is_raised_once_and_cleared_once_and_told_of_once(maker: &dyn Maker) {
    let store = maker.make(&site("centre"), &Limits::default());
    let found = |subject: &str| AlertFound {
        rule: "silent".to_owned(),
        subject: subject.to_owned(),
        text: "it is silent".to_owned(),
    };
    for later in 0..3 {
        let now = START.plus_millis(later);
        store.alert_update(&[found("east"), found("west")], &[], now).unwrap();
    }
    let open = store.alert_list(false, 9).unwrap();
    assert_eq!(open.iter().map(|one| &*one.subject).collect::<Vec<_>>(), ["west", "east"]);
    assert_eq!((open[0].raised, open[0].cleared), (START, None));
    let untold = store.alert_untold(AlertWay::Webhook, 9).unwrap();
    assert_eq!(untold.len(), 2);
    store.alert_told(AlertWay::Webhook, &untold[..1]).unwrap();
    assert_eq!(store.alert_untold(AlertWay::Webhook, 9).unwrap(), untold[1..]);
    // One is cleared after it was told of, the other before: the latter is told of as one.
    let end = START.plus_millis(60);
    store.alert_update(&[], &[open[0].key, open[1].key], end).unwrap();
    assert_eq!(store.alert_list(false, 9).unwrap(), []);
    let untold = store.alert_untold(AlertWay::Webhook, 9).unwrap();
    assert!(untold.len() == 2 && untold.iter().all(|one| one.cleared == Some(end)));
    store.alert_told(AlertWay::Webhook, &untold).unwrap();
    assert_eq!(store.alert_untold(AlertWay::Webhook, 9).unwrap(), []);
    // Who is told by another way was told of none of them yet.
    let mailed = store.alert_untold(AlertWay::Email, 9).unwrap();
    assert_eq!(mailed.len(), 2);
    store.alert_told(AlertWay::Email, &mailed).unwrap();
    assert_eq!(store.alert_untold(AlertWay::Email, 9).unwrap(), []);
    // One way does not work for a while: people see since when, and why, until it does.
    let troubles = || store.site_status(end).unwrap().alert_troubles;
    for (tries, error) in [(1, "451 not now"), (2, "421 \u{1b}[2J too\nmany")] {
        let now = START.plus_millis(i64::from(tries));
        store.alert_not_told(AlertWay::Email, error, now).unwrap();
        store.alert_told(AlertWay::Webhook, &[]).unwrap();
        let found = troubles();
        assert_eq!((found.len(), found[0].way, found[0].failures), (1, AlertWay::Email, tries));
        assert_eq!(found[0].since, START.plus_millis(1));
    }
    assert_eq!(troubles()[0].error, "421  [2J too many", "on one line, whoever said it");
    store.alert_told(AlertWay::Email, &[]).unwrap();
    assert_eq!(troubles(), []);
    // It comes again: a new one.
    store.alert_update(&[found("east")], &[], end).unwrap();
    let count = |all| store.alert_list(all, 9).unwrap().len();
    assert_eq!((count(false), count(true)), (1, 3));
}
