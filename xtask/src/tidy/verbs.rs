//! Documents show only commands that the program has.

use super::{File, Finding};

/// One verb, one file: this folder is the list of verbs.
const FOLDER: &str = "crates/node/src/cli/";

/// What the command line gives by itself.
const BUILT_IN: &[&str] = &["help"];

pub(crate) fn check(files: &[File]) -> Vec<Finding> {
    let verbs: Vec<String> = files.iter().filter_map(|file| verb_of(&file.path)).collect();
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.is_document()) {
        for (number, line, fenced) in file.document_lines() {
            for verb in shown(line, fenced) {
                if !verbs.contains(&verb) && !BUILT_IN.contains(&verb.as_str()) {
                    let what = format!("no `tributary {verb}`: {FOLDER} has no file for it");
                    findings.push(Finding::new(&file.path, number, what));
                }
            }
        }
    }
    findings
}

fn verb_of(path: &str) -> Option<String> {
    let name = path.strip_prefix(FOLDER)?.split(['/', '.']).next()?;
    Some(name.replace('_', "-"))
}

/// The verbs that a line shows: after the program's name, in a code block or in backticks.
fn shown(line: &str, fenced: bool) -> Vec<String> {
    let pieces: Vec<&str> =
        if fenced { vec![line] } else { line.split('`').skip(1).step_by(2).collect() };
    pieces.into_iter().flat_map(verbs_in).collect()
}

fn verbs_in(command: &str) -> Vec<String> {
    let words: Vec<&str> = command.split_whitespace().collect();
    words
        .windows(2)
        .filter(|pair| pair[0] == "tributary" || pair[0].ends_with("/tributary"))
        .map(|pair| pair[1])
        .filter(|verb| verb.chars().all(|each| each.is_ascii_lowercase() || each == '-'))
        .filter(|verb| !verb.starts_with('-'))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::a_file;
    use super::*;

    fn check_document(text: &str) -> Vec<usize> {
        let files = [
            a_file("crates/node/src/cli/serve.rs", ""),
            a_file("crates/node/src/cli/child/add.rs", ""),
            a_file("docs/operations.md", text),
        ];
        check(&files).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_verb_that_is_not_there_is_found_in_blocks_and_in_backticks() {
        let text = "`tributary fly --dir x`\n```\n$ target/release/tributary swim\n```\n";
        assert_eq!(check_document(text), [1, 3]);
    }

    #[test]
    fn verbs_that_are_there_and_plain_prose_pass() {
        let text = "tributary keeps `tributary serve`, `tributary child add` and `tributary --help`
```
./tributary serve --dir x  # and tributary VERB
```
";
        assert_eq!(check_document(text), [0; 0]);
    }
}
