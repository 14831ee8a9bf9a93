use proptest::prelude::*;

use super::*;
use crate::error::RefusalKind;
use crate::id::ResourceType;
use crate::limits::Limits;

/// Samples of version 1, which have to be readable for ever.
const LIVE: &str = include_str!("../../fixtures/v1/stream-live.ndjson");
const BULK: &str = include_str!("../../fixtures/v1/stream-bulk.ndjson");
const PUSH: &str = include_str!("../../fixtures/v1/push.ndjson");
const RELAYED: &str = include_str!("../../fixtures/v1/push-relayed.ndjson");
const SINCE: &str = include_str!("../../fixtures/v1/push-since.ndjson");
const OUTCOMES_BEFORE: &str = include_str!("../../fixtures/v1/push-outcomes.ndjson");
const OUTCOMES: &str = include_str!("../../fixtures/v1/push-outcomes-had.ndjson");

const AMINA: &str = r#"{"resourceType":"Patient","id":"amina","active":true}"#;
const WEIGHT: &str = concat!(
    r#"{"resourceType":"Observation","id":"o1","subject":{"reference":"Patient/amina"},"#,
    r#""valueQuantity":{"value":61.50}}"#
);

fn reference(text: &str) -> RecordRef {
    text.parse().unwrap()
}

fn record(body: &str) -> Record {
    Record::parse(body.as_bytes(), &Limits::default()).unwrap()
}

fn resource(body: &str, base: Option<Base>) -> OutRecord {
    let record = record(body);
    let (reference, body, digest) = (record.reference, record.body.unwrap(), record.digest);
    OutRecord::Resource { reference, body, digest, base }
}

fn id(number: u64) -> ChangeId {
    ChangeId {
        origin: "kisumu-east".parse().unwrap(),
        epoch: Epoch::from_bytes([0x3f; 16]),
        number,
    }
}

fn at() -> Timestamp {
    "2026-11-23T08:15:30Z".parse().unwrap()
}

fn line(position: u64, kind: EntryKind) -> OutLine {
    OutLine {
        position: Some(position),
        kind,
        id: None,
        covers: vec![],
        part: None,
        author: None,
        at: Some(at()),
        patients: vec![reference("Patient/amina")],
        reason: None,
        records: vec![],
    }
}

fn header(behind: u64) -> Header {
    Header {
        feed: FeedId::from_bytes([7; 16]),
        epoch: Epoch::from_bytes([8; 16]),
        sequence: 40_712,
        after: 1_181,
        head: 1_181 + behind,
        behind,
        oldest: (behind > 0).then(at),
    }
}

fn live() -> String {
    let mut out = String::new();
    write_header(&mut out, &header(3));
    let records = vec![
        resource(AMINA, None),
        resource(WEIGHT, Some(ShortDigest([1; 8]).into())),
        OutRecord::Deleted { reference: reference("Observation/o9"), base: None },
        OutRecord::Held(reference("Encounter/e7")),
        OutRecord::Left(reference("Flag/f1")),
    ];
    let (id, author) = (Some(id(18_234)), Some(Author::new("nurse-3")));
    write_line(&mut out, &OutLine { id, author, records, ..line(1_182, EntryKind::Change) });
    write_line(&mut out, &line(1_183, EntryKind::Join));
    let reason = Some("moved to \"Siaya\"".to_owned());
    write_line(&mut out, &OutLine { reason, ..line(1_184, EntryKind::Leave) });
    write_end(&mut out, 1_184, false);
    out
}

fn bulk() -> String {
    let mut out = String::new();
    write_header(&mut out, &header(1));
    for (part, body) in [(1, AMINA), (2, WEIGHT)] {
        let records = vec![resource(body, None)];
        let part = Some((part, 2));
        write_line(&mut out, &OutLine { part, records, ..line(1_182, EntryKind::Join) });
    }
    write_end(&mut out, 1_182, true);
    out
}

fn push() -> String {
    let mut out = String::new();
    let records = vec![resource(AMINA, Some(ShortDigest([2; 8]).into()))];
    let covered = OutLine {
        position: None,
        id: Some(id(18_234)),
        covers: vec![18_230, 18_234],
        records,
        ..line(0, EntryKind::Change)
    };
    write_line(&mut out, &covered);
    let records = vec![OutRecord::Deleted { reference: reference("Observation/o9"), base: None }];
    let (at, patients) = (None, vec![]);
    write_line(
        &mut out,
        &OutLine { id: Some(id(18_235)), covers: vec![], records, at, patients, ..covered },
    );
    out
}

