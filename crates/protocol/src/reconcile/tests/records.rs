//! Records and edits made up from a seed, for the laws.

use std::fmt::Write as _;

/// A JSON value that tests can alter.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Tree {
    /// A scalar, as its literal.
    Leaf(String),
    List(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

impl Tree {
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }
    fn write(&self, out: &mut String) {
        match self {
            Tree::Leaf(literal) => out.push_str(literal),
            Tree::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    out.push(if index == 0 { '[' } else { ',' });
                    item.write(out);
                }
                out.push_str(if items.is_empty() { "[]" } else { "]" });
            }
            Tree::Object(members) => {
                for (index, (key, value)) in members.iter().enumerate() {
                    out.push(if index == 0 { '{' } else { ',' });
                    write!(out, "\"{key}\":").unwrap();
                    value.write(out);
                }
                out.push_str(if members.is_empty() { "{}" } else { "}" });
            }
        }
    }
    pub(super) fn members(&self) -> &[(String, Tree)] {
        match self {
            Tree::Object(members) => members,
            _ => &[],
        }
    }
    pub(super) fn get(&self, key: &str) -> Option<&Tree> {
        self.members().iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }
}

/// Parses a body into a tree.
pub(super) fn tree(body: &str) -> Tree {
    fn of(value: &crate::json::Json<'_>) -> Tree {
        match value {
            crate::json::Json::Object(object) => Tree::Object(
                object.iter().map(|(key, value)| (key.raw().to_owned(), of(value))).collect(),
            ),
            crate::json::Json::Array(items) => Tree::List(items.iter().map(of).collect()),
            scalar => Tree::Leaf(scalar.to_text()),
        }
    }
    of(&crate::json::parse(body.as_bytes(), crate::json::DEPTH_MAX).unwrap())
}

/// Numbers from a seed (SplitMix64): the same seed, the same record.
pub(super) struct Dice {
    state: u64,
    /// What fresh values begin with, so that no two sources make the same one.
    mark: &'static str,
    count: u32,
    /// See `Dice::plain`.
    plain: bool,
}

impl Dice {
    pub(super) fn new(seed: u64, mark: &'static str) -> Self {
        Dice {
            state: seed ^ mark.bytes().map(u64::from).sum::<u64>() << 32,
            mark,
            count: 0,
            plain: false,
        }
    }
    /// The same dice, which leave no doubt which item is which: none stands in its list twice,
    /// none has an id beside its identity.
    pub(super) fn plain(self) -> Self {
        Dice { plain: true, ..self }
    }
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap()
    }
    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
    fn pick<'c>(&mut self, choices: &[&'c str]) -> &'c str {
        choices[self.below(choices.len())]
    }
    /// A scalar that stands nowhere else.
    fn fresh(&mut self) -> Tree {
        self.count += 1;
        Tree::Leaf(format!("\"{}{}\"", self.mark, self.count))
    }
}

/// Whether a scalar is one that `fresh` made.
pub(super) fn is_fresh(literal: &str) -> bool {
    let plain = literal.trim_matches('"');
    plain.starts_with(['b', 'p', 'c'])
        && plain.len() > 1
        && plain[1..].bytes().all(|byte| byte.is_ascii_digit())
}

