//! What policies can be, what they match, and what is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{Policies, Policy, elements};
use crate::json::{self, DEPTH_MAX, Json};
use crate::limits::MERGE_RULES;
use crate::reconcile::{path, units};

fn settings(rules: &[(&str, &str)]) -> BTreeMap<String, String> {
    rules.iter().map(|(key, name)| ((*key).to_owned(), (*name).to_owned())).collect()
}

fn policies(rules: &[(&str, &str)]) -> Policies {
    Policies::from_settings(&settings(rules)).unwrap()
}

fn refused(key: &str, policy: &str) -> String {
    Policies::from_settings(&settings(&[(key, policy)])).unwrap_err().reason
}

#[test]
fn the_longest_path_wins_and_a_type_goes_before_any() {
    let policies = policies(&[
        ("default", "child"),
        ("Patient", "conflict"),
        ("*.name", "latest"),
        ("Patient.name", "parent"),
        ("Patient.name.given", "child"),
        ("*.name.given", "conflict"),
        ("*.telecom", "parent"),
        ("Patient.telecom", "union"),
        ("Observation.value[x]", "conflict"),
    ]);
    let of = |kind, at: &str| policies.of(kind, &path::elements(at));
    assert_eq!(of("Encounter", "status"), Policy::Child);
    assert_eq!(of("Patient", "birthDate"), Policy::Conflict);
    assert_eq!(of("Practitioner", "name[official].family"), Policy::Latest);
    assert_eq!(of("Patient", "name[official].family"), Policy::Parent);
    assert_eq!(of("Patient", "name[official].given"), Policy::Child);
    assert_eq!(of("Practitioner", "name[0].given"), Policy::Conflict);
    // What is in a list that is united has no say of that: the next rule does.
    assert_eq!(of("Patient", "telecom[phone].use"), Policy::Parent);
    assert_eq!(policies.exactly("Patient", &path::elements("telecom")), Some(Policy::Union));
    assert_eq!(policies.exactly("Patient", &path::elements("telecom[phone].use")), None);
    // A choice is meant by each of its types, and by no element that only begins like it.
    for at in ["value[x]", "valueQuantity", "valueQuantity.unit"] {
        assert_eq!(of("Observation", at), Policy::Conflict, "{at}");
    }
    assert_eq!(of("Observation", "valueSet"), Policy::Child);
}

#[test]
fn labels_of_items_are_no_part_of_an_element() {
    let names = |at| path::elements(at).join(" ");
    assert_eq!(names("name[official].given"), "name given");
    assert_eq!(names("extension[http://a.b/c].value[x]"), "extension value[x]");
    assert_eq!(names("value[x]"), "value[x]");
    assert_eq!(names("component[3].value[x]"), "component value[x]");
    assert_eq!(names(""), "");
    // Keys of any shape come to something, and to an end.
    for odd in ["[", "]", "..", "a[", "a[b", "[x]", "a]b.c["] {
        assert!(path::elements(odd).len() <= 2, "{odd}");
    }
}

#[test]
fn what_does_not_exist_is_refused_with_the_nearest_name() {
    for (key, reason) in [
        ("Patient.brithDate", "there is no Patient.brithDate: did you mean Patient.birthDate?"),
        ("Patient.name.givn", "there is no Patient.name.givn: did you mean Patient.name.given?"),
        ("Pateint.name", "there is no resource type Pateint that travels: did you mean Patient?"),
        ("Pateint", "there is no resource type Pateint that travels: did you mean Patient?"),
        ("*.identifer", "there is no *.identifer: did you mean *.identifier?"),
        (
            "Observation.valueQuantity",
            "there is no Observation.valueQuantity: did you mean Observation.value[x]?",
        ),
        (
            "Patient.contact.adress",
            "there is no Patient.contact.adress: did you mean Patient.contact.address?",
        ),
        ("Encounter.", "there is no Encounter.: did you mean Encounter.id?"),
    ] {
        assert_eq!(refused(key, "parent"), format!("\"{key}\": {reason}"));
    }
    assert_eq!(
        refused("Patient.name", "newest"),
        "\"Patient.name\": there is no policy \"newest\"; there are parent, child, latest, union, \
         conflict"
    );
}

