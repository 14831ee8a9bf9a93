//! Where a record is on its way, as each side tells it.

use protocol::cohort::Definition;
use protocol::delivery::{DeliveryState, Outcome};
use protocol::stream::Lane;

use super::Maker;
use super::builders::{a_location, a_patient, an_observation, named, put};
use super::pair::{Pair, incoming};
use crate::{
    ChildDraft, DeliveryAction, DeliveryChoice, FeedPosition, Incoming, LeavePolicy, LinkEvent,
    Marker, ParentHolds, Settled, Store, TimelineVia, Whereabouts,
};

fn why(store: &dyn Store, record: &str) -> Whereabouts {
    store.record_why(&named(record)).unwrap()
}

/// The child joins.
fn join(pair: &Pair) {
    let info = pair.child.site().unwrap();
    let child = ChildDraft {
        site: info.site.clone(),
        cohorts: vec!["all".parse().unwrap()],
        code_hash: [1; 32],
        code_expires: pair.now().plus_millis(1_000_000),
    };
    pair.parent.child_add(&child, pair.now()).unwrap();
    let (site, epoch, now) = (&info.site, &info.epoch, pair.now());
    let joined = pair.parent.child_redeem(&[1; 32], site, epoch, &[2; 32], now).unwrap();
    assert!(joined.is_some());
}

/// The child tells its parent where it is, as it does in each round.
fn report(pair: &Pair) {
    let markers = pair.child.marker_list().unwrap();
    let at = |lane| {
        let of_lane = markers.iter().filter(|marker: &&Marker| marker.lane == lane);
        let items = of_lane.map(|marker| format!("\"{}\":{}", marker.name, marker.position));
        items.collect::<Vec<_>>().join(",")
    };
    let (live, bulk) = (at(Lane::Live), at(Lane::Bulk));
    let undelivered = pair.child.site_status(pair.now()).unwrap().deliveries;
    let undelivered: u64 =
        undelivered.iter().filter(|(state, _)| *state != "done").map(|(_, count)| count).sum();
    let text = format!(
        r#"{{"undelivered":{undelivered},"markers":{{{live}}},"bulk_markers":{{{bulk}}}}}"#
    );
    let child = pair.child.site().unwrap();
    pair.parent.child_seen(&child.site, &child.epoch, Some(&text), pair.now()).unwrap();
}

