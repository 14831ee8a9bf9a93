use super::*;
use crate::json;

const FIND: &str = include_str!("../../fixtures/v1/patients-find.json");
const FOUND: &str = include_str!("../../fixtures/v1/patients-found.json");
const FETCH: &str = include_str!("../../fixtures/v1/patients-fetch.json");

fn question(json: &str) -> FindQuestion {
    serde_json::from_str(json).unwrap()
}

#[test]
fn questions_and_answers_of_version_1_can_be_read_for_ever() {
    assert_eq!(serde_json::to_string(&question(FIND)).unwrap(), FIND.trim_end());
    let answer: FindAnswer = serde_json::from_str(FOUND).unwrap();
    assert_eq!(serde_json::to_string(&answer).unwrap(), FOUND.trim_end());
    let fetch: FetchQuestion = serde_json::from_str(FETCH).unwrap();
    assert_eq!(serde_json::to_string(&fetch).unwrap(), FETCH.trim_end());
}

#[test]
fn fields_of_a_later_version_are_passed_over() {
    let asked = question(r#"{"identifier":{"value":"7","kind":"x"},"sounds_like":true}"#);
    assert!(asked.wanted(&Rules::default()).is_ok());
    let answer: FindAnswer =
        serde_json::from_str(r#"{"patients":[{"patient":"Patient/a","photo":"x"}],"s":1}"#)
            .unwrap();
    assert_eq!(answer.patients.len(), 1);
}

#[test]
fn a_search_needs_an_identifier_or_all_of_name_sex_and_birth_date() {
    for (json, good) in [
        (r#"{"identifier":{"system":"urn:x","value":"7"}}"#, true),
        (r#"{"identifier":{"value":" 7 "}}"#, true),
        (r#"{"identifier":{"system":"urn:x","value":" "}}"#, false),
        (r#"{"identifier":{"value":"7"},"name":"amina"}"#, false),
        (r#"{"name":"amina","sex":"female","born":"1984-02-28"}"#, true),
        (r#"{"name":"amina juma","sex":"female","born":"1984-02"}"#, true),
        (r#"{"name":"amina","sex":"female","born":"1984"}"#, true),
        (r#"{"name":"amina","sex":"female"}"#, false),
        (r#"{"name":"amina","born":"1984"}"#, false),
        (r#"{"sex":"female","born":"1984"}"#, false),
        (r#"{"name":"a juma","sex":"female","born":"1984"}"#, false),
        (r#"{"name":" ","sex":"female","born":"1984"}"#, false),
        (r#"{"name":"ab cd ef gh ij kl mn","sex":"female","born":"1984"}"#, false),
        (r#"{"name":"amina","sex":"F","born":"1984"}"#, false),
        (r#"{"name":"amina","sex":"female","born":"28.2.1984"}"#, false),
        (r#"{"name":"amina","sex":"female","born":"1984-02-28T10:00:00Z"}"#, false),
        ("{}", false),
    ] {
        assert_eq!(question(json).wanted(&Rules::default()).is_ok(), good, "{json}");
    }
    let rules = Rules { find: false, ..Rules::default() };
    let refused = question(FIND).wanted(&rules);
    assert!(matches!(refused, Err(Denied::Forbidden(_))), "{refused:?}");
}

fn fetch(patient: &str, reason: &str, days: Option<u32>) -> FetchQuestion {
    let (patient, reason) = (patient.to_owned(), reason.to_owned());
    FetchQuestion { patient, reason, days, author: None }
}

#[test]
fn a_visit_needs_a_patient_a_reason_and_days_within_the_rule() {
    let rules = Rules { days_max: 14, reason_min_chars: 5, ..Rules::default() };
    let limits = Limits { reason_chars: 20, ..Limits::default() };
    let visit = |patient, reason, days| fetch(patient, reason, days).visit(&rules, &limits);
    assert_eq!(visit("Patient/a", "walked in", Some(14)).unwrap().days, 14);
    assert_eq!(visit("Patient/a", "walked in", None).unwrap().days, 7);
    assert_eq!(visit("Patient/a", "walked\nin\u{0}", None).unwrap().reason, "walked in");
    for (patient, reason, days, words) in [
        ("Patient/a", "", Some(7), "say which"),
        ("Patient/a", "   ", Some(7), "say which"),
        ("Patient/a", "ill", Some(7), "too short"),
        ("Patient/a", "a reason that goes on and on", Some(7), "reason_chars = 20"),
        ("Observation/a", "walked in", Some(7), "Patient/ID"),
        ("a", "walked in", Some(7), "Patient/ID"),
        ("", "walked in", Some(7), "Patient/ID"),
        ("Patient/a", "walked in", Some(0), "a day or more"),
        ("Patient/a", "walked in", Some(15), "at most 14 days"),
    ] {
        let refused = visit(patient, reason, days).unwrap_err().to_string();
        assert!(refused.contains(words), "{refused}");
    }
    let never = Rules { fetch: false, ..Rules::default() };
    let refused = fetch("Patient/a", "walked in", None).visit(&never, &limits);
    assert!(matches!(refused, Err(Denied::Forbidden(_))), "{refused:?}");
}

#[test]
fn a_hit_says_just_enough_to_recognise_a_person() {
    let text = r#"{"resourceType":"Patient","id":"a","gender":"female","birthDate":"1984-02",
        "name":[{"given":["Amina","Atieno"],"family":"Juma"},{"text":"Mama Ali","family":"x"},{}],
        "identifier":[{"system":"urn:x","value":"7"},{"system":"urn:y"}],
        "telecom":[{"system":"phone","value":"+254 700 000001"}],
        "address":[{"city":"Kisumu"}],"deceasedDateTime":"2026-01-01",
        "managingOrganization":{"reference":"Organization/east"},
        "link":[{"other":{"reference":"Patient/x"},"type":"seealso"},
                {"other":{"reference":"Patient/b"},"type":"replaced-by"}]}"#;
    let resource = json::parse(text.as_bytes(), 10).unwrap();
    let hit = PatientHit::of("Patient/a".parse().unwrap(), &resource);
    assert_eq!(hit.names, ["Amina Atieno Juma", "Mama Ali"]);
    assert_eq!(hit.identifiers.len(), 1);
    assert!(hit.deceased);
    assert_eq!(hit.managed_by.as_deref(), Some("Organization/east"));
    assert_eq!(hit.replaced_by, Some("Patient/b".parse().unwrap()));
    let said = serde_json::to_string(&hit).unwrap();
    assert!(!said.contains("Kisumu") && !said.contains("254"), "{said}");
}

#[test]
fn a_hit_is_made_of_whatever_stands_in_a_patient() {
    for text in [
        r#"{"resourceType":"Patient","id":"a","name":7,"identifier":"x","deceasedBoolean":"no"}"#,
        r#"{"resourceType":"Patient","id":"a","name":[null,[]],"link":[{}],"gender":{}}"#,
    ] {
        let resource = json::parse(text.as_bytes(), 10).unwrap();
        let hit = PatientHit::of("Patient/a".parse().unwrap(), &resource);
        assert!(hit.names.is_empty() && hit.identifiers.is_empty() && !hit.deceased);
    }
}

#[test]
fn the_newest_encounter_says_where_and_when() {
    let text = r#"{"resourceType":"Encounter","location":[{"location":{"reference":"Location/w"}}],
        "serviceProvider":{"reference":"Organization/o"},"period":{"start":"2026-11-20"}}"#;
    let (seen, place) = Seen::of(&json::parse(text.as_bytes(), 10).unwrap());
    assert_eq!(seen.at.as_deref(), Some("2026-11-20"));
    assert_eq!(place, Some("Location/w".parse().unwrap()));
    let text = r#"{"serviceProvider":{"reference":"Organization/o","display":"East"}}"#;
    let (seen, _) = Seen::of(&json::parse(text.as_bytes(), 10).unwrap());
    assert_eq!(seen.place.as_deref(), Some("East"));
}
