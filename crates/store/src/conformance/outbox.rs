//! Third parties carry a child's messages: whatever they do, everything arrives once and in order.

use protocol::delivery::{DeliveryState, Outcome};
use protocol::message::{self, Envelope, MessageId, Receipt, Urls};
use protocol::{Limits, Timestamp};

use super::Maker;
use super::builders::{a_patient, an_observation, put};
use super::pair::{Pair, body};
use crate::{
    CarrierWord, ChildDraft, DeliveryAction, DeliveryChoice, DeliveryFilter, DeliveryInfo,
    Incoming, LeaseAsk, Leased, MessageState, Noted, Post, Posted, ReceiptWord,
};

const CARRIER: &str = "mirth";
/// Seconds of a lease in these tests.
const LEASE: i64 = 120;

/// A pair whose parent knows the child by name, as one that has joined.
pub(super) fn joined(maker: &dyn Maker) -> Pair {
    with_limits(maker, Limits::default())
}

fn with_limits(maker: &dyn Maker, limits: Limits) -> Pair {
    let pair = Pair::with_limits(maker, limits);
    let info = pair.child.site().unwrap();
    let child = ChildDraft {
        site: info.site.clone(),
        cohorts: vec!["all".parse().unwrap()],
        code_hash: [1; 32],
        code_expires: pair.now().plus_millis(1_000_000),
    };
    pair.parent.child_add(&child, pair.now()).unwrap();
    let redeemed =
        pair.parent.child_redeem(&[1; 32], &info.site, &info.epoch, &[2; 32], pair.now());
    assert!(redeemed.unwrap().is_some());
    pair
}

pub(super) fn lease(pair: &Pair, name: &str, max: usize) -> Vec<Leased> {
    let now = pair.now();
    let ask = LeaseAsk {
        carrier: CARRIER.to_owned(),
        max,
        bytes: 1 << 20,
        lanes: protocol::Urgency::ALL.to_vec(),
        until: now.plus_millis(LEASE * 1_000),
        lease: name.to_owned(),
        is_anew: false,
    };
    pair.child.outbox_lease(&ask, now).unwrap()
}

pub(super) fn one(pair: &Pair, name: &str) -> Leased {
    let mut leased = lease(pair, name, 10);
    assert_eq!(leased.len(), 1);
    leased.remove(0)
}

/// The message as it goes over the wire.
fn text(pair: &Pair, leased: &Leased) -> String {
    let info = pair.child.site().unwrap();
    let envelope = Envelope {
        from: info.site,
        epoch: info.epoch,
        to: "centre".parse().unwrap(),
        attempt: leased.attempt,
        at: Timestamp::from_millis(leased.attempt.into()),
    };
    let urls = Urls { base: "https://clinic.example", target: "https://centre.example" };
    message::write(&leased.line, &envelope, urls).unwrap()
}

fn post(pair: &Pair, leased: &Leased, text: &str) -> Posted {
    let info = pair.child.site().unwrap();
    let mut digest = [0; 32];
    for (index, byte) in text.bytes().enumerate() {
        digest[index % 32] ^= byte.rotate_left(u32::try_from(index % 8).unwrap());
    }
    let post = Post {
        child: info.site,
        epoch: info.epoch,
        id: leased.line.id.clone().unwrap(),
        attempt: leased.attempt,
        carrier: CARRIER.to_owned(),
        digest,
        body: text.to_owned(),
    };
    pair.parent.inbox_take(&post, pair.now()).unwrap()
}

/// The parent works off what waits.
fn work(pair: &Pair) -> Vec<Receipt> {
    // Who stored it would have done so at once.
    pair.pass(1);
    let waiting = pair.parent.inbox_next(pair.now(), 100).unwrap();
    let applied = waiting.into_iter().map(|waiting| {
        let read = message::read(waiting.body.as_bytes(), &pair.limits).unwrap();
        let incoming = Incoming::Line { line: read.line.unwrap(), raw: Vec::new() };
        pair.parent.inbox_apply(waiting.key, &incoming, pair.now()).unwrap().unwrap()
    });
    applied.collect()
}

/// Brings a message to the parent, which works it off; the child has not heard of it yet.
fn bring(pair: &Pair, leased: &Leased) -> Receipt {
    assert!(matches!(post(pair, leased, &text(pair, leased)), Posted::Stored(_)));
    work(pair).remove(0)
}

