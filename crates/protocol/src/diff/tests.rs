//! Tables of what people are shown.

use super::{ElementChange, elements, in_words, summary};
use crate::json::{DEPTH_MAX, parse};

/// Each change as a line: `path: from -> to`, `-` for what is not there.
fn shown(before: Option<&str>, after: Option<&str>) -> Vec<String> {
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    elements(before, after)
        .unwrap()
        .into_iter()
        .map(|ElementChange { path, from, to }| {
            format!("{path}: {} -> {}", or_none(from), or_none(to))
        })
        .collect()
}

/// Title, before, after, and the lines that are shown.
type Case = (&'static str, &'static str, &'static str, &'static [&'static str]);

const CASES: &[Case] = &[
    (
        "a scalar that changed, came or went is a line",
        r#"{"active":true,"birthDate":"1990-01-02","gender":"male"}"#,
        r#"{"active":false,"birthDate":"1990-02-02","deceasedBoolean":true}"#,
        &[
            "active: true -> false",
            "birthDate: 1990-01-02 -> 1990-02-02",
            "deceasedBoolean: - -> true",
            "gender: male -> -",
        ],
    ),
    (
        "numbers are shown as they were written",
        r#"{"multipleBirthInteger":1.0}"#,
        r#"{"multipleBirthInteger":1.00}"#,
        &["multipleBirthInteger: 1.0 -> 1.00"],
    ),
    (
        "version, time and key order are no change",
        r#"{"id":"1","meta":{"versionId":"1","lastUpdated":"2026-01-01T00:00:00Z"},"active":true}"#,
        r#"{"active":true,"meta":{"versionId":"2"},"id":"1"}"#,
        &[],
    ),
    (
        "a part of a name goes by the name's use",
        r#"{"name":[{"use":"official","family":"Juma","given":["Amina"]},{"use":"old",
            "family":"A"}]}"#,
        r#"{"name":[{"use":"official","family":"Juma","given":["Amina","W."]},{"use":"old",
            "family":"A"}]}"#,
        &["name[official].given: Amina -> Amina, W."],
    ),
    (
        "a name that came is shown whole",
        r#"{"name":[{"use":"official","family":"Juma"}]}"#,
        r#"{"name":[{"use":"official","family":"Juma"},{"use":"maiden","family":"Otieno",
            "given":["Amina"]}]}"#,
        &["name[maiden]: - -> Amina Otieno (maiden)"],
    ),
    (
        "an edited telephone number is one change",
        r#"{"telecom":[{"system":"phone","value":"0711"},{"system":"email","value":"a@b"}]}"#,
        r#"{"telecom":[{"system":"phone","value":"0722"},{"system":"email","value":"a@b"}]}"#,
        &["telecom[phone].value: 0711 -> 0722"],
    ),
    (
        "of several telephone numbers the use tells which was edited",
        r#"{"telecom":[{"system":"phone","value":"1","use":"home"},{"system":"phone","value":"2",
            "use":"work"}]}"#,
        r#"{"telecom":[{"system":"phone","value":"3","use":"home"},{"system":"phone","value":"4",
            "use":"work"}]}"#,
        &["telecom[0].value: 1 -> 3", "telecom[1].value: 2 -> 4"],
    ),
    (
        "what cannot be told apart came and went",
        r#"{"telecom":[{"system":"phone","value":"1"},{"system":"phone","value":"2"}]}"#,
        r#"{"telecom":[{"system":"phone","value":"3"},{"system":"phone","value":"4"}]}"#,
        &[
            "telecom[0]: - -> 3 (phone)",
            "telecom[1]: - -> 4 (phone)",
            "telecom[0]: 1 (phone) -> -",
            "telecom[1]: 2 (phone) -> -",
        ],
    ),
    (
        "an identifier goes by its system",
        r#"{"identifier":[{"system":"urn:mrn","value":"7"}]}"#,
        r#"{"identifier":[{"system":"urn:mrn","value":"8"},{"system":"urn:nid","value":"9"}]}"#,
        &["identifier[urn:mrn].value: 7 -> 8", "identifier[urn:nid]: - -> urn:nid|9"],
    ),
    (
        "a quantity is one value",
        r#"{"valueQuantity":{"value":82.5,"unit":"kg"}}"#,
        r#"{"valueQuantity":{"value":182,"unit":"lb"}}"#,
        &["valueQuantity: 82.5 kg -> 182 lb"],
    ),
    (
        "another type of a choice is another value of it",
        r#"{"status":"final","valueQuantity":{"value":5,"unit":"mmol/L"}}"#,
        r#"{"status":"final","valueString":"not measured"}"#,
        &["value[x]: 5 mmol/L -> not measured"],
    ),
    (
        "a coded element is one value",
        r#"{"code":{"coding":[{"system":"http://loinc.org","code":"29463-7",
            "display":"Body weight"}]}}"#,
        r#"{"code":{"text":"Height","coding":[{"system":"http://loinc.org","code":"8302-2"}]}}"#,
        &["code: Body weight (29463-7) -> Height (8302-2)"],
    ),
    (
        "what the words leave out is shown as it stands",
        r#"{"code":{"coding":[{"id":"a","code":"7"}]}}"#,
        r#"{"code":{"coding":[{"id":"b","code":"7"}]}}"#,
        &[r#"code: {"coding":[{"id":"a","code":"7"}]} -> {"coding":[{"id":"b","code":"7"}]}"#],
    ),
    (
        "a component goes by its code system, or by its place",
        r#"{"component":[{"code":{"coding":[{"system":"http://loinc.org","code":"1"}]},
            "valueString":"a"},{"code":{"coding":[{"system":"http://loinc.org","code":"2"}]},
            "valueString":"b"}]}"#,
        r#"{"component":[{"code":{"coding":[{"system":"http://loinc.org","code":"1"}]},
            "valueString":"a"},{"code":{"coding":[{"system":"http://loinc.org","code":"2"}]},
            "valueString":"c"}]}"#,
        &["component[1].valueString: b -> c"],
    ),
    (
        "an extension goes by its url and shows its value",
        r#"{"extension":[{"url":"http://x/village","valueString":"A"}]}"#,
        r#"{"extension":[{"url":"http://x/village","valueString":"B"},{"url":"http://x/chief",
            "valueReference":{"reference":"Practitioner/7"}}]}"#,
        &[
            "extension[http://x/village].valueString: A -> B",
            "extension[http://x/chief]: - -> Practitioner/7",
        ],
    ),
    (
        "extensions of a primitive go by its name",
        r#"{"birthDate":"1990"}"#,
        r#"{"birthDate":"1990","_birthDate":{"extension":[{"url":"http://x/time",
            "valueTime":"10:00:00"}]}}"#,
        &["birthDate.extension[http://x/time]: - -> 10:00:00"],
    ),
    (
        "items in another order",
        r#"{"contact":[{"id":"1"},{"id":"2"}]}"#,
        r#"{"contact":[{"id":"2"},{"id":"1"}]}"#,
        &[r#"contact (order): {"id":"1"}; {"id":"2"} -> {"id":"2"}; {"id":"1"}"#],
    ),
    (
        "the order of scalars is their value",
        r#"{"name":[{"given":["Amina","Fatuma"]}]}"#,
        r#"{"name":[{"given":["Fatuma","Amina"]}]}"#,
        &["name[0].given: Amina, Fatuma -> Fatuma, Amina"],
    ),
    (
        "one category for another",
        r#"{"category":[{"text":"food"}],"note":[{"text":"a"}]}"#,
        r#"{"category":[{"text":"medication"}],"note":[{"text":"b"}]}"#,
        &["category[0]: food -> medication", "note[0]: a -> b"],
    ),
    (
        "a narrative is shown without its markup",
        r#"{"text":{"status":"generated","div":"<div xmlns=\"x\"><p>Amina</p><p>f</p></div>"}}"#,
        r#"{"text":{"status":"generated","div":"<div xmlns=\"x\"><p>Amina</p><p>m</p></div>"}}"#,
        &["text: Amina f -> Amina m"],
    ),
    (
        "what stands in a list under an element of another shape",
        r#"{"photo":{"url":"a:b"},"x":[1]}"#,
        r#"{"photo":[{"url":"a:b"}],"x":{"a":1}}"#,
        &[r#"photo: {"url":"a:b"} -> [{"url":"a:b"}]"#, r#"x: 1 -> {"a":1}"#],
    ),
];

#[test]
fn what_changed_is_told_element_by_element_in_words() {
    for (title, before, after, expected) in CASES {
        assert_eq!(shown(Some(before), Some(after)), *expected, "{title}");
        let back = shown(Some(after), Some(before));
        assert_eq!(back.len(), expected.len(), "{title}, the other way round");
        assert_eq!(shown(Some(after), Some(after)), [""; 0], "{title}, unchanged");
    }
}

#[test]
fn a_record_that_came_or_went_is_one_line() {
    let body =
        r#"{"resourceType":"Patient","id":"1","name":[{"text":"Amina"}],"birthDate":"1990"}"#;
    assert_eq!(shown(None, Some(body)), ["(created): - -> Amina, 1990"]);
    assert_eq!(shown(Some(body), None), ["(deleted): Amina, 1990 -> -"]);
    assert_eq!(shown(None, None), [""; 0]);
}

#[test]
fn what_is_no_record_is_refused() {
    for body in ["", "[]", "7", "{", r#"{"a":1,"a":2}"#] {
        assert!(elements(Some(body), None).is_err(), "{body}");
        assert!(elements(Some("{}"), Some(body)).is_err(), "{body}");
    }
}

#[test]
fn a_value_of_a_datatype_reads_as_people_write_it() {
    let cases = [
        (
            r#"{"use":"official","given":["Amina","W."],"family":"Juma"}"#,
            "Amina W. Juma (official)",
        ),
        (r#"{"text":"Amina wa Juma","use":"nickname"}"#, "Amina wa Juma (nickname)"),
        (r#"{"line":["Plot 7"],"city":"Kisumu","country":"KE"}"#, "Plot 7, Kisumu, KE"),
        (r#"{"system":"phone","value":"0711","use":"home"}"#, "0711 (phone, home)"),
        (r#"{"system":"urn:mrn","value":"7"}"#, "urn:mrn|7"),
        (r#"{"value":"7"}"#, "7"),
        (
            r#"{"value":82.5,"unit":"kg","system":"http://unitsofmeasure.org","code":"kg"}"#,
            "82.5 kg",
        ),
        (r#"{"comparator":"<","value":5}"#, "< 5"),
        (r#"{"value":10,"currency":"KES"}"#, "10 KES"),
        (r#"{"coding":[{"code":"7","display":"Cough"}]}"#, "Cough (7)"),
        (r#"{"coding":[{"code":"7","display":"Cough"}],"text":"dry cough"}"#, "dry cough (7)"),
        (r#"{"text":"dry cough"}"#, "dry cough"),
        (r#"{"system":"http://loinc.org","code":"1-8"}"#, "1-8"),
        (r#"{"reference":"Practitioner/7","display":"Dr. Otieno"}"#, "Dr. Otieno (Practitioner/7)"),
        (r#"{"reference":"Practitioner/7"}"#, "Practitioner/7"),
        (r#"{"start":"2026-01-01","end":"2026-02-01"}"#, "2026-01-01 to 2026-02-01"),
        (r#"{"start":"2026-01-01"}"#, "from 2026-01-01"),
        (r#"{"low":{"value":1,"unit":"g"},"high":{"value":2,"unit":"g"}}"#, "1 g to 2 g"),
        (
            r#"{"numerator":{"value":1,"unit":"mg"},"denominator":{"value":5,"unit":"mL"}}"#,
            "1 mg / 5 mL",
        ),
        (r#"{"text":"better","authorString":"nurse","time":"2026"}"#, "better (nurse, 2026)"),
        (r#"{"contentType":"image/png","data":"AAAA"}"#, "a file (image/png)"),
        (r#"{"url":"http://x/a","valueBoolean":true}"#, "true"),
        (r#"{"url":"http://x/a","extension":[]}"#, r#"{"url":"http://x/a","extension":[]}"#),
        (
            r#"{"resourceType":"Observation","code":{"text":"Weight"},
            "valueQuantity":{"value":5,"unit":"kg"},"effectiveDateTime":"2026"}"#,
            "Weight, 5 kg, 2026",
        ),
        (r#"{"resourceType":"Basic"}"#, "Basic"),
        (r#"{"unheard":{"of":[1,null]}}"#, r#"{"unheard":{"of":[1,null]}}"#),
        (r#"["a","b"]"#, "a, b"),
        ("null", "null"),
        ("{}", "{}"),
    ];
    for (value, expected) in cases {
        assert_eq!(in_words(&parse(value.as_bytes(), DEPTH_MAX).unwrap()), expected);
    }
}

#[test]
fn a_value_is_cut_and_shows_where_it_differs() {
    let long = |end: &str| format!(r#"{{"div":1,"comment":"{}{end}"}}"#, "é".repeat(1_000));
    let found = elements(Some(&long("one")), Some(&long("two"))).unwrap();
    let [ElementChange { from: Some(from), to: Some(to), .. }] = &found[..] else { panic!() };
    assert!(from.starts_with('…') && from.ends_with("éone"), "{from}");
    assert!(to.starts_with('…') && to.ends_with("étwo"), "{to}");
    assert!(from.chars().count() < 60);
    let whole = in_words(&parse(format!(r#""{}""#, "é".repeat(300)).as_bytes(), 9).unwrap());
    assert_eq!(whole.chars().count(), 200);
    assert!(whole.ends_with("é…"));
}

#[test]
fn no_value_moves_the_cursor_or_turns_the_line_around() {
    let value = parse(r#""a\u001b[2J\r\nb\u202ec\u0085d""#.as_bytes(), 9).unwrap();
    assert_eq!(in_words(&value), "a [2J b c d");
    let name = parse(r#"{"family":"a\nb","given":["\u001b"]}"#.as_bytes(), 9).unwrap();
    assert_eq!(in_words(&name), "a b");
    assert_eq!(summary(&value), "a [2J b c d");
}

#[test]
fn many_changes_are_cut_with_a_word() {
    let body = |value: &str| {
        let members: Vec<String> = (0..600).map(|n| format!(r#""a{n}":"{value}""#)).collect();
        format!("{{{}}}", members.join(","))
    };
    let found = elements(Some(&body("x")), Some(&body("y"))).unwrap();
    assert_eq!(found.len(), 501);
    assert_eq!(found[500].path, "(and more)");
}

#[test]
fn deep_values_are_compared_without_end_of_the_stack() {
    let deep = |leaf: &str| format!("{}{leaf}{}", r#"{"a":"#.repeat(500), "}".repeat(500));
    let found = elements(Some(&deep("1")), Some(&deep("2"))).unwrap();
    assert_eq!(found.len(), 1);
    assert_ne!(found[0].from, found[0].to);
}

/// The resources of all `.json` files under `folder`, Bundles taken apart, some of each file.
fn resources(folder: &std::path::Path, found: &mut Vec<String>) {
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            resources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "json") {
            let text = std::fs::read_to_string(&path).unwrap();
            let Ok(json) = parse(text.as_bytes(), DEPTH_MAX) else { continue };
            match json.get("entry").map(crate::json::Json::items) {
                Some(entries) => found.extend(
                    entries.iter().take(20).filter_map(|e| Some(e.get("resource")?.to_text())),
                ),
                None => found.push(json.to_text()),
            }
        }
    }
}

#[test]
fn records_of_tributary_test_data_can_all_be_told_apart_in_words_skipped_where_it_is_not_set() {
    let Some(folder) = std::env::var_os("TRIBUTARY_TEST_DATA") else { return };
    let mut records = Vec::new();
    resources(std::path::Path::new(&folder), &mut records);
    let records: Vec<_> = records.into_iter().filter(|body| body.starts_with('{')).collect();
    assert!(!records.is_empty(), "no FHIR JSON files in TRIBUTARY_TEST_DATA");
    for pair in records.windows(2) {
        for (before, after) in [(&pair[0], &pair[1]), (&pair[0], &pair[0])] {
            for change in elements(Some(before), Some(after)).unwrap() {
                assert_ne!(change.from, change.to, "{}: nothing to see", change.path);
                assert_ne!(before, after, "{}: nothing changed", change.path);
            }
        }
        assert_eq!(elements(None, Some(&pair[0])).unwrap().len(), 1);
    }
}
