//! Lanes of what goes up: what is urgent goes first, and nothing overtakes its own patients.

use std::collections::BTreeMap;

use protocol::{RecordRef, Urgency};

use super::builders::{a_patient, an_observation, delete, put};
use super::outbox;
use super::pair::Pair;
use super::{Maker, START};
use crate::{DeliveryAction, DeliveryChoice, DeliveryFilter, Draft, LeaseAsk, PushLine, Store};

use Urgency::{Bulk, Normal, Urgent};

fn imported(draft: Draft) -> Draft {
    Draft { lane: Bulk, ..draft }
}

/// The patients of the lines, and how many changes each covers.
fn told(lines: &[PushLine]) -> Vec<(String, usize)> {
    let patient = |line: &PushLine| line.lines[0].patients[0].id().to_owned();
    lines.iter().map(|line| (patient(line), line.deliveries.len())).collect()
}

fn next(pair: &Pair, lanes: &[Urgency]) -> Vec<PushLine> {
    pair.child.delivery_next_of(pair.now(), 1 << 20, lanes).unwrap()
}

/// The lane of each delivery that is not done.
fn lanes(store: &dyn Store) -> Vec<Urgency> {
    let filter = DeliveryFilter { limit: 100, ..DeliveryFilter::default() };
    store.delivery_list(&filter).unwrap().into_iter().map(|delivery| delivery.lane).collect()
}

fn is_sound(store: &dyn Store) {
    assert_eq!(store.site_check(&mut |_| {}).unwrap(), Vec::<String>::new());
}

pub fn what_is_urgent_goes_first_with_what_is_before_it_of_its_patient(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    pair.at_child(&imported(put(&[an_observation("old", "amina")])));
    pair.at_child(&put(&[an_observation("o1", "beno")]));
    pair.at_child(&imported(put(&[a_patient("chao")])));
    pair.at_child(&put(&[an_observation("o2", "amina")]));
    assert_eq!(lanes(&*pair.child), [Normal, Normal, Bulk, Normal], "o2 takes the import along");
    pair.at_child(&put(&[a_patient("amina")]));
    assert_eq!(lanes(&*pair.child), [Urgent, Normal, Bulk, Urgent, Urgent]);
    let lines = next(&pair, &Urgency::ALL);
    let all = [("amina".to_owned(), 3), ("beno".to_owned(), 1), ("chao".to_owned(), 1)];
    assert_eq!(told(&lines), all);
    assert_eq!(lines.iter().map(|line| line.lane).collect::<Vec<_>>(), [Urgent, Normal, Bulk]);
    assert_eq!(told(&next(&pair, &[Urgent])), all[..1]);
    assert_eq!(told(&next(&pair, &[Normal, Bulk])), all[1..]);
    let status = pair.child.site_status(pair.now()).unwrap();
    assert_eq!(status.lanes, BTreeMap::from([(Urgent, 3), (Normal, 1), (Bulk, 1)]));
    is_sound(&*pair.child);
}

pub fn what_is_of_several_patients_draws_what_is_before_it_of_each(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    pair.at_child(&imported(put(&[an_observation("o1", "beno")])));
    pair.at_child(&imported(put(&[an_observation("o2", "amina"), an_observation("o3", "beno")])));
    pair.at_child(&imported(put(&[an_observation("o4", "chao")])));
    pair.at_child(&put(&[a_patient("amina")]));
    assert_eq!(lanes(&*pair.child), [Urgent, Urgent, Bulk, Urgent]);
    is_sound(&*pair.child);
    pair.push();
    pair.quiet();
    pair.assert_in_step();
}

pub fn what_waits_in_another_lane_holds_back_its_patient(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    let first = pair.at_child(&put(&[a_patient("amina")])).sequence.unwrap();
    let park = DeliveryAction::Park("to be looked at".to_owned());
    pair.child.delivery_act(&DeliveryChoice::Sequences(vec![first]), &park, START).unwrap();
    pair.at_child(&put(&[an_observation("o1", "amina")]));
    pair.at_child(&put(&[an_observation("o2", "beno")]));
    assert_eq!(told(&next(&pair, &Urgency::ALL)), [("beno".to_owned(), 1)]);
    assert_eq!(told(&next(&pair, &[Normal])), [("beno".to_owned(), 1)]);
    assert!(next(&pair, &[Urgent, Bulk]).is_empty());
}