/// The child asks the parent about all that is due; gives how many were settled.
fn ask(pair: &Pair) -> u64 {
    let due = pair.child.outbox_unconfirmed(pair.now(), 100).unwrap();
    let asked: Vec<_> = due.iter().map(|due| (due.id.clone(), due.covers.clone())).collect();
    let site = pair.child.site().unwrap().site;
    let words = pair.parent.inbox_receipts(&site, &asked).unwrap();
    let receipts = words.into_iter().filter_map(|word| match word {
        ReceiptWord::Receipt(receipt) => Some(receipt),
        ReceiptWord::Waiting | ReceiptWord::Unknown => None,
    });
    let names: Vec<MessageId> = due.iter().map(|due| MessageId::of(&due.id)).collect();
    pair.child.outbox_answers(&receipts.collect::<Vec<_>>(), &names, pair.now(), 0).unwrap()
}

pub(super) fn say(pair: &Pair, leased: &Leased, name: &str, word: &CarrierWord) -> Noted {
    pair.child.outbox_word(&leased.id, (CARRIER, name), word, pair.now(), 0).unwrap()
}

fn delivered(pair: &Pair, leased: &Leased, name: &str) -> Noted {
    say(pair, leased, name, &CarrierWord::Delivered { receipt_by: None })
}

fn failed(pair: &Pair, leased: &Leased, name: &str, retry: bool) -> Noted {
    say(pair, leased, name, &CarrierWord::Failed { error: "no route".to_owned(), retry })
}

fn queue(pair: &Pair) -> Vec<DeliveryInfo> {
    let filter = DeliveryFilter { limit: 1_000, ..DeliveryFilter::default() };
    pair.child.delivery_list(&filter).unwrap()
}

fn states(pair: &Pair) -> Vec<DeliveryState> {
    queue(pair).into_iter().map(|delivery| delivery.state).collect()
}

/// Carries until nothing is left, honestly.
pub(super) fn carry_all(pair: &Pair) {
    for round in 0..100 {
        pair.pass(1_000);
        let name = format!("carry-{round}");
        let leased = lease(pair, &name, 100);
        for message in &leased {
            bring(pair, message);
            delivered(pair, message, &name);
        }
        ask(pair);
        if leased.is_empty() && queue(pair).is_empty() {
            assert_eq!(pair.child.site_check(&mut |_| {}).unwrap(), Vec::<String>::new());
            assert_eq!(pair.parent.site_check(&mut |_| {}).unwrap(), Vec::<String>::new());
            return;
        }
    }
    panic!("the outbox does not come to rest: {:?}", queue(pair));
}

pub fn a_message_is_done_by_the_parents_word_alone(maker: &dyn Maker) {
    let pair = joined(maker);
    pair.at_child(&put(&[a_patient("amina"), an_observation("pulse", "amina")]));
    let message = one(&pair, "first");
    assert_eq!(states(&pair), [DeliveryState::Leased]);
    assert_eq!(delivered(&pair, &message, "first"), Noted::As(MessageState::HandedOver));
    assert_eq!(states(&pair), [DeliveryState::HandedOver]);
    assert_eq!(ask(&pair), 0, "the parent has said nothing");
    assert_eq!(states(&pair), [DeliveryState::HandedOver]);
    assert_eq!(bring(&pair, &message).outcome, Outcome::Applied);
    pair.pass(10);
    assert_eq!(ask(&pair), 1);
    assert_eq!(queue(&pair), []);
    assert_eq!(delivered(&pair, &message, "first"), Noted::As(MessageState::Done));
    assert_eq!(pair.bodies("Observation/pulse").0, pair.bodies("Observation/pulse").1);
    let info = pair.child.outbox_get(&message.id).unwrap().unwrap();
    let what: Vec<&str> = info.events.iter().map(|event| event.what.as_str()).collect();
    assert_eq!(what, ["leased", "delivered", "applied"]);
    // What the parent holds is not sent again.
    pair.at_child(&put(&[a_patient("amina").born("1980"), an_observation("pulse", "amina")]));
    assert_eq!(one(&pair, "second").line.records.len(), 1);
    carry_all(&pair);
    pair.quiet();
    pair.assert_in_step();
}