fn relayed() -> String {
    let mut out = String::new();
    let base = Base { relayed: true, ..ShortDigest([4; 8]).into() };
    let records = vec![resource(AMINA, Some(base))];
    let line =
        OutLine { position: None, id: Some(id(18_236)), records, ..line(0, EntryKind::Change) };
    write_line(&mut out, &line);
    out
}

/// Made anew at the sender, passed on by it, and held by it since it last agreed on a version.
fn bases_since() -> [Base; 3] {
    let anew = Base { digest: None, relayed: false, since: Some(40_711) };
    let agreed = Base { digest: Some(ShortDigest([4; 8])), ..anew };
    [anew, Base { relayed: true, ..agreed }, agreed]
}

fn since() -> String {
    let mut out = String::new();
    for (number, base) in (18_237..).zip(bases_since()) {
        let records = vec![resource(AMINA, Some(base))];
        let id = Some(id(number));
        write_line(
            &mut out,
            &OutLine { position: None, id, records, ..line(0, EntryKind::Change) },
        );
    }
    out
}

fn outcome_lines() -> Vec<OutcomeLine> {
    let line = |number, outcome, reason: Option<&str>| OutcomeLine {
        id: id(number),
        part: None,
        outcome,
        reason: reason.map(str::to_owned),
        sequence: 500 + number,
        differs: vec![],
    };
    let (record, digest) = (reference("Patient/amina"), ShortDigest([3; 8]));
    let other = Differing { record, digest, had: true };
    let unknown = Differing { had: false, ..other.clone() };
    vec![
        OutcomeLine { part: Some((2, 3)), ..line(1, Outcome::Applied, None) },
        OutcomeLine { differs: vec![other.clone()], ..line(2, Outcome::Merged, None) },
        OutcomeLine {
            differs: vec![other],
            ..line(3, Outcome::Conflict, Some("Patient/amina: birthDate"))
        },
        OutcomeLine { differs: vec![unknown.clone()], ..line(4, Outcome::Already, None) },
        line(5, Outcome::Refused, Some("it is over the limit resource_bytes = 2097152")),
        line(6, Outcome::Later, Some("the site is busy")),
        OutcomeLine { differs: vec![unknown], ..line(7, Outcome::Applied, None) },
    ]
}

fn outcomes() -> String {
    let mut out = String::new();
    outcome_lines().iter().for_each(|line| write_outcome(&mut out, line));
    out
}

fn read(line: &str) -> Result<StreamLine, Refusal> {
    read_line(line.as_bytes(), &Limits::default())
}

fn read_all(text: &str) -> Vec<StreamLine> {
    text.lines().map(|line| read(line).unwrap()).collect()
}

fn whole(line: StreamLine) -> InLine {
    match line {
        StreamLine::Line(line) => *line,
        other => panic!("not a line: {other:?}"),
    }
}

fn refused(line: &str) -> RefusedLine {
    match read(line).unwrap() {
        StreamLine::Refused(line) => *line,
        other => panic!("not refused: {other:?}"),
    }
}

/// What a reader should find in a line that was written.
fn expected(line: &OutLine) -> InLine {
    let state = |record, base: &Option<Base>| InRecord::State { record, base: *base };
    let record = |record: &OutRecord| match record {
        OutRecord::Resource { body, base, .. } => state(self::record(body), base),
        OutRecord::Deleted { reference, base } => state(Record::deleted(reference.clone()), base),
        OutRecord::Held(reference) => InRecord::Held(reference.clone()),
        OutRecord::Left(reference) => InRecord::Left(reference.clone()),
    };
    InLine {
        position: line.position,
        kind: line.kind,
        id: line.id.clone(),
        covers: line.covers.clone(),
        part: line.part,
        author: line.author.clone(),
        at: line.at,
        patients: line.patients.clone(),
        reason: line.reason.as_ref().map(|reason| reason.replace('\0', "\u{fffd}")),
        records: line.records.iter().map(record).collect(),
    }
}

#[test]
fn lines_are_written_as_the_protocol_shows() {
    assert_eq!(live(), LIVE);
    assert_eq!(bulk(), BULK);
    assert_eq!(push(), PUSH);
    assert_eq!(relayed(), RELAYED);
    assert_eq!(since(), SINCE);
    assert_eq!(outcomes(), OUTCOMES);
}