fn object(members: Vec<(&str, Tree)>) -> Tree {
    Tree::Object(members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

fn code(literal: &str) -> Tree {
    Tree::Leaf(format!("\"{literal}\""))
}

/// Elements as records of the patient compartment have them; `fill` makes a value for each.
const ELEMENTS: &[&str] = &[
    "active",
    "gender",
    "birthDate",
    "status",
    "text",
    "identifier",
    "name",
    "telecom",
    "address",
    "extension",
    "code",
    "category",
    "subject",
    "period",
    "onset",
    "value",
    "component",
    "note",
    "participant",
    "dosageInstruction",
    "performer",
    "x-unknown",
    "reaction",
    "_birthDate",
];

/// A record with about two thirds of the elements.
pub(super) fn record(dice: &mut Dice) -> Tree {
    let mut members = vec![("resourceType".to_owned(), code("Thing"))];
    for element in ELEMENTS {
        if dice.chance(65) {
            members.push(fill(element, dice));
        }
    }
    Tree::Object(members)
}

/// A member for an element: choices get one of their types.
fn fill(element: &str, dice: &mut Dice) -> (String, Tree) {
    let key = match element {
        "value" => dice.pick(&["valueString", "valueQuantity", "valueCodeableConcept"]),
        "onset" => dice.pick(&["onsetDateTime", "onsetAge", "onsetString"]),
        plain => plain,
    };
    let value = match key {
        "identifier" | "telecom" | "name" | "address" | "extension" | "category" | "component"
        | "note" | "participant" | "dosageInstruction" | "performer" | "reaction" => {
            Tree::List((0..1 + dice.below(3)).map(|_| item(key, dice)).collect())
        }
        "code" | "valueCodeableConcept" => concept(dice),
        "valueQuantity" | "onsetAge" => quantity(dice),
        "period" => object(vec![("start", dice.fresh()), ("end", dice.fresh())]),
        "subject" => object(vec![("reference", dice.fresh()), ("display", dice.fresh())]),
        "text" => object(vec![("status", code("generated")), ("div", dice.fresh())]),
        "x-unknown" => object(vec![
            ("a", dice.fresh()),
            ("b", object(vec![("c", dice.fresh()), ("d", dice.fresh())])),
        ]),
        "_birthDate" => object(vec![("extension", Tree::List(vec![item("extension", dice)]))]),
        _ => dice.fresh(),
    };
    (key.to_owned(), value)
}

fn quantity(dice: &mut Dice) -> Tree {
    object(vec![("value", dice.fresh()), ("unit", dice.fresh())])
}

fn concept(dice: &mut Dice) -> Tree {
    let codings = (0..1 + dice.below(2))
        .map(|_| object(vec![("system", code("http://codes")), ("code", dice.fresh())]))
        .collect();
    object(vec![("coding", Tree::List(codings)), ("text", dice.fresh())])
}

/// An item of a list. Identities are often shared, on purpose.
fn item(list: &str, dice: &mut Dice) -> Tree {
    let mut members = match list {
        "identifier" => vec![("system", code("http://mrn")), ("value", dice.fresh())],
        "telecom" => vec![("system", code("phone")), ("value", dice.fresh())],
        "name" => {
            let given = Tree::List((0..1 + dice.below(2)).map(|_| dice.fresh()).collect());
            let usage = dice.pick(&["official", "usual", "nickname"]);
            vec![("use", code(usage)), ("family", dice.fresh()), ("given", given)]
        }
        "address" => {
            let usage = dice.pick(&["home", "work"]);
            vec![("use", code(usage)), ("city", dice.fresh()), ("country", dice.fresh())]
        }
        "extension" => {
            let url = dice.pick(&["http://a", "http://b", "http://c"]);
            vec![("url", code(url)), ("valueString", dice.fresh())]
        }
        "category" => return concept(dice),
        "component" => vec![("code", concept(dice)), ("valueQuantity", quantity(dice))],
        "note" => vec![("time", dice.fresh()), ("text", dice.fresh())],
        "participant" => vec![
            ("individual", object(vec![("reference", dice.fresh())])),
            ("period", object(vec![("start", dice.fresh())])),
        ],
        "performer" => vec![("reference", dice.fresh()), ("display", dice.fresh())],
        _ => vec![("text", dice.fresh()), ("severity", dice.fresh())],
    };
    if !dice.plain && dice.chance(15) {
        let id = dice.pick(&["1", "2", "3"]);
        members.insert(0, ("id", code(id)));
    }
    object(members)
}

/// One random edit, anywhere but in `resourceType`.
pub(super) fn edit(record: &mut Tree, dice: &mut Dice) {
    let Tree::Object(members) = record else { return };
    match dice.below(10) {
        0 => {
            let element = ELEMENTS[dice.below(ELEMENTS.len())];
            add_element(members, element, dice);
        }
        1 if members.len() > 1 => {
            let place = 1 + dice.below(members.len() - 1);
            members.remove(place);
        }
        _ if members.len() > 1 => {
            let place = 1 + dice.below(members.len() - 1);
            edit_member(members, place, dice);
        }
        _ => {}
    }
}

/// Puts an element in, in place of what was there of it: a choice may change its type.
fn add_element(members: &mut Vec<(String, Tree)>, element: &str, dice: &mut Dice) {
    let is_it = |key: &str| match element {
        "value" | "onset" => key.starts_with(element),
        plain => key == plain,
    };
    members.retain(|(key, _)| !is_it(key));
    let member = fill(element, dice);
    let place = 1 + dice.below(members.len());
    members.insert(place, member);
}

/// Edits the member at `place`, or something in it.
pub(super) fn edit_member(members: &mut [(String, Tree)], place: usize, dice: &mut Dice) {
    let key = members[place].0.clone();
    if key == "id" {
        // What an id is for is to stay.
        return;
    }
    for choice in ["value", "onset"] {
        if key.starts_with(choice) && key != "value" && dice.chance(30) {
            members[place] = fill(choice, dice);
            return;
        }
    }
    edit_value(&key, &mut members[place].1, dice);
}

fn edit_value(key: &str, value: &mut Tree, dice: &mut Dice) {
    match value {
        Tree::Leaf(_) => *value = dice.fresh(),
        Tree::List(items) => edit_list(key, items, dice),
        Tree::Object(members) if members.is_empty() => {}
        Tree::Object(members) => {
            let place = dice.below(members.len());
            match dice.below(8) {
                0 if members.len() > 1 => drop(members.remove(place)),
                1 => {
                    let key = format!("x{}", dice.count);
                    members.push((key, dice.fresh()));
                }
                _ => edit_member(members, place, dice),
            }
        }
    }
}

fn edit_list(key: &str, items: &mut Vec<Tree>, dice: &mut Dice) {
    let place = dice.below(items.len().max(1));
    let scalars = items.iter().all(|item| matches!(item, Tree::Leaf(_)));
    match dice.below(8) {
        0 if items.len() > 1 => drop(items.remove(place)),
        1 => {
            let added = if scalars { dice.fresh() } else { item(key, dice) };
            items.insert(dice.below(items.len() + 1), added);
        }
        2 if items.len() > 1 => items.swap(0, place),
        3 if !dice.plain && !items.is_empty() => items.push(items[place].clone()),
        _ if !items.is_empty() => edit_value(key, &mut items[place], dice),
        _ => {}
    }
}
