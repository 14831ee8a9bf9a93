use super::*;
use crate::error::RefusalKind;
use crate::json::parse;

fn read(text: &str) -> Result<Record, Refusal> {
    Record::parse(text.as_bytes(), &Limits::default())
}

#[test]
fn a_record_has_everything_that_a_store_keeps_beside_its_body() {
    let text = r#"{ "resourceType": "Encounter", "id": "e1",
        "meta": { "versionId": "3", "lastUpdated": "2026-11-23T08:15:30Z" },
        "subject": { "reference": "Patient/amina" }, "partOf": null,
        "serviceProvider": { "reference": "Organization/7" },
        "period": { "start": "1970-01-01", "end": "1970-01-01" }, "x": 1.00 }"#;
    let record = read(text).unwrap();
    let body = concat!(
        r#"{"resourceType":"Encounter","id":"e1","subject":{"reference":"Patient/amina"},"#,
        r#""partOf":null,"serviceProvider":{"reference":"Organization/7"},"#,
        r#""period":{"start":"1970-01-01","end":"1970-01-01"},"x":1.00}"#
    );
    assert_eq!(record.body.as_deref(), Some(body));
    assert_eq!(record.reference.to_string(), "Encounter/e1");
    let amina: RecordRef = "Patient/amina".parse().unwrap();
    assert_eq!(record.patients, BTreeSet::from([amina.clone()]));
    assert_eq!(record.places, [(amina, "encounter Organization/7".parse().unwrap())]);
    assert_eq!(record.keys.len(), 1);
    assert_eq!(read(body).unwrap(), record);
}

