//! Lines fit beside another window, files fit in a head.

use super::{File, Finding};

const COLUMNS: usize = 100;
const FILE_LINES: usize = 500;

pub(crate) fn check(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in file.lines() {
        let columns = line.chars().count();
        // An address cannot be broken, and a fixture is as somebody else wrote it.
        let excused = line.contains("://") || file.path.contains("/fixtures/");
        if columns > COLUMNS && !excused {
            let what = format!("{columns} columns; at most {COLUMNS}");
            findings.push(Finding::new(&file.path, number, what));
        }
    }
    let lines = file.lines().count();
    if lines > FILE_LINES {
        let what = format!("{lines} lines; at most {FILE_LINES}: a second idea may live here");
        findings.push(Finding::new(&file.path, 0, what));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::a_file;
    use super::*;

    #[test]
    fn a_line_over_a_hundred_columns_is_found_but_not_an_address() {
        let text =
            format!("{}\n{}\n// https://{}\n", "é".repeat(100), "é".repeat(101), "x".repeat(100));
        let found = check(&a_file("a.rs", &text));
        assert_eq!(found, [Finding::new("a.rs", 2, "101 columns; at most 100")]);
        assert_eq!(check(&a_file("tests/fixtures/a.rs", &text)), []);
    }

    #[test]
    fn a_file_over_five_hundred_lines_is_found() {
        assert_eq!(check(&a_file("a.rs", &"x\n".repeat(500))), []);
        assert_eq!(check(&a_file("a.rs", &"x\n".repeat(501))).len(), 1);
    }
}