#[test]
fn a_live_stream_of_version_1_can_be_read_for_ever() {
    let lines = read_all(LIVE);
    assert_eq!(lines[0], StreamLine::Header(header(3)));
    let change = whole(lines[1].clone());
    assert_eq!(
        (change.position, change.kind, change.id),
        (Some(1_182), EntryKind::Change, Some(id(18_234)))
    );
    assert_eq!((change.author, change.at), (Some(Author::new("nurse-3")), Some(at())));
    assert_eq!(change.patients, [reference("Patient/amina")]);
    assert_eq!(
        change.records,
        [
            InRecord::State { record: record(AMINA), base: None },
            InRecord::State { record: record(WEIGHT), base: Some(ShortDigest([1; 8]).into()) },
            InRecord::State { record: Record::deleted(reference("Observation/o9")), base: None },
            InRecord::Held(reference("Encounter/e7")),
            InRecord::Left(reference("Flag/f1")),
        ]
    );
    assert_eq!(whole(lines[2].clone()).kind, EntryKind::Join);
    assert_eq!(whole(lines[3].clone()).reason.as_deref(), Some("moved to \"Siaya\""));
    assert_eq!(lines[4], StreamLine::End { end: 1_184, more: false });
    assert_eq!(lines.len(), 5);
}

#[test]
fn a_bulk_stream_a_push_and_its_outcomes_of_version_1_can_be_read_for_ever() {
    let lines = read_all(BULK);
    assert_eq!(lines[0], StreamLine::Header(header(1)));
    let parts: Vec<_> = lines[1..3].iter().map(|line| whole(line.clone()).part).collect();
    assert_eq!(parts, [Some((1, 2)), Some((2, 2))]);
    assert_eq!(lines[3], StreamLine::End { end: 1_182, more: true });
    let lines: Vec<_> = read_all(PUSH).into_iter().map(whole).collect();
    assert_eq!((lines[0].position, lines[0].kind), (None, EntryKind::Change));
    assert_eq!(lines[0].covers, [18_230, 18_234]);
    let base = Some(ShortDigest([2; 8]).into());
    assert_eq!(lines[0].records, [InRecord::State { record: record(AMINA), base }]);
    assert_eq!(lines[1].id, Some(id(18_235)));
    let base = Some(Base { relayed: true, ..ShortDigest([4; 8]).into() });
    let relayed = whole(read(RELAYED.trim_end()).unwrap());
    assert_eq!(relayed.records, [InRecord::State { record: record(AMINA), base }]);
    for (line, base) in SINCE.lines().zip(bases_since()) {
        let expected = [InRecord::State { record: record(AMINA), base: Some(base) }];
        assert_eq!(whole(read(line).unwrap()).records, expected);
    }
    let outcomes_of = |text: &str| {
        text.lines().map(|line| read_outcome(line.as_bytes()).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(outcomes_of(OUTCOMES), outcome_lines());
    let mut before = outcome_lines()[..6].to_vec();
    before[3].differs.clear();
    assert_eq!(outcomes_of(OUTCOMES_BEFORE), before, "who took a line had all that it sent");
}

#[test]
fn members_may_come_in_any_order_and_unknown_ones_are_passed_over() {
    let written = push();
    let text = written.lines().next().unwrap();
    let sum = &text[text.rfind(",\"sum\"").unwrap()..text.len() - 1];
    let rest = text.replace(sum, "");
    let turned = format!("{{\"later\":[[1]],{},{}", &sum[1..], &rest[1..])
        .replace("{\"resource\"", "{\"hint\":{\"a\":null},\"resource\"");
    assert_eq!(whole(read(&turned).unwrap()), whole(read(text).unwrap()));
}

#[test]
fn an_idle_answer_is_short() {
    let mut out = String::new();
    write_header(&mut out, &header(0));
    write_end(&mut out, 1_181, false);
    assert!(!out.contains("behind"));
    assert!(out.len() < 220, "{}", out.len());
    assert_eq!(read_all(&out)[0], StreamLine::Header(header(0)));
}

#[test]
fn a_stream_of_another_version_is_not_read_at_all() {
    for version in ["2", "0", "1.0", "\"1\"", "null"] {
        let line =
            LIVE.lines().next().unwrap().replace("\"stream\":1", &format!("\"stream\":{version}"));
        let refusal = read(&line).unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::Unknown, "{version}");
        assert!(refusal.reason.contains("it knows 1"), "{refusal}");
    }
}

#[test]
fn a_line_whose_content_is_refused_still_says_whose_it_is() {
    let good = LIVE.lines().nth(1).unwrap();
    let deep = format!("\"id\":\"amina\",\"x\":{}1{}", "[".repeat(64), "]".repeat(64));
    for (from, to, kind, reason) in [
        ("\"change\"", "\"merge\"", RefusalKind::Unknown, "of a kind that this program does not"),
        ("\"held\"", "\"lent\"", RefusalKind::Unknown, "records.3: it is of a form"),
        ("\"sum\":\"", "\"sum\":\"A", RefusalKind::Malformed, "sum: a short digest is not 8"),
        ("61.50", "61.5", RefusalKind::Malformed, "sum is not that of its records"),
        (",\"sum\":", ",\"no\":", RefusalKind::Malformed, "sum is not that of its records"),
        ("Flag/f1", "Flog/f1", RefusalKind::Invalid, "records.4: left: "),
        ("\"id\":\"amina\"", "\"id\":\"a b\"", RefusalKind::Invalid, "records.0: "),
        ("true", "tru", RefusalKind::Malformed, "bad JSON"),
        ("\"o1\"", "\"o1\",\"id\":\"o1\"", RefusalKind::Malformed, "bad JSON"),
        ("\"id\":\"amina\"", &deep, RefusalKind::OverLimit, "json_depth"),
        ("2026-11", "2026-31", RefusalKind::Invalid, "at: "),
        ("\"AQEBAQEBAQE\"", "\"AQEB\"", RefusalKind::Malformed, "records.1: base: "),
    ] {
        assert!(good.contains(from), "{from}");
        let line = refused(&good.replacen(from, to, 1));
        assert_eq!(line.refusal.kind, kind, "{from} -> {to}: {}", line.refusal);
        assert!(line.refusal.reason.contains(reason), "{from} -> {to}: {}", line.refusal);
        assert_eq!((line.position, line.id), (Some(1_182), Some(id(18_234))));
        assert_eq!(line.patients, [reference("Patient/amina")]);
        assert!(!line.refusal.reason.contains("61"), "a value in {}", line.refusal);
    }
}

#[test]
fn a_line_whose_envelope_cannot_be_read_is_a_fault_of_the_sender() {
    let good = LIVE.lines().nth(1).unwrap();
    for (from, to, reason) in [
        ("1182", "-1", "position: it is not a whole number"),
        ("18234", "1e3", "id: it is not a whole number"),
        ("\"kisumu-east\"", "\"Kisumu\"", "id: a site id"),
        ("[\"Patient/amina\"]", "[\"Patient\"]", "patients: "),
        ("[\"Patient/amina\"]", "7", "patients: it is not a list"),
        ("\"author\"", "\"part\":3,\"parts\":2,\"author\"", "part is not one of parts"),
        ("\"position\":1182,", "", ""),
    ] {
        let result = read(&good.replacen(from, to, 1));
        if reason.is_empty() {
            assert!(result.is_ok(), "an id alone is enough");
            continue;
        }
        let refusal = result.unwrap_err();
        assert!(refusal.reason.contains(reason), "{from} -> {to}: {refusal}");
    }
    for line in
        ["", "{}", "[]", "7", "{\"end\":-1}", "nonsense", "{\"records\":[}", "{\"records\":[]}"]
    {
        assert!(read(line).is_err(), "{line}");
    }
    assert!(read_line(b"{\"end\":1\xff}", &Limits::default()).is_err());
}

#[test]
fn a_line_over_the_limit_is_refused_with_the_limit() {
    let limits = Limits { line_bytes: 1_000, ..Limits::default() };
    let padded = |bytes: usize| format!("{{\"end\":1}}{}", " ".repeat(bytes - 9));
    assert!(read_line(padded(1_000 + ENVELOPE_BYTES).as_bytes(), &limits).is_ok());
    let refusal = read_line(padded(1_001 + ENVELOPE_BYTES).as_bytes(), &limits).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::OverLimit);
    assert!(refusal.reason.contains("line_bytes = 1000"), "{refusal}");
}

