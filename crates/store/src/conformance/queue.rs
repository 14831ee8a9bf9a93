//! What a person does to the queue: nothing is lost by it, and it is told for ever.

use protocol::cohort::Definition;
use protocol::delivery::{DeliveryState, Outcome};

use super::Maker;
use super::builders::{a_patient, an_observation, named, put};
use super::pair::{Pair, body};
use super::parking::with_a_broken_line;
use crate::{
    AuditFilter, DeliveryAction, DeliveryFilter, DeliveryInfo, LeaseAsk, LeavePolicy, QueueChoice,
    QueueDone, QueueFilter, QueueId, QueueOrder,
};

fn order(pair: &Pair, which: QueueChoice, action: DeliveryAction, dry_run: bool) -> QueueDone {
    let actor = "program:desk".to_owned();
    let order = QueueOrder { which, action, actor, dry_run, after: 0 };
    pair.child.queue_act(&order, pair.now(), 0).unwrap()
}

fn act(pair: &Pair, which: QueueChoice, action: DeliveryAction) -> QueueDone {
    order(pair, which, action, false)
}

fn changes(sequences: &[u64]) -> QueueChoice {
    QueueChoice::Ids(sequences.iter().copied().map(QueueId::Change).collect())
}

fn lines(keys: &[u64]) -> QueueChoice {
    QueueChoice::Ids(keys.iter().copied().map(QueueId::Line).collect())
}

fn all() -> QueueChoice {
    QueueChoice::Matching(QueueFilter::default())
}

fn because(text: &str) -> DeliveryAction {
    DeliveryAction::Drop(text.to_owned())
}

fn in_state(pair: &Pair, state: Option<DeliveryState>) -> Vec<DeliveryInfo> {
    let filter = DeliveryFilter { state, limit: 100, ..DeliveryFilter::default() };
    pair.child.delivery_list(&filter).unwrap()
}

fn dropped(pair: &Pair) -> Vec<u64> {
    let found = in_state(pair, Some(DeliveryState::Dropped));
    found.into_iter().map(|delivery| delivery.sequence).collect()
}

pub fn what_was_given_up_and_taken_up_again_has_not_left(maker: &dyn Maker) {
    for policy in [LeavePolicy::Keep, LeavePolicy::Purge] {
        let pair = Pair::new(maker);
        pair.leave.set(policy);
        pair.cohort("all", Definition::All {});
        pair.quiet();
        pair.at_child(&put(&[a_patient("amina")]));
        let pulse = put(&[an_observation("pulse", "amina")]);
        let sequence = pair.at_child(&pulse).sequence.unwrap();
        act(&pair, changes(&[sequence]), because("not sure of it"));
        // The patient joins, and the parent does not list what it was not sent.
        pair.quiet();
        assert_eq!(act(&pair, changes(&[sequence]), DeliveryAction::Retry).changes, 1);
        pair.quiet();
        pair.child.patient_purge(pair.now()).unwrap();
        pair.assert_in_step();
        let (parent, child) = pair.bodies("Observation/pulse");
        assert!(parent.is_some());
        assert_eq!(parent, child);
    }
}

pub fn a_dropped_change_is_told_for_ever_and_goes_with_the_next_change(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    let sequence = pair.at_child(&put(&[a_patient("amina")])).sequence.unwrap();
    let done = act(&pair, changes(&[sequence]), because("entered twice"));
    assert_eq!((done.changes, done.kept), (1, 0));
    assert_eq!((pair.push(), in_state(&pair, None)), (vec![], vec![]));
    assert!(body(&*pair.child, "Patient/amina").is_some(), "the record stays");
    // It is told of, and not as something that arrived.
    let status = pair.child.site_status(pair.now()).unwrap();
    assert_eq!((status.deliveries.get("dropped"), status.deliveries.get("done")), (Some(&1), None));
    assert_eq!(status.oldest_undelivered, None);
    pair.at_child(&put(&[a_patient("amina").born("1980")]));
    assert_eq!(pair.push(), [Outcome::Applied]);
    assert!(body(&*pair.parent, "Patient/amina").unwrap().contains("1980"));
    assert_eq!(dropped(&pair), [sequence]);
    let why = pair.child.record_why(&named("Patient/amina")).unwrap();
    assert_eq!(why.dropped.len(), 1);
    assert_eq!(why.dropped[0].reason.as_deref(), Some("entered twice"));
    assert_eq!(why.dropped[0].state, DeliveryState::Dropped);
    let action = Some("delivery-drop".to_owned());
    let filter = AuditFilter { action, limit: 9, ..AuditFilter::default() };
    let rows = pair.child.audit_list(&filter).unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (rows[0].actor.as_str(), rows[0].detail.as_str()),
        ("program:desk", "entered twice")
    );
    // Nothing acts on it by a choice that does not name it.
    assert_eq!(act(&pair, all(), DeliveryAction::Retry).changes, 0);
    assert_eq!(act(&pair, changes(&[sequence]), because("again")).changes, 0);
    pair.quiet();
    pair.assert_in_step();
}

