//! Messages as they were once written can be read for ever, and bring what the line said.

use super::*;
use crate::change::Author;
use crate::delivery::Outcome;
use crate::digest::ShortDigest;
use crate::error::RefusalKind;
use crate::feed::EntryKind;
use crate::id::RecordRef;
use crate::limits::Limits;
use crate::resource::Record;
use crate::stream::{Base, InRecord, OutLine, OutRecord, StreamLine, read_line, write_line};

const MESSAGE: &str = include_str!("../../fixtures/v1/message.json");
const ANSWER: &str = include_str!("../../fixtures/v1/message-answer.json");
const KEY: [u8; 32] = [7; 32];

fn named(name: &str) -> RecordRef {
    name.parse().unwrap()
}

fn id(number: u64) -> ChangeId {
    let epoch = Epoch::from_bytes([0x3f; 16]);
    ChangeId { origin: "kisumu-east".parse().unwrap(), epoch, number }
}

fn envelope() -> Envelope {
    Envelope {
        from: "kisumu-east".parse().unwrap(),
        epoch: Epoch::from_bytes([0x3f; 16]),
        to: "centre".parse().unwrap(),
        attempt: 2,
        at: Timestamp::from_millis(1_795_421_731_000),
    }
}

fn urls() -> Urls<'static> {
    Urls {
        base: "https://kisumu-east.example",
        target: "https://centre.example/fhir/$process-message",
    }
}

fn resource(body: &str, base: Option<Base>) -> OutRecord {
    let record = Record::parse(body.as_bytes(), &Limits::default()).unwrap();
    let (reference, digest) = (record.reference, record.digest);
    OutRecord::Resource { reference, body: body.to_owned(), digest, base }
}

fn line() -> OutLine {
    OutLine {
        position: None,
        kind: EntryKind::Change,
        id: Some(id(18_234)),
        covers: vec![18_230, 18_234],
        part: None,
        author: Some(Author::new("nurse \"3\"")),
        at: Some(Timestamp::from_millis(1_795_421_730_000)),
        patients: vec![named("Patient/amina")],
        reason: None,
        records: vec![
            resource(
                r#"{"resourceType":"Patient","id":"amina","active":true}"#,
                Some(ShortDigest([2; 8]).into()),
            ),
            resource(
                concat!(
                    r#"{"id":"o1","resourceType":"Observation","status":"final","#,
                    r#""code":{"text":"x"},"subject":{"reference":"Patient/amina"},"#,
                    r#""valueQuantity":{"value":36.50}}"#
                ),
                None,
            ),
            OutRecord::Deleted { reference: named("Observation/o9"), base: None },
        ],
    }
}

fn message() -> String {
    write(&line(), &envelope(), urls()).unwrap()
}

#[test]
fn a_message_of_version_1_can_be_read_for_ever_and_brings_the_line() {
    assert_eq!(message(), MESSAGE.trim_end());
    let read = read(MESSAGE.as_bytes(), &Limits::default()).unwrap();
    assert_eq!((&read.envelope, &read.id), (&envelope(), &id(18_234)));
    let mut text = String::new();
    write_line(&mut text, &line());
    let StreamLine::Line(pushed) =
        read_line(text.trim_end().as_bytes(), &Limits::default()).unwrap()
    else {
        panic!("the line was refused");
    };
    assert_eq!(read.line, Ok(pushed), "the message says something else than the line");
    let name: MessageId = MessageId::of(&read.id).to_string().parse().unwrap();
    assert_eq!(name, MessageId::of(&id(18_234)));
}