#[test]
fn an_outcome_that_is_not_known_is_refused() {
    let line = OUTCOMES.lines().next().unwrap();
    let refusal = read_outcome(line.replace("applied", "pondered").as_bytes()).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Unknown);
    for (from, to) in [("\"id\"", "\"di\""), ("501", "\"501\""), ("\"parts\":3", "\"parts\":1")] {
        assert!(line.contains(from), "{from}");
        assert!(read_outcome(line.replace(from, to).as_bytes()).is_err(), "{to}");
    }
}

#[test]
fn defect_42_a_stream_cut_at_any_byte_gives_the_whole_lines_before_the_cut() {
    let text = [LIVE, PUSH].concat();
    let all = read_all(&text);
    for cut in 0..=text.len() {
        let mut lines = Lines::new(1 << 20);
        lines.push(&text.as_bytes()[..cut]);
        let mut found = Vec::new();
        while let Some(line) = lines.next_line().unwrap() {
            found.push(read_line(&line, &Limits::default()).unwrap());
        }
        let ended = text.as_bytes()[..cut].iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(found, all[..ended], "cut at byte {cut}");
    }
}

fn any_reference() -> impl Strategy<Value = RecordRef> {
    (0..146usize, "[A-Za-z0-9.-]{1,64}")
        .prop_map(|(kind, id)| RecordRef::new(ResourceType::all().nth(kind).unwrap(), &id).unwrap())
}