#[test]
fn what_is_no_resource_is_refused_and_told_why() {
    for (text, kind, said) in [
        ("", RefusalKind::Malformed, "bad JSON at line 1, column 1"),
        ("[]", RefusalKind::Invalid, "a resource is a JSON object"),
        ("{}", RefusalKind::Invalid, "has no resourceType"),
        (r#"{"resourceType":7,"id":"1"}"#, RefusalKind::Invalid, "has no resourceType"),
        (r#"{"resourceType":"Pacient","id":"1"}"#, RefusalKind::Invalid, "not one of FHIR R4"),
        (r#"{"resourceType":"Patient"}"#, RefusalKind::Invalid, "the Patient has no id"),
        (r#"{"resourceType":"Patient","id":null}"#, RefusalKind::Invalid, "the Patient has no id"),
        (r#"{"resourceType":"Patient","id":"a b"}"#, RefusalKind::Invalid, "the id of a Patient"),
        (r#"{"resourceType":"Patient","id":""}"#, RefusalKind::Invalid, "the id of a Patient"),
    ] {
        let refusal = read(text).unwrap_err();
        assert_eq!(refusal.kind, kind, "{text}");
        assert!(refusal.reason.contains(said), "{text}: {refusal}");
    }
    let long = format!(r#"{{"resourceType":"Patient","id":"{}"}}"#, "x".repeat(65));
    assert!(read(&long).is_err());
}

#[test]
fn a_resource_over_the_limit_is_refused_and_the_limit_named() {
    let limits = Limits { resource_bytes: 60, ..Limits::default() };
    let text = |padding: usize| {
        format!(r#"{{"resourceType":"Basic","id":"1","x":"{}"}}"#, "x".repeat(padding))
    };
    assert!(Record::parse(text(10).as_bytes(), &limits).is_ok());
    let refusal = Record::parse(text(100).as_bytes(), &limits).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::OverLimit);
    assert!(refusal.reason.contains("resource_bytes = 60"), "{refusal}");
    let long = text(100);
    assert!(Record::from_json(&parse(long.as_bytes(), 64).unwrap(), &limits).is_err());
}

#[test]
fn a_resource_that_is_not_the_one_of_its_url_is_refused() {
    let json = parse(br#"{"resourceType":"Patient","id":"1"}"#, 64).unwrap();
    let limits = Limits::default();
    assert!(Record::expected(&json, &"Patient/1".parse().unwrap(), &limits).is_ok());
    let refusal = Record::expected(&json, &"Patient/2".parse().unwrap(), &limits).unwrap_err();
    assert_eq!(refusal.reason, "the resource is Patient/1, but the URL names Patient/2");
}

#[test]
fn an_id_is_given_right_after_the_type() {
    for (text, expected) in [
        (r#"{"resourceType":"Basic","x":1.0}"#, r#"{"resourceType":"Basic","id":"n-1","x":1.0}"#),
        (r#"{"id":"old","resourceType":"Basic"}"#, r#"{"resourceType":"Basic","id":"n-1"}"#),
        (r#"{"x":1,"resourceType":"Basic"}"#, r#"{"x":1,"resourceType":"Basic","id":"n-1"}"#),
    ] {
        let json = parse(text.as_bytes(), 64).unwrap();
        assert_eq!(with_id(&json, "n-1").unwrap().to_text(), expected);
        assert!(with_id(&json, "n 1").is_err());
    }
    assert!(with_id(&Json::Null, "1").is_err());
    assert!(with_id(&parse(b"{}", 64).unwrap(), "1").is_err());
}

#[test]
fn defect_23_elements_that_nobody_here_knows_stay_as_they_are() {
    let text = concat!(
        r#"{"resourceType":"Patient","id":"1","name":[{"id":"n1","given":["A","B"],"#,
        r#""_given":[null,{"extension":[{"url":"u","valueCode":"IN"}]}]}],"birthDate":"1990","#,
        r#""_birthDate":{"extension":[{"url":"estimated","valueBoolean":true}]},"#,
        r#""unheardOf":{"deep":[1.00,-0,1E5,{"x":null}]},"deceasedBoolean":false}"#
    );
    assert_eq!(read(text).unwrap().body.as_deref(), Some(text));
}

#[test]
fn defect_25_commas_cdata_ends_and_control_characters_come_through_in_any_string() {
    let odd = r#"a,b;c|d ]]> & <x> \u0001\u001f\t\n\" \\ \u2028"#;
    let text = format!(r#"{{"resourceType":"Patient","id":"1","name":[{{"family":"{odd}"}}]}}"#);
    let record = read(&text).unwrap();
    assert_eq!(record.body.as_deref(), Some(&*text));
    assert!(read(r#"{"resourceType":"Basic","id":"1","x":null}"#).is_ok());
    assert!(read("{\"resourceType\":\"Basic\",\"id\":\"1\",\"x\":\"\0\"}").is_err());
    assert!(read(r#"{"resourceType":"Basic","id":"1","x":"\u0000"}"#).is_err());
}

/// Examples of FHIR R4 that are refused, and why.
const REFUSED_EXAMPLES: [(&str, &str); 1] = [(
    "questionnaireresponse-extensions-QuestionnaireResponse-item-subject.json",
    "the id of a SearchParameter must be 1 to 64 letters, digits, '-' and '.'",
)];

/// Every resource of the examples of FHIR R4, where `TRIBUTARY_TEST_DATA` says where they are.
#[test]
fn every_example_of_r4_keeps_its_digest_through_its_body_or_is_skipped_without_test_data() {
    let Some(data) = std::env::var_os("TRIBUTARY_TEST_DATA") else {
        eprintln!("SKIPPED: TRIBUTARY_TEST_DATA is not set");
        return;
    };
    let folder = std::path::Path::new(&data).join("hl7-r4-examples");
    let mut refused = Vec::new();
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        match Record::parse(&std::fs::read(entry.path()).unwrap(), &Limits::default()) {
            Ok(record) => {
                assert_eq!(read(record.body.as_ref().unwrap()).unwrap(), record);
                count += 1;
            }
            Err(refusal) => {
                refused.push((entry.file_name().into_string().unwrap(), refusal.reason));
            }
        }
    }
    let stated: Vec<_> = REFUSED_EXAMPLES.map(|(f, why)| (f.to_owned(), why.to_owned())).into();
    assert_eq!(refused, stated);
    assert!(count > 0);
}
