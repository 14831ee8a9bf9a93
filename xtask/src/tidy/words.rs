//! Words that have no place in the tree.

use super::{File, Finding};

/// Hosts of package registries: people use mirrors, and a client knows its own registry, so
/// packages are named and hosts are not. In two pieces, so that this file does not find itself.
const HOSTS: &[&str] = &[
    concat!("crates", ".io"),
    concat!("pypi", ".org"),
    concat!("python", "hosted.org"),
    concat!("npmjs", ".org"),
    concat!("npmjs", ".com"),
    concat!("proxy.golang", ".org"),
    concat!("repo.maven.apache", ".org"),
    concat!("repo1.maven", ".org"),
    concat!("deb.debian", ".org"),
];

/// Words that say nothing (name the thing by what it does) or that belong to how a text was
/// written and not to what it is about, each as a whole word.
const VAGUE: &[&str] = &[
    concat!("hel", "per"),
    concat!("hel", "pers"),
    concat!("ut", "ils"),
    concat!("mi", "sc"),
    concat!("sub", "agent"),
    concat!("L", "LM"),
    concat!("A", "I"),
    concat!("Cla", "ude"),
    concat!("Anth", "ropic"),
    concat!("Chat", "GPT"),
    concat!("Cop", "ilot"),
];

/// What is written by tools in their own words.
const EXEMPT: &[&str] = &["Cargo.lock"];

pub(crate) fn check(file: &File) -> Vec<Finding> {
    if EXEMPT.contains(&file.path.as_str()) || file.path.contains("/fixtures/") {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (number, line) in file.lines() {
        for host in HOSTS.iter().filter(|host| line.contains(**host)) {
            let what = format!("{host}: name the package, not the registry's host");
            findings.push(Finding::new(&file.path, number, what));
        }
        for word in VAGUE.iter().filter(|word| has_word(line, word)) {
            let what = format!("{word}: say what it is or does");
            findings.push(Finding::new(&file.path, number, what));
        }
    }
    findings
}

/// Whether `line` has `word` with no letter or digit beside it. A short word in capitals has
/// to be in capitals; the case of others does not matter.
fn has_word(line: &str, word: &str) -> bool {
    let exact = word.chars().all(char::is_uppercase);
    line.split(|each: char| !each.is_alphanumeric())
        .any(|piece| if exact { piece == word } else { piece.eq_ignore_ascii_case(word) })
}

#[cfg(test)]
mod tests {
    use super::super::a_file;
    use super::*;

    #[test]
    fn a_registry_host_is_found_but_not_in_the_lock_file() {
        let text = format!("one\nsee https://{}/x\n", HOSTS[1]);
        assert_eq!(check(&a_file("README.md", &text))[0].line, 2);
        assert_eq!(check(&a_file("Cargo.lock", &text)), []);
    }

    #[test]
    fn words_are_found_whole_and_in_any_case() {
        let text = format!("a small {} here\nand_{}_there\n", VAGUE[0], VAGUE[2].to_uppercase());
        assert_eq!(check(&a_file("a.rs", &text)).len(), 2);
        assert_eq!(check(&a_file("a.rs", &format!("{}ful, aid, Ai", VAGUE[0]))), []);
    }
}
