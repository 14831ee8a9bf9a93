//! The parser: one pass, one look at each byte, recursion only as deep as it is told.

use std::borrow::Cow;

use super::{Json, Object, Text};
use crate::error::{Refusal, RefusalKind};

/// The deepest nesting that `parse` follows, whatever it is asked for: what the stack of any
/// thread bears.
pub const DEPTH_MAX: usize = 512;

/// Up to how many members an object's keys are compared one by one as they come.
const FEW_MEMBERS: usize = 16;

/// Parses one JSON value and nothing after it but white space. `depth` is how many arrays and
/// objects may stand within each other, at most `DEPTH_MAX`.
///
/// Refused, with line and column: what is not UTF-8 or not JSON, control characters in strings,
/// `\u0000` (databases and FHIR both forbid it), lone surrogates, a key that stands twice in one
/// object, nesting deeper than `depth`.
pub fn parse(bytes: &[u8], depth: usize) -> Result<Json<'_>, Refusal> {
    let text = match str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let good = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            return Err(Fault::new(good.len(), "the bytes are not UTF-8").refusal(&good));
        }
    };
    let depth = depth.min(DEPTH_MAX);
    let mut parser = Parser { text, bytes, at: 0, depth, spaces: 0 };
    parser.document().map_err(|fault| fault.refusal(text))
}

/// The place of the second of two equal keys.
pub(super) fn repeated_key(members: &[(Text<'_>, Json<'_>)]) -> Option<usize> {
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_by(|a, b| members[*a].0.cmp_decoded(&members[*b].0));
    order.windows(2).find(|pair| members[pair[0]].0 == members[pair[1]].0).map(|pair| pair[1])
}

/// Where the text goes wrong. The path grows while the recursion unwinds, innermost step first.
struct Fault {
    at: usize,
    kind: RefusalKind,
    reason: Cow<'static, str>,
    path: Vec<String>,
}

impl Fault {
    fn new(at: usize, reason: &'static str) -> Box<Self> {
        let reason = Cow::Borrowed(reason);
        Box::new(Fault { at, kind: RefusalKind::Malformed, reason, path: Vec::new() })
    }
    fn too_deep(at: usize, depth: usize) -> Box<Self> {
        let Refusal { kind, reason } = Refusal::over_limit("json_depth", depth);
        Box::new(Fault { at, kind, reason: Cow::Owned(reason), path: Vec::new() })
    }
    /// A step of the path, outermost last. Keys that are not names of elements are not shown:
    /// in garbage anything can stand where a key should, content as well.
    fn within_key(mut self: Box<Self>, key: &Text<'_>) -> Box<Self> {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let shown = key.raw().len() <= 40 && key.raw().bytes().all(is_name);
        self.path.push(if shown { key.raw().to_owned() } else { "?".to_owned() });
        self
    }
    fn within_item(mut self: Box<Self>, index: usize) -> Box<Self> {
        self.path.push(index.to_string());
        self
    }
    /// Says where, for a person: lines and columns from 1, columns in characters.
    fn refusal(&self, text: &str) -> Refusal {
        let before = text.get(..self.at).unwrap_or(text);
        let line = 1 + before.bytes().filter(|byte| *byte == b'\n').count();
        let column = 1 + before.chars().rev().take_while(|c| *c != '\n').count();
        let steps: Vec<&str> = self.path.iter().rev().map(String::as_str).collect();
        let within = match steps.as_slice() {
            [] => String::new(),
            outer if outer.len() <= 12 => format!(" ({})", outer.join(".")),
            outer => format!(" ({}...)", outer[..12].join(".")),
        };
        let reason = &self.reason;
        Refusal::new(
            self.kind,
            format!("bad JSON at line {line}, column {column}{within}: {reason}"),
        )
    }
}

type Parsed<T> = Result<T, Box<Fault>>;

struct Parser<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    depth: usize,
    /// How many characters of white space were skipped.
    spaces: usize,
}