#[test]
fn what_a_state_was_made_from_is_so_in_the_message() {
    let passed_on = Base { relayed: true, ..ShortDigest([4; 8]).into() };
    let anew = Base { digest: None, relayed: false, since: Some(40_711) };
    for said in [passed_on, anew, Base { since: anew.since, ..passed_on }] {
        let body = r#"{"resourceType":"Patient","id":"amina"}"#;
        let line = OutLine { records: vec![resource(body, Some(said))], ..line() };
        let text = write(&line, &envelope(), urls()).unwrap();
        let read = read(text.as_bytes(), &Limits::default()).unwrap().line.unwrap();
        assert!(
            matches!(read.records[..], [InRecord::State { base: Some(base), .. }] if base == said)
        );
    }
}

#[test]
fn a_line_without_records_keeps_its_numbers() {
    let empty = OutLine { records: Vec::new(), patients: Vec::new(), ..line() };
    let text = write(&empty, &envelope(), urls()).unwrap();
    let read = read(text.as_bytes(), &Limits::default()).unwrap();
    assert_eq!(read.covers, [18_230, 18_234]);
    assert_eq!(read.line.unwrap().records, []);
}

#[test]
fn white_space_and_the_order_of_keys_are_no_alteration_and_a_number_is() {
    let spaced = message().replace("\"status\":\"final\",", "\n  \"status\" : \"final\",\t");
    let line = read(spaced.as_bytes(), &Limits::default()).unwrap().line.unwrap();
    let InRecord::State { record, .. } = &line.records[1] else { panic!("not a state") };
    assert!(record.body.as_ref().unwrap().contains("36.50"));
    let rounded = message().replace("36.50", "36.5");
    let refusal = read(rounded.as_bytes(), &Limits::default()).unwrap().line.unwrap_err();
    assert!(refusal.reason.contains("Observation/o1 was altered on the way"), "{refusal}");
}

#[test]
fn a_proof_is_of_all_that_a_message_says_and_of_nothing_else_than_its_sense() {
    let text = write_proved(&line(), &envelope(), urls(), &KEY).unwrap();
    let fits = |text: &str| {
        let read = read(text.as_bytes(), &Limits::default()).unwrap();
        read.proof.is_some_and(|proof| proof.fits(&read.told, &KEY))
    };
    assert!(fits(&text));
    assert!(fits(&text.replace(",", ",\n ")), "white space");
    for (from, to) in [
        ("site:kisumu-east\"", "site:kisumu-west\""),
        ("18230 18234", "1 18234"),
        ("18230 18234", "18230 18234\\n"),
        ("nurse \\\"3\\\"", "nurse"),
        ("\"valuePositiveInt\":2", "\"valuePositiveInt\":3"),
        ("\"valueString\":\"centre\"", "\"valueString\":\"another\""),
        ("08:15:30Z\"}", "08:15:29Z\"}"),
        ("Reference\":{\"reference\":\"Patient/amina", "Reference\":{\"reference\":\"Patient/b"),
        ("uDj9RwuYjh8", "AgICAgICAgI"),
        ("AgICAgICAgI", "uDj9RwuYjh8"),
        (
            "{\"url\":\"deleted\",\"valueBoolean\":true}",
            "{\"url\":\"deleted\",\"valueBoolean\":false}",
        ),
    ] {
        assert!(text.contains(from), "{from}");
        assert!(!fits(&text.replace(from, to)), "{from} -> {to}");
    }
    assert!(!fits(&message()), "it has none");
    let other = write_proved(&line(), &envelope(), urls(), &[8; 32]).unwrap();
    assert!(!fits(&other), "of another credential");
}