#[test]
fn what_cannot_work_is_refused() {
    let whole = |what: &str| format!("{what} is merged as a whole: name {what} itself");
    for (key, reason) in [
        ("Encounter.period.end", whole("Encounter.period")),
        ("Patient.birthDate.extension", whole("Patient.birthDate")),
        ("Observation.value[x].unit", whole("Observation.value[x]")),
        ("MedicationRequest.dosageInstruction.text", whole("MedicationRequest.dosageInstruction")),
        ("*", "for every element of every type say default".to_owned()),
    ] {
        assert_eq!(refused(key, "child"), format!("\"{key}\": {reason}"));
    }
    let other = "parent, child, latest or conflict";
    for (key, what) in [
        ("Patient.birthDate", "Patient.birthDate"),
        ("Patient", "a resource"),
        ("default", "everything"),
        ("*.birthDate", "*.birthDate"),
    ] {
        let reason = format!("union is for lists, and {what} is none: {other}");
        assert_eq!(refused(key, "union"), format!("\"{key}\": {reason}"));
    }
    let double_dose = refused("MedicationRequest.dosageInstruction", "union");
    assert!(double_dose.contains("cannot be united"), "{double_dose}");
    let many = (0..=MERGE_RULES).map(|n| (format!("Patient.{n}"), "parent".to_owned())).collect();
    let refusal = Policies::from_settings(&many).unwrap_err();
    assert_eq!(refusal.reason, "it is over the limit merge rules = 1000");
}

#[test]
fn what_a_parent_says_is_read_as_it_was_set_and_what_is_new_in_it_passed_over() {
    let set = [
        ("default", "child"),
        ("Patient", "latest"),
        ("*.identifier", "union"),
        ("Patient.contact.telecom", "union"),
        ("Questionnaire.item.item.item.text", "parent"),
        ("Patient.meta.tag", "union"),
        ("Patient.deceased[x]", "conflict"),
    ];
    let ours = policies(&set);
    assert_eq!(Policies::from_parent(&ours.to_settings()), ours);
    assert_eq!(ours.to_settings(), settings(&set));
    let mut said = ours.to_settings();
    said.insert("Patient.name".to_owned(), "the-wisest".to_owned());
    assert_eq!(Policies::from_parent(&said), ours);
    assert_eq!(Policies::from_parent(&BTreeMap::new()), Policies::default());
}

/// What the table says of the element that a member is a part of.
fn known(within: &str, member: &str) -> Option<elements::Element<'static>> {
    let of_choice = |end: usize| {
        let stem = member.get(..end).filter(|stem| units::is_type_of(member, stem))?;
        let mut choice = elements::part(within, &format!("{stem}[x]"))?;
        choice.of = Some(member[end..].to_owned());
        Some(choice)
    };
    elements::part(within, member).or_else(|| (1..member.len()).find_map(of_choice))
}

type Known = BTreeMap<(String, String), Option<elements::Element<'static>>>;

/// Looks up every member in a value of the type `within`; notes what is not as the table says.
fn look_up(within: &str, value: &Json<'_>, seen: &mut Known, odd: &mut BTreeSet<String>) {
    for item in value.items() {
        for (key, value) in item.as_object().into_iter().flat_map(json::Object::iter) {
            let name = key.decode();
            if name == "resourceType" {
                continue;
            }
            let member = name.trim_start_matches('_');
            let place = (within.to_owned(), member.to_owned());
            let element = seen.entry(place).or_insert_with(|| known(within, member)).clone();
            let is_list = value.as_array().is_some();
            match element {
                None => drop(odd.insert(format!("{within}.{member}"))),
                Some(element) if element.is_list != is_list => {
                    odd.insert(format!("{within}.{member} (a list: {is_list})"));
                }
                Some(elements::Element { of: Some(of), .. }) if !name.starts_with('_') => {
                    look_up(&of, value, seen, odd);
                }
                Some(_) => {}
            }
        }
    }
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files(&path, found),
            false => found.push(path),
        }
    }
}

#[test]
fn every_element_of_the_examples_is_known_skipped_where_tributary_test_data_is_not_set() {
    let Some(folder) = std::env::var_os("TRIBUTARY_TEST_DATA") else { return };
    let mut paths = Vec::new();
    files(Path::new(&folder), &mut paths);
    let (mut seen, mut odd) = (Known::new(), BTreeSet::new());
    for path in paths.iter().filter(|path| path.extension().is_some_and(|e| e == "json")) {
        let text = std::fs::read_to_string(path).unwrap();
        let Ok(value) = json::parse(text.as_bytes(), DEPTH_MAX) else { continue };
        let entries = value.get("entry").map(Json::items).unwrap_or_default();
        let inner = entries.iter().filter_map(|entry| entry.get("resource"));
        for resource in inner.chain([&value]) {
            let kind = resource.str_at("resourceType").unwrap_or_default();
            if elements::check_type(&kind).is_ok() {
                look_up(&kind, resource, &mut seen, &mut odd);
            }
        }
    }
    assert!(seen.len() > 1_000, "only {} elements in TRIBUTARY_TEST_DATA", seen.len());
    assert!(odd.is_empty(), "not in the table: {odd:?}");
}

#[test]
fn every_policy_and_every_rule_is_told_of_in_docs_merging() {
    let told = include_str!("../../../../../docs/merging.md");
    let rules = crate::reconcile::rules::names();
    for name in Policy::ALL.map(Policy::name).into_iter().chain(rules) {
        assert!(told.contains(&format!("| `{name}` |")), "{name} is missing in docs/merging.md");
    }
}
