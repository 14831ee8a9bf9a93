//! Query strings and paths as text: strict where the usual crates put replacement characters in
//! silence, because a search for something else than was asked for is worse than an error.

use crate::http::error::Failure;

/// The decoded pairs of a query string or of a form, in order. Names of parameters may repeat.
pub(super) fn pairs(text: &str) -> Result<Vec<(String, String)>, Failure> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name, true)?, decode(value, true)?))
        })
        .collect()
}

/// The pairs as a query string.
pub(super) fn text<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut out = String::new();
    for (name, value) in pairs {
        if !out.is_empty() {
            out.push('&');
        }
        encode(name, &mut out);
        out.push('=');
        encode(value, &mut out);
    }
    out
}

/// Resolves `%XX` (and `+` in a query).
pub(super) fn decode(text: &str, plus_is_space: bool) -> Result<String, Failure> {
    let bad = || Failure::bad_request("the URL holds a % that is no escape, or is not UTF-8");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' if plus_is_space => b' ',
            b'%' => {
                let digits = [rest.next().ok_or_else(bad)?, rest.next().ok_or_else(bad)?];
                let digit = |b: u8| char::from(b).to_digit(16);
                match (digit(digits[0]), digit(digits[1])) {
                    (Some(high), Some(low)) => (high * 16 + low) as u8,
                    _ => return Err(bad()),
                }
            }
            other => other,
        });
    }
    let decoded = String::from_utf8(bytes).map_err(|_| bad())?;
    if decoded.chars().any(char::is_control) {
        return Err(Failure::bad_request("the URL holds a control character"));
    }
    Ok(decoded)
}

fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' | b':' => {
                out.push(char::from(byte));
            }
            _ => {
                out.push('%');
                for half in [byte >> 4, byte & 15] {
                    out.push(char::from(b"0123456789ABCDEF"[usize::from(half)]));
                }
            }
        }
    }
}

/// Splits a parameter's value at commas that are not escaped; the escapes stay.
pub(super) fn alternatives(value: &str) -> Vec<&str> {
    split(value, ',')
}

/// Splits at `|` that is not escaped, once.
pub(super) fn at_bar(value: &str) -> Option<(&str, &str)> {
    match split(value, '|')[..] {
        [before, ..] if before.len() < value.len() => Some((before, &value[before.len() + 1..])),
        _ => None,
    }
}

fn split(value: &str, at: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (index, c) in value.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == at => {
                parts.push(&value[start..index]);
                start = index + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&value[start..]);
    parts
}

/// Resolves the escapes of FHIR search values: `\,`, `\|`, `\$` and `\\`.
pub(super) fn unescape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('\\', Some(',' | '|' | '$' | '\\')) => out.extend(chars.next()),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_as_it_is_written() {
        let pairs_ = pairs("name=Akiny%C3%AD%20O&name=b&_count=5&flag").unwrap();
        let seen: Vec<_> = pairs_.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(seen, [("name", "Akinyí O"), ("name", "b"), ("_count", "5"), ("flag", "")]);
        assert_eq!(pairs(&text(seen.clone())).unwrap(), pairs_);
        for bad in ["a=%", "a=%4", "a=%zz", "a=%ff", "a=%00", "%c3=1", "a=b%0Ac"] {
            assert!(pairs(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn defect_25_commas_and_bars_in_values_can_be_escaped() {
        assert_eq!(alternatives(r"a,b\,c,d\\,e"), ["a", r"b\,c", r"d\\", "e"]);
        assert_eq!(unescape(r"b\,c\|d\$e\\f\g"), r"b,c|d$e\f\g");
        assert_eq!(at_bar(r"urn:a\|b|c|d"), Some((r"urn:a\|b", "c|d")));
        assert_eq!(at_bar("|c"), Some(("", "c")));
        assert_eq!(at_bar("c"), None);
    }
}
