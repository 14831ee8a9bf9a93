//! Strings with their escapes as they were written.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::Write as _;

/// A string, as it stood between its quotes: escapes are not resolved until asked for.
#[derive(Debug, Clone)]
pub struct Text<'a> {
    raw: Cow<'a, str>,
    escaped: bool,
}

impl<'a> Text<'a> {
    /// A string that says `plain`: what JSON does not allow as it is gets escaped.
    pub fn plain(plain: impl Into<Cow<'a, str>>) -> Self {
        let plain = plain.into();
        if !plain.bytes().any(must_escape) {
            return Text { raw: plain, escaped: false };
        }
        let mut raw = String::with_capacity(plain.len() + 8);
        escape(&plain, &mut raw);
        Text { raw: Cow::Owned(raw), escaped: true }
    }
    /// For the parser, which has checked the escapes in `raw`.
    pub(super) fn checked(raw: &'a str, escaped: bool) -> Self {
        Text { raw: Cow::Borrowed(raw), escaped }
    }
    /// What the string says.
    pub fn decode(&self) -> Cow<'_, str> {
        if self.escaped { Cow::Owned(unescape(&self.raw)) } else { Cow::Borrowed(&self.raw) }
    }
    /// What stood between the quotes, escapes and all.
    pub fn raw(&self) -> &str {
        &self.raw
    }
    /// Whether `raw` has escapes, so that it is not what the string says.
    pub fn is_escaped(&self) -> bool {
        self.escaped
    }
    /// Orders by the bytes of what the strings say.
    pub fn cmp_decoded(&self, other: &Text<'_>) -> Ordering {
        if self.escaped || other.escaped {
            return self.decode().cmp(&other.decode());
        }
        self.raw.cmp(&other.raw)
    }
    /// Appends the string with its quotes, as it was written.
    pub fn write(&self, out: &mut String) {
        out.push('"');
        out.push_str(&self.raw);
        out.push('"');
    }
    /// Appends the string with its quotes and the fewest escapes: `\"`, `\\`, `\b`, `\t`, `\n`,
    /// `\f`, `\r`, and `\u00xx` (lower-case hexadecimal) for the other characters below U+0020.
    pub fn write_canonical(&self, out: &mut String) {
        out.push('"');
        if self.escaped {
            escape(&unescape(&self.raw), out);
        } else {
            out.push_str(&self.raw);
        }
        out.push('"');
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        if self.escaped || other.escaped {
            return self.decode() == other.decode();
        }
        self.raw == other.raw
    }
}

impl Eq for Text<'_> {}

impl PartialEq<str> for Text<'_> {
    fn eq(&self, other: &str) -> bool {
        if self.escaped { self.decode() == other } else { self.raw == other }
    }
}

/// What JSON does not allow in a string as it is.
fn must_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Appends `plain` with the fewest escapes.
fn escape(plain: &str, out: &mut String) {
    for character in plain.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            control if control < ' ' => {
                write!(out, "\\u{:04x}", u32::from(control)).expect("a String takes any text");
            }
            other => out.push(other),
        }
    }
}

/// Resolves escapes that the parser, or `escape`, has seen to be right.
fn unescape(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let (character, length) = one_escape(&rest[at..]);
        out.push(character);
        rest = &rest[at + length..];
    }
    out.push_str(rest);
    out
}

/// The character of the escape that `text` begins with, and how many bytes it takes.
fn one_escape(text: &str) -> (char, usize) {
    let simple = match text.as_bytes().get(1) {
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return unicode_escape(text),
        Some(other) => char::from(*other),
        None => char::REPLACEMENT_CHARACTER,
    };
    (simple, 2.min(text.len()))
}

/// `\uXXXX`, or a pair of them.
fn unicode_escape(text: &str) -> (char, usize) {
    let unit = |from: usize| {
        text.get(from..from + 4).and_then(|digits| u32::from_str_radix(digits, 16).ok())
    };
    match (unit(2), unit(8)) {
        (Some(high @ 0xd800..=0xdbff), Some(low @ 0xdc00..=0xdfff)) => {
            let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
            (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 12)
        }
        (Some(code), _) => (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 6),
        (None, _) => (char::REPLACEMENT_CHARACTER, 2),
    }
}