pub fn defect_38_a_message_is_never_leased_twice_while_its_lease_lives(maker: &dyn Maker) {
    let pair = joined(maker);
    for name in ["a", "b", "c"] {
        pair.at_child(&put(&[a_patient(name)]));
    }
    let first = lease(&pair, "first", 2);
    let second = lease(&pair, "second", 10);
    assert_eq!((first.len(), second.len()), (2, 1));
    assert_eq!(lease(&pair, "third", 10), []);
    assert_eq!(pair.child.delivery_next(pair.now(), 10_000).unwrap(), [], "nor sent directly");
    assert_eq!(delivered(&pair, &first[0], "second"), Noted::NotYours);
    let word = CarrierWord::Delivered { receipt_by: None };
    let other = pair.child.outbox_word(&first[0].id, ("else", "first"), &word, pair.now(), 0);
    assert_eq!(other.unwrap(), Noted::NotYours);
    let unknown = MessageId { number: 99, ..first[0].id };
    let unknown = pair.child.outbox_word(&unknown, (CARRIER, "first"), &word, pair.now(), 0);
    assert_eq!(unknown.unwrap(), Noted::Unknown);
    // A lease that is over gives its message back.
    pair.pass(LEASE);
    let again = lease(&pair, "fourth", 10);
    assert_eq!(again.len(), 3);
    assert!(again.iter().all(|message| message.attempt == 2));
    assert_eq!(delivered(&pair, &first[0], "first"), Noted::NotYours);
}

pub fn a_carrier_that_is_late_is_believed_while_nobody_else_has_the_message(maker: &dyn Maker) {
    let pair = joined(maker);
    pair.at_child(&put(&[a_patient("amina")]));
    let message = one(&pair, "first");
    pair.pass(LEASE + 10);
    assert_eq!(pair.child.outbox_return(pair.now()).unwrap(), 1);
    assert_eq!(states(&pair), [DeliveryState::Ready]);
    assert_eq!(delivered(&pair, &message, "first"), Noted::As(MessageState::HandedOver));
    assert_eq!(lease(&pair, "second", 10), []);
    // It says so again and again, and it comes twice.
    assert_eq!(delivered(&pair, &message, "first"), Noted::As(MessageState::HandedOver));
    assert_eq!(bring(&pair, &message).outcome, Outcome::Applied);
    assert!(matches!(post(&pair, &message, &text(&pair, &message)), Posted::Known(_)));
    assert_eq!(ask(&pair), 1);
    assert_eq!(pair.parent.site().unwrap().sequence, 1);
}

pub fn defect_08_only_the_patients_of_a_message_wait_for_it(maker: &dyn Maker) {
    let pair = with_limits(maker, Limits { backoff_seconds: 600, ..Limits::default() });
    pair.at_child(&put(&[a_patient("amina")]));
    let amina = one(&pair, "first");
    pair.at_child(&put(&[an_observation("pulse", "amina")]));
    pair.at_child(&put(&[a_patient("beno")]));
    let beno = one(&pair, "second");
    assert_eq!(beno.patients, [super::builders::named("Patient/beno")]);
    // Amina's message fails for a while: hers wait, those of others go.
    failed(&pair, &amina, "first", true);
    pair.at_child(&put(&[an_observation("weight", "beno")]));
    bring(&pair, &beno);
    delivered(&pair, &beno, "second");
    assert_eq!(ask(&pair), 1);
    let next = one(&pair, "third");
    assert_eq!(next.patients, beno.patients);
    assert!(body(&*pair.parent, "Observation/pulse").is_none());
    carry_all(&pair);
    pair.quiet();
    pair.assert_in_step();
}

pub fn defect_04_a_carrier_that_fails_costs_the_queue_nothing(maker: &dyn Maker) {
    let pair = joined(maker);
    pair.at_child(&put(&[a_patient("amina")]));
    let mut pauses = Vec::new();
    for round in 0..20 {
        let name = format!("lease-{round}");
        let message = one(&pair, &name);
        assert_eq!(failed(&pair, &message, &name, true), Noted::As(MessageState::Returned));
        // Said twice, it counts once.
        assert_eq!(failed(&pair, &message, &name, true), Noted::As(MessageState::Returned));
        assert_eq!(lease(&pair, "too early", 10), []);
        let delivery = queue(&pair).remove(0);
        assert_eq!((delivery.state, delivery.attempts), (DeliveryState::Retry, 0));
        assert_eq!(delivery.reason.as_deref(), Some("no route"));
        let pause = delivery.next_at.unwrap().since(pair.now()) / 1_000;
        pauses.push(pause);
        pair.pass(pause + 5);
    }
    assert!(pauses[0] < 5 && pauses[19] > 400 && pauses[19] < 900, "{pauses:?}");
    let info = pair.child.outbox_get(&one(&pair, "last").id).unwrap().unwrap();
    assert_eq!((info.attempt, info.failures, info.events.len()), (21, 20, 41));
}