pub fn becoming_a_child_and_sending_again_are_bulk(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    let first = pair.at_child(&put(&[a_patient("amina")])).sequence.unwrap();
    let second = pair.at_child(&put(&[a_patient("beno")])).sequence.unwrap();
    pair.push();
    pair.child.delivery_reopen(&[first, second], pair.now()).unwrap();
    assert_eq!(lanes(&*pair.child), [Bulk, Bulk]);
    pair.at_child(&put(&[an_observation("o1", "amina")]));
    assert_eq!(lanes(&*pair.child), [Normal, Bulk, Normal]);
    // What comes before something that waits already is as urgent as that.
    pair.push();
    pair.at_child(&put(&[an_observation("o2", "amina")]));
    pair.child.delivery_reopen(&[first, second], pair.now()).unwrap();
    assert_eq!(lanes(&*pair.child), [Normal, Bulk, Normal]);
    is_sound(&*pair.child);
    let late = maker.make(&super::site("late"), &protocol::Limits::default());
    late.change_record(&put(&[a_patient("chao")]), START).unwrap();
    late.parent_set(START, &super::feed_id("outgoing")).unwrap();
    late.change_record(&put(&[a_patient("daudi")]), START).unwrap();
    assert_eq!(lanes(&*late), [Bulk, Urgent]);
}

pub fn messages_have_lanes_too(maker: &dyn Maker) {
    let pair = outbox::joined(maker);
    pair.at_child(&imported(put(&[an_observation("o1", "amina")])));
    pair.at_child(&put(&[an_observation("o2", "beno")]));
    pair.at_child(&put(&[a_patient("chao")]));
    let lease = |lanes: &[Urgency], name: &str| {
        let ask = LeaseAsk {
            carrier: "mirth".to_owned(),
            max: 10,
            bytes: 1 << 20,
            lanes: lanes.to_vec(),
            until: pair.now().plus_millis(60_000),
            lease: name.to_owned(),
            is_anew: false,
        };
        let leased = pair.child.outbox_lease(&ask, pair.now()).unwrap();
        leased.iter().map(|one| (one.patients[0].id().to_owned(), one.lane)).collect::<Vec<_>>()
    };
    assert_eq!(lease(&[Bulk], "a"), [("amina".to_owned(), Bulk)]);
    // What is away with one holds back its patient, whatever lane is asked for.
    pair.at_child(&put(&[a_patient("amina")]));
    let rest = [("chao".to_owned(), Urgent), ("beno".to_owned(), Normal)];
    assert_eq!(lease(&Urgency::ALL, "b"), rest);
    assert_eq!(lease(&Urgency::ALL, "c"), []);
}

/// A small generator of its own, so that it does the same for ever.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

fn any_edit(dice: &mut Dice) -> Draft {
    let patient = |dice: &mut Dice| format!("p{}", dice.below(3));
    let (one, other) = (patient(dice), patient(dice));
    let note = dice.below(1_000).to_string();
    let observation = |id: String, patient: &str| an_observation(&id, patient).with("n", &note);
    let draft = match dice.below(6) {
        0 => put(&[a_patient(&one).with("n", &note)]),
        1 => {
            put(&[observation(format!("a-{one}"), &one), observation(format!("b-{other}"), &other)])
        }
        2 => delete(&format!("Observation/a-{one}")),
        _ => put(&[observation(format!("a-{one}"), &one)]),
    };
    if dice.below(2) == 0 { imported(draft) } else { draft }
}

/// Whatever lanes are open when, and whatever is sent again: each patient's changes go in their
/// order, and all of them go.
pub fn order_holds_for_each_patient_over_all_lanes(maker: &dyn Maker) {
    for seed in 1..=25 {
        let mut dice = Dice(seed * 7_919);
        let pair = Pair::new(maker);
        let mut sent: BTreeMap<RecordRef, u64> = BTreeMap::new();
        let mut push = |lanes: &[Urgency], bytes: usize| {
            let lines = pair.child.delivery_next_of(pair.now(), bytes, lanes).unwrap();
            let mut settled = Vec::new();
            for line in &lines {
                for patient in &line.lines[0].patients {
                    let (first, last) = (line.deliveries[0], *line.deliveries.last().unwrap());
                    assert!(line.deliveries.is_sorted());
                    let before = sent.insert(patient.clone(), last).unwrap_or(0);
                    assert!(before < first, "seed {seed}: {patient}: {first} after {before}");
                }
                settled.push(pair.send(line));
            }
            pair.child.delivery_settle(&settled, pair.now(), 0).unwrap();
            lines.len()
        };
        for _ in 0..60 {
            match dice.below(4) {
                0 => {
                    let open = [&[Urgent][..], &[Urgent, Normal], &[Urgent, Bulk], &[Bulk]];
                    push(open[dice.below(4) as usize], [1, 2_000][dice.below(2) as usize]);
                }
                _ => drop(pair.at_child(&any_edit(&mut dice))),
            }
        }
        is_sound(&*pair.child);
        while push(&Urgency::ALL, 1 << 20) > 0 {}
        assert_eq!(lanes(&*pair.child), [], "seed {seed}");
        pair.quiet();
        pair.assert_in_step();
    }
}