#[test]
fn what_is_no_message_is_told_from_a_message_that_is_refused() {
    let limits = Limits::default();
    for (from, to, expected) in [
        ("\"type\":\"message\"", "\"type\":\"batch\"", "not a Bundle of type message"),
        ("MessageHeader", "Basic", "the first entry"),
        ("urn:tributary:message:change", "urn:other", "messages of Tributary sites only"),
        ("urn:tributary:site:", "urn:other:", "source.endpoint"),
        ("\"valueUri\":\"urn:tributary:change:", "\"valueUri\":\"urn:x:", "valueUri"),
        ("18230 18234", "18230 x", "covers"),
        ("\"valuePositiveInt\":2", "\"valuePositiveInt\":-1", "attempt"),
        ("{\"resourceType\":\"Bundle\"", "{{\"resourceType\":\"Bundle\"", ""),
    ] {
        let altered = message().replacen(from, to, 1);
        assert_ne!(altered, message(), "{from}");
        let refusal = read(altered.as_bytes(), &limits).unwrap_err();
        assert!(refusal.reason.contains(expected), "{from}: {refusal}");
    }
    for (from, to, expected) in [
        ("\"active\":true", "\"active\":false", "was altered"),
        ("\"id\":\"o1\"", "\"id\":\"o2\"", "is not in the message"),
        ("\"id\":\"amina\"", "\"id\":\"amina\",\"x\":{\"a\":[[[[[1]]]]]}", "was altered"),
    ] {
        let altered = message().replacen(from, to, 1);
        let read = read(altered.as_bytes(), &limits).unwrap();
        assert_eq!(read.id, id(18_234));
        let refusal = read.line.unwrap_err();
        assert!(refusal.reason.contains(expected), "{from}: {refusal}");
    }
    let small = Limits { message_bytes: 100, ..limits };
    assert_eq!(read(MESSAGE.as_bytes(), &small).unwrap_err().kind, RefusalKind::OverLimit);
}

fn receipt(outcome: Outcome) -> Receipt {
    Receipt {
        differs: vec![],
        id: id(18_234),
        attempt: 2,
        outcome,
        reason: (outcome == Outcome::Refused).then(|| "Patient/amina: no".to_owned()),
        sequence: 502,
        digests: vec![(named("Patient/amina"), ShortDigest([2; 8]))],
    }
}

#[test]
fn an_answer_of_version_1_can_be_read_for_ever_by_whom_it_is_for() {
    let receipt = receipt(Outcome::Applied);
    let proof = Proof::of(&receipt.to_text(), &KEY);
    let answer = Answer::Done(receipt.clone(), Some(proof));
    let site = "centre".parse().unwrap();
    let text = write_answer(&id(18_234), &site, &answer, envelope().at);
    assert_eq!(text, ANSWER.trim_end());
    assert_eq!(read_answer(ANSWER, &KEY), Ok(Some(receipt)));
    // A third party can alter nothing of it, and make none.
    assert!(read_answer(ANSWER, &[8; 32]).is_err());
    let forged = ANSWER.replace("\\\"sequence\\\":502", "\\\"sequence\\\":503");
    assert_ne!(forged, ANSWER);
    assert!(read_answer(&forged, &KEY).is_err());
    let stored = write_answer(&id(18_234), &site, &Answer::Stored, envelope().at);
    assert_eq!(read_answer(&stored, &KEY), Ok(None));
    assert!(
        read_answer("{\"resourceType\":\"Bundle\",\"type\":\"message\",\"entry\":[]}", &KEY)
            .is_err()
    );
}

#[test]
fn an_answer_says_in_the_words_of_fhir_what_became_of_the_message() {
    let site = "centre".parse().unwrap();
    for (outcome, expected) in [
        (Outcome::Merged, ["\"code\":\"ok\"", "merged"]),
        (Outcome::Conflict, ["\"code\":\"ok\"", "conflict"]),
        (Outcome::Already, ["\"code\":\"duplicate\"", "already"]),
        (Outcome::Refused, ["\"code\":\"fatal-error\"", "refused: Patient/amina: no"]),
        (Outcome::Later, ["\"code\":\"transient-error\"", "later"]),
    ] {
        let answer = Answer::Done(receipt(outcome), None);
        let text = write_answer(&id(18_234), &site, &answer, envelope().at);
        for words in expected {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert_eq!(Receipt::read(&receipt(outcome).to_text()), Ok(receipt(outcome)));
    }
}
