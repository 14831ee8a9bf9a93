//! What holds of every merge, over made-up records and edits.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::records::{self, Dice, Tree, tree};
use super::{Outcome, canonical, outcome, state};
use crate::reconcile::{Plan, Policies, Policy, Side, reconcile};

/// The three states of a record that two sides edited.
struct Edited {
    base: Tree,
    parent: Tree,
    child: Tree,
}

impl Edited {
    fn new(seed: u64, parent_edits: usize, child_edits: usize) -> Self {
        Edited::made(seed, parent_edits, child_edits, |dice| dice)
    }
    fn made(seed: u64, parent_edits: usize, child_edits: usize, with: fn(Dice) -> Dice) -> Self {
        let base = records::record(&mut with(Dice::new(seed, "b")));
        let [parent, child] = [("p", parent_edits), ("c", child_edits)].map(|(mark, edits)| {
            let mut dice = with(Dice::new(seed, mark));
            let mut edited = base.clone();
            for _ in 0..edits {
                records::edit(&mut edited, &mut dice);
            }
            edited
        });
        Edited { base, parent, child }
    }
    /// What the merge comes to, asserted to be the same at both ends.
    fn outcome(&self, policy: Policy) -> Outcome {
        let [base, parent, child] = [&self.base, &self.parent, &self.child].map(Tree::text);
        outcome(Some(Some(&base)), Some(&parent), Some(&child), policy)
    }
}

/// The scalars in a value that stood nowhere else when they were made; without codes, which
/// stand in many places, and generated narrative.
fn leaves(value: &Tree, found: &mut BTreeSet<String>) {
    match value {
        Tree::Leaf(literal) if records::is_fresh(literal) => drop(found.insert(literal.clone())),
        Tree::Leaf(_) => {}
        Tree::List(items) => items.iter().for_each(|item| leaves(item, found)),
        Tree::Object(members) => {
            members.iter().filter(|(key, _)| key != "div").for_each(|(_, v)| leaves(v, found));
        }
    }
}

pub(super) fn leaves_of(value: &Tree) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    leaves(value, &mut found);
    found
}

/// Every object in a value, as text.
fn objects(value: &Tree, found: &mut Vec<Tree>) {
    match value {
        Tree::Leaf(_) => {}
        Tree::List(items) => items.iter().for_each(|item| objects(item, found)),
        Tree::Object(members) => {
            found.push(value.clone());
            members.iter().for_each(|(_, value)| objects(value, found));
        }
    }
}

fn objects_of(value: &Tree) -> Vec<Tree> {
    let mut found = Vec::new();
    objects(value, &mut found);
    found
}

/// How many types of a choice an object has.
fn types_of(object: &Tree, choice: &str) -> usize {
    object.members().iter().filter(|(key, _)| key.starts_with(choice) && key != choice).count()
}

