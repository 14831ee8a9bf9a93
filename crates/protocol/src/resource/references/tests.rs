use super::*;
use crate::json::parse;

#[test]
fn a_reference_names_a_record_in_relative_versioned_or_absolute_form() {
    for (text, named) in [
        ("Patient/1", Some("Patient/1")),
        ("Patient/1/_history/7", Some("Patient/1")),
        ("https://centre.example/fhir/Patient/a-b.c", Some("Patient/a-b.c")),
        ("http://x:8080/openmrs/ws/fhir2/R4/Encounter/1/_history/2", Some("Encounter/1")),
        ("", None),
        ("#p1", None),
        ("Patient", None),
        ("Patient/", None),
        ("/Patient/1", None),
        ("fhir/Patient/1", None),
        ("Patient/1/", None),
        ("Patient/1/_history/", None),
        ("Patient/1/_history/1/2", None),
        ("Patient/1?x=y", None),
        ("Patient?identifier=x|1", None),
        ("Pacient/1", None),
        ("urn:uuid:5c5d5c46-0000-4000-8000-000000000000", None),
        ("https://centre.example", None),
        ("http://Patient/1", None),
        ("Patient?url=http://a.example/Patient/1", None),
        ("http://a.example/fhir/Patient/1#name", None),
    ] {
        assert_eq!(record_named(text), named.map(|n| n.parse().unwrap()), "{text}");
    }
}

#[test]
fn every_reference_is_found_with_its_path() {
    let text = r##"{"subject":{"reference":"Patient/1","display":"x"},
        "participant":[{"individual":{"reference":"Practitioner/2"}}],
        "contained":[{"id":"c","partOf":{"reference":"#"}}],
        "extension":[{"valueReference":{"identifier":{"value":"1"}}}],"reference":7}"##;
    let json = parse(text.as_bytes(), 64).unwrap();
    let found: Vec<_> = references(&json).into_iter().map(|(p, t)| (p, t.decode())).collect();
    let found: Vec<_> = found.iter().map(|(path, text)| (path.as_str(), &**text)).collect();
    assert_eq!(
        found,
        [
            ("subject", "Patient/1"),
            ("participant[0].individual", "Practitioner/2"),
            ("contained[0].partOf", "#"),
        ]
    );
}

#[test]
fn urns_are_rewritten_in_references_and_links_and_nowhere_else() {
    let text = r#"{"identifier":[{"system":"urn:ietf:rfc:3986","value":"urn:uuid:a"}],
        "subject":{"reference":"urn:uuid:a"},"url":"urn:uuid:a","n":1.00,
        "instantiatesUri":["urn:uuid:a","urn:uuid:b"],
        "content":[{"attachment":{"url":"urn:uuid:a"}}],
        "note":[{"text":"see urn:uuid:a"}],"valueString":"urn:uuid:a",
        "contained":[{"performer":{"reference":"urn:uuid:a"}},
            {"resourceType":"Bundle","entry":[{"fullUrl":"urn:uuid:a"}]}]}"#;
    let json = parse(text.as_bytes(), 64).unwrap();
    let mut target = |urn: &str| (urn == "urn:uuid:a").then(|| "Patient/1".to_owned());
    let expected = r#"{"identifier":[{"system":"urn:ietf:rfc:3986","value":"urn:uuid:a"}],
        "subject":{"reference":"Patient/1"},"url":"Patient/1","n":1.00,
        "instantiatesUri":["Patient/1","urn:uuid:b"],
        "content":[{"attachment":{"url":"Patient/1"}}],
        "note":[{"text":"see urn:uuid:a"}],"valueString":"urn:uuid:a",
        "contained":[{"performer":{"reference":"Patient/1"}},
            {"resourceType":"Bundle","entry":[{"fullUrl":"urn:uuid:a"}]}]}"#;
    let expected = parse(expected.as_bytes(), 64).unwrap();
    assert_eq!(rewrite_references(&json, &mut target).to_text(), expected.to_text());
}

#[test]
fn conditional_references_are_asked_for_too() {
    let json = parse(br#"{"subject":{"reference":"Patient?identifier=x"}}"#, 64).unwrap();
    let mut asked = Vec::new();
    let same = rewrite_references(&json, &mut |text| {
        asked.push(text.to_owned());
        None
    });
    assert_eq!(asked, ["Patient?identifier=x"]);
    assert_eq!(same, json);
}
