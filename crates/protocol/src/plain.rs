//! Words of others as people are shown them: a site, a program or a person far away may send what
//! moves a terminal's cursor or turns its text around.

use std::borrow::Cow;

/// Whether a character does that, or breaks a line.
fn is_odd(c: char) -> bool {
    c.is_control()
        || ('\u{202a}'..='\u{202e}').contains(&c)
        || ('\u{2066}'..='\u{2069}').contains(&c)
}

/// A text as one line of at most `most` characters, with spaces for what is odd.
pub fn line(text: &str, most: usize) -> String {
    let line: String = text.trim().chars().take(most).collect();
    let line: String = line.chars().map(|c| if is_odd(c) { ' ' } else { c }).collect();
    line.trim().to_owned()
}

/// A text as a terminal may have it: line ends and tabs stay, what is odd is spelt out (`\u001b`).
/// JSON stays the same JSON.
pub fn spelt(text: &str) -> Cow<'_, str> {
    let harms = |c: char| is_odd(c) && c != '\n' && c != '\t';
    if !text.contains(harms) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match harms(c) {
            true => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => out.push(c),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_a_cursor_or_turns_text_around_is_taken_out_of_a_line() {
        for (text, shown) in [
            ("the mast is mended", "the mast is mended"),
            ("\u{1b}[2J\u{1b}[31mall is well\r\n", "[2J [31mall is well"),
            ("a\u{9b}1A\u{7f}b\u{202e}c\u{2066}", "a 1A b c"),
            ("Ré\tunion ملف", "Ré union ملف"),
            ("  ", ""),
        ] {
            assert_eq!(line(text, 100), shown, "{text:?}");
        }
        assert_eq!(line("abcdef", 3), "abc");
    }

    #[test]
    fn what_a_terminal_would_obey_is_spelt_out_and_json_stays_the_same() {
        assert!(matches!(spelt("a\n\tb ملف"), Cow::Borrowed(_)));
        assert_eq!(spelt("\u{1b}]0;x\u{7}\r\n"), "\\u001b]0;x\\u0007\\u000d\n");
        let value = serde_json::json!({"a": "x\u{9b}\u{7f}\u{202e}"});
        let text = value.to_string();
        let shown = spelt(&text);
        assert!(!shown.contains(is_odd));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }
}
