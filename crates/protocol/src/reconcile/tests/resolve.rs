//! The merge with what people chose.

use std::collections::BTreeMap;

use crate::reconcile::{DELETED, Policies, Policy, Side, resolve};

const BASE: &str = concat!(
    r#"{"resourceType":"Patient","birthDate":"1990","gender":"unknown","#,
    r#""name":[{"use":"official","given":["A"]}],"active":true}"#
);
const PARENT: &str = concat!(
    r#"{"resourceType":"Patient","birthDate":"1991","gender":"male","#,
    r#""name":[{"use":"official","given":["P"]}],"active":false}"#
);
const CHILD: &str = concat!(
    r#"{"resourceType":"Patient","birthDate":"1992","gender":"female","#,
    r#""name":[{"use":"official","given":["C"]}],"active":true}"#
);

fn chosen(choices: &[(&str, Side)]) -> BTreeMap<String, Side> {
    choices.iter().map(|(path, side)| ((*path).to_owned(), *side)).collect()
}

fn resolved(choices: &[(&str, Side)], policy: Policy) -> Option<String> {
    let choices = chosen(choices);
    resolve(Some(BASE), Some(PARENT), Some(CHILD), &Policies::all(policy), &choices).unwrap()
}

#[test]
fn a_chosen_element_is_taken_from_its_side_and_the_rest_as_the_policy_says() {
    let by_policy = PARENT.to_owned();
    assert_eq!(resolved(&[], Policy::Parent), Some(by_policy.clone()));
    let one = by_policy.replace("1991", "1992");
    assert_eq!(resolved(&[("birthDate", Side::Child)], Policy::Parent), Some(one));
    let two = by_policy.replace("1991", "1992").replace(r#""P""#, r#""C""#);
    let choices = [("birthDate", Side::Child), ("name[official].given", Side::Child)];
    assert_eq!(resolved(&choices, Policy::Parent), Some(two));
    // What the policy says is no decision: it can be chosen as well.
    assert_eq!(resolved(&[("gender", Side::Parent)], Policy::Parent), Some(by_policy));
    let other = CHILD.replace("1992", "1991").replace(r#""active":true"#, r#""active":false"#);
    assert_eq!(resolved(&[("birthDate", Side::Parent)], Policy::Child), Some(other));
}

#[test]
fn the_side_that_took_an_element_away_can_be_chosen() {
    let base = r#"{"birthDate":"1990","telecom":[{"system":"phone","value":"1"}]}"#;
    let parent = r#"{"telecom":[{"system":"phone","value":"1","use":"home"}]}"#;
    let child = r#"{"birthDate":"1992"}"#;
    let choose = |choices: &[(&str, Side)]| {
        let policies = Policies::default();
        resolve(Some(base), Some(parent), Some(child), &policies, &chosen(choices)).unwrap()
    };
    let both = r#"{"telecom":[{"system":"phone","value":"1","use":"home"}],"birthDate":"1992"}"#;
    assert_eq!(choose(&[]).as_deref(), Some(both));
    assert_eq!(choose(&[("birthDate", Side::Parent)]).as_deref(), Some(parent));
    assert_eq!(choose(&[("telecom[phone]", Side::Child)]).as_deref(), Some(child));
}

#[test]
fn of_a_list_whose_item_both_replaced_either_list_can_be_chosen() {
    let list =
        |value: &str| format!(r#"{{"identifier":[{{"system":"http://a","value":"{value}"}}]}}"#);
    let [base, parent, child] = ["1", "2", "3"].map(list);
    for (side, expected) in [(Side::Parent, &parent), (Side::Child, &child)] {
        let choices = chosen(&[("identifier", side)]);
        let policies = Policies::default();
        let found = resolve(Some(&base), Some(&parent), Some(&child), &policies, &choices);
        assert_eq!(found.unwrap().as_ref(), Some(expected));
    }
}

#[test]
fn a_deletion_against_an_edit_is_chosen_whole() {
    let choose = |choices: &[(&str, Side)]| {
        resolve(Some(BASE), Some(PARENT), None, &Policies::default(), &chosen(choices)).unwrap()
    };
    assert_eq!(choose(&[]).as_deref(), Some(PARENT));
    assert_eq!(choose(&[(DELETED, Side::Parent)]).as_deref(), Some(PARENT));
    assert_eq!(choose(&[(DELETED, Side::Child)]), None);
}

#[test]
fn a_path_that_is_not_contested_is_refused_with_those_that_are() {
    let refuse = |parent, child, path: &str| {
        let choices = chosen(&[(path, Side::Child)]);
        let refused = resolve(Some(BASE), parent, child, &Policies::default(), &choices);
        refused.unwrap_err().reason
    };
    assert_eq!(
        refuse(Some(PARENT), Some(CHILD), "active"),
        "active is not contested; contested: birthDate, gender, name[official].given"
    );
    assert_eq!(
        refuse(Some(PARENT), Some(BASE), "birthDate"),
        "birthDate is not contested; contested: nothing is"
    );
    assert_eq!(
        refuse(Some(PARENT), None, "birthDate"),
        "birthDate is not contested; contested: (deleted)"
    );
}
