//! A courier carries messages on a stick: that takes weeks where a program needs minutes.

use super::Maker;
use super::builders::{a_patient, put};
use super::outbox::{carry_all, joined, lease, one, say};
use super::pair::{Pair, body};
use crate::{CarrierWord, LeaseAsk, Leased, MessageState, Noted};

pub fn a_courier_may_take_as_long_as_was_said(maker: &dyn Maker) {
    let pair = joined(maker);
    pair.at_child(&put(&[a_patient("amina")]));
    let message = one(&pair, "stick");
    let receipt_by = Some(pair.now().plus_millis(30 * 86_400_000));
    let handed = say(&pair, &message, "stick", &CarrierWord::Delivered { receipt_by });
    assert_eq!(handed, Noted::As(MessageState::HandedOver));
    // Longer than any program may take.
    for _ in 0..29 {
        pair.pass(86_400);
        assert_eq!(pair.child.outbox_return(pair.now()).unwrap(), 0);
        assert_eq!(lease(&pair, "other", 10), []);
    }
    // The parent is asked all the same, where a link comes first.
    assert_eq!(pair.child.outbox_unconfirmed(pair.now(), 10).unwrap().len(), 1);
    pair.pass(2 * 86_400);
    assert_eq!(pair.child.outbox_return(pair.now()).unwrap(), 1);
    let again = one(&pair, "next");
    assert_eq!((again.id, again.attempt), (message.id, 2));
    carry_all(&pair);
}

/// Who was to write a packet was killed before it said so: the next one has all of it, and what the
/// dead one says after all counts for nothing.
pub fn a_courier_that_begins_anew_has_what_it_leased_before(maker: &dyn Maker) {
    let pair = joined(maker);
    pair.at_child(&put(&[a_patient("amina")]));
    pair.at_child(&put(&[a_patient("baraka")]));
    let killed = lease(&pair, "killed", 10);
    assert_eq!(killed.len(), 2);
    let said = CarrierWord::Delivered { receipt_by: None };
    let handed = say(&pair, &killed[0], "killed", &said);
    assert_eq!(handed, Noted::As(MessageState::HandedOver));
    pair.at_child(&put(&[a_patient("baraka").born("1980-02-29")]));
    assert_eq!(lease(&pair, "other", 10), [], "while its lease lives");

    let other = anew(&pair, "another", "next");
    assert_eq!(other, [], "of what somebody else has leased");
    let again = anew(&pair, "mirth", "anew");
    // What was handed over stays so; the edit goes along with what came back.
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].patients, killed[1].patients);
    let late = say(&pair, &killed[1], "killed", &said);
    assert_eq!(late, Noted::Replaced);
    assert_eq!(lease(&pair, "third", 10), []);
    say(&pair, &again[0], "anew", &said);
    pair.pass(3_000);
    carry_all(&pair);
    assert_eq!(body(&*pair.parent, "Patient/baraka"), body(&*pair.child, "Patient/baraka"));
}

fn anew(pair: &Pair, carrier: &str, lease: &str) -> Vec<Leased> {
    let ask = LeaseAsk {
        carrier: carrier.to_owned(),
        max: 10,
        bytes: 1 << 20,
        lanes: protocol::Urgency::ALL.to_vec(),
        until: pair.now().plus_millis(600_000),
        lease: lease.to_owned(),
        is_anew: true,
    };
    pair.child.outbox_lease(&ask, pair.now()).unwrap()
}
