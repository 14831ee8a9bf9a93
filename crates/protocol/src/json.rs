//! JSON as it was written: a parser that keeps number literals, key order and escapes, knows
//! where each object stood in the text, and says in plain words what is wrong with the rest.
//!
//! A general JSON library will not do here: it changes `1.00` to `1.0`, takes the last of two
//! equal keys in silence and forgets the text of a subtree (see docs/adr).

use std::borrow::Cow;

use crate::error::Refusal;

/// A JSON value that borrows its text.
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

/// A string, as it stood between its quotes: escapes are not resolved until asked for.
#[derive(Debug, Clone)]
pub struct Text<'a> {
    raw: Cow<'a, str>,
    escaped: bool,
}

/// An object: its members in the order of the text; no key twice.
#[derive(Debug, Clone)]
pub struct Object<'a> {
    members: Vec<(Text<'a>, Json<'a>)>,
    /// The text from `{` to `}`, where it was parsed and not built.
    raw: Option<&'a str>,
}

/// Parses one JSON value and nothing after it but white space.
///
/// Refused, with line and column: what is not UTF-8 or not JSON, control characters in strings,
/// `\u0000` (databases and FHIR both forbid it), lone surrogates, a key that stands twice in one
/// object, nesting deeper than `depth`.
pub fn parse(bytes: &[u8], depth: usize) -> Result<Json<'_>, Refusal> {
    let _ = (bytes, depth);
    todo!()
}

impl PartialEq for Text<'_> {
    fn eq(&self, _other: &Self) -> bool {
        todo!()
    }
}

impl PartialEq for Object<'_> {
    fn eq(&self, _other: &Self) -> bool {
        todo!()
    }
}
