//! The laws with clinical rules and policies in play: records of types that rules are for, with
//! statuses, deaths and reactions, under any policies.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::laws::leaves_of;
use super::records::{self, Dice, Tree, tree};
use super::{canonical, decided, state};
use crate::reconcile::{Contested, Policies, State};
use crate::time::Timestamp;

const TYPES: &[&str] =
    &["Patient", "Observation", "AllergyIntolerance", "MedicationRequest", "Condition"];

/// Rules that an operator may set; which are set is up to the dice.
const SETTINGS: &[(&str, &str)] = &[
    ("*.identifier", "union"),
    ("*.telecom", "union"),
    ("*.note", "union"),
    ("AllergyIntolerance.reaction", "union"),
    ("MedicationRequest.status", "child"),
    ("Observation.component", "child"),
    ("Patient", "child"),
    ("Patient.address", "latest"),
    ("Patient.birthDate", "latest"),
    ("Patient.deceased[x]", "child"),
    ("Patient.name", "parent"),
    ("Patient.name.given", "union"),
];

/// Policies without `conflict`, under which a merge may stand where nobody stood.
pub(super) fn policies(dice: &mut Dice) -> Policies {
    let mut settings: BTreeMap<String, String> = BTreeMap::new();
    let default = ["parent", "child", "latest"][dice.below(3)];
    settings.insert("default".to_owned(), default.to_owned());
    for (key, policy) in SETTINGS {
        if dice.below(3) == 0 {
            settings.insert((*key).to_owned(), (*policy).to_owned());
        }
    }
    // `from_settings` would look each of them up, every time.
    Policies::from_parent(&settings).with_clocks(dice.below(2) == 0)
}

fn word(text: &str) -> Tree {
    Tree::Leaf(format!("\"{text}\""))
}

/// A record of a type that has rules.
pub(super) fn record(dice: &mut Dice) -> Tree {
    let Tree::Object(mut members) = records::record(dice) else { unreachable!() };
    let kind = TYPES[dice.below(TYPES.len())];
    members[0].1 = word(kind);
    let mut record = Tree::Object(members);
    for _ in 0..3 {
        clinical_edit(&mut record, dice);
    }
    record
}

/// Any edit, often one that a rule has a word in.
pub(super) fn edit(record: &mut Tree, dice: &mut Dice) {
    match dice.below(3) {
        0 => clinical_edit(record, dice),
        _ => records::edit(record, dice),
    }
}

fn clinical_edit(record: &mut Tree, dice: &mut Dice) {
    const CODES: &[&str] =
        &["draft", "active", "final", "completed", "stopped", "entered-in-error"];
    let kind = record.get("resourceType").map(Tree::text).unwrap_or_default();
    let Tree::Object(members) = record else { return };
    let mut put = |key: &str, value: Option<Tree>| {
        let place = members.iter().position(|(name, _)| name == key);
        match (place, value) {
            (Some(place), Some(value)) => members[place].1 = value,
            (Some(place), None) => drop(members.remove(place)),
            (None, Some(value)) => members.push((key.to_owned(), value)),
            (None, None) => {}
        }
    };
    let code = word(CODES[dice.below(CODES.len())]);
    match kind.trim_matches('"') {
        "Patient" => {
            put("deceasedBoolean", None);
            put("deceasedDateTime", None);
            match dice.below(4) {
                0 => put("deceasedBoolean", Some(Tree::Leaf("true".to_owned()))),
                1 => put("deceasedBoolean", Some(Tree::Leaf("false".to_owned()))),
                2 => put("deceasedDateTime", Some(word(["2020", "2021"][dice.below(2)]))),
                _ => {}
            }
        }
        "AllergyIntolerance" if dice.below(2) == 0 => put("reaction", None),
        "Condition" => {
            let coding = Tree::Object(vec![("code".to_owned(), code)]);
            let concept = Tree::Object(vec![("coding".to_owned(), Tree::List(vec![coding]))]);
            let key = ["clinicalStatus", "verificationStatus"][dice.below(2)];
            put(key, Some(concept).filter(|_| dice.below(4) > 0));
        }
        _ => put("status", Some(code).filter(|_| dice.below(5) > 0)),
    }
}

/// Three states of a record, and how they are merged.
struct Case {
    base: String,
    parent: String,
    child: String,
    policies: Policies,
    made: [Option<Timestamp>; 2],
}

