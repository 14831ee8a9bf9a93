//! What entries name, as OpenMRS, Bahmni and this program itself write them.

use protocol::feed::atom::{AtomEntry, AtomLink};
use reqwest::Url;

use super::names::records_of;
use super::{groups, unread};
use protocol::Limits;
use protocol::resource::Record;
use protocol::stream::OutRecord;

fn entry(content: &str) -> AtomEntry {
    AtomEntry { content: Some(content.to_owned()), ..AtomEntry::default() }
}

fn named(entry: &AtomEntry) -> Result<Vec<String>, String> {
    let base = Url::parse("http://emr.example:8080/openmrs/").unwrap();
    let records = records_of(entry, &base).map_err(|error| error.0)?;
    Ok(records.iter().map(ToString::to_string).collect())
}

#[test]
fn an_entry_names_a_record_in_each_of_the_ways_that_are_known() {
    for (content, record) in [
        // OpenMRS's module; the FHIR link is to the retired module's path.
        (r#"{"rest":"/ws/rest/v1/patient/U?v=full","fhir":"/ws/fhir/Patient/U"}"#, "Patient/U"),
        (r#"{"rest":"/ws/rest/v1/obs/O?v=full","fhir":"/ws/fhir/Observation/O"}"#, "Observation/O"),
        (r#"{"rest":"/ws/rest/v1/location/L?v=full"}"#, "Location/L"),
        (r#"{"rest":"/ws/rest/v1/person/U/name/N?v=full"}"#, "Patient/U"),
        (r#"{"rest":"/ws/rest/v1/patient/U/allergy/A"}"#, "AllergyIntolerance/A"),
        // Bahmni's: a plain URL.
        ("/openmrs/ws/rest/v1/bahmnicore/bahmniencounter/E?includeAll=true", "Encounter/E"),
        ("/openmrs/ws/rest/v1/patient/U?v=full", "Patient/U"),
        ("http://emr.example:8080/openmrs/ws/rest/v1/encounter/E", "Encounter/E"),
        // Any other FHIR server.
        ("http://emr.example:8080/openmrs/ws/fhir2/R4/Condition/c/_history/3", "Condition/c"),
        ("\n  /fhir/Patient/U\n", "Patient/U"),
    ] {
        assert_eq!(named(&entry(content)), Ok(vec![record.to_owned()]), "{content}");
    }
    let link = |rel: &str, href: &str| AtomLink {
        rel: rel.to_owned(),
        media: Some("application/fhir+json".to_owned()),
        href: href.to_owned(),
    };
    let links = vec![
        link("alternate", "http://emr.example:8080/fhir/Patient/a"),
        link("related", "http://emr.example:8080/fhir/Encounter/e"),
    ];
    let ours = AtomEntry { links, ..entry(r#"{"fhir":"/fhir/Patient/a"}"#) };
    assert_eq!(named(&ours), Ok(vec!["Patient/a".to_owned(), "Encounter/e".to_owned()]));
}

#[test]
fn what_names_no_record_is_passed_over_and_what_is_elsewhere_refused() {
    for content in ["", "  ", "{}", "{not json", "/ws/rest/v1/concept/C", "/ws/fhir/Nothing/1"] {
        assert_eq!(named(&entry(content)), Ok(Vec::new()), "{content}");
    }
    for content in [
        "http://elsewhere.example/openmrs/ws/fhir/Patient/U",
        "//elsewhere.example/Patient/U",
        "http://emr.example:8081/Patient/U",
        "https://emr.example:8080/Patient/U",
        "http://emr.example:8080@elsewhere.example/Patient/U",
        "file:///Patient/U",
    ] {
        let error = named(&entry(content)).unwrap_err();
        assert!(error.starts_with("it names URLs of another host"), "{content}: {error}");
    }
}

#[test]
fn records_go_in_by_patient_and_those_referred_to_first() {
    let record = |text: &str| Record::parse(text.as_bytes(), &Limits::default()).unwrap();
    let observation =
        record(r#"{"resourceType":"Observation","id":"o","subject":{"reference":"Patient/a"}}"#);
    let encounter =
        record(r#"{"resourceType":"Encounter","id":"e","subject":{"reference":"Patient/a"}}"#);
    let patient = record(r#"{"resourceType":"Patient","id":"a"}"#);
    let location = record(r#"{"resourceType":"Location","id":"l"}"#);
    let same = record(r#"{"resourceType":"Patient","id":"same"}"#);
    let all = [&observation, &encounter, &patient, &location, &same];
    let mut states: Vec<_> =
        all.map(|record| (record.reference.clone(), Some(record.clone()))).into();
    states.push(("Flag/gone".parse().unwrap(), None));
    states.push(("Flag/never".parse().unwrap(), None));
    let gone = protocol::digest::ShortDigest([7; 8]);
    let before = vec![None, Some(gone), None, None, Some(same.digest.short()), Some(gone), None];
    let groups = groups(states, before);
    let told = groups.iter().map(|(patients, records)| {
        let names = records.iter().map(|record| match record {
            OutRecord::Resource { digest, base, .. } => {
                let known = all.iter().find(|known| known.digest == *digest).unwrap();
                format!("{}{}", known.reference, if base.is_some() { " again" } else { "" })
            }
            OutRecord::Deleted { reference, .. } => format!("{reference} deleted"),
            other => panic!("{other:?}"),
        });
        (patients.len(), names.collect::<Vec<_>>().join(", "))
    });
    let expected = [
        (0, "Location/l"),
        (1, "Patient/a, Encounter/e again, Observation/o"),
        (0, "Flag/gone deleted"),
    ];
    let expected = expected.map(|(count, names)| (count, names.to_owned()));
    assert_eq!(told.collect::<Vec<_>>(), expected);
    assert_eq!(unread("nonsense"), []);
}
