//! The laws over real records, where `TRIBUTARY_TEST_DATA` names a folder of FHIR JSON files.

use std::path::{Path, PathBuf};

use super::records::{Dice, Tree, edit, tree};
use super::{Outcome, canonical, outcome};
use crate::reconcile::Policy;

/// The resources of all `.json` files under `folder`, Bundles taken apart.
pub(super) fn resources(folder: &Path) -> Vec<Tree> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() {
            found.extend(resources(&path));
        } else if path.extension().is_some_and(|extension| extension == "json") {
            let text = std::fs::read_to_string(&path).unwrap();
            match tree(&text) {
                Tree::List(_) | Tree::Leaf(_) => {}
                bundle if bundle.get("entry").is_some() => found.extend(entries(&bundle)),
                resource => found.push(resource),
            }
        }
    }
    found
}

fn entries(bundle: &Tree) -> Vec<Tree> {
    let Some(Tree::List(entries)) = bundle.get("entry") else { return Vec::new() };
    entries.iter().filter_map(|entry| entry.get("resource").cloned()).collect()
}

fn edited(base: &Tree, seed: u64, mark: &'static str) -> Tree {
    let mut dice = Dice::new(seed, mark);
    let mut edited = base.clone();
    for _ in 0..1 + dice.below(4) {
        edit(&mut edited, &mut dice);
    }
    edited
}

/// Members that neither side touched have to be in the result as they are in base; all but `meta`,
/// whose `versionId` and `lastUpdated` are no part of a record.
fn assert_untouched_stay(base: &Tree, parent: &Tree, child: &Tree, merged: &Outcome) {
    let merged = tree(merged.body.as_deref().unwrap());
    for (key, value) in base.members().iter().filter(|(key, _)| key != "meta") {
        if parent.get(key) == Some(value) && child.get(key) == Some(value) {
            assert_eq!(merged.get(key), Some(value), "{key} was touched");
        }
    }
}

#[test]
fn records_of_tributary_test_data_are_merged_alike_at_both_ends_skipped_where_it_is_not_set() {
    let Some(folder) = std::env::var_os("TRIBUTARY_TEST_DATA") else { return };
    let records = resources(Path::new(&folder));
    assert!(!records.is_empty(), "no FHIR JSON files in TRIBUTARY_TEST_DATA");
    // Some hundred of all kinds will do, spread over the folder.
    let step = records.len() / 300 + 1;
    for (seed, base) in records.iter().enumerate().step_by(step) {
        let seed = u64::try_from(seed).unwrap();
        let [parent, child] = ["p", "c"].map(|mark| edited(base, seed, mark));
        let [base_text, parent_text, child_text] = [base, &parent, &child].map(Tree::text);
        for policy in [Policy::Parent, Policy::Child] {
            let known = Some(Some(base_text.as_str()));
            let merged = outcome(known, Some(&parent_text), Some(&child_text), policy);
            assert_untouched_stay(base, &parent, &child, &merged);
            // One side alone edited: what it made is taken as it is.
            let alone = outcome(known, Some(&parent_text), Some(&base_text), policy);
            assert_eq!(canonical(alone.body.as_deref()), canonical(Some(&parent_text)));
            outcome(None, Some(&parent_text), Some(&child_text), policy);
        }
    }
}