pub fn a_message_that_a_third_party_gives_up_parks_with_its_reason(maker: &dyn Maker) {
    let pair = joined(maker);
    pair.at_child(&put(&[a_patient("amina")]));
    pair.at_child(&put(&[an_observation("pulse", "amina")]));
    let message = one(&pair, "first");
    failed(&pair, &message, "first", false);
    assert_eq!(states(&pair), [DeliveryState::Parked, DeliveryState::Parked]);
    assert_eq!(queue(&pair)[0].reason.as_deref(), Some("no route"));
    pair.pass(100_000);
    assert_eq!(lease(&pair, "second", 10), []);
    // What was in one message is freed together.
    let first = DeliveryChoice::Sequences(vec![queue(&pair)[0].sequence]);
    pair.child.delivery_act(&first, &DeliveryAction::Retry, pair.now()).unwrap();
    assert_eq!(states(&pair), [DeliveryState::Ready, DeliveryState::Ready]);
    carry_all(&pair);
}

pub fn defect_40_what_is_only_said_to_be_delivered_is_offered_again(maker: &dyn Maker) {
    let pair = joined(maker);
    pair.at_child(&put(&[a_patient("amina")]));
    for round in 1..4 {
        let name = format!("lease-{round}");
        let message = one(&pair, &name);
        delivered(&pair, &message, &name);
        pair.pass(60);
        assert_eq!(ask(&pair), 0);
        assert_eq!(pair.child.outbox_return(pair.now()).unwrap(), 0, "it is not time yet");
        pair.pass(i64::try_from(pair.limits.receipt_seconds).unwrap());
        assert_eq!(pair.child.site_status(pair.now()).unwrap().outbox.missing, 1);
        assert_eq!(pair.child.outbox_return(pair.now()).unwrap(), 1);
        let delivery = queue(&pair).remove(0);
        assert_eq!(delivery.state, DeliveryState::Ready);
        assert!(delivery.reason.unwrap().contains("the parent does not have it"));
        let status = pair.child.site_status(pair.now()).unwrap();
        assert_eq!((status.outbox.missing, status.outbox.carrier.as_deref()), (1, Some(CARRIER)));
        // To say it once more makes it no truer.
        assert_eq!(delivered(&pair, &message, &name), Noted::As(MessageState::Returned));
        let info = pair.child.outbox_get(&message.id).unwrap().unwrap();
        assert_eq!((info.missing, info.attempt), (round, round));
    }
    carry_all(&pair);
    assert_eq!(pair.child.site_status(pair.now()).unwrap().outbox.missing, 0);
    assert_eq!(pair.parent.site().unwrap().sequence, 1);
}

pub fn defect_12_a_message_that_comes_again_is_held_already_for_ever(maker: &dyn Maker) {
    let pair = joined(maker);
    pair.at_child(&put(&[a_patient("amina")]));
    let message = one(&pair, "first");
    bring(&pair, &message);
    // The word of the carrier is lost, and the lease is over.
    pair.pass(LEASE);
    let again = one(&pair, "second");
    assert_eq!((again.id, again.attempt), (message.id, 2));
    assert_eq!(bring(&pair, &again).outcome, Outcome::Already);
    assert_eq!(pair.parent.site().unwrap().sequence, 1);
    // Receipts end, and what was received is known all the same.
    let years = pair.now().plus_millis(400 * 86_400_000);
    assert_eq!(pair.parent.inbox_expire(years).unwrap(), 1);
    pair.pass(LEASE + 300);
    assert_eq!(ask(&pair), 1);
    assert_eq!(queue(&pair), []);
    assert_eq!(bring(&pair, &message).outcome, Outcome::Already);
}

