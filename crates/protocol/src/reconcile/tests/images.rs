//! Edits through images: the table `images.txt`, and the laws.

use super::records::{Dice, Tree, record, tree};
use crate::reconcile::through_image;

#[test]
fn every_case_of_the_table_of_images_comes_to_its_result() {
    let mut lines = include_str!("images.txt").lines().filter(|line| !line.starts_with('#'));
    let mut failures = Vec::new();
    let mut count = 0;
    while let Some(title) = lines.next() {
        let title = title.strip_prefix("= ").expect("a title");
        let mut field = |name: &str| {
            let (found, value) = lines.next().expect(name).split_once(' ').expect("a field");
            assert_eq!(found, name, "{title}");
            value
        };
        let [image, ours, shown, expected] = ["image", "ours", "shown", "result"].map(&mut field);
        let found = through_image(image, ours, shown).unwrap();
        if found != expected {
            failures.push(format!("{title}\n  expected {expected}\n  found    {found}\n"));
        }
        count += 1;
    }
    assert!(count >= 30, "only {count} cases were read");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// What a system keeps of a record: members and items go by chance, `resourceType` and `id` stay.
fn kept(value: &Tree, dice: &mut Dice, percent: usize) -> Option<Tree> {
    let stays = |dice: &mut Dice| dice.below(100) >= percent;
    Some(match value {
        Tree::Leaf(_) => value.clone(),
        Tree::List(items) => {
            // A list of primitives goes by position with that of its extensions: all or none.
            let scalars = items.iter().any(|item| matches!(item, Tree::Leaf(_)));
            let left: Vec<Tree> = items
                .iter()
                .filter(|_| scalars || stays(dice))
                .collect::<Vec<_>>()
                .into_iter()
                .filter_map(|item| kept(item, dice, percent))
                .collect();
            if left.is_empty() {
                return None;
            }
            Tree::List(left)
        }
        Tree::Object(members) => {
            let mut left = Vec::new();
            for (key, value) in members {
                if key == "resourceType" || key == "id" {
                    left.push((key.clone(), value.clone()));
                } else if stays(dice) {
                    left.extend(kept(value, dice, percent).map(|value| (key.clone(), value)));
                }
            }
            if left.is_empty() {
                return None;
            }
            Tree::Object(left)
        }
    })
}

/// Puts another scalar in the place of the first one within.
fn touch(value: &mut Tree) {
    match value {
        Tree::Leaf(literal) => *literal = "\"edited there\"".to_owned(),
        Tree::List(items) => items.iter_mut().take(1).for_each(touch),
        Tree::Object(members) => {
            members.iter_mut().take(1).for_each(|(_, value)| touch(value));
        }
    }
}

/// Whether the edit of the member `edited` may take the member `other` with it: `value[x]` and what
/// was said of it, a primitive and its extensions, types of one choice.
fn belongs(edited: &str, other: &str) -> bool {
    let (edited, other) = (edited.trim_start_matches('_'), other.trim_start_matches('_'));
    let stem = |name: &str| crate::reconcile::units::choice(name).map(|(stem, _)| stem.to_owned());
    edited == other
        || stem(edited).is_some() && stem(edited) == stem(other)
        || stem(edited).as_deref() == Some("value")
            && matches!(other, "interpretation" | "dataAbsentReason")
}

/// Each member of an image is edited by turn, and taken away by turn: all others are as they were,
/// and the edit is there.
fn each_edit_leaves_all_else(ours: &Tree, image: &Tree) -> usize {
    let text = ours.text();
    assert_eq!(tree(&through_image(&image.text(), &text, &image.text()).unwrap()), *ours);
    let mut edits = 0;
    for place in 0..image.members().len() {
        let (key, before) = &image.members()[place];
        if key == "resourceType" || key == "id" || key == "meta" {
            continue;
        }
        for removed in [false, true] {
            let mut shown = image.clone();
            let Tree::Object(members) = &mut shown else { unreachable!() };
            match removed {
                true => drop(members.remove(place)),
                false => touch(&mut members[place].1),
            }
            if shown == *image {
                continue;
            }
            let result = tree(&through_image(&image.text(), &text, &shown.text()).unwrap());
            for (other, value) in ours.members().iter().filter(|(other, _)| !belongs(key, other)) {
                assert_eq!(result.get(other), Some(value), "{other} after {key} in {text}");
            }
            let now = result.get(key).map(Tree::text).unwrap_or_default();
            assert_eq!(!removed, now.contains("edited there"), "{key} in {text}: {now}");
            // Of a list, each item of which nothing was shown is still there.
            if let (Some(Tree::List(items)), Tree::List(known)) = (ours.get(key), before) {
                let hidden = items.len() - known.len();
                let left = match result.get(key) {
                    Some(Tree::List(left)) => left.len(),
                    _ => 0,
                };
                assert!(left >= hidden, "{key} in {text}: {now}");
            }
            edits += 1;
        }
    }
    edits
}

#[test]
fn whatever_a_system_drops_an_edit_there_leaves_all_else_as_it_was() {
    let mut edits = 0;
    for seed in 0..400 {
        let mut dice = Dice::new(seed, "b").plain();
        let ours = record(&mut dice);
        let percent = [0, 20, 50, 80][dice.below(4)];
        let image = kept(&ours, &mut dice, percent).unwrap();
        edits += each_edit_leaves_all_else(&ours, &image);
    }
    assert!(edits > 1_000, "only {edits} edits were made");
}

#[test]
fn whatever_a_system_drops_of_the_records_of_tributary_test_data_skipped_where_it_is_not_set() {
    let Some(folder) = std::env::var_os("TRIBUTARY_TEST_DATA") else { return };
    let records = super::real::resources(std::path::Path::new(&folder));
    let step = records.len() / 600 + 1;
    let mut edits = 0;
    for (seed, ours) in records.iter().enumerate().step_by(step) {
        if ours.get("resourceType").is_none() {
            continue;
        }
        // The form in which records are stored and compared.
        let text = ours.text();
        let json = crate::json::parse(text.as_bytes(), crate::json::DEPTH_MAX).unwrap();
        let ours = tree(&crate::digest::body(json.as_object().unwrap()));
        let mut dice = Dice::new(u64::try_from(seed).unwrap(), "b");
        let percent = [0, 20, 50, 80][dice.below(4)];
        let image = kept(&ours, &mut dice, percent).unwrap();
        edits += each_edit_leaves_all_else(&ours, &image);
    }
    assert!(edits > 1_000, "only {edits} edits were made");
}
