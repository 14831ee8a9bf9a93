use super::*;
use crate::json::parse;

/// The keys as short texts: `Identifier sys|1`, `Name amina`, `Date low..high`.
fn found(kind: &str, text: &str) -> Vec<String> {
    let json = parse(text.as_bytes(), 64).unwrap();
    let shown = keys(kind.parse().unwrap(), &json).into_iter().map(|key| match key.value {
        SearchValue::Token { system, code } => format!("{:?} {system}|{code}", key.param),
        SearchValue::Text(text) => format!("{:?} {text}", key.param),
        SearchValue::Date { low, high } => format!("{:?} {low}..{high}", key.param),
        SearchValue::Reference(record) => format!("{:?} {record}", key.param),
    });
    shown.collect()
}

const DAY: i64 = 86_400_000;

#[test]
fn a_patient_is_found_by_identifiers_names_birth_date_and_gender() {
    let text = r#"{"resourceType":"Patient",
        "identifier":[{"system":"http://id.example","value":"10001-7"},{"value":"x"},{"use":"old"}],
        "name":[{"family":" Otieno","given":["Amina","ACHIENG"],"prefix":["Dr"]},
            {"text":"Mama Amina","family":"Otieno"}],
        "birthDate":"1970-01-02","gender":"female"}"#;
    assert_eq!(
        found("Patient", text),
        [
            "Identifier |x",
            "Identifier http://id.example|10001-7",
            "Name achieng",
            "Name amina",
            "Name dr",
            "Name mama amina",
            "Name otieno",
            "Family otieno",
            "Given achieng",
            "Given amina",
            &format!("Birthdate {DAY}..{}", 2 * DAY - 1),
            "Gender |female",
        ]
    );
}

#[test]
fn places_and_organizations_are_found_by_name_and_alias() {
    for kind in ["Organization", "Location", "HealthcareService"] {
        let keys = found(kind, r#"{"name":"Kisumu East","alias":["KE"]}"#);
        assert_eq!(keys, ["Name ke", "Name kisumu east"], "{kind}");
    }
}

#[test]
fn clinical_records_are_found_by_the_date_of_their_type() {
    let day = format!("Date {DAY}..{}", 2 * DAY - 1);
    for (kind, element) in [
        ("Observation", "effectiveDateTime"),
        ("Condition", "recordedDate"),
        ("Procedure", "performedDateTime"),
        ("Immunization", "occurrenceDateTime"),
        ("DiagnosticReport", "effectiveDateTime"),
        ("MedicationRequest", "authoredOn"),
        ("AllergyIntolerance", "recordedDate"),
        ("Composition", "date"),
        ("DocumentReference", "date"),
        ("QuestionnaireResponse", "authored"),
    ] {
        let text = format!(r#"{{"{element}":"1970-01-02"}}"#);
        assert_eq!(found(kind, &text), [day.as_str()], "{kind}");
    }
}

#[test]
fn a_period_covers_from_its_start_to_the_end_of_its_end() {
    for (period, expected) in [
        (r#"{"start":"1970-01-02","end":"1970-01-03"}"#, Some((DAY, 3 * DAY - 1))),
        (r#"{"start":"1970-01-02"}"#, Some((DAY, i64::MAX))),
        (r#"{"end":"1970-01-02"}"#, Some((i64::MIN, 2 * DAY - 1))),
        (r#"{"start":"1970-01-03","end":"1970-01-02"}"#, None),
        (r#"{"start":"soon","end":"1970-01-02"}"#, None),
        ("{}", None),
    ] {
        let expected: Vec<String> =
            expected.iter().map(|(low, high)| format!("Date {low}..{high}")).collect();
        assert_eq!(found("Encounter", &format!(r#"{{"period":{period}}}"#)), expected, "{period}");
        let text = format!(r#"{{"effectivePeriod":{period}}}"#);
        assert_eq!(found("Observation", &text), expected, "{period}");
    }
}

#[test]
fn codes_are_found_by_every_coding() {
    let concept = r#"{"coding":[{"system":"http://loinc.org","code":"8480-6"},{"code":"5085"},
        {"display":"no code"}],"text":"Systolic"}"#;
    for (kind, element) in [
        ("Observation", "code"),
        ("Condition", "code"),
        ("MedicationRequest", "medicationCodeableConcept"),
        ("Immunization", "vaccineCode"),
    ] {
        let keys = found(kind, &format!(r#"{{"{element}":{concept}}}"#));
        assert_eq!(keys, ["Code |5085", "Code http://loinc.org|8480-6"], "{kind}");
    }
    let history = format!(r#"{{"condition":[{{"code":{concept}}}]}}"#);
    assert_eq!(found("FamilyMemberHistory", &history).len(), 2);
}

#[test]
fn a_record_is_found_by_its_encounter_wherever_its_type_names_it() {
    for text in [
        r#"{"encounter":{"reference":"Encounter/1"}}"#,
        r#"{"context":{"reference":"http://a.example/fhir/Encounter/1"}}"#,
        r#"{"context":{"encounter":[{"reference":"Encounter/1"}]}}"#,
        r#"{"item":[{"encounter":[{"reference":"Encounter/1"}]}]}"#,
    ] {
        assert_eq!(found("Claim", text), ["Encounter Encounter/1"], "{text}");
    }
    assert!(found("ChargeItem", r#"{"context":{"reference":"EpisodeOfCare/1"}}"#).is_empty());
}

#[test]
fn what_cannot_be_understood_is_not_indexed_and_not_refused() {
    for text in [
        r#"{"identifier":"x","name":7,"birthDate":"long ago","gender":null}"#,
        r#"{"identifier":[null,[[{"value":"x"}]],{"value":7}],"name":[[]],"birthDate":{}}"#,
        r#"{"name":{"family":{},"given":[1,null,"  "]},"identifier":{"value":" "}}"#,
    ] {
        assert_eq!(found("Patient", text), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn defect_21_a_birth_date_is_never_shifted() {
    let json = parse(br#"{"resourceType":"Patient","birthDate":"1990-01-01"}"#, 64).unwrap();
    let keys = keys("Patient".parse().unwrap(), &json);
    let (low, high) = (631_152_000_000, 631_238_399_999);
    let value = SearchValue::Date { low, high };
    assert_eq!(keys, [SearchKey { param: Param::Birthdate, value }]);
}

#[test]
fn keys_are_bounded_in_number_and_length() {
    let many: Vec<String> = (0..1_000).map(|n| format!(r#"{{"value":"{n}"}}"#)).collect();
    let text = format!(
        r#"{{"identifier":[{}],"name":[{{"family":"{}"}}]}}"#,
        many.join(","),
        "x".repeat(100_000)
    );
    let keys = found("Patient", &text);
    assert_eq!(keys.iter().filter(|key| key.starts_with("Identifier")).count(), 100);
    assert!(keys.contains(&format!("Name {}", "x".repeat(200))));
}