pub fn a_late_copy_of_a_message_takes_nothing_back(maker: &dyn Maker) {
    let pair = joined(maker);
    pair.at_child(&put(&[a_patient("amina").born("1980")]));
    let early = one(&pair, "first");
    let early_text = text(&pair, &early);
    pair.pass(LEASE);
    pair.at_child(&put(&[a_patient("amina").born("1981")]));
    let late = one(&pair, "second");
    assert_eq!(late.line.covers.len(), 2, "what was in one message stays together");
    assert_eq!(delivered(&pair, &early, "first"), Noted::Replaced);
    bring(&pair, &late);
    assert!(matches!(post(&pair, &early, &early_text), Posted::Stored(_)));
    assert_eq!(work(&pair)[0].outcome, Outcome::Already);
    assert!(body(&*pair.parent, "Patient/amina").unwrap().contains("1981"));
    // Parking one of them parks both: a smaller message would let the early copy in.
    let one_of_them = DeliveryChoice::Sequences(vec![2]);
    let park = DeliveryAction::Park("a clerk looks at it".to_owned());
    assert_eq!(pair.child.delivery_act(&one_of_them, &park, pair.now()).unwrap(), 2);
    pair.pass(LEASE);
    pair.child.outbox_return(pair.now()).unwrap();
    assert_eq!(lease(&pair, "third", 10), []);
    ask(&pair);
    assert_eq!(queue(&pair), [], "the parent has it: there is nothing left to park");
    pair.quiet();
    pair.assert_in_step();
}

pub fn a_receipt_speaks_only_of_the_states_that_it_names(maker: &dyn Maker) {
    let pair = joined(maker);
    pair.at_child(&put(&[a_patient("amina").born("1980")]));
    let first = one(&pair, "first");
    bring(&pair, &first);
    pair.pass(LEASE);
    pair.child.outbox_return(pair.now()).unwrap();
    // The receipt of the first copy comes when the record has moved on.
    pair.at_child(&put(&[a_patient("amina").born("1981")]));
    assert_eq!(ask(&pair), 1);
    let next = one(&pair, "second");
    assert_eq!(next.line.records.len(), 1, "the parent does not hold the later state");
    bring(&pair, &next);
    assert!(body(&*pair.parent, "Patient/amina").unwrap().contains("1981"));
}

pub fn a_message_that_the_parent_refuses_counts_once_an_attempt_and_parks(maker: &dyn Maker) {
    let pair = with_limits(maker, Limits { attempts: 3, ..Limits::default() });
    pair.at_child(&put(&[a_patient("amina")]));
    for round in 1..=3 {
        let name = format!("lease-{round}");
        let message = one(&pair, &name);
        assert!(matches!(post(&pair, &message, &text(&pair, &message)), Posted::Stored(_)));
        let waiting = pair.parent.inbox_next(pair.now(), 10).unwrap().remove(0);
        let read = message::read(waiting.body.as_bytes(), &pair.limits).unwrap();
        let refused = Incoming::Refused {
            line: Box::new(protocol::stream::RefusedLine {
                position: None,
                id: Some(read.id),
                covers: read.covers,
                part: None,
                patients: Vec::new(),
                refusal: protocol::Refusal::invalid("Patient/amina: not today"),
            }),
            raw: Vec::new(),
        };
        let receipt = pair.parent.inbox_apply(waiting.key, &refused, pair.now()).unwrap().unwrap();
        assert_eq!((receipt.outcome, receipt.attempt), (Outcome::Refused, round));
        delivered(&pair, &message, &name);
        assert_eq!(ask(&pair), 1);
        pair.pass(400);
        assert_eq!(ask(&pair), 0, "the same refusal counted twice");
        assert_eq!(queue(&pair)[0].attempts, round);
        pair.pass(2_000);
    }
    assert_eq!(states(&pair), [DeliveryState::Parked]);
    assert_eq!(queue(&pair)[0].reason.as_deref(), Some("Patient/amina: not today"));
    let all = DeliveryChoice::State(DeliveryState::Parked);
    pair.child.delivery_act(&all, &DeliveryAction::Retry, pair.now()).unwrap();
    carry_all(&pair);
}