pub fn what_goes_up_is_told_with_what_it_waits_for(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    let first = pair.at_child(&put(&[a_patient("amina")])).sequence.unwrap();
    let second = pair.at_child(&put(&[an_observation("pulse", "amina")])).sequence.unwrap();
    let told = why(&*pair.child, "Observation/pulse");
    let here = told.here.clone().unwrap();
    assert_eq!(
        (here.sequence, here.author.as_str(), here.via),
        (second, "nurse-3", TimelineVia::Here)
    );
    assert_eq!((here.origin, here.parent), (Some("clinic".parse().unwrap()), ParentHolds::Nothing));
    assert_eq!(told.up[0].delivery.sequence, second);
    assert_eq!(told.up[0].behind, None, "both go in one line");
    // The first one is refused: the second waits behind it, and says so.
    let line = pair.child.delivery_next(pair.now(), 100_000).unwrap().remove(0);
    let refused = Settled {
        deliveries: vec![first],
        sent: Vec::new(),
        differs: Vec::new(),
        outcome: Outcome::Refused,
        reason: Some("no room".to_owned()),
        sequence: 0,
    };
    assert_eq!(line.deliveries, [first, second]);
    pair.child.delivery_settle(&[refused], pair.now(), 0).unwrap();
    let told = why(&*pair.child, "Observation/pulse");
    let behind = told.up[0].behind.clone().unwrap();
    assert_eq!((behind.sequence, behind.state), (first, DeliveryState::Retry));
    let own = why(&*pair.child, "Patient/amina").up.remove(0);
    assert_eq!((own.behind, own.delivery.reason.as_deref()), (None, Some("no room")));
    assert_eq!(own.delivery.history.len(), 1);
    let park = DeliveryAction::Park("looked at".to_owned());
    let which = DeliveryChoice::Sequences(vec![first]);
    pair.child.delivery_act(&which, &park, pair.now()).unwrap();
    let told = why(&*pair.child, "Observation/pulse");
    assert_eq!(told.up[0].behind.clone().unwrap().state, DeliveryState::Parked);
    // A patient between them: what holds back the one holds back the other.
    let both =
        an_observation("both", "amina").with("performer", r#"[{"reference":"Patient/beno"}]"#);
    pair.at_child(&put(&[a_patient("beno")]));
    pair.at_child(&put(&[both]));
    pair.at_child(&put(&[an_observation("weight", "beno")]));
    let told = why(&*pair.child, "Observation/weight");
    let whose = told.up[0].behind.as_ref().map(|behind| behind.sequence);
    let shares = pair.child.delivery_next(pair.now(), 100_000).unwrap();
    let waits = !shares.iter().any(|line| line.deliveries.contains(&told.up[0].delivery.sequence));
    assert_eq!(whose.is_some(), waits, "it is said to wait where it does");
    pair.child.delivery_act(&which, &DeliveryAction::Retry, pair.now()).unwrap();
    pair.push();
    let here = why(&*pair.child, "Observation/pulse").here.unwrap();
    assert_eq!(here.parent, ParentHolds::This);
    assert_eq!(here.taken.map(|(_, word)| word).as_deref(), Some("applied"));
    assert_eq!(why(&*pair.child, "Observation/pulse").up, []);
}

pub fn who_is_below_is_told_with_what_it_has(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    let child = |record: &str| why(&*pair.parent, record).children.into_iter().next();
    let passed = |record: &str| child(record).unwrap().feed.unwrap().passed();
    pair.at_parent(&put(&[a_patient("amina"), a_location("ward")]));
    assert_eq!(child("Patient/amina").unwrap().last_seen, None);
    assert_eq!(passed("Patient/amina"), None);
    join(&pair);
    pair.pull_lane("all", Lane::Live);
    pair.pull_lane("reference", Lane::Live);
    report(&pair);
    assert_eq!(passed("Patient/amina"), Some(false), "her whole record has not come yet");
    assert_eq!(passed("Location/ward"), Some(true));
    pair.pull();
    report(&pair);
    assert_eq!(passed("Patient/amina"), Some(true));
    pair.at_parent(&put(&[a_patient("amina").born("1980")]));
    assert_eq!(passed("Patient/amina"), Some(false));
    // What the child brought it has, whatever it has read.
    pair.at_child(&put(&[an_observation("pulse", "amina")]));
    report(&pair);
    let unknown = why(&*pair.parent, "Observation/pulse");
    assert_eq!((unknown.here, unknown.children[0].undelivered), (None, Some(1)));
    pair.push();
    let told = why(&*pair.parent, "Observation/pulse");
    assert!(told.children[0].brought);
    let here = told.here.unwrap();
    let clinic = Some("clinic".parse().unwrap());
    assert_eq!((here.via, here.child, here.origin), (TimelineVia::Child, clinic.clone(), clinic));
    // She leaves, and who was shut out is nobody's business.
    pair.cohort("all", Definition::Patients { patients: [].into() });
    let feed = child("Patient/amina").unwrap().feed.unwrap();
    assert!(feed.left.is_some() && feed.joined.is_none(), "{feed:?}");
    pair.parent.child_revoke(&"clinic".parse().unwrap(), pair.now()).unwrap();
    assert_eq!(child("Patient/amina"), None);
}

pub fn what_is_not_here_is_told_with_what_is_known_of_it(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    let never = why(&*pair.child, "Observation/pulse");
    assert_eq!((never.here, never.patients.len(), never.has_parent), (None, 0, true));
    pair.leave.set(LeavePolicy::Purge);
    pair.at_parent(&put(&[a_patient("amina"), an_observation("pulse", "amina")]));
    pair.quiet();
    let place = why(&*pair.child, "Observation/pulse").patients.remove(0);
    assert_eq!((place.state.as_str(), place.feeds), ("here", vec!["all".to_owned()]));
    // A line of hers that cannot be taken, with a record that nobody has seen.
    pair.at_parent(&put(&[an_observation("weight", "amina").with("status", "\"final\"")]));
    let (source, mut lines, _) = pair.fetch("all", Lane::Live);
    let Incoming::Line { raw, .. } = &lines[0] else { panic!("not a line") };
    let text = String::from_utf8(raw.clone()).unwrap().replacen("\"final\"", "\"broken\"", 1);
    lines[0] = incoming(&text, &pair.limits);
    assert!(pair.child.change_apply(&source, &lines, pair.now()).unwrap()[0].parked);
    for record in ["Observation/weight", "Observation/pulse", "Patient/amina"] {
        assert_eq!(why(&*pair.child, record).parked.len(), 1, "{record}");
    }
    assert_eq!(why(&*pair.child, "Observation/other").parked, []);
    // She leaves, while something of hers is unsent, and then is gone.
    pair.at_child(&put(&[an_observation("unsent", "amina")]));
    pair.cohort("all", Definition::Patients { patients: [].into() });
    pair.pull();
    let place = why(&*pair.child, "Observation/pulse").patients.remove(0);
    assert_eq!((place.state.as_str(), place.left.is_some()), ("purging", true));
    pair.push();
    pair.child.patient_purge(pair.now()).unwrap();
    let gone = why(&*pair.child, "Patient/amina");
    assert!(gone.here.is_none() && gone.patients[0].purged.is_some(), "{gone:?}");
    // She comes back: that she was gone is history.
    pair.cohort("all", Definition::All {});
    pair.quiet();
    let back = why(&*pair.child, "Patient/amina");
    assert_eq!((back.patients[0].left, back.patients[0].purged), (None, None));
    let event = LinkEvent::Failure { error: "no route".to_owned(), next: pair.now() };
    pair.child.link_note(&event, pair.now()).unwrap();
    let link = why(&*pair.child, "Patient/amina").link;
    assert_eq!((link.failures, link.last_error.as_deref()), (1, Some("no route")));
}

pub fn how_far_a_child_is_behind_is_told_with_the_time_that_it_will_take(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    join(&pair);
    let lag = || pair.parent.site_status(pair.now()).unwrap().children[0].lag;
    assert_eq!(lag(), None, "it has not said where it is");
    pair.pull();
    report(&pair);
    let lag_now = lag().unwrap();
    assert_eq!((lag_now.changes, lag_now.since, lag_now.catch_up_millis), (0, None, Some(0)));
    // Two patients: each is a change and a join.
    let before = pair.now();
    pair.at_parent(&put(&[a_patient("amina")]));
    pair.at_parent(&put(&[a_patient("beno")]));
    let behind = lag().unwrap();
    assert_eq!((behind.changes, behind.joins, behind.catch_up_millis), (4, 2, None));
    assert!(behind.since > Some(before));
    // It says how it is, and ten seconds later that it has passed all but one patient.
    report(&pair);
    pair.pass(10);
    let child = pair.child.site().unwrap().site;
    let at = |live, bulk| {
        [
            FeedPosition { feed: "all".to_owned(), live, bulk },
            FeedPosition { feed: "no feed of it".to_owned(), live: 9, bulk: 9 },
        ]
    };
    pair.parent.child_at(&child, &at(4, 2), pair.now()).unwrap();
    let behind = lag().unwrap();
    assert_eq!((behind.changes, behind.joins), (0, 1));
    let millis = behind.catch_up_millis.unwrap();
    assert!((1_500..5_000).contains(&millis), "five entries took over ten seconds: {millis}");
    let kept = pair.parent.child_list().unwrap().remove(0).report.unwrap();
    assert!(!kept.contains("no feed of it") && kept.contains("undelivered"), "{kept}");
    // What is no news is not written.
    let seen = || pair.parent.child_list().unwrap()[0].last_seen;
    let when = seen();
    pair.parent.child_at(&child, &at(4, 2), pair.now()).unwrap();
    assert_eq!(seen(), when);
    // A position of another life of the parent says nothing.
    pair.parent.child_at(&child, &at(400, 2), pair.now()).unwrap();
    assert_eq!(lag(), None);
    // Hours without a word are no work.
    pair.parent.child_at(&child, &at(4, 2), pair.now()).unwrap();
    pair.pass(36_000);
    pair.parent.child_at(&child, &at(4, 4), pair.now()).unwrap();
    pair.at_parent(&put(&[a_patient("chebet")]));
    let millis = lag().unwrap().catch_up_millis.unwrap();
    assert!(millis < 30_000, "{millis}");
    // That it was here is noted a few minutes later, though it says nothing new.
    let when = seen();
    pair.pass(240);
    pair.parent.child_at(&child, &at(4, 4), pair.now()).unwrap();
    assert!(seen() > when);
}

pub fn an_open_conflict_about_a_record_is_told_with_it(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    pair.at_parent(&put(&[a_patient("amina").born("1980")]));
    pair.quiet();
    pair.at_parent(&put(&[a_patient("amina").born("1981")]));
    pair.at_child(&put(&[a_patient("amina").born("1982")]));
    pair.quiet();
    for store in [&pair.parent, &pair.child] {
        let told = why(&**store, "Patient/amina");
        assert_eq!(told.conflicts.len(), 1);
        assert!(why(&**store, &format!("Basic/{}", told.conflicts[0])).here.is_some());
    }
    let here = why(&*pair.child, "Patient/amina").here.unwrap();
    assert_eq!(here.parent, ParentHolds::This);
}
