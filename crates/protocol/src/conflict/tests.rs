use std::collections::BTreeMap;

use super::*;
use crate::limits::Limits;
use crate::reconcile::{DELETED, EDITS_STAY, Plan, Side};
use crate::resource::Record;

const BASE: &str =
    r#"{"resourceType":"Patient","id":"amina","birthDate":"1980","gender":"unknown"}"#;

fn born(year: &str) -> String {
    BASE.replace("1980", year)
}

fn digest(body: Option<&str>) -> Digest {
    match body {
        Some(text) => Digest::of(&crate::json::parse(text.as_bytes(), 64).unwrap()),
        None => Digest::of_deletion(&"Patient/amina".parse().unwrap()),
    }
}

fn version(body: Option<&str>) -> Version {
    Version::new(digest(body), body.map(str::to_owned))
}

fn mark() -> Mark {
    Mark {
        by: Author::new("dr-otieno"),
        site: "kisumu".parse().unwrap(),
        at: Timestamp::from_millis(1_700_000_000_000),
        why: Some("asked \"her\"".to_owned()),
    }
}

/// Parent and child changed these elements of Amina's Patient to different values; the parent's
/// stand for the time being.
fn conflict(parent: Option<&str>, child: Option<&str>, paths: &[&str]) -> Conflict {
    let rule = if paths == [DELETED] { EDITS_STAY } else { "parent" };
    let elements = paths.iter().map(|path| (*path).to_owned());
    Conflict {
        record: "Patient/amina".parse().unwrap(),
        parent_site: "centre".parse().unwrap(),
        child_site: "clinic".parse().unwrap(),
        base: Some(version(Some(BASE))),
        parent: version(parent),
        child: version(child),
        result: version(parent.or(child)),
        elements: elements.map(|path| Contested { path, rule: rule.to_owned() }).collect(),
        patients: ["Patient/amina".parse().unwrap()].into(),
        round: 0,
        state: State::Open(None),
        others: Vec::new(),
    }
}

fn of_births() -> Conflict {
    conflict(Some(&born("1981")), Some(&born("1982")), &["birthDate"])
}

fn name_of(conflict: &Conflict) -> RecordRef {
    Conflict::name(&conflict.record, digest(Some(&born("1981"))), digest(Some(&born("1982"))))
        .unwrap()
}

