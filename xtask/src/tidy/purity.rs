//! Time and chance are arguments: what decides cannot look at a clock, at chance or at the
//! outside, so that the same input gives the same output and a simulator can hold the strings.

use super::rust_text::take_apart;
use super::{File, Finding};

/// What the code below some folders must not name.
struct Rule {
    folders: &'static [&'static str],
    exempt: &'static [&'static str],
    forbidden: &'static [&'static str],
    why: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        folders: &["crates/protocol/src/"],
        // Which fault a simulated world plants; no build but that of its feature has it.
        exempt: &["crates/protocol/src/planted.rs"],
        forbidden: &[
            "HashMap",
            "HashSet",
            "Instant",
            "SystemTime",
            "getrandom",
            "std::env",
            "std::fs",
            "std::net",
            "std::process",
            "std::thread",
        ],
        why: "protocol is pure",
    },
    Rule {
        folders: &["crates/store/src/", "crates/node/src/", "crates/sim/src/"],
        exempt: &["crates/node/src/ports/"],
        forbidden: &["SystemTime::now", "Timestamp::now", "Zoned::now", "getrandom::"],
        why: "the clock and chance are ports",
    },
];

pub(crate) fn check(file: &File) -> Vec<Finding> {
    let applies = |rule: &&Rule| {
        let below = |folders: &[&str]| folders.iter().any(|each| file.path.starts_with(each));
        below(rule.folders) && !below(rule.exempt) && !is_test(&file.path)
    };
    let code = take_apart(&file.text).code;
    let mut findings = Vec::new();
    for rule in RULES.iter().filter(applies) {
        // Tests stand at the end of a file.
        let lines = code.lines().take_while(|line| !line.starts_with("#[cfg(test)]"));
        for (index, line) in lines.enumerate() {
            for name in rule.forbidden.iter().filter(|name| line.contains(**name)) {
                let what = format!("{name} in what must not reach it: {}", rule.why);
                findings.push(Finding::new(&file.path, index + 1, what));
            }
        }
    }
    findings
}

fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

#[cfg(test)]
mod tests {
    use super::super::a_file;
    use super::*;

    fn lines_found(path: &str, text: &str) -> Vec<usize> {
        check(&a_file(path, text)).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_clock_in_what_decides_is_found() {
        let text = "// no Instant here\nlet now = Instant::now();\nlet m = HashMap::new();\n";
        assert_eq!(lines_found("crates/protocol/src/a.rs", text), [2, 3]);
        assert_eq!(lines_found("crates/node/src/a.rs", text), [0; 0]);
    }

    #[test]
    fn only_the_ports_ask_the_machine_for_the_time() {
        let text = "let now = SystemTime::now();\n#[cfg(test)]\nlet now = SystemTime::now();\n";
        assert_eq!(lines_found("crates/node/src/jobs/push.rs", text), [1]);
        assert_eq!(lines_found("crates/node/src/ports/system.rs", text), [0; 0]);
        assert_eq!(lines_found("crates/node/src/jobs/push/tests.rs", text), [0; 0]);
    }
}
