//! What `diff` takes from the merge, so that both call an element by the same name: which items
//! of two states of a list are one thing, what a choice is, what is one value.

use std::collections::BTreeMap;

use super::merge::{Three, Value};
use super::{identity, path, units, whole};
use crate::json::{Json, Object};

/// An item of a list before and after, and how it is called in paths.
pub(crate) struct Pair<'t> {
    pub(crate) before: Value<'t>,
    pub(crate) after: Value<'t>,
    pub(crate) label: String,
}

/// The items of a list before and after as pairs: in the order of `after`, then what is gone.
/// Beside the merge's identity, an item that went and one that came are one item that changed
/// where their label (and use) singles them out: so a telephone number is edited, not replaced.
pub(crate) fn pairs<'t>(
    name: &str,
    before: &'t [Json<'t>],
    after: &'t [Json<'t>],
) -> Vec<Pair<'t>> {
    let lists = Three { base: before, parent: after, child: after };
    let groups = identity::groups(name, lists);
    let mut places: Vec<[Option<usize>; 2]> =
        groups.iter().map(|group| [group.slots[0], group.slots[1]]).collect();
    let label = |item: &Json<'_>| path::label(name, item);
    replaced(&mut places, before, after, |item| {
        Some((label(item)?, item.str_at("use").unwrap_or_default().into_owned()))
    });
    replaced(&mut places, before, after, |item| Some((label(item)?, String::new())));
    replaced(&mut places, before, after, |item| {
        (label(item).is_none() && is_one_value(name, item)).then_some(())
    });
    places.sort_by_key(|&[before, after]| (after.is_none(), after, before));
    let item = |[b, a]: [Option<usize>; 2]| (b.map(|b| &before[b]), a.map(|a| &after[a]));
    let labels: Vec<Option<String>> = places
        .iter()
        .map(|&place| {
            let (before, after) = item(place);
            after.or(before).and_then(label)
        })
        .collect();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for label in labels.iter().flatten() {
        *counts.entry(label).or_default() += 1;
    }
    let called = |(&place, label): (&[Option<usize>; 2], &Option<String>)| {
        let own = label.clone().filter(|label| counts[label.as_str()] == 1);
        let index = place[1].or(place[0]).unwrap_or_default();
        let (before, after) = item(place);
        Pair { before, after, label: own.unwrap_or_else(|| index.to_string()) }
    };
    places.iter().zip(&labels).map(called).collect()
}

/// Joins an item that went with the one that came, where each is the only one of its key.
fn replaced<K: Ord>(
    places: &mut Vec<[Option<usize>; 2]>,
    before: &[Json<'_>],
    after: &[Json<'_>],
    key: impl Fn(&Json<'_>) -> Option<K>,
) {
    let mut alone: BTreeMap<K, [Vec<usize>; 2]> = BTreeMap::new();
    for (place, indexes) in places.iter().enumerate() {
        let (side, item) = match *indexes {
            [Some(index), None] => (0, &before[index]),
            [None, Some(index)] => (1, &after[index]),
            _ => continue,
        };
        if let Some(key) = key(item) {
            alone.entry(key).or_default()[side].push(place);
        }
    }
    for [went, came] in alone.into_values() {
        if let ([went], [came]) = (&went[..], &came[..]) {
            places[*came][0] = places[*went][0].take();
        }
    }
    places.retain(|place| place.iter().any(Option::is_some));
}

/// Whether a value is read as one: a scalar, or a datatype whose parts mean something only
/// together (a Quantity, a Period, a CodeableConcept). `name` is the element's.
pub(crate) fn is_one_value(name: &str, value: &Json<'_>) -> bool {
    match value {
        // By their look some are Quantities.
        Json::Object(_) if matches!(name, "identifier" | "telecom") => false,
        Json::Object(object) => {
            let is_text = object.len() == 1 && object.get("text").is_some();
            is_text || whole::is_concept(object) || whole::is_datatype(object)
        }
        Json::Array(items) => items.iter().any(|item| item.as_object().is_none()),
        _ => true,
    }
}

/// What is appended to `path` for the member `key` of an object.
pub(crate) fn step(path: &str, key: &str) -> String {
    path::step(path, key)
}

/// For a member of one state that the other lacks: the other's member of the same choice, and
/// the choice's name: `valueString` for `valueQuantity`, called `value[x]`.
pub(crate) fn other_choice<'t>(
    key: &str,
    has: &Object<'_>,
    lacks: &'t Object<'t>,
) -> Option<(String, std::borrow::Cow<'t, str>, &'t Json<'t>)> {
    let (stem, datatype) = units::choice(key)?;
    lacks.iter().find_map(|(name, value)| {
        let name = name.decode();
        let (other_stem, other_type) = units::choice(&name)?;
        let is_other = other_stem == stem && other_type != datatype && has.get(&name).is_none();
        is_other.then(|| (format!("{stem}[x]"), name.clone(), value))
    })
}
