use super::*;
use crate::json::parse;

fn record(text: &str) -> RecordRef {
    text.parse().unwrap()
}

fn records(texts: &[&str]) -> BTreeSet<RecordRef> {
    texts.iter().map(|text| record(text)).collect()
}

/// `("Patient/1", "managing Organization/7")` for each thing that the resource says.
fn said(reference: &str, text: &str) -> Vec<(String, String)> {
    let json = parse(text.as_bytes(), 64).unwrap();
    let found = places(&record(reference), &json);
    found.iter().map(|(patient, place)| (patient.to_string(), place.to_string())).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

fn definition(text: &str) -> Definition {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_patient_says_where_it_belongs_by_organization_identifiers_and_addresses() {
    let text = r#"{"resourceType":"Patient","id":"1",
        "managingOrganization":{"reference":"Organization/kisumu"},
        "identifier":[
            {"value":"1","extension":[
                {"url":"http://fhir.openmrs.org/ext/patient/identifier#location",
                 "valueReference":{"reference":"Location/kisumu-east"}},
                {"url":"http://other.example","valueReference":{"reference":"Location/no"}}]},
            {"value":"2"}],
        "address":[
            {"country":" Kenya","state":"KISUMU ","district":"Kisumu East","city":"A>B"},
            {"country":"Kenya","district":"Kisumu East"},
            {"country":"Kenya","district":"Kisumu East"},
            {"text":"by the river"}]}"#;
    assert_eq!(
        said("Patient/1", text),
        pairs(&[
            ("Patient/1", "managing Organization/kisumu"),
            ("Patient/1", "identifier Location/kisumu-east"),
            ("Patient/1", "address kenya>>kisumu east>"),
            ("Patient/1", r"address kenya>kisumu>kisumu east>a\>b"),
        ])
    );
}

#[test]
fn an_encounter_says_it_of_its_subject_if_that_is_a_patient() {
    let encounter = |subject: &str| {
        format!(
            r#"{{"subject":{{"reference":"{subject}"}},
                "location":[{{"location":{{"reference":"Location/1"}}}},{{"status":"planned"}},
                    {{"location":{{"reference":"http://centre.example/fhir/Location/2"}}}}],
                "serviceProvider":{{"reference":"Organization/3"}}}}"#
        )
    };
    assert_eq!(
        said("Encounter/1", &encounter("Patient/amina")),
        pairs(&[
            ("Patient/amina", "encounter Location/1"),
            ("Patient/amina", "encounter Location/2"),
            ("Patient/amina", "encounter Organization/3"),
        ])
    );
    assert_eq!(said("Encounter/1", &encounter("Group/1")), []);
    assert_eq!(said("Encounter/1", "{}"), []);
}

#[test]
fn a_group_says_it_of_those_members_that_are_patients() {
    let text = r#"{"member":[{"entity":{"reference":"Patient/b"}},
        {"entity":{"reference":"Practitioner/c"}},{"entity":{"reference":"Patient/a"}},{}]}"#;
    let expected = [("Patient/a", "member Group/tb"), ("Patient/b", "member Group/tb")];
    assert_eq!(said("Group/tb", text), pairs(&expected));
    assert_eq!(said("Observation/1", text), []);
}

#[test]
fn elements_of_the_wrong_shape_say_nothing_and_do_no_harm() {
    for text in [
        r#"{"managingOrganization":"x","identifier":"x","address":7}"#,
        r#"{"managingOrganization":{"reference":7},"identifier":{"extension":{"url":1}}}"#,
        r#"{"managingOrganization":{"reference":"Location/"},"address":[null,[[]],{"city":1}]}"#,
        r#"{"managingOrganization":{"reference":"urn:uuid:x"},"address":null}"#,
    ] {
        assert_eq!(said("Patient/1", text), [], "{text}");
    }
}

