//! What an edit in a record system makes of a record that the system cannot hold whole.
//!
//! The system shows a part of the record, perhaps rewritten: its *image*. Somebody edits that part.
//! What changed from the old image to the new one is the edit; it is made on our record, and all
//! else stays: what is in neither image was never the system's to delete, and what the system only
//! rewrote on its way in (seconds, displays) is no edit.
//!
//! This is no merge: nobody contradicts anybody. Who edited saw the image, so what is shown wins.

mod items;

use super::merge::Value;
use super::node::Node;
use super::{parse, units, whole};
use crate::error::Refusal;
use crate::json::{Json, Object, Text};

/// How deep values are looked into part by part; what lies deeper is one value.
const DEPTH: usize = 48;

/// What the record is with the edit made on it: `image` is what the system showed of `ours`, and
/// `shown` what it shows now. Gives compact JSON.
///
/// A value whose parts say something only together (a coded concept, a quantity, a reference) is
/// one element: where it is edited, parts of it that were never shown go with the old value.
///
/// Fails only where a body is not a JSON object.
pub fn through_image(image: &str, ours: &str, shown: &str) -> Result<String, Refusal> {
    let longest = ours.len() + shown.len();
    let (image, ours, shown) = (parse(image)?, parse(ours)?, parse(shown)?);
    let mut body = String::with_capacity(longest);
    edited(Some(&image), &ours, &shown, 0).write(&mut body);
    Ok(body)
}

/// The three states of an element: what was shown, what we hold, what is shown now.
#[derive(Clone, Copy)]
struct States<'t> {
    image: Value<'t>,
    ours: Value<'t>,
    shown: Value<'t>,
}

/// What an element is with the edit made on it.
fn element<'t>(name: &str, states: States<'t>, depth: usize) -> Option<Node<'t>> {
    let States { image, ours, shown } = states;
    if image == shown {
        return ours.map(Node::Same);
    }
    if depth >= DEPTH || ours == image {
        return shown.map(Node::Same);
    }
    let lists = [image, ours, shown].map(|state| state.map_or(Some(&[][..]), Json::as_array));
    if let ([Some(image), Some(ours), Some(shown)], true) = (lists, ours.is_some()) {
        return items::edited(name, [image, ours, shown], depth);
    }
    let (Some(ours), Some(now)) = (ours.and_then(Json::as_object), shown.and_then(Json::as_object))
    else {
        return shown.map(Node::Same);
    };
    let image = image.and_then(Json::as_object);
    match is_one_value(name, [image, Some(ours), Some(now)]) {
        true => shown.map(Node::Same),
        false => Some(edited(image, ours, now, depth + 1)),
    }
}

/// Whether an object that was edited is one value, so that what is shown is all of it.
fn is_one_value(name: &str, states: [Option<&Object<'_>>; 3]) -> bool {
    let [image, ours, shown] = states;
    if states.into_iter().flatten().any(whole::is_concept) {
        return !whole::is_one_concept(states);
    }
    if !whole::object(name, [ours, image, shown]) {
        return false;
    }
    // Of a figure in the same unit, and of the end of a time, the rest still holds.
    let changed = |key: &str| {
        image.and_then(|image| image.get(key)) != shown.and_then(|shown| shown.get(key))
    };
    let keys = [image, shown].into_iter().flatten().flat_map(Object::iter).map(|(key, _)| key);
    !keys
        .filter(|key| changed(&key.decode()))
        .all(|key| ["value", "start", "end"].iter().any(|figure| key == *figure))
}

/// An object with the edit made on it.
fn edited<'t>(
    image: Option<&'t Object<'t>>,
    ours: &'t Object<'t>,
    shown: &'t Object<'t>,
    depth: usize,
) -> Node<'t> {
    let before = |key: &str| image.and_then(|image| image.get(key));
    let mut members: Vec<(&'t Text<'t>, Node<'t>)> = Vec::with_capacity(ours.len());
    for (key, value) in ours.iter() {
        let name = key.decode();
        let states = States { image: before(&name), ours: Some(value), shown: shown.get(&name) };
        if states.image.is_none() && states.shown.is_none() && is_over(&name, image, ours, shown) {
            continue;
        }
        members.extend(element(&name, states, depth).map(|node| (key, node)));
    }
    for (key, value) in shown.iter() {
        let name = key.decode();
        let is_new = ours.get(&name).is_none() && before(&name) != Some(value);
        members.extend(is_new.then_some((key, Node::Same(value))));
    }
    Node::Object(members)
}

/// Whether a member of ours that was never shown goes with what the edit took away or put in: the
/// extensions of a primitive that is gone, another type of a choice that has a value now, what was
/// said of the value before.
fn is_over(name: &str, image: Option<&Object<'_>>, ours: &Object<'_>, shown: &Object<'_>) -> bool {
    let was = |key: &str| image.and_then(|image| image.get(key));
    if let Some(plain) = name.strip_prefix('_') {
        let length = |value: Option<&Json<'_>>| value.and_then(Json::as_array).map(<[_]>::len);
        let removed = was(plain).is_some() && shown.get(plain).is_none();
        // A list of primitives and that of their extensions go by position.
        let moved = ours.get(plain).is_some_and(|list| list.as_array().is_some())
            && length(was(plain)) != length(shown.get(plain));
        return removed || moved || is_over(plain, image, ours, shown) && ours.get(plain).is_some();
    }
    if let Some((stem, datatype)) = units::choice(name) {
        let taken = |(key, value): (&Text<'_>, &Json<'_>)| {
            let key = key.decode();
            let choice = units::choice(&key);
            choice.is_some_and(|(other, kind)| other == stem && kind != datatype)
                && was(&key) != Some(value)
                && ours.get(&key).is_none()
        };
        return shown.iter().any(taken);
    }
    matches!(name, "interpretation" | "dataAbsentReason") && is_value_edited(image, shown)
}

/// Whether the value of an Observation, or of a component, is another one.
fn is_value_edited(image: Option<&Object<'_>>, shown: &Object<'_>) -> bool {
    let members = |object: &Object<'_>| -> Vec<(String, String)> {
        let of_value = object.iter().filter(|(key, _)| units::is_type_of(&key.decode(), "value"));
        let mut found: Vec<_> =
            of_value.map(|(key, value)| (key.decode().into_owned(), value.to_text())).collect();
        found.sort();
        found
    };
    image.map(members).unwrap_or_default() != members(shown)
}
