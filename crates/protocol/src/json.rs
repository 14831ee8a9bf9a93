//! JSON as it was written: a parser that keeps number literals, key order and escapes, knows
//! where each object stood in the text, and says in plain words what is wrong with the rest.
//!
//! A general JSON library will not do here: it changes `1.00` to `1.0`, takes the last of two
//! equal keys in silence and forgets the text of a subtree (see docs/adr).

mod parse;
#[cfg(test)]
mod tests;
mod text;

use std::borrow::Cow;

pub use parse::{DEPTH_MAX, parse};
pub use text::Text;

/// A JSON value that borrows its text.
///
/// Equal are: numbers by their literals (`1.0` is not `1.00`), strings by what they say whatever
/// their escapes, arrays by order, objects as sets of members.
#[derive(Debug, Clone, PartialEq)]
pub enum Json<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as the literal that stood in the text.
    Number(Cow<'a, str>),
    /// A string.
    String(Text<'a>),
    /// An array.
    Array(Vec<Json<'a>>),
    /// An object.
    Object(Object<'a>),
}

/// An object: its members in the order of the text; no key twice.
#[derive(Debug, Clone, Default)]
pub struct Object<'a> {
    members: Vec<(Text<'a>, Json<'a>)>,
    /// The text from `{` to `}`, where it was parsed and not built.
    raw: Option<&'a str>,
    /// Whether `raw` has no white space between its values: then it is what `write` makes.
    compact: bool,
}

impl<'a> Json<'a> {
    /// A string that says `plain`.
    pub fn string(plain: impl Into<Cow<'a, str>>) -> Self {
        Json::String(Text::plain(plain))
    }
    /// Whether this is `null`.
    pub fn is_null(&self) -> bool {
        matches!(self, Json::Null)
    }
    /// What a `true` or `false` says.
    pub fn as_bool(&self) -> Option<bool> {
        if let Json::Bool(value) = self { Some(*value) } else { None }
    }
    /// A number's literal.
    pub fn as_number(&self) -> Option<&str> {
        if let Json::Number(literal) = self { Some(literal) } else { None }
    }
    /// A string, with its escapes.
    pub fn as_text(&self) -> Option<&Text<'a>> {
        if let Json::String(text) = self { Some(text) } else { None }
    }
    /// What a string says.
    pub fn as_str(&self) -> Option<Cow<'_, str>> {
        self.as_text().map(Text::decode)
    }
    /// An object.
    pub fn as_object(&self) -> Option<&Object<'a>> {
        if let Json::Object(object) = self { Some(object) } else { None }
    }
    /// An array's items.
    pub fn as_array(&self) -> Option<&[Json<'a>]> {
        if let Json::Array(items) = self { Some(items) } else { None }
    }
    /// The items of an array; of anything else, itself: FHIR elements that may repeat in one
    /// type and not in another are then read alike.
    pub fn items(&self) -> &[Json<'a>] {
        self.as_array().unwrap_or(std::slice::from_ref(self))
    }
    /// The value of an object's member; `None` for other values as well.
    pub fn get(&self, key: &str) -> Option<&Json<'a>> {
        self.as_object()?.get(key)
    }
    /// What the string at `key` says: `get` and `as_str` in one.
    pub fn str_at(&self, key: &str) -> Option<Cow<'_, str>> {
        self.get(key)?.as_str()
    }
    /// Appends compact JSON: no white space, and else as it stood, number literals, escapes and
    /// key order included.
    pub fn write(&self, out: &mut String) {
        match self {
            Json::Null => out.push_str("null"),
            Json::Bool(true) => out.push_str("true"),
            Json::Bool(false) => out.push_str("false"),
            Json::Number(literal) => out.push_str(literal),
            Json::String(text) => text.write(out),
            Json::Array(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Json::Object(object) => object.write(out),
        }
    }
    /// Compact JSON, as `write` makes it.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }
}

impl<'a> Object<'a> {
    /// An object of these members. No key may stand twice: that is the caller's to see to.
    pub fn from_members(members: Vec<(Text<'a>, Json<'a>)>) -> Self {
        let object = Object { members, raw: None, compact: false };
        debug_assert!(parse::repeated_key(&object.members).is_none(), "a key stands twice");
        object
    }
    /// The members, in order.
    pub fn into_members(self) -> Vec<(Text<'a>, Json<'a>)> {
        self.members
    }
    /// How many members it has.
    pub fn len(&self) -> usize {
        self.members.len()
    }
    /// Whether it has no members.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
    /// The members, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&Text<'a>, &Json<'a>)> {
        self.members.iter().map(|(key, value)| (key, value))
    }
    /// The text from `{` to `}` as it stood, white space included; `None` where the object was
    /// built or altered.
    pub fn raw(&self) -> Option<&'a str> {
        self.raw
    }
    /// The value of a member.
    pub fn get(&self, key: &str) -> Option<&Json<'a>> {
        self.members.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }
    /// Replaces a member's value in its place, or appends the member.
    pub fn set(&mut self, key: impl Into<Cow<'a, str>>, value: Json<'a>) {
        self.raw = None;
        let key = key.into();
        match self.members.iter_mut().find(|(name, _)| name == &*key) {
            Some((_, old)) => *old = value,
            None => self.members.push((Text::plain(key), value)),
        }
    }
    /// Takes a member out.
    pub fn remove(&mut self, key: &str) -> Option<Json<'a>> {
        let index = self.members.iter().position(|(name, _)| name == key)?;
        self.raw = None;
        Some(self.members.remove(index).1)
    }
    /// The members sorted by the bytes of their keys as they decode.
    pub fn sorted(&self) -> Vec<(&Text<'a>, &Json<'a>)> {
        let mut members: Vec<_> = self.iter().collect();
        members.sort_by(|a, b| a.0.cmp_decoded(b.0));
        members
    }
    /// Appends compact JSON, as `Json::write` does.
    pub fn write(&self, out: &mut String) {
        if let Some(raw) = self.raw.filter(|_| self.compact) {
            return out.push_str(raw);
        }
        out.push('{');
        for (index, (key, value)) in self.members.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            key.write(out);
            out.push(':');
            value.write(out);
        }
        out.push('}');
    }
}

impl PartialEq for Object<'_> {
    fn eq(&self, other: &Self) -> bool {
        if self.members.len() != other.members.len() {
            return false;
        }
        // The same text says the same; most of what two states of a record have is such.
        if self.raw.is_some() && self.raw == other.raw {
            return true;
        }
        let same_order = self.members.iter().zip(&other.members).all(|(a, b)| a.0 == b.0);
        if same_order {
            return self.members.iter().zip(&other.members).all(|(a, b)| a.1 == b.1);
        }
        self.sorted() == other.sorted()
    }
}
