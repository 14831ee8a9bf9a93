//! A courier carries messages on a stick: that takes weeks where a program needs minutes.

use super::Maker;
use super::builders::{a_patient, put};
use super::outbox::{carry_all, joined, lease, one, say};
use crate::{CarrierWord, MessageState, Noted};

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
