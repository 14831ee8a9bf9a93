//! What broke in the systems before this one, where deciding and merging was the cause.

use super::{Outcome, outcome, state};
use crate::reconcile::{DELETED, Plan, Policies, Policy, Side, reconcile};

/// A patient of whom two sites edit different things.
fn amina(birth_date: &str, phone: &str, given: &str) -> String {
    format!(
        r#"{{"resourceType":"Patient","id":"1","identifier":[{{"extension":[{{"url":"http://fhir.openmrs.org/ext/patient/identifier#location","valueReference":{{"reference":"Location/7"}}}}],"id":"5f","use":"official","system":"http://mrn","value":"100GEJ"}}],"name":[{{"id":"9c","use":"official","family":"Juma","given":[{given}]}}],"telecom":[{{"id":"t1","system":"phone","value":"{phone}"}}],"birthDate":"{birth_date}","_birthDate":{{"extension":[{{"url":"http://example.org/estimated","valueBoolean":true}}]}},"address":[{{"id":"a1","use":"home","city":"Kisumu"}}]}}"#
    )
}

fn merged(base: &str, parent: &str, child: &str) -> Outcome {
    outcome(Some(Some(base)), Some(parent), Some(child), Policy::Parent)
}

#[test]
fn defect_18_no_clock_decides_a_conflict() {
    let base = r#"{"meta":{"lastUpdated":"2020-01-01T00:00:00Z"},"gender":"unknown"}"#;
    let parent = r#"{"meta":{"lastUpdated":"2020-01-02T00:00:00Z"},"gender":"male"}"#;
    for childs_clock in ["1970-01-01T00:00:00Z", "2020-01-03T00:00:00Z", "2099-01-01T00:00:00Z"] {
        let child = format!(r#"{{"meta":{{"lastUpdated":"{childs_clock}"}},"gender":"female"}}"#);
        let found = merged(base, parent, &child);
        assert_eq!(found.body.as_deref(), Some(r#"{"gender":"male"}"#), "at {childs_clock}");
        assert_eq!(found.elements, ["gender"]);
    }
}

#[test]
fn defect_19_a_conflict_in_one_element_throws_away_no_edit_of_another() {
    let base = amina("1990-01-01", "0700", r#""Amina""#);
    let parent = amina("1990-02-02", "0711", r#""Amina""#);
    let child = amina("1991-03-03", "0700", r#""Amina","Wanjiru""#);
    let found = merged(&base, &parent, &child);
    assert_eq!(found.body, Some(amina("1990-02-02", "0711", r#""Amina","Wanjiru""#)));
    assert_eq!(found.elements, ["birthDate"]);
}

#[test]
fn defect_20_a_record_brought_back_is_written_and_not_dropped() {
    let gone = None;
    let back = amina("1990-01-01", "0700", r#""Amina""#);
    for side in [Side::Parent, Side::Child] {
        let deleted = state(gone);
        let plan =
            reconcile(Some(deleted), Some(deleted), state(Some(&back)), side, &Policies::default());
        assert_eq!(plan.unwrap(), Plan::TakeIncoming);
    }
}

#[test]
fn defect_20_a_deletion_that_meets_an_edit_is_shown_and_the_edit_stays() {
    let base = amina("1990-01-01", "0700", r#""Amina""#);
    let edited = amina("1990-01-01", "0711", r#""Amina""#);
    for policy in [Policy::Parent, Policy::Child] {
        for (parent, child) in [(None, Some(edited.as_str())), (Some(edited.as_str()), None)] {
            let found = outcome(Some(Some(&base)), parent, child, policy);
            assert_eq!(found.body.as_ref(), Some(&edited));
            assert_eq!(found.elements, [DELETED]);
        }
    }
}

#[test]
fn defect_22_two_edits_in_one_second_are_two_versions() {
    let at = |gender: &str| {
        format!(r#"{{"meta":{{"lastUpdated":"2020-01-01T10:00:00Z"}},"gender":"{gender}"}}"#)
    };
    let (first, second) = (at("male"), at("female"));
    let plan = reconcile(
        Some(state(Some(&first))),
        Some(state(Some(&first))),
        state(Some(&second)),
        Side::Child,
        &Policies::default(),
    );
    assert_eq!(plan.unwrap(), Plan::TakeIncoming);
}

#[test]
fn defect_23_elements_that_one_side_never_touched_survive_its_edits() {
    let base = amina("1990-01-01", "0700", r#""Amina","Wanjiru""#);
    let parent = base.replace("Kisumu", "Nairobi");
    let child = base.replace("0700", "0722");
    let found = merged(&base, &parent, &child);
    assert_eq!(found.elements, Vec::<String>::new());
    // The middle name, the estimated birth date, the identifier's location and the ids of names,
    // identifiers and addresses are all still there, to the byte.
    let expected = base.replace("Kisumu", "Nairobi").replace("0700", "0722");
    assert_eq!(found.body, Some(expected));
}

#[test]
fn defect_26_our_own_bytes_come_back_to_nothing() {
    let ours = amina("1990-01-01", "0700", r#""Amina""#);
    let rewritten = ours.replacen(
        r#""id":"1","#,
        r#""id":"1","meta":{"versionId":"7","lastUpdated":"2020-01-01T00:00:00Z"},"#,
        1,
    );
    let bases = [None, Some(state(None)), Some(state(Some(r#"{"old":true}"#)))];
    for base in bases {
        for echo in [&ours, &rewritten] {
            for side in [Side::Parent, Side::Child] {
                let local = Some(state(Some(&ours)));
                let plan = reconcile(base, local, state(Some(echo)), side, &Policies::default());
                assert_eq!(plan.unwrap(), Plan::AlreadyHave);
            }
        }
    }
}

#[test]
fn defect_26_a_merge_that_comes_back_is_no_third_version() {
    let base = amina("1990-01-01", "0700", r#""Amina""#);
    let parent = amina("1990-01-01", "0711", r#""Amina""#);
    let child = amina("1990-01-01", "0700", r#""Amina","Wanjiru""#);
    let both = merged(&base, &parent, &child).body.unwrap();
    let again = reconcile(
        Some(state(Some(&parent))),
        Some(state(Some(&both))),
        state(Some(&both)),
        Side::Child,
        &Policies::default(),
    );
    assert_eq!(again.unwrap(), Plan::AlreadyHave);
    assert_eq!(merged(&base, &parent, &both).body, Some(both));
}

#[test]
fn a_body_that_is_not_an_object_is_refused() {
    for odd in ["[]", "1", "\"Amina\"", "null"] {
        let plan = reconcile(
            None,
            Some(state(Some("{}"))),
            state(Some(odd)),
            Side::Child,
            &Policies::default(),
        );
        let refusal = plan.unwrap_err();
        assert!(refusal.reason.contains("not a JSON object"), "{refusal}");
        assert!(!refusal.reason.contains("Amina"));
    }
}

#[test]
fn a_record_that_this_site_never_held_is_taken() {
    for body in [Some(r#"{"a":1}"#), None] {
        for base in [None, Some(state(Some(r#"{"a":0}"#)))] {
            let plan = reconcile(base, None, state(body), Side::Parent, &Policies::default());
            assert_eq!(plan.unwrap(), Plan::TakeIncoming);
        }
    }
}

#[test]
fn plans_say_who_moved() {
    let [base, ours, theirs] = [r#"{"a":1,"b":1}"#, r#"{"a":2,"b":1}"#, r#"{"a":1,"b":2}"#];
    let plan = |local, incoming, side| {
        let base = Some(state(Some(base)));
        let local = Some(state(Some(local)));
        reconcile(base, local, state(Some(incoming)), side, &Policies::default()).unwrap()
    };
    assert_eq!(plan(base, theirs, Side::Parent), Plan::TakeIncoming);
    assert_eq!(plan(ours, base, Side::Parent), Plan::KeepLocal);
    let merged = || Plan::Merged { body: r#"{"a":2,"b":2}"#.to_owned() };
    assert_eq!(plan(ours, theirs, Side::Parent), merged());
    assert_eq!(plan(ours, theirs, Side::Child), merged());
    // The merge comes to what one side holds: nothing new is made.
    assert_eq!(plan(ours, r#"{"a":2,"b":2}"#, Side::Child), Plan::TakeIncoming);
    assert_eq!(plan(r#"{"a":2,"b":2}"#, ours, Side::Child), Plan::KeepLocal);
}

#[test]
fn conflicts_never_show_a_value() {
    let base = amina("1990-01-01", "0700", r#""Amina""#);
    let parent = amina("1990-02-02", "0700", r#""Aminah""#)
        .replace("Kisumu", "Nairobi")
        .replace(r#""value":"100GEJ""#, r#""value":"100GEJ","period":{"end":"2020"}"#)
        .replace(r#""value":"0700""#, r#""value":"0700","use":"home""#);
    let child = amina("1991-03-03", "0700", r#""Amina","Wanjiru""#)
        .replace("Kisumu", "Mombasa")
        .replace(r#""value":"100GEJ""#, r#""value":"100GEJ","period":{"end":"2021"}"#)
        .replace(r#""value":"0700""#, r#""value":"0700","use":"work""#);
    assert_eq!(
        merged(&base, &parent, &child).elements,
        [
            "address[home].city",
            "birthDate",
            "identifier[http://mrn].period",
            "name[official].given",
            "telecom[phone].use",
        ]
    );
}

#[test]
fn deep_nesting_and_long_lists_are_merged_in_good_time() {
    let deep = |leaf: &str| format!("{}{leaf}{}", r#"{"a":"#.repeat(400), "}".repeat(400));
    let found = merged(&deep("1"), &deep("2"), &deep("3"));
    assert_eq!(found.body, Some(deep("2")));
    let list = |item: &dyn Fn(usize) -> String| {
        let items: Vec<String> = (0..5_000).map(item).collect();
        format!(r#"{{"identifier":[{}]}}"#, items.join(","))
    };
    let added = |mark: &str| list(&|n| format!(r#"{{"value":"{mark}{n}"}}"#));
    let found = merged(r#"{"identifier":[]}"#, &added("p"), &added("c"));
    assert_eq!(found.body.map(|body| body.matches("value").count()), Some(10_000));
    let edited = |usage: &str| list(&|n| format!(r#"{{"value":"{n}","use":"{usage}"}}"#));
    let found = merged(&edited("usual"), &edited("old"), &edited("temp"));
    assert_eq!(found.elements.len(), 501);
    assert_eq!(found.elements.last().map(String::as_str), Some("(and more)"));
    let wide = |value: usize| {
        let members: Vec<String> = (0..20_000).map(|n| format!(r#""k{n}":{value}"#)).collect();
        format!("{{{}}}", members.join(","))
    };
    let found = merged(&wide(1), &wide(2), &wide(3));
    assert_eq!(found.body, Some(wide(2)));
}