pub fn a_message_waits_at_the_parent_until_it_is_worked_off(maker: &dyn Maker) {
    let pair = with_limits(maker, Limits { inbox_messages: 2, ..Limits::default() });
    for name in ["a", "b", "c"] {
        pair.at_child(&put(&[a_patient(name)]));
    }
    let leased = lease(&pair, "first", 10);
    let texts: Vec<String> = leased.iter().map(|message| text(&pair, message)).collect();
    assert!(matches!(post(&pair, &leased[0], &texts[0]), Posted::Stored(_)));
    assert!(matches!(post(&pair, &leased[0], &texts[0]), Posted::Stored(_)), "the same again");
    assert!(matches!(post(&pair, &leased[1], &texts[1]), Posted::Stored(_)));
    assert_eq!(post(&pair, &leased[2], &texts[2]), Posted::Full);
    assert_eq!(pair.parent.site_status(pair.now()).unwrap().inbox, 2);
    let site = pair.child.site().unwrap().site;
    let ids = leased.iter().map(|message| (message.line.id.clone().unwrap(), Vec::new()));
    let ids: Vec<_> = ids.collect();
    let words = pair.parent.inbox_receipts(&site, &ids).unwrap();
    assert_eq!(words, [ReceiptWord::Waiting, ReceiptWord::Waiting, ReceiptWord::Unknown]);
    // What failed by no fault of the message goes behind the others.
    let waiting = pair.parent.inbox_next(pair.now(), 10).unwrap();
    let later = pair.now().plus_millis(60_000);
    pair.parent.inbox_defer(waiting[0].key, later).unwrap();
    assert_eq!(work(&pair).len(), 1);
    assert!(body(&*pair.parent, "Patient/b").is_some());
    pair.pass(100);
    assert_eq!(work(&pair).len(), 1);
    assert!(body(&*pair.parent, "Patient/a").is_some());
    assert_eq!(
        pair.parent.inbox_apply(waiting[0].key, &Incoming::End(0), pair.now()).unwrap(),
        None
    );
    carry_all(&pair);
}

pub fn defect_29_a_child_that_was_shut_out_brings_nothing_by_a_third_party(maker: &dyn Maker) {
    let pair = joined(maker);
    for name in ["a", "b"] {
        pair.at_child(&put(&[a_patient(name)]));
    }
    let leased = lease(&pair, "first", 10);
    assert!(matches!(post(&pair, &leased[0], &text(&pair, &leased[0])), Posted::Stored(_)));
    let site = pair.child.site().unwrap().site;
    pair.parent.child_revoke(&site, pair.now()).unwrap();
    assert_eq!(post(&pair, &leased[1], &text(&pair, &leased[1])), Posted::Shut);
    let receipt = work(&pair).remove(0);
    assert_eq!(receipt.outcome, Outcome::Refused);
    assert!(receipt.reason.unwrap().contains("no access"));
    assert_eq!(body(&*pair.parent, "Patient/a"), None);
}

pub fn a_change_that_is_too_long_to_be_carried_parks_and_says_so(maker: &dyn Maker) {
    let pair = with_limits(maker, Limits { message_bytes: 5_000, ..Limits::default() });
    let long = format!(r#"[{{"family":"{}"}}]"#, "x".repeat(6_000));
    pair.at_child(&put(&[a_patient("amina").with("name", &long)]));
    pair.at_child(&put(&[a_patient("beno")]));
    assert_eq!(one(&pair, "first").patients, [super::builders::named("Patient/beno")]);
    let parked = &queue(&pair)[0];
    assert_eq!(parked.state, DeliveryState::Parked);
    assert!(parked.reason.as_ref().unwrap().contains("message_bytes = 5000"));
}

pub fn defect_18_a_clock_that_is_put_back_keeps_no_message_away(maker: &dyn Maker) {
    let pair = joined(maker);
    for name in ["a", "b", "c"] {
        pair.at_child(&put(&[a_patient(name)]));
    }
    // The clock is years ahead, and then somebody puts it right.
    pair.pass(100_000_000);
    let messages = lease(&pair, "first", 3);
    delivered(&pair, &messages[1], "first");
    failed(&pair, &messages[2], "first", true);
    pair.pass(-100_000_000);
    assert_eq!(lease(&pair, "second", 10).len(), 3);
    carry_all(&pair);
    pair.quiet();
    pair.assert_in_step();
}