/// Every form that a conflict can have.
fn forms() -> Vec<Conflict> {
    let open = of_births();
    let mut without_base = open.clone();
    without_base.base = None;
    let mut again = open.clone();
    again.state = State::Open(Some(mark()));
    again.round = 3;
    let mut confirmed = open.clone();
    confirmed.state = State::Confirmed(Mark { why: None, ..mark() });
    let decision = |body: Option<&str>| {
        State::Decided(Decision { mark: mark(), how: "child".to_owned(), version: version(body) })
    };
    let mut decided = open.clone();
    decided.state = decision(Some(&born("1982")));
    let mut deleted = conflict(None, Some(&born("1982")), &[DELETED]);
    deleted.state = decision(None);
    let mut long = open.clone();
    long.fit(10);
    let mut shared = open.clone();
    shared.patients = ["a", "b", "c"].map(|id| format!("Patient/{id}").parse().unwrap()).into();
    let mut nobodys = open.clone();
    nobodys.patients = BTreeSet::new();
    let mut later = open.clone();
    later.others = vec![r#"{"url":"urn:tributary:conflict:moon","valueString":"full"}"#.to_owned()];
    vec![open, without_base, again, confirmed, decided, deleted, long, shared, nobodys, later]
}

#[test]
fn every_form_is_read_as_it_was_written() {
    for conflict in forms() {
        let name = name_of(&conflict);
        let body = conflict.to_body(&name);
        assert_eq!(read(&body).unwrap(), Some(conflict.clone()), "{body}");
        let record = Record::parse(body.as_bytes(), &Limits::default()).unwrap();
        assert_eq!((&record.reference, &record.patients), (&name, &conflict.patients), "{body}");
        assert!(is_name(&name) && record.body.as_deref() == Some(&*body));
    }
}

#[test]
fn conflicts_of_version_1_can_be_read_for_ever() {
    let kept = include_str!("../../fixtures/v1/conflicts.ndjson");
    let written = forms().into_iter().map(|one| one.to_body(&name_of(&one)));
    assert!(kept.lines().eq(written), "a conflict has other bytes now: keep the samples of before");
    for line in kept.lines() {
        assert!(read(line).unwrap().is_some(), "{line}");
    }
}

#[test]
fn its_name_is_the_same_at_both_ends_and_another_for_other_states() {
    let [one, other] = [Digest([1; 32]), Digest([2; 32])];
    let name = |record: &str, one, other| Conflict::name(&record.parse().unwrap(), one, other);
    let named = name("Patient/a", one, other).unwrap();
    assert_eq!(named, name("Patient/a", other, one).unwrap());
    assert_ne!(named, name("Patient/b", one, other).unwrap());
    assert_ne!(named, name("Patient/a", one, one).unwrap());
    assert_eq!((named.id().len(), named.is_reference()), (49, false));
    let ward = name("Location/a", one, other).unwrap();
    assert!(ward.is_reference() && ward.id().starts_with("reference-conflict-"), "{ward}");
}

#[test]
fn what_is_no_conflict_is_none_and_half_a_conflict_is_refused() {
    for text in [
        BASE,
        r#"{"resourceType":"Basic","id":"x"}"#,
        r#"{"resourceType":"Basic","code":{"coding":[{"system":"urn:x","code":"conflict"}]}}"#,
    ] {
        assert_eq!(read(text).unwrap(), None, "{text}");
    }
    let whole = of_births().to_body(&name_of(&of_births()));
    for part in ["record", "state", "parent-site", "parent", "child", "result"] {
        let broken = whole.replace(&format!("conflict:{part}\""), "conflict:odd\"");
        let error = read(&broken).unwrap_err().to_string();
        assert!(error.contains(part) && !error.contains("1981"), "{part}: {error}");
    }
    assert!(read("{").is_err());
}

#[test]
fn a_version_that_is_not_what_its_digest_says_is_refused() {
    let whole = of_births().to_body(&name_of(&of_births()));
    let other = |text: &str| text.replace("amina", "beno");
    let mut deleted = conflict(None, Some(&born("1982")), &[DELETED]);
    deleted.parent.digest = digest(Some(BASE)).short();
    for (forged, part, why) in [
        (whole.replace("1981", "1991"), "parent", "not what its digest says"),
        (whole.replace("1982", "1992"), "child", "not what its digest says"),
        (whole.replace("\\\"amina", "\\\"beno"), "base", "of another record"),
        (other(&whole).replace("Patient/beno", "Patient/amina"), "base", "of another record"),
        (deleted.to_body(&name_of(&deleted)), "parent", "not what its digest says"),
    ] {
        assert_ne!(forged, whole);
        let error = read(&forged).unwrap_err().to_string();
        assert!(error.contains(part) && error.contains(why), "{error}");
        assert!(!error.contains("beno") && !error.contains("1991"), "{error}");
    }
}

#[test]
fn states_of_other_patients_are_left_out() {
    let pulse = |patient: &str| {
        let subject = format!(r#"{{"reference":"Patient/{patient}"}}"#);
        format!(r#"{{"resourceType":"Observation","id":"x","subject":{subject}}}"#)
    };
    let mut moved = of_births();
    moved.record = "Observation/x".parse().unwrap();
    moved.base = Some(version(Some(&pulse("a"))));
    moved.parent = version(Some(&pulse("a")));
    moved.child = version(Some(&pulse("b")));
    moved.result = version(None);
    moved.set_patients(["Patient/a".parse().unwrap()].into());
    let left_out =
        moved.versions().filter(|(_, one)| one.body == Body::LeftOut).map(|(name, _)| name);
    assert_eq!(left_out.collect::<Vec<_>>(), ["child"]);
    // Who may see b alone may see the conflict of both, and not what was said of a alone.
    let mut shared = moved.clone();
    let both = pulse("a").replace("}}", r#"},"performer":[{"reference":"Patient/b"}]}"#);
    shared.parent = version(Some(&both));
    shared.set_patients(["Patient/a", "Patient/b"].map(|name| name.parse().unwrap()).into());
    let here = shared.versions().filter(|(_, one)| one.body != Body::LeftOut);
    assert_eq!(here.map(|(name, _)| name).collect::<Vec<_>>(), ["parent", "result"]);
    moved.set_patients(BTreeSet::new());
    assert!(moved.versions().all(|(name, one)| name == "result" || one.body == Body::LeftOut));
}

#[test]
fn the_longest_bodies_are_left_out_first() {
    let mut long = of_births();
    let wide = BASE.replace("unknown", &"x".repeat(1_000));
    long.child = version(Some(&wide));
    let whole = |conflict: &Conflict| {
        let here = conflict.versions().filter(|(_, one)| one.body != Body::LeftOut);
        here.map(|(name, _)| name).collect::<Vec<_>>()
    };
    long.fit(4_000);
    assert_eq!(whole(&long), ["base", "parent", "child", "result"]);
    long.fit(500);
    assert_eq!(whole(&long), ["base", "parent", "result"]);
    long.fit(50);
    assert!(whole(&long).is_empty());
}

/// Which of two states stands, asked at both ends.
fn stands(parent: Option<&str>, child: Option<&str>) -> Side {
    let at_child = meet(child, parent, Side::Parent);
    let at_parent = meet(parent, child, Side::Child);
    match (at_child, at_parent) {
        (Plan::TakeIncoming, Plan::KeepLocal) => Side::Parent,
        (Plan::KeepLocal, Plan::TakeIncoming) => Side::Child,
        other => panic!("the ends disagree: {other:?}"),
    }
}

#[test]
fn of_two_states_of_a_conflict_the_later_stands_and_of_equals_the_parents() {
    let open = of_births();
    let close =
        |choice: &Choice| close(&open, Some(&born("1981")), choice, mark()).unwrap().conflict;
    let confirmed = close(&Choice::Confirm);
    let same = close(&Choice::Side(Side::Parent));
    let moved = close(&Choice::Side(Side::Child));
    let edited = close(&Choice::Edit(born("1983")));
    let again = reopen(&moved, Some(&born("1982")), mark()).unwrap().conflict;
    // Each stands over those before it; those in one row are equals.
    let rows = [vec![open], vec![confirmed, same], vec![moved, edited], vec![again]];
    let bodies =
        rows.map(|row| row.iter().map(|one| one.to_body(&name_of(one))).collect::<Vec<_>>());
    for (lower, one) in bodies.iter().enumerate() {
        for two in &bodies[lower + 1..] {
            for (one, two) in one.iter().flat_map(|one| two.iter().map(move |two| (one, two))) {
                assert_eq!(stands(Some(one), Some(two)), Side::Child);
                assert_eq!(stands(Some(two), Some(one)), Side::Parent);
            }
        }
        for other in one {
            assert_eq!(stands(Some(&one[0]), Some(other)), Side::Parent);
            assert_eq!(stands(None, Some(other)), Side::Child);
            assert_eq!(stands(Some("{}"), Some(other)), Side::Child);
        }
    }
    assert_eq!(stands(None, None), Side::Parent);
}

fn both(parent: &str, child: &str) -> (String, String) {
    (
        BASE.replace("1980", "1981").replace("unknown", parent),
        born("1982").replace("unknown", child),
    )
}

#[test]
fn a_decision_takes_what_was_chosen_and_leaves_the_rest() {
    let (parent, child) = both("male", "female");
    let two = conflict(Some(&parent), Some(&child), &["birthDate", "gender"]);
    let edited = parent.replace("amina\"", "amina\",\"active\":true");
    let sides = |list: &[(&str, Side)]| {
        Choice::Elements(list.iter().map(|(path, side)| ((*path).to_owned(), *side)).collect())
    };
    let cases: [(Choice, &str, &str); 6] = [
        (Choice::Confirm, "1981 male", ""),
        (Choice::Side(Side::Parent), "1981 male", "parent"),
        (Choice::Side(Side::Child), "1982 female", "child"),
        (sides(&[("gender", Side::Child)]), "1981 female", "gender=child"),
        (
            sides(&[("birthDate", Side::Child), ("gender", Side::Parent)]),
            "1982 male",
            "birthDate=child, gender=parent",
        ),
        (Choice::Edit(parent.replace("male", "other")), "1981 other", "edit"),
    ];
    for (choice, wanted, how) in cases {
        let done = close(&two, Some(&edited), &choice, mark()).unwrap();
        let record = done.record.unwrap();
        let [year, gender] = [0, 5].map(|at| &wanted[at..]);
        assert!(
            record.contains(&year[..4]) && record.contains(&format!("\"{gender}\"")),
            "{record}"
        );
        assert!(record.contains("\"active\":true") && done.contested.is_empty(), "{record}");
        match done.conflict.state {
            State::Confirmed(found) => assert_eq!((found, how), (mark(), "")),
            State::Decided(found) => assert_eq!((found.mark, &*found.how), (mark(), how)),
            State::Open(_) => panic!("it is open"),
        }
    }
}

#[test]
fn a_reversal_gives_back_what_stood_and_keeps_later_edits() {
    let (parent, child) = both("male", "female");
    let two = conflict(Some(&parent), Some(&child), &["birthDate", "gender"]);
    let done = close(&two, Some(&parent), &Choice::Side(Side::Child), mark()).unwrap();
    let since = done.record.unwrap().replace("female", "other");
    let back = reopen(&done.conflict, Some(&since), mark()).unwrap();
    assert_eq!(back.contested, ["gender"]);
    let record = back.record.unwrap();
    assert!(record.contains("1981") && record.contains("other"), "{record}");
    assert_eq!((back.conflict.round, back.conflict.state.name()), (1, "open"));
    assert!(reopen(&back.conflict, Some(&since), mark()).is_err());
}

#[test]
fn a_choice_that_cannot_be_is_refused_with_what_can() {
    let births = of_births();
    let now = born("1981");
    let refused = |conflict: &Conflict, choice: &Choice| {
        close(conflict, Some(&now), choice, mark()).unwrap_err().to_string()
    };
    let odd = Choice::Elements(BTreeMap::from([("gender".to_owned(), Side::Child)]));
    assert_eq!(refused(&births, &odd), "gender is not in conflict; these are: birthDate");
    for choice in [Choice::Keep, Choice::Delete] {
        assert!(refused(&births, &choice).contains("neither side deleted"));
    }
    let closed = close(&births, Some(&now), &Choice::Confirm, mark()).unwrap().conflict;
    let error = refused(&closed, &Choice::Confirm);
    assert_eq!(error, "it was confirmed by dr-otieno at kisumu, 2023-11-14T22:13:20Z");
    let mut long = births;
    long.fit(10);
    let error = refused(&long, &Choice::Side(Side::Child));
    assert!(error.contains("centre") && error.contains("clinic"), "{error}");
}

#[test]
fn a_deletion_is_decided_whole() {
    let edited = born("1982");
    let gone = conflict(None, Some(&edited), &[DELETED]);
    for (choice, alive) in [
        (Choice::Keep, true),
        (Choice::Delete, false),
        (Choice::Side(Side::Parent), false),
        (Choice::Side(Side::Child), true),
        (Choice::Elements(BTreeMap::from([(DELETED.to_owned(), Side::Parent)])), false),
    ] {
        let done = close(&gone, Some(&edited), &choice, mark()).unwrap();
        assert_eq!(done.record.is_some(), alive, "{choice:?}");
        let back = reopen(&done.conflict, done.record.as_deref(), mark()).unwrap();
        assert_eq!(back.record.as_deref(), Some(&*edited), "{choice:?}");
    }
    // Somebody went on with the record meanwhile: the decision stands, and says so.
    let since = edited.replace("unknown", "female");
    let done = close(&gone, Some(&since), &Choice::Delete, mark()).unwrap();
    assert_eq!((done.record, done.contested), (None, vec![DELETED.to_owned()]));
}