pub fn a_dropped_change_is_taken_up_again_where_it_is_named(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    let first = pair.at_child(&put(&[a_patient("amina")])).sequence.unwrap();
    let second = pair.at_child(&put(&[a_patient("beno")])).sequence.unwrap();
    act(&pair, all(), because("wrong day"));
    assert_eq!(dropped(&pair), [first, second]);
    assert_eq!(act(&pair, changes(&[first]), DeliveryAction::Retry).changes, 1);
    assert_eq!(pair.push(), [Outcome::Applied]);
    assert_eq!(body(&*pair.parent, "Patient/beno"), None);
    let state = Some(DeliveryState::Dropped);
    let of_state = QueueChoice::Matching(QueueFilter { state, ..QueueFilter::default() });
    assert_eq!(act(&pair, of_state, DeliveryAction::Retry).changes, 1);
    assert_eq!(pair.push(), [Outcome::Applied]);
    assert_eq!(dropped(&pair), [] as [u64; 0]);
    pair.quiet();
    pair.assert_in_step();
}

pub fn a_dropped_change_is_offered_again_by_a_comparison(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    pair.at_child(&put(&[a_patient("amina")]));
    pair.quiet();
    pair.at_child(&put(&[a_patient("amina").born("1980")]));
    act(&pair, all(), because("the link was slow"));
    pair.reconcile();
    pair.quiet();
    assert!(body(&*pair.parent, "Patient/amina").unwrap().contains("1980"));
    pair.assert_in_step();
}

pub fn a_patient_is_not_purged_while_what_was_dropped_is_only_here(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    pair.leave.set(LeavePolicy::Purge);
    pair.at_parent(&put(&[a_patient("amina"), a_patient("beno")]));
    pair.quiet();
    let unsent = pair.at_child(&put(&[an_observation("unsent", "amina")])).sequence.unwrap();
    act(&pair, changes(&[unsent]), because("not wanted there"));
    let rest = [named("Patient/beno")].into_iter().collect();
    pair.cohort("all", Definition::Patients { patients: rest });
    pair.pull();
    assert_eq!(pair.child.patient_purge(pair.now()).unwrap(), 0);
    assert!(body(&*pair.child, "Observation/unsent").is_some(), "it would be nowhere any more");
    act(&pair, changes(&[unsent]), DeliveryAction::Retry);
    pair.push();
    pair.child.patient_purge(pair.now()).unwrap();
    assert!(body(&*pair.parent, "Observation/unsent").is_some());
    assert_eq!(body(&*pair.child, "Observation/unsent"), None);
}

pub fn a_dropped_line_frees_those_behind_it_and_is_told_for_ever(maker: &dyn Maker) {
    let (pair, _) = with_a_broken_line(maker);
    pair.pull_lane("all", protocol::stream::Lane::Live);
    let stuck = pair.child.parked_list(10).unwrap();
    assert!(stuck.len() > 1, "{stuck:?}");
    let key = stuck[0].key;
    assert_eq!(pair.child.parked_get(key).unwrap().unwrap(), stuck[0]);
    let done = act(&pair, lines(&[key]), because("the parent has mended it"));
    assert_eq!((done.changes, done.lines), (0, 1));
    assert_eq!(pair.child.parked_get(key).unwrap(), None);
    pair.pass(3_600);
    pair.child.parked_retry(pair.now(), 0, false).unwrap();
    assert_eq!(pair.child.parked_list(10).unwrap(), []);
    assert!(body(&*pair.child, "Observation/pulse").is_some());
    let told = pair.child.dropped_list(&QueueFilter::default(), 10).unwrap();
    assert_eq!((told.len(), told[0].key, told[0].position), (1, key, stuck[0].position));
    assert_eq!(told[0].dropped_because, "the parent has mended it");
    assert_eq!(told[0].reason, stuck[0].reason);
    let why = pair.child.record_why(&named("Patient/amina")).unwrap();
    assert_eq!(why.dropped_lines, told);
    // What it said comes with the next change of the record.
    pair.at_parent(&put(&[a_patient("amina").born("1980")]));
    pair.quiet();
    pair.assert_in_step();
    // No later line has its name.
    let (other, _) = with_a_broken_line(maker);
    act(&other, lines(&[other.child.parked_list(1).unwrap()[0].key]), because("once"));
    let before = other.child.dropped_list(&QueueFilter::default(), 1).unwrap()[0].key;
    assert!(before > 0 && other.child.parked_get(before).unwrap().is_none());
}

