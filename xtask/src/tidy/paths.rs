//! Files that documents name exist: a map of what is gone is worse than none.

use super::{File, Finding};

/// A path that begins with one of these means a place in this tree.
const FOLDERS: &[&str] =
    &[".ci", ".cargo", "crates", "docs", "fuzz", "packaging", "scripts", "xtask"];

/// A name with one of these endings means a file of this tree, wherever it is.
const ENDINGS: &[&str] = &[".rs", ".md", ".py", ".sql", ".sh"];

pub(crate) fn check(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.is_document()) {
        for (number, line, fenced) in file.document_lines() {
            let named = named_paths(line, fenced).into_iter().filter(|path| !exists(files, path));
            let linked = if fenced { Vec::new() } else { linked_paths(&file.path, line) };
            let linked = linked.into_iter().filter(|path| !is_there(files, path));
            for path in named.chain(linked) {
                let what = format!("names {path}, which does not exist");
                findings.push(Finding::new(&file.path, number, what));
            }
        }
    }
    findings
}

/// The paths in backticks, or anywhere in a line of a code block, with braces expanded.
fn named_paths(line: &str, fenced: bool) -> Vec<String> {
    let words: Vec<&str> = if fenced {
        line.split_whitespace()
            .filter(|word| word.contains('/') && begins_with_folder(word))
            .collect()
    } else {
        let quoted = line.split('`').skip(1).step_by(2);
        quoted.filter(|word| !word.contains(char::is_whitespace)).collect()
    };
    words
        .into_iter()
        .map(|word| word.trim_end_matches([',', ':', ';', ')', '/']))
        .map(without_line_number)
        .filter(|word| looks_like_path(word))
        .flat_map(expand_braces)
        .collect()
}

fn begins_with_folder(word: &str) -> bool {
    word.split('/').next().is_some_and(|first| FOLDERS.contains(&first))
}

fn looks_like_path(word: &str) -> bool {
    let outside = word.starts_with(['/', '~', '$', '*', '-', '<']) || word.starts_with("..");
    let odd = word.contains("://") || word.contains("::") || word.contains("...");
    if outside || odd {
        return false;
    }
    begins_with_folder(word) || ENDINGS.iter().any(|ending| word.ends_with(ending))
}

fn without_line_number(word: &str) -> &str {
    match word.rsplit_once(':') {
        Some((path, number)) if number.bytes().all(|each| each.is_ascii_digit()) => path,
        _ => word,
    }
}

/// `a/{b,c}.rs` means two files.
fn expand_braces(word: &str) -> Vec<String> {
    let Some((before, rest)) = word.split_once('{') else { return vec![word.to_owned()] };
    let Some((inside, after)) = rest.split_once('}') else { return vec![word.to_owned()] };
    inside.split(',').flat_map(|each| expand_braces(&format!("{before}{each}{after}"))).collect()
}

/// The targets of a line's markdown links, from the tree's root; those to elsewhere left out.
fn linked_paths(document: &str, line: &str) -> Vec<String> {
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
    targets
        .filter_map(|target| target.split('#').next())
        .filter(|target| !target.is_empty() && !target.contains("://"))
        .filter(|target| !target.starts_with("mailto:"))
        .map(|target| resolve(document, target))
        .collect()
}

fn resolve(document: &str, target: &str) -> String {
    let folder = document.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

/// Whether the tree has this file or folder, from its root.
fn is_there(files: &[File], path: &str) -> bool {
    let folder = format!("{path}/");
    files.iter().any(|file| file.path == path || file.path.starts_with(&folder))
}

/// Whether a named path is there: from the root, or as the end of a longer path. A star
/// stands for the rest of a name, and what follows it is not looked at.
fn exists(files: &[File], path: &str) -> bool {
    if let Some((before, _)) = path.split_once('*') {
        return files.iter().any(|file| file.path.starts_with(before));
    }
    let end = format!("/{path}");
    is_there(files, path)
        || (!begins_with_folder(path) && files.iter().any(|file| file.path.ends_with(&end)))
}

#[cfg(test)]
mod tests {
    use super::super::a_file;
    use super::*;

    fn missing(text: &str) -> Vec<String> {
        let files = [
            a_file("crates/store/src/sqlite/feeds.rs", ""),
            a_file("docs/protocol.md", ""),
            a_file("docs/operations.md", text),
        ];
        check(&files).into_iter().map(|finding| finding.what).collect()
    }

    fn gone(path: &str) -> String {
        format!("names {path}, which does not exist")
    }

    #[test]
    fn a_path_that_is_gone_is_found() {
        assert_eq!(
            missing("see `crates/store/src/gone.rs:12`"),
            [gone("crates/store/src/gone.rs")]
        );
        assert_eq!(missing("see `gone.rs` and `scripts/`"), [gone("gone.rs"), gone("scripts")]);
        assert_eq!(missing("`sqlite/{feeds,gone}.rs`"), [gone("sqlite/gone.rs")]);
        assert_eq!(missing("```\ncrates/gone  a crate\n```"), [gone("crates/gone")]);
    }

    #[test]
    fn a_link_that_leads_nowhere_is_found() {
        assert_eq!(missing("[a](protocol.md#x) [b](gone.md)"), [gone("docs/gone.md")]);
        assert_eq!(missing("[a](../docs/protocol.md), [b](https://example.org/x.md)"), [""; 0]);
    }

    #[test]
    fn what_is_there_and_what_is_no_path_of_the_tree_pass() {
        let text = "`crates/store`, `feeds.rs`, `sqlite/feeds.rs`, `crates/*/src`, `docs/*.md`,
`Patient/77`, `/feeds/x.md`, `../data/a.md`, `docs::x.rs`, `application/json`, `a b.rs`
```
cargo run -- import a.rs docs/protocol.md
```
";
        assert_eq!(missing(text), [""; 0]);
    }
}
