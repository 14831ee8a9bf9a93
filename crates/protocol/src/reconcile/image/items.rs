//! Lists of which a record system shows some items, perhaps rewritten.

use super::super::identity;
use super::super::merge::Three;
use super::super::node::Node;
use super::{States, element};
use crate::json::Json;

/// One item: where it stood in the image, where it stands in ours, where it is shown now.
type Item = [Option<usize>; 3];

const IMAGE: usize = 0;
const OURS: usize = 1;
const SHOWN: usize = 2;

/// A list with the edit made on it: ours, in which each item that was shown is as it is shown now.
/// `None` where nothing is left of it. `lists` are the image's, ours, and the one shown now.
pub(super) fn edited<'t>(name: &str, lists: [&'t [Json<'t>]; 3], depth: usize) -> Option<Node<'t>> {
    let items = together(name, lists);
    let mut order: Vec<Item> = Vec::with_capacity(items.len());
    // Ours, without what was taken away.
    let mut own: Vec<Item> = items.iter().copied().filter(|item| item[OURS].is_some()).collect();
    own.sort_by_key(|item| item[OURS]);
    order.extend(own.into_iter().filter(|item| item[IMAGE].is_none() || item[SHOWN].is_some()));
    reorder(&mut order);
    for item in new_items(&items, lists) {
        let at = place_of(&order, item);
        order.insert(at, item);
    }
    let nodes: Vec<Node<'t>> = order
        .iter()
        .filter_map(|item| {
            let at = |slot: usize| item[slot].map(|index| &lists[slot][index]);
            let states = States { image: at(IMAGE), ours: at(OURS), shown: at(SHOWN) };
            element(name, states, depth + 1)
        })
        .collect();
    (!nodes.is_empty()).then_some(Node::Array(nodes))
}

/// What is shown now and is not ours, but for what the system puts in by itself.
fn new_items(items: &[Item], lists: [&[Json<'_>]; 3]) -> Vec<Item> {
    let is_new = |item: &&Item| match **item {
        [None, None, Some(_)] => true,
        [Some(before), None, Some(now)] => lists[IMAGE][before] != lists[SHOWN][now],
        _ => false,
    };
    let mut new: Vec<Item> = items.iter().filter(is_new).copied().collect();
    new.sort_by_key(|item| item[SHOWN]);
    new
}

/// After the item that it follows where it is shown; else before the one that it leads there.
fn place_of(order: &[Item], item: Item) -> usize {
    let before = |other: &&(usize, &Item)| other.1[SHOWN].is_some() && other.1[SHOWN] < item[SHOWN];
    let known = order.iter().enumerate();
    let follows = known.clone().filter(|other| before(&other)).max_by_key(|(_, o)| o[SHOWN]);
    let leads = known.filter(|(_, o)| o[SHOWN] > item[SHOWN]).min_by_key(|(_, o)| o[SHOWN]);
    match (follows, leads) {
        (Some((place, _)), _) => place + 1,
        (None, Some((place, _))) => place,
        (None, None) => order.len(),
    }
}

/// Where the edit changed the order of what was shown, that is the order; the rest stays in place.
fn reorder(order: &mut [Item]) {
    let places: Vec<usize> = (0..order.len())
        .filter(|&place| order[place][IMAGE].is_some() && order[place][SHOWN].is_some())
        .collect();
    let mut shown: Vec<Item> = places.iter().map(|&place| order[place]).collect();
    shown.sort_by_key(|item| item[SHOWN]);
    if shown.is_sorted_by_key(|item| item[IMAGE]) {
        return;
    }
    for (place, item) in places.into_iter().zip(shown) {
        order[place] = item;
    }
}

/// Which items of the three lists are states of one thing: by the merge's identities, then what is
/// left by likeness: the system may have dropped or rewritten what an identity is made of.
fn together(name: &str, [image, ours, shown]: [&[Json<'_>]; 3]) -> Vec<Item> {
    let groups = identity::groups(name, Three { base: image, parent: ours, child: shown });
    let mut items: Vec<Item> = groups.into_iter().map(|group| group.slots).collect();
    // First what the system shows of ours, then what the edit made of what was shown.
    join_alike(&mut items, (IMAGE, OURS), |one, other| same_thing(&image[one], &ours[other]));
    join_alike(&mut items, (IMAGE, SHOWN), |one, other| likeness(&image[one], &shown[other]));
    // What nothing tells is the nth of those that are left. An object of the image that is like
    // none of ours is the system's own, and no scalar is.
    let scalars = |list: &[Json<'_>]| list.iter().all(|item| item.as_object().is_none());
    if image.len() == ours.len() && scalars(image) && scalars(ours) {
        join_in_order(&mut items, (IMAGE, OURS));
    }
    join_in_order(&mut items, (IMAGE, SHOWN));
    items
}

/// The items that have a state in `from` and none in `to`, and those of which it is the other way
/// round and that could be the same thing.
fn apart(items: &[Item], (from, to): (usize, usize)) -> (Vec<usize>, Vec<usize>) {
    let other = 3 - from - to;
    let lonely = |place: &usize| items[*place][from].is_some() && items[*place][to].is_none();
    let left: Vec<usize> = (0..items.len()).filter(lonely).collect();
    let right = (0..items.len()).filter(|&place| {
        let item = items[place];
        item[to].is_some() && item[from].is_none() && item[other].is_none()
    });
    (left, right.collect())
}

fn join_alike(
    items: &mut Vec<Item>,
    slots: (usize, usize),
    likeness: impl Fn(usize, usize) -> usize,
) {
    let (left, right) = apart(items, slots);
    let mut pairs = Vec::new();
    for &one in &left {
        for &other in &right {
            let (Some(from), Some(to)) = (items[one][slots.0], items[other][slots.1]) else {
                continue;
            };
            let alike = likeness(from, to);
            if alike > 0 {
                pairs.push((std::cmp::Reverse(alike), from.abs_diff(to), one, other));
            }
        }
    }
    pairs.sort_unstable();
    join(items, slots, pairs.into_iter().map(|(_, _, one, other)| (one, other)).collect());
}

fn join_in_order(items: &mut Vec<Item>, slots: (usize, usize)) {
    let (mut left, mut right) = apart(items, slots);
    if left.len() != right.len() {
        return;
    }
    left.sort_by_key(|&place| items[place][slots.0]);
    right.sort_by_key(|&place| items[place][slots.1]);
    join(items, slots, left.into_iter().zip(right).collect());
}

/// Joins pairs, each item at most once, the first first.
fn join(items: &mut Vec<Item>, (_, to): (usize, usize), pairs: Vec<(usize, usize)>) {
    let mut gone = vec![false; items.len()];
    for (one, other) in pairs {
        if items[one][to].is_none() && !gone[other] {
            items[one][to] = items[other][to].take();
            gone[other] = true;
        }
    }
    items.retain(|item| item.iter().any(Option::is_some));
}

/// How alike an item of the image is to one of ours, where it is that one rewritten: most of it
/// has to be the same, and of what has a value (identifiers, telecoms) that.
fn same_thing(image: &Json<'_>, ours: &Json<'_>) -> usize {
    let value = |item: &Json<'_>| item.get("value").map(Json::to_text);
    let alike = likeness(image, ours);
    if value(image) == value(ours) && 2 * alike >= scalars(image) { alike } else { 0 }
}

fn scalars(value: &Json<'_>) -> usize {
    match value {
        Json::Object(object) => object.iter().map(|(_, value)| scalars(value)).sum(),
        Json::Array(items) => items.iter().map(scalars).sum(),
        _ => 1,
    }
}

/// How many scalars two values have in common, at the same places within them.
fn likeness(one: &Json<'_>, other: &Json<'_>) -> usize {
    match (one, other) {
        (Json::Object(one), Json::Object(other)) => one
            .iter()
            .filter_map(|(key, value)| Some(likeness(value, other.get(&key.decode())?)))
            .sum(),
        (Json::Array(one), Json::Array(other)) => {
            one.iter().zip(other).map(|(one, other)| likeness(one, other)).sum()
        }
        (one, other) => usize::from(one == other),
    }
}
