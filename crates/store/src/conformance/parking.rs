//! What cannot be taken waits for itself, and for nobody else.

use protocol::Limits;
use protocol::cohort::Definition;
use protocol::delivery::{DeliveryState, Outcome};
use protocol::stream::Lane;

use super::Maker;
use super::builders::{a_patient, an_observation, named, put};
use super::pair::{Pair, body, incoming, refused};
use crate::{
    Applied, DeliveryAction, DeliveryChoice, DeliveryFilter, DeliveryInfo, Incoming, LeavePolicy,
    Settled,
};

/// Something that nobody may read in a reason.
const SECRET: &str = "Otieno-Secret";

/// Breaks a line's record, so that it is refused; its envelope stays.
fn broken(line: &Incoming, pair: &Pair) -> Incoming {
    let Incoming::Line { raw, .. } = line else { panic!("not a line") };
    let text = String::from_utf8(raw.clone()).unwrap();
    let text = text.replacen(r#""resourceType":"Patient""#, r#""resourceType":"Pacient""#, 1);
    let broken = incoming(&text, &pair.limits);
    assert!(matches!(broken, Incoming::Refused { .. }));
    broken
}

/// The parent tells of Amina (in a line that comes broken), of Beno, and of Amina again.
pub(super) fn with_a_broken_line(maker: &dyn Maker) -> (Pair, Vec<Applied>) {
    let pair = Pair::new(maker);
    pair.pull();
    let name = format!(r#"[{{"family":"{SECRET}"}}]"#);
    pair.at_parent(&put(&[a_patient("amina").with("name", &name)]));
    pair.at_parent(&put(&[a_patient("beno")]));
    pair.at_parent(&put(&[an_observation("pulse", "amina")]));
    let (source, mut lines, _) = pair.fetch("all", Lane::Live);
    lines[0] = broken(&lines[0], &pair);
    let applied = pair.child.change_apply(&source, &lines, pair.now()).unwrap();
    (pair, applied)
}

pub fn defect_08_a_bad_line_from_the_parent_holds_back_only_its_patient(maker: &dyn Maker) {
    let (pair, applied) = with_a_broken_line(maker);
    assert!(applied[0].parked);
    assert!(body(&*pair.child, "Patient/beno").is_some());
    assert_eq!(body(&*pair.child, "Observation/pulse"), None);
    assert!(pair.marker("all", Lane::Live) >= Some(3));
    pair.pull_lane("all", Lane::Live);
    assert_eq!(pair.marker("all", Lane::Live), Some(5));
    assert_eq!(body(&*pair.child, "Observation/pulse"), None);
    let parked = pair.child.parked_list(10).unwrap();
    assert_eq!(parked[0].position, 1);
    assert!(parked.iter().skip(1).all(|line| line.reason.starts_with("waits behind")));
    // Nothing has changed: it fails again, and the pause grows.
    assert_eq!(pair.child.parked_retry(pair.now(), 0, true).unwrap(), 0);
    assert_eq!(pair.child.parked_list(10).unwrap()[0].attempts, 2);
}

pub fn defect_27_a_leave_does_not_wait_behind_a_line_that_cannot_be_taken(maker: &dyn Maker) {
    for policy in [LeavePolicy::Keep, LeavePolicy::Freeze, LeavePolicy::Purge] {
        let pair = Pair::new(maker);
        pair.leave.set(policy);
        pair.at_parent(&put(&[a_patient("amina"), a_patient("beno")]));
        pair.quiet();
        pair.at_child(&put(&[an_observation("unsent", "amina")]));
        // A line of hers comes broken, one waits behind it, and then she leaves.
        pair.at_parent(&put(&[a_patient("amina").born("1980")]));
        let (source, mut lines, _) = pair.fetch("all", Lane::Live);
        lines[0] = broken(&lines[0], &pair);
        pair.child.change_apply(&source, &lines, pair.now()).unwrap();
        pair.at_parent(&put(&[an_observation("pulse", "amina")]));
        pair.pull();
        assert_eq!(pair.child.parked_list(10).unwrap().len(), 2);
        let rest = [named("Patient/beno")].into_iter().collect();
        pair.cohort("all", Definition::Patients { patients: rest });
        pair.pull();
        assert_eq!(pair.child.parked_list(10).unwrap(), []);
        assert_eq!(pair.child.patient_purge(pair.now()).unwrap(), 0, "something is unsent");
        pair.push();
        pair.child.patient_purge(pair.now()).unwrap();
        assert!(body(&*pair.parent, "Observation/unsent").is_some());
        let stays = policy != LeavePolicy::Purge;
        assert_eq!(body(&*pair.child, "Patient/amina").is_some(), stays, "{policy:?}");
        assert_eq!(body(&*pair.child, "Observation/unsent").is_some(), stays, "{policy:?}");
        // She comes back whole, with what was parked.
        pair.cohort("all", Definition::All {});
        pair.quiet();
        assert!(body(&*pair.child, "Observation/pulse").is_some(), "{policy:?}");
        pair.assert_in_step();
    }
}

pub fn defect_16_later_lines_of_a_parked_patient_wait_and_go_in_in_order(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    pair.pull();
    pair.at_parent(&put(&[a_patient("amina").born("1980")]));
    let (source, lines, _) = pair.fetch("all", Lane::Live);
    // A reader with a tighter limit parks the line; later it can be read.
    pair.child.change_apply(&source, &[refused(&lines[0])], pair.now()).unwrap();
    pair.at_parent(&put(&[a_patient("amina").born("1981"), an_observation("o", "amina")]));
    pair.pull_lane("all", Lane::Live);
    assert_eq!(body(&*pair.child, "Observation/o"), None);
    let parked = pair.child.parked_list(10).unwrap().len() as u64;
    assert_eq!(pair.child.parked_retry(pair.now(), 0, true).unwrap(), parked);
    assert_eq!(pair.child.parked_list(10).unwrap(), []);
    pair.quiet();
    pair.assert_in_step();
    assert!(body(&*pair.child, "Patient/amina").unwrap().contains("1981"));
}

fn word(line: &crate::PushLine, outcome: Outcome) -> Settled {
    Settled {
        deliveries: line.deliveries.clone(),
        sent: line.sent.clone(),
        differs: Vec::new(),
        outcome,
        reason: Some("the type is not one of R4".to_owned()),
        sequence: 1,
    }
}

fn deliveries(pair: &Pair) -> Vec<DeliveryInfo> {
    pair.child.delivery_list(&DeliveryFilter { limit: 100, ..DeliveryFilter::default() }).unwrap()
}

fn refuse(pair: &Pair, outcome: Outcome) {
    let line = pair.child.delivery_next(pair.now(), 100_000).unwrap().remove(0);
    pair.child.delivery_settle(&[word(&line, outcome)], pair.now(), 0).unwrap();
}

pub fn defect_08_a_refused_delivery_holds_back_only_its_patient(maker: &dyn Maker) {
    let limits = Limits { backoff_seconds: 600, ..Limits::default() };
    let pair = Pair::with_limits(maker, limits);
    pair.at_child(&put(&[a_patient("amina")]));
    refuse(&pair, Outcome::Refused);
    pair.at_child(&put(&[a_patient("beno")]));
    pair.at_child(&put(&[an_observation("pulse", "amina")]));
    pair.push();
    assert!(body(&*pair.parent, "Patient/beno").is_some());
    assert_eq!(body(&*pair.parent, "Observation/pulse"), None);
    assert_eq!(deliveries(&pair).len(), 2);
    // When its time has come, both go as one line.
    pair.pass(1_000);
    assert_eq!(pair.push().len(), 1);
    assert!(body(&*pair.parent, "Observation/pulse").is_some());
}

fn parked(maker: &dyn Maker) -> Pair {
    let pair = Pair::new(maker);
    pair.at_child(&put(&[a_patient("amina")]));
    for attempt in 1..=pair.limits.attempts {
        refuse(&pair, Outcome::Refused);
        assert_eq!(deliveries(&pair)[0].attempts, attempt);
        pair.pass(3_600);
    }
    assert_eq!(deliveries(&pair)[0].state, DeliveryState::Parked);
    assert_eq!(pair.push(), []);
    pair
}

pub fn a_refused_delivery_parks_after_its_attempts_and_can_be_freed(maker: &dyn Maker) {
    let pair = parked(maker);
    let all = DeliveryChoice::State(DeliveryState::Parked);
    let retry = |choice| pair.child.delivery_act(choice, &DeliveryAction::Retry, pair.now());
    assert_eq!(retry(&all).unwrap(), 1);
    let park = DeliveryAction::Park("to be looked at".to_owned());
    let one = DeliveryChoice::Sequences(vec![deliveries(&pair)[0].sequence]);
    assert_eq!(pair.child.delivery_act(&one, &park, pair.now()).unwrap(), 1);
    assert_eq!(pair.push(), []);
    let amina = DeliveryChoice::Patient(named("Patient/amina"));
    assert_eq!(retry(&amina).unwrap(), 1);
    assert_eq!(pair.push(), [Outcome::Applied]);
    assert_eq!(retry(&amina).unwrap(), 0);
}

pub fn a_changed_record_frees_its_parked_delivery(maker: &dyn Maker) {
    let pair = parked(maker);
    pair.at_child(&put(&[an_observation("pulse", "amina")]));
    assert_eq!(pair.push(), []);
    pair.at_child(&put(&[a_patient("amina").born("1980")]));
    assert_eq!(pair.push().len(), 1);
    assert_eq!(deliveries(&pair), []);
}

pub fn a_clock_that_is_put_back_keeps_nothing_waiting(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    pair.at_parent(&put(&[a_patient("beno")]));
    pair.quiet();
    pair.at_child(&put(&[a_patient("amina")]));
    pair.at_parent(&put(&[a_patient("beno").born("1980")]));
    let (source, mut lines, _) = pair.fetch("all", Lane::Live);
    lines[0] = broken(&lines[0], &pair);
    pair.child.change_apply(&source, &lines, pair.now()).unwrap();
    // The third pause is long enough for all that follows.
    for _ in 0..3 {
        pair.pass(3_600);
        refuse(&pair, Outcome::Refused);
        pair.child.parked_retry(pair.now(), 0, false).unwrap();
    }
    assert_eq!(pair.push(), []);
    assert_eq!(pair.child.parked_retry(pair.now(), 0, false).unwrap(), 0);
    let attempts = |pair: &Pair| pair.child.parked_list(10).unwrap()[0].attempts;
    let before = attempts(&pair);
    pair.pass(-40 * 86_400);
    assert_eq!(pair.push(), [Outcome::Applied]);
    pair.child.parked_retry(pair.now(), 0, false).unwrap();
    assert_eq!(attempts(&pair), before + 1);
}

pub fn to_be_asked_to_come_later_never_parks(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    pair.at_child(&put(&[a_patient("amina")]));
    for _ in 0..20 {
        refuse(&pair, Outcome::Later);
        assert_eq!(pair.push(), []);
        pair.pass(3_600);
    }
    assert_eq!(deliveries(&pair)[0].state, DeliveryState::Retry);
    assert_eq!(pair.push(), [Outcome::Applied]);
}

pub fn defect_30_reasons_name_ids_only(maker: &dyn Maker) {
    let (pair, applied) = with_a_broken_line(maker);
    let reasons = applied.iter().filter_map(|line| line.reason.clone());
    let parked = pair.child.parked_list(10).unwrap().into_iter().map(|line| line.reason);
    for reason in reasons.chain(parked) {
        assert!(!reason.contains(SECRET), "{reason}");
    }
}