impl Case {
    fn new(seed: u64, edits: [usize; 2]) -> Case {
        let base = record(&mut Dice::new(seed, "b").plain());
        let [parent, child] = [("p", edits[0]), ("c", edits[1])].map(|(mark, edits)| {
            let mut dice = Dice::new(seed, mark).plain();
            let mut edited = base.clone();
            (0..edits).for_each(|_| edit(&mut edited, &mut dice));
            edited.text()
        });
        let mut dice = Dice::new(seed, "s");
        let policies = policies(&mut dice);
        let made = [(); 2].map(|()| {
            let millis = i64::try_from(dice.below(4)).unwrap();
            (millis > 0).then(|| Timestamp::from_millis(millis))
        });
        Case { base: base.text(), parent, child, policies, made }
    }
    /// The merge of two states, made when they say.
    fn merge(
        &self,
        parent: (&str, Option<Timestamp>),
        child: (&str, Option<Timestamp>),
    ) -> (String, Vec<Contested>) {
        let state_of = |(body, at)| State { at, ..state(Some(body)) };
        let base = Some(state(Some(self.base.as_str())));
        let (body, contested) = decided(base, state_of(parent), state_of(child), &self.policies);
        (body.unwrap(), contested)
    }
    fn result(&self) -> (String, Vec<Contested>) {
        let [parent, child] = self.made;
        self.merge((&self.parent, parent), (&self.child, child))
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 600,
        rng_seed: RngSeed::Fixed(7),
        ..ProptestConfig::default()
    })]

    #[test]
    fn law_1_symmetric_whoever_is_local_the_same_bytes(seed: u64, p in 0usize..7, c in 0usize..7) {
        // `decided` asserts it.
        let (body, _) = Case::new(seed, [p, c]).result();
        let is_object = body.starts_with('{');
        prop_assert!(is_object);
    }

    #[test]
    fn law_2_idempotent_the_result_meets_either_side_and_stays(
        seed: u64, p in 0usize..7, c in 0usize..7,
    ) {
        let case = Case::new(seed, [p, c]);
        let (merged, contested) = case.result();
        let [parent, child] = case.made;
        // Whether an observation is final may itself be contested: then its value is one element
        // in the first merge, and none when the other status meets itself.
        if case.base.contains("\"Observation\"") && contested.iter().any(|it| it.path == "status") {
            return Ok(());
        }
        // The result was made after both.
        let later = parent.and(child).map(|_| Timestamp::from_millis(9));
        for (again, _) in [
            case.merge((&case.parent, parent), (&merged, later)),
            case.merge((&merged, later), (&case.child, child)),
        ] {
            prop_assert_eq!(canonical(Some(&again)), canonical(Some(&merged)));
        }
    }

    #[test]
    fn law_5_never_invents_a_value_that_no_side_had(seed: u64, p in 0usize..7, c in 0usize..7) {
        let case = Case::new(seed, [p, c]);
        let (merged, _) = case.result();
        let sides = [&case.parent, &case.child].into_iter();
        let known: BTreeSet<String> = sides.flat_map(|side| leaves_of(&tree(side))).collect();
        prop_assert!(leaves_of(&tree(&merged)).is_subset(&known));
        let [merged, parent, child] = [&merged, &case.parent, &case.child].map(|text| tree(text));
        for (key, value) in merged.members() {
            let is_scalar = matches!(value, Tree::Leaf(_));
            let said = [&parent, &child].map(|side| side.get(key) == Some(value));
            prop_assert!(!is_scalar || said.contains(&true), "{key} is nobody's");
        }
    }

    #[test]
    fn law_6_keeps_every_element_that_neither_side_touched(
        seed: u64, p in 0usize..7, c in 0usize..7,
    ) {
        let case = Case::new(seed, [p, c]);
        let (merged, contested) = case.result();
        let [merged, base, parent, child] =
            [&merged, &case.base, &case.parent, &case.child].map(|text| tree(text));
        for (key, value) in base.members() {
            // One that goes with a status that was an error is the rule's, not the merge's.
            let is_ruled = contested.iter().any(|it| it.path == *key);
            if [&parent, &child].map(|side| side.get(key)) == [Some(value); 2] && !is_ruled {
                prop_assert_eq!(merged.get(key), Some(value), "{}", key);
            }
        }
    }

    #[test]
    fn rules_hold_in_every_merge(seed: u64, p in 1usize..7, c in 1usize..7) {
        let case = Case::new(seed, [p, c]);
        let (merged, _) = case.result();
        let [merged, base, parent, child] =
            [&merged, &case.base, &case.parent, &case.child].map(|text| tree(text));
        if parent == base || child == base || parent == child {
            return Ok(());
        }
        let sides = [&parent, &child];
        let any = |is: fn(&Tree) -> bool| sides.iter().any(|side| is(side));
        let is_dead = |record: &Tree| {
            record.get("deceasedDateTime").is_some()
                || record.get("deceasedBoolean") == Some(&Tree::Leaf("true".to_owned()))
        };
        let is_error = |record: &Tree| record.get("status") == Some(&word("entered-in-error"));
        prop_assert!(!any(is_dead) || is_dead(&merged));
        prop_assert!(!any(is_error) || is_error(&merged));
        if merged.get("resourceType") == Some(&word("AllergyIntolerance")) {
            for side in sides {
                let count = |record: &Tree| match record.get("reaction") {
                    Some(Tree::List(items)) => items.len(),
                    _ => 0,
                };
                prop_assert!(count(&merged) >= count(side), "a reaction is gone");
            }
        }
    }
}

#[test]
fn the_policies_of_the_laws_are_ones_that_can_be_set() {
    let settings = SETTINGS.iter().map(|(key, policy)| ((*key).to_owned(), (*policy).to_owned()));
    Policies::from_settings(&settings.collect()).unwrap();
}
