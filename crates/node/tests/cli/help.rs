//! Help, completion and the demo.

use serde_json::Value;

use crate::folder::tributary;

const VERBS: &str = "\
    init, serve, status, doctor, child, child add, child list, child allow, child revoke, \
    join, cohort set, \
    cohort list, cohort show, token add, token list, token revoke, import, alerts, export, \
    sync, link pause, link resume, link list, queue, queue show, queue retry, queue park, \
    queue unpark, queue drop, conflict list, conflict show, conflict resolve, conflict \
    confirm, conflict reopen, patient timeline, courier export, courier import, courier \
    receipts, verify, backup, restore, demo, bench, completion";

/// Words of the code, which tell a data officer nothing.
const JARGON: [&str; 9] =
    ["struct", "enum", "sqlite", "tokio", "serde", "mutex", "axum", "savepoint", "reconcile"];

#[test]
fn every_verb_has_help_in_plain_words() {
    let mut all = tributary(&["--help"]).ok();
    for verb in VERBS.split(", ") {
        let mut args: Vec<&str> = verb.split(' ').collect();
        args.push("--help");
        let help = tributary(&args).ok();
        assert!(help.contains("Usage: "), "{verb}: {help}");
        assert!(!help.starts_with("Usage"), "{verb} does not say what it is for");
        all.push_str(&help);
    }
    let all = all.to_lowercase();
    for word in JARGON {
        assert!(!all.contains(word), "the help says {word}");
    }
}

#[test]
fn a_shell_gets_its_completion_and_an_unknown_verb_a_hint() {
    for shell in ["bash", "zsh", "fish"] {
        let script = tributary(&["completion", shell]).ok();
        assert!(script.contains("tributary") && script.contains("verify"), "{shell}");
    }
    tributary(&["statsu"]).refused(&["status"]);
    assert_eq!(tributary(&["statsu"]).code, Some(2));
}

#[test]
fn a_small_demo_ends_in_step() {
    let told = tributary(&["demo", "--quiet", "--json", "--patients", "12"]).ok();
    let table: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(table["in_step"], true);
    assert_eq!(table["sites"].as_array().unwrap().len(), 4);
    assert!(table["sites"][1]["wire_bytes"].as_u64().unwrap() > 0);
}