fn policies() -> impl Strategy<Value = Policy> {
    prop_oneof![Just(Policy::Parent), Just(Policy::Child)]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        rng_seed: RngSeed::Fixed(7),
        ..ProptestConfig::default()
    })]

    #[test]
    fn both_ends_come_to_the_same_bytes(
        seed: u64, p in 0usize..9, c in 0usize..9, policy in policies(), known: bool,
    ) {
        let edited = Edited::new(seed, p, c);
        let [base, parent, child] = [&edited.base, &edited.parent, &edited.child].map(Tree::text);
        let base = known.then_some(Some(base.as_str()));
        let merged = outcome(base, Some(&parent), Some(&child), policy);
        prop_assert!(merged.body.is_some());
    }

    #[test]
    fn reconciling_the_result_again_changes_nothing(
        seed: u64, p in 0usize..9, c in 0usize..9, policy in policies(),
    ) {
        let edited = Edited::made(seed, p, c, Dice::plain);
        let [base, parent, child] = [&edited.base, &edited.parent, &edited.child].map(Tree::text);
        let merged = edited.outcome(policy).body.unwrap();
        let known = canonical(Some(&merged));
        for (parent, child) in [(&parent, &merged), (&merged, &child)] {
            let again = outcome(Some(Some(&base)), Some(parent), Some(child), policy);
            prop_assert_eq!(&canonical(again.body.as_deref()), &known);
        }
        let held = state(Some(&merged));
        let plan = reconcile(None, Some(held), held, Side::Parent, &Policies::all(policy));
        prop_assert_eq!(plan.unwrap(), Plan::AlreadyHave);
    }

    #[test]
    fn no_scalar_is_invented(
        seed: u64, p in 0usize..9, c in 0usize..9, policy in policies(),
    ) {
        let edited = Edited::new(seed, p, c);
        let merged = tree(&edited.outcome(policy).body.unwrap());
        let mut known = leaves_of(&edited.parent);
        known.extend(leaves_of(&edited.child));
        prop_assert!(leaves_of(&merged).is_subset(&known));
    }

    #[test]
    fn what_all_three_states_say_stays(
        seed: u64, p in 0usize..9, c in 0usize..9, policy in policies(),
    ) {
        let edited = Edited::new(seed, p, c);
        let merged = leaves_of(&tree(&edited.outcome(policy).body.unwrap()));
        let [base, parent, child] = [&edited.base, &edited.parent, &edited.child].map(leaves_of);
        for leaf in base.intersection(&parent).filter(|leaf| child.contains(*leaf)) {
            prop_assert!(merged.contains(leaf), "{leaf} is gone");
        }
    }

    #[test]
    fn without_a_conflict_nothing_that_a_side_wrote_is_lost(
        seed: u64, p in 0usize..5, c in 0usize..5, policy in policies(),
    ) {
        let edited = Edited::new(seed, p, c);
        let outcome = edited.outcome(policy);
        if !outcome.elements.is_empty() {
            return Ok(());
        }
        let merged = leaves_of(&tree(&outcome.body.unwrap()));
        let [base, parent, child] = [&edited.base, &edited.parent, &edited.child].map(leaves_of);
        for leaf in parent.union(&child).filter(|leaf| !base.contains(*leaf)) {
            prop_assert!(merged.contains(leaf), "{leaf} is lost");
        }
    }

    #[test]
    fn wholes_are_never_mixed(
        seed: u64, p in 0usize..9, c in 0usize..9, policy in policies(),
    ) {
        let edited = Edited::new(seed, p, c);
        let merged = tree(&edited.outcome(policy).body.unwrap());
        let mut known = objects_of(&edited.parent);
        known.extend(objects_of(&edited.child));
        for object in objects_of(&merged) {
            let whole = ["unit", "display", "start", "end", "div"];
            if whole.iter().any(|member| object.get(member).is_some()) {
                prop_assert!(known.contains(&object), "{} is nobody's", object.text());
            }
        }
    }

    #[test]
    fn a_choice_never_has_two_types(
        seed: u64, p in 0usize..9, c in 0usize..9, policy in policies(), known: bool,
    ) {
        let edited = Edited::new(seed, p, c);
        let [base, parent, child] = [&edited.base, &edited.parent, &edited.child].map(Tree::text);
        let base = known.then_some(Some(base.as_str()));
        let merged = outcome(base, Some(&parent), Some(&child), policy);
        for object in objects_of(&tree(&merged.body.unwrap())) {
            prop_assert!(types_of(&object, "onset") <= 1);
            prop_assert!(types_of(&object, "value") <= 1, "{}", object.text());
        }
    }

    #[test]
    fn edits_of_different_elements_are_both_kept_and_never_conflict(
        seed: u64, edits in 1usize..6, policy in policies(),
    ) {
        let base = records::record(&mut Dice::new(seed, "b"));
        let mut dice = [Dice::new(seed, "p"), Dice::new(seed, "c")];
        let mut sides = [base.clone(), base.clone()];
        let count = base.members().len();
        for _ in 0..edits {
            for (side, parity) in [(0, 1), (1, 0)] {
                let Tree::Object(members) = &mut sides[side] else { unreachable!() };
                let place = 1 + dice[side].below(count.max(2) - 1);
                if place < count && place % 2 == parity {
                    records::edit_member(members, place, &mut dice[side]);
                }
            }
        }
        let [parent, child] = sides;
        let expected = Tree::Object(
            (0..count)
                .map(|place| if place % 2 == 1 { &parent } else { &child }.members()[place].clone())
                .collect(),
        );
        let edited = Edited { base, parent, child };
        let merged = edited.outcome(policy);
        prop_assert_eq!(&merged.elements, &Vec::<String>::new());
        prop_assert_eq!(canonical(merged.body.as_deref()), canonical(Some(&expected.text())));
    }

    #[test]
    fn members_that_nobody_touched_stay_byte_for_byte(
        seed: u64, p in 0usize..9, c in 0usize..9, policy in policies(),
    ) {
        let edited = Edited::new(seed, p, c);
        let merged = tree(&edited.outcome(policy).body.unwrap());
        for (key, value) in edited.base.members() {
            if [&edited.parent, &edited.child].map(|side| side.get(key)) == [Some(value); 2] {
                prop_assert_eq!(merged.get(key), Some(value));
            }
        }
    }

    #[test]
    fn any_json_objects_are_merged_the_same_at_both_ends(
        base in any_object(), parent in any_object(), child in any_object(), policy in policies(),
    ) {
        let edited = Edited { base, parent, child };
        let merged = tree(&edited.outcome(policy).body.unwrap());
        for (key, _) in merged.members() {
            prop_assert!(edited.parent.get(key).or(edited.child.get(key)).is_some());
        }
    }
}

/// Objects of any shape, with keys that mean something to the merge in places where they do not
/// belong.
fn any_object() -> impl Strategy<Value = Tree> {
    let key = proptest::sample::select(vec![
        "name",
        "use",
        "coding",
        "system",
        "code",
        "value",
        "valueString",
        "valueQuantity",
        "extension",
        "url",
        "given",
        "_given",
        "id",
        "text",
        "identifier",
        "meta",
        "contained",
        "resourceType",
        "reference",
        "period",
        "start",
    ]);
    let leaf = proptest::sample::select(vec!["1", "1.0", "true", "null", "\"a\"", "\"b\"", "\"\""])
        .prop_map(|literal| Tree::Leaf(literal.to_owned()));
    let value = leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Tree::List),
            proptest::collection::btree_map(key.clone(), inner, 0..4).prop_map(of_map),
        ]
    });
    let key = proptest::sample::select(vec!["name", "coding", "value", "text", "meta", "_given"]);
    proptest::collection::btree_map(key, value, 0..5).prop_map(of_map)
}

fn of_map(members: std::collections::BTreeMap<&'static str, Tree>) -> Tree {
    Tree::Object(members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}
