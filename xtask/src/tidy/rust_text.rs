//! Tells the code of a Rust source from its comments and literals, well enough to count braces.

/// A source taken apart.
pub(crate) struct RustText {
    /// The source with every comment and the inside of every literal blanked; lines stay lines.
    pub(crate) code: String,
    /// The inside of each string literal, with the line that it begins on.
    pub(crate) literals: Vec<(usize, String)>,
}

/// Takes a source apart. Of what is not Rust at all it gives something, never a panic.
pub(crate) fn take_apart(source: &str) -> RustText {
    let mut reader = Reader { rest: source, line: 1, code: String::new(), literals: Vec::new() };
    while !reader.rest.is_empty() {
        reader.step();
    }
    RustText { code: reader.code, literals: reader.literals }
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
    code: String,
    literals: Vec<(usize, String)>,
}

impl Reader<'_> {
    fn step(&mut self) {
        let rest = self.rest;
        if rest.starts_with("//") {
            self.blank(rest.find('\n').unwrap_or(rest.len()));
        } else if rest.starts_with("/*") {
            self.blank(block_comment_length(rest));
        } else if let Some((opening, closing)) = raw_string(rest, &self.code) {
            let inside = rest.get(opening..).unwrap_or("");
            let length = inside.find(&closing).unwrap_or(inside.len());
            self.literal(opening, length, closing.len());
        } else if rest.starts_with('"') {
            let length = quoted_length(rest.get(1..).unwrap_or(""), '"');
            self.literal(1, length, 1);
        } else if let Some(length) = char_literal_length(rest) {
            self.blank(length);
        } else {
            self.keep(rest.chars().next().map_or(1, char::len_utf8));
        }
    }

    /// Splits `length` bytes off the front, or what there is.
    fn take(&mut self, length: usize) -> &'_ str {
        let (front, back) = self.rest.split_at(length.min(self.rest.len()));
        self.rest = back;
        self.line += front.matches('\n').count();
        front
    }

    fn keep(&mut self, length: usize) {
        let front = self.take(length).to_owned();
        self.code.push_str(&front);
    }

    fn blank(&mut self, length: usize) {
        let front = self.take(length).to_owned();
        self.code.extend(front.chars().map(|each| if each == '\n' { '\n' } else { ' ' }));
    }

    fn literal(&mut self, opening: usize, length: usize, closing: usize) {
        let line = self.line;
        self.blank(opening);
        let inside: String = self.rest.chars().collect();
        self.literals.push((line, inside.get(..length).unwrap_or(&inside).to_owned()));
        self.blank(length);
        self.blank(closing);
    }
}

/// Block comments nest.
fn block_comment_length(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// `r"`, `r#"`, `br##"`...: the length of the opening, and what closes it.
fn raw_string(text: &str, before: &str) -> Option<(usize, String)> {
    if before.ends_with(|each: char| each.is_alphanumeric() || each == '_') {
        return None;
    }
    let after_b = text.strip_prefix(['b', 'c']).unwrap_or(text);
    let after_r = after_b.strip_prefix('r')?;
    let after_hashes = after_r.trim_start_matches('#');
    after_hashes.strip_prefix('"')?;
    let hashes = after_r.len() - after_hashes.len();
    Some((text.len() - after_hashes.len() + 1, format!("\"{}", "#".repeat(hashes))))
}

/// The length of what stands before the closing quote, where a backslash escapes.
fn quoted_length(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, each) in text.char_indices() {
        if escaped {
            escaped = false;
        } else if each == '\\' {
            escaped = true;
        } else if each == quote {
            return at;
        }
    }
    text.len()
}

/// The length of a character literal at the front, quotes included; `None` for a lifetime.
fn char_literal_length(text: &str) -> Option<usize> {
    let inside = text.strip_prefix('\'')?;
    let first = inside.chars().next()?;
    if first == '\\' {
        return Some(quoted_length(inside, '\'') + 2);
    }
    inside.get(first.len_utf8()..)?.starts_with('\'').then(|| first.len_utf8() + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(source: &str) -> String {
        take_apart(source).code.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn comments_and_literals_are_not_code() {
        assert_eq!(code("a // {\nb /* } /* { */ */ c"), "a b c");
        assert_eq!(code(r#"f("}\"{", '{', '\'', b'}') "#), "f( , , , b )");
        assert_eq!(code("g(r#\"}\"{\"#, br\"{\")"), "g( , )");
    }

    #[test]
    fn a_lifetime_and_a_raw_name_are_code() {
        assert_eq!(code("fn f<'a>(x: &'a str) { r#type }"), "fn f<'a>(x: &'a str) { r#type }");
    }

    #[test]
    fn literals_know_the_line_they_begin_on() {
        let taken = take_apart("x\n\"é one\n two\"; r#\"three\"#");
        assert_eq!(taken.literals, [(2, "é one\n two".to_owned()), (3, "three".to_owned())]);
    }

    #[test]
    fn what_is_not_rust_gives_something() {
        for odd in ["\"", "'", "/*", "r#\"", "'\\", "/* é", "b\"é"] {
            take_apart(odd);
        }
    }
}