fn any_out_record() -> impl Strategy<Value = OutRecord> {
    let digest = proptest::option::of(any::<[u8; 8]>().prop_map(ShortDigest));
    let base = (digest, any::<bool>(), proptest::option::of(any::<u64>()))
        .prop_map(|(digest, relayed, since)| Base { digest, relayed, since });
    let base = base
        .prop_map(|base| Some(base).filter(|base| base.digest.is_some() || base.since.is_some()));
    (0..4, any_reference(), base, ".*").prop_map(|(form, reference, base, text)| match form {
        0 => {
            let text = serde_json::to_string(&text.replace('\0', "")).unwrap();
            let (kind, id) = (reference.kind, reference.id());
            resource(&format!(r#"{{"resourceType":"{kind}","id":"{id}","x":{text}}}"#), base)
        }
        1 => OutRecord::Deleted { reference, base },
        2 => OutRecord::Held(reference),
        _ => OutRecord::Left(reference),
    })
}

fn any_line() -> impl Strategy<Value = OutLine> {
    let kind = prop_oneof![Just(EntryKind::Change), Just(EntryKind::Join), Just(EntryKind::Leave)];
    let position = proptest::option::of(any::<u64>());
    let covers = proptest::collection::vec(any::<u64>(), 0..3);
    let part = proptest::option::of((1..9u32, 9..99u32));
    let texts = (proptest::option::of(".*"), proptest::option::of(".*"));
    let at = proptest::option::of(-62_135_596_800_000..253_402_300_799_999i64);
    let lists = (
        proptest::collection::vec(any_reference(), 0..3),
        proptest::collection::vec(any_out_record(), 0..4),
    );
    (kind, position, covers, part, texts, at, lists).prop_map(
        |(kind, position, covers, part, (author, reason), at, (patients, records))| OutLine {
            position,
            kind,
            id: (position.is_none() || covers.len() == 1).then(|| id(7)),
            covers,
            part,
            author: author.as_deref().map(Author::new),
            at: at.map(Timestamp::from_millis),
            patients,
            reason,
            records,
        },
    )
}

proptest! {
    #[test]
    fn a_line_is_read_as_it_is_written(line in any_line()) {
        let mut out = String::new();
        write_line(&mut out, &line);
        prop_assert_eq!(out.matches('\n').count(), 1);
        prop_assert_eq!(whole(read(out.trim_end_matches('\n')).unwrap()), expected(&line));
    }

    #[test]
    fn no_bytes_make_the_reader_fail_otherwise_than_by_a_refusal(
        at in 0..2_000usize, replaced: u8,
        garbage in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let _ = read_line(&garbage, &Limits::default());
        let _ = read_outcome(&garbage);
        for line in LIVE.lines().chain(PUSH.lines()).chain(OUTCOMES.lines()) {
            let mut bytes = line.as_bytes().to_vec();
            let at = at % bytes.len();
            let _ = read_line(&bytes[..at], &Limits::default()).unwrap_err();
            bytes[at] = replaced;
            let _ = read_line(&bytes, &Limits::default());
            let _ = read_outcome(&bytes);
        }
    }
}
