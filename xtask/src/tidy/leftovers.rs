//! Nothing unfinished and no test that does not run.

use super::rust_text::take_apart;
use super::{File, Finding};

/// In code, where a literal or a comment that mentions them does no harm.
const IN_CODE: &[&str] = &["todo!", "unimplemented!", "dbg!", "#[ignore"];

/// The reason of a test that needs a server: `.ci/run` installs that, and runs the test.
const RUN_BY_CI: &str = "`.ci/run` runs it\"";
/// By what `.ci/run` finds those: in the name of their module, or in their own.
const NEEDS: &str = "needs_mariadb";

/// Anywhere. Written in two pieces, so that this file does not find itself.
const ANYWHERE: &[&str] = &[concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK")];

pub(crate) fn check(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    let code = take_apart(&file.text).code;
    for (index, (line, whole)) in code.lines().zip(file.text.lines()).enumerate() {
        let named = || file.text.lines().nth(index + 1).is_some_and(|next| next.contains(NEEDS));
        let is_found = || file.path.contains(NEEDS) || named();
        let runs = |mark: &str| mark == "#[ignore" && whole.contains(RUN_BY_CI) && is_found();
        for mark in IN_CODE.iter().filter(|mark| line.contains(**mark) && !runs(mark)) {
            findings.push(Finding::new(&file.path, index + 1, format!("{mark} left behind")));
        }
    }
    for (number, line) in file.lines() {
        for mark in ANYWHERE.iter().filter(|mark| has_word(line, mark)) {
            findings.push(Finding::new(&file.path, number, format!("{mark} left behind")));
        }
    }
    findings
}

/// Whether `mark` stands in `line` with no letter or digit beside it.
fn has_word(line: &str, mark: &str) -> bool {
    line.split(|each: char| !each.is_alphanumeric()).any(|word| word == mark)
}

#[cfg(test)]
mod tests {
    use super::super::a_file;
    use super::*;

    #[test]
    fn unfinished_code_and_sleeping_tests_are_found() {
        let text =
            format!("fn f() {{\n    todo!()\n}}\n#[ignore = \"slow\"]\n// {}\n", ANYWHERE[0]);
        let lines: Vec<_> =
            check(&a_file("a.rs", &text)).into_iter().map(|each| each.line).collect();
        assert_eq!(lines, [2, 4, 5]);
    }

    #[test]
    fn what_needs_a_server_is_run_by_ci() {
        let said = "#[ignore = \"`.ci/run` runs it\"]";
        let text = format!("{said}\nfn needs_mariadb_a() {{}}\n{said}\nfn b() {{}}\n#[ignore]\n");
        let lines = |path| -> Vec<_> {
            check(&a_file(path, &text)).into_iter().map(|each| each.line).collect()
        };
        assert_eq!(lines("a.rs"), [3, 5]);
        assert_eq!(lines("needs_mariadb.rs"), [5]);
    }

    #[test]
    fn speaking_of_them_is_allowed() {
        assert_eq!(check(&a_file("a.rs", "// no todo! in \\uXXXX\nlet a = \"#[ignore\";")), []);
    }
}