pub fn a_line_that_is_set_aside_is_tried_by_hand_only(maker: &dyn Maker) {
    let (pair, _) = with_a_broken_line(maker);
    let key = pair.child.parked_list(1).unwrap()[0].key;
    let attempts = || pair.child.parked_get(key).unwrap().unwrap().attempts;
    act(&pair, lines(&[key]), DeliveryAction::Park("asked the centre".to_owned()));
    pair.pass(100_000);
    pair.child.parked_retry(pair.now(), 0, false).unwrap();
    let line = pair.child.parked_get(key).unwrap().unwrap();
    assert_eq!((line.held, line.attempts, line.reason.as_str()), (true, 1, "asked the centre"));
    let done = act(&pair, lines(&[key]), DeliveryAction::Retry);
    assert_eq!((done.lines, attempts()), (0, 2), "it fails again");
    act(&pair, lines(&[key]), DeliveryAction::Park("asked the centre".to_owned()));
    assert_eq!(act(&pair, lines(&[key]), DeliveryAction::Unpark).lines, 1);
    pair.child.parked_retry(pair.now(), 0, false).unwrap();
    assert_eq!(attempts(), 3);
    assert_eq!(act(&pair, lines(&[key]), DeliveryAction::Unpark).lines, 0, "it is not aside");
}

pub fn the_queue_is_acted_on_by_choice_and_counted_without_acting(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    let first = pair.at_child(&put(&[a_patient("amina")])).sequence.unwrap();
    pair.pass(7_200);
    pair.at_child(&put(&[a_patient("beno")]));
    let park = DeliveryAction::Park("room 4 is looking".to_owned());
    let of = |filter: QueueFilter| QueueChoice::Matching(filter);
    let amina = of(QueueFilter { patient: Some(named("Patient/amina")), ..Default::default() });
    let old =
        of(QueueFilter { before: Some(pair.now().plus_millis(-3_600_000)), ..Default::default() });
    for which in [amina, old.clone(), changes(&[first])] {
        assert_eq!(order(&pair, which, park.clone(), true).changes, 1);
    }
    assert_eq!(order(&pair, all(), because("no"), true).changes, 2);
    assert_eq!(order(&pair, all(), DeliveryAction::Unpark, true).changes, 0);
    let states = || in_state(&pair, None).into_iter().map(|one| one.state).collect::<Vec<_>>();
    assert_eq!(states(), [DeliveryState::Ready, DeliveryState::Ready], "a count changes nothing");
    act(&pair, old, park);
    assert_eq!(states(), [DeliveryState::Parked, DeliveryState::Ready]);
    let words =
        |text: &str| of(QueueFilter { reason: Some(text.to_owned()), ..QueueFilter::default() });
    assert_eq!(order(&pair, words("room 5"), DeliveryAction::Unpark, false).changes, 0);
    assert_eq!(order(&pair, words("room 4"), DeliveryAction::Unpark, false).changes, 1);
    assert_eq!(states(), [DeliveryState::Ready, DeliveryState::Ready]);
    assert_eq!(act(&pair, changes(&[999]), because("no such thing")), QueueDone::default());
}

pub fn what_a_third_party_has_had_is_not_dropped(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    let sequence = pair.at_child(&put(&[a_patient("amina")])).sequence.unwrap();
    let until = pair.now().plus_millis(60_000);
    let (carrier, lease) = ("mirth".to_owned(), "lease".to_owned());
    let ask = LeaseAsk {
        carrier,
        max: 1,
        bytes: 1 << 20,
        lanes: protocol::Urgency::ALL.to_vec(),
        until,
        lease,
        is_anew: false,
    };
    assert_eq!(pair.child.outbox_lease(&ask, pair.now()).unwrap().len(), 1);
    for dry_run in [true, false] {
        let done = order(&pair, changes(&[sequence]), because("no"), dry_run);
        assert_eq!((done.changes, done.kept), (0, 1));
        let retried = order(&pair, changes(&[sequence]), DeliveryAction::Retry, dry_run);
        assert_eq!((retried.changes, retried.leased), (0, 1), "it comes back by itself");
    }
    assert_eq!(in_state(&pair, None)[0].state, DeliveryState::Leased);
}