#[test]
fn each_definition_holds_whom_it_describes_and_nobody_else() {
    let all = r#"{"all":{}}"#;
    let listed = r#"{"patients":{"patients":["Patient/1","Patient/2"]}}"#;
    let anywhere = r#"{"location":{"places":["Location/1","Organization/1"]}}"#;
    let managed = r#"{"location":{"places":["Organization/1"],"by":["managing"]}}"#;
    let seen = r#"{"location":{"places":["Location/1"],"by":["encounter"]}}"#;
    let numbered = r#"{"location":{"places":["Location/1"],"by":["identifier"]}}"#;
    let district = r#"{"address":{"areas":["kenya > KISUMU > Kisumu East","Uganda"]}}"#;
    let gap = r#"{"address":{"areas":["Kenya > > Kisumu East"]}}"#;
    let group = r#"{"group":{"groups":["Group/tb"]}}"#;
    for (cohort, places, held) in [
        (all, &[][..], true),
        (listed, &[], true),
        (anywhere, &[], false),
        (anywhere, &["encounter Location/1"], true),
        (anywhere, &["identifier Location/1"], true),
        (anywhere, &["managing Organization/1"], true),
        (anywhere, &["managing Organization/2", "member Group/tb"], false),
        (managed, &["managing Organization/1"], true),
        (managed, &["encounter Organization/1"], false),
        (seen, &["encounter Location/1"], true),
        (seen, &["identifier Location/1"], false),
        (numbered, &["identifier Location/1"], true),
        (numbered, &["encounter Location/1"], false),
        (district, &["address kenya>kisumu>kisumu east>kolwa"], true),
        (district, &["address kenya>kisumu>kisumu east>"], true),
        (district, &["address kenya>kisumu>kisumu east extension>"], false),
        (district, &["address kenya>kisumu>>"], false),
        (district, &["address kenya>siaya>>", "address uganda>busia>>"], true),
        (district, &["managing Organization/1"], false),
        (gap, &["address kenya>>kisumu east>x"], true),
        (gap, &["address kenya>kisumu>kisumu east>x"], false),
        (group, &["member Group/tb"], true),
        (group, &["member Group/hiv"], false),
        (group, &[], false),
    ] {
        let places = places.iter().map(|place| place.parse().unwrap()).collect();
        let patient = record("Patient/1");
        assert_eq!(definition(cohort).holds(&patient, &places), held, "{cohort} {places:?}");
    }
    assert!(!definition(listed).holds(&record("Patient/3"), &BTreeSet::new()));
}

#[test]
fn a_definition_is_read_as_it_is_written_and_odd_ones_are_refused() {
    for definition in [
        Definition::All {},
        Definition::Patients { patients: records(&["Patient/1"]) },
        Definition::Location {
            places: records(&["Location/1"]),
            by: BTreeSet::from([LocationBy::Managing]),
        },
        Definition::Address { areas: BTreeSet::from(["A > B\\>C > D".parse().unwrap()]) },
        Definition::Group { groups: records(&["Group/1"]) },
    ] {
        let text = serde_json::to_string(&definition).unwrap();
        assert_eq!(serde_json::from_str::<Definition>(&text).unwrap(), definition);
    }
    for bad in [
        r#"{"all":{"x":1}}"#,
        r#"{"everyone":{}}"#,
        r#"{"patients":{"patients":["Patient"]}}"#,
        r#"{"location":{"places":[],"by":["nearness"]}}"#,
        r#"{"address":{"areas":[""]}}"#,
    ] {
        assert!(serde_json::from_str::<Definition>(bad).is_err(), "{bad}");
    }
}

#[test]
fn an_area_is_checked_when_it_is_read() {
    for (text, shown) in [
        ("Kenya", "Kenya"),
        (" Kenya>Kisumu ", "Kenya > Kisumu"),
        ("Kenya > > Kisumu East", "Kenya >  > Kisumu East"),
        (r"A\>B > C\\", r"A\>B > C\\"),
    ] {
        let area: Area = text.parse().unwrap();
        assert_eq!(area.to_string(), shown);
        assert_eq!(shown.parse(), Ok(area));
    }
    let long = "x".repeat(201);
    for bad in ["", " > ", "> Kisumu", "Kenya >", "a>b>c>d>e", r"a\b", r"a\", &long] {
        assert!(bad.parse::<Area>().is_err(), "{bad}");
    }
}

#[test]
fn defect_25_a_separator_within_a_name_is_never_taken_for_one_between_names() {
    let odd = ["a>b", r"c\", r"\>", ">>"].map(str::to_owned);
    let place = Place::Address(odd.clone());
    assert_eq!(place.to_string().parse(), Ok(place.clone()));
    let shifted = Place::Address(["a", "b>c", "", ""].map(str::to_owned));
    assert_ne!(place.to_string(), shifted.to_string());
    for bad in ["", "address", "address a>b", "address a>b>c>d>e", "near Location/1", "managing x"]
    {
        assert!(bad.parse::<Place>().is_err(), "{bad}");
    }
}

#[test]
fn defect_24_an_over_long_part_of_an_address_is_cut_in_the_index_and_refuses_nothing() {
    let long = "É".repeat(10_000);
    let text = format!(r#"{{"address":[{{"city":"{long}"}}]}}"#);
    let found = said("Patient/1", &text);
    assert_eq!(found, pairs(&[("Patient/1", &format!("address >>>{}", "é".repeat(200)))]));
}
