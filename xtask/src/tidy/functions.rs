//! Functions stay short enough to be read at once. Clippy's bound leaves out blank lines and
//! comments; this one counts what stands on the screen.

use super::rust_text::take_apart;
use super::{File, Finding};

/// From the line with `fn` to the closing brace, both counted.
const FUNCTION_LINES: usize = 70;

pub(crate) fn check(file: &File) -> Vec<Finding> {
    functions(&take_apart(&file.text).code)
        .into_iter()
        .filter(|function| function.lines > FUNCTION_LINES)
        .map(|Function { name, line, lines }| {
            let what = format!("fn {name} has {lines} lines; at most {FUNCTION_LINES}");
            Finding::new(&file.path, line, what)
        })
        .collect()
}

struct Function {
    name: String,
    line: usize,
    lines: usize,
}

/// The functions with bodies in `code`, in which comments and literals are blank.
fn functions(code: &str) -> Vec<Function> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let (before, rest) = code.split_at(at);
        if before.ends_with(|each: char| each.is_alphanumeric() || each == '_') {
            continue;
        }
        let name: String = rest
            .chars()
            .skip(3)
            .skip_while(|each| each.is_whitespace())
            .take_while(|each| each.is_alphanumeric() || *each == '_')
            .collect();
        if let Some(length) = body_end(rest) {
            let lines = rest.get(..length).unwrap_or(rest).matches('\n').count() + 1;
            found.push(Function { name, line: before.matches('\n').count() + 1, lines });
        }
    }
    found
}

/// Where the body that follows ends; `None` where a semicolon comes instead of a body.
fn body_end(code: &str) -> Option<usize> {
    let mut depth = 0_i32;
    let mut in_body = false;
    for (at, each) in code.char_indices() {
        match each {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            ';' if depth == 0 && !in_body => return None,
            '{' => {
                in_body |= depth == 0;
                depth += 1;
            }
            '}' => {
                depth -= 1;
                if in_body && depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::a_file;
    use super::*;

    fn function_of(lines: usize) -> String {
        let body = "    // a brace in a comment } does not end it\n".repeat(lines - 2);
        format!("\npub(crate) fn grow<'a>(x: &'a [u8; 3]) -> u8 {{\n{body}}}\n")
    }

    #[test]
    fn a_function_of_seventy_lines_passes_and_one_more_does_not() {
        assert_eq!(check(&a_file("a.rs", &function_of(70))), []);
        let found = check(&a_file("a.rs", &function_of(71)));
        assert_eq!(found, [Finding::new("a.rs", 2, "fn grow has 71 lines; at most 70")]);
    }

    #[test]
    fn declarations_and_function_types_have_no_length() {
        let source = format!(
            "trait T {{ fn a(&self) -> [u8; 2]; }}\ntype F = fn (u8);\n{}",
            "\n".repeat(99)
        );
        assert_eq!(check(&a_file("a.rs", &source)), []);
    }
}