impl<'a> Parser<'a> {
    fn document(&mut self) -> Parsed<Json<'a>> {
        self.skip_space();
        let value = self.value(self.depth)?;
        self.skip_space();
        if self.at < self.bytes.len() {
            return Err(Fault::new(self.at, "something follows the JSON value"));
        }
        Ok(value)
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
            self.spaces += 1;
        }
    }

    fn wrong<T>(&self, reason: &'static str) -> Parsed<T> {
        let cut = "the text ends in the middle of a value";
        Err(Fault::new(self.at, if self.at < self.bytes.len() { reason } else { cut }))
    }

    /// `room` is how many more arrays and objects may be opened.
    fn value(&mut self, room: usize) -> Parsed<Json<'a>> {
        match self.peek() {
            Some(b'"') => self.string().map(Json::String),
            Some(b'{') => self.object(room).map(Json::Object),
            Some(b'[') => self.array(room).map(Json::Array),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'n') => self.word("null", Json::Null),
            _ => self.wrong("a value is expected"),
        }
    }

    fn word(&mut self, word: &'static str, value: Json<'a>) -> Parsed<Json<'a>> {
        if self.bytes[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            return Ok(value);
        }
        Err(Fault::new(self.at, "a value is expected"))
    }

    fn array(&mut self, room: usize) -> Parsed<Vec<Json<'a>>> {
        let room = room.checked_sub(1).ok_or_else(|| Fault::too_deep(self.at, self.depth))?;
        self.at += 1;
        self.skip_space();
        let mut items = Vec::new();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(items);
        }
        loop {
            let item = self.value(room).map_err(|fault| fault.within_item(items.len()))?;
            if items.is_empty() {
                // Most arrays of FHIR hold one item, and a first push would make room for four.
                items.reserve_exact(1);
            }
            items.push(item);
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => break,
                _ => return self.wrong("',' or ']' is expected"),
            }
            self.skip_space();
        }
        self.at += 1;
        Ok(items)
    }

    fn object(&mut self, room: usize) -> Parsed<Object<'a>> {
        let (start, spaces) = (self.at, self.spaces);
        let room = room.checked_sub(1).ok_or_else(|| Fault::too_deep(start, self.depth))?;
        self.at += 1;
        let mut members = Vec::new();
        self.skip_space();
        if self.peek() != Some(b'}') {
            self.members(room, &mut members)?;
        }
        self.at += 1;
        let compact = spaces == self.spaces;
        Ok(Object { members, raw: Some(&self.text[start..self.at]), compact })
    }

    /// Reads members up to, and not including, the `}`.
    fn members(&mut self, room: usize, members: &mut Vec<(Text<'a>, Json<'a>)>) -> Parsed<()> {
        let start = self.at;
        loop {
            let key = self.key(members)?;
            self.skip_space();
            if self.peek() != Some(b':') {
                return self.wrong("':' is expected");
            }
            self.at += 1;
            self.skip_space();
            match self.value(room) {
                Ok(value) => members.push((key, value)),
                Err(fault) => return Err(fault.within_key(&key)),
            }
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => break,
                _ => return self.wrong("',' or '}' is expected"),
            }
            self.skip_space();
        }
        if members.len() > FEW_MEMBERS
            && let Some(index) = repeated_key(members)
        {
            return Err(Fault::new(start, TWICE).within_key(&members[index].0));
        }
        Ok(())
    }

    fn key(&mut self, members: &[(Text<'a>, Json<'a>)]) -> Parsed<Text<'a>> {
        let at = self.at;
        if self.peek() != Some(b'"') {
            return self.wrong("a key in quotes is expected");
        }
        let key = self.string()?;
        if members.len() < FEW_MEMBERS && members.iter().any(|(other, _)| *other == key) {
            return Err(Fault::new(at, TWICE).within_key(&key));
        }
        Ok(key)
    }

    fn string(&mut self) -> Parsed<Text<'a>> {
        let start = self.at + 1;
        self.at = start;
        let mut escaped = false;
        loop {
            self.skip_plain();
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(0..=0x1f) => return self.wrong("a control character stands in a string"),
                Some(_) => self.at += 1,
                None => return self.wrong("a string is not closed"),
            }
        }
        let raw = &self.text[start..self.at];
        self.at += 1;
        Ok(Text::checked(raw, escaped))
    }

    /// Steps over characters of a string that need no look of their own, eight bytes at a time.
    fn skip_plain(&mut self) {
        const ONES: u64 = u64::from_ne_bytes([1; 8]);
        const HIGHS: u64 = ONES << 7;
        let is_zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
        while let Some((chunk, _)) = self.bytes[self.at..].split_first_chunk::<8>() {
            let word = u64::from_le_bytes(*chunk);
            let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
            let quote = is_zero(word ^ (ONES * u64::from(b'"')));
            let found = control | quote | is_zero(word ^ (ONES * u64::from(b'\\')));
            if found != 0 {
                // The lowest mark is exact; carries can only make false ones above it.
                self.at += (found.trailing_zeros() / 8) as usize;
                return;
            }
            self.at += 8;
        }
    }

    /// Checks one escape, or the two of a surrogate pair, and steps over it.
    fn escape(&mut self) -> Parsed<()> {
        match self.bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(())
            }
            Some(b'u') => match self.unit(self.at)? {
                0 => self.wrong("\\u0000 stands in a string"),
                0xd800..=0xdbff => {
                    let low = self.at + 6;
                    let paired = self.bytes[low..].starts_with(b"\\u")
                        && matches!(self.unit(low)?, 0xdc00..=0xdfff);
                    if !paired {
                        return self.wrong("half of a surrogate pair stands in a string");
                    }
                    self.at += 12;
                    Ok(())
                }
                0xdc00..=0xdfff => self.wrong("half of a surrogate pair stands in a string"),
                _ => {
                    self.at += 6;
                    Ok(())
                }
            },
            Some(_) => self.wrong("an unknown escape stands in a string"),
            None => Err(Fault::new(self.bytes.len(), "a string is not closed")),
        }
    }

    /// The code unit of the `\uXXXX` that stands at `at`.
    fn unit(&self, at: usize) -> Parsed<u32> {
        let digits = self.bytes.get(at + 2..at + 6).unwrap_or_default();
        let value = |unit: u32, digit: &u8| Some(unit * 16 + char::from(*digit).to_digit(16)?);
        let unit = digits.iter().try_fold(0, value).filter(|_| digits.len() == 4);
        unit.ok_or_else(|| Fault::new(at, "\\u needs four hexadecimal digits"))
    }

    fn number(&mut self) -> Parsed<Json<'a>> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(Json::Number(Cow::Borrowed(&self.text[start..self.at])))
    }

    /// One digit or more.
    fn digits(&mut self) -> Parsed<()> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return self.wrong("a digit is expected");
        }
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        Ok(())
    }
}

const TWICE: &str = "a key stands twice in one object";
